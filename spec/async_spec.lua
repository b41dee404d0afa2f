-- The asyncbox module: async functions, await, time, every, task locals.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local scoped = require "spec.support.scoped"
local failure, assert_says, assert_code = errors.failure, errors.assert_says, errors.assert_code
local await, sleep, spawn, gather = async.await, async.sleep, async.spawn, async.gather
local after, fails = scoped.after, scoped.fails

local later = async(after, "later")
local failing = async(fails, "failing")

describe("The asyncbox module", function()
  before_each(clean.start)
  after_each(clean.check)

  describe("has async functions, which", function()
    it("make a coroutine object that is not yet started.", function()
      local started = false
      local f = async(function() started = true end)
      local co = f()
      sleep(0)
      assert.is_false(started)
      await(co)
      assert.is_true(started)
    end)

    it("are named after the name that calls them, or as they are told.", function()
      local answer = async(function() end)
      local co = answer()
      assert.is_truthy(tostring(co):find "^<coroutine object answer at 0x%x+>$")
      await(co)
      local named = async(function() end, "reply")
      co = named()
      assert.is_truthy(tostring(co):find "^<coroutine object reply at ")
      await(co)
    end)

    it("pass arguments, nils among them, and all results.", function()
      local f = async(function(...) return select("#", ...), ... end)
      assert.same({ 4, nil, 2, nil, nil, n = 5 }, table.pack(await(f(nil, 2, nil, nil))))
      assert.equal(1, select("#", await(f())))
    end)

    it("can be awaited once only, which the error explains.", function()
      local f = async(function() return 1 end, "f")
      local co = f()
      await(co)
      assert_says("async_spec.lua:%d+: await: coroutine object 'f', made at .*async_spec.lua:%d+,"
        .. " was awaited already", function() await(co) end)
      assert_says("spawn: .*was awaited already", spawn, co)
      assert_says("was awaited already", gather, co)
    end)

    it("can be awaited by method.", function()
      assert.equal(3, later(0, 3):await())
    end)

    it("must be made of functions.", function()
      assert_says("bad argument #1.*function expected, got number", async, 5)
      assert_says("bad argument #1.*function expected, got nil", async, nil)
      assert_says("bad argument #2.*string expected, got table", async, print, {})
    end)

    it("can be nested a hundred deep.", function()
      local f
      f = async(function(n) return n == 0 and 0 or 1 + await(f(n - 1)) end)
      assert.equal(100, await(f(100)))
      local g
      g = async(function(n)
        if n == 0 then return after(0, 0) end
        return 1 + await(g(n - 1))
      end)
      assert.equal(100, await(g(100)))
    end)

    it("end in an error, not a crash, when nested without end.", function()
      local f
      f = async(function() return 1 + await(f()) end)
      assert_says("stack overflow", function() await(f()) end)
    end)
  end)

  describe("has await, which", function()
    it("goes as deep as calls do.", function()
      local depth
      depth = async(function(n)
        if n == 0 then return sleep(0) or 0 end
        return 1 + await(depth(n - 1))
      end)
      assert.equal(3000, await(depth(3000)))
    end)

    it("gives anything that cannot be waited for back as it is.", function()
      assert.equal(5, await(5))
      assert.equal(0, select("#", await()))
      assert.same({ 1, nil, 3, n = 3 }, table.pack(await(1, nil, 3)))
      assert.equal(print, await(print))
    end)

    it("runs a coroutine object in the task that awaits it.", function()
      local inside
      await(async(function() inside = async.current_task() end)())
      assert.equal(async.current_task(), inside)
    end)

    it("raises the error of a coroutine object as it is.", function()
      local err = {}
      assert.equal(err, failure(await, failing(0, err)))
    end)

    it("refuses to make a task wait for itself.", function()
      assert_says("a task cannot wait for itself", await, async.current_task())
      local t
      t = spawn(function() return t:await() end)
      assert_says("a task cannot wait for itself", await, t)
    end)
  end)

  describe("has sleep, which", function()
    it("wakes in the order of the deadlines.", function()
      local order = {}
      local list = {}
      for i, ms in ipairs { 30, 10, 20, 10, 0 } do
        list[i] = spawn(function()
          sleep(ms / 1000)
          order[#order + 1] = i
        end)
      end
      gather(list)
      assert.same({ 5, 2, 4, 3, 1 }, order)
    end)

    it("lets every other ready task run when the time is 0.", function()
      local order = {}
      local function run(name)
        for i = 1, 3 do
          order[#order + 1] = name .. i
          sleep(0)
        end
      end
      gather { spawn(run, "a"), spawn(run, "b") }
      assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, order)
    end)

    it("returns nothing and takes what tostring would not.", function()
      assert.equal(0, select("#", sleep(0)))
      assert.equal(0, select("#", sleep(0.001)))
    end)

    it("names a bad argument at the line of its caller.", function()
      for _, row in ipairs {
        { "must be a number of seconds, got string", "x" },
        { "must be a number of seconds, got string", "1" },
        { "must be a number of seconds, got nil", nil },
        { "must not be negative", -1 },
        { "must not be NaN", 0 / 0 },
        { "must be finite", math.huge },
        { "must be at most 1e9 seconds", 1e300 },
      } do
        local text = failure(function() sleep(row[2]) end)
        assert.is_truthy(text:find("async_spec.lua:%d+: bad argument #1 to 'sleep'"), text)
        assert.is_truthy(text:find(row[1], 1, true), text)
      end
    end)

    it("is refused where a C function calls back, which is named.", function()
      assert_says("async_spec.lua:%d+: sleep: cannot wait inside table.sort", function()
        table.sort({ 1, 2, 3 }, function() sleep(0) end)
      end)
    end)

    it("follows a clock that only goes on.", function()
      local last = async.now()
      for _ = 1, 10 do
        sleep(0.001)
        assert.is_true(async.now() > last)
        last = async.now()
      end
    end)
  end)

  it("holds everything while it blocks.", function()
    local order = {}
    local t = spawn(function()
      sleep(0.001)
      order[#order + 1] = "task"
    end)
    sleep(0)
    async.block(0.01)
    order[#order + 1] = "blocked"
    await(t)
    assert.same({ "blocked", "task" }, order)
    assert_says("must not be negative", async.block, -1)
  end)

  describe("has every, which", function()
    it("calls again and again until false or cancelled.", function()
      local n = 0
      local t = async.every(0.001, function(step)
        n = n + step
        return n < 6
      end, 2)
      await(t)
      assert.equal(6, n)
      t = async.every(0.001, function() n = n + 1 end)
      sleep(0.003)
      t:cancel()
      assert_code("ECANCELED", await, t)
    end)

    it("fails with its function.", function()
      assert.equal("x", failure(await, async.every(0, fails, 0, "x")))
    end)

    it("refuses bad arguments.", function()
      assert_says("every: bad argument #2 %(function expected, got nil%)",
        function() async.every(1) end)
      assert_says("must not be negative", async.every, -1, print)
    end)
  end)

  describe("has task locals, which", function()
    it("are inherited as they were when the task was spawned.", function()
      local user = async.task_local "nobody"
      assert.equal("nobody", user:get())
      user:set "alice"
      local t = spawn(function()
        sleep(0.001)
        local before = user:get()
        user:set "bob"
        return before, user:get(), await(spawn(function() return user:get() end))
      end)
      user:set "carol"
      assert.same({ "alice", "bob", "bob" }, { await(t) })
      assert.equal("carol", user:get())
      user:set(nil)
      assert.equal("nobody", user:get())
    end)

    it("can be set for the length of one call.", function()
      local user = async.task_local()
      assert.equal("x", user:with("inner", function()
        assert.equal("inner", user:get())
        sleep(0)
        return "x"
      end))
      assert.is_nil(user:get())
      assert.equal("e", failure(user.with, user, 1, fails, 0, "e"))
      assert.is_nil(user:get())
    end)

    it("reach coroutine objects, gather and group members.", function()
      local user = async.task_local()
      user:set(1)
      local f = async(function() return user:get() end)
      assert.same({ 1, 1 }, { gather(f(), spawn(f)) })
      local g <close> = async.group()
      assert.equal(1, await(g:spawn(f)))
      user:set(nil)
    end)
  end)

  describe("knows its tasks:", function()
    it("the current one, also inside of user coroutines.", function()
      local main = async.current_task()
      assert.equal(main, coroutine.wrap(function() return async.current_task() end)())
      assert.not_equal(main, await(spawn(async.current_task)))
    end)

    it("all that live, in the order in which they were spawned.", function()
      local before = #async.all_tasks()
      local a = spawn(sleep, 10)
      local gone = spawn(sleep, 0)
      await(gone)
      local b, c = spawn(sleep, 10), spawn(sleep, 10)
      local all = async.all_tasks()
      assert.same({ a, b, c }, { table.unpack(all, before + 1) })
      local sort = table.sort
      table.sort = nil -- luacheck: ignore
      all = async.all_tasks()
      table.sort = sort -- luacheck: ignore
      assert.equal(before + 3, #all)
      for _, t in ipairs { a, b, c } do t:cancel() end
    end)

    it("and counts them.", function()
      local before = async.stats()
      local tasks = {}
      for i = 1, 5 do tasks[i] = spawn(sleep, 10) end
      local event = async.event()
      tasks[6] = spawn(event.wait, event)
      sleep(0)
      local now = async.stats()
      assert.equal(before.tasks + 6, now.tasks)
      assert.equal(before.timers + 5, now.timers)
      assert.equal(before.ops + 1, now.ops)
      assert.is_true(now.memory > 0 and now.peak_memory >= now.memory)
      for _, t in ipairs(tasks) do t:cancel() end
    end)
  end)

  it("gives its modules as fields, and nil for what is none.", function()
    assert.equal(require "asyncbox.json", async.json)
    assert.is_nil(async.nonsense)
    assert.is_nil(async[1])
  end)

  it("runs a hundred thousand tasks at once.", function()
    local n, sum, list = 100000, 0, {}
    for i = 1, n do
      list[i] = spawn(function()
        sleep(i % 10 / 1000)
        sum = sum + 1
      end)
    end
    gather(list)
    assert.equal(n, sum)
  end)

  it("awaits a chain of ten thousand tasks.", function()
    local last = spawn(after, 0, 0)
    for _ = 1, 10000 do
      local before = last
      last = spawn(function() return before:await() + 1 end)
    end
    assert.equal(10000, await(last))
  end)
end)
