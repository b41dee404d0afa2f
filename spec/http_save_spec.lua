-- response:save, against nginx and a server that misbehaves.
local async = require "asyncbox"
local http = require "asyncbox.http"
local bad_http_server = require "spec.support.bad_http_server"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local sockets = require "spec.support.sockets"

local fs = async.fs
local failure, assert_code, assert_says = errors.failure, errors.assert_code, errors.assert_says

local BIG = ("0123456789abcdef"):rep(1 << 18) -- 4 MiB

describe("response:save", function()
  local server, session, folder

  setup(function()
    pcall(http.get, "http://127.0.0.1:1/") -- opens libcurl, which keeps descriptors of its own
    http.close()
    sockets.warm_up()
    fs.tempdir():close()
    eventually("that is over", function() return async.stats().ops == 0 end)
  end)

  before_each(function()
    clean.start()
    folder = fs.tempdir()
    session = http.session()
    server = bad_http_server.start {
      big = "HTTP/1.1 200 OK\r\nContent-Length: " .. #BIG .. "\r\n\r\n" .. BIG,
      small = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall",
      empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    }
  end)

  after_each(function()
    session:close()
    eventually("every connection is closed", function() return server.closed == server.opened end)
    server.stop()
    folder:close()
    session, server, folder = nil, nil, nil
    clean.check()
  end)

  local function get(path, options)
    return session:get(server.url .. path, options)
  end

  local function at(name)
    return folder.path .. "/" .. name
  end

  it("writes the body to a file and gives its length", function()
    assert.equal(#BIG, get("big"):save(at "big"))
    assert.is_true(fs.read(at "big") == BIG)
    assert.equal(5, get("small"):save(at "small"))
    assert.equal("small", fs.read(at "small"))
    assert.equal(0, get("empty"):save(at "empty"))
    assert.equal("", fs.read(at "empty"))
    assert.same({ "big", "empty", "small" }, fs.list(folder.path))
  end)

  it("writes what was read before, too", function()
    local response = get "small"
    assert.equal("small", response:text())
    assert.equal(5, response:save(at "a"))
    assert.equal("small", fs.read(at "a"))
    assert.equal("small", response:text())
  end)

  it("tells how far it is", function()
    local seen, total = {}, nil
    get("big"):save(at "big", function(received, all)
      seen[#seen + 1], total = received, all
      async.sleep(0)
    end)
    assert.equal(#BIG, seen[#seen])
    assert.equal(#BIG, total)
    for i = 2, #seen do assert.is_true(seen[i] > seen[i - 1]) end
    local last
    get("small", { on_progress = function(n) last = n end }):save(at "small")
    assert.equal(5, last)
  end)

  it("replaces a file at one stroke, and keeps its mode", function()
    fs.write(at "file", "old")
    fs.chmod(at "file", 384)
    local response = get("big")
    local task = async.spawn(response.save, response, at "file", function()
      assert.equal("old", fs.read(at "file"))
    end)
    task:await()
    assert.is_true(fs.read(at "file") == BIG)
    assert.equal(384, fs.stat(at "file").mode & 511)
  end)

  it("leaves a file as it was when the body is cut off", function()
    fs.write(at "file", "old")
    local err = assert_code("EOF", function() get("truncated"):save(at "file") end)
    assert.equal("response:save", err.op)
    assert.equal("old", fs.read(at "file"))
    assert.same({ "file" }, fs.list(folder.path))
  end)

  it("ends at max_body", function()
    assert_code("ELIMIT", function() get("endless-body", { max_body = 1 << 20 }):save(at "x") end)
    assert.same({}, fs.list(folder.path))
  end)

  it("writes through a link and to a device", function()
    fs.write(at "target", "old")
    fs.symlink("target", at "link")
    get("small"):save(at "link")
    assert.equal("small", fs.read(at "target"))
    assert.equal("target", fs.readlink(at "link"))
    assert.equal(5, get("small"):save "/dev/null")
  end)

  it("fails where no file can be", function()
    local response = get "small"
    local err = assert_code("ENOENT", response.save, response, at "none/x")
    assert.equal("response:save", err.op)
    assert.equal(at "none/x", err.path)
    assert_code("EISDIR", response.save, get "small", folder.path)
    assert_code("ENOSPC", response.save, get "small", "/dev/full")
  end)

  it("wants a path and a function", function()
    local response = get "small"
    assert_says("_spec.lua:%d+: response:save: the path must be a string, got nil",
      function() response:save() end)
    assert_says("zero byte", response.save, response, "a\0b")
    assert_says("on_progress must be a function", response.save, response, at "x", {})
    assert_says("Response expected", response.save, {}, at "x")
    response:close()
    assert_code("ECLOSED", response.save, response, at "x")
  end)

  it("is refused when a part is taken already, and the other way round", function()
    local response = get "big"
    response:chunks(1)()
    assert_says("took some of the body", response.save, response, at "x")
    response:close()
    response = get "big"
    response:save(at "x")
    assert_says("took some of the body", response.read, response)
  end)

  it("has the response to itself", function()
    local response = get "big"
    local chunks, lines = response:chunks(), response:lines()
    local told = 0
    assert.equal(#BIG, response:save(at "x", function()
      if told > 0 then return end
      told = told + 1
      assert_says("another task is saving", response.save, response, at "y")
      assert_says("another task is saving", response.read, response)
      assert_says("another task is saving", chunks)
      assert_says("another task is saving", lines)
    end))
    assert.equal(1, told)
    assert.is_true(fs.read(at "x") == BIG)
    assert.same({ "x" }, fs.list(folder.path))
  end)

  it("that is cancelled closes the connection and leaves nothing", function()
    for turns = 0, 20, 2 do
      local handles = async.stats().handles
      local response = get "endless-body"
      local task = async.spawn(response.save, response, at "x")
      for _ = 1, turns do async.sleep(0) end
      task:cancel()
      assert_code("ECANCELED", task.await, task)
      response:close()
      eventually("it is closed", function() return async.stats().handles == handles end)
    end
    eventually("nothing is left", function() return #fs.list(folder.path) == 0 end)
  end)

  it("whose on_progress fails leaves nothing", function()
    local response = get "big"
    assert_says("no more", response.save, response, at "x", function() error "no more" end)
    assert_code("ECLOSED", response.read, response)
    eventually("nothing is left", function() return #fs.list(folder.path) == 0 end)
  end)

  describe("in a sandbox", function()
    local function run(path, ...)
      local script <close> = fs.tempfile()
      script.file:write [[
        local url, path = ...
        local ok, err = pcall(function()
          return require "asyncbox.http".get(url):save(path)
        end)
        print(ok, ok and err or err.code)
      ]]
      script.file:flush()
      local args = { "run", "--allow-net=127.0.0.1", ... }
      args[#args + 1] = script.path
      args[#args + 1] = server.url .. "small"
      args[#args + 1] = path
      local result = async.process.run(cli.program(), args)
      return result.stdout:gsub("\n$", "") .. result.stderr
    end

    it("needs to be allowed to write there", function()
      assert.equal("false\tEDENIED", run(at "x"))
      assert.equal("true\t5", run(at "x", "--allow-write=" .. folder.path))
      assert.equal("true\t5", run(at "y", "--allow-write=" .. at "y"))
      assert.equal("false\tEDENIED", run(at "z", "--allow-write=" .. at "y"))
      assert.same({ "x", "y" }, fs.list(folder.path))
    end)

    it("writes through no link that leads out", function()
      local other <close> = fs.tempdir()
      fs.write(other.path .. "/target", "old")
      fs.symlink(other.path .. "/target", at "link")
      assert.equal("false\tEDENIED", run(at "link", "--allow-write=" .. folder.path))
      assert.equal("old", fs.read(other.path .. "/target"))
    end)
  end)

  it("fails with the session", function()
    local response = get "stalled"
    local task = async.spawn(response.save, response, at "x")
    eventually("it has begun", function() return #fs.list(folder.path) > 0 end)
    session:close()
    assert.equal("ECLOSED", failure(task.await, task).code)
    assert.same({}, fs.list(folder.path))
  end)
end)
