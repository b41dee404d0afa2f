-- asyncbox.url: after RFC 3986 and the WHATWG's URL standard.
local url = require "asyncbox.url"

local function fails(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  return err
end

-- { input, expected } pairs of texts, parsed and built again.
local function reads(cases)
  for _, case in ipairs(cases) do
    assert.equal(case[2], tostring(url.parse(case[1])), case[1])
    assert.equal(case[2], tostring(url.parse(case[2])), "again: " .. case[2])
  end
end

describe("url.join", function()
  -- RFC 3986, 5.4, as the WHATWG's parser reads them: a host without path gets
  -- "/", and "http:g" is relative.
  local BASE = "http://a/b/c/d;p?q"

  local function joins(cases)
    for reference, expected in pairs(cases) do
      assert.equal(expected, url.join(BASE, reference), reference)
    end
  end

  it("resolves the normal examples of RFC 3986", function()
    joins {
      ["g:h"] = "g:h", ["g"] = "http://a/b/c/g", ["./g"] = "http://a/b/c/g",
      ["g/"] = "http://a/b/c/g/", ["/g"] = "http://a/g", ["//g"] = "http://g/",
      ["?y"] = "http://a/b/c/d;p?y", ["g?y"] = "http://a/b/c/g?y",
      ["#s"] = "http://a/b/c/d;p?q#s", ["g#s"] = "http://a/b/c/g#s",
      ["g?y#s"] = "http://a/b/c/g?y#s", [";x"] = "http://a/b/c/;x",
      ["g;x"] = "http://a/b/c/g;x", ["g;x?y#s"] = "http://a/b/c/g;x?y#s",
      [""] = "http://a/b/c/d;p?q", ["."] = "http://a/b/c/", ["./"] = "http://a/b/c/",
      [".."] = "http://a/b/", ["../"] = "http://a/b/", ["../g"] = "http://a/b/g",
      ["../.."] = "http://a/", ["../../"] = "http://a/", ["../../g"] = "http://a/g",
    }
  end)

  it("resolves the abnormal examples of RFC 3986", function()
    joins {
      ["../../../g"] = "http://a/g", ["../../../../g"] = "http://a/g",
      ["/./g"] = "http://a/g", ["/../g"] = "http://a/g", ["g."] = "http://a/b/c/g.",
      [".g"] = "http://a/b/c/.g", ["g.."] = "http://a/b/c/g..", ["..g"] = "http://a/b/c/..g",
      ["./../g"] = "http://a/b/g", ["./g/."] = "http://a/b/c/g/",
      ["g/./h"] = "http://a/b/c/g/h", ["g/../h"] = "http://a/b/c/h",
      ["g;x=1/./y"] = "http://a/b/c/g;x=1/y", ["g;x=1/../y"] = "http://a/b/c/y",
      ["g?y/./x"] = "http://a/b/c/g?y/./x", ["g?y/../x"] = "http://a/b/c/g?y/../x",
      ["g#s/./x"] = "http://a/b/c/g#s/./x", ["g#s/../x"] = "http://a/b/c/g#s/../x",
      ["http:g"] = "http://a/b/c/g",
    }
  end)

  it("keeps user and port of the base, drops its fragment", function()
    assert.equal("http://u:p@h:81/y", url.join("http://u:p@h:81/x?q#f", "y"))
    assert.equal("https://h/y", url.join("https://h/x#f", "\\y"))
    assert.equal("http://g/", url.join("http://h/", "///g"))
    assert.equal("file:///a/c", url.join("file:///a/b", "c"))
    assert.equal("foo://h/c", url.join("foo://h", "c"))
  end)

  it("takes a parsed URL as base", function()
    assert.equal("http://a/c", url.join(url.parse "http://a/b", "c"))
    assert.equal("http://a/c", tostring(url.parse("c", url.parse "http://a/b")))
  end)

  it("knows bases that nothing is relative to", function()
    assert.equal("mailto:x@y#f", url.join("mailto:x@y", "#f"))
    local err = fails(url.join, "mailto:x@y", "z")
    assert.equal("EINVAL", err.code)
    assert.equal("url.join", err.op)
    assert.matches("its base has no path", tostring(err))
  end)
end)

describe("url.parse", function()
  it("gives the parts", function()
    local u = url.parse "https://me:secret@Example.COM:8443/a/b?x=1&y=2#top"
    assert.same({
      scheme = "https", user = "me", password = "secret", host = "example.com", port = 8443,
      path = "/a/b", query = "x=1&y=2", fragment = "top",
    }, setmetatable(u, nil))
  end)

  it("gives the scheme's port where none is said, and leaves it out of the text", function()
    assert.equal(443, url.parse("https://h").port)
    assert.equal(80, url.parse("http://h:").port)
    assert.is_nil(url.parse("foo://h").port)
    reads {
      { "http://h:80/", "http://h/" }, { "https://h:443/", "https://h/" },
      { "http://h:443/", "http://h:443/" }, { "http://h:00080/", "http://h/" },
      { "http://h:0/", "http://h:0/" }, { "foo://h:80/", "foo://h:80/" },
    }
  end)

  it("tells an empty query and fragment from none", function()
    assert.is_nil(url.parse("http://h/").query)
    assert.equal("", url.parse("http://h/?").query)
    assert.equal("", url.parse("http://h/#").fragment)
    reads { { "http://h/?#", "http://h/?#" } }
  end)

  it("reads what browsers read", function()
    reads {
      { "  HTTP://User@H/%7ea\t\n ", "http://User@h/%7ea" },
      { "http:\\\\h\\a\\..\\b", "http://h/b" }, { "http:h/a", "http://h/a" },
      { "http:////h", "http://h/" }, { "http://h/a b\"<>`{}", "http://h/a%20b%22%3C%3E%60%7B%7D" },
      { "http://h/?a b'\"<>", "http://h/?a%20b%27%22%3C%3E" },
      { "foo://h/?'", "foo://h/?'" }, { "http://h/#a b`", "http://h/#a%20b%60" },
      { "http://h/%2e/%2E%2e/x", "http://h/x" }, { "http://h/a/..", "http://h/" },
      { "http://h/a/./", "http://h/a/" }, { "http://h//..//x", "http://h//x" },
      { "http://h/ä", "http://h/%C3%A4" }, { "http://h/%zz%", "http://h/%zz%" },
      { "http://a@b@c/", "http://a%40b@c/" }, { "http://u:@h/", "http://u@h/" },
      { "http://ex%41mple/", "http://example/" }, { "foo:/a/../b", "foo:/b" },
      { "foo:/..//b", "foo:/.//b" }, { "mailto:a@b?subject=x", "mailto:a@b?subject=x" },
      { "file:///a/../b", "file:///b" }, { "file:a", "file:///a" },
      { "file://localhost/a", "file:///a" }, { "foo://", "foo://" }, { "foo:///x", "foo:///x" },
    }
  end)

  it("gives names in the form that the DNS has", function()
    reads {
      { "http://Bücher.example/", "http://xn--bcher-kva.example/" },
      { "http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/" },
      { "http://bu\u{308}cher\u{3002}example", "http://xn--bcher-kva.example/" },
      { "http://faß.example/", "http://xn--fa-hia.example/" },
      { "http://☃.example/", "http://xn--n3h.example/" },
      { "http://日本語。jp", "http://xn--wgv71a119e.jp/" },
      { "http://XN--BCHER-KVA.example/", "http://xn--bcher-kva.example/" },
      { "http://１２７．１/", "http://127.0.0.1/" }, { "http://Ｇｏ.com/", "http://go.com/" },
      { "http://a\u{ad}b/", "http://ab/" }, { "foo://bücher/", "foo://b%C3%BCcher/" },
    }
    assert.equal("http://xn--bcher-kva/", url.build { scheme = "http", host = "bücher" })
    assert.equal("http://xn--bcher-kva/x", url.join("http://h", "//bücher/x"))
  end)

  it("keeps the drive letters of file URLs", function()
    reads {
      { "file:///C|/a/../../b", "file:///C:/b" }, { "file:c:\\a", "file:///c:/a" },
      { "file://C:/..", "file:///C:/" }, { "file:///a/../C|", "file:///C:" },
      { "file:///Ca/../b", "file:///b" }, { "http://h/C|/..", "http://h/" },
    }
    for reference, expected in pairs {
      ["/b"] = "file:///C:/b", ["../.."] = "file:///C:/", ["D|/x"] = "file:///D:/x",
      ["/D:/x"] = "file:///D:/x", ["//h/x"] = "file://h/x", ["C|a"] = "file:///C:/x/C|a",
    } do
      assert.equal(expected, url.join("file:///C:/x/y", reference), reference)
    end
    assert.equal("file:///C:/x", url.join("file:///C:", "x"))
  end)

  it("encodes a space at the end of a path that is just text", function()
    reads { { "data:a b  ?q", "data:a b %20?q" }, { "data:a  ", "data:a" } }
    assert.equal("mailto:a%20", url.build { scheme = "mailto", path = "a " })
  end)

  it("gives every spelling of an IPv4 address as one", function()
    for _, host in ipairs {
      "127.0.0.1", "127.1", "0x7f.1", "0x7F000001", "2130706433", "017700000001", "127.0.1",
      "0177.0.0.01", "127.0.0.1.", "%31%32%37.1",
    } do
      assert.equal("127.0.0.1", url.parse("http://" .. host).host, host)
    end
    assert.equal("0.0.0.0", url.parse("http://0x").host)
    assert.equal("1.2.3.example", url.parse("http://1.2.3.example").host)
  end)

  it("gives IPv6 addresses in their shortest form, without brackets", function()
    for text, short in pairs {
      ["::1"] = "::1", ["::"] = "::", ["0:0:0:0:0:0:0:1"] = "::1",
      ["1:0:0:2:0:0:0:3"] = "1:0:0:2::3",
      ["2001:DB8::00FF"] = "2001:db8::ff", ["::ffff:127.0.0.1"] = "::ffff:7f00:1",
      ["1:2:3:4:5:6:7::"] = "1:2:3:4:5:6:7:0", ["1:0:1:1:1:1:1:1"] = "1:0:1:1:1:1:1:1",
      ["1::"] = "1::", ["0:0:1:1:0:0:1:1"] = "::1:1:0:0:1:1",
    } do
      local u = url.parse("http://[" .. text .. "]:81/")
      assert.equal(short, u.host, text)
      assert.equal("http://[" .. short .. "]:81/", tostring(u))
    end
  end)

  it("refuses what is none, and says why", function()
    for text, why in pairs {
      [""] = "a relative URL without a base", ["/a"] = "a relative URL", ["//h"] = "a relative URL",
      ["1http://h"] = "a relative URL", ["http://"] = "the host is missing",
      ["http://:80"] = "the host is missing", ["http://u@"] = "the host is missing",
      ["http://u@/a"] = "the host is missing", ["http://h:65536"] = "invalid port '65536'",
      ["http://h:x"] = "invalid port 'x'", ["http://h:-1"] = "invalid port",
      ["http://a b/"] = "character",
      ["http://a:b:80/"] = "character", ["http://a%00b/"] = "character",
      ["http://a%2fb/"] = "character",
      ["http://a|b/"] = "character", ["http://a<b/"] = "character", ["http://%/"] = "character",
      ["http://1.2.3.4.5/"] = "IPv4", ["http://256.1/"] = "", ["http://1.2.3.256/"] = "IPv4",
      ["http://4294967296/"] = "IPv4", ["http://0x100000000/"] = "IPv4", ["http://1..2/"] = "IPv4",
      ["http://99999999999999999999999/"] = "IPv4", ["http://09.1/"] = "",
      ["http://1.08/"] = "IPv4",
      ["http://[::1"] = "IPv6", ["http://[]"] = "IPv6", ["http://[:::]"] = "IPv6",
      ["http://[1:2:3:4:5:6:7]"] = "IPv6", ["http://[1:2:3:4:5:6:7:8:9]"] = "IPv6",
      ["http://[1::2::3]"] = "IPv6", ["http://[12345::]"] = "IPv6", ["http://[::1.2.3]"] = "IPv6",
      ["http://[::1.2.3.256]"] = "IPv6", ["http://[::01.2.3.4]"] = "IPv6",
      ["http://[fe80::1%25a]"] = "IPv6",
      ["http://[1.2.3.4::]"] = "IPv6", ["http://[1:2:3:4:5:6:7:8::]"] = "IPv6",
      ["http://[::1]x"] = "",
      ["http://ä\u{202e}/"] = "disallowed", ["http://xn--a/"] = "forbidden",
      ["http://\u{ad}/"] = "missing", ["http://a\u{ff0f}b/"] = "character",
      ["http://a\u{3000}b/"] = "character", ["http://\xff/"] = "encoding",
      ["http://1.2.3.２５６/"] = "IPv4", ["foo://a b"] = "character",
    } do
      local err = fails(url.parse, text)
      assert.equal("EINVAL", err.code, text)
      assert.equal("url.parse", err.op)
      assert.matches(why, tostring(err))
    end
  end)

  it("says which URL it is, a long one shortened", function()
    local err = fails(url.parse, "http://h:99999/")
    assert.equal("http://h:99999/", err.url)
    assert.is_true(#fails(url.parse, ("x"):rep(1 << 20)).url < 300)
  end)

  it("refuses other values at the caller's line", function()
    assert.matches("^spec/url_spec.lua:%d+: bad argument #1 to 'parse'", fails(function()
      url.parse(nil)
    end))
    assert.matches("bad argument #2 to 'parse'", fails(url.parse, "x", 7))
    assert.matches("bad argument #2 to 'join'", fails(url.join, "http://a"))
  end)

  it("takes its time in proportion to the text", function()
    local n = 200000
    for _, text in ipairs {
      ("@"):rep(n), (":"):rep(n), (" "):rep(n), ("["):rep(n), ("."):rep(n), ("/../a"):rep(n),
      ("%2e%2e/"):rep(n), ("?"):rep(n), ("1."):rep(n), ("::"):rep(n), ("@:"):rep(n),
    } do
      pcall(url.parse, "http://" .. text)
      pcall(url.parse, "http://h/" .. text)
      pcall(url.decode_query, text)
    end
  end)
end)

describe("url.build", function()
  it("is the inverse of parse, also for changed parts", function()
    local u = url.parse "http://h/a?b#c"
    u.scheme, u.port, u.query = "https", 8080, { x = "1 2" }
    assert.equal("https://h:8080/a?x=1+2#c", tostring(u))
  end)

  it("encodes what may not stand in a part", function()
    assert.equal("http://a%40b:c%3Ad@[::1]/x%20y%3Fz?q%23#f%20g", url.build {
      scheme = "HTTP", user = "a@b", password = "c:d", host = "::1", port = 80, path = "x y?z",
      query = "q#", fragment = "f g",
    })
    assert.equal("mailto:a@b", url.build { scheme = "mailto", path = "a@b" })
    assert.equal("file:///a", url.build { scheme = "file", path = "/a" })
    assert.equal("file:///a", url.build { scheme = "file", host = "LOCALHOST", path = "/a" })
    assert.equal("foo:/.//a", url.build { scheme = "foo", path = "//a" })
  end)

  it("lets nothing of a part become another", function()
    for _, host in ipairs { "a/b", "a?b", "a#b", "a@b", "a:1", "", "[::1", "a\0b", "a\nb" } do
      local err = fails(url.build, { scheme = "http", host = host })
      assert.equal("EINVAL", err.code, host)
    end
    assert.equal("http://h/%2F%3F%23", url.build { scheme = "http", host = "h", path = "/%2F?#" })
  end)

  it("refuses parts that it does not know, and wrong ones", function()
    local err = fails(function() url.build { scheme = "http", hots = "h" } end)
    assert.matches("url_spec.lua:%d+: url.build: unknown part 'hots' %(known: scheme, ", err)
    for text, parts in pairs {
      ["'scheme' is missing"] = { host = "h" }, ["'port' must be"] = { scheme = "http",
      port = 65536 },
      ["'host' must be a string, got number"] = { scheme = "http", host = 1 },
      ["'port' must be a whole number"] = { scheme = "http", host = "h", port = 0 / 0 },
      ["need a host"] = { scheme = "foo", user = "u" },
      ["the host is missing"] = { scheme = "http" },
      ["a file URL has no"] = { scheme = "file", host = "h", port = 1 },
      ["invalid scheme"] = { scheme = "a b", host = "h" },
    } do
      assert.matches(text, tostring(fails(url.build, parts)))
    end
    assert.matches("bad argument #1 to 'build'", fails(url.build))
  end)
end)

describe("url.encode and url.decode", function()
  it("are each other's inverse for every byte", function()
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    all = table.concat(all)
    assert.equal(all, url.decode(url.encode(all)))
    assert.equal("a%2Fb%20c%26%C3%A4~-_.", url.encode "a/b c&ä~-_.")
  end)

  it("refuse an escape that is none", function()
    for text, at in pairs { ["100%"] = 4, ["%4"] = 1, ["a%41%zz"] = 5, ["%%41"] = 1 } do
      local err = fails(url.decode, text)
      assert.equal("EINVAL", err.code)
      assert.matches("at byte " .. at .. ":", tostring(err))
    end
    assert.matches("bad argument #1 to 'decode'", fails(url.decode, {}))
    assert.matches("bad argument #1 to 'encode'", fails(url.encode))
  end)
end)

describe("url.encode_query and url.decode_query", function()
  it("write names in order, lists as repeated names", function()
    assert.equal("a=1&a=2&b=x+y%26&c=true",
      url.encode_query { c = true, b = "x y&", a = { 1, 2 } })
    assert.equal("z=1&a=2&z=3", url.encode_query { { "z", 1 }, { "a", 2 }, { "z", 3 } })
    assert.equal("", url.encode_query {})
  end)

  it("read pairs in their order, and find by name", function()
    local q = url.decode_query "z=1&a=%C3%A4+b&z=3&&flag&=v&bad=%zz&e=a=b"
    assert.equal("1", q:get "z")
    assert.same({ "1", "3" }, q:all "z")
    assert.equal("ä b", q:get "a")
    assert.equal("", q:get "flag")
    assert.equal("v", q:get "")
    assert.equal("%zz", q:get "bad")
    assert.equal("a=b", q:get "e")
    assert.is_nil(q:get "none")
    assert.same({}, q:all "none")
    assert.equal("z=1&a=%C3%A4+b&z=3&flag=&=v&bad=%25zz&e=a%3Db", tostring(q))
    assert.equal("", tostring(url.decode_query ""))
  end)

  it("refuse values that have no text", function()
    for text, values in pairs {
      ["the value of 'a' must be .* got function"] = { a = print },
      ["got nan"] = { a = 0 / 0 }, ["got %-?inf"] = { a = math.huge },
      ["the value of 'a' must be a list, it has the key 'b'"] = { a = { b = 1 } },
      ["item 2 must be"] = { { "a", 1 }, "b" }, ["a name must be a string"] = { [{}] = 1 },
    } do
      assert.matches(text, (fails(url.encode_query, values):gsub("%-nan", "nan")))
    end
    assert.matches("bad argument #1 to 'encode_query'", fails(url.encode_query, "a=1"))
    assert.matches("bad argument #1 to 'decode_query'", fails(url.decode_query, {}))
  end)
end)
