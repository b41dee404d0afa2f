-- Open files: reading and writing, and what it costs. Closing: fs_close_spec.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local cli = require "spec.support.cli"
local folder = require "spec.support.folder"
local sleep, spawn, timeout = async.sleep, async.spawn, async.timeout
local at, shell, beside, slurp = folder.at, folder.shell, folder.beside, folder.slurp
local put, failure, text_of = folder.put, folder.failure, folder.text_of

before_each(folder.start)
after_each(folder.check)

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
    beside("exec 3>%s; sleep 0.02; (echo a; printf b) >&3; sleep 0.1; (echo; echo 15,) >&3", at "f")
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
    local text = text_of(function()
      local _ = f:read "x" -- at this line
    end)
    assert.matches("^spec/fs_method_spec.lua:%d+: bad argument #1 to 'read' %(invalid format", text)
    assert.matches("must not be negative", text_of(f.read, f, -1))
    assert.matches("string expected, got table", text_of(f.read, f, {}))
    assert.matches("too many formats", text_of(f.read, f, 1, 1, 1, 1, 1, 1, 1, 1, 1))
    assert.matches("File expected", text_of(f.read, {}))
  end)

  it("keeps what was read when the wait for it is cancelled", function()
    shell("mkfifo %s", at "f")
    beside("exec 3>%s; printf half >&3; gate; echo \" whole\" >&3", at "f")
    local f <close> = fs.open(at "f")
    assert.are.equal("ETIMEDOUT", failure(timeout, 0.05, f.read, f).code)
    folder.go()
    assert.are.equal("half whole", f:read())
  end)

  -- Out of the page cache from the 4 KiB page on, where that is possible: the
  -- pool has to read it.
  local function uncache(path, page)
    shell("sync %s; dd if=%s of=/dev/null bs=4096 skip=%d iflag=nocache status=none",
      path, path, page)
  end

  it("goes on after a wait that was cancelled while the pool read", function()
    local text = {}
    for i = 1, 20000 do text[i] = i end
    local path = put("x", table.concat(text, "\n"))
    local f <close> = fs.open(path)
    for _ = 1, 5 do
      uncache(path, 0)
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

  it("gives the same bytes from the page cache and from the disk", function()
    local text = {}
    for i = 1, 200000 do text[i] = i end
    text = table.concat(text, "\n")
    local path = put("x", text)
    for _, page in ipairs { 0, 20, 100 } do
      for _, format in ipairs { 7, 4096, 65536, 131072, 200000, "L" } do
        uncache(path, page)
        local pieces = {}
        for piece in fs.lines(path, format) do pieces[#pieces + 1] = piece end
        assert.is_true(table.concat(pieces) == text)
      end
    end
  end)

  it("lets other tasks run between two pieces", function()
    local f <close> = fs.open(put("x", ("x"):rep(4 << 20)))
    local turns, pieces = 0, 0
    local other = spawn(function()
      while true do
        turns = turns + 1
        sleep(0)
      end
    end)
    for piece in f:lines(65536) do pieces = pieces + #piece // 65536 end
    other:cancel()
    assert.are.equal(64, pieces)
    assert.is_true(turns >= 4, turns)
  end)

  it("jumps about in a file", function()
    local f <close> = fs.open(put("x", ("0123456789"):rep(100000)))
    for i = 1, 300 do
      local to = i * 7919 * 31 % 999000
      f:seek("set", to)
      local want = ("0123456789"):rep(101):sub(to % 10 + 1)
      assert.are.equal(want:sub(1, 1 + i), f:read(1 + i))
      assert.are.equal(want:sub(2 + i, 600), f:read(599 - i))
      assert.are.equal(to + 600, f:seek())
    end
  end)

  it("refuses a second task with EBUSY, and serves the first", function()
    shell("mkfifo %s", at "f")
    beside("exec 3>%s; gate; echo x >&3", at "f")
    local f <close> = fs.open(at "f")
    local first = spawn(f.read, f)
    sleep(0)
    local err = failure(f.read, f)
    assert.are.equal("EBUSY", err.code)
    assert.matches("file:read: another task is using this file: .*/f %(EBUSY%)", tostring(err))
    assert.are.equal("EBUSY", failure(f.close, f).code)
    folder.go()
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

  it("takes nothing for what it is", function()
    local f <close> = fs.open(at "x", "w")
    assert.are.equal(f, f:write())
    assert.are.equal(f, f:write "")
    assert.are.equal(f, f:write("", "a", ""):flush())
    assert.are.equal("a", slurp(at "x"))
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

  it("reads after a seek what the file holds by then", function()
    local path = put("x", "first line\nsecond\n")
    local f <close> = fs.open(path)
    assert.are.equal("first line", f:read())
    fs.write(path, "short\n")
    assert.are.equal(6, f:seek "end")
    f:seek "set"
    assert.are.equal("short", f:read())
    assert.is_nil(f:read())
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
    local ran = folder.with_full_disk(function()
      local before = ("old"):rep(14000)
      local old = put("m/y", before)
      local f = fs.open(at "m/x", "w")
      f:write(("x"):rep(30000)) -- is only gathered
      local err = failure(f.close, f)
      assert.are.equal("file:close", err.op)
      assert.are.equal("ENOSPC", err.code)
      assert.are.equal("file (closed)", tostring(f))
      local text = ("x"):rep(100000)
      assert.are.equal("ENOSPC", failure(fs.write, old, text, { atomic = true }).code)
      assert.are.equal(before, slurp(old))
    end)
    if not ran then
      pending "needs mount"
    end
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
    beside("exec 3<%s; hold", at "f")
    local ok, f
    repeat
      sleep(0.005)
      ok, f = pcall(fs.open, at "f", "w")
    until ok
    assert.are.equal("ETIMEDOUT", failure(timeout, 0.05, f.write, f, ("x"):rep(300000)).code)
    f:lines() -- and is forgotten
  end)
end)

describe("a read that fails for memory", function()
  it("does not hold what it had read, and can be tried again in parts", function()
    local script = put("s.lua", [[
      local async = require "asyncbox"
      collectgarbage "stop" -- nothing but the file itself lets go
      local f = async.fs.open(arg[1])
      f:read(3)
      local before = async.stats().memory
      for _, format in ipairs { "l", "a", 1 << 30 } do
        local ok, err = pcall(f.read, f, format)
        print(ok, err.code, async.stats().memory - before < 100000)
      end
      print(f:seek(), f:read(2), f:seek "end")]])
    local path = put("x", "abcde" .. ("x"):rep(20 << 20))
    local r = cli.run({ "run", "--memory", "8M", script, path })
    assert.are.equal("", r.stderr)
    assert.are.equal(("false\tENOMEM\ttrue\n"):rep(3) .. "3\tde\t20971525\n", r.stdout)
  end)
end)
