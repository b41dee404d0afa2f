-- W3: TASKS tasks make TOTAL sleep(0) between them.
local async = require "asyncbox"
local spawn, sleep, gather, now = async.spawn, async.sleep, async.gather, async.now
local TASKS, TOTAL = tonumber(arg[1]), tonumber(arg[2])

local function task(n)
  for _ = 1, n do sleep(0) end
  return n
end

local t0 = now()
local tasks = {}
for i = 1, TASKS do tasks[i] = spawn(task, TOTAL // TASKS) end
local sum = 0
for _, n in ipairs(gather(tasks)) do sum = sum + n end
local t = now() - t0
assert(sum == TOTAL, sum)
print(string.format("ok n=%d t=%.6f", TOTAL, t))
