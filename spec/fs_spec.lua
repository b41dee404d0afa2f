-- fs: whole files, and opening; open files: fs_method_spec.lua.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local cli = require "spec.support.cli"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local sandboxed = require("spec.support.sandboxed").run
local sleep, spawn, timeout = async.sleep, async.spawn, async.timeout
local at, shell, beside, slurp = folder.at, folder.shell, folder.beside, folder.slurp
local put, output, failure, text_of = folder.put, folder.output, folder.failure, folder.text_of

before_each(folder.start)
after_each(folder.check)

describe("fs.read", function()
  it("gives the whole file, zero bytes and all", function()
    local text = ("a\0b\n"):rep(100000)
    assert.are.equal(text, fs.read(put("x", text)))
    assert.are.equal("", fs.read(put("empty", "")))
    assert.are.equal(1, select("#", fs.read(at "x")))
  end)

  it("reads a file of /proc, which doesn't know its size", function()
    assert.matches("^Name:", fs.read "/proc/self/status")
    assert.is_true(#fs.read "/proc/self/smaps" > 4096)
  end)

  it("reads a FIFO to its end, also when the writer comes late and in bits", function()
    shell("mkfifo %s", at "f")
    beside("gate; (printf one; sleep 0.05; printf two) > %s", at "f")
    local ticks = 0
    local ticker = async.every(0.001, function() -- other tasks go on
      ticks = ticks + 1
      if ticks == 3 then folder.go() end
    end)
    assert.are.equal("onetwo", fs.read(at "f"))
    ticker:cancel()
  end)

  it("raises an error object that names code, op and path", function()
    local err = failure(fs.read, at "none")
    assert.are.equal("ENOENT", err.code)
    assert.are.equal("fs.read", err.op)
    assert.are.equal(at "none", err.path)
    local text = "fs.read: no such file or directory: " .. at "none" .. " (ENOENT)"
    assert.are.equal(text, tostring(err))
    assert.are.equal("EISDIR", failure(fs.read, folder.path).code)
    assert.are.equal(folder.path, failure(fs.read, folder.path).path)
    assert.are.equal("ENOTDIR", failure(fs.read, put("x", "") .. "/y").code)
    assert.are.equal("ENAMETOOLONG", failure(fs.read, at(("n"):rep(300))).code)
    assert.are.equal("ENOENT", failure(fs.read, "").code)
  end)

  it("refuses a file that is larger than max, and never cuts one", function()
    local path = put("x", ("x"):rep(100))
    assert.are.equal(100, #fs.read(path, { max = 100 }))
    local err = failure(fs.read, path, { max = 99 })
    assert.are.equal("ELIMIT", err.code)
    assert.matches("larger than the limit max = 99 bytes: .*/x %(ELIMIT%)", tostring(err))
    assert.are.equal("ELIMIT", failure(fs.read, "/proc/self/status", { max = 10 }).code)
    assert.are.equal("ELIMIT", failure(fs.read, "/dev/zero", { max = 100000 }).code)
    assert.are.equal("", fs.read(put("empty", ""), { max = 0 }))
  end)

  it("names the argument or option that is wrong", function()
    assert.matches("bad argument #1 to '.*read' %(string expected", text_of(fs.read))
    assert.matches("bad argument #1 .*zero byte", text_of(fs.read, "a\0b"))
    local text = text_of(fs.read, "x", { maximum = 1 })
    assert.matches("fs.read: unknown option 'maximum' %(known: max%)", text)
    assert.matches("'max' must be", text_of(fs.read, "x", { max = -1 }))
    assert.matches("'max' must be", text_of(fs.read, "x", { max = "1" }))
    assert.matches("options must be a table", text_of(fs.read, "x", 5))
  end)

  it("is refused in a sandbox, which is told the flag", function()
    put("x", "x")
    assert.are.equal(
      "fs.read: permission not granted: /etc/passwd (EDENIED); allow it with --allow-read=/etc",
      sandboxed({ "--sandbox" }, "print(select(2, pcall(fs.read, '/etc/passwd')))")
    )
    assert.are.equal("x", sandboxed({ "--allow-read=x" }, "print(fs.read 'x')"))
    assert.are.equal("x", sandboxed({ "--allow-read=" .. folder.path }, "print(fs.read 'x')"))
    assert.are.equal("false", sandboxed({ "--allow-write=x" }, "print((pcall(fs.read, 'x')))"))
  end)

  it("is let go of at once when it is cancelled, and closes what it had open", function()
    shell("mkfifo %s", at "f")
    local task = spawn(fs.read, at "f")
    sleep(0.02)
    task:cancel()
    assert.are.equal("ECANCELED", failure(task.await, task).code)
    assert.are.equal("ETIMEDOUT", failure(timeout, 0.02, fs.read, at "f").code)
  end)

  it("holds no thread of the pool and nobody's turn while FIFOs have no writer", function()
    local group = {}
    for i = 1, 40 do
      shell("mkfifo %s", at("f" .. i))
      group[i] = spawn(fs.read, at("f" .. i))
    end
    sleep(0.02)
    assert.are.equal("x", fs.read(put("x", "x")))
    for _, task in ipairs(group) do
      task:cancel()
    end
    for _, task in ipairs(group) do
      pcall(task.await, task)
    end
  end)

  it("can be cancelled in the middle of a device without end", function()
    local task = spawn(fs.read, "/dev/zero")
    sleep(0.005)
    task:cancel()
    assert.are.equal("ECANCELED", failure(task.await, task).code)
  end)

  it("reads 2,000 files at once, each once", function()
    local tasks = {}
    for i = 1, 2000 do
      tasks[i] = spawn(fs.read, put("n" .. i % 50, tostring(i % 50)))
    end
    for i, task in ipairs(tasks) do
      assert.are.equal(tostring(i % 50), task:await())
    end
  end)

  it("lets go of those of many at once that have not had their turn", function()
    local path, tasks, canceled = put("x", ("x"):rep(100000)), {}, 0
    for i = 1, 1000 do
      tasks[i] = spawn(fs.read, path)
    end
    sleep(0)
    for i = 1, 1000, 2 do
      tasks[i]:cancel()
    end
    for i, task in ipairs(tasks) do
      local ok, got = pcall(task.await, task)
      if ok then
        assert.are.equal(100000, #got)
      else
        assert.are.equal("ECANCELED", got.code)
        assert.are.equal(1, i % 2)
        canceled = canceled + 1
      end
    end
    assert.is_true(canceled > 0)
  end)

  it("stays within the memory limit", function()
    local path = put("big", ("x"):rep(40 << 20))
    local script = put("read.lua", [[
      local fs = require "asyncbox.fs"
      local ok, err = pcall(fs.read, arg[1])
      print(ok, err.code)]])
    local r = cli.run { "run", "--memory", "16M", script, path }
    assert.are.equal("false\tENOMEM\n", r.stdout)
  end)

  it("finds the room that garbage takes, under a limit of memory", function()
    local path = put("some", ("x"):rep(3 << 20))
    local script = put("again.lua", [[
      local async = require "asyncbox"
      local held
      for i = 1, 20 do
        local ok, text = pcall(async.fs.read, arg[1])
        if not ok or #text ~= 3 << 20 then print(i, text) end
        held = text
      end]])
    local r = cli.run { "run", "--memory", "12M", script, path }
    assert.are.same({ 0, "", "" }, { r.status, r.stdout, r.stderr })
  end)
end)

describe("fs.write", function()
  it("makes, replaces and appends", function()
    assert.is_true(fs.write(at "x", "one\0"))
    assert.are.equal("one\0", slurp(at "x"))
    fs.write(at "x", "2")
    fs.write(at "x", 3.5, { append = true })
    fs.write(at "y", "new", { append = true })
    assert.are.equal("23.5", slurp(at "x"))
    assert.are.equal("new", slurp(at "y"))
    fs.write(at "x", "")
    assert.are.equal("", slurp(at "x"))
  end)

  it("writes what the string was when it was called, whatever is collected since", function()
    local tasks = {}
    for i = 1, 50 do
      tasks[i] = spawn(fs.write, at("f" .. i), tostring(i):rep(20000))
    end
    for i, task in ipairs(tasks) do
      collectgarbage()
      task:await()
      assert.are.equal(tostring(i):rep(20000), slurp(at("f" .. i)))
    end
  end)

  it("replaces at one stroke when atomic, and keeps the permissions", function()
    put("x", "old")
    shell("chmod 640 %s", at "x")
    local old = assert(io.open(at "x"))
    fs.write(at "x", "new", { atomic = true })
    assert.are.equal("old", old:read "a", "the old file is as it was")
    old:close()
    assert.are.equal("new", slurp(at "x"))
    assert.are.equal("640", output("stat -c %a " .. at "x"))
    fs.write(at "fresh", "fresh", { atomic = true, mode = tonumber("600", 8) })
    assert.are.equal("600", output("stat -c %a " .. at "fresh"))
  end)

  it("writes through a symlink, also when atomic", function()
    put("x", "old")
    shell("ln -s x %s", at "link")
    fs.write(at "link", "1")
    assert.are.equal("1", slurp(at "x"))
    fs.write(at "link", "2", { atomic = true })
    assert.are.equal("2", slurp(at "x"))
    shell("test -L %s", at "link")
  end)

  it("never replaces a folder or a device", function()
    shell("mkdir %s; mkfifo %s", at "d", at "f")
    assert.are.equal("EISDIR", failure(fs.write, at "d", "x").code)
    assert.are.equal("EISDIR", failure(fs.write, at "d", "x", { atomic = true }).code)
    assert.are.equal("EINVAL", failure(fs.write, at "f", "x", { atomic = true }).code)
    assert.are.equal("EINVAL", failure(fs.write, "/dev/null", "x", { atomic = true }).code)
    assert.is_true(fs.write("/dev/null", "x"))
    shell("test -c /dev/null")
  end)

  it("raises what the system says, with the path", function()
    assert.are.equal("ENOSPC", failure(fs.write, "/dev/full", "x").code)
    assert.are.equal("/dev/full", failure(fs.write, "/dev/full", "x").path)
    local err = failure(fs.write, at "no/x", "x", { atomic = true })
    local text = "fs.write: no such file or directory: " .. at "no/x" .. " (ENOENT)"
    assert.are.equal(text, tostring(err))
    shell("mkfifo %s", at "f")
    assert.are.equal("ENXIO", failure(fs.write, at "f", "x").code)
  end)

  it("writes more than a FIFO holds, as its reader takes it", function()
    shell("mkfifo %s", at "f")
    beside("wc -c < %s > %s", at "f", at "count")
    repeat -- until the reader has come
      sleep(0.005)
    until pcall(fs.write, at "f", ("x"):rep(300000))
    eventually("the reader has counted", function() return slurp(at "count") ~= "" end)
    assert.are.equal(300000, tonumber(slurp(at "count")))
  end)

  it("names the argument or option that is wrong", function()
    assert.matches("bad argument #2 to '.*write' %(string expected", text_of(fs.write, "x", {}))
    assert.matches(
      "fs.write: unknown option 'apend' %(known: append, atomic, mode, sync%)",
      text_of(fs.write, "x", "", { apend = true })
    )
    assert.matches("'append' must be a boolean", text_of(fs.write, "x", "", { append = 1 }))
    local both = { append = true, atomic = true }
    assert.matches("exclude each other", text_of(fs.write, "x", "", both))
    assert.matches("'mode' must be", text_of(fs.write, "x", "", { mode = 1 << 20 }))
  end)

  it("is refused in a sandbox, and atomically works with a file's own grant", function()
    assert.are.equal(
      "fs.write: permission not granted: x (EDENIED); allow it with --allow-write=.",
      sandboxed({ "--allow-read=." }, "print(select(2, pcall(fs.write, 'x', '')))")
    )
    assert.are.equal("", sandboxed({ "--allow-write=x" }, "fs.write('x', '1', {atomic = true})"))
    assert.are.equal("1", slurp(at "x"))
    assert.are.equal("EDENIED", sandboxed({ "--allow-write=x" }, [[
      print(select(2, pcall(fs.write, 'y', '1', {atomic = true})).code)]]))
  end)

  it("is let go of at once when it is cancelled; atomic is all or nothing", function()
    put("x", "old")
    for i = 1, 50 do
      local task = spawn(fs.write, at "x", tostring(i):rep(100000), { atomic = true })
      if i % 2 == 0 then sleep(0) end
      task:cancel()
      pcall(task.await, task)
    end
    sleep(0.05)
    local text = slurp(at "x")
    assert.is_true(text == "old" or #text == 100000 or #text == 200000)
  end)

  it("that is stuck in a full FIFO can be cancelled", function()
    shell("mkfifo %s", at "f")
    beside("exec 3<%s; hold", at "f")
    while not pcall(fs.write, at "f", "") do sleep(0.005) end
    assert.are.equal("ETIMEDOUT", failure(timeout, 0.05, fs.write, at "f", ("x"):rep(300000)).code)
  end)
end)

describe("fs.open", function()
  it("opens in the six modes", function()
    put("x", "0123456789")
    local function try(mode, name)
      local f <close> = fs.open(at(name or "x"), mode)
      local can_read, text = pcall(f.read, f, 2)
      local can_write = pcall(f.write, f, "ab")
      return can_read and text or can_read, can_write
    end
    assert.are.same({ "01", false }, { try "r" })
    assert.are.same({ "01", false }, { try "rb" })
    assert.are.same({ false, true }, { try "a" })
    assert.are.equal("0123456789ab", slurp(at "x"))
    assert.are.same({ "01", true }, { try "r+" })
    assert.are.equal("01ab456789ab", slurp(at "x"))
    assert.are.same({ "01", true }, { try "a+b" })
    assert.are.equal("01ab456789abab", slurp(at "x"))
    assert.are.same({ false, true }, { try "w" })
    assert.are.equal("ab", slurp(at "x"))
    try "w+"
    assert.are.equal("ab", slurp(at "x"))
    assert.are.equal("ENOENT", failure(fs.open, at "none").code)
    assert.are.equal("ENOENT", failure(fs.open, at "none", "r+").code)
  end)

  it("opens many at once, with the buffers of few", function()
    local script = put("many.lua", [[
      local async = require "asyncbox"
      local lines = ("x"):rep(11000)
      async.map(async.fs.list(arg[1]), function(name)
        local file <close> = async.fs.open(arg[1] .. "/" .. name, "w")
        for _ = 1, 10 do file:write(lines) end
      end)]])
    folder.shell("mkdir %s && cd %s && seq 300 | xargs touch", at "many", at "many")
    local r = cli.run { "run", "--memory", "8M", script, at "many" }
    assert.are.same({ 0, "", "" }, { r.status, r.stdout, r.stderr })
    for i = 1, 300 do assert.are.equal(110000, fs.stat(at("many/" .. i)).size) end
  end)

  it("gives the turns of those that are cancelled to others", function()
    put("x", "some")
    for _ = 1, 3 do
      local tasks = {}
      for i = 1, 100 do tasks[i] = async.spawn(fs.open, at "x") end
      async.sleep(0)
      for i = 100, 1, -1 do tasks[i]:cancel() end
      for i = 1, 100 do
        local ok, result = pcall(tasks[i].await, tasks[i])
        assert.is_true(ok or result.code == "ECANCELED") -- the first may be open
        if ok then result:close() end
      end
    end
    local file <close> = fs.open(at "x")
    assert.are.equal("some", file:read "a")
  end)

  it("makes a file that must not be there yet, for one task of many", function()
    local made = async.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function(n)
      local ok, f = pcall(fs.open, at "lock", "wx")
      if not ok then return f.code end
      f:write(n):close()
      return n
    end)
    table.sort(made, function(a, b) return tostring(a) < tostring(b) end)
    assert.are.same({ "EEXIST", "EEXIST", "EEXIST" }, { table.unpack(made, 2, 4) })
    assert.are.equal(tostring(made[1]), slurp(at "lock"))
    assert.are.equal("fs.open: file already exists: " .. at "lock" .. " (EEXIST)",
      text_of(fs.open, at "lock", "wx"))
    for i, mode in ipairs { "w+x", "wbx", "w+bx", "wb+x" } do
      local f <close> = fs.open(at(i .. ""), mode)
      f:write "a":seek "set"
      assert.are.equal(mode:find("+", 1, true) ~= nil, pcall(f.read, f))
    end
    shell("ln -s nowhere %s", at "link")
    assert.are.equal("EEXIST", failure(fs.open, at "link", "wx").code)
    assert.are.equal("EEXIST", sandboxed({ "--allow-write=." }, [[
      fs.open("x", "wx"):close()
      print(select(2, pcall(fs.open, "x", "wx")).code)
    ]]))
  end)

  it("refuses what is no mode, and folders", function()
    local none = { "", "x", "rw", "r++", "rbb", "+r", "r+bb", "br", "r\0", "rx", "ax", "wxx", "wx+",
      "wxb", "xw" }
    for _, mode in ipairs(none) do
      assert.matches("bad argument #2 to '.*open' %(invalid mode", text_of(fs.open, at "x", mode))
    end
    assert.are.equal("EISDIR", failure(fs.open, folder.path).code)
    local text = "fs.open: illegal operation on a directory: " .. folder.path .. " (EISDIR)"
    assert.are.equal(text, text_of(fs.open, folder.path))
    assert.are.equal("EISDIR", failure(fs.open, folder.path, "w").code)
  end)

  it("is refused in a sandbox, for both halves of r+", function()
    put("x", "x")
    local code = "print(select(2, pcall(fs.open, 'x', 'r+')))"
    assert.matches("allow it with %-%-allow%-write=%.", sandboxed({ "--allow-read=x" }, code))
    assert.matches("allow it with %-%-allow%-read=%.", sandboxed({ "--allow-write=x" }, code))
    code = "print(fs.open('x', 'r+'))"
    assert.are.equal("file (x)", sandboxed({ "--allow-write=x", "--allow-read=x" }, code))
  end)

  it("closes the file that arrives after it was cancelled", function()
    put("x", "x")
    for _ = 1, 20 do
      local task = spawn(fs.open, at "x")
      sleep(0)
      task:cancel()
      pcall(task.await, task)
    end
  end)

  it("shows what a file is", function()
    local f = fs.open(put("x", ""))
    assert.are.equal("file (" .. at "x" .. ")", tostring(f))
    f:close()
    assert.are.equal("file (closed)", tostring(f))
  end)
end)
