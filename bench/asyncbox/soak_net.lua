-- A soak: N short connections (100,000 if not given), 64 at a time, a third of
-- them broken off at a random moment by either side. At the end nothing may be
-- left: no task, op, handle, timer or descriptor.
--
--   build/asyncbox run bench/asyncbox/soak_net.lua [N [SEED]]
local async = require "asyncbox"
local net, fs = async.net, async.fs
local N, SEED = tonumber(arg[1] or 100000), tonumber(arg[2] or os.time())
local AT_ONCE = 64
local random = math.random
math.randomseed(SEED)

local function descriptors()
  return #fs.list "/proc/self/fd"
end

-- Ends the connection at some turn from now on, while its own task reads,
-- writes, or has ended already.
local function break_off(conn)
  return async.spawn(function()
    for _ = 1, random(0, 6) do async.sleep(0) end
    if random(2) == 1 then conn:reset() else pcall(conn.close, conn) end
  end)
end

local EXPECTED = {
  ECONNRESET = true, EPIPE = true, ECLOSED = true, EOF = true, ECANCELED = true, EBUSY = true,
}
local counts = { good = 0, broken = 0 }

local function check(err)
  if type(err) ~= "table" or not EXPECTED[err.code] then error(err, 0) end
end

local function serve(conn)
  if random(6) == 1 then break_off(conn) end
  for line in conn:lines() do
    conn:write(line .. "\n")
    if #line > 50000 then conn:write { ("y"):rep(random(200000)), "\n" } end
  end
end

local server = net.listen("127.0.0.1", 0, serve, { on_error = check, max_connections = AT_ONCE })
local port = server:address().port

local function talk(conn)
  for _ = 1, random(3) do
    local line = ("x"):rep(random(10) == 1 and random(100000) or random(100))
    conn:write { line, "\n" }
    if conn:read_line() ~= line then return false end
    if #line > 50000 and not conn:read_line() then return false end
  end
  if random(2) == 1 then
    conn:shutdown()
    return conn:read() == nil
  end
  return true
end

local function client()
  local conn = net.connect("127.0.0.1", port)
  local breaker = random(6) == 1 and break_off(conn)
  local ok, good = pcall(talk, conn)
  if not ok then check(good) end
  local which = ok and good and "good" or "broken"
  counts[which] = counts[which] + 1
  pcall(conn.close, conn)
  if breaker then async.await(breaker) end
end

-- What libuv and the first look-ups open for good.
client()
async.sleep(0.05)
collectgarbage()
collectgarbage()
local before, fds = async.stats(), descriptors()

local left, t0 = N, async.now()
do
  local workers = {}
  for i = 1, AT_ONCE do
    workers[i] = async.spawn(function()
      while left > 0 do
        left = left - 1
        client()
      end
    end)
  end
  async.gather(workers)
end
local t = async.now() - t0

local deadline = async.now() + 30
local after
repeat
  async.sleep(0.01)
  collectgarbage()
  collectgarbage()
  after = async.stats()
  local clean = descriptors() == fds
  for _, key in ipairs { "tasks", "ops", "handles", "timers" } do
    clean = clean and after[key] == before[key]
  end
until clean and server:connections() == 0 or async.now() > deadline

for _, key in ipairs { "tasks", "ops", "handles", "timers" } do
  assert(after[key] == before[key], ("%d %s, not %d"):format(after[key], key, before[key]))
end
assert(descriptors() == fds, "descriptors are left")
assert(after.memory < before.memory + (1 << 20), "memory is left")
server:close()
print(("ok n=%d t=%.3f good=%d broken=%d seed=%d"):format(N, t, counts.good, counts.broken, SEED))
