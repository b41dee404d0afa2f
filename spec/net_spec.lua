-- asyncbox.net: connecting, and what a connection can do beside reading and
-- writing (stream_spec).

local async = require "asyncbox"
local net = require "asyncbox.net"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local sockets = require "spec.support.sockets"

local assert_code, assert_says = errors.assert_code, errors.assert_says
local serve, echo = sockets.serve, sockets.echo

setup(sockets.warm_up)
before_each(clean.start)
after_each(clean.check)

describe("net.connect", function()
  it("connects by address and by name", function()
    local server <close>, port = serve(echo)
    for _, host in ipairs { "127.0.0.1", "localhost", "::ffff:127.0.0.1" } do
      local conn <close> = net.connect(host, port)
      conn:write "hello"
      assert.are.equal("hello", conn:read_exactly(5))
      assert.are.equal("127.0.0.1:" .. port, tostring(conn:peer()))
    end
    assert.are.equal("127.0.0.1", server:address().host)
  end)

  it("connects over IPv6", function()
    local ok, server = pcall(net.listen, "::1", 0, echo)
    if not ok then return pending "this machine has no IPv6" end
    local _ <close> = server
    local port = server:address().port
    for _, host in ipairs { "::1", "[::1]", "localhost" } do
      local conn <close> = net.connect(host, port)
      conn:write "hello"
      assert.are.equal("hello", conn:read_exactly(5))
      assert.are.same({ host = "::1", port = port, family = "ipv6" },
        { host = conn:peer().host, port = conn:peer().port, family = conn:peer().family })
    end
    assert.are.equal("[::1]:" .. port, tostring(server:address()))
  end)

  it("says who refused", function()
    local port = sockets.free_port()
    local err = assert_code("ECONNREFUSED", net.connect, "127.0.0.1", port)
    assert.are.equal("127.0.0.1", err.host)
    assert.are.equal(port, err.port)
    assert.are.equal("net.connect", err.op)
    assert.are.equal(
      ("net.connect: connection refused: 127.0.0.1:%d (ECONNREFUSED)"):format(port),
      tostring(err))
    assert_code("ECONNREFUSED", net.connect, "localhost", port)
  end)

  it("says where there is no way to", function()
    -- Broadcast addresses cannot be connected to: the system says so at once.
    local err = errors.failure(net.connect, "255.255.255.255", 80)
    assert.is_truthy(err.code == "ENETUNREACH" or err.code == "EACCES", err.code)
    assert.are.equal("255.255.255.255", err.host)
    assert.are.equal(80, err.port)
  end)

  it("fails for a name that is not there", function()
    local err = errors.failure(net.connect, "no-such-host.invalid", 80)
    assert.are.equal("no-such-host.invalid", err.host)
    assert.are.equal("net.connect", err.op)
  end)

  it("gives up after `timeout`", function()
    local port, _ <close> = sockets.stuck()
    local err = assert_code("ETIMEDOUT", net.connect, "127.0.0.1", port, { timeout = 0.05 })
    assert.are.equal("net.connect", err.op)
    assert.are.equal("127.0.0.1", err.host)
  end)

  it("can be cancelled while it waits", function()
    local port, _ <close> = sockets.stuck()
    local task = async.spawn(net.connect, "127.0.0.1", port)
    async.sleep(0.02)
    assert.is_false(task:done())
    task:cancel()
    assert_code("ECANCELED", async.await, task)
  end)

  it("refuses wrong arguments at the caller's line", function()
    for _, case in ipairs {
      { { nil, 80 }, "the host must be a string, got nil" },
      { { "", 80 }, "the host must not be empty" },
      { { "a\0b", 80 }, "the host must not hold a zero byte" },
      { { "localhost" }, "the port must be a whole number from 1 to 65535, got nil" },
      { { "localhost", 0 }, "from 1 to 65535, got 0" },
      { { "localhost", 65536 }, "from 1 to 65535, got 65536" },
      { { "localhost", -1 }, "from 1 to 65535, got %-1" },
      { { "localhost", 80.5 }, "from 1 to 65535, got 80.5" },
      { { "localhost", 0 / 0 }, "from 1 to 65535, got %-?nan" },
      { { "localhost", "80" }, "from 1 to 65535, got 80" },
      { { "localhost", 80, { time = 1 } }, "unknown option 'time'" },
      { { "localhost", 80, { timeout = -1 } }, "'timeout' must not be negative" },
      { { "localhost", 80, { timeout = "1" } }, "'timeout' must be a number of seconds" },
      { { "localhost", 80, 5 }, "options must be a table" },
      { { {} }, "path must be a string, got nil" },
      { { { path = "a\0b" } }, "path must not hold a zero byte" },
      { { { path = "x", port = 1 } }, "unknown option 'port'" },
    } do
      local text = errors.text_of(net.connect, table.unpack(case[1], 1, 3))
      assert.is_truthy(text:find(case[2]), text)
      assert.is_truthy(text:find "%.lua:%d+: ", text)
    end
  end)

  it("does not wait outside of a task", function()
    local co = coroutine.create(function()
      table.sort({ 1, 2 }, function() net.connect("127.0.0.1", 1) end)
    end)
    local ok, err = coroutine.resume(co)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find "net.connect: cannot wait inside")
  end)
end)

describe("the race of addresses", function()
  it("goes on at once with the next address when one refuses", function()
    -- localhost is ::1 first, where nobody listens.
    local _ <close>, port = serve(echo)
    local before = async.now()
    local conn <close> = net.connect("localhost", port)
    assert.are.equal("127.0.0.1", conn:peer().host)
    assert.is_true(async.now() - before < 10)
  end)
end)

