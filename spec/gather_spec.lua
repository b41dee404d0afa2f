-- What waits for several tasks: gather, wait, wait_for, race, any, as_completed, map.

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
      assert_says("gather_spec.lua:%d+: gather: argument 1 is a number, which cannot be awaited",
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
      assert_says("gather_spec.lua:%d+: race: nothing to wait for", function() async.race() end)
      assert_says("gather_spec.lua:%d+: any: nothing to wait for", function() async.any {} end)
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
      assert_says("gather_spec.lua:%d+: map: limit must be 1 or more, got 0",
        function() async.map({}, print, { limit = 0 }) end)
      assert_says("map: bad argument #2 %(function expected, got nil%)",
        function() async.map {} end)
      assert_says("map: unknown option 'max'", function() async.map({}, print, { max = 1 }) end)
    end)
  end)
end)
