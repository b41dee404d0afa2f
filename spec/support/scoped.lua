-- What specs of tasks and scopes share.

local assert = require "luassert"
local async = require "asyncbox"

local scoped = {}

-- Waits, then gives its arguments.
function scoped.after(seconds, ...)
  async.sleep(seconds)
  return ...
end

-- Waits, then fails.
function scoped.fails(seconds, err)
  async.sleep(seconds)
  error(err, 0)
end

-- What calls f with the error at the end of its block: local _ <close> = on_close(f)
function scoped.on_close(f)
  return setmetatable({}, { __close = function(_, err) f(err) end })
end

-- No scope is left behind: the task can wait, and is not shielded.
function scoped.assert_none()
  async.sleep(0)
  local co = coroutine.wrap(function() coroutine.yield(1) end)
  assert.equal(1, co())
end

return scoped
