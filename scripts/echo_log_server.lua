-- An echo server that says who has come, and gives the bytes back as they are.

local async = require "asyncbox"
local net = async.net

local port = math.tointeger(tonumber(arg[1] or 8000))
if #arg > 1 or not port then
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " [PORT]\n")
  os.exit(1)
end

local server = net.listen("localhost", port, function(conn)
  print("Connection established with " .. tostring(conn:peer()))
  for bytes in conn:chunks() do
    print("Received: " .. bytes)
    conn:write(bytes)
  end
end)

print("Started to listen on port " .. server:address().port)
