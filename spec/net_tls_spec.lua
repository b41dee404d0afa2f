-- asyncbox.net: the option tls of connect and listen.

local async = require "asyncbox"
local net = require "asyncbox.net"
local certificates = require "spec.support.certificates"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local sandboxed = require("spec.support.sandboxed").run
local folder = require "spec.support.folder"
local tls_pair = require "spec.support.tls_pair"

local assert_code, assert_says = errors.assert_code, errors.assert_says
local spawn, await = async.spawn, async.await

local certs = {}

setup(function()
  tls_pair.setup()
  certs = certificates.make()
end)
teardown(tls_pair.teardown)
before_each(tls_pair.before_each)
after_each(tls_pair.after_each)

local function echo(conn)
  for bytes in conn:chunks() do conn:write(bytes) end
end

-- A server with TLS on a free port, its port, and the list of what its on_error got.
local function serve(handler, more, options)
  local tls = { cert = certs.server.cert, key = certs.server.key }
  for key, value in pairs(more or {}) do tls[key] = value end
  local heard = {}
  options = options or {}
  options.tls = tls
  options.on_error = function(err) heard[#heard + 1] = err end
  local server = net.listen("127.0.0.1", 0, handler or echo, options)
  return server, server:address().port, heard
end

local function trusting(more)
  local tls = { ca = certs.ca.cert }
  for key, value in pairs(more or {}) do tls[key] = value end
  return { tls = tls }
end

describe("net.connect and net.listen with tls", function()
  it("speak TLS from the first byte", function()
    local server <close>, port = serve()
    for _, host in ipairs { "localhost", "127.0.0.1" } do
      local conn <close> = net.connect(host, port, trusting())
      conn:write "hello"
      assert.are.equal("hello", conn:read_exactly(5))
      assert.are.equal("TLSv1.3", conn:tls().version)
      conn:shutdown()
      assert.is_nil(conn:read())
    end
    assert.is_truthy(server)
  end)

  it("show the handler a connection whose handshake is done", function()
    local seen
    local server <close>, port = serve(function(conn)
      seen = conn:tls()
      conn:write "bye"
    end, { alpn = { "h2", "http/1.1" }, client_ca = certs.ca.cert })
    local conn <close> = net.connect("localhost", port, trusting {
      alpn = { "http/1.1", "h2" }, cert = certs.client.cert, key = certs.client.key })
    assert.are.equal("bye", conn:read_all())
    assert.are.equal("h2", seen.alpn) -- the server's order counts
    assert.are.equal("localhost", seen.server_name)
    assert.are.equal("O=Spec,CN=alice", seen.peer.subject)
    assert.is_truthy(server)
  end)

  it("go over Unix sockets", function()
    local path = certs.dir .. "/echo"
    local server <close> = net.listen({ path = path }, echo, nil)
    server:close()
    local secure <close> = net.listen({ path = path, tls = {
      cert = certs.server.cert_path, key = certs.server.key_path } }, echo)
    local conn <close> = net.connect { path = path, tls = {
      ca = certs.ca.cert_path, server_name = "localhost" } }
    conn:write "hello"
    assert.are.equal("hello", conn:read_exactly(5))
    assert_says("option 'server_name' is missing", net.connect, { path = path, tls = true })
    assert.is_truthy(secure)
  end)

  it("say why a certificate is refused, and the server's on_error hears of it", function()
    local server <close>, port, heard = serve()
    local err = assert_code("ETLS", net.connect, "localhost", port, { tls = true })
    assert.are.equal("net.connect", err.op)
    assert.are.equal("localhost", err.host)
    assert.are.equal(port, err.port)
    assert.is_truthy(tostring(err):find("who is not known", 1, true))
    eventually("the server has heard", function() return heard[1] end)
    assert.are.equal("ETLS", heard[1].code)
    assert.is_truthy(tostring(heard[1]):find("unknown ca", 1, true))
    -- It serves on.
    local conn <close> = net.connect("localhost", port, trusting())
    conn:write "x"
    assert.are.equal("x", conn:read())
    assert.is_truthy(server)
  end)

  it("don't let a slow or silent client keep others from connecting", function()
    local server <close>, port, heard = serve(nil, { timeout = 2 })
    local silent = {}
    for i = 1, 20 do silent[i] = net.connect("127.0.0.1", port) end
    local conn <close> = net.connect("localhost", port, trusting())
    conn:write "x"
    assert.are.equal("x", conn:read())
    -- and throw those out in time
    for i = 1, 20 do assert.is_nil(silent[i]:read()) end
    eventually("all were told of", function() return #heard == 20 end)
    for i = 1, 20 do
      assert.are.equal("ETIMEDOUT", heard[i].code)
      silent[i]:close()
    end
    assert.are.equal(1, server:connections())
  end)

  it("count the handshake into the timeout of connect", function()
    local server <close> = net.listen("127.0.0.1", 0) -- never says a word
    local err = assert_code("ETIMEDOUT", net.connect, "127.0.0.1", server:address().port,
      { timeout = 0.05, tls = true })
    assert.are.equal("net.connect", err.op)
    err = assert_code("ETIMEDOUT", net.connect, "127.0.0.1", server:address().port,
      { tls = { timeout = 0.05 } })
    assert.are.equal("net.connect", err.op)
    assert.is_truthy(tostring(err):find("handshake", 1, true))
  end)

  it("can be cancelled in the handshake, and a server closed in it", function()
    local server = net.listen("127.0.0.1", 0)
    local task = spawn(net.connect, "127.0.0.1", server:address().port, { tls = true })
    local conn = server:accept()
    conn:read_exactly(100)
    task:cancel()
    assert_code("ECANCELED", await, task)
    assert.is_true(#conn:read_all() > 100)
    conn:close()
    server:close()

    local other, port = serve()
    local silent <close> = net.connect("127.0.0.1", port)
    eventually("it is accepted", function() return other:connections() == 1 end)
    other:close()
    local ok, got = pcall(silent.read, silent) -- the end, or broken off
    assert.is_true(got == nil or not ok and got.code == "ECONNRESET")
  end)

  it("resume sessions", function()
    local server <close>, port = serve()
    for round = 1, 3 do
      local conn <close> = net.connect("localhost", port, trusting())
      conn:write "x"
      assert.are.equal("x", conn:read())
      assert.are.equal(round > 1, conn:tls().resumed)
    end
    assert.is_truthy(server)
  end)

  it("raise for wrong options before anything is opened", function()
    assert_says("net_tls_spec.lua:%d+: net.connect: unknown option 'cafile'", function()
      net.connect("localhost", 1, { tls = { cafile = "x" } })
    end)
    assert_says("net_tls_spec.lua:%d+: net.connect: tls must be true or a table", function()
      net.connect("localhost", 1, { tls = "yes" })
    end)
    assert_says("net_tls_spec.lua:%d+: net.connect: option 'server' is for", function()
      net.connect("localhost", 1, { tls = { server = true } })
    end)
    assert_says("net_tls_spec.lua:%d+: net.listen: option 'cert' is missing", function()
      net.listen("127.0.0.1", 0, echo, { tls = {} })
    end)
    assert_says("net_tls_spec.lua:%d+: net.listen: option 'cert' is missing", function()
      net.listen("127.0.0.1", 0, echo, { tls = true })
    end)
    assert_says("net_tls_spec.lua:%d+: net.listen: option 'tls' needs a handler", function()
      net.listen("127.0.0.1", 0, { tls = { cert = certs.server.cert } })
    end)
    assert_code("EINVAL", net.listen, "127.0.0.1", 0, echo,
      { tls = { cert = certs.server.cert, key = certs.client.key } })
    assert_code("ENOENT", net.listen, "127.0.0.1", 0, echo,
      { tls = { cert = "/no/such/file", key = certs.client.key } })
  end)

  it("give way to plain text with tls = false", function()
    local server <close> = net.listen("127.0.0.1", 0, echo, { tls = false })
    local conn <close> = net.connect("127.0.0.1", server:address().port, { tls = false })
    conn:write "x"
    assert.are.equal("x", conn:read())
    assert.is_nil(conn:tls())
  end)
end)

describe("tls in a sandbox", function()
  before_each(folder.start)
  after_each(folder.check)

  it("reads certificates only where it may", function()
    local server <close>, port = serve()
    local code = ([[
      local net = require "asyncbox.net"
      print(pcall(net.connect, "127.0.0.1", %d, { timeout = 5, tls = { ca = %q } }))
    ]]):format(port, certs.ca.cert_path)
    local said = sandboxed({ "--allow-net=127.0.0.1:" .. port }, code)
    assert.is_truthy(said:find("EDENIED", 1, true), said)
    assert.is_truthy(said:find("--allow-read", 1, true), said)
    assert.is_truthy(server)
  end)

  it("opens no connection that is not granted", function()
    local said = sandboxed({ "--allow-net=127.0.0.1:1" }, [[
      local net = require "asyncbox.net"
      print(pcall(net.connect, "127.0.0.1", 2, { tls = true }))
    ]])
    assert.is_truthy(said:find("EDENIED", 1, true), said)
  end)
end)
