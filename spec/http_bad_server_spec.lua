-- asyncbox.http against a server that misbehaves in every way it can: each ends
-- in the right error, within its bound, with nothing left alive.
local async = require "asyncbox"
local http = require "asyncbox.http"
local net = require "asyncbox.net"
local bad_http_server = require "spec.support.bad_http_server"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local sockets = require "spec.support.sockets"

local failure, assert_code = errors.failure, errors.assert_code

local server, session

local function get(path, options)
  return session:get(server.url .. path, options)
end

local function read(path, options)
  return get(path, options):read()
end

-- All of it, in pieces; and what there was before it failed.
local function pieces(path, options)
  local response = get(path, options)
  local list = {}
  local err = failure(function()
    for piece in response:chunks() do list[#list + 1] = piece end
  end)
  return err, table.concat(list)
end

-- The server's side of every connection has ended as well.
local function nothing_is_open()
  eventually("every connection is closed", function() return server.closed == server.opened end)
end

describe("http, when the server", function()
  setup(function()
    pcall(http.get, "http://127.0.0.1:1/") -- opens libcurl, which keeps descriptors of its own
    http.close()
    sockets.warm_up()
    eventually("that is over", function() return async.stats().ops == 0 end)
  end)

  before_each(function()
    clean.start()
    server = bad_http_server.start()
    session = http.session { timeout = 30 }
  end)

  after_each(function()
    nothing_is_open()
    session:close()
    server.stop()
    session, server = nil, nil
    clean.check()
  end)

  -- path, code, what the message says
  local before_headers = {
    { "closed", "EOF", "closed the connection without an answer" },
    { "cut-headers", "EOF", nil },
    { "reset-at-once", "ECONNRESET", "connection reset" },
    { "reset-in-headers", "ECONNRESET", "connection reset" },
    { "endless-headers", "ELIMIT", "headers of more than 65536 bytes or 1000 lines" },
    { "endless-line", "ELIMIT", "headers of more than 65536 bytes" },
    { "endless-continue", "ELIMIT", "headers of more than 65536 bytes" },
    { "no-http", "EHTTP", "HTTP/0.9" },
    { "binary", "EHTTP", "HTTP/0.9" },
    { "no-number", "EHTTP", nil },
    { "bad-version", "EHTTP", nil },
    { "length-no-number", "EHTTP", "Content%-Length" },
    { "length-negative", "EHTTP", "Content%-Length" },
    { "two-lengths", "EHTTP", "two lengths that differ" },
    { "loop", "ELIMIT", "too many redirects" },
    { "ping", "ELIMIT", "too many redirects" },
    { "to-file", "EURL", "redirect to what is no http or https URL" },
    { "to-ftp", "EURL", "redirect to what is no http or https URL" },
    { "to-nowhere", "EURL", nil },
    { "endless-redirect", "ELIMIT", "redirect with a body of more than 1048576 bytes" },
  }

  for _, case in ipairs(before_headers) do
    local path, code, says = case[1], case[2], case[3]
    it("answers with " .. path .. ", fails", function()
      local err = assert_code(code, get, path)
      assert.equal("http.get", err.op)
      assert.matches("^" .. server.url, err.url)
      if says then assert.matches(says, err.message) end
      nothing_is_open()
    end)
  end

  -- path, code, what the message says, the pieces that came before
  local in_the_body = {
    { "truncated", "EOF", "cut off", "0123456789" },
    { "truncated-chunk", "EOF", "cut off", "0123456789" },
    { "truncated-chunks", "EOF", "cut off", "01234" },
    { "bad-chunk", "EHTTP", nil, "" },
    { "bad-gzip", "EHTTP", nil, "" },
    { "endless-trailers", "ELIMIT", "headers of more than", "" },
  }

  for _, case in ipairs(in_the_body) do
    local path, code, says, before = table.unpack(case, 1, 4)
    it("answers with " .. path .. ", fails in the body", function()
      local err = assert_code(code, read, path)
      assert.equal("response:read", err.op)
      assert.equal(server.url .. path, err.url)
      if says then assert.matches(says, err.message) end
      local second, got = pieces(path)
      assert.equal(code, second.code)
      assert.equal("response:chunks", second.op)
      assert.equal(before, got)
      nothing_is_open()
    end)
  end

  it("resets the connection in the body, gives what came before", function()
    local response = get "reset-in-body"
    local step = response:chunks()
    assert.equal("0123456789", step())
    server.may_reset = true
    local err = assert_code("ECONNRESET", step)
    assert.equal(server.url .. "reset-in-body", err.url)
    assert_code("ECONNRESET", step)
  end)

  it("sends a body without an end, is stopped at max_body", function()
    for _, path in ipairs { "endless-body", "endless-chunks" } do
      local err = assert_code("ELIMIT", read, path, { max_body = 1 << 20 })
      assert.equal("max_body", err.limit)
      assert.equal("ELIMIT", pieces(path, { max_body = 1 << 20 }).code)
    end
  end)

  it("sends a length that cannot be, is read to its end", function()
    assert.equal("body", read "length-huge")
  end)

  it("sends more than was asked for, is not believed", function()
    assert.equal("ok", read "more-than-asked")
    for _ = 1, 5 do assert.equal("fine", read "fine") end
  end)

  it("redirects to nothing, gives that as the response", function()
    assert.equal(302, get("to-nothing").status)
  end)

  describe("sends a decompression bomb,", function()
    local function made_by(command)
      return function()
        local pipe <close> = assert(io.popen(command, "r"))
        return pipe:read "a"
      end
    end

    -- 200 MiB of zeros.
    local BROTLI = [[
      cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200ddfb3ffeffffc1
      3f0110870500baf77ffcffff837f02200e0b0074effff8ffff07ff04401c1600e8defff1ffff0ffe0980382c
      00d0bdffe3ffff1ffc1300715800a07bffc7ffff3ff82700e2b00040f7fe8fffff7ff04f00c4610180eefd1f
      ffffffe09f0088c30200ddfb3ffeffffc13f0110870500baf77ffcffff837f02200e0b0074effff8ffff07ff
      04401c1600e8defff1ffff0ffe0980382c00d0bdffe3ffff1ffc1300715800a07bffc7ffff3ff82700e2b000
      40f7fe8fffff7ff04f00c4610180eefd1fffffffe09f0088c30200ddfb3ffeffffc13f0110870500baf77ffc
      ffff837f02200e0b0074effff8ffff07ff04401c1600e8defff1ffff0ffe0980382c00d0bdffe3ffff1ffc13
      00715800a07bff97ffff7ff82700e2b00040f7fe0f
    ]]

    local bombs = {
      gzip = made_by "head -c 150000000 /dev/zero | gzip",
      zstd = made_by "head -c 1000000000 /dev/zero | zstd -q -c",
      br = function()
        return (BROTLI:gsub("%s", ""):gsub("..", function(hex)
          return string.char(tonumber(hex, 16))
        end))
      end,
    }
    for encoding, make in pairs(bombs) do
      it("made with " .. encoding .. ", is stopped at the bound", function()
        local body = make()
        if body == "" then
          return pending("there is no " .. encoding)
        end
        server.paths.bomb = "HTTP/1.1 200 OK\r\nContent-Encoding: " .. encoding ..
          "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
        local err = assert_code("ELIMIT", read, "bomb")
        assert.equal("max_body", err.limit)
        assert_code("ELIMIT", read, "bomb", { max_body = 1000 })
        assert.equal("ELIMIT", pieces("bomb", { max_body = 1 << 20 }).code)
        -- Paused, it is let in bit by bit, or refused.
        local response <close> = get "bomb"
        async.sleep(0.01)
        local step, total = response:chunks(), 0
        while total < 1 << 24 do
          local ok, piece = pcall(step)
          if not ok then
            assert.equal("ELIMIT", piece.code)
            break
          end
          total = total + #piece
          assert.is_true(async.stats().memory < 200 << 20)
        end
      end)
    end
  end)

  it("sends little that becomes much while nobody reads, loses none of it", function()
    local pipe <close> = assert(io.popen("head -c 1048576 /dev/zero | gzip", "r"))
    local body = pipe:read "a"
    server.paths.packed = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " ..
      #body .. "\r\n\r\n" .. body
    local function paused(options)
      local response = get("packed", options)
      for _ = 1, 5 do async.sleep(0.001) end
      return response
    end
    assert.equal(1048576, #paused():read())
    local total = 0
    for piece in paused():chunks() do total = total + #piece end
    assert.equal(1048576, total)
    local options = { max_body = 600000 }
    local response = paused(options)
    assert_code("ELIMIT", response.read, response)
    response = paused(options)
    assert_code("ELIMIT", function() for _ in response:chunks() do end end) -- luacheck: ignore
    response = paused(options)
    assert_code("ELIMIT", response.save, response, "/dev/null")
  end)

  describe("is silent,", function()
    it("ends at the total time", function()
      for _, path in ipairs { "silent", "slow-headers" } do
        local err = assert_code("ETIMEDOUT", get, path, { timeout = 0.1 })
        assert.equal("total", err.limit)
        assert.matches("^timed out after", err.message)
      end
      assert_code("ETIMEDOUT", read, "stalled", { timeout = 0.1 })
      assert_code("ETIMEDOUT", function()
        for _ in get("endless-chunks", { timeout = 0.5 }):chunks() do async.sleep(0) end
      end)
    end)

    it("ends when there is no secure connection within `connect` seconds", function()
      local mute <close> = net.listen("127.0.0.1", 0, function(conn)
        while conn:read(4096) do end -- luacheck: ignore
      end)
      local url = "https://127.0.0.1:" .. mute:address().port .. "/"
      local function limit(timeout)
        return assert_code("ETIMEDOUT", session.get, session, url, { timeout = timeout }).limit
      end
      assert.equal("connect", limit { connect = 0.05 })
      assert.equal("total", limit { total = 0.05, connect = 20 })
    end)

    it("ends when nothing comes for `stall` seconds", function()
      local options = { timeout = { stall = 0.1 } }
      local err = assert_code("ETIMEDOUT", get, "silent", options)
      assert.equal("stall", err.limit)
      assert.equal("nothing came for 0.1 s", err.message)
      err = assert_code("ETIMEDOUT", read, "stalled", options)
      assert.equal("stall", err.limit)
      local got
      err, got = pieces("stalled", options)
      assert.equal("stall", err.limit)
      assert.equal("0123456789", got)
    end)

    it("is not ended by `stall` while something comes", function()
      assert.equal(("x"):rep(40), read("trickle", { timeout = { stall = 5 } }))
    end)

    it("is not ended by `stall` while the script does not read", function()
      server.paths.late = function(conn)
        conn:write "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nla"
        eventually("the script has slept", function() return server.slept end)
        conn:write "te"
      end
      local response = get("late", { timeout = { stall = 0.05 } })
      async.sleep(0.2)
      server.slept = true
      async.sleep(0.05)
      assert.equal("late", response:read())
    end)

    it("is left when its task is cancelled, at every moment", function()
      for _, path in ipairs {
        "silent", "slow-headers", "stalled", "endless-headers", "endless-body", "endless-chunks",
        "endless-trailers", "loop",
      } do
        for turns = 0, 12, 3 do
          local task = async.spawn(read, path, { redirects = 1000, max_body = 1 << 40 })
          for _ = 1, turns do async.sleep(0) end
          task:cancel()
          local ok, err = pcall(task.await, task)
          assert.is_false(ok)
          assert.is_truthy(err.code == "ECANCELED" or err.code == "ELIMIT", tostring(err))
        end
      end
      nothing_is_open()
    end)

    it("is left when the session is closed, at every moment", function()
      for _, path in ipairs { "silent", "stalled", "endless-body" } do
        for turns = 0, 12, 4 do
          local other = http.session()
          local task = async.spawn(function() return other:get(server.url .. path):read() end)
          for _ = 1, turns do async.sleep(0) end
          other:close()
          local err = assert_code("ECLOSED", task.await, task)
          assert.matches("^[hr]%w+[.:]%w+$", err.op)
        end
      end
      nothing_is_open()
    end)
  end)

  describe("redirects a sandboxed script", function()
    -- Only the server's own port is granted.
    local function run(path)
      local script <close> = async.fs.tempfile()
      script.file:write([[
        local ok, err = pcall(require "asyncbox.http".get, ...)
        print(err.code, err.host)
      ]])
      script.file:flush()
      local result = async.process.run(cli.program(), {
        "run", "--allow-net=127.0.0.1:" .. server.port, script.path, server.url .. path,
      })
      return result.stdout:gsub("\n$", "") .. result.stderr
    end

    it("to private addresses, fails", function()
      assert.equal("EDENIED\t169.254.169.254", run "to-metadata")
      assert.matches("^EDENIED\t", run "to-loopback")
      assert.matches("^EDENIED\t", run "to-decimal")
      assert.matches("^EURL\t", run "to-file")
    end)
  end)
end)
