-- W2: spawn N tasks that yield once and return their index; gather them.
local async = require "asyncbox"
local spawn, sleep, gather, now = async.spawn, async.sleep, async.gather, async.now
local N = tonumber(arg[1])

local function task(i)
  sleep(0)
  return i
end

local t0 = now()
local tasks = {}
for i = 1, N do tasks[i] = spawn(task, i - 1) end
local sum = 0
for _, x in ipairs(gather(tasks)) do sum = sum + x end
local t = now() - t0
assert(sum == N * (N - 1) // 2, sum)
print(string.format("ok n=%d t=%.6f", N, t))
