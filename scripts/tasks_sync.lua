-- As many tasks as the user asks for, one after the other: N tasks take N seconds.

local async = require "asyncbox"
local block, now = async.block, async.now

local function usage()
  io.stderr:write("Usage ", arg[0]:match("[^/]*$"), " NUMBER\n")
  os.exit(1)
end

local function do_task(task_id, sec)
  print("Start task " .. task_id)
  block(sec)
  print("End task " .. task_id)
end

local function main()
  local number = math.tointeger(tonumber(arg[1]))
  if #arg ~= 1 or not number then
    usage()
  end

  for i = 0, number - 1 do
    do_task(i, 1)
  end
end

local start = now()
main()
local finish = now()
print("Elapsed time: " .. (finish - start))
