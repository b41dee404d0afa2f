-- Coroutine objects are not tasks: awaited one by one, N of them take N seconds.
--
-- A coroutine object starts when it is awaited, not when it is made, so the
-- second waits for the end of the first. tasks_gather.lua runs them together.

local async = require "asyncbox"
local await, sleep, now = async.await, async.sleep, async.now

local function usage()
  io.stderr:write("Usage ", arg[0]:match("[^/]*$"), " NUMBER\n")
  os.exit(1)
end

local do_task = async(function(task_id, sec)
  print("Start " .. task_id)
  sleep(sec)
  print("End " .. task_id)
end, "do_task")

local main = async(function()
  print("Main started")
  local number = math.tointeger(tonumber(arg[1]))
  if #arg ~= 1 or not number then
    usage()
  end

  local coroutines = {}
  for i = 0, number - 1 do
    coroutines[#coroutines + 1] = do_task(i, 1)
  end

  print("Tasks created")

  for _, co in ipairs(coroutines) do
    await(co)
  end

  print("Main ended")
end, "main")

local start = now()
async.run(main())
local finish = now()
print("Elapsed " .. (finish - start))
