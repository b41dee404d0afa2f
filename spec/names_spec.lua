-- Names of hosts that are not ASCII, in every module that takes names. (What url.parse makes of
-- them: url_whatwg_spec, url_names_spec.)

local async = require "asyncbox"
local dns = require "asyncbox.dns"
local fs = require "asyncbox.fs"
local http = require "asyncbox.http"
local net = require "asyncbox.net"
local process = require "asyncbox.process"
local certificates = require "spec.support.certificates"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local dns_server = require "spec.support.dns_server"
local errors = require "spec.support.errors"
local folder = require "spec.support.folder"
local sandboxed = require "spec.support.sandboxed"
local sockets = require "spec.support.sockets"

local assert_code, assert_says = errors.assert_code, errors.assert_says

local ZONE = {
  ["xn--bcher-kva.test"] = { A = "127.0.0.1", MX = { { 1, "mail.test" } } },
  ["xn--n3h.test"] = { A = "127.0.0.1" },
}

-- Answers with the line and the Host of the request; /to? and a URL in hexadecimal digits
-- redirects.
local function answer(conn)
  local head = conn:read_until "\r\n\r\n"
  if not head then return end
  local line, host = head:match "^(.-) HTTP", head:match "[Hh]ost: ([^\r]+)"
  local to, body = line:match "^GET /to%?(%x+)", line .. " " .. host
  to = to and to:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
  conn:write(to and ("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n" ..
    "Connection: close\r\n\r\n"):format(to) or ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" ..
    "Connection: close\r\n\r\n%s"):format(#body, body))
end

local web, port, names
local certs

local function url(host, path) return ("http://%s:%d%s"):format(host, port, path or "/") end

-- Our server redirects to this very text.
local function redirect(to)
  return url("127.0.0.1", "/to?" .. to:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

setup(function()
  certs = certificates.make()
  children.warm_up()
  sockets.warm_up()
end)

teardown(certificates.remove)

before_each(function()
  clean.start()
  web = net.listen("127.0.0.1", 0, answer)
  port = web:address().port
  names = dns_server.start(ZONE)
  dns.servers { names.address }
  async.sleep(0) -- it is listening when a case is over at once, too
end)

after_each(function()
  getmetatable(names).__close(names)
  web:close()
  http.close()
  dns.servers {}
  clean.check()
  children.check()
end)

describe("a name that is not ASCII", function()
  it("is fetched from, by its name in the DNS", function()
    local host = "xn--bcher-kva.test:" .. port
    for _, spelling in ipairs {
      "bücher.test", "BÜCHER。test", "b\u{ad}ücher.test", "bu\u{308}cher.test",
      "b%C3%BCcher.test", "ｂücher．ｔｅｓｔ", "xn--bcher-kva.test",
    } do
      local r = http.get(url(spelling))
      assert.equal("GET / " .. host, r:text(), spelling)
      assert.equal("http://" .. host .. "/", r.url)
    end
    assert.equal("GET / xn--n3h.test:" .. port, http.get(url "☃.test"):text())
    assert.equal("GET / " .. host,
      http.get(url("bücher.test"), { headers = { X = "1" }, retries = 1 }):text())
    local session <close> = http.session { base_url = url "bücher.test" }
    assert.equal("GET /a " .. host, session:get("a"):text())
  end)

  it("is followed to", function()
    local host = "xn--bcher-kva.test:" .. port
    for _, to in ipairs { "bücher.test", "b%C3%BCcher.test", "u:p@BÜCHER.test" } do
      local r = http.get(redirect(url(to, "/ü")))
      assert.equal("GET /%C3%BC " .. host, r:text(), to)
      assert.equal("http://" .. host .. "/%C3%BC", r.url)
    end
    assert.equal("GET /x " .. host,
      http.get(redirect("//bücher.test:" .. port .. "/x")):text())
    assert_code("EURL", http.get, redirect(url "a\u{ff0f}b.test"))
  end)

  it("leaves the rest of a URL as escapes", function()
    assert.equal("GET /%C3%A4?%C3%B6=%41 127.0.0.1:" .. port,
      http.get(url("127.0.0.1", "/ä?ö=%41#ü")):text())
  end)

  it("is found in the other options of http", function()
    local session <close> = http.session { cookies = { { name = "a", value = "1",
      domain = "bücher.test" } }, resolve = { ["grün.test"] = "127.0.0.1" } }
    assert.equal("xn--bcher-kva.test", session.cookies:list()[1].domain)
    assert.equal("1", session.cookies:get("a", "BÜCHER.test"))
    assert.equal("GET / xn--grn-ioa.test:" .. port, session:get(url "grün.test"):text())
    local r = http.get("http://there.test/x", { proxy = url "ｌｏｃａｌｈｏｓｔ" })
    assert.equal("GET http://there.test/x there.test", r:text())
  end)

  it("is connected to", function()
    local server <close>, at = sockets.serve(sockets.echo)
    for _, spelling in ipairs { "bücher.test", "☃.test", "１２７．０．０．１", "ｌｏｃａｌｈｏｓｔ" } do
      local conn <close> = net.connect(spelling, at)
      conn:write "hello"
      assert.equal("hello", conn:read_exactly(5), spelling)
    end
    local listener <close> = net.listen("１２７。１", 0)
    assert.equal("127.0.0.1", listener:address().host)
    assert.is_truthy(server)
  end)

  it("is asked for, and certified, over TLS", function()
    local asked = async.queue()
    local server <close> = net.listen("127.0.0.1", 0, function(conn)
      asked:put(conn:tls().server_name)
      conn:write "x"
    end, { tls = { cert = certs.server.cert, key = certs.server.key } })
    local function connect(host, options)
      local conn <close> = net.connect(host, server:address().port, { tls = options })
      return conn:read_exactly(1)
    end
    assert.equal("x", connect("ｌｏｃａｌｈｏｓｔ", { ca = certs.ca.cert }))
    assert.equal("localhost", asked:get())
    connect("127.0.0.1", { verify = false, server_name = "Bücher.test" })
    assert.equal("xn--bcher-kva.test", asked:get())
    assert_code("ETLS", connect, "bücher.test", { ca = certs.ca.cert })
    assert_code("EINVAL", connect, "127.0.0.1", { server_name = "ü\u{202e}" })
  end)

  it("is looked up", function()
    assert.same({ "127.0.0.1" }, dns.resolve("Bücher.test", { family = "ipv4" }))
    assert.equal("mail.test", dns.resolve("bücher.test", { type = "MX" })[1].exchange)
    assert.same({ "127.0.0.1" }, dns.resolve "①②⑦．１")
  end)

  it("is sent packets", function()
    local here <close> = net.udp { host = "127.0.0.1", port = 0 }
    local there <close> = net.udp { host = "127.0.0.1", port = 0 }
    there:send("a", "bücher.test", here:address().port)
    assert.equal("a", (here:recv()))
    there:connect("☃.test", here:address().port)
    there:send "b"
    assert.equal("b", (here:recv()))
  end)

  it("is refused where it is none", function()
    for _, name in ipairs {
      "a\u{ff0f}b", "a\u{ff20}b", "a\u{ff1a}80", "\u{ff05}41", "ü b", "\u{ad}", "\u{301}a",
      "\xff\xfe", "ü\u{202e}", "ü" .. ("x"):rep(64), ("ü."):rep(200), ("\u{ad}"):rep(3000) .. "ü",
    } do
      local err = assert_code("EINVAL", net.connect, name, 1)
      assert.equal("net.connect", err.op)
      assert_code("EINVAL", dns.resolve, name)
      assert_code("EURL", http.get, "http://" .. name .. "/")
    end
    assert_says("^http.get: bad URL: string contains a disallowed character: http://ü\u{202e}/",
      http.get, "http://u:p@ü\u{202e}/")
    assert_code("EURL", http.get, "http://a%2fb/")
    assert_code("EURL", http.get, "http://a%zz/")
    assert_code("EURL", http.get, "http://a%00b/")
  end)

  it("says what it needs where libidn2 is missing", function()
    local dir = os.tmpname()
    os.remove(dir)
    fs.mkdir(dir)
    fs.write(dir .. "/libidn2.so.0", "")
    fs.write(dir .. "/script.lua", [[
      local url = require "asyncbox.url"
      print(url.parse("http://XN--bcher-kva.test/").host)
      print(pcall(url.parse, "http://bücher.test/"))
    ]])
    local r = process.run(folder.program, { "run", dir .. "/script.lua" },
      { env = { LD_LIBRARY_PATH = dir } })
    fs.remove(dir, { recursive = true })
    assert.is_truthy(r.stdout:find("^xn%-%-bcher%-kva.test\n" ..
      "false\turl.parse: a name that is not ASCII needs libidn2: .*libidn2.so.0"), r.stdout)
  end)
end)

describe("a sandbox", function()
  -- What the script says, in lines; `...` of it is the port.
  local function run(flags, code)
    local printed = sandboxed.beside(flags, ([[
      local async = require "asyncbox"
      local dns, http, net = async.dns, async.http, async.net
      local port = %d
      local function try(f, ...)
        local ok, err = pcall(f, ...)
        print(ok and "ok" or err.code .. " " .. tostring(err.host) .. " " .. tostring(err.hint))
      end
      local function url(host, path)
        return "http://" .. host .. ":" .. port .. (path or "/")
      end
    ]]):format(port) .. code)
    local lines = {}
    for line in printed:gmatch "[^\n]+" do lines[#lines + 1] = line end
    return lines
  end

  local DISGUISES = [[
    for _, host in ipairs { "１２７．０．０．１", "127。0。0。1", "①②⑦.1", "２１３０７０６４３３",
      "ｌｏｃａｌｈｏｓｔ", "loc\u{ad}alhost", "ｘ.ＬＯＣＡＬＨＯＳＴ", "0ｘ7f000001", "%ef%bc%91２７.1",
      "１０．0．0．1", "１６９。２５４。１６９。２５４", "0.0.0.０" } do
  ]]

  it("is not left by another spelling", function()
    local lines = run({ "--allow-net=*" }, DISGUISES .. [[
        try(http.get, url(host))
        if not host:find "%%" then
          try(net.connect, host, port)
          try(function() net.udp():send("x", host, port) end)
        end
      end]])
    for i, line in ipairs(lines) do
      assert.is_truthy(line:find "^EDENIED [%w.]+ allow it with %-%-allow%-net=[%w.]+", i .. line)
    end
    assert.equal(12 + 2 * 11, #lines)
  end)

  it("is granted names in any spelling, and asked by the one of the DNS", function()
    local flags = { "--allow-net=BÜCHER.test", "--allow-net=１２７．0．0．1",
      "--allow-net=" .. names.address }
    local lines = run(flags, ([[
      dns.servers { %q }
      try(http.get, url "bücher.test")
      try(http.get, url "xn--BCHER-kva.test")
      try(http.get, url "bücher.test.")
      try(net.connect, "bücher.test", port)
      try(dns.resolve, "bücher.test")
      try(http.get, url "127.0.0.1")
      try(http.get, url "grün.test")
      try(net.connect, "grün.test", port)
      try(dns.resolve, "grün.test")]]):format(names.address))
    local host = "EDENIED xn--grn-ioa.test allow it with --allow-net=xn--grn-ioa.test"
    assert.same({ "ok", "ok", "ok", "ok", "ok", "ok", host .. ":" .. port, host .. ":" .. port,
      host }, lines)
  end)

  it("is not left by a redirect", function()
    local flags = { "--allow-net=127.0.0.1:" .. port }
    local code = ("try(http.get, %q)\n"):format(redirect(url "２１３０７０６４３３"))
      .. ("try(http.get, %q)\n"):format(redirect("http://１２７．1:1/"))
      .. ("try(http.get, %q)\n"):format(redirect(url "ｅxample．org"))
    assert.same({ "ok", "EDENIED 127.0.0.1 allow it with --allow-net=127.0.0.1:1",
      "EDENIED example.org allow it with --allow-net=example.org:" .. port }, run(flags, code))
  end)

  -- Who looks at url.parse(u).host before http.get(u) must not be deceived.
  it("is denied the very host that url.parse reads, or the URL is bad", function()
    local lines = run({ "--sandbox" }, [=[
      local url = require "asyncbox.url"
      for _, text in ipairs {
        "http://a@b/", "http://a@b@c/", "http://a:b@c:81/", "http://a%40b@c/", "http://a/@b",
        "http://a?@b", "http://a#@b", "http://a:80@b/", "http://[::1]/", "http://u@[::1]:81/",
        "http://a%2eb/", "http://%61.b/", "http://1/", "http://0x7f.1:81/", "http://[::ffff:1]/",
        "http://a\\@b/", "http://a\\b/", "http://a:80\\@b/", "http://a%5c@b/", "http://a%2f@b/",
        "http://ａ@ｂ/", "http://a／@b/", "http://a／b/", "http://a＠b/", "http://a：81/",
        "http://u＠v@b/", "http://[::1]@b/", "http://@b/", "http://a|@b/", "http:///a/",
      } do
        local ok, err = pcall(http.get, text)
        if err.code == "EURL" then
          print "EURL"
        else
          local u = url.parse(text)
          local here = err.host:find(":", 1, true) and "[" .. err.host .. "]" or err.host
          print(err.code == "EDENIED" and url.parse("http://" .. here .. "/").host == u.host
            and err.hint:match "(%d+)$" == tostring(u.port) and "same" or text)
        end
      end]=])
    assert.equal(30, #lines)
    local bad = 0
    for _, line in ipairs(lines) do
      if line == "EURL" then bad = bad + 1 else assert.equal("same", line) end
    end
    assert.is_true(bad <= 8, "refused: " .. bad)
  end)

  it("is told which grant cannot be read", function()
    local r = process.run(folder.program, { "run", "--allow-net=ü\u{202e}", "x" },
      { check = false })
    assert.is_truthy(r.stderr:find("allow-net", 1, true), r.stderr)
    assert.is_true(r.status ~= 0)
  end)
end)

