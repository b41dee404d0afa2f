-- A task starts by itself as soon as the one that made it waits for something.
--
-- Lay it beside coroutine_object.lua, where the same function starts only when
-- it is awaited.

local async = require "asyncbox"
local await, create_task, sleep = async.await, async.create_task, async.sleep

local answer = async(function()
  print("start to answer")
  return 42
end, "answer")

local main = async(function()
  local a_task = create_task(answer())
  print(a_task)

  sleep(0)
  print("before await for task")

  local result = await(a_task)
  print("result is " .. result .. " after await")
end, "main")

async.run(main())
