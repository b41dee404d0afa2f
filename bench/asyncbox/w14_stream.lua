-- W14: BYTES from one end of a TCP connection to the other, in pieces of 64 KiB,
-- both in this process.
local async = require "asyncbox"
local net, now = async.net, async.now
local BYTES, PIECE = tonumber(arg[1]), ("x"):rep(65536)

local server = net.listen("127.0.0.1", 0)
local t0 = now()
local writer = async.spawn(function()
  local conn = net.connect("127.0.0.1", server:address().port)
  for _ = 1, BYTES // #PIECE do conn:write(PIECE) end
  conn:close()
end)
local conn, got = server:accept(), 0
for bytes in conn:chunks() do got = got + #bytes end
conn:close()
writer:await()
local t = now() - t0
server:close()
assert(got == BYTES, got)
print(string.format("ok n=%d t=%.6f", BYTES, t))
