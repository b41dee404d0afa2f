-- W5 and W5b with lua-http on cqueues.
--   cq_http.lua fetch HOST PORT PATH COUNT INFLIGHT SIZE   keep-alive connections
--   cq_http.lua latency HOST PORT COUNT                    one connection per request
local C = require "common"
local cqueues = require "cqueues"
local client = require "http.client"
local headers = require "http.headers"
local WHAT, HOST, PORT = arg[1], arg[2], tonumber(arg[3])
local cq = cqueues.new()
local now = cqueues.monotime
local total, t0 = 0, now()

local function get(conn, path)
  local stream = assert(conn:new_stream())
  local h = headers.new()
  h:append(":method", "GET")
  h:append(":scheme", "http")
  h:append(":authority", HOST .. ":" .. PORT)
  h:append(":path", path)
  assert(stream:write_headers(h, true, 30))
  local r = assert(stream:get_headers(30))
  assert(r:get ":status" == "200")
  local n = #assert(stream:get_body_as_string(30))
  stream:shutdown()
  total = total + n
  return n
end
local function connect() return assert(client.connect({ host = HOST, port = PORT, tls = false }, 30)) end

local want, n
if WHAT == "fetch" then
  local path, inflight, size = arg[4], tonumber(arg[6]), tonumber(arg[7])
  n = tonumber(arg[5])
  want = n * size
  local left = n
  for _ = 1, inflight do
    cq:wrap(function()
      local conn = connect()
      while left > 0 do
        left = left - 1
        assert(get(conn, path) == size)
      end
      conn:close()
    end)
  end
elseif WHAT == "latency" then
  n = tonumber(arg[4])
  want = n * 6
  for i = 1, n do
    cq:wrap(function()
      local conn = connect()
      get(conn, "/" .. i)
      conn:close()
    end)
  end
else
  error "what?"
end
assert(cq:loop())
assert(total == want, total)
C.result(n, now() - t0)
