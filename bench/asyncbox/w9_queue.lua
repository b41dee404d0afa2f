-- W9: one producer, one consumer, N items through a queue of 100.
local async = require "asyncbox"
local spawn, gather, now = async.spawn, async.gather, async.now
local N = tonumber(arg[1])

local q = async.queue(100)

local function produce()
  for i = 0, N - 1 do q:put(i) end
  q:put(false)
end

local function consume()
  local sum = 0
  while true do
    local x = q:get()
    if not x then return sum end
    sum = sum + x
  end
end

local t0 = now()
local _, sum = gather(spawn(produce), spawn(consume))
local t = now() - t0
assert(sum == N * (N - 1) // 2, sum)
print(string.format("ok n=%d t=%.6f", N, t))
