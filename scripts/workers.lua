-- PARALLEL workers (1 if not given) take the jobs of one queue until it is empty.
--
-- No lock is needed: another task can run only where this one waits, and there
-- is no wait between looking at the queue and taking a job from it.

local async = require "asyncbox"
local await, create_task, gather = async.await, async.create_task, async.gather
local sleep, now = async.sleep, async.now

local function usage()
  io.stderr:write("Usage ", arg[0]:match("[^/]*$"), " [PARALLEL]\n")
  os.exit(1)
end

local queue = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 } -- how many seconds each job takes

local total = 0
for _, job in ipairs(queue) do
  total = total + job
end
print("Total: " .. total)

local parallel = 1
if #arg == 1 then
  parallel = math.tointeger(tonumber(arg[1])) or usage()
end

local worker = async(function(id)
  while #queue > 0 do
    local job = table.remove(queue, 1)
    print("Worker " .. id .. " starting job " .. job .. " " .. now())
    sleep(job)
    print("Worker " .. id .. " finished job " .. job)
  end
end, "worker")

local main = async(function()
  local tasks = {}
  for id = 0, parallel - 1 do
    tasks[#tasks + 1] = create_task(worker(id))
  end
  await(gather(tasks))
end, "main")

local start = now()
print("Start " .. start)
async.run(main())
local finish = now()
print("Elapsed: " .. (finish - start))
