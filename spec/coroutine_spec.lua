-- Waits inside the script's own coroutines, and the coroutine library.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local scoped = require "spec.support.scoped"
local failure, assert_says = errors.failure, errors.assert_says
local await, sleep, spawn = async.await, async.sleep, async.spawn
local on_close = scoped.on_close

describe("Inside of a user coroutine a task", function()
  before_each(clean.start)
  after_each(clean.check)

  it("may wait: a generator that sleeps works in a for loop.", function()
    local function numbers(n)
      return coroutine.wrap(function()
        for i = 1, n do
          sleep(0.0001)
          coroutine.yield(i, -i)
        end
      end)
    end
    local got = {}
    for a, b in numbers(3) do
      got[#got + 1] = a
      got[#got + 1] = b
    end
    assert.same({ 1, -1, 2, -2, 3, -3 }, got)
  end)

  it("lets others run while it waits there.", function()
    local order = {}
    local function run(name)
      local gen = coroutine.wrap(function()
        for i = 1, 3 do
          sleep(0)
          coroutine.yield(name .. i)
        end
      end)
      for x in gen do order[#order + 1] = x end
    end
    async.gather { spawn(run, "a"), spawn(run, "b") }
    assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, order)
  end)

  it("may wait two deep, and a hundred deep.", function()
    local function nest(n)
      if n == 0 then
        sleep(0.0001)
        return coroutine.yield "bottom"
      end
      local inner = coroutine.wrap(nest)
      local got = inner(n - 1)
      sleep(0)
      coroutine.yield(got)
      return inner "end"
    end
    for _, depth in ipairs { 2, 100 } do
      local co = coroutine.wrap(nest)
      assert.equal("bottom", co(depth))
      assert.equal("end", co())
    end
  end)

  it("passes values in and out around its waits.", function()
    local co = coroutine.create(function(...)
      sleep(0)
      local got = table.pack(coroutine.yield(select("#", ...), ...))
      sleep(0)
      return got.n, table.unpack(got, 1, got.n)
    end)
    assert.same({ true, 3, 1, nil, nil, n = 5 }, table.pack(coroutine.resume(co, 1, nil, nil)))
    assert.same({ true, 2, nil, "x", n = 4 }, table.pack(coroutine.resume(co, nil, "x")))
    assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
    assert.equal("dead", coroutine.status(co))
  end)

  it("may wait through pcall, xpcall and the errors they catch.", function()
    local gen = coroutine.wrap(function()
      local ok, err = pcall(function()
        sleep(0)
        coroutine.yield(1)
        sleep(0)
        error("e1", 0)
      end)
      coroutine.yield(tostring(ok) .. err)
      ok, err = xpcall(function()
        sleep(0)
        error("e2", 0)
      end, function(e) return e .. "!" end)
      return tostring(ok) .. err
    end)
    assert.equal(1, gen())
    assert.equal("falsee1", gen())
    assert.equal("falsee2!", gen())
  end)

  it("may wait in metamethods and iterators.", function()
    local waits = 0
    local function wait(value)
      return function()
        sleep(0)
        waits = waits + 1
        return value
      end
    end
    local t = setmetatable({}, {
      __index = wait(1), __newindex = wait(), __call = wait(2), __add = wait(3), __concat = wait(4),
      __eq = wait(true), __lt = wait(true), __le = wait(true), __len = wait(5), __unm = wait(6),
      __close = wait(), __band = wait(7), __idiv = wait(8),
    })
    local function check()
      local other = setmetatable({}, getmetatable(t))
      assert.equal(1, t.x)
      t.y = 1
      assert.equal(2, t())
      assert.equal(3, t + 1)
      assert.equal(4, t .. "x")
      assert.is_true(t == other)
      assert.is_true(t < other)
      assert.is_true(t <= other)
      assert.equal(5, #t)
      assert.equal(6, -t)
      assert.equal(7, t & 1)
      assert.equal(8, t // 1)
      do
        local _ <close> = t
      end
      for x in function(_, i)
        sleep(0)
        if i < 3 then return i + 1 end
      end, nil, 0 do waits = waits + x end
    end
    check()
    assert.equal(13 + 6, waits)
    coroutine.wrap(check)()
    assert.equal(2 * (13 + 6), waits)
  end)

  it("may await tasks, queues and groups.", function()
    local q = async.queue()
    local gen = coroutine.wrap(function()
      coroutine.yield(await(spawn(function()
        sleep(0)
        return "task"
      end)))
      spawn(q.put, q, "item")
      coroutine.yield(q:get())
      do
        local g <close> = async.group()
        g:spawn(sleep, 0)
      end
      return "group"
    end)
    assert.same({ "task", "item", "group" }, { gen(), gen(), gen() })
  end)

  it("may end or fail in the middle of a loop over it.", function()
    local gen = coroutine.wrap(function()
      coroutine.yield(1)
      sleep(0)
      error { code = "mine" }
    end)
    assert.equal(1, gen())
    assert.equal("mine", failure(gen).code)
    assert_says("cannot resume dead coroutine", gen)
    gen = coroutine.wrap(function()
      sleep(0)
      error "text"
    end)
    assert_says("coroutine_spec.lua:%d+: .*coroutine_spec.lua:%d+: text", function()
      local x = gen()
      return x
    end)
  end)

  it("may be passed from task to task between its waits.", function()
    local co = coroutine.wrap(function()
      for i = 1, 4 do
        sleep(0.0001)
        coroutine.yield(i, async.current_task())
      end
    end)
    local a, first = co()
    assert.same({ 1, async.current_task() }, { a, first })
    local t = spawn(co)
    assert.same({ 2, t }, { await(t) })
    a, first = co()
    assert.same({ 3, async.current_task() }, { a, first })
  end)

  it("runs close handlers that wait, when the block ends or fails.", function()
    local order = {}
    local gen = coroutine.wrap(function()
      do
        local _ <close> = on_close(function()
          sleep(0)
          order[#order + 1] = "block"
        end)
        coroutine.yield(1)
      end
      pcall(function()
        local _ <close> = on_close(function(err)
          sleep(0)
          order[#order + 1] = err
        end)
        sleep(0)
        error("failed", 0)
      end)
      return 2
    end)
    assert.same({ 1, 2 }, { gen(), gen() })
    assert.same({ "block", "failed" }, order)
  end)
end)

describe("A coroutine in which a task waits", function()
  before_each(clean.start)
  after_each(clean.check)

  local co, task

  -- Leaves `task` waiting inside `co`.
  local function park(...)
    co = coroutine.create(...)
    task = spawn(function() return coroutine.resume(co) end)
    sleep(0)
  end

  it("cannot be resumed by somebody else, and is not harmed by that.", function()
    park(function()
      sleep(0.001)
      return "fine"
    end)
    assert.same({ false, "cannot resume a coroutine that waits" }, { coroutine.resume(co) })
    assert.same({ false, "cannot resume a coroutine that waits" }, { coroutine.resume(co, 1, 2) })
    assert.same({ true, "fine" }, { await(task) })
  end)

  it("cannot be closed by somebody else, and is normal.", function()
    park(function()
      sleep(0.001)
      return "fine"
    end)
    assert.equal("normal", coroutine.status(co))
    assert_says("cannot close a normal coroutine", coroutine.close, co)
    assert.same({ true, "fine" }, { await(task) })
    assert.equal("dead", coroutine.status(co))
    assert.is_true(coroutine.close(co))
  end)

  it("cannot be wrapped away: a wrapped one refuses too.", function()
    local gen = coroutine.wrap(function()
      sleep(0.001)
      return "fine"
    end)
    task = spawn(gen)
    sleep(0)
    assert_says("cannot resume a coroutine that waits", gen)
    assert.equal("fine", await(task))
  end)

  it("cannot be resumed from inside of itself or of what it resumed.", function()
    local inner
    park(function()
      inner = coroutine.create(function()
        sleep(0.001)
        return coroutine.resume(co)
      end)
      return select(2, coroutine.resume(inner))
    end)
    assert.same({ false, "cannot resume a coroutine that waits" }, { coroutine.resume(inner) })
    assert.same({ true, false, "cannot resume non-suspended coroutine" }, { await(task) })
  end)

  it("can be inspected.", function()
    park(function() sleep(10) end)
    assert.is_string(debug.traceback(co))
    task:cancel()
    assert.is_false((await(task)))
  end)

  it("is told when its task is cancelled.", function()
    local order = {}
    park(function()
      local _ <close> = on_close(function(err) order[#order + 1] = err.code end)
      sleep(10)
    end)
    task:cancel()
    local ok, err = await(task)
    assert.is_false(ok)
    assert.equal("ECANCELED", err.code)
    assert.is_true(coroutine.close(coroutine.create(print)))
    coroutine.close(co) -- a coroutine that failed keeps its variables until then
    assert.same({ "ECANCELED" }, order)
  end)
end)

describe("The coroutine of a task", function()
  before_each(clean.start)
  after_each(clean.check)

  it("is to its script as the main one: running, and not to be yielded.", function()
    local co, is_main = coroutine.running()
    assert.equal("thread", type(co))
    assert.is_true(is_main)
    assert.equal("running", coroutine.status(co))
    assert.is_false(coroutine.isyieldable())
    assert_says("attempt to yield from outside a coroutine", coroutine.yield, 1)
    local inner, inner_main = coroutine.wrap(coroutine.running)()
    assert.not_equal(co, inner)
    assert.is_false(inner_main)
    assert.is_true(coroutine.wrap(coroutine.isyieldable)())
  end)

  it("cannot be resumed or closed by anybody.", function()
    local co
    local t = spawn(function()
      co = coroutine.running()
      sleep(0.001)
      return "fine"
    end)
    sleep(0)
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
    assert_says("cannot close a normal coroutine", coroutine.close, co)
    assert.equal("normal", coroutine.status(co))
    local self = coroutine.running()
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(self) })
    assert_says("cannot close a running coroutine", coroutine.close, self)
    coroutine.wrap(function()
      assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(self) })
      assert_says("cannot close a normal coroutine", coroutine.close, self)
    end)()
    assert.equal("fine", await(t))
    assert.is_false((coroutine.resume(co)))
    assert.is_false((pcall(coroutine.wrap(function() return coroutine.resume(co) end))) and false)
  end)

  it("is not used for another task once a script has it.", function()
    local co
    await(spawn(function() co = coroutine.running() end))
    for _ = 1, 10 do
      assert.not_equal(co, await(spawn(function() return (coroutine.running()) end)))
    end
  end)
end)

describe("Where no wait is involved, the coroutine library does what Lua's does:", function()
  before_each(clean.start)
  after_each(clean.check)

  it("its errors are the same.", function()
    for _, row in ipairs {
      { "bad argument #1 to 'create' %(function expected%)", function() coroutine.create(1) end },
      { "bad argument #1 to 'wrap' %(function expected%)", function() coroutine.wrap() end },
      { "bad argument #1 to 'resume' %(coroutine expected%)", function() coroutine.resume(1) end },
      { "bad argument #1 to 'status' %(coroutine expected%)", function() coroutine.status {} end },
      { "bad argument #1 to 'close' %(coroutine expected%)", function() coroutine.close() end },
      { "bad argument #1 to 'isyieldable' %(coroutine expected%)",
        function() coroutine.isyieldable(1) end },
    } do
      local err = failure(row[2])
      -- Lua's text has the type's name and what was got, from 5.4 on
      assert.is_truthy(err:find(row[1]) or err:find "expected", err)
    end
    assert.same({ false, "cannot resume dead coroutine" },
      { coroutine.resume(coroutine.wrap(function() return coroutine.running() end)()) })
    local co = coroutine.create(function() return coroutine.resume(coroutine.running()) end)
    assert.same({ true, false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
  end)

  it("statuses are.", function()
    local outer
    local co = coroutine.create(function()
      coroutine.yield(coroutine.status(outer))
    end)
    outer = coroutine.create(function() return select(2, coroutine.resume(co)) end)
    assert.equal("suspended", coroutine.status(co))
    assert.same({ true, "normal" }, { coroutine.resume(outer) })
    assert.equal("suspended", coroutine.status(co))
    assert.equal("dead", coroutine.status(outer))
  end)

  it("closing runs the variables and gives their error.", function()
    local order = {}
    local co = coroutine.create(function()
      local _ <close> = on_close(function() order[#order + 1] = 1 end)
      local _ <close> = on_close(function() error("x", 0) end)
      coroutine.yield()
    end)
    coroutine.resume(co)
    assert.same({ false, "x" }, { coroutine.close(co) })
    assert.same({ 1 }, order)
    assert.same({ true }, { coroutine.close(co) })
  end)

  it("recursion without end is an error, not a crash.", function()
    local function f() return coroutine.wrap(f)() end
    assert_says("C stack overflow", f)
    local function g()
      sleep(0)
      return coroutine.wrap(g)()
    end
    assert_says("C stack overflow", g)
  end)
end)
