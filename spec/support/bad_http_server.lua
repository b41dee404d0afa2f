-- An HTTP server that misbehaves, each path in its own way.
--
--   local server <close> = bad_http_server.start()
--   http.get(server.url .. "truncated")
--   server.closed                    -- how many connections have ended
--
-- start(more): a table of further paths, each a function(conn, request) or the
-- text to answer with.

local async = require "asyncbox"
local net = require "asyncbox.net"

local bad = {}

local function head(...)
  return "HTTP/1.1 200 OK\r\n" .. table.concat({ ... }, "\r\n") .. "\r\n\r\n"
end

-- Until the other side goes away.
local function hang(conn)
  while conn:read() do end -- luacheck: ignore
end

local function forever(conn, first, piece)
  conn:write(first)
  while true do conn:write(piece) end
end

local function redirect(to, ...)
  return "HTTP/1.1 302 Found\r\n" .. table.concat({ "Location: " .. to, ... }, "\r\n") ..
    "\r\n\r\n"
end

local EMPTY = "Content-Length: 0"

-- A text is sent, then the connection is closed.
local paths = {
  -- Nothing, or too little.
  ["closed"] = "",
  ["silent"] = hang,
  ["slow-headers"] = function(conn)
    conn:write "HTTP/1.1 200 OK\r\nX-Slow: "
    while true do
      conn:write "x"
      async.sleep(0.01)
    end
  end,
  ["cut-headers"] = "HTTP/1.1 200 OK\r\nContent-Ty",
  ["stalled"] = function(conn)
    conn:write(head "Content-Length: 100" .. "0123456789")
    hang(conn)
  end,
  ["trickle"] = function(conn)
    conn:write(head "Content-Length: 40")
    for _ = 1, 40 do
      conn:write "x"
      async.sleep(0.02)
    end
  end,
  ["truncated"] = head "Content-Length: 100" .. "0123456789",
  ["truncated-chunk"] = head "Transfer-Encoding: chunked" .. "64\r\n0123456789",
  ["truncated-chunks"] = head "Transfer-Encoding: chunked" .. "5\r\n01234\r\n",
  ["reset-at-once"] = function(conn) conn:reset() end,
  ["reset-in-headers"] = function(conn)
    conn:write "HTTP/1.1 200 OK\r\nContent-Len"
    conn:reset()
  end,
  ["reset-in-body"] = function(conn, request)
    conn:write(head "Content-Length: 100" .. "0123456789")
    request.reset() -- once the client has the beginning
    conn:reset()
  end,

  -- Too much.
  ["endless-headers"] = function(conn) forever(conn, "HTTP/1.1 200 OK\r\n", "X-More: more\r\n") end,
  ["endless-line"] = function(conn)
    forever(conn, "HTTP/1.1 200 OK\r\nX-Long: ", ("x"):rep(1000))
  end,
  ["endless-continue"] = function(conn) forever(conn, "", "HTTP/1.1 100 Continue\r\n\r\n") end,
  ["endless-body"] = function(conn) forever(conn, head "X: y", ("x"):rep(65536)) end,
  ["endless-chunks"] = function(conn)
    forever(conn, head "Transfer-Encoding: chunked", "4\r\nxxxx\r\n")
  end,
  ["endless-trailers"] = function(conn)
    forever(conn, head "Transfer-Encoding: chunked" .. "0\r\n", "X-More: more\r\n")
  end,
  ["endless-redirect"] = function(conn)
    forever(conn, redirect "/fine", ("x"):rep(65536))
  end,

  -- Nonsense.
  ["no-http"] = "garbage\r\n\r\nmore",
  ["binary"] = "\0\1\2\255\r\n\r\n",
  ["no-number"] = "HTTP/1.1 abc OK\r\n" .. EMPTY .. "\r\n\r\n",
  ["bad-version"] = "HTTP/7.9 200 OK\r\n" .. EMPTY .. "\r\n\r\n",
  ["length-no-number"] = head "Content-Length: abc" .. "body",
  ["length-negative"] = head "Content-Length: -5" .. "body",
  ["length-huge"] = head "Content-Length: 99999999999999999999999" .. "body",
  ["two-lengths"] = head("Content-Length: 4", "Content-Length: 6") .. "bodybo",
  ["bad-chunk"] = head "Transfer-Encoding: chunked" .. "zz\r\nbody\r\n",
  ["bad-gzip"] = head("Content-Encoding: gzip", "Content-Length: 4") .. "body",
  ["more-than-asked"] = function(conn, request)
    conn:write(head "Content-Length: 2" .. "ok" .. head "Content-Length: 6" .. "poison")
    request.again()
  end,

  -- Redirects.
  ["loop"] = redirect("/loop", EMPTY),
  ["ping"] = redirect("/pong", EMPTY),
  ["pong"] = redirect("/ping", EMPTY),
  ["to-file"] = redirect("file:///etc/passwd", EMPTY),
  ["to-ftp"] = redirect("ftp://127.0.0.1/", EMPTY),
  ["to-nowhere"] = redirect("http://", EMPTY),
  ["to-nothing"] = redirect("", EMPTY),
  ["to-metadata"] = redirect("http://169.254.169.254/", EMPTY),
  ["to-loopback"] = redirect("http://[::ffff:127.0.0.1]:1/", EMPTY),
  ["to-decimal"] = redirect("http://2130706433:1/", EMPTY),

  ["fine"] = head "Content-Length: 4" .. "fine",
}

local function read_request(conn)
  local text = conn:read_until "\r\n\r\n"
  return text and { text = text, path = text:match "^%u+ /(%S*)" }
end

local function answer(self, conn)
  local request = read_request(conn)
  if not request then return false end
  local action = self.paths[request.path] or paths[request.path]
  if type(action) == "function" then
    local again = false
    request.again = function() again = true end
    request.reset = self.wait_for_reset
    action(conn, request)
    return again
  end
  conn:write(action or "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
  return false
end

-- The other side may go away at any moment: that is what it is about.
local function serve(self, conn)
  self.opened = self.opened + 1
  pcall(function()
    while answer(self, conn) do end -- luacheck: ignore
  end)
  self.closed = self.closed + 1
end

function bad.start(more)
  local self = { paths = more or {}, opened = 0, closed = 0 }
  self.may_reset = false
  self.wait_for_reset = function()
    while not self.may_reset do async.sleep(0.001) end
  end
  local server = net.listen("127.0.0.1", 0, function(conn) serve(self, conn) end)
  self.server = server
  self.port = server:address().port
  self.url = "http://127.0.0.1:" .. self.port .. "/"
  function self.stop() server:close { grace = 0 } end
  return setmetatable(self, { __close = self.stop })
end

return bad
