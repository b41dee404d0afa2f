-- Two counters of different speed, each in a loop of its own.

local async = require "asyncbox"
local await, gather, sleep, now = async.await, async.gather, async.sleep, async.now

local count = async(function(name, limit, sec)
  for i = 0, limit - 1 do
    print(name .. " " .. i)
    sleep(sec)
  end
end, "count")

local main = async(function()
  await(gather(
    count("apple", 10, 0.1),
    count("peach", 10, 0.2)
  ))
end, "main")

local start = now()
async.run(main())
local finish = now()
print("Elapsed " .. (finish - start))
