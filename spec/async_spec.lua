-- The asyncbox module: async functions, await, time, and what composes tasks.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local failure, assert_says, assert_code = errors.failure, errors.assert_says, errors.assert_code
local await, sleep, spawn, gather = async.await, async.sleep, async.spawn, async.gather

-- Waits, then gives its arguments; notes in `log` when that was.
local function after(seconds, ...)
  sleep(seconds)
  return ...
end
local later = async(after, "later")

local function fails(seconds, err)
  sleep(seconds)
  error(err, 0)
end
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

  describe("has gather, which", function()
    it("gives a result each in the order of its arguments.", function()
      assert.same({ 1, 2, 3, n = 3 },
        table.pack(gather(later(0.002, 1), later(0.001, 2), later(0, 3))))
    end)

    it("gives a list for a list.", function()
      local list = { later(0.001, "a"), spawn(after, 0, "b") }
      local got = table.pack(gather(list))
      assert.same({ { "a", "b" }, n = 1 }, got)
    end)

    it("takes nothing, an empty list, and what has ended already.", function()
      assert.equal(0, select("#", gather()))
      assert.same({}, gather {})
      local t = spawn(after, 0, 7)
      await(t)
      assert.equal(7, (gather(t)))
      assert.same({ 7, 7 }, gather { t, t })
    end)

    it("keeps the place of tasks that give nil, nothing or several values.", function()
      local got = table.pack(gather(later(0), later(0, nil), later(0, 1, 2), later(0, 4)))
      assert.same({ nil, nil, 1, 4, n = 4 }, got)
    end)

    it("takes one task more than once.", function()
      local t = spawn(after, 0.001, 7)
      assert.same({ 7, 7 }, gather { t, t })
      t = spawn(fails, 0.001, "x")
      assert.equal("x", failure(gather, t, t))
      assert.equal(5, async.race(spawn(after, 0, 5), spawn(after, 1, 6)))
      t = spawn(after, 0.001, 8)
      assert.equal(8, (async.race(t, t, t)))
    end)

    it("waits for futures.", function()
      local f, g = async.future(), async.future()
      spawn(function()
        g:set_result(2)
        sleep(0)
        f:set_result(1)
      end)
      assert.same({ 1, 2 }, gather { f, g })
    end)

    it("raises the first error after it has cancelled the rest and they are gone.", function()
      local order = {}
      local rest = spawn(function()
        local _ <close> = setmetatable({}, {
          __close = function()
            async.shield(sleep, 0.002)
            order[#order + 1] = "rest is gone"
          end,
        })
        sleep(10)
      end)
      assert.equal("first", failure(gather, rest, failing(0.001, "first"), failing(1, "second")))
      order[#order + 1] = "raised"
      assert.same({ "rest is gone", "raised" }, order)
      assert.is_true(rest:cancelled())
    end)

    it("waits for those that are in a shield when another fails.", function()
      local done = false
      local shielded = spawn(function()
        async.shield(function()
          sleep(0.003)
          done = true
        end)
        sleep(10)
      end)
      assert.equal("x", failure(gather, failing(0.001, "x"), shielded))
      assert.is_true(done)
      assert.is_true(shielded:cancelled())
    end)

    it("cancels futures of others that fail with it.", function()
      local f = async.future()
      assert.equal("x", failure(gather, f, failing(0, "x")))
      assert.is_true(f:cancelled())
    end)

    it("gives errors in the place of results when it is asked to.", function()
      local err = { 1 }
      local t = spawn(sleep, 10)
      t:cancel()
      local got = gather({ later(0.001, 1), failing(0, err), t }, { return_exceptions = true })
      assert.equal(1, got[1])
      assert.equal(err, got[2])
      assert.equal("ECANCELED", got[3].code)
      local a, b = gather(failing(0, "x"), later(0, 2), { return_exceptions = true })
      assert.same({ "x", 2 }, { a, b })
    end)

    it("stops all it waits for when it is cancelled.", function()
      local a, b = spawn(sleep, 10), spawn(sleep, 10)
      local t = spawn(gather, a, b)
      sleep(0)
      t:cancel()
      assert_code("ECANCELED", await, t)
      assert.is_true(a:cancelled())
      assert.is_true(b:cancelled())
    end)

    it("says what to write for what cannot be awaited.", function()
      assert_says("async_spec.lua:%d+: gather: argument 1 is a number, which cannot be awaited",
        function() gather(5) end)
      local co = later(0)
      assert_says("gather: argument 2 is a nil.*has waited already.*spawn", function()
        gather(co, sleep(0), nil)
      end)
      await(co) -- nothing was started
      assert_says("gather: argument 1 is a function.*spawn%(f", function() gather(print) end)
      assert_says("argument 1 is a string", function() gather { "x" } end)
      assert_says("gather: unknown option 'retrun_exceptions' %(known: return_exceptions%)",
        function() gather({}, { retrun_exceptions = true }) end)
      clean.check()
    end)

    it("does not mind that its list changes while it waits.", function()
      local list = { spawn(after, 0.001, 1), spawn(after, 0.002, 2), spawn(fails, 0.003, "x") }
      local all = { table.unpack(list) }
      spawn(function()
        list[1], list[2], list[3] = nil, "nonsense", print
      end)
      assert.equal("x", failure(gather, list))
      assert.equal(1, await(all[1]))
      list = { table.unpack(all, 1, 2) }
      spawn(function() list[1] = nil end)
      assert.same({ 1, 2 }, gather(list))
      list = { spawn(after, 0.001, 1), spawn(after, 0.002, 2) }
      all = { table.unpack(list) }
      spawn(function() list[1], list[2] = nil, nil end)
      local done = async.wait(list)
      assert.same(all, done)
    end)

    it("is refused inside table.sort and leaves no shield behind.", function()
      local tasks = {}
      local ok, err = pcall(async.timeout, 0.01, function()
        local sorted, why = pcall(table.sort, { 3, 1, 2 }, function()
          tasks[#tasks + 1] = spawn(sleep, 10)
          gather(tasks)
        end)
        assert.is_false(sorted)
        assert.is_truthy(why:find "gather: cannot wait inside table.sort")
        sleep(10)
      end)
      assert.is_false(ok)
      assert.equal("ETIMEDOUT", err.code)
      for _, t in ipairs(tasks) do t:cancel() end
      sleep(0.001) -- the task's own waits are not shielded, nor cancelled
    end)

    it("takes ten thousand.", function()
      local list, sum = {}, 0
      for i = 1, 10000 do list[i] = later(i % 7 / 10000, i) end
      for _, i in ipairs(gather(list)) do sum = sum + i end
      assert.equal(10000 * 10001 // 2, sum)
    end)
  end)

  describe("has wait, which", function()
    it("gives those that are done and those that are pending.", function()
      local a, b, c = spawn(after, 0, "a"), spawn(fails, 0, "b"), spawn(after, 0.001, "c")
      local done, pending = async.wait { a, b, c }
      assert.same({ a, b, c }, done)
      assert.same({}, pending)
      assert.equal("b", b:error())
    end)

    it("ends with the first, if told so.", function()
      local a, b = spawn(after, 0), spawn(sleep, 1000)
      local done, pending = async.wait({ b, a }, { return_when = "first" })
      assert.same({ a }, done)
      assert.same({ b }, pending)
      assert.is_false(b:done())
      b:cancel()
    end)

    it("ends with the first error, if told so.", function()
      local a, b, c = spawn(after, 0), spawn(fails, 0.001, "x"), spawn(sleep, 10)
      local done, pending = async.wait({ a, b, c }, { return_when = "error" })
      assert.same({ a, b }, done)
      assert.same({ c }, pending)
      b:error()
      c:cancel()
    end)

    it("ends after a time, if told so, and raises nothing.", function()
      local a, b = spawn(after, 0), spawn(sleep, 1000)
      await(a) -- so that the time cannot be over before
      local done, pending = async.wait({ a, b }, { timeout = 0.005 })
      assert.same({ a }, done)
      assert.same({ b }, pending)
      b:cancel()
      done, pending = async.wait({}, { timeout = 0 })
      assert.same({ {}, {} }, { done, pending })
    end)

    it("cancels nothing when it is cancelled itself.", function()
      local a = spawn(sleep, 10)
      local t = spawn(async.wait, { a })
      sleep(0)
      t:cancel()
      assert_code("ECANCELED", await, t)
      assert.is_false(a:done())
      a:cancel()
    end)

    it("refuses options that it does not know.", function()
      assert_says("wait: return_when must be 'all', 'first' or 'error', got soon", async.wait, {},
        { return_when = "soon" })
      assert_says("wait: unknown option 'timout' %(known: timeout, return_when%)", async.wait, {},
        { timout = 1 })
      assert_says("must not be negative", async.wait, {}, { timeout = -1 })
    end)
  end)

  describe("has wait_for, which", function()
    it("gives all results when they come in time.", function()
      assert.same({ 1, nil, n = 2 }, table.pack(async.wait_for(later(0, 1, nil), 100)))
      assert.equal(5, async.wait_for(5, 100))
      assert.equal("x", failure(async.wait_for, failing(0, "x"), 100))
    end)

    it("stops a coroutine object, a task, and a future when they do not.", function()
      assert_code("ETIMEDOUT", async.wait_for, later(10), 0.001)
      local t, f = spawn(sleep, 10), async.future()
      assert_code("ETIMEDOUT", async.wait_for, t, 0.001)
      assert.is_true(t:cancelled())
      assert_code("ETIMEDOUT", async.wait_for, f, 0)
      assert.is_true(f:cancelled())
    end)

    it("waits until what it stops is gone.", function()
      local gone = false
      local t = spawn(function()
        local _ <close> = setmetatable({}, {
          __close = function()
            async.shield(sleep, 0.002)
            gone = true
          end,
        })
        sleep(10)
      end)
      assert_code("ETIMEDOUT", async.wait_for, t, 0.001)
      assert.is_true(gone)
    end)

    it("refuses a bad time.", function()
      local co = later(0)
      assert_says("must be a number of seconds", async.wait_for, co, "x")
      await(co)
    end)
  end)

  describe("has race and any, which", function()
    it("give the first that ends, and cancel the rest.", function()
      local slow = spawn(sleep, 10)
      assert.same({ "a", "b" }, { async.race(slow, later(0.001, "a", "b")) })
      assert.is_true(slow:cancelled())
      slow = spawn(sleep, 10)
      assert.equal("x", failure(async.race, slow, failing(0.001, "x")))
      assert.is_true(slow:cancelled())
    end)

    it("give the first that ends well, for any.", function()
      local slow = spawn(sleep, 10)
      assert.equal("b", async.any(failing(0, "x"), later(0.002, "b"), failing(0.001, "y"), slow))
      assert.is_true(slow:cancelled())
      assert.equal(1, async.any { later(0, 1) })
    end)

    it("raise the last error when all fail, for any.", function()
      assert.equal("last", failure(async.any, failing(0.002, "last"), failing(0.001, "x")))
    end)

    it("stop all when cancelled.", function()
      for _, f in ipairs { async.race, async.any } do
        local a, b = spawn(sleep, 10), spawn(sleep, 10)
        local t = spawn(f, a, b)
        sleep(0)
        t:cancel()
        assert_code("ECANCELED", await, t)
        assert.is_true(a:cancelled())
        assert.is_true(b:cancelled())
      end
    end)

    it("need something to wait for.", function()
      assert_says("async_spec.lua:%d+: race: nothing to wait for", function() async.race() end)
      assert_says("async_spec.lua:%d+: any: nothing to wait for", function() async.any {} end)
      assert_says("race: argument 1 is a boolean", function() async.race(true) end)
    end)
  end)

  describe("has as_completed, which", function()
    it("iterates in the order of ending.", function()
      local order = {}
      for t in async.as_completed { later(0.09, 1), later(0.01, 2), later(0.05, 3) } do
        order[#order + 1] = await(t)
      end
      assert.same({ 2, 3, 1 }, order)
      for _ in async.as_completed {} do error "there is nothing" end
    end)

    it("can be left in the middle, and the rest goes on.", function()
      local slow = spawn(after, 0.002, "slow")
      local next_done = async.as_completed { slow, later(0, 1) }
      assert.equal(1, await(next_done()))
      assert.equal("slow", await(slow))
    end)

    it("gives failed ones too.", function()
      for t in async.as_completed { failing(0, "x") } do
        assert.equal("x", failure(await, t))
      end
    end)
  end)

  describe("has map, which", function()
    it("gives the results in the order of the list.", function()
      local got = async.map({ 3, 1, 2 }, function(x)
        sleep(x / 1000)
        return x * 10
      end)
      assert.same({ 30, 10, 20 }, got)
      assert.same({}, async.map({}, print))
    end)

    it("calls with the item alone, so that options may come second.", function()
      assert.same({ 1, 1 }, async.map({ "a", {} }, function(...) return select("#", ...) end))
    end)

    it("runs no more at a time than its limit.", function()
      local running, most, order = 0, 0, {}
      async.map({ 1, 2, 3, 4, 5, 6, 7 }, function(x)
        running = running + 1
        most = math.max(most, running)
        order[#order + 1] = x
        sleep(0.001)
        running = running - 1
      end, { limit = 3 })
      assert.equal(3, most)
      assert.same({ 1, 2, 3, 4, 5, 6, 7 }, order)
    end)

    it("takes async functions.", function()
      assert.same({ 2, 4 }, async.map({ 1, 2 }, async(function(x) return 2 * x end)))
    end)

    it("stops with the first error and starts no more.", function()
      local started = 0
      assert.equal("two", failure(async.map, { 1, 2, 3, 4, 5 }, function(x)
        started = started + 1
        sleep(x / 1000)
        if x == 2 then error("two", 0) end
        sleep(10)
      end, { limit = 2 }))
      assert.equal(2, started)
    end)

    it("refuses what makes no sense.", function()
      assert_says("async_spec.lua:%d+: map: limit must be 1 or more, got 0",
        function() async.map({}, print, { limit = 0 }) end)
      assert_says("map: bad argument #2 %(function expected, got nil%)",
        function() async.map {} end)
      assert_says("map: unknown option 'max'", function() async.map({}, print, { max = 1 }) end)
    end)
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
