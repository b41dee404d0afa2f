-- The same function once, then three times at once: one second each.

local async = require "asyncbox"
local await, gather, sleep = async.await, async.gather, async.sleep

local count = async(function()
  print("one")
  sleep(1)
  print("two")
end, "count")

async.run(count())

-- The script itself is a task, so it may wait at the top level too.
await(gather(count(), count(), count()))
