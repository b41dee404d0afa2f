-- asyncbox.dns, against a name server of our own.

local async = require "asyncbox"
local dns = require "asyncbox.dns"
local net = require "asyncbox.net"
local fs = require "asyncbox.fs"
local clean = require "spec.support.clean"
local children = require "spec.support.children"
local dns_server = require "spec.support.dns_server"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local sandboxed = require "spec.support.sandboxed"
local sockets = require "spec.support.sockets"

local assert_code, assert_says = errors.assert_code, errors.assert_says
local serve = dns_server.serve

setup(function()
  children.warm_up()
  sockets.warm_up()
end)
before_each(clean.start)
after_each(function()
  dns.servers {}
  clean.check()
end)

local function both(list)
  table.sort(list)
  return table.concat(list, " ")
end

describe("dns.resolve", function()
  it("gives the addresses of a name, of both families or one", function()
    local server <close> = serve {
      ["a.test"] = { A = { "192.0.2.1", "192.0.2.2" }, AAAA = "2001:db8::1" },
      ["four.test"] = { A = "192.0.2.4" },
    }
    assert.equal("192.0.2.1 192.0.2.2 2001:db8::1", both(dns.resolve "a.test."))
    assert.equal("192.0.2.1 192.0.2.2", both(dns.resolve("A.Test.", { family = "ipv4" })))
    assert.same({ "2001:db8::1" }, dns.resolve("a.test.", { family = "ipv6" }))
    assert.same({ "192.0.2.4" }, dns.resolve "four.test.")
    assert.is_true(server.total > 0)
  end)

  it("follows aliases", function()
    local _ <close> = serve { ["alias.test"] = { CNAME = "alias.test", A = "192.0.2.7" } }
    assert.same({ "192.0.2.7" }, dns.resolve("alias.test.", { family = "ipv4" }))
  end)

  it("asks nobody about localhost and addresses, in any spelling", function()
    local server <close> = serve {}
    assert.same({ "127.0.0.1", "::1" }, dns.resolve "localhost")
    assert.same({ "::1" }, dns.resolve("x.LOCALHOST.", { family = "ipv6" }))
    assert.same({ "127.0.0.1" }, dns.resolve "0x7f.1")
    assert.same({ "2001:db8::1" }, dns.resolve "2001:DB8:0::1")
    assert_code("EAI_ADDRFAMILY", dns.resolve, "127.0.0.1", { family = "ipv6" })
    assert.equal(0, server.total)
  end)

  it("tells the ways to fail apart", function()
    local server <close> = serve {
      ["empty.test"] = {},
      ["fail.test"] = "SERVFAIL",
      ["refused.test"] = "REFUSED",
      ["silent.test"] = "silent",
      ["garbage.test"] = "garbage",
    }
    local function check(want)
      for name, code in pairs(want) do
        local err = assert_code(code, dns.resolve, name .. ".test.")
        assert.equal(name .. ".test.", err.host)
        assert.equal("dns.resolve", err.op)
      end
    end
    check { gone = "EAI_NONAME", empty = "EAI_NODATA", fail = "EAI_FAIL", refused = "EAI_FAIL" }
    assert_says("^dns.resolve: unknown host: gone.test. %(EAI_NONAME%)$", dns.resolve, "gone.test.")
    dns.servers({ server.address }, { timeout = 0.05, tries = 2 })
    check { silent = "EAI_AGAIN", garbage = "EAI_AGAIN" }
    assert.equal(4, server.asked["silent.test"]) -- A and AAAA, twice
  end)

  it("fails when there is no server", function()
    local socket = net.udp { host = "127.0.0.1", port = 0 }
    dns.servers { tostring(socket:address()) }
    socket:close()
    assert_code("ECONNREFUSED", dns.resolve, "a.test.")
  end)

  it("asks the next server when one cannot tell", function()
    local bad <close> = dns_server.start { ["a.test"] = "SERVFAIL" }
    local good <close> = dns_server.start { ["a.test"] = { A = "192.0.2.1" } }
    dns.servers { bad.address, good.address }
    assert.same({ "192.0.2.1" }, dns.resolve("a.test.", { family = "ipv4" }))
  end)

  it("believes no answer to another question, and takes long ones by TCP", function()
    local many = {}
    for i = 1, 60 do many[i] = "192.0.2." .. i end
    local server <close> = serve {
      ["forged.test"] = { forged = true, A = "192.0.2.1" },
      ["long.test"] = { truncated = true, A = many },
    }
    assert.same({ "192.0.2.1" }, dns.resolve("forged.test.", { family = "ipv4" }))
    assert.equal(60, #dns.resolve("long.test.", { family = "ipv4" }))
    assert.equal(1, server.by_tcp)
  end)

  it("is ended at once by a timeout or a cancel", function()
    local server <close> = serve { ["silent.test"] = "silent", ["a.test"] = { A = "192.0.2.1" } }
    local list, ended = {}, 0
    for i = 1, 50 do
      list[i] = async.spawn(function()
        local ok, err = pcall(dns.resolve, "silent.test.")
        ended = ended + 1
        assert.is_true(not ok and err.code == "ECANCELED")
        error(err, 0)
      end)
    end
    eventually("they were asked", function() return (server.asked["silent.test"] or 0) >= 100 end)
    for _, task in ipairs(list) do task:cancel() end
    for _, task in ipairs(list) do pcall(async.await, task) end
    assert.equal(50, ended)
    assert_code("ETIMEDOUT", async.timeout, 0.01, dns.resolve, "silent.test.")
    assert.same({ "192.0.2.1" }, dns.resolve("a.test.", { family = "ipv4" }))
  end)

  it("leaves file calls alone while look-ups hang", function()
    local server <close> = serve { ["silent.test"] = "silent" }
    local g <close> = async.group()
    for _ = 1, 100 do g:spawn(pcall, dns.resolve, "silent.test.") end
    eventually("they were asked", function() return (server.asked["silent.test"] or 0) >= 200 end)
    assert.is_truthy(fs.read("spec/dns_spec.lua"):find "asyncbox.dns")
    g:cancel()
  end)

  it("looks up thousands of names at once", function()
    local zone = setmetatable({}, { __index = function() return { A = "192.0.2.1" } end })
    local _ <close> = serve(zone, { timeout = 0.5, tries = 10 })
    local names = {}
    for i = 1, 3000 do names[i] = "n" .. i .. ".test." end
    local results = async.map(names, function(name)
      return dns.resolve(name, { family = "ipv4" })[1]
    end, { limit = 3000 })
    for i = 1, 3000 do assert.equal("192.0.2.1", results[i]) end
  end)

  it("asks again each time", function()
    local server <close> = serve {
      ["turns.test"] = function(count) return { A = "192.0.2." .. count } end,
    }
    assert.same({ "192.0.2.1" }, dns.resolve("turns.test.", { family = "ipv4" }))
    assert.same({ "192.0.2.2" }, dns.resolve("turns.test.", { family = "ipv4" }))
    assert.equal(2, server.total)
  end)

  it("refuses arguments that cannot be right", function()
    for _, bad in ipairs { 1, {}, false } do
      assert_says("string expected", dns.resolve, bad)
    end
    assert_says("string expected", dns.resolve)
    assert_says("zero byte", dns.resolve, "a\0b")
    for _, bad in ipairs { "", ".", "a b", "a\n", ("a"):rep(300) } do
      assert_code("EINVAL", dns.resolve, bad)
    end
    assert_says('unknown option \'fam\' %(known: family, type%)', dns.resolve, "a", { fam = 1 })
    assert_says('must be "ipv4" or "ipv6", got "inet"', dns.resolve, "a", { family = "inet" })
    assert_says("'family' must be a string, got boolean", dns.resolve, "a", { family = true })
    assert_says("must be one of A, AAAA, .*, got \"ANY\"", dns.resolve, "a", { type = "ANY" })
    assert_says("exclude each other", dns.resolve, "a", { type = "A", family = "ipv4" })
    assert_says("options must be a table", dns.resolve, "a", 4)
  end)
end)

describe("dns.resolve with a type", function()
  it("gives records of each", function()
    local _ <close> = serve {
      ["a.test"] = {
        A = { "192.0.2.1", "192.0.2.2" },
        AAAA = "2001:db8::1",
        MX = { { 10, "mail.a.test" }, { 20, "other.test" } },
        NS = { "ns1.a.test", "ns2.a.test" },
        SOA = { { "ns1.a.test", "root.a.test", 1, 2, 3, 4, 4294967295 } },
        SRV = { { 1, 2, 65535, "host.a.test" } },
        CAA = { { 128, "issue", "ca.test; x=y" } },
        NAPTR = { { 1, 2, "u", "E2U+sip", "!^.*$!sip:x!", "next.test" } },
      },
      ["text.test"] = { TXT = { { "one ", "and\0two" }, { "" }, { ("x"):rep(255), "y" } } },
      ["alias.test"] = { CNAME = "real.test" },
      ["1.2.0.192.in-addr.arpa"] = { PTR = "a.test" },
    }
    local function get(name, kind) return dns.resolve(name .. ".", { type = kind }) end
    assert.same({ "192.0.2.1", "192.0.2.2" }, get("a.test", "A"))
    assert.same({ "2001:db8::1" }, get("a.test", "AAAA"))
    assert.same({ { preference = 10, exchange = "mail.a.test" },
      { preference = 20, exchange = "other.test" } }, get("a.test", "MX"))
    assert.same({ "ns1.a.test", "ns2.a.test" }, get("a.test", "NS"))
    assert.same({ { mname = "ns1.a.test", rname = "root.a.test", serial = 1, refresh = 2, retry = 3,
      expire = 4, minimum = 4294967295 } }, get("a.test", "SOA"))
    assert.same({ { priority = 1, weight = 2, port = 65535, target = "host.a.test" } },
      get("a.test", "SRV"))
    assert.same({ { critical = true, tag = "issue", value = "ca.test; x=y" } },
      get("a.test", "CAA"))
    assert.same({ { order = 1, preference = 2, flags = "u", services = "E2U+sip",
      regexp = "!^.*$!sip:x!", replacement = "next.test" } }, get("a.test", "NAPTR"))
    assert.same({ "one and\0two", "", ("x"):rep(255) .. "y" }, get("text.test", "TXT"))
    assert.same({ "real.test" }, get("alias.test", "CNAME"))
    assert.same({ "a.test" }, get("1.2.0.192.in-addr.arpa", "PTR"))
    assert_code("EAI_NODATA", get, "text.test", "MX")
    assert_code("EAI_NODATA", get, "alias.test", "MX")
    assert_code("EAI_NONAME", get, "gone.test", "MX")
  end)

  it("refuses nonsense, and writes strange names so that they can be read", function()
    local _ <close> = serve {
      ["short.test"] = { MX = { { raw = "\0" } } },
      ["circle.test"] = { NS = { { raw = "\xc0\x26" }, { raw = "\xc0\xff" } } },
      ["cut.test"] = { cut = 3, TXT = "hello" },
      ["long.test"] = { NS = { { raw = ("\1a"):rep(150) .. "\0" } } },
      ["strange.test"] = { NS = { { raw = "\6a.b\0\\c\4test\0" } } },
      ["root.test"] = { MX = { { 0, "" } } },
    }
    for name, kind in pairs { short = "MX", circle = "NS", cut = "TXT", long = "NS" } do
      assert_code("EAI_FAIL", dns.resolve, name .. ".test.", { type = kind })
    end
    assert.same({ "a\\.b\\000\\\\c.test" }, dns.resolve("strange.test.", { type = "NS" }))
    assert.equal("", dns.resolve("root.test.", { type = "MX" })[1].exchange)
  end)
end)

describe("dns.reverse", function()
  it("gives the names of an address", function()
    local _ <close> = serve {
      ["7.2.0.192.in-addr.arpa"] = { PTR = { "a.test", "b.test" } },
      ["1" .. (".0"):rep(23) .. ".8.b.d.0.1.0.0.2.ip6.arpa"] = { PTR = "six.test" },
    }
    assert.equal("a.test b.test", both(dns.reverse "192.0.2.7"))
    assert.same({ "six.test" }, dns.reverse "2001:db8::1")
    assert.equal("localhost", dns.reverse("127.0.0.1")[1]) -- /etc/hosts
  end)

  it("fails as resolve does", function()
    local server <close> = serve {
      ["9.2.0.192.in-addr.arpa"] = "silent",
      ["8.2.0.192.in-addr.arpa"] = "SERVFAIL",
    }
    local err = assert_code("EAI_NONAME", dns.reverse, "192.0.2.1")
    assert.equal("192.0.2.1", err.host)
    assert_code("EAI_FAIL", dns.reverse, "192.0.2.8")
    assert_code("ETIMEDOUT", async.timeout, 0.01, dns.reverse, "192.0.2.9")
    dns.servers({ server.address }, { timeout = 0.05, tries = 1 })
    assert_code("EAI_AGAIN", dns.reverse, "192.0.2.9")
    assert_says("an IP address expected", dns.reverse, "a.test")
    assert_says("string expected", dns.reverse, 1)
    assert_says("zero byte", dns.reverse, "127.0.0.1\0")
  end)
end)

describe("dns.servers", function()
  it("gives and sets those that are asked", function()
    dns.servers { "192.0.2.1", "192.0.2.2:5353", "::1", "[2001:db8::1]:54" }
    assert.same({ "192.0.2.1:53", "192.0.2.2:5353", "[::1]:53", "[2001:db8::1]:54" }, dns.servers())
    dns.servers {}
    assert.is_table(dns.servers())
  end)

  it("refuses what is none", function()
    for _, bad in ipairs { "localhost", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:x", "", "fe80::1%lo",
      "[::1", true, 5, { "1.2.3.4" } } do
      assert_says("server 1 must be an IP address", dns.servers, { bad })
    end
    assert_says("at most 8", dns.servers, { "::", "::", "::", "::", "::", "::", "::", "::", "::" })
    assert_says("table expected", dns.servers, "192.0.2.1")
    assert_says("table expected", dns.servers, nil)
    assert_says("unknown option 'try'", dns.servers, {}, { try = 1 })
    assert_says("'tries' must be from 1 to 10", dns.servers, {}, { tries = 0 })
    assert_says("'timeout' must not be negative", dns.servers, {}, { timeout = -1 })
  end)
end)

-- ---- in a sandbox ----

local function run(flags, code)
  return sandboxed.beside(flags, [[
    local async = require "asyncbox"
    local dns = async.dns
    function try(f, ...)
      local ok, got = pcall(f, ...)
      if not ok then got = type(got) == "table" and (got.hint or got.code) or got end
      print(type(got) == "table" and table.concat(got, " ") or tostring(got))
    end
  ]] .. code)
end

describe("in a sandbox", function()
  after_each(children.check)

  it("only granted names are looked up", function()
    local server <close> = dns_server.start {
      ["a.test"] = { A = "8.8.8.8", TXT = "hello" },
      ["b.test"] = { A = "8.8.4.4" },
    }
    local use = ("dns.servers { %q }\n"):format(server.address)
    local mine = "--allow-net=" .. server.address
    assert.equal("allow it with --allow-net=a.test.\nallow it with --allow-net=a.test",
      run({ mine }, use .. [[
        try(dns.resolve, "a.test.")
        try(dns.resolve, "a.test", { type = "TXT" })]]))
    assert.equal(0, server.total)
    assert.equal("8.8.8.8\nhello\nallow it with --allow-net=b.test",
      run({ mine, "--allow-net=a.test:443" }, use .. [[
        try(dns.resolve, "a.test.", { family = "ipv4" })
        try(dns.resolve, "a.test.", { type = "TXT" })
        try(dns.resolve, "b.test")]]))
    assert.equal("8.8.4.4",
      run({ mine, "--allow-net=*" }, use .. "try(dns.resolve, 'b.test.', {family = 'ipv4'})"))
  end)

  it("addresses that may not be connected are not told", function()
    local server <close> = dns_server.start {
      ["mixed.test"] = { A = { "10.0.0.1", "8.8.8.8", "192.168.0.1" } },
      ["inner.test"] = { A = "10.0.0.1" },
    }
    local use = ("dns.servers { %q }\n"):format(server.address)
    local mine = "--allow-net=" .. server.address
    local code = use .. [[
      for _, name in ipairs { "mixed.test.", "inner.test." } do
        try(dns.resolve, name, { family = "ipv4" })
        try(dns.resolve, name, { type = "A" })
      end]]
    local denied = "allow it with --allow-net=10.0.0.1"
    assert.equal(table.concat({ "8.8.8.8", "8.8.8.8", denied, denied }, "\n"),
      run({ mine, "--allow-net=*" }, code))
    local three = "10.0.0.1 8.8.8.8"
    local got = run({ mine, "--allow-net=*", "--allow-net=10.0.0.0/8:80" }, code)
    for line in got:gmatch "[^\n]+" do
      local list = {}
      for word in line:gmatch "%S+" do list[#list + 1] = word end
      assert.is_truthy(both(list) == three or line == "10.0.0.1", got)
    end
  end)

  it("addresses are turned into names where they may be connected", function()
    local server <close> = dns_server.start { ["8.8.8.8.in-addr.arpa"] = { PTR = "eight.test" } }
    local use = ("dns.servers { %q }\n"):format(server.address)
    local mine = "--allow-net=" .. server.address
    assert.equal("allow it with --allow-net=8.8.8.8\nallow it with --allow-net=[::1]",
      run({ mine }, use .. "try(dns.reverse, '8.8.8.8') try(dns.reverse, '::1')"))
    assert.equal("eight.test", run({ mine, "--allow-net=8.8.8.0/24:80" },
      use .. "try(dns.reverse, '8.8.8.8')"))
  end)

  it("servers must be granted, and the system's are not told", function()
    assert.equal("allow it with --allow-net=192.0.2.1:53\n" ..
      "the name servers of the system are not told",
      run({ "--allow-net=*" }, "try(dns.servers, { '192.0.2.1' }) try(dns.servers)"))
  end)
end)
