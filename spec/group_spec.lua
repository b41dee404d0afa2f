-- Groups: tasks that end together.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local scoped = require "spec.support.scoped"
local failure, assert_says, assert_code = errors.failure, errors.assert_says, errors.assert_code
local await, sleep, spawn, timeout, shield =
  async.await, async.sleep, async.spawn, async.timeout, async.shield
local fails, on_close = scoped.fails, scoped.on_close

describe("A group", function()
  before_each(clean.start)
  after_each(function()
    scoped.assert_none()
    clean.check()
  end)

  it("waits at the end of its block until all its tasks have ended.", function()
    local order = {}
    do
      local g <close> = async.group()
      for i = 3, 1, -1 do
        g:spawn(function()
          sleep(i / 1000)
          order[#order + 1] = i
        end)
      end
      assert.equal(3, g:count())
    end
    assert.same({ 1, 2, 3 }, order)
  end)

  it("cancels the rest when one fails, waits for them, and raises that error.", function()
    local order = {}
    local err = failure(function()
      local g <close> = async.group()
      g:spawn(function()
        local _ <close> = on_close(function()
          shield(sleep, 0.002)
          order[#order + 1] = "gone"
        end)
        sleep(10)
      end)
      g:spawn(fails, 0.001, "boom")
      order[#order + 1] = "block"
    end)
    assert.equal("boom", err)
    assert.same({ "block", "gone" }, order)
  end)

  it("stops its own block when one fails.", function()
    local stopped
    assert.equal("boom", failure(function()
      local g <close> = async.group()
      g:spawn(fails, 0.001, "boom")
      local _, err = pcall(sleep, 10)
      stopped = err.code
      sleep(10)
    end))
    assert.equal("ECANCELED", stopped)
  end)

  it("raises the error of its block, after its tasks are cancelled.", function()
    local t
    assert.equal("block", failure(function()
      local g <close> = async.group()
      t = g:spawn(sleep, 10)
      sleep(0)
      error("block", 0)
    end))
    assert.is_true(t:cancelled())
  end)

  it("takes tasks that its tasks spawn, plainly too.", function()
    local order = {}
    do
      local g <close> = async.group()
      g:spawn(function()
        spawn(function()
          sleep(0.001)
          g:spawn(function()
            sleep(0.001)
            order[#order + 1] = "grandchild"
          end)
          order[#order + 1] = "child"
        end)
      end)
    end
    assert.same({ "child", "grandchild" }, order)
  end)

  it("that is nested fails outwards, each level waiting for its own.", function()
    local order = {}
    local function slow(name)
      local _ <close> = on_close(function() order[#order + 1] = name end)
      sleep(10)
    end
    assert.equal("deep", failure(function()
      local outer <close> = async.group()
      outer:spawn(slow, "outer")
      outer:spawn(function()
        local inner <close> = async.group()
        inner:spawn(slow, "inner")
        inner:spawn(fails, 0.001, "deep")
      end)
      sleep(10)
    end))
    assert.same({ "inner", "outer" }, order)
  end)

  it("that is nested in one block and fails leaves the outer one usable.", function()
    do
      local outer <close> = async.group()
      local t = outer:spawn(function()
        sleep(0.003)
        return "fine"
      end)
      assert.equal("x", failure(function()
        local inner <close> = async.group()
        inner:spawn(fails, 0, "x")
        sleep(10)
      end))
      assert.equal("fine", await(t))
    end
  end)

  it("ends with a timeout around it.", function()
    local t
    assert_code("ETIMEDOUT", timeout, 0.001, function()
      local g <close> = async.group()
      t = g:spawn(sleep, 10)
    end)
    assert.is_true(t:cancelled())
  end)

  it("ends with the task that holds it.", function()
    local inner
    local t = spawn(function()
      local g <close> = async.group()
      inner = g:spawn(sleep, 10)
    end)
    sleep(0)
    sleep(0)
    t:cancel()
    assert_code("ECANCELED", await, t)
    assert.is_true(inner:cancelled())
  end)

  it("waits and is cancelled by method.", function()
    local g <close> = async.group()
    local a = g:spawn(sleep, 0.001)
    g:wait()
    assert.is_true(a:done())
    local b = g:spawn(sleep, 10)
    sleep(0)
    g:cancel()
    g:wait()
    assert.is_true(b:cancelled())
    local c = g:spawn(fails, 0.001, "x")
    local d = g:spawn(sleep, 10)
    assert.equal("x", failure(g.wait, g))
    assert.is_true(c:done())
    assert.is_true(d:cancelled())
    assert_code("ECANCELED", g.spawn, g, print)
    assert.equal("x", failure(g.close, g))
  end)

  it("does not take the cancellation of one of its tasks for a failure.", function()
    local g <close> = async.group()
    local a, b = g:spawn(sleep, 10), g:spawn(sleep, 0.001)
    sleep(0)
    a:cancel()
    g:wait()
    assert.is_false(b:cancelled())
  end)

  it("that is closed takes no more.", function()
    local g = async.group()
    g:close()
    g:close()
    assert_code("ECLOSED", g.spawn, g, print)
    assert_code("ECLOSED", g.wait, g)
    assert_code("ECLOSED", g.cancel, g)
    assert.equal(0, g:count())
  end)

  it("can be closed in any order, and by another task.", function()
    local a, b = async.group(), async.group()
    a:close()
    b:close()
    local g = async.group()
    local t = g:spawn(sleep, 0.001)
    await(spawn(function() g:close() end))
    assert.is_true(t:done())
  end)

  it("survives that one task waits for it and another closes it.", function()
    local g = async.group()
    g:spawn(sleep, 0.002)
    local a = spawn(g.wait, g)
    sleep(0)
    assert_says("another task waits for it already", g.close, g)
    await(a)
  end)

  it("can be closed by another task while its own waits in closing it.", function()
    local g = async.group()
    local member = g:spawn(sleep, 0.002)
    local closer = spawn(g.close, g)
    sleep(0)
    assert_says("another task waits for it already", g.close, g)
    await(closer)
    assert.is_true(member:cancelled())
    assert_code("ECLOSED", g.wait, g)
    g = async.group()
    g:spawn(fails, 0.001, "x")
    local a, b = spawn(g.close, g), spawn(g.close, g)
    pcall(await, a)
    pcall(await, b)
  end)

  it("that is dropped lets its tasks go on.", function()
    local t = coroutine.wrap(function()
      local g = async.group()
      return g:spawn(function()
        sleep(0.001)
        collectgarbage()
        return spawn(function() return "child" end)
      end)
    end)()
    collectgarbage()
    assert.equal("child", await(await(t)))
  end)

  it("cancels from the start what a cancelled task spawns in it.", function()
    local child
    assert.equal("boom", failure(function()
      local g <close> = async.group()
      g:spawn(function()
        pcall(sleep, 10)
        child = spawn(sleep, 10)
      end)
      sleep(0)
      error("boom", 0)
    end))
    assert.is_true(child:cancelled())
  end)

  it("lets a cancelled task use others to clean up, in a shield.", function()
    local cleaned
    assert.equal("boom", failure(function()
      local g <close> = async.group()
      g:spawn(function()
        local _ <close> = on_close(function()
          cleaned = shield(async.gather, { spawn(sleep, 10) })
        end)
        sleep(10)
      end)
      g:spawn(function()
        local _ <close> = on_close(function()
          shield(function()
            cleaned = async.gather { spawn(function()
              sleep(0)
              return "clean"
            end) }
          end)
        end)
        sleep(10)
      end)
      sleep(0)
      error("boom", 0)
    end))
    assert.same({ "clean" }, cleaned)
  end)

  it("of ten thousand tasks ends with the first error.", function()
    local n = 0
    assert.equal("x", failure(function()
      local g <close> = async.group()
      for _ = 1, 10000 do
        g:spawn(function()
          local _ <close> = on_close(function() n = n + 1 end)
          sleep(10)
        end)
      end
      g:spawn(fails, 0, "x")
    end))
    assert.equal(10000, n)
  end)

  it("refuses bad arguments and bad selves.", function()
    local g <close> = async.group()
    assert_says("function or coroutine object expected, got number", g.spawn, g, 5)
    for _, name in ipairs { "spawn", "wait", "cancel", "count" } do
      assert_says("Group expected, got table", g[name], {}, print)
    end
    assert_says("Group expected, got nil", g.close, nil)
    assert_says("Group expected, got Queue", g.close, async.queue())
    assert_says("Group expected, got FILE%*", g.close, io.stdout)
  end)
end)
