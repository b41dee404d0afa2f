-- Waits until something is so, instead of for a while: how long a program takes
-- to start, or a signal to arrive, depends on what else the machine does.
--
--   local eventually = require "spec.support.eventually"
--   eventually("the child is up", function() return ready end)
--
-- Gives what the function gave. The bound is there for what never comes to be.

local async = require "asyncbox"

local BOUND = 30 -- seconds; never reached when all is well

return function(what, condition)
  local deadline = async.now() + BOUND
  local pause = 0
  while true do
    local value = condition()
    if value then return value end
    if async.now() > deadline then
      error(("after %d s still not so: %s"):format(BOUND, what), 2)
    end
    async.sleep(pause)
    pause = math.min(pause + 0.001, 0.02)
  end
end
