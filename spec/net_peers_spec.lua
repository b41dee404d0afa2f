-- asyncbox.net with programs that others have written: nc, socat, curl and
-- memcached, over TCP. (Over Unix sockets: net_unix_spec.)

local async = require "asyncbox"
local net = require "asyncbox.net"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local eventually = require "spec.support.eventually"
local sockets = require "spec.support.sockets"

setup(function()
  sockets.warm_up()
  children.warm_up()
end)
before_each(clean.start)
after_each(function()
  clean.check()
  children.check()
end)

local function has(program)
  return os.execute("command -v " .. program .. " >/dev/null 2>&1")
end

-- Tries to connect until somebody listens.
local function connect_to(port)
  return eventually("somebody listens", function()
    local ok, conn = pcall(net.connect, "127.0.0.1", port)
    return ok and conn
  end)
end

describe("nc and socat", function()
  it("talk to a server", function()
    local server <close>, port = sockets.serve(function(conn)
      for line in conn:lines() do conn:write("You said: " .. line .. "\n") end
    end)
    for _, line in ipairs {
      { "nc", "-N", "127.0.0.1", tostring(port) },
      { "socat", "-t", "30", "-", "TCP:127.0.0.1:" .. port },
    } do
      local r = process.run(line[1], { table.unpack(line, 2) }, { input = "hello\nbye\n" })
      assert.are.equal("You said: hello\nYou said: bye\n", r.stdout)
    end
    assert.is_truthy(server)
  end)

  it("are talked to", function()
    for _, line in ipairs {
      { "nc", "-l", "127.0.0.1" },
      { "socat", "-", "TCP-LISTEN:%d,bind=127.0.0.1,reuseaddr" },
    } do
      local port = sockets.free_port()
      if line[1] == "nc" then line[4] = tostring(port) else line[3] = line[3]:format(port) end
      local p <close> = process.spawn(line[1], { table.unpack(line, 2) })
      local conn <close> = connect_to(port)
      conn:write "to the program\n"
      assert.are.equal("to the program", p.stdout:read_line())
      p.stdin:write "and back\n"
      assert.are.equal("and back", conn:read_line())
    end
  end)

  it("send and get a large file whole", function()
    local sum
    local server <close>, port = sockets.serve(function(conn)
      local n = 0
      for bytes in conn:chunks() do n = n + #bytes end
      sum = n
      conn:write(("y"):rep(n))
    end)
    local r = process.run("socat", { "-t", "30", "-", "TCP:127.0.0.1:" .. port },
      { input = ("x"):rep(5000000) })
    assert.are.equal(5000000, sum)
    assert.is_true(r.stdout == ("y"):rep(5000000))
    assert.is_truthy(server)
  end)
end)

-- A web server for one page in 20 lines.
local function responder(conn)
  local method, path = (conn:read_line() or ""):match "^(%S+) (%S+) HTTP/1%.[01]\r?$"
  local length = 0
  for line in conn:lines() do
    if line == "\r" or line == "" then break end
    length = tonumber(line:match "^[Cc]ontent%-[Ll]ength: *(%d+)") or length
  end
  if not method then return conn:write "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" end
  local body = length > 0 and conn:read_exactly(length) or ""
  local text = method .. " " .. path .. " " .. body
  conn:write {
    "HTTP/1.1 200 OK\r\n", "Content-Type: text/plain\r\n", "Content-Length: ", #text, "\r\n",
    "Connection: close\r\n\r\n", text,
  }
end

describe("curl", function()
  it("fetches from a responder of 20 lines, and posts to it", function()
    local server <close>, port = sockets.serve(responder)
    local url = "http://127.0.0.1:" .. port
    local function curl(...) return process.run("curl", { "-sS", ... }).stdout end
    assert.are.equal("GET /a?b=c ", curl(url .. "/a?b=c"))
    assert.are.equal("POST / name=value", curl("-d", "name=value", url))
    local all = {}
    for i = 1, 20 do all[i] = url .. "/" .. i end
    local text = curl("-Z", table.unpack(all))
    for i = 1, 20 do assert.is_truthy(text:find("GET /" .. i .. " ", 1, true)) end
    assert.is_truthy(server)
  end)
end)

-- A client for memcached's text protocol in 40 lines.
local memcached = {}
memcached.__index = memcached

function memcached.connect(port)
  return setmetatable({ conn = net.connect("127.0.0.1", port) }, memcached)
end

function memcached:close() self.conn:close() end

function memcached:line() return (self.conn:read_line():gsub("\r$", "")) end

function memcached:set(key, value, seconds)
  self.conn:write(("set %s 0 %d %d\r\n%s\r\n"):format(key, seconds or 0, #value, value))
  return self:line() == "STORED"
end

function memcached:get(...)
  self.conn:write { "get ", table.concat({ ... }, " "), "\r\n" }
  local found = {}
  while true do
    local line = self:line()
    if line == "END" then return found end
    local key, bytes = line:match "^VALUE (%S+) %d+ (%d+)"
    found[key] = bytes == "0" and "" or self.conn:read_exactly(tonumber(bytes))
    self.conn:read_line()
  end
end

function memcached:delete(key)
  self.conn:write { "delete ", key, "\r\n" }
  return self:line() == "DELETED"
end

function memcached:increment(key, by)
  self.conn:write { "incr ", key, " ", by or 1, "\r\n" }
  return tonumber(self:line())
end

describe("memcached", function()
  it("is spoken to by a client of 40 lines", function()
    if not has "memcached" then return pending "memcached is not installed" end
    local port = sockets.free_port()
    local user = process.run("id", "-u").stdout == "0\n" and { "-u", "nobody" } or {}
    local p <close> = process.spawn("memcached",
      { "-l", "127.0.0.1", "-p", tostring(port), "-U", "0", table.unpack(user) })
    connect_to(port):close()
    local cache <close> = setmetatable({ client = memcached.connect(port) }, {
      __close = function(self) self.client:close() end,
    })
    local client = cache.client
    local binary = ("\0\r\n\255"):rep(10000)
    assert.is_true(client:set("greeting", "hello"))
    assert.is_true(client:set("empty", ""))
    assert.is_true(client:set("binary", binary))
    assert.are.same({ greeting = "hello", empty = "", binary = binary },
      client:get("greeting", "empty", "binary", "nothing"))
    assert.is_true(client:set("n", "41"))
    assert.are.equal(42, client:increment "n")
    assert.is_true(client:delete "greeting")
    assert.is_false(client:delete "greeting")
    async.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function(i)
      local other = memcached.connect(port)
      for k = 1, 50 do
        assert(other:set("key" .. i, i .. ":" .. k))
        assert(other:get("key" .. i)["key" .. i] == i .. ":" .. k)
      end
      other:close()
    end)
    p:stop()
  end)
end)
