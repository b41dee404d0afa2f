-- Proves after each case that no child of this process is left, not even a
-- zombie. Like clean, with a warm-up: the first child ever makes libuv open
-- the descriptors that it hears of children by.
--
--   local children = require "spec.support.children"
--   setup(children.warm_up)
--   after_each(children.check)

local async = require "asyncbox"
local process = require "asyncbox.process"
local eventually = require "spec.support.eventually"

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

-- Is there such a process, and is it no zombie?
function children.is_alive(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  if not file then return false end
  local text = file:read "a"
  file:close()
  return not text:match "^%d+ %(.*%) Z"
end

function children.await_end(pid)
  eventually("process " .. pid .. " has ended", function() return not children.is_alive(pid) end)
end

function children.check()
  local left
  local ok = pcall(eventually, "no child is left", function()
    collectgarbage()
    collectgarbage()
    left = children.list() or ""
    return left == ""
  end)
  assert(ok, "children left: " .. left)
end

return children
