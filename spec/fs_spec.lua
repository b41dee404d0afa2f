-- fs: whole files, open files, what they cost and what they leave behind.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local cli = require "spec.support.cli"
local sleep, spawn, timeout = async.sleep, async.spawn, async.timeout

local dir -- a folder for each case

-- The program, also from other folders.
local program = cli.program()
if program:sub(1, 1) ~= "/" then
  program = os.getenv "PWD" .. "/" .. program
end

local function at(name)
  return dir .. "/" .. name
end

local function shell(command, ...)
  assert(os.execute(command:format(...)))
end

-- Starts a shell command beside the spec; it never outlives it for long.
local function beside(command, ...)
  shell("timeout 10 sh -c '%s' </dev/null >/dev/null 2>&1 &", command:format(...))
end

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function put(name, text)
  local file <close> = assert(io.open(at(name), "wb"))
  file:write(text)
  return at(name)
end

-- What a shell command prints, without the newline at its end.
local function output(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("\n$", ""))
end

local function descriptors()
  return select(2, output("ls -l /proc/$PPID/fd"):gsub("\n", "\n"))
end

-- The error object that f raises.
local function failure(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "no error was raised")
  return err
end

local function text_of(f, ...)
  return tostring(failure(f, ...))
end

-- What the sandboxed script prints; `dir` is the current folder.
local function sandboxed(flags, code)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("local async = require 'asyncbox'\nlocal fs = async.fs\n", code)
  file:close()
  local args = { "run" }
  for _, flag in ipairs(flags) do
    args[#args + 1] = flag
  end
  args[#args + 1] = path
  local r = cli.run(args, { cwd = dir, program = program })
  os.remove(path)
  assert.are.equal("", r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

local before

before_each(function()
  dir = output "mktemp -d /tmp/fs_spec.XXXXXX"
  local s = async.stats()
  before = { ops = s.ops, handles = s.handles, tasks = s.tasks, fds = descriptors() }
end)

local function left_over()
  local s = async.stats()
  return {
    tasks = s.tasks - before.tasks,
    ops = s.ops - before.ops,
    handles = s.handles - before.handles,
    fds = descriptors() - before.fds,
  }
end

-- Nothing is left of a case: no task, op, open file, descriptor, temporary file.
-- Calls that nobody waits for any more may end a little later, and files that
-- nobody holds go with the garbage.
after_each(function()
  local nothing = { tasks = 0, ops = 0, handles = 0, fds = 0 }
  local left
  for _ = 1, 100 do
    collectgarbage()
    left = left_over()
    if left.tasks + left.ops + left.handles == 0 and left.fds <= 0 then
      break
    end
    sleep(0.01)
  end
  left.fds = math.max(left.fds, 0)
  assert.are.same(nothing, left)
  assert.are.equal("", output("find " .. dir .. " -name '.asyncbox-*'"))
  shell("rm -rf %s", dir)
end)

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
    beside("(sleep 0.05; printf one; sleep 0.05; printf two) > %s", at "f")
    sleep(0.02)
    local ticks = 0
    local ticker = async.every(0.005, function() ticks = ticks + 1 end)
    assert.are.equal("onetwo", fs.read(at "f"))
    ticker:cancel()
    assert.is_true(ticks > 3, "other tasks went on")
  end)

  it("raises an error object that names code, op and path", function()
    local err = failure(fs.read, at "none")
    assert.are.equal("ENOENT", err.code)
    assert.are.equal("fs.read", err.op)
    assert.are.equal(at "none", err.path)
    assert.are.equal("fs.read: no such file or directory: " .. at "none" .. " (ENOENT)", tostring(err))
    assert.are.equal("EISDIR", failure(fs.read, dir).code)
    assert.are.equal(dir, failure(fs.read, dir).path)
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
    assert.matches("bad argument #1 to '.*read' %(string expected, got no value%)", text_of(fs.read))
    assert.matches("bad argument #1 .*zero byte", text_of(fs.read, "a\0b"))
    assert.matches("fs.read: unknown option 'maximum' %(known: max%)", text_of(fs.read, "x", { maximum = 1 }))
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
    assert.are.equal("x", sandboxed({ "--allow-read=" .. dir }, "print(fs.read 'x')"))
    assert.are.equal("false", sandboxed({ "--allow-write=x" }, "print((pcall(fs.read, 'x')))"))
  end)

  it("is let go of at once when it is cancelled, and closes what it had open", function()
    shell("mkfifo %s", at "f")
    local task = spawn(fs.read, at "f")
    sleep(0.02)
    task:cancel()
    assert.are.equal("ECANCELED", failure(task.await, task).code)
    local started = async.now()
    assert.are.equal("ETIMEDOUT", failure(timeout, 0.02, fs.read, at "f").code)
    assert.is_true(async.now() - started < 2)
  end)

  it("holds no thread of the pool while FIFOs have no writer", function()
    local group = {}
    for i = 1, 16 do
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

  it("stays within the memory limit", function()
    local path = put("big", ("x"):rep(40 << 20))
    local script = put("read.lua", [[
      local fs = require "asyncbox.fs"
      local ok, err = pcall(fs.read, arg[1])
      print(ok, err.code)]])
    local r = cli.run { "run", "--memory", "16M", script, path }
    assert.are.equal("false\tENOMEM\n", r.stdout)
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
    assert.are.equal("fs.write: no such file or directory: " .. at "no/x" .. " (ENOENT)", tostring(err))
    shell("mkfifo %s", at "f")
    assert.are.equal("ENXIO", failure(fs.write, at "f", "x").code)
  end)

  it("writes more than a FIFO holds, as its reader takes it", function()
    shell("mkfifo %s", at "f")
    beside("sleep 0.05; wc -c < %s > %s", at "f", at "count")
    repeat -- until the reader has come
      sleep(0.005)
    until pcall(fs.write, at "f", ("x"):rep(300000))
    for _ = 1, 200 do
      sleep(0.005)
      if slurp(at "count") ~= "" then break end
    end
    assert.are.equal(300000, tonumber(slurp(at "count")))
  end)

  it("names the argument or option that is wrong", function()
    assert.matches("bad argument #2 to '.*write' %(string expected, got table%)", text_of(fs.write, "x", {}))
    assert.matches(
      "fs.write: unknown option 'apend' %(known: append, atomic, mode%)",
      text_of(fs.write, "x", "", { apend = true })
    )
    assert.matches("'append' must be a boolean", text_of(fs.write, "x", "", { append = 1 }))
    assert.matches("exclude each other", text_of(fs.write, "x", "", { append = true, atomic = true }))
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
    beside("exec 3<%s; sleep 0.3", at "f")
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

  it("refuses what is no mode, and folders", function()
    for _, mode in ipairs { "", "x", "rw", "r++", "rbb", "+r", "r+bb", "br" } do
      assert.matches("bad argument #2 to '.*open' %(invalid mode", text_of(fs.open, at "x", mode))
    end
    assert.are.equal("EISDIR", failure(fs.open, dir).code)
    assert.are.equal("fs.open: illegal operation on a directory: " .. dir .. " (EISDIR)", text_of(fs.open, dir))
    assert.are.equal("EISDIR", failure(fs.open, dir, "w").code)
  end)

  it("is refused in a sandbox, for both halves of r+", function()
    put("x", "x")
    local code = "print(select(2, pcall(fs.open, 'x', 'r+')))"
    assert.matches("allow it with %-%-allow%-write=%.", sandboxed({ "--allow-read=x" }, code))
    assert.matches("allow it with %-%-allow%-read=%.", sandboxed({ "--allow-write=x" }, code))
    assert.are.equal("file (x)", sandboxed({ "--allow-write=x", "--allow-read=x" }, "print(fs.open('x', 'r+'))"))
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

describe("file:read", function()
  it("understands Lua's formats", function()
    local f <close> = fs.open(put("x", "one\ntwo\n\n  12 0x1p4 -3.5e1,x\nlast"))
    assert.are.equal("one", f:read())
    assert.are.equal("two\n", f:read "L")
    assert.are.equal("", f:read "l")
    assert.are.same({ 12, 16.0, -35.0 }, { f:read("n", "*n", "n") })
    assert.are.same({ ",", "x" }, { f:read(1, "l") })
    assert.are.equal("", f:read(0))
    assert.are.equal("la", f:read(2))
    assert.are.equal("st", f:read "L")
    assert.is_nil(f:read(0))
    assert.is_nil(f:read "l")
    assert.is_nil(f:read(5))
    assert.is_nil(f:read "n")
    assert.are.equal("", f:read "a")
    assert.is_nil(f:read "L")
  end)

  it("stops at the first nil", function()
    local f <close> = fs.open(put("x", "12 abc"))
    assert.are.equal(3, select("#", f:read("n", 1, "n", "l")))
    assert.are.equal("abc", f:read "a")
  end)

  it("agrees with io on files with every sort of line, buffer ends included", function()
    local parts = {}
    for i = 1, 4000 do
      parts[i] = ("x"):rep(i * 7919 % 97) .. (i % 3 == 0 and "\r\n" or "\n")
    end
    parts[#parts + 1] = ("y"):rep(300000) .. "\n" .. ("z"):rep(70000)
    local path = put("x", table.concat(parts))
    local formats = { "l", "L", 10, 65536, "a" }
    for _, format in ipairs(formats) do
      local a <close> = assert(io.open(path, "rb"))
      local b <close> = fs.open(path)
      repeat
        local x, y = a:read(format), b:read(format)
        if x ~= y then
          assert.are.equal(x, y)
        end
      until x == nil or x == ""
    end
  end)

  it("sees what a file grew by after its end was reached", function()
    local f <close> = fs.open(put("x", "one\ntw"))
    assert.are.equal("one", f:read())
    assert.are.equal("tw", f:read())
    assert.is_nil(f:read())
    fs.write(at "x", "o\nthree\n", { append = true })
    assert.are.equal("o", f:read())
    assert.are.equal("three", f:read())
    assert.is_nil(f:read())
    assert.is_nil(f:read())
    fs.write(at "x", "four", { append = true })
    assert.are.equal("four", f:read())
  end)

  it("gives a line of a FIFO as soon as it is there", function()
    shell("mkfifo %s", at "f")
    beside("exec 3>%s; sleep 0.02; (echo a; printf b) >&3; sleep 0.1; echo >&3; echo 15, >&3", at "f")
    local f <close> = fs.open(at "f")
    assert.are.equal("a", f:read())
    assert.are.equal("b", f:read())
    assert.are.same({ 15, "," }, { f:read("n", "l") })
    assert.is_nil(f:read())
    assert.are.equal("ESPIPE", failure(f.seek, f, "set").code)
  end)

  it("asks for no more memory than the file holds", function()
    local f <close> = fs.open(put("x", "small"))
    assert.are.equal("small", f:read(1 << 40))
    assert.is_true(async.stats().memory < 1 << 28)
  end)

  it("names the format that is wrong", function()
    local f <close> = fs.open(put("x", "x"))
    assert.matches("^spec/fs_spec.lua:%d+: bad argument #1 to 'read' %(invalid format", text_of(function()
      return f:read "x" -- at this line
    end))
    assert.matches("must not be negative", text_of(f.read, f, -1))
    assert.matches("string expected, got table", text_of(f.read, f, {}))
    assert.matches("too many formats", text_of(f.read, f, 1, 1, 1, 1, 1, 1, 1, 1, 1))
    assert.matches("File expected", text_of(f.read, {}))
  end)

  it("keeps what was read when the wait for it is cancelled", function()
    shell("mkfifo %s", at "f")
    beside("exec 3>%s; printf half >&3; sleep 0.1; echo \" whole\" >&3", at "f")
    local f <close> = fs.open(at "f")
    assert.are.equal("ETIMEDOUT", failure(timeout, 0.05, f.read, f).code)
    assert.are.equal("half whole", f:read())
  end)

  it("goes on after a wait that was cancelled while the pool read", function()
    local text = {}
    for i = 1, 20000 do text[i] = i end
    local f <close> = fs.open(put("x", table.concat(text, "\n")))
    for _ = 1, 5 do
      local task = spawn(f.read, f, "n")
      sleep(0)
      task:cancel()
      pcall(task.await, task)
    end
    local first = f:read "n"
    for i = first + 1, 20000 do
      assert.are.equal(i, f:read "n")
    end
  end)

  it("refuses a second task with EBUSY, and serves the first", function()
    shell("mkfifo %s", at "f")
    beside("exec 3>%s; sleep 0.05; echo x >&3", at "f")
    local f <close> = fs.open(at "f")
    local first = spawn(f.read, f)
    sleep(0.01)
    local err = failure(f.read, f)
    assert.are.equal("EBUSY", err.code)
    assert.matches("file:read: another task is using this file: .*/f %(EBUSY%)", tostring(err))
    assert.are.equal("EBUSY", failure(f.close, f).code)
    assert.are.equal("x", first:await())
  end)
end)

describe("file:lines", function()
  it("iterates over lines, or whatever its formats say", function()
    local f <close> = fs.open(put("x", "1 a\n2 b\n"))
    local got = {}
    for n, rest in f:lines("n", "l") do
      got[#got + 1] = n .. rest
    end
    assert.are.same({ "1 a", "2 b" }, got)
    f:seek "set"
    got = {}
    for line in f:lines() do got[#got + 1] = line end
    assert.are.same({ "1 a", "2 b" }, got)
  end)

  it("raises when the file is closed meanwhile", function()
    local f = fs.open(put("x", "1\n2\n"))
    local next_line = f:lines()
    assert.are.equal("1", next_line())
    f:close()
    assert.are.equal("ECLOSED", failure(next_line).code)
    assert.are.equal("ECLOSED", failure(f.lines, f).code)
  end)

  it("can be read in a user's coroutine", function()
    local f <close> = fs.open(put("x", ("line\n"):rep(50000)))
    local count = 0
    for _ in coroutine.wrap(function()
      for line in f:lines() do coroutine.yield(line) end
    end) do
      count = count + 1
    end
    assert.are.equal(50000, count)
  end)
end)

describe("file:write", function()
  it("gathers small writes, and flush hands them over", function()
    local f <close> = fs.open(at "x", "w")
    assert.are.equal(f, f:write("a", 1, 2.5, "\0"))
    assert.are.equal("", slurp(at "x"))
    assert.are.equal(f, f:flush())
    assert.are.equal("a12.5\0", slurp(at "x"))
    assert.are.equal(f, f:flush())
  end)

  it("writes large pieces in order with small ones", function()
    local f = fs.open(at "x", "w")
    local expected = {}
    for i = 1, 40 do
      local piece = string.char(64 + i):rep(i % 4 == 0 and 1000000 or 777)
      expected[i] = piece
      f:write(piece)
    end
    f:close()
    assert.is_true(table.concat(expected) == slurp(at "x"))
  end)

  it("reads and writes at one position", function()
    local f <close> = fs.open(put("x", "0123456789"), "r+")
    assert.are.equal("01", f:read(2))
    f:write "ab"
    assert.are.equal(4, f:seek())
    assert.are.equal("45", f:read(2))
    assert.are.equal(0, f:seek "set")
    assert.are.equal("01ab456789", f:read "a")
    f:write "!"
    assert.are.equal(11, f:seek "end")
    assert.are.equal(8, f:seek("cur", -3))
    assert.are.equal("89!", f:read "a")
    f:seek("set", 20)
    f:write "far"
    assert.are.equal(23, f:seek "end")
    f:flush()
    assert.are.equal("01ab456789!" .. ("\0"):rep(9) .. "far", slurp(at "x"))
    assert.are.equal("EINVAL", failure(f.seek, f, "set", -1).code)
    assert.are.equal("EINVAL", failure(f.seek, f, "end", -100).code)
    assert.matches("invalid option 'start'", text_of(f.seek, f, "start"))
  end)

  it("appends at the end wherever it read", function()
    local f <close> = fs.open(put("x", "0123"), "a+")
    assert.are.equal("01", f:read(2))
    f:write "45"
    assert.are.equal(6, f:seek())
    fs.write(at "x", "67", { append = true })
    f:write "89"
    f:flush()
    assert.are.equal(10, f:seek())
    f:seek "set"
    assert.are.equal("0123456789", f:read "a")
  end)

  it("tells of a full disk, at the latest when it is closed", function()
    local f = fs.open("/dev/full", "w")
    assert.are.equal("ENOSPC", failure(f.write, f, "x").code)
    assert.is_true(f:close())
  end)

  it("tells of a full file system once, and loses the file's descriptor never", function()
    if not os.execute("mkdir " .. at "m" .. " && mount -t tmpfs -o size=64k none " .. at "m" .. " 2>/dev/null") then
      return pending "needs mount"
    end
    local old = put("m/y", "old")
    local f = fs.open(at "m/x", "w")
    f:write(("x"):rep(200000))
    local err = failure(f.close, f)
    assert.are.equal("file:close", err.op)
    assert.are.equal("ENOSPC", err.code)
    assert.are.equal("file (closed)", tostring(f))
    assert.are.equal("ENOSPC", failure(fs.write, old, ("x"):rep(100000), { atomic = true }).code)
    assert.are.equal("old", slurp(old))
    shell("umount %s", at "m")
  end)

  it("refuses wrong arguments and files that are open for reading", function()
    local f <close> = fs.open(put("x", "x"))
    local err = failure(f.write, f, "x")
    assert.are.equal("EBADF", err.code)
    assert.matches("not open for writing", tostring(err))
    local g <close> = fs.open(at "y", "w")
    assert.matches("string expected, got nil", text_of(g.write, g, nil))
    assert.are.equal("EBADF", failure(g.read, g).code)
  end)

  it("writes all of what a cancelled call had handed over, or nothing of it", function()
    local f = fs.open(at "x", "w")
    for i = 1, 20 do
      local task = spawn(function() f:write(string.char(64 + i):rep(400000)) end)
      sleep(i % 3 * 0.001)
      task:cancel()
      pcall(task.await, task)
    end
    f:write "end"
    f:close()
    local text, last = slurp(at "x"), 0
    assert.are.equal("end", text:sub(-3))
    for from = 1, #text - 3, 400000 do
      local piece = text:sub(from, from + 399999)
      assert.is_true(piece:byte() > last, "in order")
      assert.is_true(piece == piece:sub(1, 1):rep(400000), "whole")
      last = piece:byte()
    end
  end)

  it("that is stuck in a full FIFO can be cancelled, and the file closed", function()
    shell("mkfifo %s", at "f")
    beside("exec 3<%s; sleep 0.3", at "f")
    local ok, f
    repeat
      sleep(0.005)
      ok, f = pcall(fs.open, at "f", "w")
    until ok
    assert.are.equal("ETIMEDOUT", failure(timeout, 0.05, f.write, f, ("x"):rep(300000)).code)
    f = nil -- as good as forgotten
    collectgarbage()
  end)
end)

describe("file:close", function()
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
    local task = spawn(function()
      local f <close> = fs.open(at "x", "w")
      f:write "x"
      sleep(10)
    end)
    repeat sleep(0.005) until async.stats().handles > before.handles
    sleep(0.01)
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
    local r = cli.run({ "run", script, at "out", at "f" }, { timeout = 10 })
    assert.are.equal(3, r.status)
    assert.are.equal("", r.stderr)
    assert.are.equal("gathered", slurp(at "out"))
  end)

  it("may not wait outside of a task nor inside of table.sort", function()
    local path = put("x", "x")
    assert.matches("fs.read: cannot wait inside .*sort", text_of(table.sort, { 1, 2, 3 }, function()
      return fs.read(path)
    end))
    local f <close> = fs.open(path)
    assert.matches("file:read: cannot wait inside .*sort", text_of(table.sort, { 1, 2, 3 }, function()
      return f:read()
    end))
  end)
end)
