-- A coroutine object does nothing until it is awaited, however long one waits.
--
-- Lay it beside task_object.lua, where the same function starts by itself.

local async = require "asyncbox"
local await, sleep = async.await, async.sleep

local answer = async(function()
  print("start to answer")
  return 42
end, "answer")

local main = async(function()
  local a_coroutine = answer()
  print(a_coroutine)

  sleep(0)
  print("before await for coroutine")

  local result = await(a_coroutine)
  print("result is " .. result .. " after await")
end, "main")

async.run(main())
