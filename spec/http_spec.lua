-- asyncbox.http against a real nginx on loopback; what must fail, against
-- ports that refuse and names that do not exist.
local async = require "asyncbox"
local http = require "asyncbox.http"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local nginx = require "spec.support.nginx"

local fails = errors.failure

local locations = [[
  keepalive_requests 100000;
  gzip on; gzip_types text/plain; gzip_min_length 1;
  location /old { return 301 /hello.txt; }
  location /twice { return 302 /old; }
  location /loop { return 302 /loop; }
  location /to-file { return 302 file:///etc/passwd; }
  location /to-name { return 302 http://localhost:$server_port/secrets; }
  location /to-self { return 302 /secrets; }
  location /see-other { return 303 /method; }
  location /moved { return 302 /method; }
  location /keep { return 307 /method; }
  location /method { return 200 "$request_method|$http_content_type|$content_length"; }
  location /expect { return 200 "$http_expect|$content_length"; }
  location /agent { return 200 "$http_user_agent|$http_x_one|$http_x_forwarded_for|$http_accept"; }
  location /connection { return 200 "$connection"; }
  location /secrets { return 200 "$http_authorization|$http_cookie|$http_x_one"; }
  location /twins { add_header X-Twin one; add_header X-Twin two; return 200 ""; }
  location /slow/ { limit_rate 1000; }
]]

local server, url

describe("http", function()
  setup(function()
    server = nginx.start { locations = locations }
    url = server.url
    server:write("hello.txt", "Hello, world!\n")
    server:write("text.txt", ("round and round "):rep(1000))
    server:write("bytes.bin", ("\0\1\2\255"):rep(100000))
    server:write("data.json", '{"list": [1, 2.5, null], "name": "n\\u00e4me"}')
    server:write("broken.json", '{"list": [1,')
    server:write("slow/page.bin", ("z"):rep(4000)) -- 3 s and more
    server:write("slow/long.bin", ("z"):rep(100000)) -- 100 s
    pcall(http.get, url) -- opens libcurl, which keeps descriptors of its own
  end)

  teardown(function()
    http.close()
    server:stop()
  end)

  before_each(clean.start)
  after_each(function()
    http.close()
    clean.check()
  end)

  describe("get", function()
    it("gives the whole page", function()
      local response = http.get(url .. "hello.txt")
      assert.equal(200, response.status)
      assert.is_true(response.ok)
      assert.equal("OK", response.reason)
      assert.equal("1.1", response.version)
      assert.equal(url .. "hello.txt", response.url)
      assert.equal("Hello, world!\n", response:text())
      assert.equal("Hello, world!\n", response:read())
      assert.is_true(response.elapsed > 0)
      assert.equal("<Response 200 " .. url .. "hello.txt>", tostring(response))
      assert.is_nil(response.no_such_field)
    end)

    it("gives every byte of a large binary body", function()
      local response = http.get(url .. "bytes.bin")
      assert.is_true(response:read() == ("\0\1\2\255"):rep(100000))
    end)

    it("decompresses", function()
      local response = http.get(url .. "text.txt")
      assert.equal("gzip", response.headers["Content-Encoding"])
      assert.equal(("round and round "):rep(1000), response:text())
    end)

    it("decodes JSON", function()
      local data = http.get(url .. "data.json"):json()
      assert.equal("näme", data.name)
      assert.equal(1, data.list[1])
      assert.equal("integer", math.type(data.list[1]))
    end)

    it("says where JSON is broken", function()
      local response = http.get(url .. "broken.json")
      local err = fails(response.json, response)
      assert.equal("json.decode", err.op)
      assert.equal("EINVAL", err.code)
    end)

    it("gives 404 as a response, not as an error", function()
      local response = http.get(url .. "nothing-here")
      assert.equal(404, response.status)
      assert.is_false(response.ok)
      assert.equal("Not Found", response.reason)
      local err = fails(response.raise_for_status, response)
      assert.equal("EHTTP", err.code)
      assert.equal(404, err.status)
      assert.equal("http.get: 404 Not Found: " .. url .. "nothing-here (EHTTP)", tostring(err))
      response = http.get(url .. "hello.txt")
      assert.equal(response, response:raise_for_status())
    end)

    it("finds headers in any case and knows repeated ones", function()
      local response = http.get(url .. "twins")
      assert.equal("one, two", response.headers["X-TWIN"])
      assert.equal("one, two", response.headers["x-twin"])
      assert.is_nil(response.headers["X-None"])
      assert.same({ "one", "two" }, response:header_values "X-Twin")
      assert.same({}, response:header_values "X-None")
      local names = {}
      for name in pairs(response.headers) do names[name] = true end
      assert.is_true(names["x-twin"])
    end)

    it("works as await(http.get(url)) too", function()
      assert.equal(200, async.await(http.get(url .. "hello.txt")).status)
    end)

    it("works in a coroutine of the script's own", function()
      local pages = coroutine.wrap(function()
        for _, name in ipairs { "hello.txt", "text.txt" } do
          coroutine.yield(http.get(url .. name).status)
        end
      end)
      assert.equal(200, pages())
      assert.equal(200, pages())
    end)
  end)

  describe("redirects", function()
    it("are followed, and the response says where it ended", function()
      local response = http.get(url .. "twice")
      assert.equal("Hello, world!\n", response:text())
      assert.equal(url .. "hello.txt", response.url)
    end)

    it("are responses when redirects is false", function()
      local response = http.get(url .. "old", { redirects = false })
      assert.equal(301, response.status)
      assert.matches("/hello%.txt$", response.headers.location)
    end)

    it("end with an error when there are too many", function()
      local err = fails(http.get, url .. "loop")
      assert.equal("ELIMIT", err.code)
      assert.equal("redirects", err.limit)
      assert.equal("http.get: too many redirects: " .. url .. "loop (ELIMIT)", tostring(err))
      assert.equal("ELIMIT", fails(http.get, url .. "twice", { redirects = 1 }).code)
      assert.equal(200, http.get(url .. "twice", { redirects = 2 }).status)
    end)

    it("to a file are refused", function()
      local err = fails(http.get, url .. "to-file")
      assert.equal("EURL", err.code)
    end)

    it("to another host do not take credentials along", function()
      local headers = { Authorization = "Basic eHl6", Cookie = "a=b", ["X-One"] = "1" }
      local options = { headers = headers }
      assert.equal("Basic eHl6|a=b|1", http.get(url .. "to-self", options):text())
      assert.equal("||1", http.get(url .. "to-name", options):text())
      local session <close> = http.session { headers = headers }
      assert.equal("||1", session:get(url .. "to-name"):text())
      assert.equal("Basic eHl6|a=b|1", session:get(url .. "to-self"):text())
    end)

    it("turn a POST into a GET where browsers do", function()
      local options = { body = "12345", headers = { ["Content-Type"] = "text/x" } }
      assert.equal("GET||", http.post(url .. "see-other", options):text())
      assert.equal("GET||", http.post(url .. "moved", options):text())
      assert.equal("POST|text/x|5", http.post(url .. "keep", options):text())
      assert.equal("GET||", http.put(url .. "see-other", options):text())
    end)
  end)

  describe("other methods", function()
    it("send their name and their body", function()
      assert.equal("POST||5", http.post(url .. "method", { body = "12345" }):text())
      assert.equal("POST||0", http.post(url .. "method"):text())
      assert.equal("PUT||3", http.put(url .. "method", { body = "abc" }):text())
      assert.equal("PATCH||1", http.patch(url .. "method", { body = "a" }):text())
      assert.equal("DELETE||", http.delete(url .. "method"):text())
      assert.equal("OPTIONS||", http.options(url .. "method"):text())
      assert.equal("PURGE||", http.request("purge", url .. "method"):text())
      assert.equal("GET||2", http.get(url .. "method", { body = "xy" }):text())
      assert.equal("GET||", http.get(url .. "method"):text())
    end)

    it("send large bodies without a pause", function()
      local body = ("x"):rep(900000)
      assert.equal("POST||900000", http.post(url .. "method", { body = body }):text())
      -- curl would wait a second for the answer to "Expect: 100-continue".
      assert.equal("|900000", http.post(url .. "expect", { body = body }):text())
    end)

    it("give headers alone for head", function()
      local response = http.head(url .. "bytes.bin")
      assert.equal("", response:text())
      assert.equal("400000", response.headers["content-length"])
    end)

    it("must be a word", function()
      assert.matches("not an HTTP method", fails(http.request, "GE T", url))
      assert.matches("not an HTTP method", fails(http.request, "", url))
    end)
  end)

  describe("request headers", function()
    it("are sent", function()
      local headers = { ["User-Agent"] = "me", ["X-One"] = 1, ["X-Forwarded-For"] = { "a", "b" } }
      local text = http.get(url .. "agent", { headers = headers }):text()
      assert.equal("me|1|a, b|*/*", text)
    end)

    it("of a session are replaced by those of a request, in any case", function()
      local session <close> = http.session {
        headers = { ["X-One"] = "1", ["X-Forwarded-For"] = "2" },
        user_agent = "robot",
      }
      assert.equal("robot|1|2|*/*", session:get(url .. "agent"):text())
      local options = { headers = { ["x-one"] = "", ["X-Forwarded-For"] = false, Accept = false } }
      assert.equal("robot|||", session:get(url .. "agent", options):text())
      assert.equal("robot|1|2|*/*", session:get(url .. "agent"):text())
    end)

    it("with line breaks or NUL are refused", function()
      for _, bad in ipairs { "a\rb", "a\nb", "a\0b" } do
        assert.matches("line break or NUL", fails(http.get, url, { headers = { X = bad } }))
        assert.matches("not a header name", fails(http.get, url, { headers = { [bad] = "x" } }))
      end
      assert.matches("not a header name", fails(http.get, url, { headers = { ["a:b"] = "x" } }))
      assert.matches("not a header name", fails(http.get, url, { headers = { [""] = "x" } }))
      assert.matches("string expected", fails(http.get, url, { headers = { a = print } }))
      assert.matches("table expected", fails(http.get, url, { headers = "a: b" }))
      assert.matches("names expected", fails(http.get, url, { headers = { "a: b" } }))
    end)
  end)

  describe("connections", function()
    it("are used again", function()
      local session <close> = http.session()
      local first = session:get(url .. "connection"):text()
      for _ = 1, 20 do
        assert.equal(first, session:get(url .. "connection"):text())
      end
    end)

    it("are opened for as many fetches as there are at once", function()
      local count, sum = 0, 0
      local fetches = {}
      for i = 1, 200 do
        fetches[i] = async.spawn(function()
          local response = http.get(url .. "hello.txt")
          count, sum = count + 1, sum + #response:text()
        end)
      end
      async.gather(fetches)
      assert.equal(200, count)
      assert.equal(200 * 14, sum)
    end)

    it("are bounded by max_per_host and by max_connections", function()
      for _, key in ipairs { "max_per_host", "max_connections" } do
        local session <close> = http.session { [key] = 2 }
        local seen, distinct, fetches = {}, 0, {}
        for i = 1, 20 do
          fetches[i] = async.spawn(function()
            local connection = session:get(url .. "connection"):text()
            if not seen[connection] then
              seen[connection], distinct = true, distinct + 1
            end
          end)
        end
        async.gather(fetches)
        assert.is_true(distinct <= 2)
      end
    end)

    it("survive that the server closes them while idle", function()
      local other = nginx.start { locations = "keepalive_timeout 100ms;" }
      other:write("a.txt", "a")
      local session <close> = http.session()
      for _ = 1, 3 do
        assert.equal("a", session:get(other.url .. "a.txt"):text())
        async.sleep(0.25)
      end
      local gone = other.url
      other:stop()
      assert.equal("ECONNREFUSED", fails(session.get, session, gone).code)
    end)
  end)

  describe("sessions", function()
    it("put base_url in front of what is no URL", function()
      local session <close> = http.session { base_url = url }
      assert.equal(200, session:get("hello.txt").status)
      assert.equal(200, session:get("/hello.txt").status)
      assert.equal(200, session:get(url .. "hello.txt").status)
    end)

    it("refuse to fetch when they are closed", function()
      local session = http.session()
      assert.equal("<Session open>", tostring(session))
      session:close()
      session:close()
      assert.equal("<Session closed>", tostring(session))
      local err = fails(session.get, session, url)
      assert.equal("ECLOSED", err.code)
      assert.equal("http.get: the session is closed (ECLOSED)", tostring(err))
    end)

    it("end their fetches when they are closed", function()
      local session = http.session()
      local task = async.spawn(function() return session:get(url .. "slow/page.bin"):read() end)
      async.sleep(0.05)
      session:close()
      assert.equal("ECLOSED", fails(task.await, task).code)
    end)

    it("are closed by the collector when forgotten", function()
      for _ = 1, 10 do
        http.session():get(url .. "hello.txt")
      end
    end)

    it("are kept from the collector by a response whose body is still to come", function()
      local handles = async.stats().handles
      local function let_go()
        collectgarbage()
        return async.stats().handles == handles
      end
      local response = http.session():get(url .. "bytes.bin")
      for _ = 1, 3 do collectgarbage() end
      assert.equal(400000, #response:read())
      eventually("it is collected when the body is there", let_go)
      local closed = http.session():get(url .. "bytes.bin")
      closed:close()
      eventually("it is collected when the response is closed", let_go)
      assert.equal(200, closed.status)
    end)

    it("refuse unknown and bad options", function()
      assert.matches("unknown option 'max_conections'", fails(http.session, { max_conections = 1 }))
      assert.matches("max_connections", fails(http.session, { max_connections = 0 }))
      assert.matches("user_agent", fails(http.session, { user_agent = "a\r\nb" }))
      assert.equal("EURL", fails(http.session, { base_url = "example.org" }).code)
      assert.matches("table expected", fails(http.session, "http://x/"))
    end)
  end)

  describe("an error", function()
    it("says that nobody listens", function()
      local err = fails(http.get, "http://127.0.0.1:1/")
      assert.equal("ECONNREFUSED", err.code)
      assert.equal("http.get", err.op)
      assert.equal("http://127.0.0.1:1/", err.url)
      assert.equal(
        "http.get: connection refused: http://127.0.0.1:1/ (ECONNREFUSED)",
        tostring(err)
      )
    end)

    it("says that there is no such host", function()
      local err = fails(http.get, "http://nowhere.invalid/")
      assert.equal("EAI_NONAME", err.code)
      assert.equal(
        "http.get: unknown host: http://nowhere.invalid/ (EAI_NONAME)",
        tostring(err)
      )
    end)

    it("says that a URL is bad", function()
      for _, bad in ipairs {
        "", "x", "ftp://127.0.0.1/", "file:///etc/passwd", "http://", "http:///x", "https://?",
        "http://a b/", "http://a/\r\nX: y", "http://a/\0", "http://127.0.0.1:99999/",
        "http://[::1/",
      } do
        local err = fails(http.get, bad)
        assert.equal("EURL", err.code, bad)
        assert.equal("http.get", err.op)
      end
      assert.matches("string expected", fails(http.get))
      assert.matches("string expected", fails(http.get, {}))
    end)

    it("says that TLS failed", function()
      local err = fails(http.get, (url:gsub("^http:", "https:")))
      assert.equal("ETLS", err.code)
    end)

    it("names the option that is not known", function()
      local err = fails(http.get, url, { hedders = {} })
      assert.matches("http.get: unknown option 'hedders'", err)
      assert.matches("table", fails(http.get, url, "x"))
      assert.matches("body", fails(http.get, url, { body = {} }))
    end)

    it("says that a session is needed", function()
      local session <close> = http.session()
      assert.matches("Session expected", fails(session.get, {}, url))
      assert.matches("Response expected", fails(http.get(url).text, {}))
    end)
  end)

  it("many fetches in a row don't let memory grow", function()
    local session <close> = http.session()
    local function round(n)
      for _ = 1, n do session:get(url .. "hello.txt") end
      collectgarbage()
      collectgarbage()
      return async.stats().memory
    end
    local first = round(200)
    assert.is_true(round(2000) < first + 20000)
  end)
end)
