-- streams: what they read and write, how much they hold, who may use them.
-- The other side is always a program.

local async = require "asyncbox"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local eventually = require "spec.support.eventually"
local errors = require "spec.support.errors"
local failure, code_of = errors.failure, errors.code_of
local spawn, sleep = async.spawn, async.sleep

-- A shell whose standard output is read.
local function sh(code)
  return process.spawn("sh", "-c", code, { stderr = "inherit" })
end

-- Raised by a task that is cancelled while it waits in f.
local function cancelled(f, ...)
  local task = spawn(f, ...)
  sleep(0)
  assert.is_false(task:done())
  task:cancel()
  return code_of(task.await, task)
end

describe("a stream", function()
  setup(children.warm_up)
  before_each(clean.start)
  after_each(function()
    children.check()
    clean.check()
  end)

  describe("read", function()
    it("gives what is there, up to n bytes, and nil at the end", function()
      local p <close> = sh "printf abcdef"
      p:wait()
      assert.are.equal("abcd", p.stdout:read(4))
      assert.are.equal("ef", p.stdout:read(4))
      assert.is_nil(p.stdout:read(4))
      assert.is_nil(p.stdout:read())
    end)

    it("waits for the first byte only, while other tasks go on", function()
      local p <close> = sh "read x; printf a; exec sleep 100"
      local ticks = 0
      local ticker = async.every(0.001, function()
        ticks = ticks + 1
        if ticks == 3 then p.stdin:write "\n" end
      end)
      assert.are.equal("a", p.stdout:read(1000))
      ticker:cancel()
    end)

    it("refuses a count that is none", function()
      local p <close> = sh "exit 0"
      assert.matches("bytes from 1", failure(p.stdout.read, p.stdout, 0))
      assert.matches("number expected", failure(p.stdout.read, p.stdout, {}))
    end)

    it("is stopped by cancelling, and loses nothing by that", function()
      local p <close> = process.spawn("cat")
      assert.are.equal("ECANCELED", cancelled(p.stdout.read, p.stdout))
      p.stdin:write "later"
      assert.are.equal("later", p.stdout:read())
    end)
  end)

  describe("read_exactly", function()
    it("gathers n bytes", function()
      local p <close> = sh "printf ab; sleep 0.02; printf cd; printf ef"
      assert.are.equal("abc", p.stdout:read_exactly(3))
      assert.are.equal("def", p.stdout:read_exactly(3))
      assert.is_nil(p.stdout:read_exactly(3))
    end)

    it("raises EOF when the stream ends in between, and keeps what came", function()
      local p <close> = sh "printf abcd"
      assert.are.equal("stream:read_exactly: the stream ended after 4 of 5 bytes (EOF)",
        tostring(failure(p.stdout.read_exactly, p.stdout, 5)))
      assert.are.equal("abcd", p.stdout:read_all())
    end)

    it("takes more than the buffer holds by itself", function()
      local p <close> = sh "head -c 1000000 /dev/zero"
      assert.are.equal(1000000, #p.stdout:read_exactly(1000000))
      assert.is_nil(p.stdout:read())
    end)

    it("can be cancelled, and keeps what came", function()
      local p <close> = sh "printf abc; exec sleep 100"
      assert.are.equal("ECANCELED", cancelled(p.stdout.read_exactly, p.stdout, 10))
      assert.are.equal("abc", p.stdout:read(10))
    end)

    it("refuses a count that is none", function()
      local p <close> = sh "exit 0"
      assert.matches("bytes from 1", failure(p.stdout.read_exactly, p.stdout, -1))
    end)
  end)

  describe("read_until", function()
    it("gives what is before the separator, and says whether it was there", function()
      local p <close> = sh "printf 'one--two-three--'; sleep 0.02; printf -- '-rest'"
      assert.are.same({ "one", true }, { p.stdout:read_until "--" })
      assert.are.same({ "two-three", true }, { p.stdout:read_until "--" })
      assert.are.same({ "-rest", false }, { p.stdout:read_until "--" })
      assert.are.same({ nil, nil }, { p.stdout:read_until "--" })
    end)

    it("finds a separator that comes in two pieces", function()
      local p <close> = sh [[printf 'head\r\n\r'; sleep 0.03; printf '\nbody']]
      assert.are.equal("head", (p.stdout:read_until "\r\n\r\n"))
      assert.are.equal("body", p.stdout:read_all())
    end)

    it("raises ELIMIT beyond max, and keeps what came", function()
      local p <close> = sh "printf abcdef,g"
      assert.are.equal("ELIMIT", code_of(p.stdout.read_until, p.stdout, ",", { max = 5 }))
      assert.are.equal("abcdef", (p.stdout:read_until(",", { max = 6 })))
    end)

    it("raises ELIMIT also when no separator ever comes", function()
      local p <close> = process.spawn("cat", "/dev/zero")
      assert.are.equal("ELIMIT", code_of(p.stdout.read_until, p.stdout, ",", { max = 300000 }))
    end)

    it("refuses separators and options that are none", function()
      local p <close> = sh "exit 0"
      assert.matches("1 to 64 bytes", failure(p.stdout.read_until, p.stdout, ""))
      assert.matches("unknown option 'mx'", failure(p.stdout.read_until, p.stdout, ",", { mx = 1 }))
    end)

    it("can be cancelled", function()
      local p <close> = sh "printf abc; exec sleep 100"
      assert.are.equal("ECANCELED", cancelled(p.stdout.read_until, p.stdout, ","))
      assert.are.equal("abc", p.stdout:read())
    end)
  end)

  describe("lines", function()
    it("come one by one, the last with or without its newline", function()
      local p <close> = sh [[printf 'a\n\nb\r\nc']]
      local got = {}
      for line in p.stdout:lines() do got[#got + 1] = line end
      assert.are.same({ "a", "", "b\r", "c" }, got)
      assert.is_nil(p.stdout:read_line())
    end)

    it("may be longer than the buffer, but not than max", function()
      local p <close> = sh "head -c 500000 /dev/zero; echo; head -c 500000 /dev/zero"
      assert.are.equal(500000, #p.stdout:read_line())
      assert.are.equal("ELIMIT", code_of(p.stdout.read_line, p.stdout, { max = 1000 }))
    end)

    it("can be cancelled between and within", function()
      local p <close> = sh "echo one; printf tw; exec sleep 100"
      local got = {}
      local task = spawn(function()
        for line in p.stdout:lines() do got[#got + 1] = line end
      end)
      eventually("the first line is there", function() return got[1] end)
      task:cancel()
      assert.are.equal("ECANCELED", code_of(task.await, task))
      assert.are.same({ "one" }, got)
      assert.are.equal("tw", p.stdout:read())
    end)

    it("are many without waiting for each", function()
      local p <close> = process.spawn("seq", "100000")
      local n = 0
      for line in p.stdout:lines { max = 6 } do
        n = n + 1
        assert(line == tostring(n))
      end
      assert.are.equal(100000, n)
    end)
  end)

  describe("read_all", function()
    it("gives all up to the end, and the empty string after it", function()
      local p <close> = sh "head -c 300000 /dev/zero; printf x"
      assert.are.equal(300001, #p.stdout:read_all())
      assert.are.equal("", p.stdout:read_all())
    end)

    it("raises ELIMIT beyond max", function()
      local p <close> = process.spawn("yes")
      assert.are.equal("ELIMIT", code_of(p.stdout.read_all, p.stdout, { max = 200000 }))
    end)

    it("can be cancelled", function()
      local p <close> = sh "printf abc; exec sleep 100"
      assert.are.equal("ECANCELED", cancelled(p.stdout.read_all, p.stdout))
    end)

    it("raises ENOMEM when it does not fit into the box", function()
      local cli = require "spec.support.cli"
      local r = cli.run({ "run", "--memory", "8M", "--allow-run=yes", "-e", [[
        local process = require "asyncbox.process"
        local p <close> = process.spawn("yes")
        print(select(2, pcall(p.stdout.read_all, p.stdout)))
      ]] })
      assert.matches("not enough memory", r.stdout)
    end)
  end)

  it("has room though dropped streams hold all memory there is", function()
    local cli = require "spec.support.cli"
    local r = cli.run({ "run", "--memory", "4M", "--allow-run=printf", "-e", [[
      local process = require "asyncbox.process"
      for _ = 1, 100 do
        local p = process.spawn("printf", "ab")
        assert(p.stdout:read(1) == "a")
        p:wait()
      end
      print "all read"
    ]] })
    assert.are.equal("", r.stderr)
    assert.are.equal("all read\n", r.stdout)
  end)

  it("comes in chunks", function()
    local p <close> = sh "head -c 200000 /dev/zero"
    local sum = 0
    for chunk in p.stdout:chunks(1000) do
      assert(#chunk <= 1000)
      sum = sum + #chunk
    end
    assert.are.equal(200000, sum)
  end)

  describe("write", function()
    it("writes strings, numbers and lists, and gives the stream", function()
      local p <close> = process.spawn("cat")
      assert.are.equal(p.stdin, p.stdin:write("a"):write(1, { "b", 2 }, "\0"))
      p.stdin:close()
      assert.are.equal("a1b2\0", p.stdout:read_all())
    end)

    it("waits while the other side is slow, and then goes on", function()
      local p <close> = process.spawn("cat")
      local text = ("0123456789abcdef"):rep(200000)
      local written = false
      local writer = spawn(function()
        p.stdin:write(text)
        written = true
        p.stdin:close()
      end)
      sleep(0.05)
      assert.is_false(written)
      assert.is_true(p.stdout:read_all() == text)
      writer:await()
    end)

    it("holds no more than the high-water mark and a piece of a large string", function()
      local p <close> = process.spawn("sleep", "100", { high_water = 1000 })
      local text = ("x"):rep(10000000)
      local before = async.stats().memory
      local writer = spawn(p.stdin.write, p.stdin, text)
      sleep(0)
      assert.is_false(writer:done())
      assert.is_true(async.stats().memory - before < 200000)
      writer:cancel()
      assert.are.equal("ECANCELED", code_of(writer.await, writer))
    end)

    it("with a high-water mark of 0 returns when the system has all of it", function()
      local p <close> = process.spawn("cat", { high_water = 0 })
      local writer = spawn(function()
        for _ = 1, 100 do p.stdin:write(("y"):rep(5000)) end
        p.stdin:close()
      end)
      assert.are.equal(500000, #p.stdout:read_all())
      writer:await()
    end)

    it("raises EPIPE when the other side has gone", function()
      local p <close> = process.spawn("true")
      p:wait()
      local err = failure(function()
        while true do p.stdin:write "x" end
      end)
      assert.are.equal("EPIPE", err.code)
      assert.are.equal("stream:write", err.op)
    end)

    it("raises EPIPE also when the other side goes while it waits", function()
      local p <close> = sh "exec <&-; sleep 0.05"
      assert.are.equal("EPIPE", code_of(p.stdin.write, p.stdin, ("x"):rep(1000000)))
    end)

    it("tells once of what was queued and could not be written", function()
      for _, how in ipairs { "close", "shutdown", "write", "<close>" } do
        local p <close> = process.spawn("sleep", "100")
        p.stdin:write(("x"):rep(100000)) -- more than a pipe holds
        p:kill "SIGKILL"
        p:wait()
        sleep(0.02) -- time to fail while nobody looks
        local ok, err = pcall(function()
          if how ~= "<close>" then return p.stdin[how](p.stdin, "y") end
          local _ <close> = p.stdin
        end)
        assert.is_false(ok, how)
        assert.are.equal("EPIPE", err.code)
        assert.is_true(p.stdin:close())
      end
    end)

    it("refuses what is no text", function()
      local p <close> = process.spawn("cat")
      assert.matches("string expected, got no value", failure(p.stdin.write, p.stdin))
      assert.matches("string expected, got nil", failure(p.stdin.write, p.stdin, "a", nil, "b"))
      assert.matches("index 2, got boolean", failure(p.stdin.write, p.stdin, { "a", true }))
    end)

    it("can be cancelled", function()
      local p <close> = process.spawn("sleep", "100")
      assert.are.equal("ECANCELED", cancelled(p.stdin.write, p.stdin, ("x"):rep(1000000)))
    end)
  end)

  describe("of a pipe", function()
    it("goes one way", function()
      local p <close> = process.spawn("cat")
      assert.are.equal("EBADF", code_of(p.stdin.read, p.stdin))
      assert.are.equal("EBADF", code_of(p.stdout.write, p.stdout, "x"))
      assert.are.equal("EBADF", code_of(p.stdout.shutdown, p.stdout))
    end)

    it("has one reader and one writer at a time", function()
      local p <close> = process.spawn("sleep", "100")
      local reader = spawn(p.stdout.read, p.stdout)
      local writer = spawn(p.stdin.write, p.stdin, ("x"):rep(1000000))
      sleep(0)
      assert.are.equal("stream:read_line: another task is reading from this stream (EBUSY)",
        tostring(failure(p.stdout.read_line, p.stdout)))
      assert.are.equal("stream:write: another task is writing to this stream (EBUSY)",
        tostring(failure(p.stdin.write, p.stdin, "y")))
      reader:cancel()
      writer:cancel()
      pcall(reader.await, reader)
      pcall(writer.await, writer)
    end)

    it("shut down ends the input of the other side", function()
      local p <close> = process.spawn("cat")
      p.stdin:write "x"
      assert.is_true(p.stdin:shutdown())
      assert.are.equal("x", p.stdout:read_all())
      assert.are.equal("ECLOSED", code_of(p.stdin.write, p.stdin, "y"))
    end)
  end)

  describe("that is closed", function()
    it("raises ECLOSED, also in tasks that wait", function()
      local p <close> = process.spawn("sleep", "100")
      local reader = spawn(p.stdout.read, p.stdout)
      local writer = spawn(p.stdin.write, p.stdin, ("x"):rep(1000000))
      sleep(0)
      p.stdout:close()
      p.stdin:close()
      assert.are.equal("ECLOSED", code_of(reader.await, reader))
      assert.are.equal("ECLOSED", code_of(writer.await, writer))
      assert.are.equal("ECLOSED", code_of(p.stdout.read, p.stdout))
      assert.is_true(p.stdout:close())
      assert.are.equal("stream (stdout, closed)", tostring(p.stdout))
    end)

    it("has written what was queued", function()
      local p <close> = sh "sleep 0.05; cat"
      p.stdin:write(("x"):rep(65536 + 60000)) -- more than the system takes
      p.stdin:close()
      assert.are.equal(65536 + 60000, #p.stdout:read_all())
    end)

    it("by <close> has written what was queued", function()
      local p <close> = sh "sleep 0.05; cat"
      do
        local stdin <close> = p.stdin
        stdin:write(("x"):rep(65536 + 60000))
      end
      assert.are.equal(65536 + 60000, #p.stdout:read_all())
    end)

    it("can be cancelled while it writes what was queued", function()
      local p <close> = process.spawn("sleep", "100")
      p.stdin:write(("x"):rep(65536 + 60000))
      assert.are.equal("ECANCELED", cancelled(p.stdin.close, p.stdin))
    end)
  end)

  it("is closed by the collector", function()
    local pid
    do
      local p = process.spawn("cat")
      pid = p.pid
      p = nil -- luacheck: ignore
    end
    eventually("cat has read the end of its input and is gone", function()
      collectgarbage()
      local file = io.open("/proc/" .. pid .. "/stat")
      if file then file:close() end
      return not file
    end)
  end)

  it("holds 64 KiB of what nobody reads, however much is sent", function()
    local p <close> = process.spawn("cat", "/dev/zero")
    local before = async.stats().memory
    assert.are.equal(1, #p.stdout:read(1))
    sleep(0.05)
    assert.is_true(async.stats().memory - before < 200000)
  end)

  it("cannot be made in a sandbox without a grant", function()
    local cli = require "spec.support.cli"
    local r = cli.run { "run", "--sandbox", "-e", [[
      local process = require "asyncbox.process"
      print(select(2, pcall(process.spawn, "cat")))
    ]] }
    assert.are.equal("process.spawn: permission not granted: cat (EDENIED); " ..
      "allow it with --allow-run=cat\n", r.stdout)
  end)
end)
