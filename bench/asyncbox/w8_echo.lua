-- W8: an echo server on PORT of 127.0.0.1.
local async = require "asyncbox"
async.net.listen("127.0.0.1", tonumber(arg[1]), function(conn)
  for bytes in conn:chunks() do conn:write(bytes) end
end)
