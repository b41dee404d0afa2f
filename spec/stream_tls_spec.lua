-- TLS on streams: stream:start_tls on both sides, in one process. What it
-- refuses is in stream_tls_refusal_spec.lua, real peers are in
-- stream_tls_peers_spec.lua.

local async = require "asyncbox"
local net = require "asyncbox.net"
local certificates = require "spec.support.certificates"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local tls_pair = require "spec.support.tls_pair"

local assert_code = errors.assert_code
local plain, start, pair = tls_pair.plain, tls_pair.start, tls_pair.pair
local through = tls_pair.through
local client_options, server_options = tls_pair.client_options, tls_pair.server_options
local spawn, await = async.spawn, async.await

local certs = {}

setup(function()
  tls_pair.setup()
  certs = certificates.make()
end)
teardown(tls_pair.teardown)
before_each(tls_pair.before_each)
after_each(tls_pair.after_each)

describe("stream:start_tls", function()
  it("encrypts both ways and tells what was agreed on", function()
    local client, server = pair({ alpn = { "foo", "bar" } }, { alpn = { "bar" } })
    client:write "hello"
    assert.are.equal("hello", server:read_exactly(5))
    server:write { "wor", "ld", 1, "\n" }
    assert.are.equal("world1", client:read_line())
    local mine, theirs = client:tls(), server:tls()
    assert.are.equal("TLSv1.3", mine.version)
    assert.are.equal(mine.cipher, theirs.cipher)
    assert.are.equal("bar", mine.alpn)
    assert.are.equal("bar", theirs.alpn)
    assert.are.equal("localhost", theirs.server_name)
    assert.is_false(mine.resumed)
    assert.is_nil(theirs.peer)
    assert.are.equal("CN=localhost", mine.peer.subject)
    assert.are.equal("CN=Spec Root", mine.peer.issuer)
    assert.are.same({ "localhost", "127.0.0.1", "::1" }, mine.peer.names)
    assert.are.equal(64, #mine.peer.fingerprint)
    assert.is_truthy(mine.peer.valid_from:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$")
    assert.is_true(mine.peer.valid_until > mine.peer.valid_from)
  end)

  it("gives the stream back, and nil of tls() before and after", function()
    local client, server = plain()
    assert.is_nil(client:tls())
    local task = spawn(server.start_tls, server, server_options())
    assert.are.equal(client, client:start_tls(client_options()))
    assert.are.equal(server, await(task))
    client:close()
    server:close()
    eventually("the descriptor is closed", function() return client:tls() == nil end)
  end)

  it("takes certificates and keys from files", function()
    local client, server = pair({ ca = certs.ca.cert_path },
      { cert = certs.server.cert_path, key = certs.server.key_path })
    client:write "x"
    assert.are.equal("x", server:read())
  end)

  it("opens a locked key with its password", function()
    local client, _ = pair({},
      { key = certs.locked_key, key_password = "sesame" })
    assert.is_truthy(client:tls())
  end)

  it("accepts the certificate for an address", function()
    local client, server = pair { server_name = "127.0.0.1" }
    assert.is_nil(server:tls().server_name) -- SNI is for names only
    assert.are.equal("CN=localhost", client:tls().peer.subject)
  end)

  it("speaks TLS 1.2 too", function()
    local client, server = pair({ max_version = "1.2" })
    client:write "x"
    assert.are.equal("x", server:read())
    assert.are.equal("TLSv1.2", client:tls().version)
  end)

  it("goes over Unix sockets", function()
    local path = certs.dir .. "/socket"
    local listener <close> = net.listen { path = path }
    local client <close> = net.connect { path = path }
    local server <close> = listener:accept()
    assert.is_nil((start(client, server)))
    client:write "x"
    assert.are.equal("x", server:read())
  end)

  it("resumes a session with the same server", function()
    for _, version in ipairs { "1.2", "1.3" } do
      local listener <close> = net.listen("127.0.0.1", 0)
      for round = 1, 3 do
        local client <close> = net.connect("127.0.0.1", listener:address().port)
        local server <close> = listener:accept()
        local err, server_err = start(client, server, { max_version = version })
        assert.is_nil(err or server_err)
        server:write "tickets come before this"
        assert.are.equal("tickets come before this", client:read())
        assert.are.equal(round > 1, client:tls().resumed)
        assert.are.equal(round > 1, server:tls().resumed)
        assert.are.equal("CN=localhost", client:tls().peer.subject)
      end
      -- Another name or other settings: not the same session.
      local client <close> = net.connect("127.0.0.1", listener:address().port)
      local server <close> = listener:accept()
      start(client, server, { max_version = version, server_name = "127.0.0.1" })
      assert.is_false(client:tls().resumed)
    end
  end)
end)

describe("a stream with TLS", function()
  it("has all ways of reading", function()
    local client, server = pair()
    client:write(("x"):rep(10) .. "a--b--line one\nline two\nrest")
    client:shutdown()
    assert.are.equal(("x"):rep(10), server:read_exactly(10))
    assert.are.equal("a", server:read_until "--")
    assert.are.equal("b", (server:read_until "--"))
    assert.are.equal("line one", server:read_line())
    assert.are.equal("line two", server:lines()())
    assert.are.equal("re", server:read(2))
    assert.are.equal("st", server:read_all())
    assert.is_nil(server:read())
    assert.is_nil(server:read_exactly(3))
  end)

  it("carries a lot both ways at once", function()
    local client, server = pair()
    local data = {}
    for i = 1, 40000 do data[i] = ("%d line of some length;"):format(i) end
    data = table.concat(data)
    local function send(stream)
      stream:write(data)
      stream:shutdown()
    end
    local senders = { spawn(send, client), spawn(send, server) }
    local reader = spawn(server.read_all, server)
    assert.is_true(client:read_all() == data)
    assert.is_true(await(reader) == data)
    for _, task in ipairs(senders) do await(task) end
  end)

  it("makes a writer wait for a reader, in little memory", function()
    local client, server = pair()
    local chunk, sent = ("x"):rep(1 << 16), 0
    local writer = spawn(function()
      for _ = 1, 400 do
        client:write(chunk)
        sent = sent + #chunk
      end
      client:shutdown()
    end)
    server:read(1)
    local last
    eventually("it is stuck", function()
      local same = last == sent
      last = sent
      async.sleep(0.05)
      return same
    end)
    assert.is_false(writer:done())
    assert.are.equal(400 * #chunk - 1, #server:read_all())
    await(writer)
  end)

  it("goes on after a write that was cancelled", function()
    local client, server = pair()
    local writer = spawn(client.write, client, ("x"):rep(32 << 20))
    server:read(1)
    async.sleep(0)
    writer:cancel()
    pcall(await, writer)
    local tail = spawn(function()
      client:write "tail"
      client:shutdown()
    end)
    local all = server:read_all()
    await(tail)
    assert.is_truthy(all:find "^x+tail$")
    assert.is_true(#all < 32 << 20)
  end)

  it("loses nothing by a read that was cancelled", function()
    local client, server = pair()
    client:write "ab"
    assert_code("ETIMEDOUT", async.timeout, 0.02, server.read_exactly, server, 3)
    client:write "c"
    assert.are.equal("abc", server:read_exactly(3))
  end)

  it("can be shut down one way and read from the other", function()
    local client, server = pair()
    client:write "question"
    assert.is_true(client:shutdown())
    assert.is_true(client:shutdown())
    assert_code("EPIPE", client.write, client, "more")
    assert.are.equal("question", server:read_all())
    server:write "answer"
    server:close()
    assert.are.equal("answer", client:read_all())
  end)

  it("tells an end from being cut off", function()
    -- Closed: the end.
    local client, server = pair()
    client:write "all"
    client:close()
    assert.are.equal("all", server:read_all())
    server:close()

    -- Left by an error: what came is given, then the error.
    client, server = pair()
    pcall(function()
      local left <close> = client
      left:write "some"
      error "no"
    end)
    assert.are.equal("some", server:read())
    local err = assert_code("ETRUNCATED", server.read, server)
    assert.is_truthy(tostring(err):find("close_notify", 1, true))
    assert_code("ETRUNCATED", server.read_all, server)
    server:close()
  end)

  it("tells when somebody in between cuts it off", function()
    local client, server, cut = through(function(bytes) return bytes end)
    assert.is_nil((start(client, server)))
    client:write "some"
    assert.are.equal("some", server:read())
    local reader = spawn(pcall, server.read, server)
    async.sleep(0)
    cut()
    local ok, err = await(reader)
    assert.is_false(ok)
    assert.are.equal("ETRUNCATED", err.code)
  end)

  it("tells when somebody in between changes a byte", function()
    local evil = false
    local client, server, cut = through(function(bytes, way)
      if not evil or way == "down" then return bytes end
      return bytes:sub(1, -2) .. string.char(bytes:byte(-1) ~ 1)
    end)
    assert.is_nil((start(client, server)))
    client:write "good"
    assert.are.equal("good", server:read())
    evil = true
    client:write "changed"
    local err = assert_code("ETLS", server.read, server)
    assert.is_truthy(tostring(err):find("changed on its way", 1, true))
    assert_code("ETLS", client.read, client) -- is told of it
    assert_code("ETLS", client.write, client, "x")
    server:close() -- once told is enough
    cut()
  end)

  it("raises ECLOSED in a task that waits when another closes it", function()
    local client, server = pair()
    local reader = spawn(pcall, client.read, client)
    async.sleep(0)
    client:close()
    local ok, err = await(reader)
    assert.is_false(ok)
    assert.are.equal("ECLOSED", err.code)
    assert.is_nil(server:read())
  end)
end)
