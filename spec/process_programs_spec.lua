-- process: real programs, unchanged.

local async = require "asyncbox"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local eventually = require "spec.support.eventually"
local run, spawn = process.run, process.spawn
local sleep = async.sleep

-- A number that the kernel tells about a process.
local function proc(name, pattern)
  local file <close> = assert(io.open("/proc/" .. name))
  return tonumber((assert(file:read("a"):match(pattern), name)))
end

-- Under a sanitizer memory that was freed stays resident.
local function sanitized()
  local file <close> = assert(io.open("/proc/self/maps"))
  return file:read("a"):find("asan", 1, true) ~= nil
end

describe("process, with real programs:", function()
  setup(children.warm_up)
  before_each(clean.start)
  after_each(function()
    children.check()
    clean.check()
  end)

  it("gzip and back", function()
    local text = ("asyncbox\n"):rep(100000)
    local packed = run("gzip", "-c", { input = text, check = true }).stdout
    assert.is_true(#packed < 10000)
    assert.is_true(run("gzip", "-dc", { input = packed, check = true }).stdout == text)
  end)

  it("sort, with more than pipes hold on both sides", function()
    local lines, sorted = {}, {}
    for i = 1, 50000 do
      lines[i] = ("%08d\n"):format(i * 7919 % 50000)
      sorted[i] = ("%08d\n"):format(i - 1)
    end
    local r = run("sort", { input = lines, check = true })
    assert.is_true(#r.stdout > 2 * 65536)
    assert.is_true(r.stdout == table.concat(sorted))
    assert.are.equal("", r.stderr)
  end)

  it("git log", function()
    local folder <close> = async.fs.tempdir()
    local function git(...)
      return run("git", { "-c", "user.name=a", "-c", "user.email=a@b.invalid", ... }, {
        cwd = folder.path, env = { HOME = folder.path, GIT_CONFIG_NOSYSTEM = "1" }, check = true,
      }).stdout
    end
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    git("commit", "-q", "--allow-empty", "-m", "second")
    assert.are.equal("second\nfirst\n", git("log", "--format=%s"))
  end)

  it("a shell pipeline", function()
    assert.are.equal("3\n", run("printf 'a\\nb\\nc\\n' | wc -l | tr -d ' '",
      { shell = true, check = true }).stdout)
  end)

  it("one that opens /dev/stdout", function()
    assert.are.equal("x", run("sh", "-c", "printf x > /dev/stdout").stdout)
  end)

  it("one that writes 1 GB that nobody reads", function()
    local before, resident = async.stats().memory, proc("self/status", "VmRSS:%s*(%d+) kB")
    local p <close> = spawn("head", "-c", "1000000000", "/dev/zero")
    p.stdout:read(1)
    local written
    eventually("it can write no more", function()
      local last = written
      sleep(0.02)
      written = proc(p.pid .. "/io", "wchar: (%d+)")
      return written > 65536 and written == last
    end)
    assert.is_true(written < 1000000, written .. " bytes")
    assert.is_true(async.stats().memory - before < 200000)
    if not sanitized() then
      assert.is_true(proc("self/status", "VmRSS:%s*(%d+) kB") - resident < 4096)
    end
    assert.is_true(p:kill(0))
  end)
end)
