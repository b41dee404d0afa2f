-- Two tasks run while main goes on: awaiting both takes as long as the longer one.

local async = require "asyncbox"
local await, create_task, sleep = async.await, async.create_task, async.sleep

local say_after = async(function(delay, what)
  print("start " .. what)
  sleep(delay)
  print(what)
end, "say_after")

local main = async(function()
  local task1 = create_task(say_after(1, "hello"))
  local task2 = create_task(say_after(2, "world"))

  sleep(0)
  print("started at " .. os.date("%X"))

  -- The second task sleeps during the first wait too: 2 s in all, not 3.
  await(task1)
  await(task2)

  print("finished at " .. os.date("%X"))
end, "main")

async.run(main())
