-- fs: sync, stat and truncate of open files, and fs.lines.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local folder = require "spec.support.folder"
local spawn = async.spawn
local at, put, slurp, failure, text_of =
  folder.at, folder.put, folder.slurp, folder.failure, folder.text_of

before_each(folder.start)
after_each(folder.check)

describe("file:truncate", function()
  it("cuts and lengthens, here or at a size, and leaves the position", function()
    put("x", "0123456789")
    local f <close> = fs.open(at "x", "r+")
    assert.are.equal("012", f:read(3))
    assert.are.equal(f, f:truncate(6))
    assert.are.equal("345", f:read "a")
    f:seek("set", 2)
    f:truncate()
    assert.are.equal("01", slurp(at "x"))
    f:truncate(4)
    assert.are.equal("01\0\0", slurp(at "x"))
    assert.are.equal(2, f:seek())
    f:write "ab"
    f:truncate()
    assert.are.equal("01ab", slurp(at "x"))
    assert.are.equal(4, f:seek "end")
  end)

  it("refuses what makes no sense", function()
    local f <close> = fs.open(put("x", "x"))
    local err = failure(f.truncate, f, 0)
    assert.are.equal("EBADF", err.code)
    assert.are.equal(at "x", err.path)
    local w <close> = fs.open(at "y", "w")
    for _, size in ipairs { -1, 1.5, 0 / 0, "x" } do
      assert.matches("bad argument #%d", text_of(w.truncate, w, size))
    end
    err = failure(w.truncate, w, math.maxinteger)
    assert.are.equal("file:truncate", err.op)
    assert.is_true(err.code == "EFBIG" or err.code == "EINVAL")
    w:close()
    assert.are.equal("ECLOSED", failure(w.truncate, w).code)
  end)
end)

describe("file:sync and file:stat", function()
  it("write what is gathered first", function()
    local f <close> = fs.open(at "x", "w")
    f:write "abc"
    assert.are.equal(f, f:sync())
    assert.are.equal("abc", slurp(at "x"))
    f:write "de"
    local s = f:stat()
    assert.are.equal(5, s.size)
    assert.are.equal("file", s.type)
    assert.are.equal(fs.stat(at "x").ino, s.ino)
    f:close()
    assert.are.equal("ECLOSED", failure(f.sync, f).code)
    assert.are.equal("ECLOSED", failure(f.stat, f).code)
  end)

  it("raise what the disk says, with the path", function()
    local f = fs.open("/dev/full", "w")
    local ok, err = pcall(f.write, f, "x")
    if ok then
      ok, err = pcall(f.sync, f)
    end
    assert.is_false(ok)
    assert.are.equal("ENOSPC", err.code)
    assert.are.equal("/dev/full", err.path)
    pcall(f.close, f)
  end)

  it("let go when they are cancelled; the file goes on", function()
    local f <close> = fs.open(at "x", "w")
    for _, name in ipairs { "sync", "stat", "truncate" } do
      local cancelled = 0
      for _ = 1, 200 do
        f:write "x"
        local task = spawn(f[name], f)
        spawn(function() task:cancel() end)
        local ok, err = pcall(task.await, task)
        if not ok then
          assert.are.equal("ECANCELED", err.code)
          cancelled = cancelled + 1
        end
        if cancelled > 3 then break end
      end
      assert.is_true(cancelled > 0)
    end
    f:seek "end"
    assert.are.equal(fs.stat(at "x").size, f:stat().size)
  end)

  it("are for one task at a time", function()
    local f <close> = fs.open(at "x", "w")
    local codes = {}
    local tasks = {}
    for i = 1, 2 do
      tasks[i] = spawn(function()
        local ok, err = pcall(f.sync, f)
        codes[#codes + 1] = ok and "ok" or err.code
      end)
    end
    for _, task in ipairs(tasks) do task:await() end
    table.sort(codes)
    assert.are.same({ "EBUSY", "ok" }, codes)
  end)
end)

describe("fs.lines", function()
  it("gives the lines and closes the file, also when the loop is left", function()
    put("x", "one\ntwo\n\nfour")
    local got = {}
    for line in fs.lines(at "x") do got[#got + 1] = line end
    assert.are.same({ "one", "two", "", "four" }, got)
    for line in fs.lines(at "x", "L") do
      got = line
      if line then break end
    end
    assert.are.equal("one\n", got)
    local pieces = {}
    for a, b in fs.lines(at "x", 2, 1) do pieces[#pieces + 1] = a .. "|" .. tostring(b) end
    assert.are.equal("on|e", pieces[1])
  end)

  it("fails where it is called", function()
    local err = failure(fs.lines, at "none")
    assert.are.equal("ENOENT", err.code)
    assert.are.equal("fs.lines", err.op)
    assert.are.equal(at "none", err.path)
    assert.are.equal("EISDIR", failure(fs.lines, folder.path).code)
    assert.matches("bad argument #1", text_of(fs.lines))
    assert.matches("bad argument #2 .*invalid format", text_of(fs.lines, at "none", "x"))
  end)

  it("lets go when it is cancelled", function()
    put("x", "x")
    for _ = 1, 20 do
      local task = spawn(fs.lines, at "x")
      spawn(function() task:cancel() end)
      pcall(task.await, task)
    end
  end)
end)
