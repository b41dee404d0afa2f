-- Futures, and tasks in chains: and_then, catch, finally, on_done.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local failure, assert_says, assert_code = errors.failure, errors.assert_says, errors.assert_code
local await, sleep, spawn = async.await, async.sleep, async.spawn

local function assert_prints(pattern, value)
  assert.is_truthy(tostring(value):find(pattern), tostring(value))
end

local function fails(err)
  error(err, 0)
end

describe("A future", function()
  before_each(clean.start)
  after_each(clean.check)

  it("gives what it is set to, to all who wait.", function()
    local f = async.future()
    local a, b = spawn(await, f), spawn(f.await, f)
    sleep(0)
    assert.is_false(f:done())
    assert.is_true(f:set_result(1, nil, 3))
    assert.same({ 1, nil, 3, n = 3 }, table.pack(await(a)))
    assert.same({ 1, nil, 3, n = 3 }, table.pack(await(b)))
    assert.same({ 1, nil, 3, n = 3 }, table.pack(f:result()))
  end)

  it("can be set once, and says so.", function()
    local f = async.future()
    assert.is_true(f:set_result())
    assert.is_false(f:set_result(2))
    assert.is_false(f:set_error "x")
    assert.is_false(f:cancel())
    assert.equal(0, select("#", await(f)))
  end)

  it("fails with any value.", function()
    for _, err in ipairs { "x", 5, {}, false } do
      local f = async.future()
      f:set_error(err)
      assert.equal(err, failure(await, f))
      assert.equal(err, f:error())
    end
    local f = async.future()
    assert_says("bad argument #1 to 'set_error' %(value expected%)",
      function() f:set_error() end)
  end)

  it("can be cancelled.", function()
    local f = async.future()
    local t = spawn(await, f)
    sleep(0)
    assert.is_true(f:cancel())
    assert_code("ECANCELED", await, t)
    assert.is_true(f:cancelled())
  end)

  it("says what it is and where it was made.", function()
    local f = async.future()
    assert_prints("^<Future pending made at .*future_spec.lua:%d+>$", f)
    f:set_result(1)
    assert_prints("^<Future finished made at ", f)
  end)

  it("is not what a task is: a task sets its own result.", function()
    local t = spawn(sleep, 0)
    assert_says("a task sets its own", t.set_result, t, 1)
    assert_says("a task sets its own", t.set_error, t, 1)
    await(t)
  end)

  it("can be dropped while it is pending.", function()
    async.future()
    local f = async.future()
    local t = spawn(await, f)
    sleep(0)
    t:cancel()
    f = nil -- luacheck: ignore
    collectgarbage()
  end)
end)

describe("Tasks and futures chain:", function()
  before_each(clean.start)
  after_each(clean.check)

  it("and_then goes on with the results, or a coroutine object's.", function()
    local double = async(function(x)
      sleep(0)
      return 2 * x
    end)
    local f = async.future()
    local t = f:and_then(function(a, b) return a + b end):and_then(double)
      :and_then(function(x) return x, "more" end)
    f:set_result(1, 2)
    assert.same({ 6, "more" }, { await(t) })
  end)

  it("an error passes by and_then until somebody takes it.", function()
    local f = async.future()
    local never = false
    local t = f:and_then(function() never = true end):and_then(function() never = true end)
      :catch(function(err) return "caught " .. err end)
      :and_then(function(x) return x .. "!" end)
    f:set_error "x"
    assert.equal("caught x!", await(t))
    assert.is_false(never)
  end)

  it("and_then takes a function for the error as well.", function()
    local got = await(spawn(fails, "x"):and_then(print, function(err) return "was " .. err end))
    assert.equal("was x", got)
    assert.equal("y", failure(await, spawn(fails, "x"):and_then(nil, function() fails "y" end)))
    assert.equal(3, await(spawn(function() return 3 end):and_then()))
  end)

  it("catch passes results on.", function()
    assert.same({ 1, 2 }, { await(spawn(function() return 1, 2 end):catch(print)) })
  end)

  it("finally runs either way and changes nothing.", function()
    local n = 0
    local function count()
      sleep(0)
      n = n + 1
      return "ignored"
    end
    assert.same({ 1, 2 }, { await(spawn(function() return 1, 2 end):finally(count)) })
    assert.equal("x", failure(await, spawn(fails, "x"):finally(count)))
    assert.equal(2, n)
    assert.equal("y", failure(await, spawn(sleep, 0):finally(function() fails "y" end)))
  end)

  it("on_done is called with the task, whatever its end, also after it.", function()
    local order = {}
    local function note(t) order[#order + 1] = t end
    local ok, bad, cancelled = spawn(sleep, 0), spawn(fails, "x"), spawn(sleep, 10)
    assert.equal(ok, ok:on_done(note))
    bad:on_done(note)
    cancelled:on_done(note)
    cancelled:cancel()
    sleep(0.001)
    assert.equal(3, #order)
    assert.equal("x", bad:error())
    ok:on_done(note)
    sleep(0)
    sleep(0)
    assert.equal(ok, order[4])
  end)

  it("on_done is not called when its own task is cancelled.", function()
    local f = async.future()
    local called = false
    async.run(function()
      f:on_done(function() called = true end)
      sleep(0)
    end)
    assert.is_false(f:done())
    assert.is_false(called)
    f:set_result()
  end)

  it("a chain that is cancelled calls nothing.", function()
    local f = async.future()
    local called = false
    local t = f:catch(function() called = true end)
    sleep(0)
    t:cancel()
    assert_code("ECANCELED", await, t)
    assert.is_false(called)
    f:set_result()
  end)

  it("a cancelled task is an error like another.", function()
    local t = spawn(sleep, 10)
    local c = t:catch(function(err) return err.code end)
    t:cancel()
    assert.equal("ECANCELED", await(c))
  end)
end)
