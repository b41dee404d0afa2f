-- What asyncbox.http sends: queries, JSON, forms, multipart, logins; looked at
-- by a server that keeps what came.
local async = require "asyncbox"
local http = require "asyncbox.http"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local raw = require "spec.support.raw_http"

local assert_code, assert_says = errors.assert_code, errors.assert_says

local function ok() return raw.page("200 OK", "fine") end

describe("a request", function()
  local server, url

  setup(function() raw.warm_up() end)

  before_each(function()
    clean.start()
    server = raw.serve(ok)
    url = server.url
  end)

  after_each(function()
    http.close()
    server.listener:close()
    server = nil
    clean.check()
  end)

  local function last() return server.requests[#server.requests] end

  local function sent(method, options, path)
    http.request(method, url .. (path or ""), options)
    return last()
  end

  describe("with params", function()
    it("has them in its URL, encoded", function()
      assert.equal("/?a+b=1&list=x&list=%26", sent("get", {
        params = { ["a b"] = 1, list = { "x", "&" } },
      }).target)
      local list = { { "z", true }, { "a", "é" } }
      assert.equal("/?z=true&a=%C3%A9", sent("get", { params = list }).target)
    end)

    it("keeps the query that is there, and no fragment", function()
      assert.equal("/p?x=1&y=2", sent("get", { params = { y = 2 } }, "p?x=1#top").target)
      assert.equal("/p?y=2", sent("get", { params = { y = 2 } }, "p?").target)
      assert.equal("/p?x=1", sent("get", { params = {} }, "p?x=1").target)
      assert.equal("/p?raw=%20", sent("get", { params = "raw=%20" }, "p").target)
    end)

    it("refuses what is none", function()
      assert_says("option 'params' must be a table or a string, got number",
        http.get, url, { params = 1 })
      assert_says("the value of 'a' must be", http.get, url, { params = { a = print } })
      assert_says("finite number", http.get, url, { params = { a = 0 / 0 } })
      assert_code("EURL", http.get, url, { params = "a b" })
      assert_code("EURL", http.get, url, { params = "a\r\nX: y" })
    end)

    it("can hold line breaks and NULs, which are encoded", function()
      assert.equal("/?a=%0D%0A%00", sent("get", { params = { a = "\r\n\0" } }).target)
    end)
  end)

  describe("with json", function()
    it("is encoded, with its type", function()
      local request = sent("post", { json = { 1, "two" } })
      assert.equal('[1,"two"]', request.body)
      assert.equal("application/json", request.headers["content-type"])
      assert.equal("false", sent("post", { json = false }).body)
    end)

    it("keeps a type that is given", function()
      local options = { json = {}, headers = { ["content-TYPE"] = "application/x+json" } }
      assert.equal("application/x+json", sent("post", options).headers["content-type"])
      assert.equal("application/x+json", options.headers["content-TYPE"])
    end)

    it("says what cannot be encoded", function()
      assert_says("json.encode", http.post, url, { json = { print } })
    end)
  end)

  describe("with a form", function()
    it("is encoded as forms are", function()
      local request = sent("post", { form = { a = "x y", b = { 1, 2 }, c = "\r\n&" } })
      assert.equal("a=x+y&b=1&b=2&c=%0D%0A%26", request.body)
      assert.equal("application/x-www-form-urlencoded", request.headers["content-type"])
    end)

    it("must be a table", function()
      assert_says("option 'form' must be a table, got string", http.post, url, { form = "a=b" })
    end)
  end)

  it("has one body only, and known options", function()
    assert_says("options 'body' and 'json' exclude each other", http.post, url,
      { body = "x", json = 1 })
    assert_says("options 'form' and 'multipart' exclude each other", http.post, url,
      { form = {}, multipart = {} })
    assert_says("lua:%d+: http.post: unknown option 'jsn'", http.post, url,
      { jsn = 1, json = 1 })
    assert_says("option 'body' must be a string, a file, a stream or an iterator, got boolean",
      http.post, url, { body = true })
    assert_says("option 'length' needs 'body'", http.post, url, { length = 3 })
    assert_says("option 'length' is for a body that is a file", http.post, url,
      { length = 3, body = "abc" })
    assert_says("options must be a table, got string", http.post, url, "x")
    assert_says("unknown option '1'", http.post, url, { "x" })
  end)

  describe("with a login", function()
    local function authorization(options, path)
      return sent("get", options, path).headers.authorization
    end

    it("sends it as basic authentication", function()
      assert.equal("Basic dXNlcjpwYXNzd29yZA==", authorization { auth = { "user", "password" } })
      assert.equal("Basic YTpi", authorization { auth = { basic = { "a", "b" } } })
      assert.equal("Basic Og==", authorization { auth = { "", "" } })
      assert.equal("Basic w7w6w58=", authorization { auth = { "ü", "ß" } })
    end)

    it("sends a token", function()
      assert.equal("Bearer abc.def", authorization { auth = { bearer = "abc.def" } })
    end)

    it("takes it from the URL, which shows it no more", function()
      local response = http.get((url:gsub("//", "//us%%40er:p%%3Aw@")))
      assert.equal("Basic dXNAZXI6cDp3", last().headers.authorization)
      assert.equal(url, response.url)
      assert.is_nil(tostring(response):find "p%%3Aw")
    end)

    it("replaces the session's, and false sends none", function()
      local session <close> = http.session { base_url = url, auth = { "a", "b" } }
      session:get ""
      assert.equal("Basic YTpi", last().headers.authorization)
      session:get("", { auth = { bearer = "t" } })
      assert.equal("Bearer t", last().headers.authorization)
      session:get("", { auth = false })
      assert.is_nil(last().headers.authorization)
      session:get("", { headers = { authorization = "Own" } })
      assert.equal("Own", last().headers.authorization)
      local from_url <close> = http.session { base_url = url:gsub("//", "//a:b@") }
      from_url:get ""
      assert.equal("Basic YTpi", last().headers.authorization)
    end)

    it("is in no text of an error", function()
      for _, bad in ipairs {
        "http://user:secret@127.0.0.1:1/", "http://user:secret@127.0.0.1:99999/",
        "http://user:secret@/", "http://user:secret@[::1/", "http://user:secret@a b/",
        "ftp://user:secret@host/", "//user:secret@host/",
      } do
        local err = errors.failure(http.get, bad)
        assert.is_nil(tostring(err):find "secret", tostring(err))
        assert.is_nil((err.url or ""):find "secret")
      end
      local err = errors.failure(http.session, { base_url = "ftp://user:secret@host/" })
      assert.is_nil(tostring(err):find "secret")
      for _, proxy in ipairs {
        "ftp://user:secret@host:1", "http://user:secret@127.0.0.1:1", "u:secret@",
      } do
        err = errors.failure(http.get, url, { proxy = proxy })
        assert.is_nil(tostring(err):find "secret", tostring(err))
      end
    end)

    it("refuses what is none", function()
      local function says(pattern, auth) assert_says(pattern, http.get, url, { auth = auth }) end
      says("option 'auth' must be a table or false, got string", "user:password")
      says("option 'auth' is empty", {})
      says("the password must be a string, got nil", { "user" })
      says("line break or NUL", { "user", "a\r\nb" })
      says("line break or NUL", { "us\0er", "a" })
      says("a user with ':'", { "us:er", "a" })
      says("token must be visible ASCII", { bearer = "a b" })
      says("token must be visible ASCII", { bearer = "a\r\nX: y" })
      says("option 'auth' must be", { digest = { "a", "b" }, bearer = "x" })
      says("option 'auth' must be", { ntlm = { "a", "b" } })
      says("unknown key '3'", { "a", "b", "c" })
      says("the user is empty", { digest = { "", "b" } })
      assert_code("EURL", http.get, (url:gsub("//", "//a%%0d%%0a:b@")))
    end)

    it("stays behind when a redirect leads to another host", function()
      local other <close> = raw.serve(ok)
      server.listener:close()
      server = raw.serve(function(request)
        if request.target == "/stay" then return raw.page("302 Found", "", "Location: /here") end
        if request.target == "/here" then return ok() end
        local there = "http://x:y@127.0.0.1:" .. other.port .. "/there"
        return raw.page("302 Found", "", "Location: " .. there)
      end)
      url = server.url
      local options = { auth = { "a", "b" }, cookies = { c = "1" } }
      http.get(url .. "stay", options)
      assert.equal("Basic YTpi", last().headers.authorization)
      assert.equal("c=1", last().headers.cookie)
      local response = http.get(url .. "go", options)
      assert.equal("/there", other.requests[1].target)
      assert.is_nil(other.requests[1].headers.authorization)
      assert.is_nil(other.requests[1].headers.cookie)
      assert.equal("http://127.0.0.1:" .. other.port .. "/there", response.url)
      local session <close> = http.session { auth = { bearer = "t" } }
      session:get(url .. "go")
      assert.is_nil(other.requests[2].headers.authorization)
    end)
  end)

  describe("with digest authentication", function()
    local function md5(text)
      local pipe <close> = assert(io.popen("printf %s '" .. text .. "' | md5sum"))
      return pipe:read(32)
    end

    local challenge = 'WWW-Authenticate: Digest realm="r", nonce="n1", qop="auth"'

    -- Asks for a digest of user and password; answers whether it is right.
    local function guard(request)
      local fields = {}
      for name, value in (request.headers.authorization or ""):gmatch '(%w+)="?([^",]*)"?' do
        fields[name] = value
      end
      if not fields.response then
        return raw.page("401 Unauthorized", "", challenge)
      end
      local ha1, ha2 = md5 "user:r:password", md5(request.method .. ":" .. request.target)
      local right = md5(table.concat({ ha1, "n1", fields.nc, fields.cnonce, "auth", ha2 }, ":"))
      if fields.response ~= right then return raw.page("401 Unauthorized", "wrong") end
      return raw.page("200 OK", "welcome " .. #request.body)
    end

    before_each(function()
      server.listener:close()
      server = raw.serve(guard)
      url = server.url
    end)

    it("answers the server's challenge", function()
      local response = http.get(url .. "x?y", { auth = { digest = { "user", "password" } } })
      assert.equal(200, response.status)
      assert.equal("welcome 0", response:text())
      assert.equal(2, #server.requests)
      assert.is_nil(server.requests[1].headers.authorization)
    end)

    it("gives the 401 when it is wrong", function()
      local response = http.get(url, { auth = { digest = { "user", "wrong" } } })
      assert.equal(401, response.status)
      assert.equal("wrong", response:text())
      assert.equal(401, http.get(url).status)
    end)

    it("sends a body once it is let in", function()
      local auth = { digest = { "user", "password" } }
      assert.equal("welcome 5", http.post(url, { auth = auth, body = "12345" }):text())
      local n = 0
      local function pieces()
        n = n + 1
        return n <= 3 and "abc" or nil
      end
      assert.equal("welcome 9", http.post(url, { auth = auth, body = pieces }):text())
    end)

    it("holds for a session, and for no other host", function()
      local other <close> = raw.serve(function()
        return raw.page("401 Unauthorized", "", challenge)
      end)
      local session <close> = http.session { auth = { digest = { "user", "password" } } }
      assert.equal("welcome 0", session:get(url):text())
      assert.equal("welcome 0", session:get(url):text())
      server.listener:close()
      server = raw.serve(function() return raw.page("302 Found", "", "Location: " .. other.url) end)
      assert.equal(401, session:get(server.url).status)
      assert.equal(1, #other.requests)
    end)
  end)

  describe("with control characters", function()
    it("is refused wherever they stand", function()
      local files = { multipart = { a = { value = "x", filename = "a\0b" } } }
      for _, bad in ipairs { "a\rb", "a\nb", "a\0b" } do
        assert_code("EURL", http.get, url .. bad)
        assert_says("line break or NUL", http.get, url, { headers = { x = bad }, params = {} })
        assert_says("not a header name", http.get, url, { headers = { [bad] = "x" }, params = {} })
        assert_says("control character", http.get, url, { cookies = { a = bad } })
        assert_says("a name expected", http.get, url, { cookies = { [bad] = "x" } })
        assert_says("line break or NUL", http.session, { user_agent = bad })
        assert_says("line break or NUL", http.get, url, { proxy = bad })
        assert_says("line break or NUL", http.get, url, { unix_socket = bad })
        assert_says("without line breaks", http.post, url,
          { multipart = { a = { value = "x", type = bad } } })
      end
      assert_says("NUL in a file name", http.post, url, files)
      assert_says("NUL in a name", http.post, url, { multipart = { ["a\0b"] = "x" } })
      assert.equal(0, #server.requests)
    end)
  end)

  it("leaves it to the body how much is sent, or the next request would begin in it", function()
    for _, name in ipairs { "Content-Length", "content-length", "Transfer-Encoding" } do
      for _, value in ipairs { "1", 2, false } do
        local headers = { [name] = value }
        assert_says("follows from the body", http.post, url, { body = "abc", headers = headers })
        assert_says("follows from the body", http.post, url,
          { body = function() return nil end, headers = headers })
        assert_says("follows from the body", http.session, { headers = headers })
      end
    end
    assert.equal(0, #server.requests)
  end)

  describe("says by itself", function()
    -- The values of a header, in the order in which they came.
    local function values(request, name)
      local found = {}
      for _, line in ipairs(request.lines) do
        local key, value = line:match "^([^:]+): ?(.*)$"
        if key:lower() == name then found[#found + 1] = value end
      end
      return found
    end

    local function encodings(...) return values(sent(...), "accept-encoding") end

    it("which compressed bodies it can read, unless told not to", function()
      local all = encodings "get"
      assert.equal(1, #all)
      assert.matches("^gzip, deflate", all[1])
      assert.same({}, encodings("get", { decompress = false }))
      assert.same(all, encodings("post", { json = {} }))
      assert.same(all, encodings("get", { headers = { ["X-A"] = "b" } }))
      assert.same({}, encodings("get", { headers = { ["X-A"] = "b" }, decompress = false }))
      assert.same({ "br" }, encodings("get", { headers = { ["accept-encoding"] = "br" } }))
      assert.same({ "br" },
        encodings("get", { headers = { ["accept-encoding"] = "br" }, decompress = false }))
      assert.same({}, encodings("get", { headers = { ["accept-encoding"] = false } }))
      assert.same(all, encodings "get")
      local session <close> = http.session { decompress = false, headers = { ["X-A"] = "b" } }
      session:get(url)
      assert.same({}, values(last(), "accept-encoding"))
      session:get(url, { decompress = true })
      assert.same(all, values(last(), "accept-encoding"))
      assert.equal("b", last().headers["x-a"])
    end)

    it("who it is, also to the next host and to a proxy", function()
      local me = values(sent "get", "user-agent")
      assert.equal(1, #me)
      assert.matches("^asyncbox/%d", me[1])
      assert.same(me, values(sent("put", { body = "x" }), "user-agent"))
      assert.same({ "you" },
        values(sent("get", { headers = { ["USER-AGENT"] = "you" } }), "user-agent"))
      local session <close> = http.session { user_agent = "robot" }
      local nobody <close> = http.session { user_agent = "" }
      local there = raw.page("302 Found", "", "Location: " .. url)
      local other <close> = raw.serve(function() return there end)
      session:post(other.url, { body = "x", headers = { Authorization = "secret" } })
      assert.same({ "robot" }, values(last(), "user-agent"))
      assert.matches("gzip", last().headers["accept-encoding"])
      assert.is_nil(last().headers.authorization)
      nobody:get(url)
      assert.same({}, values(last(), "user-agent"))
      local proxy <close> = raw.serve(function() return raw.page("403 Forbidden", "") end)
      assert_code("EHTTP", session.get, session, "https://example.org/", { proxy = proxy.url })
      assert.equal("CONNECT", proxy.requests[1].method)
      assert.same({ "robot" }, values(proxy.requests[1], "user-agent"))
      assert.same({}, values(proxy.requests[1], "accept-encoding"))
    end)
  end)

  it("gives a header that is folded over lines as one", function()
    server.listener:close()
    server = raw.serve(function()
      return raw.page("200 OK", "x", "Folded: a \r\n  b\r\n\tc", "Late:\r\n here", "Next: d",
        "Folded: e\r\n ", "Empty:\r\n  ")
    end)
    local response = http.get(server.url)
    assert.equal("a b c, e", response.headers.folded)
    assert.same({ "a b c", "e" }, response:header_values "folded")
    assert.same({ "here", "d", "" },
      { response.headers.late, response.headers.next, response.headers.empty })
  end)

  it("raises for a bad status when it is told to", function()
    server.listener:close()
    server = raw.serve(function() return raw.page("404 Not Found", "") end)
    assert.equal(404, http.get(server.url).status)
    local err = assert_code("EHTTP", http.get, server.url, { raise_for_status = true })
    assert.equal(404, err.status)
    local session <close> = http.session { raise_for_status = true }
    assert_code("EHTTP", session.get, session, server.url)
    assert.equal(404, session:get(server.url, { raise_for_status = false }).status)
  end)

  it("cannot be made where a task cannot wait", function()
    local ok_, err = pcall(table.sort, { 1, 2 }, function() http.get(url, { params = {} }) end)
    assert.is_false(ok_)
    assert.matches("http.get", tostring(err))
  end)

  describe("map", function()
    it("fetches a list, so many at once, in order", function()
      local busy, most = 0, 0
      server.listener:close()
      server = raw.serve(function(request)
        busy = busy + 1
        most = math.max(most, busy)
        async.sleep(0.005)
        busy = busy - 1
        return raw.page("200 OK", request.target)
      end)
      local urls = {}
      for i = 1, 20 do urls[i] = server.url .. i end
      local texts = http.map(urls, function(response, from)
        return from .. response:text()
      end, { limit = 4 })
      assert.equal(20, #texts)
      for i = 1, 20 do assert.equal(urls[i] .. "/" .. i, texts[i]) end
      assert.is_true(most <= 4)
    end)

    it("takes options of requests, and is a method of sessions", function()
      local session <close> = http.session { base_url = url }
      local seen = session:map({ "a", "b" }, function(r) return r.status end,
        { headers = { ["X-One"] = "1" } })
      assert.same({ 200, 200 }, seen)
      assert.equal("1", last().headers["x-one"])
      assert.same({}, http.map({}, print))
    end)

    it("ends with the first error", function()
      assert_code("ECONNREFUSED", http.map, { url, "http://127.0.0.1:1/" }, function() end)
    end)

    it("refuses bad arguments", function()
      assert_says("bad argument #1", http.map, "x", print)
      assert_says("bad argument #2", http.map, {})
      assert_says("option 'limit'", http.map, {}, print, { limit = 0 })
      assert_says("unknown option 'lmit'", http.map, {}, print, { lmit = 1 })
      assert_says("_spec.lua:%d+: http.map: URL 2 must be a string, got nil",
        function() http.map({ url, nil, url }, print) end)
      assert_says("URL 1 must be a string, got table", http.map, { {} }, print)
    end)
  end)
end)
