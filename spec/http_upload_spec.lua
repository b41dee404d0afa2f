-- Bodies that asyncbox.http sends as they are made: iterators, files, streams.
local async = require "asyncbox"
local fs = require "asyncbox.fs"
local http = require "asyncbox.http"
local net = require "asyncbox.net"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local nginx = require "spec.support.nginx"
local raw = require "spec.support.raw_http"

local assert_code, assert_says, failure = errors.assert_code, errors.assert_says, errors.failure

-- Gives these pieces, with a turn of the loop before each.
local function pieces(list)
  local i = 0
  return function()
    i = i + 1
    async.sleep(0)
    return list[i]
  end
end

describe("an upload", function()
  local server, url, handler, dir

  local function fine() return raw.page("200 OK", "fine") end

  setup(function()
    children.warm_up()
    raw.warm_up(function(first) http.post(first, { body = pieces {} }) end)
  end)

  before_each(function()
    dir = fs.tempdir()
    clean.start()
    handler = fine
    server = raw.serve(function(...) return handler(...) end)
    url = server.url
  end)

  after_each(function()
    http.close()
    server.listener:close()
    server = nil
    clean.check()
    fs.remove(dir.path, { recursive = true })
  end)

  local function last() return server.requests[#server.requests] end

  -- A server that reads heads only; the case does the rest with the connection.
  local function serve_heads(answer)
    server.listener:close()
    server = raw.serve(answer, { head = true })
    url = server.url
  end

  describe("from an iterator", function()
    it("is sent in pieces, as they come", function()
      http.post(url, { body = pieces { "one", "two", 3, ("x"):rep(100000) } })
      local request = last()
      assert.equal("POST", request.method)
      assert.equal("onetwo3" .. ("x"):rep(100000), request.body)
      assert.equal("chunked", request.headers["transfer-encoding"])
      assert.is_nil(request.headers["content-length"])
      assert.is_nil(request.headers.expect)
      assert.is_nil(request.headers["content-type"])
    end)

    it("of empty pieces without an end holds nobody up", function()
      local options = { body = function() return "" end, timeout = 0.05 }
      assert_code("ETIMEDOUT", http.put, url, options)
    end)

    it("may be empty, and have empty pieces", function()
      http.put(url, { body = pieces {} })
      assert.equal("", last().body)
      assert.equal("PUT", last().method)
      http.put(url, { body = pieces { "", "a", "", "b", "" } })
      assert.equal("ab", last().body)
    end)

    it("says its length when that is given", function()
      http.post(url, { body = pieces { "abc", "def" }, length = 6 })
      assert.equal("6", last().headers["content-length"])
      assert.is_nil(last().headers["transfer-encoding"])
      assert.equal("abcdef", last().body)
      http.post(url, { body = pieces {}, length = 0 })
      assert.equal("", last().body)
    end)

    it("fails when its length is wrong", function()
      local err = assert_code("EINVAL", http.post, url, { body = pieces { "abc" }, length = 6 })
      assert.equal("http.post: the body is shorter than its length of 6 bytes (EINVAL)",
        tostring(err))
      assert_says("the body is longer than its length of 4 bytes", http.post, url,
        { body = pieces { "abc", "def" }, length = 4 })
      assert_says("option 'length'", http.post, url, { body = pieces {}, length = -1 })
      assert_says("option 'length'", http.post, url, { body = pieces {}, length = 0.5 })
    end)

    it("fails with the iterator's own error, or when it gives no string", function()
      local mine = {}
      local ok, err = pcall(http.post, url, { body = function() error(mine, 0) end })
      assert.is_false(ok)
      assert.equal(mine, err)
      assert_says("the body's iterator gave a table, not a string %(EINVAL%)", http.post, url,
        { body = pieces { "a", {} } })
    end)

    it("goes no faster than the server reads", function()
      local go, given = async.event(), 0
      serve_heads(function(request, conn)
        go:wait()
        raw.read_body(conn, request)
        return fine()
      end)
      local task = async.spawn(http.post, url, { body = function()
        given = given + 1
        return given <= 2000 and ("x"):rep(10000) or nil
      end })
      local before
      eventually("the iterator rests", function()
        local rests = before == given and given > 0
        before = given
        async.sleep(0.05)
        return rests
      end)
      assert.is_true(given < 1900) -- what the system's buffers take
      go:set()
      assert.equal(200, task:await().status)
      assert.equal(20000000, #server.requests[1].body)
    end)

    it("shares the loop with everything else", function()
      local others = 0
      local other = async.spawn(function()
        for _ = 1, 50 do
          async.sleep(0)
          others = others + 1
        end
      end)
      http.post(url, { body = pieces { "a", "b", "c" } })
      other:await()
      assert.equal(50, others)
    end)
  end)

  describe("from something that is open", function()
    it("sends a file of fs", function()
      local path = dir.path .. "/file"
      fs.write(path, ("0123456789"):rep(30000))
      local file <close> = fs.open(path)
      http.put(url, { body = file })
      assert.equal(("0123456789"):rep(30000), last().body)
      file:seek("set", 299990)
      http.put(url, { body = file, length = 10 })
      assert.equal("0123456789", last().body)
      file:seek("set", 5)
      http.put(url, { body = file, length = 7 })
      assert.equal("5678901", last().body)
    end)

    it("says how long the rest of a file is", function()
      local path = dir.path .. "/file"
      fs.write(path, ("0123456789"):rep(30000))
      local file <close> = fs.open(path)
      http.put(url, { body = file })
      assert.equal("300000", last().headers["content-length"])
      file:seek("set", 299990)
      http.put(url, { body = file })
      assert.equal("10", last().headers["content-length"])
      assert.equal("0123456789", last().body)
      http.put(url, { body = file }) -- nothing is left, or it is one of those that say so
      assert.equal("chunked", last().headers["transfer-encoding"])
      assert.equal("", last().body)
      local status <close> = fs.open "/proc/self/status"
      http.put(url, { body = status })
      assert.matches("^Name:", last().body)
      local new <close> = fs.open(dir.path .. "/new", "w+")
      new:write "not yet written" :seek("set", 4)
      http.put(url, { body = new })
      assert.equal("11", last().headers["content-length"])
      assert.equal("yet written", last().body)
    end)

    it("sends no more of a file that grows, and fails with one that became shorter", function()
      local path = dir.path .. "/file"
      local grow <close> = raw.serve(function(request, conn)
        local more <close> = fs.open(path, "a")
        more:write(("more"):rep(100))
        more:flush()
        raw.read_body(conn, request)
        return raw.page("200 OK", "")
      end, { head = true })
      local cut <close> = raw.serve(function(_, conn)
        local less <close> = fs.open(path, "r+")
        less:truncate(100000)
        while conn:read(65536) do end -- luacheck: ignore
      end, { head = true })
      fs.write(path, ("0123456789"):rep(300000))
      local file <close> = fs.open(path)
      http.put(grow.url, { body = file })
      assert.equal(3000000, #grow.requests[1].body)
      -- More than the sockets hold.
      local large <close> = fs.open(path, "w+")
      large:truncate(64 << 20)
      local err = assert_code("EINVAL", http.put, cut.url, { body = large })
      assert.matches("shorter than its length", err.message)
    end)

    it("refuses a file that would block everything", function()
      local file <close> = io.open "/dev/null"
      assert_says("use one of asyncbox.fs", http.put, url, { body = file })
    end)

    it("sends a stream", function()
      local listener <close> = net.listen("127.0.0.1", 0, function(conn)
        conn:write "from elsewhere"
        conn:close()
      end)
      local stream <close> = net.connect("127.0.0.1", listener:address().port)
      http.post(url, { body = stream })
      assert.equal("from elsewhere", last().body)
    end)

    it("sends a response on", function()
      local other <close> = raw.serve(function() return raw.page("200 OK", ("y"):rep(200000)) end)
      http.post(url, { body = http.get(other.url) })
      assert.equal(("y"):rep(200000), last().body)
    end)
  end)

  describe("that is redirected", function()
    it("is dropped where it becomes a GET", function()
      handler = function(request)
        if request.target == "/" then return raw.page("303 See Other", "", "Location: /there") end
        return raw.page("200 OK", request.method)
      end
      assert.equal("GET", http.post(url, { body = pieces { "abc" } }):text())
      assert.equal("", last().body)
      assert.is_nil(last().headers["transfer-encoding"])
    end)

    it("fails where it would have to be sent again", function()
      handler = function() return raw.page("307 Again", "", "Location: /there") end
      local err = assert_code("EHTTP", http.post, url, { body = pieces { "abc" } })
      assert.matches("a redirect asks for the body again", tostring(err))
      assert.equal(1, #server.requests)
    end)
  end)

  -- An iterator that waits for ever, and says when it has begun to.
  local function endless()
    local begun = async.event()
    return function()
      begun:set()
      async.sleep(1e6)
    end, begun
  end

  describe("whose iterator waits", function()
    it("ends when its task is cancelled", function()
      local body, begun = endless()
      local task = async.spawn(http.post, url, { body = body })
      begun:wait()
      task:cancel()
      assert_code("ECANCELED", task.await, task)
    end)

    it("ends when its time is over", function()
      local err = assert_code("ETIMEDOUT", http.post, url, { body = endless(), timeout = 0.1 })
      assert.equal(url, err.url)
      assert_code("ETIMEDOUT", async.timeout, 0.1, http.post, url, { body = endless() })
    end)

    it("ends when the server has gone", function()
      serve_heads(function() return nil end)
      assert_code("EOF", http.post, url, { body = endless() })
    end)

    it("fails with the iterator's error, also when the server has answered", function()
      local answered = async.event()
      serve_heads(function(_, conn)
        conn:write(raw.page("200 OK", "early"))
        answered:set()
        while conn:read(65536) do end -- luacheck: ignore
      end)
      local err = failure(http.put, url, { body = function()
        answered:wait()
        for _ = 1, 20 do async.sleep(0) end
        error("no more", 0)
      end })
      assert.equal("no more", err)
    end)

    it("leaves no error that nobody takes, whatever fails at once", function()
      serve_heads(function(_, conn)
        while conn:read(65536) do end -- luacheck: ignore
      end)
      -- A script of its own: lost errors go to its standard error.
      local path = dir.path .. "/script.lua"
      fs.write(path, ([[
        local async = require "asyncbox"
        local url = %q
        for _, how in ipairs { "close", "timeout", "raise", "cancel" } do
          for wait = 0, 10 do
            local session <close> = async.http.session()
            local task = async.spawn(function()
              local first = true
              return session:put(url, {
                timeout = how == "timeout" and 0.02 or nil,
                body = function()
                  if first then first = false return "x" end
                  pcall(async.sleep, 0.02)
                  if how == "raise" then session:close() end
                  error "mine"
                end,
              })
            end)
            async.sleep(0.015 + wait * 0.001)
            if how == "close" then session:close() elseif how == "cancel" then task:cancel() end
            pcall(async.await, task)
          end
        end
      ]]):format(url))
      local r = process.run(cli.program(), "run", path, { timeout = 120 })
      assert.same({ "", 0 }, { r.stderr, r.status })
    end)

    it("ends when a connection that was kept is lost", function()
      local kept <close> = raw.serve(function(request)
        return request.method == "GET" and raw.page("200 OK", "fine")
      end, { head = true })
      local session <close> = http.session()
      for _ = 1, 10 do
        session:get(kept.url):read()
        local err = failure(session.put, session, kept.url, { body = function()
          async.sleep(0)
          return ("x"):rep(10000)
        end })
        assert.is_truthy(err.code == "ECONNRESET" or err.code == "EPIPE" or err.code == "EOF",
          tostring(err))
      end
    end)

    it("ends when nobody listens", function()
      assert_code("ECONNREFUSED", http.post, "http://127.0.0.1:1/", { body = endless() })
    end)

    it("ends when the session is closed", function()
      local session = http.session()
      local body, begun = endless()
      local task = async.spawn(session.post, session, url, { body = body })
      begun:wait()
      session:close()
      assert_code("ECLOSED", task.await, task)
    end)

    it("ends when the server has answered without it", function()
      for _, line in ipairs { "Connection: close", "X: y" } do
        serve_heads(function(_, conn)
          conn:write(raw.page("413 Too Large", "no thanks", line))
          return nil
        end)
        local response = http.post(url, { body = endless() })
        assert.equal(413, response.status)
        assert.equal("no thanks", response:text())
      end
    end)

    it("is waited for when the server has said yes early", function()
      serve_heads(function(request, conn)
        conn:write(raw.page("200 OK", "early"))
        raw.read_body(conn, request)
        return ""
      end)
      local go = async.event()
      local n = 0
      local task = async.spawn(http.post, url, { body = function()
        n = n + 1
        if n == 2 then go:wait() end
        return n <= 2 and "piece" or nil
      end })
      eventually("it was asked twice", function() return n == 2 end)
      go:set()
      assert.equal("early", task:await():text())
      eventually("all has come", function() return server.requests[1].body end)
      assert.equal("piecepiece", server.requests[1].body)
    end)
  end)

  it("ends when it is cancelled while the server does not read", function()
    serve_heads(function() async.sleep(1e6) end)
    local given, before = 0, -1
    local task = async.spawn(http.post, url, { body = function()
      given = given + 1
      return ("x"):rep(100000)
    end })
    eventually("it waits for room", function()
      local rests = given > 0 and before == given
      before = given
      async.sleep(0.05)
      return rests
    end)
    task:cancel()
    assert_code("ECANCELED", task.await, task)
  end)

  it("is refused by nginx when it is too long", function()
    local peer <close> = nginx.start { locations = [[
      location /small { client_max_body_size 1k; proxy_pass http://127.0.0.1:$PORT/end; }
      location /end { return 200 "$content_length"; }
      location / { client_max_body_size 100m; proxy_pass http://127.0.0.1:$PORT/end; }
    ]] }
    local function many()
      local n = 0
      return function()
        n = n + 1
        return n <= 100 and ("x"):rep(10000) or nil
      end
    end
    assert.equal("1000000", http.put(peer.url, { body = many() }):text())
    assert.equal(413, http.put(peer.url .. "small", { body = many(), length = 1000000 }).status)
    assert.equal(413, http.put(peer.url .. "small", { body = many() }).status)
    http.close()
  end)
end)
