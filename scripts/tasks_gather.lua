-- gather() takes a list too, and runs all of it at once: four tasks, one second.

local async = require "asyncbox"
local await, gather, now = async.await, async.gather, async.now

local sleep = async(function(count, sec)
  print("Start " .. count)
  async.sleep(sec)
  print("End " .. count)
end, "sleep")

local main = async(function()
  local coroutines = {}
  for i = 0, 3 do
    coroutines[#coroutines + 1] = sleep(i, 1)
  end

  await(gather(coroutines))
end, "main")

local start = now()
async.run(main())
local finish = now()
print("Elapsed " .. (finish - start))
