-- sleep(0) waits for nothing: it only lets the other tasks have their turn.

local async = require "asyncbox"
local await, create_task, gather, sleep = async.await, async.create_task, async.gather, async.sleep

local count = async(function(name)
  print("start " .. name)
  for i = 0, 9 do
    print(name .. " " .. i)
    sleep(0)
  end
end, "count")

local main = async(function()
  local a_task = create_task(count("A"))
  local b_task = create_task(count("B"))

  -- Nothing has waited yet, so neither task has started.
  print("Before")
  print("After")

  await(gather(a_task, b_task))
end, "main")

async.run(main())
