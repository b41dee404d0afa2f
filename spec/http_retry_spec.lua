-- Fetches of asyncbox.http that are made once more.
local async = require "asyncbox"
local fs = require "asyncbox.fs"
local http = require "asyncbox.http"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local raw = require "spec.support.raw_http"

local assert_code, assert_says = errors.assert_code, errors.assert_says

describe("retries", function()
  local server, url, times, answer

  -- The first `times` requests get `answer`, the others a good one.
  local function reply()
    if #server.requests <= times then return answer end
    return raw.page("200 OK", "fine")
  end

  local function busy(...) return raw.page("503 Busy", "busy", ...) end

  setup(function() raw.warm_up() end)

  before_each(function()
    clean.start()
    server = raw.serve(reply)
    url = server.url
    times, answer = 2, busy()
  end)

  after_each(function()
    http.close()
    server.listener:close()
    server = nil
    clean.check()
  end)

  local quick = { times = 3, backoff = 0 }

  it("are made until the answer is another one", function()
    local response = http.get(url, { retries = quick })
    assert.equal("fine", response:text())
    assert.equal(3, #server.requests)
  end)

  it("are none unless asked for", function()
    assert.equal(503, http.get(url).status)
    assert.equal(503, http.get(url, { retries = false }).status)
    assert.equal(2, #server.requests)
  end)

  it("end with the last answer, or the last error", function()
    times = 100
    local response = http.get(url, { retries = quick })
    assert.equal(503, response.status)
    assert.equal("busy", response:text())
    assert.equal(4, #server.requests)
    assert_code("EHTTP", http.get, url, { retries = quick, raise_for_status = true })
    local err = assert_code("ECONNREFUSED", http.get, "http://127.0.0.1:1/", { retries = quick })
    assert.equal("http.get: connection refused: http://127.0.0.1:1/ (ECONNREFUSED)", tostring(err))
  end)

  it("help against a connection that is lost", function()
    answer = nil
    assert.equal("fine", http.get(url, { retries = quick }):text())
    assert.equal(3, #server.requests)
  end)

  it("of a session hold for its requests, which may have their own", function()
    local session <close> = http.session { retries = quick, base_url = url }
    assert.equal(200, session:get("").status)
    times = 100
    assert.equal(503, session:get("", { retries = false }).status)
    assert.equal(4, #server.requests)
    assert.equal(503, session:get("", { retries = 0 }).status)
    assert.equal(5, #server.requests)
  end)

  it("are for methods that do no harm twice, or those that are named", function()
    assert.equal(503, http.post(url, { retries = quick, body = "x" }).status)
    assert.equal(503, http.patch(url, { retries = quick }).status)
    assert.equal(2, #server.requests)
    times = 4
    local options = { retries = { times = 3, backoff = 0, methods = { "POST" } }, body = "x" }
    assert.equal(200, http.post(url, options).status)
    assert.equal("x", server.requests[5].body)
    times = 7
    assert.equal(200, http.put(url, { retries = quick, body = "y" }).status)
    assert.equal("y", server.requests[8].body)
    times = 10
    assert.equal(503, http.get(url, options).status)
  end)

  it("are for causes that pass, or those that are named", function()
    answer = raw.page("500 Broken", "")
    assert.equal(500, http.get(url, { retries = quick }).status)
    times = 3
    assert.equal(200, http.get(url, { retries = { backoff = 0, on = { 500 } } }).status)
    assert_code("EURL", http.get, "http:///", { retries = quick })
    assert_code("ETLS", http.get, url:gsub("^http:", "https:"), { retries = quick })
  end)

  it("are not made of a body that is gone", function()
    times = 100
    assert.equal(503, http.put(url, { retries = quick, body = function() end }).status)
    assert.equal(1, #server.requests)
  end)

  it("send the files of a form again", function()
    local dir <close> = fs.tempdir()
    fs.write(dir.path .. "/f", "content")
    local options = { retries = quick, multipart = { f = { file = dir.path .. "/f" } } }
    assert.equal(200, http.put(url, options).status)
    assert.equal(3, #server.requests)
    assert.equal(server.requests[1].body, server.requests[3].body)
    assert.matches("content", server.requests[3].body)
  end)

  it("leave no connection behind", function()
    answer = raw.page("503 Busy", ("x"):rep(2000000)) -- more than is received unread
    assert.equal(200, http.get(url, { retries = quick }).status)
  end)

  describe("with Retry-After", function()
    local function paused(line, retries, date)
      times, answer = #server.requests + 1, busy("Retry-After: " .. line, date)
      local start = async.now()
      assert.equal(200, http.get(url, { retries = retries or quick }).status)
      return async.now() - start
    end

    it("wait for so many seconds", function()
      assert.is_true(paused "1" >= 1)
      assert.is_true(paused "0" < 30)
    end)

    it("wait for a date, by the server's clock", function()
      local date = "Date: Sun, 06 Nov 1994 08:49:37 GMT"
      for _, form in ipairs {
        "Sun, 06 Nov 1994 08:49:38 GMT", "Sunday, 06-Nov-94 08:49:38 GMT",
        "Sun Nov  6 08:49:38 1994",
      } do
        assert.is_true(paused(form, quick, date) >= 1, form)
      end
      assert.is_true(paused("Sun, 06 Nov 1994 08:00:00 GMT", quick, date) < 30)
      assert.is_true(paused("nonsense", quick, date) < 30)
    end)

    it("give the answer when that is too long", function()
      answer = busy "Retry-After: 86400"
      local response = http.get(url, { retries = quick })
      assert.equal(503, response.status)
      assert.equal("86400", response.headers["retry-after"])
      answer = busy "Retry-After: 99999999999999999999999"
      assert.equal(503, http.get(url, { retries = quick }).status)
      assert.equal(2, #server.requests)
    end)
  end)

  it("are bound by the timeout of the whole", function()
    times = 100
    local start = async.now()
    local response = http.get(url, { retries = { times = 50, backoff = 100 }, timeout = 5 })
    assert.equal(503, response.status) -- the pause would be longer
    assert.is_true(async.now() - start < 5)
    assert.equal(1, #server.requests)
    server.listener:close()
    server = raw.serve(function() async.sleep(1e6) end)
    assert_code("ETIMEDOUT", http.get, server.url, { retries = quick, timeout = 0.1 })
    assert.equal(1, #server.requests)
  end)

  it("can be cancelled in a pause", function()
    local task = async.spawn(http.get, url, { retries = { backoff = 1000, max_wait = 1000 } })
    eventually("the first has failed", function() return #server.requests == 1 end)
    async.sleep(0.02)
    task:cancel()
    assert_code("ECANCELED", task.await, task)
    assert_code("ETIMEDOUT", async.timeout, 0.05, http.get, url, { retries = { backoff = 100 } })
  end)

  it("refuse what is none", function()
    local function says(pattern, retries)
      assert_says(pattern, http.get, url, { retries = retries })
    end
    says("option 'retries' must be a whole number, a table or false, got string", "3")
    says("option 'retries' must be a whole number, a table or false, got number", 1.5)
    says("option 'times' must be from 0 to 1000", { times = -1 })
    says("option 'times' must be from 0 to 1000", -1)
    says("option 'backoff'", { backoff = -1 })
    says("option 'backoff'", { backoff = 0 / 0 })
    says("unknown option 'tims'", { tims = 1 })
    says("option 'retries.on' must be a list", { on = 503 })
    says("option 'retries.on': item 1 is of no use: 200", { on = { 200 } })
    says("option 'retries.on': item 2 is of no use: x", { on = { 500, "x" } })
    says("option 'retries.methods': item 1 is of no use: get", { methods = { "get" } })
    assert.equal(0, #server.requests)
  end)
end)
