-- W10: N tasks sleep 2 s at once; the bytes of each are what the process grows by.
local async = require "asyncbox"
local spawn, sleep, gather, now = async.spawn, async.sleep, async.gather, async.now
local N = tonumber(arg[1])

local function task()
  sleep(2)
  return 1
end

local t0 = now()
local tasks = {}
for i = 1, N do tasks[i] = spawn(task) end
local sum = 0
for _, x in ipairs(gather(tasks)) do sum = sum + x end
local t = now() - t0
assert(sum == N, sum)
print(string.format("ok n=%d t=%.6f", N, t))