describe("a connection", function()
  it("knows both addresses, open and, of the other side, closed", function()
    local here, there = sockets.pair()
    assert.are.equal(tostring(here:peer()), tostring(there:local_address()))
    assert.are.equal(tostring(here:local_address()), tostring(there:peer()))
    assert.are.equal("ipv4", here:peer().family)
    assert.are.equal("stream (" .. tostring(here:peer()) .. ")", tostring(here))
    here:close()
    there:close()
    assert.are.equal("127.0.0.1", here:peer().host)
    assert_code("ECLOSED", here.local_address, here)
  end)

  it("is shut in one direction and read in the other", function()
    local here, there, _ <close> = sockets.pair()
    here:write "question"
    assert.is_true(here:shutdown())
    assert.is_true(here:shutdown())
    assert.are.equal("question", there:read_all())
    assert_says("shut down.*EPIPE", here.write, here, "more")
    there:write "answer"
    there:close()
    assert.are.equal("answer", here:read_all())
  end)

  it("writes what is queued before it is shut", function()
    local here, there, _ <close> = sockets.pair()
    local n = 8 << 20
    local writer = async.spawn(function()
      here:write(("x"):rep(n))
      here:shutdown()
    end)
    local got = 0
    for bytes in there:chunks() do got = got + #bytes end
    assert.are.equal(n, got)
    async.await(writer)
  end)

  it("can be cancelled while it is being shut", function()
    local here, there, _ <close> = sockets.pair()
    local writer = async.spawn(pcall, here.write, here, ("x"):rep(16 << 20))
    async.sleep(0.02)
    writer:cancel() -- what is queued stays so
    pcall(async.await, writer)
    local task = async.spawn(here.shutdown, here)
    async.sleep(0.02)
    assert.is_false(task:done())
    task:cancel()
    assert_code("ECANCELED", async.await, task)
    there:reset()
    here:reset()
  end)

  it("tells the other side of a reset", function()
    local here, there, _ <close> = sockets.pair()
    here:reset()
    assert_code("ECONNRESET", there.read, there)
    assert_code("ECLOSED", here.read, here)
    here:reset() -- again: nothing
  end)

  it("ends the waits of others when it is reset", function()
    local here, _, _ <close> = sockets.pair()
    local reader = async.spawn(here.read, here)
    async.sleep(0)
    here:reset()
    assert_code("ECLOSED", async.await, reader)
  end)

  it("takes options of TCP", function()
    local here, _, _ <close> = sockets.pair()
    assert.are.equal(here, here:nodelay(true))
    assert.are.equal(here, here:nodelay(false))
    assert.are.equal(here, here:keepalive(true))
    assert.are.equal(here, here:keepalive(5))
    assert.are.equal(here, here:keepalive(false))
    assert_says("boolean expected", here.nodelay, here, 1)
    assert_says("1 to 32767", here.keepalive, here, 0)
    assert_says("1 to 32767", here.keepalive, here, 1 << 40)
    assert_says("boolean or number", here.keepalive, here, "x")
    here:close()
    assert_code("ECLOSED", here.nodelay, here, true)
    assert_code("ECLOSED", here.keepalive, here, true)
  end)

  it("says so when a stream is no socket", function()
    local process = require "asyncbox.process"
    local p <close> = process.spawn("cat", { stdout = "null", stderr = "null" })
    for _, method in ipairs { "peer", "local_address", "nodelay", "keepalive", "reset" } do
      assert_code("ENOTSOCK", p.stdin[method], p.stdin, true)
    end
    p.stdin:close()
    p:wait()
  end)

  it("gives up reading after its timeout, and loses nothing", function()
    local here, there, _ <close> = sockets.pair()
    assert.are.equal(here, here:timeout(0.02))
    there:write "half"
    local err = assert_code("ETIMEDOUT", here.read_line, here)
    assert.are.equal("stream:read_line", err.op)
    there:write " a line\n"
    here:timeout()
    assert.are.equal("half a line", here:read_line())
  end)

  it("gives up writing after its timeout", function()
    local here, _, _ <close> = sockets.pair()
    here:timeout(nil, 0.02)
    local err = assert_code("ETIMEDOUT", here.write, here, ("x"):rep(64 << 20))
    assert.are.equal("stream:write", err.op)
    here:reset()
  end)

  it("refuses timeouts that are none", function()
    local here, _, _ <close> = sockets.pair()
    assert_says("read must not be negative", here.timeout, here, -1)
    assert_says("write must be a number of seconds", here.timeout, here, nil, "x")
    assert_says("must be more than 0", here.timeout, here, 0)
    assert_says("read must not be NaN", here.timeout, here, 0 / 0)
  end)

  it("forgets the deadlines of waits that were over in time", function()
    local here, there, _ <close> = sockets.pair()
    local before = async.stats().timers
    here:timeout(1000, 1000)
    for _ = 1, 1000 do
      local reader = async.spawn(here.read, here)
      async.sleep(0)
      there:write "x"
      assert.are.equal("x", async.await(reader))
    end
    assert.are.equal(before, async.stats().timers)
  end)

  it("takes bytes in small and in large pieces as they come", function()
    local here, there, _ <close> = sockets.pair()
    local sizes = { 1, 100, 128, 129, 4095, 4096, 4097, 65535, 65536, 65537, 300000, 3 }
    local sent, parts = {}, {}
    for i, n in ipairs(sizes) do
      sent[i] = string.char(96 + i):rep(n)
    end
    local all = table.concat(sent)
    local reader = async.spawn(function()
      parts[1] = there:read_exactly(50)
      parts[2] = there:read_exactly(#all - 53)
      parts[3] = there:read_line()
    end)
    for _, text in ipairs(sent) do
      here:write(text)
      async.sleep(0.001)
    end
    here:close()
    async.await(reader)
    assert.is_true(table.concat(parts) == all)
  end)
end)
