-- How fetches of asyncbox.http end early: limits, timeouts, cancelling.
local async = require "asyncbox"
local http = require "asyncbox.http"
local lfs = require "lfs"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local nginx = require "spec.support.nginx"

local fails = errors.failure
local server, url

local function descriptors()
  local count = 0
  for _ in lfs.dir "/proc/self/fd" do
    count = count + 1
  end
  return count
end

-- The whole body, which may end otherwise than its headers.
local function page(...)
  return http.get(...):read()
end

describe("http", function()
  setup(function()
    server = nginx.start {
      locations = "gzip on; gzip_types text/plain; gzip_min_length 1;\n" ..
        "location /slow/ { limit_rate 1000; }",
    }
    url = server.url
    server:write("hello.txt", "Hello, world!\n")
    server:write("text.txt", ("round and round "):rep(1000))
    server:write("bytes.bin", ("\0\1\2\255"):rep(100000))
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

  describe("limits", function()
    it("end a body that is too long", function()
      local err = fails(page, url .. "bytes.bin", { max_body = 1000 })
      assert.equal("ELIMIT", err.code)
      assert.equal("max_body", err.limit)
      assert.equal(url .. "bytes.bin", err.url)
      assert.equal(
        "response:read: body of more than 1000 bytes: " .. url .. "bytes.bin (ELIMIT)",
        tostring(err)
      )
      assert.equal(200, http.get(url .. "hello.txt", { max_body = 14 }).status)
    end)

    it("count a body as it is after decompression", function()
      local response = http.get(url .. "text.txt", { max_body = 16000 })
      assert.equal(16000, #response:text())
      assert.equal("ELIMIT", fails(page, url .. "text.txt", { max_body = 15999 }).code)
    end)
  end)

  describe("a timeout", function()
    it("ends a fetch that takes too long", function()
      local err = fails(page, url .. "slow/page.bin", { timeout = 0.1 })
      assert.equal("ETIMEDOUT", err.code)
      assert.equal(url .. "slow/page.bin", err.url)
      assert.matches("^response:read: timed out after %d+%.?%d* s: http", tostring(err))
    end)

    it("may be given for the whole and for connecting", function()
      local options = { timeout = { total = 0.1, connect = 5 } }
      local err = fails(page, url .. "slow/page.bin", options)
      assert.equal("ETIMEDOUT", err.code)
      assert.equal(200, http.get(url .. "hello.txt", { timeout = false }).status)
      assert.equal(200, http.get(url .. "hello.txt", { timeout = { connect = false } }).status)
    end)

    it("of async.timeout does it too", function()
      local err = fails(async.timeout, 0.1, page, url .. "slow/page.bin")
      assert.equal("ETIMEDOUT", err.code)
    end)

    it("that is no time is refused", function()
      for _, bad in ipairs { -1, 0 / 0, "1" } do
        assert.matches("timeout", fails(http.get, url, { timeout = bad }))
      end
      assert.matches("unknown option 'conect'", fails(http.get, url, { timeout = { conect = 1 } }))
    end)
  end)

  describe("cancelling", function()
    it("stops the transfer at once", function()
      local session <close> = http.session()
      local open = descriptors()
      local response
      local task = async.spawn(function()
        response = session:get(url .. "slow/page.bin")
        return response:read()
      end)
      eventually("it is answered", function() return response end)
      assert.equal(open + 1, descriptors())
      task:cancel()
      assert.equal("ECANCELED", fails(task.await, task).code)
      assert.equal(open, descriptors())
    end)

    it("half of the fetches leaves the other half alone", function()
      local session <close> = http.session() -- has descriptors of its own
      local open = descriptors()
      local tasks, answered = {}, 0
      for i = 1, 20 do
        local from = url .. (i % 2 == 0 and "slow/page.bin" or "slow/long.bin")
        tasks[i] = async.spawn(function()
          local response = session:get(from)
          answered = answered + 1
          return response:read()
        end)
      end
      -- Cancelled before they read, they would leave their responses to the collector.
      eventually("all are answered", function() return answered == 20 end)
      assert.equal(20, descriptors() - open)
      for i = 1, 20, 2 do tasks[i]:cancel() end
      for i = 1, 20, 2 do
        assert.equal("ECANCELED", fails(tasks[i].await, tasks[i]).code)
      end
      assert.equal(10, descriptors() - open)
      for i = 2, 20, 2 do
        assert.equal(4000, #tasks[i]:await())
      end
    end)

    it("before the fetch has begun is fine", function()
      local task = async.spawn(http.get, url .. "hello.txt")
      task:cancel()
      assert.equal("ECANCELED", fails(task.await, task).code)
    end)
  end)
end)
