-- asyncbox.http over TLS and HTTP/2, against nginx with certificates that the spec makes.
local async = require "asyncbox"
local http = require "asyncbox.http"
local certificates = require "spec.support.certificates"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local nginx = require "spec.support.nginx"

local assert_code, assert_says = errors.assert_code, errors.assert_says

describe("http over TLS", function()
  local certs, server, url

  setup(function()
    certs = certificates.make()
    os.execute("chmod a+rx " .. certs.dir .. " && chmod a+r " .. certs.dir .. "/*")
    server = nginx.start {
      http = ([[
        server {
          listen 127.0.0.1:$TLS ssl http2;
          ssl_certificate CERTS/server.cert; ssl_certificate_key CERTS/server.key;
          ssl_client_certificate CERTS/ca.cert; ssl_verify_client optional;
          http2_max_requests 100000; keepalive_requests 100000;
          client_body_temp_path $DIR/body2; client_max_body_size 100m;
          location /echo { proxy_pass http://127.0.0.1:$PORT/length; }
          location /away { return 302 https://127.0.0.1:$TLS/; }
          location /here { return 302 /; }
          location /slow { limit_rate 1000; root $DIR/root; }
          set $who "$ssl_client_verify|$ssl_client_s_dn";
          location / { return 200 "$server_protocol|$who|$connection|$http_authorization"; }
        }
        server {
          listen 127.0.0.1:$PLAIN http2;
          location / { return 200 "$server_protocol"; }
        }
        server {
          listen 127.0.0.1:$EXPIRED ssl;
          ssl_certificate CERTS/expired.cert; ssl_certificate_key CERTS/expired.key;
        }
      ]]):gsub("CERTS", certs.dir),
      locations = [[
        location /length { client_max_body_size 100m; return 200 "$content_length"; }
      ]],
    }
    server:write("slow/page.bin", ("z"):rep(100000))
    url = "https://localhost:" .. server.port + 1 .. "/"
    pcall(http.get, url) -- opens libcurl
    http.close()
    eventually("all is closed", function()
      local stats = async.stats()
      return stats.handles == 0 and stats.ops == 0
    end)
  end)

  teardown(function()
    server:stop()
    certificates.remove()
  end)

  before_each(clean.start)
  after_each(function()
    http.close()
    clean.check()
  end)

  -- "HTTP/2.0", "SUCCESS", ...
  local function facts(options, from)
    local response = http.get(from or url, options)
    local list = {}
    for fact in (response:text() .. "|"):gmatch "([^|]*)|" do list[#list + 1] = fact end
    return list, response
  end

  it("trusts nobody that it was not told to", function()
    local err = assert_code("ETLS", http.get, url)
    assert.matches("certificate", err.message)
    assert.equal(url, err.url)
  end)

  it("trusts who is signed by the given authority", function()
    local got, response = facts { ca = certs.ca.cert_path }
    assert.equal("HTTP/2.0", got[1])
    assert.equal("2", response.version)
    assert.equal("", response.reason)
    assert.equal("HTTP/2.0", facts { ca = certs.ca.cert }[1])
    assert_code("ETLS", http.get, url, { ca = certs.other.cert })
    local both = certs.other.cert .. certs.ca.cert
    assert.equal("HTTP/2.0", facts { ca = both }[1])
  end)

  it("wants the name of the URL in the certificate, and a valid one", function()
    local port = server.port + 1
    local resolve = { ["example.org"] = "127.0.0.1" }
    local err = assert_code("ETLS", http.get, "https://example.org:" .. port .. "/",
      { ca = certs.ca.cert, resolve = resolve })
    assert.matches("example.org", err.message)
    assert.equal("HTTP/2.0", facts({ ca = certs.ca.cert }, "https://127.0.0.1:" .. port .. "/")[1])
    local expired = "https://localhost:" .. server.port + 3 .. "/"
    err = assert_code("ETLS", http.get, expired, { ca = certs.ca.cert })
    assert.matches("expired", err.message)
  end)

  it("trusts everybody when it is told to, and for that request only", function()
    assert.equal("HTTP/2.0", facts({ verify = false })[1])
    assert_code("ETLS", http.get, url)
    local session <close> = http.session { verify = false }
    assert.equal(200, session:get(url).status)
    assert_code("ETLS", session.get, session, url, { verify = true })
    assert.equal(200, session:get(url).status)
  end)

  it("shows a certificate of its own", function()
    local got = facts { ca = certs.ca.cert, cert = certs.client.cert, key = certs.client.key }
    assert.equal("SUCCESS", got[2])
    assert.matches("CN=alice", got[3])
    local paths = { ca = certs.ca.cert_path, cert = certs.client.cert_path,
      key = certs.client.key_path }
    assert.equal("SUCCESS", facts(paths)[2])
    local both = certs.client.cert .. certs.client.key
    assert.equal("SUCCESS", facts({ ca = certs.ca.cert, cert = both })[2])
    assert.equal("NONE", facts({ ca = certs.ca.cert })[2])
    local session <close> = http.session(paths)
    assert.matches("SUCCESS", session:get(url):text())
    assert.matches("SUCCESS", session:get(url):text())
  end)

  it("opens a key that is locked", function()
    local options = { ca = certs.ca.cert, cert = certs.server.cert, key = certs.locked_key,
      key_password = "sesame" }
    assert.equal("SUCCESS", facts(options)[2])
    http.close() -- or that connection would do
    options.key_password = "wrong"
    assert_code("ETLS", http.get, url, options)
  end)

  it("shows neither certificate nor login to another host", function()
    local options = { ca = certs.ca.cert, cert = certs.client.cert, key = certs.client.key,
      auth = { "a", "b" } }
    local got = facts(options, url .. "here")
    assert.equal("SUCCESS", got[2])
    assert.equal("Basic YTpi", got[5])
    got = facts(options, url .. "away")
    assert.equal("NONE", got[2])
    assert.equal("", got[5])
  end)

  it("shares one connection among many fetches", function()
    local session <close> = http.session { ca = certs.ca.cert, http2 = true }
    local urls, connections, count = {}, {}, 0
    for i = 1, 50 do urls[i] = url .. i end
    session:map(urls, function(response)
      local connection = response:text():match "^HTTP/2%.0|NONE||(%d+)|"
      if not connections[connection] then
        connections[connection], count = true, count + 1
      end
    end, { limit = 50 })
    assert.equal(1, count)
  end)

  it("speaks HTTP/1.1 when it is told to", function()
    local got, response = facts { ca = certs.ca.cert, http2 = false }
    assert.equal("HTTP/1.1", got[1])
    assert.equal("1.1", response.version)
    local session <close> = http.session { ca = certs.ca.cert, http2 = false }
    assert.equal("1.1", session:get(url).version)
  end)

  it("speaks HTTP/2 without TLS to who is known to understand it", function()
    local plain = "http://127.0.0.1:" .. server.port + 2 .. "/"
    assert.equal("HTTP/2.0", http.get(plain, { http2 = "prior_knowledge" }):text())
    local session <close> = http.session { http2 = "prior_knowledge" }
    for _ = 1, 3 do assert.equal("HTTP/2.0", session:get(plain):text()) end
    local unread <close> = session:get(plain)
    assert.equal("HTTP/2.0", session:get(plain):text())
    assert.equal("HTTP/2.0", unread:text())
  end)

  it("sends bodies over HTTP/2 as they are made", function()
    local n = 0
    local response = http.put(url .. "echo", { ca = certs.ca.cert, body = function()
      n = n + 1
      async.sleep(0)
      return n <= 100 and ("x"):rep(20000) or nil
    end })
    assert.equal("2", response.version)
    assert.equal("2000000", response:text())
  end)

  it("breaks an upload over HTTP/2 off when it is cancelled", function()
    local begun = async.event()
    local session <close> = http.session { ca = certs.ca.cert }
    local task = async.spawn(session.put, session, url .. "echo", { body = function()
      begun:set()
      async.sleep(1e6)
    end })
    begun:wait()
    task:cancel()
    assert_code("ECANCELED", task.await, task)
    assert.equal(200, session:get(url).status)
  end)

  it("ends one of several streams of a connection alone", function()
    local session <close> = http.session { ca = certs.ca.cert, http2 = true }
    local slow <close> = session:get(url .. "slow/page.bin")
    local task = async.spawn(function() return slow:read() end)
    async.sleep(0)
    task:cancel()
    assert_code("ECANCELED", task.await, task)
    assert.equal(200, session:get(url).status)
  end)

  it("refuses options that are none", function()
    local function says(pattern, options) assert_says(pattern, http.get, url, options) end
    says("option 'verify' must be a boolean", { verify = 1 })
    says("option 'ca' must be a path or a text in PEM, got table", { ca = {} })
    says("option 'ca' is empty", { ca = "" })
    says("option 'ca': a NUL in it", { ca = "a\0b" })
    says("option 'key' needs 'cert'", { key = "x" })
    says("option 'http2' must be a boolean or 'prior_knowledge'", { http2 = "yes" })
    says("option 'key_password' must be a string", { key_password = 1 })
    assert_code("ENOENT", http.get, url, { ca = "/nowhere/ca.pem" })
    assert_code("ENOENT", http.session, { cert = "/nowhere/cert.pem" })
    local err = assert_code("EINVAL", http.get, url, { ca = "/etc/hostname" })
    assert.equal("/etc/hostname", err.path)
    assert.equal("http.get: nothing in PEM in the file of option 'ca': /etc/hostname (EINVAL)",
      tostring(err))
    local broken = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
    err = assert_code("ETLS", http.get, url, { ca = broken })
    assert.is_nil(tostring(err):find "nonsense")
    assert_code("ETLS", http.get, url, { ca = certs.ca.cert, cert = broken })
  end)

  it("reads files in a sandbox only when they are granted", function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(([[
      local http = require "asyncbox.http"
      print(pcall(http.get, %q, { ca = %q }))
    ]]):format(url, certs.ca.cert_path))
    file:close()
    local result = cli.run { "run", "--allow-net=localhost", path }
    assert.matches("fs.read: permission not granted", result.stdout)
    result = cli.run { "run", "--allow-net=localhost", "--allow-read=" .. certs.dir, path }
    assert.matches("<Response 200", result.stdout .. result.stderr)
    os.remove(path)
  end)
end)
