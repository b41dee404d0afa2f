-- A web server of a few lines on loopback that shows what really came, and
-- answers what the case wants.
--
--   local server <close> = raw.serve(function(request) return raw.page("200 OK", "hi") end)
--   http.get(server.url .. "x")
--   server.requests[1].method, .target, .headers["user-agent"], .body
--
-- The function may wait. It gives the bytes to send, nil to close at once.

local async = require "asyncbox"
local http = require "asyncbox.http"
local net = require "asyncbox.net"
local eventually = require "spec.support.eventually"

local raw = {}

-- A response with its length; lines are further headers.
function raw.page(status, body, ...)
  local lines = { "HTTP/1.1 " .. status, "Content-Length: " .. #(body or ""), ... }
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

local function read_chunked(conn)
  local out, sizes = {}, {}
  while true do
    local size = tonumber(conn:read_line(), 16)
    sizes[#sizes + 1] = size
    if size > 0 then out[#out + 1] = conn:read_exactly(size) end
    conn:read_line()
    if size == 0 then return table.concat(out), sizes end
  end
end

-- The next request's line and headers; nil: the client has gone.
local function read_head(conn)
  local ok, line = pcall(conn.read_line, conn)
  if not ok or not line then return nil end
  local request = { headers = {}, lines = {} }
  request.method, request.target = line:gsub("\r$", ""):match "^(%S+) (%S+)"
  while true do
    line = conn:read_line()
    if not line then return nil end
    line = line:gsub("\r$", "")
    if line == "" then return request end
    request.lines[#request.lines + 1] = line
    local name, value = line:match "^([^:]+):%s*(.*)$"
    request.headers[name:lower()] = value
  end
end

function raw.read_body(conn, request)
  if request.headers["transfer-encoding"] == "chunked" then
    request.body, request.sizes = read_chunked(conn)
  else
    local length = tonumber(request.headers["content-length"] or 0)
    request.body = length > 0 and conn:read_exactly(length) or ""
  end
end

-- options.head = true: the function reads the body itself, or not; it is called
-- with the request and the connection.
function raw.serve(handler, options)
  local self = { requests = {} }
  local function talk(conn)
    while true do
      local request = read_head(conn)
      if not request then return end
      if not (options and options.head) then raw.read_body(conn, request) end
      self.requests[#self.requests + 1] = request
      local answer = handler(request, conn)
      if not answer then return end
      conn:write(answer)
    end
  end
  self.listener = net.listen("127.0.0.1", 0, function(conn)
    pcall(talk, conn) -- a client that goes is none of the spec's errors
    conn:close()
  end)
  self.port = self.listener:address().port
  self.url = "http://127.0.0.1:" .. self.port .. "/"
  return setmetatable(self, { __close = function() self.listener:close() end })
end

-- Before the first case: one fetch opens libcurl, and what libuv keeps to itself.
-- `fetch(url)` is http.get if there is none.
function raw.warm_up(fetch)
  fetch = fetch or http.get
  local first <close> = raw.serve(function() return raw.page("200 OK", "fine") end)
  fetch(first.url)
  http.close()
  first.listener:close()
  eventually("both sides have let go", function() return async.stats().handles == 0 end)
end

return raw
