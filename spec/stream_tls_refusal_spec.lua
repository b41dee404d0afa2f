-- TLS on streams: what stream:start_tls refuses, and STARTTLS.

local async = require "asyncbox"
local certificates = require "spec.support.certificates"
local errors = require "spec.support.errors"
local tls_pair = require "spec.support.tls_pair"

local assert_code, assert_says = errors.assert_code, errors.assert_says
local plain, start, pair = tls_pair.plain, tls_pair.start, tls_pair.pair
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

describe("stream:start_tls refuses", function()
  -- The client's error has this code and text; the server is told.
  local function refused(pattern, client_more, server_more)
    local client, server = plain()
    local err, server_err = start(client, server, client_more, server_more)
    assert(err, "the client accepted")
    assert.are.equal("ETLS", err.code)
    assert.are.equal("stream:start_tls", err.op)
    assert.is_truthy(tostring(err):find(pattern), tostring(err))
    assert.are.equal("stream (" .. err.stream .. ", closed)", tostring(client))
    assert.are.equal("ETLS", server_err.code)
    server:close()
    return server_err
  end

  local function of(name) return { cert = certs[name].cert, key = certs[name].key } end

  it("a certificate for another name", function()
    refused("the certificate is not for localhost but for example.org", {}, of "wrong")
    refused("the certificate is not for 127.0.0.2 but for", { server_name = "127.0.0.2" })
  end)

  it("a certificate that has expired", function()
    local err = refused("of CN=localhost has expired on %d%d%d%d%-", {}, of "expired")
    assert.is_truthy(tostring(err):find "the other side refuses: certificate expired")
  end)

  it("a self-signed certificate, unless it is the one in ca", function()
    refused("of CN=localhost is self%-signed; pass it as ca=", {}, of "alone")
    local client, _ = pair({ ca = certs.alone.cert }, of "alone")
    assert.is_truthy(client:tls())
  end)

  it("a certificate from somebody who is not trusted", function()
    refused("comes from CN=Spec Root, who is not known", { ca = certs.other.cert })
    -- nor by the system
    local client, server = plain()
    local task = spawn(pcall, server.start_tls, server, server_options())
    local err = assert_code("ETLS", client.start_tls, client, { server_name = "localhost" })
    assert.is_truthy(tostring(err):find("who is not known", 1, true))
    await(task)
    client:close()
    server:close()
  end)

  it("nothing of all this with verify = false", function()
    for _, name in ipairs { "wrong", "expired", "alone" } do
      local client, server = plain()
      local task = spawn(server.start_tls, server, server_options(of(name)))
      client:start_tls { verify = false }
      await(task)
      assert.is_truthy(client:tls().peer.subject)
      client:close()
      server:close()
    end
  end)

  it("a client without a certificate, or with somebody else's", function()
    local required = { client_ca = certs.ca.cert }
    local client, server = pair(of "client", required)
    assert.are.equal("O=Spec,CN=alice", server:tls().peer.subject)
    assert.are.equal("x", (function()
      client:write "x"
      return server:read()
    end)())
    for _, more in ipairs { {}, of "stranger" } do
      more.max_version = "1.2" -- so that the client hears of it at once
      local other_client, other_server = plain()
      local err, server_err = start(other_client, other_server, more, required)
      assert.are.equal("ETLS", err.code)
      assert.is_truthy(tostring(err):find("the other side refuses", 1, true))
      assert.is_truthy(tostring(server_err):find(
        more.cert and "comes from CN=Other Root" or "the client has given no certificate", 1, true))
      other_server:close()
    end
    -- With TLS 1.3 it hears of it when it first reads.
    local late_client, late_server = plain()
    local err, server_err = start(late_client, late_server, {}, required)
    assert.are.equal("ETLS", server_err.code)
    assert.is_nil(err)
    assert_code("ETLS", late_client.read, late_client)
    local free_client, free_server = pair({},
      { client_ca = certs.ca.cert, verify = "optional" })
    assert.is_nil(free_server:tls().peer)
    assert.is_truthy(free_client:tls())
  end)

  it("protocols that have nothing in common", function()
    local err = refused("no application protocol", { alpn = "foo" }, { alpn = "bar" })
    assert.is_truthy(tostring(err):find("no protocol (alpn) in common", 1, true))
    refused("protocol version", { max_version = "1.2" }, { min_version = "1.3" })
  end)

  it("who does not speak TLS", function()
    local client, server = plain()
    local task = spawn(pcall, client.start_tls, client, client_options())
    server:read(1)
    server:write "220 hello, this is a mail server\r\n"
    local ok, err = await(task)
    assert.is_false(ok)
    assert.are.equal("ETLS", err.code)
    assert.is_truthy(tostring(err):find("does not speak TLS", 1, true))
    server:close()

    client, server = plain()
    task = spawn(pcall, server.start_tls, server, server_options())
    client:write "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ok, err = await(task)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("speaks HTTP without TLS", 1, true))
    client:close()
  end)

  it("who hangs up in the middle, or resets", function()
    for _, how in ipairs { "close", "reset" } do
      local client, server = plain()
      local task = spawn(pcall, client.start_tls, client, client_options())
      server:read_exactly(100)
      server[how](server)
      local ok, err = await(task)
      assert.is_false(ok)
      assert.is_truthy(err.code == "ETLS" or err.code == "ECONNRESET", err.code)
    end
  end)

  it("who does not answer in time", function()
    local client, server = plain()
    local err = assert_code("ETIMEDOUT", client.start_tls, client,
      client_options { timeout = 0.05 })
    assert.are.equal("stream:start_tls", err.op)
    assert.are.equal(tostring(client:peer()), err.stream)
    assert.is_truthy(tostring(client):find "closed")
    assert.is_true(#server:read_all() > 100) -- its first message, and the end
  end)

  it("to be cancelled without closing", function()
    local client, server = plain()
    local task = spawn(client.start_tls, client, client_options())
    server:read_exactly(100)
    task:cancel()
    assert_code("ECANCELED", await, task)
    assert.is_truthy(tostring(client):find "closed")
  end)

  it("to go on when another task closes the stream", function()
    local client, server = plain()
    local task = spawn(pcall, client.start_tls, client, client_options())
    server:read_exactly(100)
    client:close()
    local ok, err = await(task)
    assert.is_false(ok)
    assert.are.equal("ECLOSED", err.code)
  end)
end)

describe("STARTTLS", function()
  it("works after words in plain text", function()
    local client, server = plain()
    local task = spawn(function()
      assert(server:read_line() == "STARTTLS")
      server:write "go ahead\n"
      server:start_tls(server_options())
      return server:read_line()
    end)
    client:write "STARTTLS\n"
    assert.are.equal("go ahead", client:read_line())
    client:start_tls(client_options())
    client:write "secret\n"
    assert.are.equal("secret", await(task))
  end)

  it("works when the client's first bytes are there already", function()
    local client, server = plain()
    client:write "STARTTLS\n"
    local task = spawn(client.start_tls, client, client_options())
    assert.are.equal("STARTTLS", server:read_line())
    async.sleep(0.05) -- by now they lie in the buffer, or else in the socket: both are fine
    server:start_tls(server_options())
    await(task)
    client:write "secret\n"
    assert.are.equal("secret", server:read_line())
  end)

  it("gives no injected line out as if it had come encrypted", function()
    local client, server = plain()
    client:write "STARTTLS\nDELETE ALL\n"
    assert.are.equal("STARTTLS", server:read_line())
    local err = assert_code("ETLS", server.start_tls, server, server_options())
    assert.is_truthy(tostring(err):find("11 bytes came in plain text before", 1, true))
    assert.is_truthy(tostring(err):find("STARTTLS injection", 1, true))
    assert_code("ECLOSED", server.read, server)
    client:close()

    client, server = plain()
    server:write "220 go ahead\n250 you may send passwords\n"
    assert.are.equal("220 go ahead", client:read_line())
    assert_says("STARTTLS injection", client.start_tls, client, client_options())
    assert_code("ECLOSED", client.read, client)
    server:close()
  end)

  it("takes injected bytes that look like TLS for what they are", function()
    local client, server = plain()
    client:write "STARTTLS\n\22\3\1\0\5DELET"
    assert.are.equal("STARTTLS", server:read_line())
    assert_code("ETLS", server.start_tls, server, server_options())
    assert_code("ECLOSED", server.read, server)
    client:close()
  end)
end)

describe("stream:start_tls raises for", function()
  it("wrong options", function()
    local client, server = plain()
    for text, options in pairs {
      ["unknown option 'sever_name'"] = { sever_name = "x" },
      ["unknown option 'client_ca'"] = client_options { client_ca = "x" },
      ["unknown option 'server_name'"] = server_options { server_name = "x" },
      ["tls must be true or a table of options, got string"] = "x",
      ["option 'server_name' is missing"] = { ca = certs.ca.cert },
      ["option 'cert' is missing"] = { server = true },
      ["option 'server' must be a boolean, got string"] = { server = "yes" },
      ["option 'verify' must be a boolean, got \"optional\""] = client_options {
        verify = "optional" },
      ["option 'verify' must be true, false or \"optional\", got number"] = server_options {
        verify = 1 },
      ["option 'ca' must be a string, got boolean"] = client_options { ca = true },
      ["option 'ca' must not be empty"] = client_options { ca = "" },
      ["option 'ca' must not hold a zero byte"] = client_options { ca = "a\0b" },
      ["option 'alpn' must be a list of names, got number"] = client_options { alpn = 1 },
      ["option 'alpn' must not be empty"] = client_options { alpn = {} },
      ["a name is a string of 1 to 255 bytes %(index 2%)"] = client_options { alpn = { "a", "" } },
      ["option 'alpn' is too long"] = client_options { alpn = setmetatable({}, {
        __len = function() return 300 end, __index = function() return ("x"):rep(255) end }) },
      ["option 'min_version' must be \"1.2\" or \"1.3\", got \"1.1\""] = client_options {
        min_version = "1.1" },
      ["option 'max_version' must be \"1.2\" or \"1.3\", got number"] = client_options {
        max_version = 1.3 },
      ["'min_version' is above 'max_version'"] = client_options {
        min_version = "1.3", max_version = "1.2" },
      ["timeout"] = client_options { timeout = -1 },
    } do
      assert_says("refusal_spec.lua:%d+: .*" .. text, function()
        client:start_tls(options)
      end)
    end
    assert_says("spec.lua:%d+: .*timeout", function()
      client:start_tls(client_options { timeout = 0 / 0 })
    end)
    -- None of it has harmed the stream.
    assert.is_nil((start(client, server)))
  end)

  it("certificates and keys that are none", function()
    local client, server = plain()
    for text, more in pairs {
      ["cert: there is no certificate in it"] = { cert = certs.server.key },
      ["key: there is no private key in it"] = { key = certs.server.cert },
      ["key: it does not belong to the certificate"] = { key = certs.client.key },
      ["key: it is encrypted, and there is no key_password"] = { key = certs.locked_key },
      ["key: it does not open with this key_password"] = {
        key = certs.locked_key, key_password = "wrong" },
      ["ca: cannot read a certificate in it"] = { client_ca = "-----BEGIN CERTIFICATE-----\nx" },
    } do
      local err = assert_code("EINVAL", server.start_tls, server, server_options(more))
      assert.is_truthy(tostring(err):find(text, 1, true), tostring(err))
    end
    local err = assert_code("EINVAL", server.start_tls, server,
      server_options { key = certs.server.cert_path })
    assert.are.equal(certs.server.cert_path, err.path)
    err = assert_code("ENOENT", client.start_tls, client, client_options { ca = "/no/such/file" })
    assert.are.equal("/no/such/file", err.path)
    assert.is_nil((start(client, server)))
  end)

  it("a name that cannot be one", function()
    local client, _ = plain()
    assert_code("EINVAL", client.start_tls, client, client_options { server_name = ("x"):rep(300) })
  end)

  it("a stream that is in use, encrypted, shut down or closed", function()
    local client, server = pair()
    assert_code("EALREADY", client.start_tls, client, client_options())
    client:close()
    assert_code("ECLOSED", client.start_tls, client, client_options())
    server:close()

    client, server = plain()
    local reader = spawn(pcall, client.read, client)
    async.sleep(0)
    assert_code("EBUSY", client.start_tls, client, client_options())
    server:close()
    await(reader)
    assert_code("EPIPE", client.start_tls, client, client_options())
    client:close()

    client, server = plain()
    client:shutdown()
    assert_code("EPIPE", client.start_tls, client, client_options())
    client:close()
    server:close()
  end)

  it("other use of the stream during the handshake", function()
    local client, server = plain()
    local task = spawn(pcall, client.start_tls, client, client_options())
    server:read_exactly(100)
    for _, method in ipairs { "read", "write", "start_tls", "shutdown" } do
      assert_code("EBUSY", client[method], client, method == "write" and "x" or nil)
    end
    assert.is_nil(client:tls())
    client:close()
    await(task)
    server:close()
  end)

  it("pipes, which go one way", function()
    local process = require "asyncbox.process"
    local child <close> = process.spawn "cat"
    assert_code("EBADF", child.stdin.start_tls, child.stdin, client_options())
    assert_code("EBADF", child.stdout.start_tls, child.stdout, client_options())
    child.stdin:close()
    child:wait()
  end)

  it("a task in which no wait is possible", function()
    local client, _ = plain()
    local ok, err = pcall(table.sort, { 1, 2 }, function()
      client:start_tls(client_options())
      return false
    end)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("sort", 1, true), tostring(err))
  end)
end)
