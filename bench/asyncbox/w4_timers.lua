-- W4: N concurrent sleeps of 1..1000 ms, the same pseudo-random ones in every peer.
local async = require "asyncbox"
local spawn, sleep, gather, now = async.spawn, async.sleep, async.gather, async.now
local N = tonumber(arg[1])

local state = 42
local function random_ms()
  state = state * 16807 % 2147483647
  return 1 + state % 1000
end

local function task(ms)
  sleep(ms / 1000)
  return 1
end

local t0 = now()
local tasks = {}
for i = 1, N do tasks[i] = spawn(task, random_ms()) end
local sum = 0
for _, x in ipairs(gather(tasks)) do sum = sum + x end
local t = now() - t0
assert(sum == N, sum)
print(string.format("ok n=%d t=%.6f", N, t))
