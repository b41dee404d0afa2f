-- signals: waited for, iterated, and what the process does with them after.

local async = require "asyncbox"
local process = require "asyncbox.process"
local signal = require "asyncbox.signal"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local eventually = require "spec.support.eventually"
local errors = require "spec.support.errors"
local failure = errors.failure
local spawn, sleep = async.spawn, async.sleep

local me = io.open("/proc/self/stat"):read "n"

local function send(name)
  process.run("kill", "-" .. name, tostring(me), { check = true })
end

describe("signal", function()
  setup(function()
    signal.iter("SIGUSR1"):close() -- descriptors that libuv keeps
    children.warm_up()
  end)
  before_each(clean.start)
  after_each(function()
    children.check()
    clean.check()
  end)

  it("wait gives the name of the one that came", function()
    local waiter = spawn(signal.wait, "SIGUSR1", "USR2")
    sleep(0)
    send "USR2"
    assert.are.equal("SIGUSR2", waiter:await())
  end)

  it("wait lets other tasks run", function()
    local ticks = 0
    local ticker = async.every(0.001, function() ticks = ticks + 1 end)
    local sender = spawn(function()
      eventually("others have run", function() return ticks > 2 end)
      send "HUP"
    end)
    assert.are.equal("SIGHUP", signal.wait "SIGHUP")
    ticker:cancel()
    sender:await()
  end)

  it("wait can be cancelled", function()
    local waiter = spawn(signal.wait, "SIGUSR1")
    sleep(0)
    waiter:cancel()
    assert.are.equal("ECANCELED", failure(waiter.await, waiter).code)
    assert.are.equal("ETIMEDOUT", failure(async.timeout, 0.01, signal.wait, "SIGUSR1").code)
  end)

  it("may be waited for by many", function()
    local a, b = spawn(signal.wait, "SIGUSR1"), spawn(signal.wait, "SIGUSR1")
    sleep(0)
    send "USR1"
    assert.are.same({ "SIGUSR1", "SIGUSR1" }, async.gather { a, b })
  end)

  it("iter gives each, in order, and what came while nobody asked once", function()
    local got = {}
    local watch <close> = signal.iter("SIGUSR1", "SIGUSR2")
    send "USR2"
    send "USR1"
    send "USR2"
    sleep(0.01)
    got[1], got[2] = watch(), watch()
    local sender = spawn(send, "USR2")
    got[3] = watch()
    sender:await()
    assert.are.same({ "SIGUSR2", "SIGUSR1", "SIGUSR2" }, got)
  end)

  it("iter is closed by the end of its loop and by the collector", function()
    signal.iter "SIGUSR1"
    local feeder = spawn(send, "USR1")
    for name in signal.iter "SIGUSR1" do
      assert.are.equal("SIGUSR1", name)
      if name then break end
    end
    feeder:await()
  end)

  it("iter can be cancelled, and refuses a second task", function()
    local watch <close> = signal.iter "SIGUSR1"
    local waiter = spawn(watch.next, watch)
    sleep(0)
    assert.are.equal("EBUSY", failure(watch).code)
    waiter:cancel()
    assert.are.equal("ECANCELED", failure(waiter.await, waiter).code)
    send "USR1"
    assert.are.equal("SIGUSR1", watch:next())
  end)

  it("iter ends when it is closed", function()
    local watch = signal.iter "SIGUSR1"
    local waiter = spawn(watch.next, watch)
    sleep(0)
    watch:close()
    assert.is_nil(waiter:await())
    assert.is_nil(watch())
  end)

  it("refuses what is no signal, or none to be waited for", function()
    assert.matches("unknown signal 'SIGFOO'", failure(signal.wait, "SIGFOO"))
    assert.matches("unknown signal 'SIGHUP", failure(signal.iter, "SIGHUP\0"))
    assert.matches("SIGKILL cannot be waited for", failure(signal.iter, "SIGKILL"))
    assert.matches("SIGCHLD cannot be waited for", failure(signal.wait, "SIGUSR1", "SIGCHLD"))
    assert.matches("name of a signal expected", failure(signal.wait))
    assert.matches("name of a signal expected, got number", failure(signal.wait, 1))
  end)

  it("is denied in a sandbox", function()
    local r = cli.run { "run", "--sandbox", "-e", [[
      local signal = require "asyncbox.signal"
      print(select(2, pcall(signal.wait, "SIGHUP")).code)
      print(select(2, pcall(signal.iter, "SIGHUP")).code)
    ]] }
    assert.are.equal("EDENIED\nEDENIED\n", r.stdout)
  end)

  it("gives Ctrl-C back to the program when it is no longer waited for", function()
    local r = process.run(cli.program(), "-e", [[
      local async = require "asyncbox"
      local me = tostring(io.open("/proc/self/stat"):read "n")
      local waiter = async.spawn(async.signal.wait, "SIGINT")
      async.sleep(0)
      async.process.run("kill", "-INT", me)
      print(waiter:await())
      io.stdout:flush()
      local _ <close> = setmetatable({}, { __close = function() print "cleaned up" end })
      async.process.run("kill", "-INT", me)
      async.sleep(100)
    ]])
    assert.are.equal("SIGINT\ncleaned up\n", r.stdout)
    assert.are.equal(130, r.status)
  end)

  it("leaves the default behind where that was there before", function()
    local r = process.run(cli.program(), "-e", [[
      local async = require "asyncbox"
      local me = tostring(io.open("/proc/self/stat"):read "n")
      local waiter = async.spawn(async.signal.wait, "SIGHUP")
      async.sleep(0)
      async.process.run("kill", "-HUP", me)
      waiter:await()
      async.process.run("kill", "-HUP", me)
      async.sleep(100)
    ]])
    assert.are.equal("SIGHUP", r.signal)
  end)

  it("may be pending when the script ends", function()
    local r = cli.run { "-e", [[
      local async = require "asyncbox"
      async.spawn(async.signal.wait, "SIGHUP")
      async.spawn(function() for _ in async.signal.iter "SIGUSR1" do end end)
      async.sleep(0.01)
      os.exit(7)
    ]] }
    assert.are.equal(7, r.status)
    assert.are.equal("", r.stderr)
  end)
end)
