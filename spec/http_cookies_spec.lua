-- The cookies of asyncbox.http's sessions.
local http = require "asyncbox.http"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local raw = require "spec.support.raw_http"

local assert_says = errors.assert_says

describe("cookies", function()
  local server, url, answers, session

  -- What a path is answered with: header lines.
  local function answer(request)
    return raw.page("200 OK", "", table.unpack(answers[request.target] or {}))
  end

  setup(function() raw.warm_up() end)

  before_each(function()
    clean.start()
    answers = {}
    server = raw.serve(answer)
    url = server.url
    -- Names that mean the server; loopback addresses have no parents and are
    -- as good as TLS for "Secure".
    session = http.session { resolve = {
      ["a.example.org"] = "127.0.0.1", ["b.example.org"] = "127.0.0.1",
      ["example.org"] = "127.0.0.1", ["other.net"] = "127.0.0.1",
    } }
  end)

  after_each(function()
    session:close()
    http.close()
    server.listener:close()
    server, session = nil, nil
    clean.check()
  end)

  local function at(host, path) return "http://" .. host .. ":" .. server.port .. path end

  -- The Cookie header that a fetch sends.
  local function sent(host, path, options)
    session:get(at(host, path), options)
    return server.requests[#server.requests].headers.cookie
  end

  it("are kept by a session and sent back to their host", function()
    answers["/set"] = { "Set-Cookie: one=1; Path=/", "Set-Cookie: two=2; Path=/; HttpOnly" }
    assert.is_nil(sent("a.example.org", "/set"))
    local first, second = sent("a.example.org", "/x"):match "^(%S+); (%S+)$"
    assert.is_true(first == "one=1" and second == "two=2" or first == "two=2" and second == "one=1")
    assert.is_nil(sent("b.example.org", "/x"))
    assert.is_nil(sent("example.org", "/x"))
    assert.is_nil(sent("other.net", "/x"))
  end)

  it("with a domain are for all below it", function()
    answers["/set"] = { "Set-Cookie: d=1; Domain=example.org; Path=/" }
    sent("a.example.org", "/set")
    assert.equal("d=1", sent("b.example.org", "/x"))
    assert.equal("d=1", sent("example.org", "/x"))
    assert.is_nil(sent("other.net", "/x"))
  end)

  it("for somebody else's domain, or a public suffix, are refused", function()
    answers["/set"] = {
      "Set-Cookie: a=1; Domain=other.net; Path=/", "Set-Cookie: b=1; Domain=org; Path=/",
      "Set-Cookie: c=1; Domain=b.example.org; Path=/",
    }
    sent("a.example.org", "/set")
    assert.same({}, session.cookies:list())
  end)

  it("with a path are for what lies below it", function()
    answers["/set"] = { "Set-Cookie: p=1; Path=/deep" }
    sent("a.example.org", "/set")
    assert.is_nil(sent("a.example.org", "/"))
    assert.is_nil(sent("a.example.org", "/deeper"))
    assert.equal("p=1", sent("a.example.org", "/deep"))
    assert.equal("p=1", sent("a.example.org", "/deep/down"))
  end)

  it("that are secure come and go through TLS only", function()
    answers["/set"] = { "Set-Cookie: s=1; Secure; Path=/" }
    sent("a.example.org", "/set")
    assert.is_nil(sent("a.example.org", "/x"))
    session.cookies:set { name = "s", value = "2", domain = "a.example.org", secure = true }
    assert.is_nil(sent("a.example.org", "/x"))
  end)

  it("expire", function()
    answers["/set"] = {
      "Set-Cookie: old=1; Expires=Thu, 01 Jan 1970 00:00:10 GMT; Path=/",
      "Set-Cookie: young=1; Max-Age=1000; Path=/", "Set-Cookie: gone=1; Max-Age=1000; Path=/",
    }
    answers["/unset"] = { "Set-Cookie: gone=; Max-Age=0; Path=/" }
    sent("a.example.org", "/set")
    sent("a.example.org", "/unset")
    -- libcurl still has it, with a time in the past.
    assert.is_nil(session.cookies:get "gone")
    assert.equal(0, session.cookies:remove "gone")
    assert.equal("young=1", sent("a.example.org", "/x"))
    assert.equal(1, #session.cookies:list())
    local expires = session.cookies:list()[1].expires
    assert.is_true(expires > os.time() + 900 and expires <= os.time() + 1001)
  end)

  it("follow redirects by their own rules", function()
    answers["/go"] = { "Set-Cookie: mine=1; Path=/", "Location: " .. at("other.net", "/there") }
    server.listener:close()
    server = raw.serve(function(request)
      local host = request.headers.host:match "^[^:]+"
      if host == "a.example.org" and request.target == "/go" then
        return raw.page("302 Found", "", "Set-Cookie: mine=1; Path=/",
          "Location: " .. at("other.net", "/there"))
      elseif request.target == "/there" then
        return raw.page("302 Found", "", "Set-Cookie: theirs=2; Path=/",
          "Location: " .. at("a.example.org", "/back"))
      end
      return raw.page("200 OK", "")
    end)
    session:get(at("a.example.org", "/go"), { cookies = { once = "3" } })
    local requests = server.requests
    assert.equal("once=3", requests[1].headers.cookie)
    assert.equal("/there", requests[2].target)
    assert.is_nil(requests[2].headers.cookie)
    assert.equal("/back", requests[3].target)
    assert.equal("mine=1", requests[3].headers.cookie)
    assert.equal("2", session.cookies:get("theirs", "other.net"))
  end)

  it("belong to one session, and the module's own functions keep none", function()
    answers["/set"] = { "Set-Cookie: one=1; Path=/" }
    session:get(url .. "set")
    local other <close> = http.session()
    other:get(url)
    assert.is_nil(server.requests[2].headers.cookie)
    http.get(url .. "set")
    http.get(url)
    assert.is_nil(server.requests[4].headers.cookie)
    session:get(url)
    assert.equal("one=1", server.requests[5].headers.cookie)
  end)

  it("are not kept when cookies is false", function()
    local without <close> = http.session { cookies = false }
    answers["/set"] = { "Set-Cookie: one=1; Path=/" }
    without:get(url .. "set")
    without:get(url)
    assert.is_nil(server.requests[2].headers.cookie)
    assert.is_nil(without.cookies)
  end)

  it("of one request are sent besides those of the session", function()
    session.cookies:set { name = "a", value = "1", domain = "a.example.org" }
    assert.equal("a=1; b=2; c=x y", sent("a.example.org", "/", { cookies = { b = 2, c = "x y" } }))
    assert.equal("a=1", sent("a.example.org", "/"))
    assert.is_nil(sent("a.example.org", "/", { cookies = false }))
    assert.equal("a=1", sent("a.example.org", "/"))
    assert.equal("own=1", sent("a.example.org", "/", { headers = { Cookie = "own=1" } }))
  end)

  it("can be given to a new session", function()
    local first <close> = http.session { base_url = url, cookies = { a = "1", b = "2" } }
    first:get ""
    local cookies = server.requests[1].headers.cookie
    assert.is_true(cookies == "a=1; b=2" or cookies == "b=2; a=1")
    local second <close> = http.session { cookies = {
      { name = "c", value = "3", domain = "127.0.0.1", path = "/x" },
    } }
    second:get(url .. "x")
    assert.equal("c=3", server.requests[2].headers.cookie)
    assert_says("names and values need 'base_url'", http.session, { cookies = { a = "1" } })
  end)

  describe("of a session", function()
    it("can be listed", function()
      answers["/set"] = {
        "Set-Cookie: z=1; Path=/", "Set-Cookie: a=x=y; Domain=example.org; HttpOnly; Path=/p",
      }
      sent("a.example.org", "/set")
      assert.same({
        { name = "z", value = "1", domain = "a.example.org", path = "/", subdomains = false,
          secure = false, http_only = false },
        { name = "a", value = "x=y", domain = "example.org", path = "/p", subdomains = true,
          secure = false, http_only = true },
      }, session.cookies:list())
      assert.equal(2, #session.cookies:list "a.example.org")
      assert.equal(1, #session.cookies:list "b.example.org")
      assert.equal(0, #session.cookies:list "other.net")
      assert.equal(session.cookies, session.cookies)
    end)

    it("can be read, put in and taken out", function()
      local jar = session.cookies
      jar:set { name = "a", value = "1", domain = "example.org", subdomains = true }
      jar:set { name = "a", value = "2", domain = "other.net", path = "/x", expires = 1e11 }
      jar:set { name = "b", value = "", domain = "other.net", http_only = true }
      assert.equal("1", jar:get("a", "a.example.org"))
      assert.equal("2", jar:get("a", "other.net"))
      assert.equal("2", jar:get "a") -- the longer path
      assert.equal("", jar:get "b")
      assert.is_nil(jar:get "c")
      assert.equal("a=1", sent("b.example.org", "/"))
      jar:set { name = "a", value = "3", domain = "example.org", subdomains = true }
      assert.equal("a=3", sent("b.example.org", "/"))
      assert.equal(1, jar:remove("a", "other.net"))
      assert.equal(0, jar:remove "none")
      assert.equal(2, #jar:list())
      jar:clear()
      assert.same({}, jar:list())
    end)

    it("refuse what is none", function()
      local jar = session.cookies
      local function says(pattern, cookie) assert_says(pattern, jar.set, jar, cookie) end
      says("table expected", "a=1")
      says("unknown option 'nam'", { nam = 1 })
      says("a name expected, got nil", { value = "x", domain = "a.org" })
      says("a name expected", { name = "a b", value = "x", domain = "a.org" })
      says("a name expected", { name = "a=b", value = "x", domain = "a.org" })
      says("a name expected", { name = "", value = "x", domain = "a.org" })
      says("string expected, got nil", { name = "a", domain = "a.org" })
      for _, bad in ipairs { "a\rb", "a\nb", "a\0b", "a;b", "a\tb" } do
        says("control character or ';'", { name = "a", value = bad, domain = "a.org" })
        says("a domain expected", { name = "a", value = "x", domain = bad })
        says("a path expected", { name = "a", value = "x", domain = "a.org", path = "/" .. bad })
      end
      says("a domain expected", { name = "a", value = "x" })
      says("a path expected", { name = "a", value = "x", domain = "a.org", path = "x" })
      says("'expires' must be", { name = "a", value = "x", domain = "a.org", expires = 0 / 0 })
      says("'expires' must be", { name = "a", value = "x", domain = "a.org", expires = -1 })
      says("'secure' must be a boolean", { name = "a", value = "x", domain = "a.org", secure = 1 })
      assert_says("Cookies expected", jar.list, {})
      assert_says("Cookies expected", jar.get, "a")
      assert_says("argument #1 to 'list'", jar.list, jar, 5)
      assert_says("argument #1 to 'get'", jar.get, jar)
      assert_says("argument #2 to 'get'", jar.get, jar, "a", {})
      assert_says("argument #2 to 'remove'", jar.remove, jar, "a", 5)
      assert_says("string expected", jar.remove, jar)
      assert_says("option 'cookies' must be", http.session, { cookies = "a=b" })
      assert_says("option 'cookies' must be", http.get, url, { cookies = "a=b" })
    end)

    it("keep it from being collected no longer than it is held", function()
      for _ = 1, 5 do
        local forgotten = http.session { base_url = url }
        forgotten:get("/"):read()
        assert.same({}, forgotten.cookies:list())
      end -- clean.check looks for what is left
    end)

    it("cannot be reached when it is closed", function()
      local jar = session.cookies
      session:close()
      errors.assert_code("ECLOSED", jar.list, jar)
      errors.assert_code("ECLOSED", jar.set, jar, { name = "a", value = "x", domain = "a.org" })
    end)

    it("are bounded, however many a server hands out", function()
      local n = 0
      server.listener:close()
      server = raw.serve(function()
        local lines = {}
        for i = 1, 40 do lines[i] = "Set-Cookie: c" .. n + i .. "=1; Path=/none" end
        n = n + 40
        return raw.page("200 OK", "", table.unpack(lines))
      end)
      for _ = 1, 40 do session:get(server.url) end
      local count = #session.cookies:list()
      assert.is_true(count <= 1250 and count >= 900, count)
    end)
  end)
end)
