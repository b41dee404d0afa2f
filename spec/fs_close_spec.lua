-- Open files that are closed: by hand, by the end of a block, a task or a script.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local cli = require "spec.support.cli"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local sleep, spawn = async.sleep, async.spawn
local at, shell, slurp = folder.at, folder.shell, folder.slurp
local put, failure, text_of = folder.put, folder.failure, folder.text_of

before_each(folder.start)
after_each(folder.check)

describe("file:close", function()
  it("tells the error of a write that nobody waited for, and closes all the same", function()
    local ran = folder.with_full_disk(function()
      local f = fs.open(at "m/x", "w")
      local busy = {} -- every thread of the pool, so that the write has to queue
      for i = 1, 4 do busy[i] = spawn(fs.read, "/dev/zero") end
      local task = spawn(f.write, f, ("x"):rep(300000))
      sleep(0)
      task:cancel()
      assert.are.equal("ECANCELED", failure(task.await, task).code)
      for i = 1, 4 do
        busy[i]:cancel()
        pcall(busy[i].await, busy[i])
      end
      assert.are.equal("ENOSPC", failure(f.close, f).code)
      assert.are.equal("file (closed)", tostring(f))
    end)
    if not ran then
      pending "needs mount"
    end
  end)

  it("writes what was gathered and may be called again", function()
    local f = fs.open(at "x", "w")
    f:write "x"
    assert.is_true(f:close())
    assert.is_true(f:close())
    assert.are.equal("x", slurp(at "x"))
    for _, method in ipairs { "read", "write", "seek", "flush", "lines" } do
      assert.are.equal("ECLOSED", failure(f[method], f).code)
    end
  end)

  it("happens at the end of a block, also by an error", function()
    local kept
    do
      local f <close> = fs.open(at "x", "w")
      f:write "x"
      kept = f
    end
    assert.are.equal("file (closed)", tostring(kept))
    assert.are.equal("x", slurp(at "x"))
    local err = failure(function()
      local f <close> = fs.open(at "y", "w")
      f:write "y"
      error "mine"
    end)
    assert.matches("mine", err)
    assert.are.equal("y", slurp(at "y"))
  end)

  it("happens in a cancelled task, and nothing written is lost", function()
    local written
    local task = spawn(function()
      local f <close> = fs.open(at "x", "w")
      f:write "x"
      written = true
      sleep(1000)
    end)
    eventually("it is written", function() return written end)
    task:cancel()
    assert.are.equal("ECANCELED", failure(task.await, task).code)
    assert.are.equal("x", slurp(at "x"))
  end)

  it("is the collector's work when nobody does it", function()
    fs.open(at "x", "w"):write "x"
    fs.open(at "x")
    collectgarbage()
    collectgarbage()
    assert.are.equal("x", slurp(at "x"))
  end)

  it("ends the wait of another task at the end of a block", function()
    shell("mkfifo %s", at "f")
    local reader
    do
      local f <close> = fs.open(at "f")
      reader = spawn(f.read, f)
      sleep(0.02)
    end
    assert.are.equal("ECLOSED", failure(reader.await, reader).code)
  end)
end)

describe("a script that ends with files in use", function()
  it("makes room for others first, though dropped files hold all memory there is", function()
    folder.put("large", ("x"):rep(1 << 20))
    local r = cli.run({ "run", "--memory", "2M", "--allow-read=.", "--allow-write=.", "-e", [[
      local fs = require "asyncbox.fs"
      for _ = 1, 300 do assert(#fs.open("large"):read(10) == 10) end
      for _ = 1, 300 do fs.open("new", "w"):write(("x"):rep(20000)) end
      print "all read"
    ]] }, { cwd = folder.path, program = folder.program })
    assert.are.equal("", r.stderr)
    assert.are.equal("all read\n", r.stdout)
  end)

  it("closes them and writes what it gathered", function()
    local script = put("s.lua", [[
      local async = require "asyncbox"
      local fs = async.fs
      local f = fs.open(arg[1], "w")
      f:write("gathered")
      async.spawn(fs.read, arg[2])
      async.spawn(function() local g <close> = fs.open(arg[2]); g:read() end)
      async.sleep(0.02)
      os.exit(3, true)]])
    shell("mkfifo %s", at "f")
    local r = cli.run({ "run", script, at "out", at "f" })
    assert.are.equal(3, r.status)
    assert.are.equal("", r.stderr)
    assert.are.equal("gathered", slurp(at "out"))
  end)

  it("may not wait outside of a task nor inside of table.sort", function()
    local path = put("x", "x")
    local text = text_of(table.sort, { 1, 2, 3 }, function() return fs.read(path) end)
    assert.matches("fs.read: cannot wait inside .*sort", text)
    local f <close> = fs.open(path)
    text = text_of(table.sort, { 1, 2, 3 }, function() return f:read() end)
    assert.matches("file:read: cannot wait inside .*sort", text)
  end)
end)
