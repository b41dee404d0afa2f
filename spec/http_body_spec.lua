-- Responses of asyncbox.http that are there before their bodies: reading in
-- pieces, how much is kept, what is let go of. Against nginx.
local async = require "asyncbox"
local http = require "asyncbox.http"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local nginx = require "spec.support.nginx"
local raw = require "spec.support.raw_http"

local failure, assert_says, assert_code = errors.failure, errors.assert_says, errors.assert_code

local MIB = 1 << 20
local BUFFER = 256 << 10 -- what is kept unread

local locations = [[
  gzip on; gzip_types text/plain; gzip_min_length 1; gzip_proxied any;
  location /slow/ { limit_rate 2000; }
  location = /old { return 301 /older; }
  location /older { return 302 /small.bin; }
  location = /latin { types {} default_type "text/html; charset=ISO-8859-1"; }
  location = /utf16 { types {} default_type "text/plain;charset=\"utf-16le\""; }
  location = /odd { types {} default_type "text/html; charset=klingon"; }
]]

local server, url
local big = ("0123456789abcdef"):rep(4 * MIB // 16)

local function memory()
  collectgarbage()
  return async.stats().memory
end

local function sum(response, n)
  local pieces = {}
  for piece in response:chunks(n) do pieces[#pieces + 1] = piece end
  return table.concat(pieces), pieces
end

local gzipped_one = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03" ..
  "\xcb\xcf\x4b\x05\x00\xf1\x86\x6c\x7a\x03\x00\x00\x00"

describe("the body of a response", function()
  local session

  setup(function()
    server = nginx.start { locations = locations }
    url = server.url
    server:write("big.bin", big)
    server:write("small.bin", "small")
    server:write("empty.bin", "")
    server:write("lines.txt", "one\r\ntwo\n\nfour")
    server:write("zeros.txt", ("0"):rep(20 * MIB))
    server:write("slow/page.bin", ("z"):rep(400000))
    server:write("latin", "na\xEFve \x80\n")
    server:write("odd", "na\xEFve \x80\n")
    server:write("meta.html", "<html><META charset='latin1'><title>\xEF</title>")
    server:write("oddmeta.html", "<meta content='text/html; charset=klingon'><title>b</title>")
    server:write("page.html", "<title>Größe</title><p>x")
    server:write("utf16", "\xE4\0\x3D\xD8\0\xDE")
    server:write("mark.txt", "\xEF\xBB\xBFmarked")
    raw.warm_up() -- libcurl and libuv keep descriptors of their own
  end)

  teardown(function()
    server:stop()
  end)

  before_each(function()
    clean.start()
    session = http.session()
  end)

  after_each(function()
    session:close()
    session = nil
    clean.check()
  end)

  describe("in chunks", function()
    it("is all of it, in order", function()
      local text, pieces = sum(session:get(url .. "big.bin"))
      assert.is_true(text == big)
      for _, piece in ipairs(pieces) do assert.is_true(#piece <= 64 << 10) end
    end)

    it("has pieces of at most so many bytes", function()
      local text, pieces = sum(session:get(url .. "small.bin"), 2)
      assert.equal("small", text)
      assert.same({ "sm", "al", "l" }, pieces)
      assert.is_true(sum(session:get(url .. "big.bin"), 1 << 40) == big)
    end)

    it("has none when it is empty", function()
      assert.same({}, select(2, sum(session:get(url .. "empty.bin"))))
      assert.same({}, select(2, sum(session:head(url .. "big.bin"))))
    end)

    it("is not held in memory", function()
      local before = memory()
      local most, total, count = 0, 0, 0
      for piece in session:get(url .. "zeros.txt", { headers = { ["Accept-Encoding"] = false } })
        :chunks() do
        total, count = total + #piece, count + 1
        if count % 40 == 0 then most = math.max(most, memory()) end
      end
      assert.equal(20 * MIB, total)
      assert.is_true(most - before < 4 * MIB, most - before)
    end)

    it("is decompressed as it comes", function()
      local response = session:get(url .. "zeros.txt")
      assert.equal("gzip", response.headers["content-encoding"])
      local total = 0
      for piece in response:chunks() do total = total + #piece end
      assert.equal(20 * MIB, total)
    end)

    it("can be read by another iterator from where the first one stopped", function()
      local response = session:get(url .. "small.bin")
      assert.equal("sm", response:chunks(2)())
      assert.equal("all", response:chunks(10)())
      assert.is_nil(response:chunks()())
      assert.is_nil(response:chunks()())
    end)

    it("needs a number of bytes from 1", function()
      local response = session:get(url .. "small.bin")
      assert_says("number of bytes from 1", response.chunks, response, 0)
      assert_says("number expected", response.chunks, response, {})
      assert_says("Response expected", response.chunks, {})
    end)
  end)

  describe("in lines", function()
    it("has them without their ends", function()
      local lines = {}
      for line in session:get(url .. "lines.txt"):lines() do lines[#lines + 1] = line end
      assert.same({ "one", "two", "", "four" }, lines)
    end)

    it("has a line that is longer than what is kept", function()
      local response = session:get(url .. "big.bin")
      assert.is_true(response:lines { max = 8 * MIB }() == big)
    end)

    it("ends with an error when a line is too long", function()
      local err = failure(session:get(url .. "big.bin"):lines())
      assert.equal("ELIMIT", err.code)
      assert.equal("response:lines: a line of more than 1048576 bytes (ELIMIT)", tostring(err))
      assert_says("unknown option 'maxx'", function()
        session:get(url .. "small.bin"):lines { maxx = 1 }
      end)
    end)
  end)

  describe("read as a whole", function()
    it("is kept, and given as often as wanted", function()
      local response = session:get(url .. "big.bin")
      assert.is_true(response:read() == big)
      assert.is_true(response:read() == big)
      assert.is_true(response:text() == big)
      assert.is_true(sum(response) == big)
    end)

    it("is refused when pieces of it are taken already", function()
      local response = session:get(url .. "big.bin")
      response:chunks(1)()
      for _, name in ipairs { "read", "text", "json" } do
        assert_says("response:" .. name .. ": chunks, lines or save took some", response[name],
          response)
      end
    end)

    it("is given to one task at a time", function()
      local response = session:get(url .. "slow/page.bin")
      local task = async.spawn(response.read, response)
      async.sleep(0)
      assert_says("another task is reading", response.read, response)
      response:close()
      assert_code("ECLOSED", task.await, task)
    end)

    it("is bounded by 64 MiB, and by max_body", function()
      local options = { max_body = 20 * MIB - 1 }
      local response = session:get(url .. "zeros.txt", options)
      local err = failure(response.read, response)
      assert.equal("ELIMIT", err.code)
      assert.equal("max_body", err.limit)
      options.max_body = 20 * MIB
      assert.equal(20 * MIB, #session:get(url .. "zeros.txt", options):read())
    end)

    it("in pieces is bounded by max_body only when that is given", function()
      local response = session:get(url .. "big.bin", { max_body = 3 * MIB })
      local total = 0
      local err = failure(function()
        for piece in response:chunks() do total = total + #piece end
      end)
      assert.equal("ELIMIT", err.code)
      assert.equal("response:chunks", err.op)
      assert.is_true(total <= 3 * MIB)
    end)
  end)

  describe("as text", function()
    it("is converted from the charset of Content-Type", function()
      assert.equal("naïve €\n", session:get(url .. "latin"):text())
      assert.equal("ä😀", session:get(url .. "utf16"):text())
      assert.equal("na\xEFve \x80\n", session:get(url .. "latin"):read())
    end)

    it("is converted from the charset that the script names", function()
      assert.equal("naпve Ђ\n", session:get(url .. "latin"):text "windows-1251")
      assert.matches("\u{FFFD}$", session:get(url .. "small.bin"):text "utf-16le")
    end)

    it("of a page is parsed", function()
      local page = session:get(url .. "page.html"):html()
      assert.equal("Größe", page.title)
      assert.equal("ä", session:get(url .. "utf16"):html():text():sub(1, 2))
      assert.equal("ï", session:get(url .. "meta.html"):html().title)
      assert.equal("b", session:get(url .. "oddmeta.html"):html().title)
    end)

    it("is read as JSON with a byte order mark, too", function()
      for _, bytes in ipairs { "\xEF\xBB\xBF[1]", "\xFF\xFE[\0001\0]\0", "\xFE\xFF\0[\0001\0]" } do
        server:write("marked.json", bytes)
        assert.same({ 1 }, session:get(url .. "marked.json"):json())
      end
    end)

    it("loses its byte order mark", function()
      assert.equal("marked", session:get(url .. "mark.txt"):text())
    end)

    it("is refused when the charset is not known", function()
      local response = session:get(url .. "odd")
      local err = failure(response.text, response)
      assert.equal(
        "response:text: unknown charset 'klingon'; read() gives the bytes (EINVAL)",
        tostring(err)
      )
      assert.equal("naïve €\n", response:text "latin1")
      assert_says("string expected", response.text, response, {})
    end)
  end)

  describe("whose Content-Encoding", function()
    local one = "Content-Encoding: gzip"

    it("is none that there is, is given as it is", function()
      local seen
      local odd <close> = raw.serve(function(request)
        if request.target == "/gzip" then return raw.page("200 OK", gzipped_one, one) end
        if request.target == "/to-gzip" then
          return raw.page("302 Found", "x", seen, "Location: /gzip")
        elseif request.target == "/chunked" then
          return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" .. seen ..
            "\r\n\r\n3\r\nraw\r\n0\r\n\r\n"
        end
        return raw.page("200 OK", "raw", seen)
      end)
      for _, value in ipairs { "utf-8", "binary", "gzip, klingon", "br,foo , gzip" } do
        seen = "Content-Encoding: " .. value
        local response = session:get(odd.url)
        assert.equal("raw", response:read())
        assert.equal(value, response.headers["content-encoding"])
        assert.equal("raw", session:get(odd.url .. "chunked"):read())
        assert.equal("one", session:get(odd.url .. "gzip"):read()) -- the same handle of curl
        assert.equal("one", session:get(odd.url .. "to-gzip"):read())
      end
      seen = "content-encoding: , Identity,"
      assert.equal("raw", session:get(odd.url):read())
    end)

    it("is true of a part only, fails", function()
      local odd <close> = raw.serve(function(request)
        return raw.page("200 OK", gzipped_one .. request.target, one)
      end)
      local err = assert_code("EHTTP", function() session:get(odd.url .. "more"):read() end)
      assert.equal("the compressed body goes on after its end", err.message)
      assert.equal(gzipped_one .. "/", session:get(odd.url, { decompress = false }):read())
    end)
  end)

  describe("nobody reads", function()
    it("is not received beyond a bound", function()
      local before = memory()
      local response = session:get(url .. "big.bin")
      eventually("something is there", function() return memory() - before > BUFFER // 2 end)
      for _ = 1, 20 do async.sleep(0.002) end
      assert.is_true(memory() - before < 3 * BUFFER, memory() - before)
      assert.is_true(response:read() == big)
    end)

    it("does not hold others up", function()
      local first = session:get(url .. "big.bin")
      for _ = 1, 10 do assert.equal("small", session:get(url .. "small.bin"):text()) end
      assert.is_true(first:read() == big)
    end)

    it("keeps a connection until the response is closed", function()
      local handles = async.stats().handles
      local response = session:get(url .. "big.bin")
      assert.equal(handles + 1, async.stats().handles)
      response:close()
      response:close()
      assert.equal(handles, async.stats().handles)
      local err = failure(response.read, response)
      assert.equal("response:read: the response is closed (ECLOSED)", tostring(err))
      assert_code("ECLOSED", response:chunks())
      assert.equal(200, response.status)
    end)

    it("keeps it until the response's block is left, or it is collected", function()
      local handles = async.stats().handles
      do
        local response <close> = session:get(url .. "big.bin")
        assert.equal(200, response.status)
      end
      assert.equal(handles, async.stats().handles)
      session:get(url .. "big.bin")
      collectgarbage()
      assert.equal(handles, async.stats().handles)
    end)

    it("does not use up the connections that there may be", function()
      local narrow <close> = http.session { max_connections = 2 }
      for _ = 1, 10 do assert.equal(200, narrow:get(url .. "big.bin").status) end
      collectgarbage()
    end)

    it("of many responses is let go of in time", function()
      local handles = async.stats().handles
      for _ = 1, 300 do
        session:get(url .. "big.bin")
        assert.is_true(async.stats().handles - handles <= 130)
      end
      collectgarbage()
    end)
  end)

  it("finds the room that garbage takes, under a limit of memory", function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(([[
      local http = require "asyncbox.http"
      local url, size = %q, %d
      local ways = {
        function(r) return #r:read() end,
        function(r) return #r:text() end,
        function(r)
          local bytes = 0
          for piece in r:chunks() do bytes = bytes + #piece end
          return bytes
        end,
      }
      for _, way in ipairs(ways) do
        for i = 1, 10 do
          local ok, bytes = pcall(function() return way(http.get(url)) end)
          if not ok or bytes ~= size then print(_, i, bytes) end
        end
      end
    ]]):format(url .. "big.bin", #big))
    file:close()
    local r = cli.run { "run", "--memory", "16M", "--allow-net=127.0.0.1", path }
    os.remove(path)
    assert.same({ 0, "", "" }, { r.status, r.stdout, r.stderr })
  end)

  describe("when the wait is cancelled", function()
    for _, name in ipairs { "read", "text", "json", "html" } do
      it("in " .. name .. " closes the connection at once", function()
        local handles = async.stats().handles
        local response = session:get(url .. "slow/page.bin")
        local task = async.spawn(response[name], response)
        async.sleep(0)
        task:cancel()
        assert.equal(handles, async.stats().handles)
        assert_code("ECANCELED", task.await, task)
        assert_says("closed, as a wait for its body was cancelled", response.read, response)
      end)
    end

    it("in chunks and lines too", function()
      for _, name in ipairs { "chunks", "lines" } do
        local handles = async.stats().handles
        local response = session:get(url .. "slow/page.bin")
        local task = async.spawn(function()
          for _ in response[name](response) do end -- luacheck: ignore
        end)
        async.sleep(0)
        async.sleep(0)
        task:cancel()
        assert.equal(handles, async.stats().handles)
        assert_code("ECANCELED", task.await, task)
      end
    end)

    it("by a session that closes, says so", function()
      local response = session:get(url .. "slow/page.bin")
      local task = async.spawn(response.read, response)
      async.sleep(0)
      session:close()
      local err = failure(task.await, task)
      assert.equal("ECLOSED", err.code)
      assert.matches("session was closed", tostring(err))
    end)
  end)

  describe("on_progress", function()
    it("is told how much there is, and of how much", function()
      local seen, totals = {}, {}
      local response = session:get(url .. "big.bin", {
        on_progress = function(received, total)
          seen[#seen + 1] = received
          totals[#totals + 1] = total
          async.sleep(0)
        end,
      })
      assert.is_true(response:read() == big)
      assert.equal(#big, seen[#seen])
      for i = 2, #seen do assert.is_true(seen[i] > seen[i - 1]) end
      assert.equal(#big, totals[1])
    end)

    it("is told of a small body too, once", function()
      local seen = {}
      local function on_progress(n) seen[#seen + 1] = n end
      assert.equal("small", session:get(url .. "small.bin", { on_progress = on_progress }):text())
      assert.same({ 5 }, seen)
    end)

    it("that fails ends the reading with its error", function()
      local response = session:get(url .. "big.bin", { on_progress = function() error "no" end })
      assert_says("no", response.read, response)
    end)

    it("has to be a function", function()
      local options = { on_progress = 1 }
      assert_says("'on_progress': function expected", session.get, session, url, options)
    end)
  end)

  it("comes after headers that are there at once", function()
    local response = session:get(url .. "slow/page.bin")
    assert.equal(200, response.status)
    assert.equal("400000", response.headers["Content-Length"])
    response:close()
  end)

  it("after redirects has a history", function()
    local response = session:get(url .. "old")
    assert.equal("small", response:text())
    assert.equal(2, #response.history)
    local first, second = response.history[1], response.history[2]
    assert.equal(301, first.status)
    assert.equal(url .. "old", first.url)
    assert.equal("Moved Permanently", first.reason)
    assert.matches("/older$", first.headers.Location)
    assert.equal(302, second.status)
    assert.equal(url .. "older", second.url)
    assert.same({}, session:get(url .. "small.bin").history)
  end)
end)
