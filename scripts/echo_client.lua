-- Says one thing to an echo server, and prints its answer.

local async = require "asyncbox"
local net = async.net

local text, port = arg[1], math.tointeger(tonumber(arg[2] or 8000))
if not text or #arg > 2 or not port then
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " TEXT [PORT]\n")
  os.exit(1)
end

local ok, conn = pcall(net.connect, "localhost", port)
if not ok then
  print "connection failed"
  os.exit(1)
end

conn:write(text)
local answer = conn:read()
if answer then
  print("Server said: " .. answer)
end
conn:close()
print "connection lost"
