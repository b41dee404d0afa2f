-- W15: what N idle connections cost a server: each has a task that waits to read
-- a line, of which half has come. The clients are another process.
local async = require "asyncbox"
local net, fs, process = async.net, async.fs, async.process
local N = tonumber(arg[1])

if arg[2] then
  local conns = {}
  for i = 1, N do
    conns[i] = net.connect("127.0.0.1", tonumber(arg[2]))
    conns[i]:write "half a l"
  end
  print "all are there"
  async.stdin:read_line()
  return
end

local function resident()
  collectgarbage()
  collectgarbage()
  local pages = fs.read("/proc/self/statm"):match "%d+ (%d+)"
  return pages * 4096
end

local ended = 0
local server = net.listen("127.0.0.1", 0, function(conn)
  conn:read_line()
  ended = ended + 1
end, { backlog = 4096 })

local program = fs.readlink "/proc/self/exe"
local client = process.spawn(program, "run", arg[0], tostring(N), tostring(server:address().port))
local rss, counted = resident(), async.stats().memory
assert(client.stdout:read_line() == "all are there")
while server:connections() < N do async.sleep(0.01) end
async.sleep(0.5)
local each, box = (resident() - rss) / N, (async.stats().memory - counted) / N
assert(ended == 0)
client.stdin:close()
client:wait()
while server:connections() > 0 do async.sleep(0.01) end
server:close()
print(string.format("ok n=%d t=%.6f box=%.0f", N, each, box))
