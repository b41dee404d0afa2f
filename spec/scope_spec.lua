-- What cancellation acts on: timeout, shield, run.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local scoped = require "spec.support.scoped"
local failure, assert_says, assert_code = errors.failure, errors.assert_says, errors.assert_code
local await, sleep, spawn, timeout, shield =
  async.await, async.sleep, async.spawn, async.timeout, async.shield
local fails, on_close = scoped.fails, scoped.on_close

-- Runs code under the virtual clock: how much happens before a deadline must not
-- depend on the machine.
local function in_virtual_time(code)
  local r = cli.run { "run", "--virtual-time", "-e",
    "local async = require 'asyncbox' local sleep, timeout = async.sleep, async.timeout " .. code }
  assert.equal("", r.stderr)
  return r.stdout
end

describe("A timeout", function()
  before_each(clean.start)
  after_each(function()
    scoped.assert_none()
    clean.check()
  end)

  it("gives the results of what ends in time.", function()
    local function same(...) return ... end
    assert.same({ 1, nil, 3, n = 3 }, table.pack(timeout(100, same, 1, nil, 3)))
    assert.equal(0, select("#", timeout(100, sleep, 0)))
    local f = async(function(x)
      sleep(0)
      return x
    end)
    assert.equal(1, timeout(100, f, 1))
    assert.equal(2, timeout(100, f(2)))
    assert.equal(3, timeout(100, spawn(f, 3)))
    assert.equal(4, timeout(100, 4))
  end)

  it("turns into ETIMEDOUT at its own boundary, not inside.", function()
    local inside
    local err = assert_code("ETIMEDOUT", timeout, 0.001, function()
      local _, e = pcall(sleep, 10)
      inside = e.code
      error(e, 0)
    end)
    assert.equal("ECANCELED", inside)
    assert.equal("timeout: timed out after 0.001 s (ETIMEDOUT)", tostring(err))
  end)

  it("is level-triggered: every wait inside raises once it is over.", function()
    local n = 0
    assert.equal("swallowed", timeout(0.001, function()
      for _ = 1, 3 do
        if not pcall(sleep, 10) then n = n + 1 end
      end
      return "swallowed"
    end))
    assert.equal(3, n)
    sleep(0)
  end)

  it("lets an error of the function pass, though it is over.", function()
    assert.equal("own", failure(timeout, 0.001, function()
      pcall(sleep, 10)
      error("own", 0)
    end))
    assert.equal("early", failure(timeout, 1, error, "early", 0))
  end)

  it("of 0 stops the first wait.", function()
    assert_code("ETIMEDOUT", timeout, 0, sleep, 10)
    assert.equal("no wait", timeout(0, function() return "no wait" end))
  end)

  it("can be nested, and the one that is over is the one that raises.", function()
    local order = {}
    assert_code("ETIMEDOUT", timeout, 0.002, function()
      local ok, err = pcall(timeout, 10, sleep, 10)
      order[#order + 1] = ok or err.code
      error(err, 0)
    end)
    assert.same({ "ECANCELED" }, order) -- the outer one: inside, that is a cancellation
    assert.equal("after", timeout(100, function()
      assert_code("ETIMEDOUT", timeout, 0.001, sleep, 10)
      sleep(0.001)
      return "after"
    end))
  end)

  it("can end at the same moment as an outer one.", function()
    for _ = 1, 3 do
      local ok, err = pcall(timeout, 0.001, function()
        local inner_ok, inner = pcall(timeout, 0.001, sleep, 10)
        assert.is_false(inner_ok)
        error(inner, 0)
      end)
      assert.is_false(ok)
      assert.equal("ETIMEDOUT", err.code)
    end
  end)

  it("that has fired inside does not hide that the task is cancelled.", function()
    local t = spawn(function()
      local ok, err = pcall(timeout, 0.001, function()
        pcall(sleep, 10)
        async.current_task():cancel()
        sleep(10)
      end)
      assert.is_false(ok)
      return err.code, (pcall(sleep, 0))
    end)
    assert.same({ "ECANCELED", false }, { await(t) })
  end)

  it("does not cancel the task that it waits for.", function()
    local t = spawn(sleep, 0.003)
    assert_code("ETIMEDOUT", timeout, 0.001, t)
    assert.is_false(t:done())
    await(t)
  end)

  it("stops waits of every sort, which leave nothing.", function()
    local q, e, l = async.queue(), async.event(), async.lock()
    local f, s, b = async.future(), async.semaphore(0), async.barrier(2)
    local held = spawn(function()
      local _ <close> = l:acquire()
      sleep(10)
    end)
    sleep(0)
    for i, wait in ipairs {
      function() q:get() end, function() e:wait() end, function() l:acquire() end,
      function() s:acquire() end, function() b:wait() end, function() await(f) end,
      function() await(held) end, function() async.wait { f } end,
      function() coroutine.wrap(function() sleep(10) end)() end,
      function() for _ in q do error "never" end end,
    } do
      local err = failure(timeout, 0.0005, wait)
      assert.equal("ETIMEDOUT", err.code, i)
    end
    held:cancel()
  end)

  it("works around user coroutines that are resumed inside only.", function()
    assert.equal("1\n2\n3\nETIMEDOUT\n", in_virtual_time [[
      local gen = coroutine.wrap(function()
        for i = 1, 3 do
          sleep(0.1)
          coroutine.yield(i)
        end
        sleep(10)
      end)
      print(select(2, pcall(timeout, 2, function()
        while true do print(gen()) end
      end)).code)]])
  end)

  it("does not follow a coroutine out of its block.", function()
    assert.equal("true\tout\ntrue\tin\n", in_virtual_time [[
      local co = coroutine.create(function()
        sleep(0)
        coroutine.yield "out"
        sleep(3)
        return "in"
      end)
      timeout(2, function() print(coroutine.resume(co)) end)
      print(coroutine.resume(co))]])
  end)

  it("inside a coroutine refuses a yield, before and after a wait.", function()
    for _, seconds in ipairs { 0, 0.0001 } do
      for _, enter in ipairs {
        function(f) timeout(100, f) end, function(f) shield(f) end,
        function(f) async.run(f) end,
        function(f)
          local _ <close> = async.group()
          f()
        end,
      } do
        local co = coroutine.wrap(function()
          enter(function()
            if seconds > 0 then sleep(seconds) end
            coroutine.yield(1)
          end)
        end)
        assert_says("cannot yield inside of timeout, shield, run or group", co)
      end
    end
    local co = coroutine.wrap(function()
      timeout(100, function()
        local inner = coroutine.wrap(function()
          sleep(0)
          coroutine.yield(2) -- does not leave the block
        end)
        assert.equal(2, inner())
      end)
      coroutine.yield(3) -- after it
    end)
    assert.equal(3, co())
  end)

  it("is left by a coroutine that ends in the middle.", function()
    local co = coroutine.wrap(function() timeout(100, error, "x", 0) end)
    assert.equal("x", failure(co))
    co = coroutine.wrap(function()
      local g = async.group() -- never closed
      return g and "end"
    end)
    assert.equal("end", co())
    collectgarbage()
    co = coroutine.wrap(function()
      coroutine.wrap(function() async.group() end)()
      coroutine.yield "outer"
    end)
    assert.equal("outer", co())
  end)

  it("leaves groups inside that were never closed.", function()
    local keep
    assert.equal(1, timeout(100, function()
      keep = async.group()
      return 1
    end))
    assert.equal(1, shield(function()
      keep = { keep, async.group() }
      return 1
    end))
    assert_code("ETIMEDOUT", timeout, 0, function()
      keep = { keep, async.group() }
      sleep(1)
    end)
    keep[2]:close()
    keep[1][2]:close()
    keep[1][1]:close()
  end)

  it("refuses bad arguments.", function()
    assert_says("bad argument #1 to 'timeout' %(seconds must not be negative",
      function() timeout(-1, print) end)
    assert_says("seconds must be a number of seconds, got string",
      function() timeout("1", print) end)
    assert_says("bad argument #2 to 'timeout' %(value expected%)", function() timeout(1) end)
  end)
end)

describe("A shield", function()
  before_each(clean.start)
  after_each(function()
    scoped.assert_none()
    clean.check()
  end)

  it("gives results and errors as they are.", function()
    assert.same({ 1, nil, n = 2 }, table.pack(shield(function(...) return ... end, 1, nil)))
    assert.equal("x", failure(shield, error, "x", 0))
    assert.equal(2, shield(spawn(function() return 2 end)))
    assert_says("bad argument #1 to 'shield' %(value expected%)", function() shield() end)
    assert_says("bad argument #1 to 'shield' %(function or something to await expected, got nil%)",
      function() shield(nil, "x") end)
    assert_says("bad argument #2 to 'timeout' %(function or something to await expected, got nil%)",
      function() timeout(1, nil, "x") end)
    assert.same({ 5, "x" }, { shield(5, "x") }) -- what has waited already
  end)

  it("keeps a cancellation out until it is left.", function()
    local order = {}
    local t = spawn(function()
      shield(function()
        sleep(0.002)
        order[#order + 1] = "inside"
      end)
      order[#order + 1] = "left"
      sleep(0)
      order[#order + 1] = "never"
    end)
    sleep(0)
    t:cancel()
    assert_code("ECANCELED", await, t)
    assert.same({ "inside", "left" }, order)
  end)

  it("inside a timeout keeps that out, a timeout inside it works.", function()
    local order = {}
    assert_code("ETIMEDOUT", timeout, 0.001, function()
      shield(function()
        sleep(0.003)
        order[#order + 1] = "shielded"
        assert_code("ETIMEDOUT", timeout, 0.001, sleep, 10)
        order[#order + 1] = "inner timeout"
      end)
      sleep(0)
    end)
    assert.same({ "shielded", "inner timeout" }, order)
  end)

  it("whose timeout outside is over gives its results when nothing waits after.", function()
    assert.equal("done", timeout(0.001, shield, function()
      sleep(0.003)
      return "done"
    end))
  end)

  it("can be entered by a task that is cancelled already.", function()
    local t = spawn(function()
      pcall(sleep, 10)
      assert.is_false((pcall(sleep, 0)))
      shield(sleep, 0.001)
      local r = shield(async.gather, spawn(function() return 5 end))
      assert.is_false((pcall(sleep, 0)))
      return r
    end)
    sleep(0)
    t:cancel()
    assert.equal(5, await(t))
  end)

  it("in a shield is no less of one.", function()
    local t = spawn(function()
      shield(function()
        shield(sleep, 0.001)
        sleep(0.001)
      end)
      return (pcall(sleep, 0))
    end)
    sleep(0)
    t:cancel()
    assert.is_false(await(t))
  end)
end)

describe("async.run", function()
  before_each(clean.start)
  after_each(function()
    scoped.assert_none()
    clean.check()
  end)

  it("runs a function, an async function, a coroutine object or a task.", function()
    assert.same({ 1, 2 }, { async.run(function(...) return ... end, 1, 2) })
    local f = async(function(x)
      sleep(0)
      return x
    end)
    assert.equal(3, async.run(f, 3))
    assert.equal(4, async.run(f(4)))
    assert.equal(5, async.run(spawn(f, 5)))
    assert.equal("x", failure(async.run, error, "x", 0))
  end)

  it("cancels the children that are left and waits for them.", function()
    local order = {}
    assert.equal("result", async.run(function()
      spawn(function()
        local _ <close> = on_close(function()
          shield(sleep, 0.001)
          order[#order + 1] = "child is gone"
        end)
        sleep(10)
      end)
      sleep(0)
      return "result"
    end))
    order[#order + 1] = "run is over"
    assert.same({ "child is gone", "run is over" }, order)
  end)

  it("does so when it fails, too, and nested.", function()
    local outer, inner
    async.run(function()
      outer = spawn(sleep, 10)
      assert.equal("x", failure(async.run, function()
        inner = spawn(sleep, 10)
        sleep(0)
        error("x", 0)
      end))
      assert.is_true(inner:cancelled())
      assert.is_false(outer:done())
    end)
    assert.is_true(outer:cancelled())
  end)

  it("is not stopped by a child that fails, whose error can be taken.", function()
    local t
    assert.equal(1, async.run(function()
      t = spawn(fails, 0, "x")
      sleep(0.001)
      return 1
    end))
    assert.equal("x", t:error())
  end)

  it("leaves tasks alone that were there before.", function()
    local t = spawn(sleep, 0.001)
    async.run(sleep, 0)
    assert.is_false(t:cancelled())
    await(t)
  end)

  it("ends with its task.", function()
    local child
    local t = spawn(async.run, function()
      child = spawn(sleep, 10)
      sleep(10)
    end)
    sleep(0)
    sleep(0)
    t:cancel()
    assert_code("ECANCELED", await, t)
    assert.is_true(child:cancelled())
  end)
end)

describe("Scopes that are left in odd ways", function()
  before_each(clean.start)
  after_each(clean.check)

  it("do not crash when two tasks close one group.", function()
    local g = async.group()
    g:spawn(sleep, 0.01)
    local t = async.spawn(function() g:close() end)
    g:close()
    assert.is_false(pcall(async.await, t))
  end)

  it("are not taken for one another when their memory is used again.", function()
    local co, ok, err
    async.await(async.spawn(function()
      local g = async.group()
      co = coroutine.create(function()
        g:close()
        async.timeout(10, function() coroutine.yield(1) end)
      end)
      ok, err = coroutine.resume(co)
    end))
    assert.is_false(ok)
    assert.matches("cannot yield inside of timeout", err)
  end)

  it("may fail while their owner gathers the very member that fails.", function()
    local ok, err = pcall(function()
      local g <close> = async.group()
      local t = g:spawn(function() sleep(0) error("x", 0) end)
      async.gather(t, g:spawn(sleep, 1))
    end)
    assert.is_false(ok)
    assert.equal("x", err)
  end)

  it("may be a thousand deep.", function()
    local function nest(n)
      local _ <close> = async.group()
      return nest(n + 1)
    end
    local ok, err = pcall(nest, 1)
    assert.is_false(ok)
    assert.matches("more than 1000 scopes", err)
  end)

  it("belong to no orphan when gather refuses its list.", function()
    local f = async(function() sleep(1) end, "f")
    local c = f()
    assert.is_false(pcall(async.gather, c, c))
    assert.equal(1, #async.all_tasks())
  end)
end)
