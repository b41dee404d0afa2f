-- net.udp: packets.

local async = require "asyncbox"
local net = require "asyncbox.net"
local dns = require "asyncbox.dns"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local dns_server = require "spec.support.dns_server"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local sandboxed = require "spec.support.sandboxed"
local sockets = require "spec.support.sockets"

local assert_code, assert_says = errors.assert_code, errors.assert_says

setup(function()
  children.warm_up()
  sockets.warm_up()
end)
before_each(clean.start)
after_each(function()
  dns.servers {}
  clean.check()
end)

-- A socket on a free port of loopback, and that port.
local function bound(options)
  options = options or {}
  options.host, options.port = options.host or "127.0.0.1", 0
  local socket = net.udp(options)
  return socket, socket:address().port
end

local function has_ipv6()
  local ok, socket = pcall(net.udp, { host = "::1", port = 0 })
  if ok then socket:close() end
  return ok
end

describe("a UDP socket", function()
  it("sends packets, and tells where they are from", function()
    local a <close>, port = bound()
    local b <close> = net.udp()
    assert.is_nil(b:address())
    b:send("hello", "127.0.0.1", port)
    local data, from = a:recv()
    assert.equal("hello", data)
    assert.equal("127.0.0.1", from.host)
    assert.equal(b:address().port, from.port)
    a:send("and back", from)
    data, from = b:recv()
    assert.equal("and back", data)
    assert.equal("127.0.0.1:" .. port, tostring(from))
    assert.equal("udp socket (127.0.0.1:" .. port .. ")", tostring(a))
  end)

  it("keeps the borders of packets, empty ones and large ones too", function()
    local a <close>, port = bound()
    local b <close> = net.udp()
    local sizes = { 0, 1, 1472, 0, 40000, 65507 }
    for _, size in ipairs(sizes) do b:send(("x"):rep(size), "localhost", port) end
    for _, size in ipairs(sizes) do assert.equal(size, #a:recv()) end
  end)

  it("gives packets in a loop until it is closed", function()
    local a, port = bound()
    local got = {}
    local task = async.spawn(function()
      for data, from in a:packets() do
        got[#got + 1] = data
        assert.equal("127.0.0.1", from.host)
      end
      return "ended"
    end)
    local b <close> = net.udp()
    for i = 1, 300 do
      b:send(tostring(i), "127.0.0.1", port)
      if i % 50 == 0 then eventually("they came", function() return #got == i end) end
    end
    a:close()
    assert.equal("ended", async.await(task))
    assert.equal("300", got[300])
    assert.equal("udp socket (closed)", tostring(a))
  end)

  it("connected, hears its peer alone", function()
    local a <close>, port = bound()
    local b <close>, b_port = bound()
    local other <close> = net.udp()
    other:send("before", "127.0.0.1", b_port)
    b:connect("localhost", port)
    other:send("after", "127.0.0.1", b_port)
    assert.equal("127.0.0.1:" .. port, tostring(b:peer()))
    b:send "question"
    local data, from = a:recv()
    assert.equal("question", data)
    a:send("answer", from)
    assert.equal("answer", (b:recv()))
    assert_code("EISCONN", b.send, b, "x", "127.0.0.1", port)
    assert_code("EISCONN", b.connect, b, "127.0.0.1", port)
    assert.is_nil(a:peer())
  end)

  it("connected, hears that nobody listens", function()
    local a, port = bound()
    a:close()
    local b <close> = net.udp()
    b:connect("127.0.0.1", port)
    b:send "x"
    local err = assert_code("ECONNREFUSED", b.recv, b)
    assert.equal("127.0.0.1:" .. port, err.host)
  end)

  it("of IPv6 reaches IPv4 too", function()
    if not has_ipv6() then return end
    local a <close>, port = bound()
    local b <close> = net.udp { host = "::", port = 0 }
    b:send("four", "127.0.0.1", port)
    local data, from = a:recv()
    assert.equal("four", data)
    a:send("back", from)
    data, from = b:recv()
    assert.equal("back", data)
    assert.equal("127.0.0.1:" .. port, tostring(from))
    b:send("six", "::1", b:address().port)
    data, from = b:recv()
    assert.equal("six", data)
    assert.equal("[::1]:" .. b:address().port, tostring(from))
    local c <close> = net.udp { family = "ipv6", port = 0 }
    c:connect("localhost", port)
    c:send "mapped"
    assert.equal("mapped", (a:recv()))
    local err = assert_code("EAFNOSUPPORT", a.send, a, "x", "::1", port)
    assert.equal(port, err.port)
  end)

  it("looks up the names that it sends and connects to", function()
    local a <close>, port = bound()
    local server <close> = dns_server.serve {
      ["here.test"] = { A = "127.0.0.1" },
      ["six.test"] = { AAAA = "::1" },
      ["dead.test"] = "silent",
    }
    local b <close> = net.udp()
    b:send("by name", "here.test.", port)
    assert.equal("by name", (a:recv()))
    local err = assert_code("EAI_NONAME", b.send, b, "x", "none.test.", port)
    assert.equal("none.test.", err.host)
    assert_code("EAI_NONAME", b.connect, b, "none.test.", port)
    assert_code("EAI_NODATA", b.send, b, "x", "six.test.", port)
    for _, f in ipairs { b.send, b.connect } do
      local before = server.asked["dead.test"] or 0
      local task = async.spawn(function()
        if f == b.send then f(b, "x", "dead.test.", port) else f(b, "dead.test.", port) end
      end)
      eventually("it asked", function() return (server.asked["dead.test"] or 0) > before end)
      task:cancel()
      assert_code("ECANCELED", async.await, task)
    end
    b:connect("here.test.", port)
    b:send "connected"
    assert.equal("connected", (a:recv()))
  end)

  it("waits for nothing more when it is closed", function()
    local server <close> = dns_server.serve { ["dead.test"] = "silent" }
    local a = bound()
    local codes = {}
    local function note(f, ...)
      local ok, err = pcall(f, ...)
      codes[#codes + 1] = ok or err.code
    end
    local tasks = {
      async.spawn(note, a.recv, a),
      async.spawn(note, a.send, a, "x", "dead.test.", 9),
      async.spawn(note, a.connect, a, "dead.test.", 9),
    }
    eventually("both asked", function() return (server.asked["dead.test"] or 0) >= 2 end)
    a:close()
    a:close()
    for _, task in ipairs(tasks) do async.await(task) end
    assert.same({ "ECLOSED", "ECLOSED", "ECLOSED" }, codes)
    for _, name in ipairs { "recv", "send", "connect", "address", "peer", "join", "leave", "set",
      "packets", "dropped" } do
      assert_code("ECLOSED", a[name], a, "127.0.0.1", 1)
    end
  end)

  it("loses nothing when a recv is cancelled, and has one reader", function()
    local a <close>, port = bound()
    local b <close> = net.udp()
    assert_code("ETIMEDOUT", async.timeout, 0.001, a.recv, a)
    local task = async.spawn(a.recv, a)
    async.sleep(0)
    assert_code("EBUSY", a.recv, a)
    task:cancel()
    assert_code("ECANCELED", async.await, task)
    b:send("kept", "127.0.0.1", port)
    assert.equal("kept", (a:recv()))
  end)

  it("drops what nobody takes, and counts it", function()
    local a <close>, port = bound { receive_buffer = 4096 }
    local b <close> = net.udp()
    b:send("first", "127.0.0.1", port)
    a:recv()
    local before = collectgarbage "count"
    for _ = 1, 5000 do b:send(("x"):rep(1000), "127.0.0.1", port) end
    local got = 0
    async.timeout(30, function()
      while got + a:dropped() < 5000 do
        a:recv()
        got = got + 1
      end
    end)
    assert.is_true(got > 0 and got < 5000)
    assert.equal(5000, got + a:dropped())
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 1000)
  end)

  it("joins a multicast group and leaves it", function()
    local a <close> = net.udp { port = 0, multicast_interface = "127.0.0.1", multicast_ttl = 0 }
    local port = a:address().port
    local here = { interface = "127.0.0.1" }
    a:join("239.255.7.7", here)
    a:send("to all", "239.255.7.7", port)
    local data, from = a:recv()
    assert.equal("to all", data)
    assert.equal("127.0.0.1", from.host)
    assert_code("EADDRINUSE", a.join, a, "239.255.7.7", here)
    a:set { multicast_loop = false }
    a:leave("239.255.7.7", here)
    assert_code("EADDRNOTAVAIL", a.leave, a, "239.255.7.7", here)
    assert_code("EINVAL", a.join, a, "127.0.0.1", here)
    local unbound <close> = net.udp()
    assert_code("EINVAL", unbound.join, unbound, "239.255.7.7")
    assert_says("multicast group expected", a.join, a, "a.test")
    assert_says("unknown option 'iface'", a.join, a, "239.255.7.7", { iface = "lo" })
  end)

  it("shares a port with others that say so", function()
    local a <close>, port = bound { reuse_port = true }
    local b <close> = net.udp { host = "127.0.0.1", port = port, reuse_port = true }
    assert.equal(port, b:address().port)
    local err = assert_code("EADDRINUSE", net.udp, { host = "127.0.0.1", port = port })
    assert.equal("127.0.0.1:" .. port, err.host)
    assert.equal(port, a:address().port)
  end)

  it("broadcasts only when told to", function()
    local a <close> = net.udp()
    assert_code("EACCES", a.send, a, "x", "255.255.255.255", 9)
    a:set { broadcast = true }
    local ok, err = pcall(a.send, a, "x", "127.255.255.255", 9)
    assert.is_true(ok or err.code ~= "EACCES")
  end)

  it("refuses arguments that cannot be right", function()
    local a <close> = net.udp()
    assert_code("EDESTADDRREQ", a.send, a, "x")
    assert_code("EMSGSIZE", a.send, a, ("x"):rep(65508), "127.0.0.1", 9)
    assert_code("EMSGSIZE", a.send, a, ("x"):rep(70000), "127.0.0.1", 9)
    assert_code("EINVAL", a.recv, net.udp())
    assert_says("string expected", a.send, a, {}, "127.0.0.1", 9)
    local range = "the port must be a whole number from 1 to 65535"
    for _, port in ipairs { 0, -1, 65536, 1.5, 0 / 0, "9", {} } do
      assert_says(range, a.send, a, "x", "127.0.0.1", port)
      assert_says(range, a.connect, a, "127.0.0.1", port)
    end
    for _, host in ipairs { "", "a b", "a\0b", ("a"):rep(400) } do
      assert_says("not the name of a host", a.send, a, "x", host, 9)
    end
    assert_says("the host must be a string, got number", a.send, a, "x", 1, 9)
    assert_says("the host must be a string, got nil", a.send, a, "x", { port = 9 })
    assert_says("an address and a port", a.send, a, "x", { host = "::1", port = 9 }, 9)
    assert_says("unknown option 'prot'", net.udp, { prot = 1 })
    assert_says("must be a table", net.udp, 53)
    assert_says("must be an IP address or localhost", net.udp, { host = "a.test", port = 1 })
    assert_says('must be "ipv4" or "ipv6"', net.udp, { family = 4 .. "" })
    assert_says("'host' must be a string", net.udp, { host = 1 })
    assert_says("zero byte", net.udp, { host = "127.0.0.1\0" })
    assert_says("port must be a whole number from 0 to 65535", net.udp, { port = 65536 })
    assert_says("'ttl' must be from 1 to 255", net.udp, { ttl = 256 })
    assert_says("'broadcast' must be a boolean", net.udp, { broadcast = 1 })
    assert_code("EADDRNOTAVAIL", net.udp, { host = "192.0.2.1", port = 0 })
    assert_code("EINVAL", net.udp, { multicast_interface = "nowhere" })
    assert_says("UDP socket expected", a.send, {}, "x")
  end)

  it("is closed with its block and by the collector", function()
    local outer
    do
      local a <close> = net.udp { port = 0 }
      outer = a
    end
    assert_code("ECLOSED", outer.recv, outer)
    net.udp { port = 0 } -- clean.check sees that it goes
  end)

  it("talks with socat", function()
    local a <close>, port = bound()
    local peer <close> = process.spawn("socat", "-", "UDP4:127.0.0.1:" .. port)
    peer.stdin:write "from socat"
    local data, from = a:recv()
    assert.equal("from socat", data)
    a:send("to socat", from)
    assert.equal("to socat", peer.stdout:read_exactly(8))
    peer:kill()
    peer:wait()
    children.check()
  end)

  it("asks socat, which answers", function()
    local free, port = bound()
    free:close()
    local peer <close> = process.spawn("socat", "UDP4-RECVFROM:" .. port .. ",bind=127.0.0.1,fork",
      "EXEC:cat")
    local b <close> = net.udp()
    b:connect("127.0.0.1", port)
    local answer = eventually("socat is up", function()
      pcall(b.send, b, "echo")
      local ok, data = pcall(async.timeout, 0.1, b.recv, b)
      return ok and data
    end)
    assert.equal("echo", answer)
    peer:kill()
    peer:wait()
  end)
end)

-- ---- in a sandbox ----

local function run(flags, code)
  return sandboxed.beside(flags, [[
    local async = require "asyncbox"
    local net, dns = async.net, async.dns
    function try(f, ...)
      local ok, got = pcall(f, ...)
      if not ok then got = type(got) == "table" and (got.hint or got.code) or got end
      print(ok and type(got) ~= "string" and "fine" or got)
    end
  ]] .. code)
end

describe("a UDP socket in a sandbox", function()
  after_each(children.check)

  it("is bound where a listen grant allows it", function()
    local code = [[
      try(net.udp, { host = "127.0.0.1", port = 0 })
      try(net.udp, { port = 0 })
      try(net.udp)]]
    assert.equal("allow it with --allow-listen=127.0.0.1\n" ..
      "allow it with --allow-listen=0.0.0.0\nfine",
      run({ "--allow-net=*" }, code))
    assert.equal("fine\nallow it with --allow-listen=0.0.0.0\nfine",
      run({ "--allow-listen=localhost" }, code))
  end)

  it("sends to what is granted, address by address", function()
    local a <close>, port = bound()
    local code = ([[
      local port = %d
      local s = net.udp()
      for _, host in ipairs { "127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1",
        "::ffff:127.0.0.1", "0.0.0.0", "localhost" } do
        try(s.send, s, "x", host, port)
        try(s.connect, net.udp(), host, port)
      end]]):format(port)
    for line in run({ "--allow-net=*", "--allow-net=192.168.0.0/16" }, code):gmatch "[^\n]+" do
      assert.is_truthy(line:find "^allow it with %-%-allow%-net=", line)
    end
    local got = run({ "--allow-net=127.0.0.1:" .. port }, code)
    assert.is_truthy(got:find "^fine\nfine\nfine\n", got)
    assert.equal("x", (a:recv()))
  end)

  it("goes by the address, though the name was granted", function()
    local a <close>, port = bound()
    local server <close> = dns_server.start {
      -- Public for whoever looks first, this machine for whoever sends.
      ["turns.test"] = function(count) return { A = count == 1 and "8.8.8.8" or "127.0.0.1" } end,
      ["mapped.test"] = { AAAA = "::ffff:7f00:1" },
    }
    local flags = { "--allow-net=turns.test", "--allow-net=mapped.test",
      "--allow-net=" .. server.address }
    local denied = "allow it with --allow-net=127.0.0.1:" .. port
    assert.equal("8.8.8.8\n" .. table.concat({ denied, denied, denied }, "\n"), run(flags, ([[
      dns.servers { %q }
      print(dns.resolve("turns.test.", { family = "ipv4" })[1])
      local s = net.udp()
      try(s.send, s, "x", "turns.test.", %d)
      try(s.connect, s, "turns.test.", %d)
      local six = net.udp { family = "ipv6" }
      try(six.send, six, "x", "mapped.test.", %d)]]):format(server.address, port, port, port)))
    assert_code("ETIMEDOUT", async.timeout, 0.01, a.recv, a)
  end)

  it("hears without a listen grant only whom it has written to", function()
    local a <close>, port = bound()
    local other <close> = net.udp()
    local task = async.spawn(function()
      local _, from = a:recv()
      other:send("stranger", from)
      a:send("answer", from)
      return true
    end)
    assert.equal("answer", run({ "--allow-net=127.0.0.1:" .. port }, ([[
      local s = net.udp()
      s:send("x", "127.0.0.1", %d)
      print((s:recv()))]]):format(port)))
    async.await(task)
  end)
end)
