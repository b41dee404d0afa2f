-- Two ends of a connection in this process, with TLS and without; and the
-- certificates for it (see certificates.lua).
--
--   local tls_pair = require "spec.support.tls_pair"
--   setup(tls_pair.setup)
--   teardown(tls_pair.teardown)
--   before_each(tls_pair.before_each)     -- nothing is left: see clean.lua
--   after_each(tls_pair.after_each)       -- breaks off what the case has opened

local async = require "asyncbox"
local net = require "asyncbox.net"
local certificates = require "spec.support.certificates"
local clean = require "spec.support.clean"
local sockets = require "spec.support.sockets"

local spawn, await = async.spawn, async.await

local tls_pair = { before_each = clean.start, teardown = certificates.remove }

local certs, opened = {}, {}

function tls_pair.setup()
  certs = certificates.make()
  sockets.warm_up()
end

function tls_pair.after_each()
  for _, stream in ipairs(opened) do stream:reset() end
  opened = {}
  clean.check()
end

-- The case's end breaks it off.
local function keep(stream)
  opened[#opened + 1] = stream
  return stream
end

-- Two ends of a connection in plain text. The port differs from case to case,
-- so no case resumes another's sessions.
function tls_pair.plain()
  local listener <close> = net.listen("127.0.0.1", 0)
  local client = keep(net.connect("127.0.0.1", listener:address().port))
  return client, keep(listener:accept())
end

function tls_pair.server_options(more)
  local options = { server = true, cert = certs.server.cert, key = certs.server.key }
  for key, value in pairs(more or {}) do options[key] = value end
  return options
end

function tls_pair.client_options(more)
  local options = { ca = certs.ca.cert, server_name = "localhost" }
  for key, value in pairs(more or {}) do options[key] = value end
  return options
end

-- Starts TLS on both; gives what went wrong on each side, or nil.
function tls_pair.start(client, server, client_more, server_more)
  local task = spawn(pcall, server.start_tls, server, tls_pair.server_options(server_more))
  local ok, err = pcall(client.start_tls, client, tls_pair.client_options(client_more))
  if not ok then client:close() end
  local server_ok, server_err = await(task)
  return not ok and err or nil, not server_ok and server_err or nil
end

function tls_pair.pair(client_more, server_more)
  local client, server = tls_pair.plain()
  local client_err, server_err = tls_pair.start(client, server, client_more, server_more)
  assert(not client_err and not server_err, tostring(client_err or server_err))
  return client, server
end

-- Somebody in between, who passes everything on until told otherwise: what he
-- reads from one side goes through `change` to the other.
function tls_pair.through(change)
  local inner = net.listen("127.0.0.1", 0)
  local outer = net.listen("127.0.0.1", 0)
  local client = keep(net.connect("127.0.0.1", outer:address().port))
  local left = keep(outer:accept())
  local right = keep(net.connect("127.0.0.1", inner:address().port))
  local server = keep(inner:accept())
  inner:close()
  outer:close()
  local function pass(from, to, way)
    pcall(function()
      for bytes in from:chunks() do to:write(change(bytes, way)) end
    end)
  end
  local up, down = spawn(pass, left, right, "up"), spawn(pass, right, left, "down")
  local function cut()
    up:cancel()
    down:cancel()
    pcall(await, up)
    pcall(await, down)
    left:close()
    right:close()
  end
  return client, server, cut
end

return tls_pair
