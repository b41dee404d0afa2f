-- How asyncbox.http gets to a server: through proxies (tinyproxy, and one for SOCKS 5 here), to
-- other addresses, to Unix sockets.
local async = require "asyncbox"
local fs = require "asyncbox.fs"
local http = require "asyncbox.http"
local net = require "asyncbox.net"
local process = require "asyncbox.process"
local certificates = require "spec.support.certificates"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local nginx = require "spec.support.nginx"

local assert_code, assert_says = errors.assert_code, errors.assert_says

-- A proxy that speaks as much of SOCKS 5 (RFC 1928, 1929) as there is to see.
local function serve_socks(seen)
  local function pump(from, to)
    for bytes in from:chunks() do to:write(bytes) end
    to:shutdown()
  end
  local function talk(conn)
    local _, count = conn:read_exactly(2):byte(1, 2)
    local methods = conn:read_exactly(count)
    if methods:find("\2", 1, true) then
      conn:write "\5\2"
      conn:read_exactly(1)
      local user = conn:read_exactly(conn:read_exactly(1):byte())
      seen.login = user .. ":" .. conn:read_exactly(conn:read_exactly(1):byte())
      conn:write "\1\0"
    else
      conn:write "\5\0"
    end
    local kind = conn:read_exactly(4):byte(4)
    if kind == 3 then
      seen.host = conn:read_exactly(conn:read_exactly(1):byte())
    else
      seen.host = table.concat({ conn:read_exactly(4):byte(1, 4) }, ".")
    end
    local port = string.unpack(">I2", conn:read_exactly(2))
    local far <close> = net.connect("127.0.0.1", port)
    conn:write "\5\0\0\1\0\0\0\0\0\0"
    local g <close> = async.group()
    g:spawn(pump, far, conn)
    pump(conn, far)
  end
  return net.listen("127.0.0.1", 0, function(conn) pcall(talk, conn) end)
end

