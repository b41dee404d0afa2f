-- When each wait starts and ends if they share the time: both start, then both end.

local async = require "asyncbox"
local await, gather, sleep, now = async.await, async.gather, async.sleep, async.now

local say = async(function(what, sec)
  local start = now()
  print("Starting " .. what .. " that will take " .. sec .. "s")
  sleep(sec)
  local finish = now()
  print("Finishing " .. what .. " in " .. (finish - start) .. "s")
end, "say")

local main = async(function()
  local start = now()
  await(gather(
    say("First", 2),
    say("Second", 1)
  ))
  local finish = now()
  print("Elapsed: " .. (finish - start))
end, "main")

async.run(main())
