-- Proves after each case that no child of this process is left, not even a
-- zombie. Like clean, with a warm-up: the first child ever makes libuv open
-- the descriptors that it hears of children by.
--
--   local children = require "spec.support.children"
--   setup(children.warm_up)
--   after_each(children.check)

local async = require "asyncbox"
local process = require "asyncbox.process"

local children = {}

function children.warm_up()
  process.run("true")
  async.sleep(0.02)
  collectgarbage()
  async.sleep(0.02)
end

-- The pids of this process's children; nil where the kernel does not tell.
function children.list()
  local file = io.open "/proc/thread-self/children"
  if not file then return end
  local text = file:read "a"
  file:close()
  return (text:gsub("%s+$", ""))
end

function children.check()
  local left
  collectgarbage()
  collectgarbage()
  async.sleep(0.005) -- handles that were closed go with the next turn of the loop
  for _ = 1, 50 do
    left = children.list()
    if left == nil or left == "" then return end
    async.sleep(0.01)
    collectgarbage()
  end
  error("children left: " .. left, 0)
end

return children
