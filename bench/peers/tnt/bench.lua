-- tarantool peers: bench.lua spawn N | switch TASKS TOTAL | timers N | mem N | queue N
local fiber = require 'fiber'
local clock = require 'clock'
local WHAT, A, B = arg[1], tonumber(arg[2]), tonumber(arg[3])
local now = clock.monotonic
local function result(n, t) print(string.format('ok n=%.0f t=%.6f', n, t)) end

local state = 42
local function rnd()
  state = state * 16807 % 2147483647
  return 1 + state % 1000
end

if WHAT == 'empty' then os.exit(0) end
local t0 = now()
local sum, want = 0, A
local done = fiber.channel(math.min(A, 1000000) + 1)
local function launch(f)
  for i = 1, A do fiber.create(f, i - 1) end
  for _ = 1, A do sum = sum + done:get() end
end
if WHAT == 'spawn' then
  want = A * (A - 1) / 2
  launch(function(i) fiber.yield() done:put(i) end)
elseif WHAT == 'switch' then
  want = B
  launch(function()
    for _ = 1, B / A do fiber.yield() end
    done:put(B / A)
  end)
elseif WHAT == 'timers' then
  launch(function() fiber.sleep(rnd() / 1000) done:put(1) end)
elseif WHAT == 'mem' then
  launch(function() fiber.sleep(2) done:put(1) end)
elseif WHAT == 'queue' then
  want = A * (A - 1) / 2
  local q = fiber.channel(100)
  fiber.create(function() for i = 0, A - 1 do q:put(i) end q:put(-1) end)
  while true do
    local x = q:get()
    if x < 0 then break end
    sum = sum + x
  end
end
assert(sum == want, sum)
result(WHAT == 'switch' and B or A, now() - t0)
os.exit(0)