describe("http", function()
  local certs, server, url, tls_url, dir, proxy, proxy_port

  local function start_proxy()
    for _ = 1, 20 do
      proxy_port = math.random(20000, 32000)
      local path = dir.path .. "/tinyproxy.conf"
      fs.write(path, ("Port %d\nListen 127.0.0.1\nTimeout 30\nMaxClients 50\nLogLevel Critical\n" ..
        'LogFile "%s/tinyproxy.log"\nBasicAuth user secret\nConnectPort %d\n')
        :format(proxy_port, dir.path, server.port + 1))
      proxy = process.spawn("tinyproxy", "-d", "-c", path, { stdout = "null", stderr = "null" })
      local up = eventually("tinyproxy is up or has failed", function()
        local ok, conn = pcall(net.connect, "127.0.0.1", proxy_port)
        if ok then conn:close() end
        return ok and "up" or proxy.status and "down"
      end)
      if up == "up" then return end
    end
  end

  setup(function()
    certs = certificates.make()
    os.execute("chmod a+rx " .. certs.dir .. " && chmod a+r " .. certs.dir .. "/*")
    dir = fs.tempdir()
    os.execute("chmod a+rx " .. dir.path)
    server = nginx.start {
      http = ([[
        server {
          listen 127.0.0.1:$TLS ssl http2;
          ssl_certificate CERTS/server.cert; ssl_certificate_key CERTS/server.key;
          location / { return 200 "tls $host"; }
        }
        server {
          listen unix:DIR/sock;
          location /go { return 302 http://elsewhere.test/there; }
          location / { return 200 "unix $host"; }
        }
      ]]):gsub("CERTS", certs.dir):gsub("DIR", dir.path),
      locations = [[
        location /via { return 200 "$host $http_via $http_proxy_authorization"; }
        location / { return 200 "direct $host"; }
      ]],
    }
    os.execute("chmod a+rw " .. dir.path .. "/sock")
    url = server.url
    tls_url = "https://localhost:" .. server.port + 1 .. "/"
    start_proxy()
    pcall(http.get, url)
    http.close()
    eventually("all is closed", function() return async.stats().ops <= 1 end)
  end)

  teardown(function()
    proxy:kill()
    proxy:wait()
    server:stop()
    certificates.remove()
    fs.remove(dir.path, { recursive = true })
  end)

  before_each(clean.start)
  after_each(function()
    http.close()
    clean.check()
  end)

  describe("through a proxy", function()
    local function place(login) return ("http://%s127.0.0.1:%d"):format(login or "", proxy_port) end

    it("fetches what the proxy fetches for it", function()
      local response = http.get(url .. "via", { proxy = place "user:secret@" })
      assert.equal(200, response.status)
      assert.matches("^127.0.0.1 1.1 .*tinyproxy", response:text())
      assert.is_nil(response:text():find "Basic")
      assert.equal(url .. "via", response.url)
    end)

    it("tunnels TLS through it", function()
      local options = { proxy = place "user:secret@", ca = certs.ca.cert }
      local response = http.get(tls_url, options)
      assert.equal("tls localhost", response:text())
      assert.equal("2", response.version)
      assert.same({}, response.history)
    end)

    it("says that the proxy wants a login", function()
      assert.equal(407, http.get(url, { proxy = place() }).status)
      local options = { proxy = place "user:wrong@", ca = certs.ca.cert }
      local err = errors.failure(http.get, tls_url, options)
      assert.is_nil(tostring(err):find "wrong@")
      assert.equal("EHTTP", err.code)
    end)

    it("for a session, and not for a request that says so", function()
      local session <close> = http.session { proxy = place "user:secret@" }
      assert.matches("tinyproxy", session:get(url .. "via"):text())
      assert.is_nil(session:get(url .. "via", { proxy = false }):text():find "tinyproxy")
      assert.matches("tinyproxy", session:get(url .. "via"):text())
    end)

    it("speaks SOCKS 5, and lets it look up names", function()
      local seen = {}
      local socks <close> = serve_socks(seen)
      local at = "127.0.0.1:" .. socks:address().port
      local named = "http://some.name.test:" .. server.port .. "/"
      assert.equal("direct some.name.test", http.get(named, { proxy = "socks5://" .. at }):text())
      assert.equal("some.name.test", seen.host)
      assert.is_nil(seen.login)
      http.get(named, { proxy = "socks5://us%40er:pass@" .. at })
      assert.equal("us@er:pass", seen.login)
      local response = http.get("https://localhost:" .. server.port + 1 .. "/",
        { proxy = "socks5h://" .. at, ca = certs.ca.cert })
      assert.equal("tls localhost", response:text())
      http.close()
      eventually("the proxy has let go", function() return #async.all_tasks() <= 2 end)
    end)

    it("has its own idea of addresses", function()
      local seen = {}
      local socks <close> = serve_socks(seen)
      local options = {
        proxy = "socks5://127.0.0.1:" .. socks:address().port,
        resolve = { ["some.name.test"] = "192.0.2.1" },
      }
      local named = "http://some.name.test:" .. server.port .. "/"
      assert.equal("direct some.name.test", http.get(named, options):text())
      assert.equal("some.name.test", seen.host)
      http.close()
      eventually("the proxy has let go", function() return #async.all_tasks() <= 2 end)
    end)

    it("is not gone through to a Unix socket", function()
      local options = { proxy = "http://127.0.0.1:1", unix_socket = dir.path .. "/sock" }
      assert.equal("unix x", http.get("http://x/", options):text())
    end)

    it("fails when nobody is there", function()
      local options = { proxy = "http://user:secret@127.0.0.1:1" }
      local err = assert_code("ECONNREFUSED", http.get, url, options)
      assert.is_nil(tostring(err):find "secret")
      assert.matches("proxy 127.0.0.1:1", tostring(err))
      local name = ("h"):rep(64) -- too long for a label: nobody is asked
      err = assert_code("EAI_NONAME", http.get, url, { proxy = name .. ":8080" })
      assert.matches("unknown host (proxy " .. name .. ":8080)", tostring(err), 1, true)
    end)

    it("refuses what is none", function()
      for _, bad in ipairs {
        "", "ftp://host", "http://", "http://host:0", "http://host:99999", "http://a b",
        "host/path", "socks4://host", "http://ho\tst", ("h"):rep(254),
      } do
        assert_says("option 'proxy' must be", http.get, url, { proxy = bad })
      end
      assert_says("option 'proxy' must be a string, got boolean", http.get, url, { proxy = true })
    end)
  end)

  -- Runs a script with the proxies of its environment; gives what it prints.
  local function run(code, env, ...)
    local path = os.tmpname()
    fs.write(path, "local http, url, tls = require 'asyncbox.http', ...\n" .. code)
    local args = { "run", ... }
    for _, value in ipairs { path, url, tls_url } do args[#args + 1] = value end
    local result = cli.run(args, { env = env })
    os.remove(path)
    return result.stdout .. result.stderr
  end

  describe("with proxies in its environment", function()
    local code = [[
      local session <close> = http.session { trust_env = arg_trust }
      print(session:get(url .. "via"):text())
    ]]

    local function environment(more)
      local env = { http_proxy = "user:secret@127.0.0.1:" .. proxy_port, no_proxy = "x.test" }
      for name, value in pairs(more or {}) do env[name] = value end
      return env
    end

    local trusting = code:gsub("arg_trust", "true")

    it("uses them only when it is told to", function()
      assert.is_nil(run(code:gsub("arg_trust", "false"), environment()):find "tinyproxy")
      assert.matches("tinyproxy", run(trusting, environment()))
      assert.is_nil(run(trusting, { http_proxy = "", HTTP_PROXY = "127.0.0.1:1" }):find "proxy")
      assert.matches("tinyproxy", run(trusting, { all_proxy = environment().http_proxy }))
    end)

    it("knows the exceptions", function()
      for _, except in ipairs { "*", "127.0.0.1", "a.test, 127.0.0.0/8", "10.0.0.0/8,127.0.0.1" } do
        assert.is_nil(run(trusting, environment { no_proxy = except }):find "tinyproxy", except)
      end
      for _, except in ipairs { "27.0.0.1", "10.0.0.0/8", "0.1", "::1", "127.0.0.2/31" } do
        assert.matches("tinyproxy", run(trusting, environment { no_proxy = except }))
      end
      local named = ([[
        local session <close> = http.session { trust_env = true,
          resolve = { ["a.sub.test"] = "127.0.0.1" } }
        print(session:get((url:gsub("127.0.0.1", "a.sub.test"))):text())
      ]])
      for _, except in ipairs { "sub.test", ".sub.test", "A.SUB.TEST", "test" } do
        assert.matches("direct", run(named, environment { no_proxy = except }))
      end
    end)

    it("sees in a sandbox only what it may see of it", function()
      assert.is_nil(run(trusting, environment(), "--allow-net=127.0.0.1"):find "tinyproxy")
      assert.matches("tinyproxy", run(trusting, environment(), "--allow-net=127.0.0.1",
        "--allow-env=http_proxy"))
    end)
  end)

  describe("in a sandbox", function()
    local code = [[
      local options = { proxy = "http://user:secret@127.0.0.1:PORT" }
      local ok, result = pcall(http.get, url .. "via", options)
      print(ok and result:text() or result)
    ]]

    it("goes through a proxy only when both are granted", function()
      local script = code:gsub("PORT", tostring(proxy_port))
      local to_proxy, to_server = "--allow-net=127.0.0.1:" .. proxy_port,
        "--allow-net=127.0.0.1:" .. server.port
      local denied = "^http.get: permission not granted: 127.0.0.1 %(EDENIED%); " ..
        "allow it with %-%-allow%-net=127.0.0.1:"
      assert.matches(denied .. proxy_port, run(script, {}, to_server))
      assert.matches(denied .. server.port, run(script, {}, to_proxy))
      assert.matches("tinyproxy", run(script, {}, to_server, to_proxy))
    end)

    it("decides on the address that a name is given", function()
      local script = [[
        local ok, result = pcall(http.get, (url:gsub("127.0.0.1", "a.test")),
          { resolve = { ["a.test"] = "127.0.0.1" } })
        print(ok and result:text() or result)
      ]]
      assert.matches("^http.get: permission not granted: 127.0.0.1",
        run(script, {}, "--allow-net=a.test"))
      assert.matches("direct a.test",
        run(script, {}, "--allow-net=a.test", "--allow-net=127.0.0.1"))
    end)

    it("reaches a Unix socket only when its path is granted", function()
      local path = dir.path .. "/sock"
      local script = ("print(select(2, pcall(function() return http.get('http://x/', " ..
        "{ unix_socket = %q }):text() end)))"):format(path)
      local read, write = "--allow-read=" .. dir.path, "--allow-write=" .. dir.path
      local denied = "^http.get: permission not granted: "
      assert.matches(denied .. path:gsub("%p", "%%%0"), run(script, {}, "--sandbox"))
      assert.matches(denied, run(script, {}, read))
      assert.equal("unix x\n", run(script, {}, read, write))
      local link = dir.path .. "/granted"
      os.execute(("mkdir -p %s && ln -sf ../sock %s/link"):format(link, link))
      script = script:gsub("/sock", "/granted/link")
      read, write = "--allow-read=" .. link, "--allow-write=" .. link
      assert.matches("permission not granted", run(script, {}, read, write))
    end)
  end)

  describe("at another address", function()
    it("keeps the name for the server and its certificate", function()
      local at = "http://a.test:" .. server.port .. "/"
      assert.equal("direct a.test", http.get(at, { resolve = { ["a.test"] = "127.0.0.1" } }):text())
      local key = "a.test:" .. server.port
      assert.equal("direct a.test", http.get(at, { resolve = { [key] = "127.0.0.1" } }):text())
      local session <close> = http.session { resolve = { ["a.test"] = "127.0.0.1" } }
      assert.equal("direct a.test", session:get(at):text())
      assert_code("ECONNREFUSED", session.get, session, "http://a.test:1/")
    end)

    it("is for that request only", function()
      local at = "http://a.invalid:" .. server.port .. "/"
      assert.equal(200, http.get(at, { resolve = { ["a.invalid"] = "127.0.0.1" } }).status)
      local err = errors.failure(http.get, at)
      assert.matches("^EAI_", err.code)
    end)

    it("refuses what is none", function()
      local function says(pattern, resolve)
        assert_says(pattern, http.get, url, { resolve = resolve })
      end
      says("option 'resolve' must be a table", "x")
      says("a host or host:port expected, got number", { "127.0.0.1" })
      says("a host or host:port expected, got 'a b'", { ["a b"] = "127.0.0.1" })
      says("the address of 'a' must be an IP address", { a = "localhost" })
      says("the address of 'a' must be an IP address", { a = 1 })
      says("the address of 'a' must be an IP address", { a = "127.0.0.1\r\n" })
    end)
  end)

  describe("over a Unix socket", function()
    it("fetches, also after redirects", function()
      local path = dir.path .. "/sock"
      assert.equal("unix any.test", http.get("http://any.test/", { unix_socket = path }):text())
      local response = http.get("http://any.test/go", { unix_socket = path })
      assert.equal("unix elsewhere.test", response:text())
      assert.equal("http://elsewhere.test/there", response.url)
      local session <close> = http.session { unix_socket = path, base_url = "http://any.test" }
      assert.equal("unix any.test", session:get("/"):text())
      assert.equal("direct 127.0.0.1", session:get(url, { unix_socket = false }):text())
    end)

    it("says that there is none", function()
      local options = { unix_socket = dir.path .. "/none" }
      local err = assert_code("ENOENT", http.get, "http://x/", options)
      assert.matches("/none", tostring(err))
      assert_says("a path of more than 107 bytes", http.get, "http://x/",
        { unix_socket = ("x"):rep(108) })
      assert_says("option 'unix_socket' must be a string", http.get, "http://x/",
        { unix_socket = 1 })
    end)
  end)
end)
