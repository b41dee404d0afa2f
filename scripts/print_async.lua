-- Two waits at the same time: 2 s and 1 s make 2 s, and the shorter ends first.
--
-- Calling an async function does not start it. It makes a coroutine object,
-- which async.run(), await() or gather() runs.

local async = require "asyncbox"
local await, gather, sleep, now = async.await, async.gather, async.sleep, async.now

local say = async(function(text, sec)
  sleep(sec)
  print(text)
end, "say")

local main = async(function()
  print("start main")
  local start = now()
  await(gather(
    say("First", 2),
    say("Second", 1)
  ))
  local finish = now()
  print("Elapsed: " .. (finish - start))
end, "main")

local main_co = main()
print(main_co)
async.run(main_co)
