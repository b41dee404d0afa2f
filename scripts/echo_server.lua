-- An echo server: prints what it gets, and tells it back.

local async = require "asyncbox"
local net = async.net

local port = math.tointeger(tonumber(arg[1] or 8000))
if #arg > 1 or not port then
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " [PORT]\n")
  os.exit(1)
end

local server = net.listen("localhost", port, function(conn)
  for text in conn:chunks() do
    print("Received: " .. text)
    conn:write("You said: " .. text)
  end
end)

print("Listening on port " .. server:address().port)
