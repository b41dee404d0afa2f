-- TLS with real peers: openssl s_client and s_server, curl.

local async = require "asyncbox"
local net = require "asyncbox.net"
local process = require "asyncbox.process"
local certificates = require "spec.support.certificates"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local tls_pair = require "spec.support.tls_pair"
local children = require "spec.support.children"

local assert_code = errors.assert_code

local certs = {}

setup(function()
  tls_pair.setup()
  certs = certificates.make()
  children.warm_up()
  pcall(async.http.get, "http://127.0.0.1:1/") -- the session keeps descriptors
  eventually("the request is over", function()
    collectgarbage()
    return async.stats().ops == 0
  end)
end)
teardown(tls_pair.teardown)
before_each(tls_pair.before_each)
after_each(tls_pair.after_each)

local ANYTHING = "ALL:@SECLEVEL=0" -- or OpenSSL itself refuses what is old

-- ---- our server ----

local function answer(conn)
  for line in conn:lines() do conn:write("You said: " .. line .. "\n") end
end

local function serve(more, handler)
  local tls = { cert = certs.server.cert, key = certs.server.key }
  for key, value in pairs(more or {}) do tls[key] = value end
  local heard = {}
  local server = net.listen("127.0.0.1", 0, handler or answer, {
    tls = tls, on_error = function(err) heard[#heard + 1] = tostring(err) end })
  return server, server:address().port, heard
end

-- s_client sends a line; gives the line that comes back and all it says of the
-- connection.
local function s_client(port, ...)
  local client <close> = process.spawn("openssl", { "s_client", "-connect", "127.0.0.1:" .. port,
    "-servername", "localhost", "-CAfile", certs.ca.cert_path, "-verify_return_error", ... })
  client.stdin:write "hello\n"
  local said, line = {}, nil
  for text in client.stdout:lines() do
    said[#said + 1] = text
    line = text:match "You said: .*"
    if line then break end
  end
  client.stdin:close() -- it ends then, with close_notify
  said[#said + 1] = client.stdout:read_all()
  said[#said + 1] = client.stderr:read_all()
  client:wait()
  return line, table.concat(said, "\n")
end

describe("a server of ours", function()
  it("is understood by s_client, with TLS 1.2 and 1.3", function()
    local server <close>, port, heard = serve()
    for flag, version in pairs { ["-tls1_2"] = "TLSv1.2", ["-tls1_3"] = "TLSv1.3" } do
      local line, said = s_client(port, flag)
      assert.are.equal("You said: hello", line)
      assert.is_truthy(said:find("New, " .. version, 1, true), said)
      assert.is_truthy(said:find("Verify return code: 0 (ok)", 1, true) or
        said:find("Verification: OK", 1, true), said)
    end
    assert.are.same({}, heard)
    assert.is_truthy(server)
  end)

  it("refuses s_client with TLS 1.1", function()
    local server <close>, port, heard = serve()
    local line, said = s_client(port, "-tls1_1", "-cipher", ANYTHING)
    assert.is_nil(line)
    assert.is_truthy(said:find("alert protocol version", 1, true), said)
    assert.is_truthy(heard[1]:find("no version of TLS in common", 1, true), heard[1])
    assert.is_truthy(server)
  end)

  it("agrees with s_client on a protocol", function()
    local server <close>, port, heard = serve { alpn = { "echo", "other" } }
    local line, said = s_client(port, "-alpn", "other,echo")
    assert.are.equal("You said: hello", line)
    assert.is_truthy(said:find("ALPN protocol: echo", 1, true), said)
    line, said = s_client(port, "-alpn", "h2")
    assert.is_nil(line)
    assert.is_truthy(said:find("alert no application protocol", 1, true), said)
    assert.is_truthy(heard[1]:find("no protocol (alpn) in common", 1, true), heard[1])
    assert.is_truthy(server)
  end)

  it("asks s_client for its certificate", function()
    local subject
    local server <close>, port, heard = serve({ client_ca = certs.ca.cert }, function(conn)
      subject = conn:tls().peer.subject
      answer(conn)
    end)
    local line, said = s_client(port, "-cert", certs.client.cert_path, "-key",
      certs.client.key_path)
    assert.are.equal("You said: hello", line)
    assert.are.equal("O=Spec,CN=alice", subject)
    assert.is_truthy(said:find("Acceptable client certificate CA names\nCN = Spec Root", 1, true),
      said)
    line, said = s_client(port)
    assert.is_nil(line)
    assert.is_truthy(said:find("alert certificate required", 1, true), said)
    assert.is_truthy(heard[1]:find("the client has given no certificate", 1, true), heard[1])
    line = s_client(port, "-cert", certs.stranger.cert_path, "-key", certs.stranger.key_path)
    assert.is_nil(line)
    assert.is_truthy(heard[2]:find("comes from CN=Other Root, who is not known", 1, true), heard[2])
    assert.is_truthy(server)
  end)

  it("resumes s_client's session", function()
    local server <close>, port = serve()
    local file = certs.dir .. "/session"
    for _, flag in ipairs { "-tls1_2", "-tls1_3" } do
      local _, said = s_client(port, flag, "-sess_out", file)
      assert.is_truthy(said:find("New, TLS", 1, true), said)
      _, said = s_client(port, flag, "-sess_in", file)
      assert.is_truthy(said:find("Reused, TLS", 1, true), said)
    end
    assert.is_truthy(server)
  end)

  it("goes on in the middle of a connection: -starttls smtp", function()
    local function smtp(conn)
      conn:write "220 localhost ESMTP\r\n"
      assert(conn:read_line():find "^EHLO")
      conn:write "250-localhost\r\n250 STARTTLS\r\n"
      assert(conn:read_line() == "STARTTLS\r")
      conn:write "220 go ahead\r\n"
      conn:start_tls { server = true, cert = certs.server.cert, key = certs.server.key }
      answer(conn)
    end
    local server <close> = net.listen("127.0.0.1", 0, smtp)
    local line = s_client(server:address().port, "-starttls", "smtp")
    assert.are.equal("You said: hello", line)
  end)

  it("answers curl", function()
    local server <close>, port = serve({}, function(conn)
      local request = conn:read_line()
      repeat until conn:read_line() == "\r"
      local body = "you asked for " .. request:match "^GET (%S+)" .. "\n"
      conn:write { "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ", #body, "\r\n\r\n",
        body }
    end)
    local url = ("https://localhost:%d/page"):format(port)
    local r = process.run("curl", "-sS", "--noproxy", "*", "--cacert", certs.ca.cert_path, url)
    assert.are.equal("you asked for /page\n", r.stdout, r.stderr)
    r = process.run("curl", "-sS", "--noproxy", "*", url)
    assert.are.equal(60, r.status) -- its certificate is not known
    assert.is_truthy(server)
  end)

  it("sends curl a lot", function()
    local chunk = ("0123456789abcdef"):rep(4096)
    local server <close>, port = serve({}, function(conn)
      repeat until conn:read_line() == "\r"
      conn:write "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
      for _ = 1, 160 do conn:write(chunk) end
    end)
    local r = process.run("curl", "-sS", "--noproxy", "*", "--cacert", certs.ca.cert_path,
      ("https://localhost:%d/"):format(port))
    assert.are.equal(160 * #chunk, #r.stdout)
    assert.is_true(r.stdout == chunk:rep(160))
    assert.is_truthy(server)
  end)
end)

-- ---- our client ----

-- Starts s_server, which sends each line back reversed; its port, and the child.
local function s_server(name, ...)
  local child = process.spawn("openssl", { "s_server", "-accept", "127.0.0.1:0", "-rev",
    "-cert", certs[name].cert_path, "-key", certs[name].key_path, ... },
    { stderr = "stdout", grace = 0 })
  for line in child.stdout:lines() do
    local port = line:match "^ACCEPT .*:(%d+)"
    if port then return tonumber(port), child end
  end
  error("s_server did not start", 2)
end

local function connect(port, more)
  local tls = { ca = certs.ca.cert }
  for key, value in pairs(more or {}) do tls[key] = value end
  return net.connect("localhost", port, { tls = tls, timeout = 30 })
end

describe("a client of ours", function()
  local function talks(port, more, then_do)
    local conn <close> = connect(port, more)
    conn:write "hello\n"
    assert.are.equal("olleh", conn:read_line())
    if then_do then then_do(conn:tls()) end
  end

  it("understands s_server, with TLS 1.2 and 1.3", function()
    for flag, version in pairs { ["-tls1_2"] = "TLSv1.2", ["-tls1_3"] = "TLSv1.3" } do
      local port, child = s_server("server", flag)
      local _ <close> = child
      talks(port, nil, function(info) assert.are.equal(version, info.version) end)
      talks(port, nil, function(info) assert.is_true(info.resumed) end)
    end
  end)

  it("refuses s_server with TLS 1.1", function()
    local port, child = s_server("server", "-tls1_1", "-cipher", ANYTHING)
    local _ <close> = child
    local err = assert_code("ETLS", connect, port)
    assert.is_truthy(tostring(err):find("protocol version", 1, true) or
      tostring(err):find("no version of TLS in common", 1, true), tostring(err))
  end)

  it("agrees with s_server on a protocol", function()
    local port, child = s_server("server", "-alpn", "echo,other")
    local _ <close> = child
    talks(port, { alpn = { "other", "echo" } },
      function(info) assert.are.equal("echo", info.alpn) end)
  end)

  it("shows s_server its certificate", function()
    local port, child = s_server("server", "-Verify", "3", "-CAfile", certs.ca.cert_path,
      "-verify_return_error")
    local _ <close> = child
    talks(port, { cert = certs.client.cert, key = certs.client.key })
    assert_code("ETLS", connect, port, { max_version = "1.2" })
    assert_code("ETLS", connect, port, {
      max_version = "1.2", cert = certs.stranger.cert, key = certs.stranger.key })
  end)

  it("refuses certificates that are expired, for others, self-signed", function()
    for name, text in pairs {
      expired = "has expired on",
      wrong = "not for localhost but for example.org",
      alone = "is self-signed",
    } do
      local port, child = s_server(name)
      local _ <close> = child
      local err = assert_code("ETLS", connect, port)
      assert.is_truthy(tostring(err):find(text, 1, true), tostring(err))
      talks(port, { verify = false })
    end
  end)

  it("shares OpenSSL with libcurl", function()
    local http = async.http
    local server <close>, port = serve({}, function(conn)
      repeat until conn:read_line() == "\r"
      conn:write "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    end)
    -- Not trusted: but the handshake is made by both, in one process.
    local ok, err = pcall(http.get, ("https://localhost:%d/"):format(port))
    assert.is_false(ok)
    assert.are.equal("ETLS", err.code)
    local conn <close> = connect(port)
    conn:write "GET / HTTP/1.1\r\n\r\n"
    assert.is_truthy(conn:read_all():find("hi$"))
    assert.is_truthy(server)
  end)
end)
