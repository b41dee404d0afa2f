-- fs.tempdir and fs.tempfile: made, given, and gone with all that is in them.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local cli = require "spec.support.cli"
local folder = require "spec.support.folder"
local sandboxed = require("spec.support.sandboxed").run
local at, failure = folder.at, folder.failure

before_each(folder.start)
after_each(folder.check)

local function left()
  return fs.list(folder.path)
end

describe("fs.tempdir", function()
  it("makes a private folder that goes with all that is in it", function()
    do
      local t <close> = fs.tempdir { dir = folder.path, prefix = "x-" }
      assert.matches("/x%-%x+$", t.path)
      assert.are.equal(t.path, tostring(t))
      assert.are.equal(448, fs.stat(t.path).mode & 4095)
      fs.mkdir(t.path .. "/a/b", { parents = true })
      fs.write(t.path .. "/a/b/c", "x")
    end
    assert.are.same({}, left())
  end)

  it("closes once, and does not mind that the folder is gone", function()
    local t = fs.tempdir { dir = folder.path }
    fs.rmdir(t.path)
    t:close()
    fs.mkdir(t.path)
    t:close()
    assert.are.equal(1, #left())
  end)

  it("is removed in a cancelled task, wherever that was", function()
    for turns = 0, 6 do
      local task = async.spawn(function()
        local t <close> = fs.tempdir { dir = folder.path }
        fs.write(t.path .. "/x", "x")
        async.sleep(3600)
      end)
      for _ = 1, turns do async.sleep(0) end
      task:cancel()
      assert.are.equal("ECANCELED", failure(task.await, task).code)
      assert.are.same({}, left())
    end
  end)

  it("is removed where nothing may wait, too", function()
    local function left_open()
      local t <close> = fs.tempdir { dir = folder.path }
      local f <close> = fs.tempfile { dir = folder.path }
      f.file:write "gathered"
      fs.mkdir(t.path .. "/a/b", { parents = true })
      fs.write(t.path .. "/a/b/c", "x")
      coroutine.yield(t, f)
      error "failed"
    end
    local co = coroutine.create(left_open)
    local _, _, f = coroutine.resume(co)
    assert.are.equal(2, #left())
    assert.is_true(coroutine.close(co))
    assert.are.same({}, left())
    assert.matches("closed", tostring(f.file))

    local generator = coroutine.wrap(left_open)
    generator()
    assert.matches("failed", failure(generator))
    assert.are.same({}, left())
  end)

  it("is removed when the script calls os.exit", function()
    local r = cli.run { "-e", [[
      local async = require "asyncbox"
      local fs = async.fs
      local made = false
      async.spawn(function()
        local t <close> = fs.tempfile { dir = "]] .. folder.path .. [[" }
        made = true
        async.sleep(3600)
      end)
      local t <close> = fs.tempdir { dir = "]] .. folder.path .. [[" }
      fs.write(t.path .. "/x", "x")
      while not made do async.sleep(0) end
      assert(#fs.list "]] .. folder.path .. [[" == 2)
      os.exit(3)
    ]] }
    assert.are.equal("", r.stderr)
    assert.are.equal(3, r.status)
    assert.are.same({}, left())
  end)

  it("raises what the disk says when it cannot be removed", function()
    local t, err
    local mounted = folder.with_full_disk(function()
      folder.shell("mkdir %s", at "m/d")
      t = fs.tempdir { dir = at "m/d" }
      folder.shell("mount -o remount,ro %s", at "m")
      err = failure(t.close, t)
    end)
    if not mounted then return pending "this user may not mount" end
    assert.are.equal("EROFS", err.code)
    assert.are.equal(t.path, err.path)
  end)

  it("says what is wrong with its options, or with the place", function()
    assert.matches("unknown option 'folder'", failure(fs.tempdir, { folder = "x" }))
    assert.matches("'prefix' must not hold a slash", failure(fs.tempdir, { prefix = "../x" }))
    assert.matches("'prefix' must be a string", failure(fs.tempdir, { prefix = 1 }))
    assert.matches("without zero bytes", failure(fs.tempdir, { dir = "a\0b" }))
    assert.matches("options must be a table", failure(fs.tempdir, 1))
    local err = failure(fs.tempdir, { dir = at "none" })
    assert.are.equal("ENOENT", err.code)
    assert.matches("none/asyncbox%-%x+$", err.path)
    assert.matches("^fs%.tempdir: no such", tostring(err))
    assert.matches("^fs%.tempfile: no such", tostring(failure(fs.tempfile, { dir = at "none" })))
  end)

  it("is denied in a sandbox that may not write there", function()
    assert.are.equal("EDENIED EDENIED", sandboxed({ "--sandbox" }, [[
      local function code(f, ...) return select(2, pcall(f, ...)).code end
      print(code(fs.tempdir) .. " " .. code(fs.tempfile, { dir = "/tmp" }))]]))
    assert.matches("^fs%.tempdir: .*; allow it with %-%-allow%-write=/tmp$",
      sandboxed({ "--sandbox" }, "print(select(2, pcall(fs.tempdir, { dir = '/tmp' })))"))
  end)
end)

describe("fs.tempfile", function()
  it("gives an open file that is removed", function()
    local path
    do
      local t <close> = fs.tempfile { dir = folder.path }
      path = t.path
      t.file:write "some text"
      t.file:seek "set"
      assert.are.equal("some text", t.file:read "a")
      assert.are.equal(384, fs.stat(path).mode & 4095)
    end
    assert.is_false(fs.exists(path))
    assert.are.same({}, left())
  end)

  it("closes also when the script closed the file", function()
    local t = fs.tempfile { dir = folder.path }
    t.file:close()
    t:close()
    assert.are.same({}, left())
  end)
end)
