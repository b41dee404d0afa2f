-- What specs about sockets share.
--
--   local sockets = require "spec.support.sockets"
--   setup(sockets.warm_up)
--   local server <close>, port = sockets.serve(handler, options)

local async = require "asyncbox"
local net = require "asyncbox.net"

local sockets = {}

-- The first stream of a loop makes libuv keep a descriptor to itself.
function sockets.warm_up()
  local server = net.listen("127.0.0.1", 0)
  net.connect("127.0.0.1", server:address().port):close()
  server:close()
  async.sleep(0.02)
end

function sockets.echo(conn)
  for bytes in conn:chunks() do conn:write(bytes) end
end

-- A server on a free port of 127.0.0.1, and the port.
function sockets.serve(handler, options)
  local server = net.listen("127.0.0.1", 0, handler, options)
  return server, server:address().port
end

-- Closes all that is in a list at the end of the block.
local function guard(list)
  return setmetatable(list, {
    __close = function()
      for _, x in ipairs(list) do x:close() end
    end,
  })
end

-- Two ends of one connection, and what closes both:
-- local here, there, _ <close> = sockets.pair()
function sockets.pair()
  local server <close> = net.listen("127.0.0.1", 0)
  local here = net.connect("127.0.0.1", server:address().port)
  local there = server:accept()
  return here, there, guard { here, there }
end

-- A port of 127.0.0.1 on which nobody listens.
function sockets.free_port()
  local server = net.listen("127.0.0.1", 0)
  local port = server:address().port
  server:close()
  return port
end

-- A port whose queue is full: who connects there is never answered; and what
-- ends that.
function sockets.stuck()
  local server = net.listen("127.0.0.1", 0, { backlog = 1 })
  local port, all = server:address().port, { server }
  sockets.fill("127.0.0.1", port, all)
  return port, guard(all)
end

-- Fills the queue of a server with backlog 1; what does it is put into the list.
-- Linux takes two, and those at once; others perhaps more.
function sockets.fill(host, port, list)
  for i = 1, 8 do
    local ok, conn = pcall(net.connect, host, port, { timeout = i <= 2 and 30 or 0.3 })
    if not ok then break end
    list[#list + 1] = conn
  end
end

return sockets
