-- Tasks: spawn, results, errors, names, cancel; error objects.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local scoped = require "spec.support.scoped"
local failure, assert_says, assert_code = errors.failure, errors.assert_says, errors.assert_code
local await, sleep, spawn = async.await, async.sleep, async.spawn
local on_close = scoped.on_close

local function assert_prints(pattern, value)
  assert.is_truthy(tostring(value):find(pattern), tostring(value))
end

local function fails(err)
  error(err, 0)
end

describe("A task", function()
  before_each(clean.start)
  after_each(clean.check)

  describe("is spawned", function()
    it("to start at the next turn, in the order of spawning.", function()
      local order = {}
      local tasks = {}
      for i = 1, 5 do
        tasks[i] = spawn(function() order[#order + 1] = i end)
      end
      assert.same({}, order)
      async.gather(tasks)
      assert.same({ 1, 2, 3, 4, 5 }, order)
    end)

    it("with its arguments, from functions of any sort.", function()
      assert.same({ 1, nil, n = 2 }, table.pack(await(spawn(function(...) return ... end, 1, nil))))
      assert.equal("1", await(spawn(tostring, 1)))
      local f = async(function(a, b) return a + b end)
      assert.equal(3, await(spawn(f, 1, 2)))
      assert.equal(3, await(spawn(f(1, 2))))
      assert.equal(3, await(async.create_task(f(1, 2))))
      await(spawn(sleep, 0))
    end)

    it("with very many arguments and results.", function()
      local many = {}
      for i = 1, 5000 do many[i] = i end
      local got = table.pack(await(spawn(function(...) return ... end, table.unpack(many))))
      assert.equal(5000, got.n)
      assert.equal(5000, got[5000])
    end)

    it("from nothing else, which the error says.", function()
      assert_says("bad argument #1 to 'spawn' %(function or coroutine object expected, got nil%)",
        function() spawn(nil) end)
      assert_says("bad argument #1 to 'create_task' %(.* got table%)",
        function() async.create_task {} end)
      assert_says("got thread", spawn, coroutine.create(print))
      assert_says("got userdata", spawn, async.current_task())
    end)
  end)

  describe("has an outcome:", function()
    it("any number of results.", function()
      local none, one, more = spawn(function() end), spawn(function() return nil end),
        spawn(function() return 1, nil, 3, nil end)
      assert.equal(0, select("#", await(none)))
      assert.equal(1, select("#", await(one)))
      assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(await(more)))
      assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(more:result()))
      assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(more:await()))
      assert.is_nil(more:error())
      assert.is_false(more:cancelled())
    end)

    it("a result that is a table with n in it.", function()
      local t = { 1, 2, n = 7 }
      assert.equal(t, await(spawn(function() return t end)))
    end)

    it("an error of any type, raised as it is each time.", function()
      for _, err in ipairs { "text", 5, true, {}, print, async.current_task(),
        setmetatable({}, { __tostring = function() error "no" end }) } do
        local t = spawn(fails, err)
        assert.equal(err, failure(await, t))
        assert.equal(err, failure(t.result, t))
        assert.equal(err, failure(await, t))
        assert.equal(err, t:error())
        assert.is_false(t:cancelled())
      end
      local t = spawn(fails, nil)
      assert.is_nil(failure(await, t))
    end)

    it("an error with its traceback.", function()
      local function deep() error "here" end
      local t = spawn(function() deep() end)
      assert_says("task_spec.lua:%d+: here", await, t)
      assert.is_truthy(t:traceback():find "task_spec.lua:%d+: in upvalue 'deep'")
      assert.is_nil(t:traceback():find "%[asyncbox")
    end)

    it("that cannot be asked for before it is done.", function()
      local t = spawn(sleep, 0)
      assert.is_false(t:done())
      assert_says("result: the task is not done yet", t.result, t)
      assert_says("error: the task is not done yet", t.error, t)
      assert.is_false(t:cancelled())
      await(t)
      assert.is_true(t:done())
    end)

    it("which many may wait for, each told in the order of asking.", function()
      local order = {}
      local t = spawn(function()
        sleep(0.001)
        return "r"
      end)
      local list = {}
      for i = 1, 10 do
        list[i] = spawn(function()
          assert.equal("r", await(t))
          order[#order + 1] = i
        end)
      end
      async.gather(list)
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, order)
    end)

    it("though some of those who wait for it are cancelled.", function()
      local t = spawn(sleep, 0.002)
      local list = {}
      for i = 1, 6 do list[i] = spawn(await, t) end
      sleep(0)
      list[1]:cancel()
      list[4]:cancel()
      list[6]:cancel()
      await(t)
      sleep(0)
      local ends = {}
      for i = 1, 6 do ends[i] = list[i]:cancelled() end
      assert.same({ true, false, false, true, false, true }, ends)
    end)
  end)

  describe("has a name", function()
    it("by number, until it is given one.", function()
      local t = spawn(sleep, 0)
      assert_prints("^Task%-%d+$", t:name())
      t:name "fetch"
      assert.equal("fetch", t:name())
      await(t)
      assert.equal("fetch", t:name())
      assert_says("string expected, got table", t.name, t, {})
    end)

    it("and says what it is.", function()
      local answer = async(function() sleep(0) end)
      local t = spawn(answer())
      assert_prints("^<Task pending name='Task%-%d+' coro=<answer%(%) at .*task_spec.lua:%d+>>$", t)
      t:name "x"
      sleep(0)
      assert_prints("^<Task pending name='x' coro=<answer%(%) at .*task_spec.lua:%d+>>$", t)
      await(t)
      assert_prints("^<Task finished name='x'>$", t)
      t = spawn(sleep, 10)
      assert_prints("^<Task pending name='Task%-%d+' coro=<asyncbox.sleep%(%)>>$", t)
      t:cancel()
      pcall(await, t)
      assert_prints("^<Task cancelled name='Task%-%d+'>$", t)
      t = spawn(fails, 1)
      pcall(await, t)
      assert_prints("^<Task failed name='Task%-%d+'>$", t)
    end)

    it("and its methods refuse what is no task.", function()
      local t = async.current_task()
      for _, name in ipairs { "await", "done", "result", "error", "cancel", "cancelled", "name",
        "traceback" } do
        assert_says("Task or Future expected, got table", t[name], {})
        assert_says("Task or Future expected, got no value", t[name])
        assert_says("Task or Future expected, got FILE%*", t[name], io.stdout)
      end
      assert.is_false(getmetatable(t))
    end)
  end)

  it("shows where it is by its traceback.", function()
    local t = spawn(function() sleep(10) end)
    sleep(0)
    assert.is_truthy(t:traceback():find "task_spec.lua:%d+: in function <")
    t:cancel()
  end)

  describe("is cancelled", function()
    it("in its wait, which raises.", function()
      local err
      local t = spawn(function()
        local _, e = pcall(sleep, 10)
        err = e
        error(e, 0)
      end)
      sleep(0)
      assert.is_true(t:cancel())
      assert.is_false(t:done())
      local raised = assert_code("ECANCELED", await, t)
      assert.equal(err, raised)
      assert.equal("sleep", err.op)
      assert.equal("sleep: cancelled (ECANCELED)", tostring(err))
      assert.is_true(t:cancelled())
      assert.is_false(t:cancel())
    end)

    it("before its first turn, and then never runs.", function()
      local ran = false
      local t = spawn(function() ran = true end)
      t:cancel()
      assert_code("ECANCELED", await, t)
      assert.is_false(ran)
      assert.is_true(t:cancelled())
    end)

    it("by itself, from its next wait on.", function()
      local order = {}
      local t = spawn(function()
        order[1] = async.current_task():cancel()
        order[2] = pcall(sleep, 0)
        return "end"
      end)
      assert.equal("end", await(t))
      assert.same({ true, false }, order)
    end)

    it("in every wait to come, though it swallows the error.", function()
      local raised = 0
      local t = spawn(function()
        for _ = 1, 5 do
          local ok, err = pcall(sleep, 10)
          if not ok and err.code == "ECANCELED" then raised = raised + 1 end
        end
        local q, e, l = async.queue(), async.event(), async.lock()
        for _, wait in ipairs {
          function() q:get() end, function() q:put(1) end, function() e:wait() end,
          function() l:acquire() end, function() await(async.current_task()) end,
          function() await(async.future()) end, function() async.gather(async.future()) end,
          function() async.timeout(1, sleep, 1) end, function() async.group() end,
        } do
          local ok, err = pcall(wait)
          assert.is_false(ok)
          assert.equal("ECANCELED", err.code)
        end
        return "swallowed"
      end)
      sleep(0)
      t:cancel()
      assert.equal("swallowed", await(t))
      assert.equal(5, raised)
      assert.is_false(t:cancelled())
    end)

    it("but a result that was there already wins.", function()
      local f = async.future()
      local got
      local t = spawn(function()
        got = await(f)
        sleep(10)
      end)
      sleep(0)
      f:set_result "there"
      t:cancel() -- the task is ready but has not gone on yet
      assert_code("ECANCELED", await, t)
      assert.equal("there", got)
    end)

    it("when what it waits for is cancelled with it at the same time.", function()
      local inner = spawn(sleep, 10)
      local outer = spawn(await, inner)
      sleep(0)
      inner:cancel()
      outer:cancel()
      assert_code("ECANCELED", await, outer)
      assert.is_true(inner:cancelled())
    end)

    it("without a task that it waits for.", function()
      local inner = spawn(sleep, 0.001)
      local outer = spawn(await, inner)
      sleep(0)
      outer:cancel()
      assert_code("ECANCELED", await, outer)
      await(inner)
      assert.is_false(inner:cancelled())
    end)

    it("by the error of a cancelled task that it awaits, if it lets that pass.", function()
      local inner = spawn(sleep, 10)
      local outer = spawn(await, inner)
      sleep(0)
      inner:cancel()
      assert_code("ECANCELED", await, outer)
      assert.is_true(outer:cancelled())
    end)

    it("and its close handlers run, innermost first, with the error.", function()
      local order = {}
      local t = spawn(function()
        local _ <close> = on_close(function(err) order[#order + 1] = "outer " .. err.code end)
        local _ <close> = on_close(function(err)
          order[#order + 1] = "inner " .. err.code
          order[#order + 1] = tostring(pcall(sleep, 0))
          async.shield(sleep, 0.001)
          order[#order + 1] = "waited"
        end)
        sleep(10)
      end)
      sleep(0)
      t:cancel()
      assert_code("ECANCELED", await, t)
      assert.same({ "inner ECANCELED", "false", "waited", "outer ECANCELED" }, order)
    end)

    it("though it waits inside nested user coroutines.", function()
      local seen = {}
      local t = spawn(function()
        local gen = coroutine.wrap(function()
          local inner = coroutine.wrap(function()
            local ok, err = pcall(sleep, 10)
            seen[1] = ok or err.code
            error(err, 0)
          end)
          local ok, err = pcall(inner)
          seen[2] = ok or err.code
          sleep(10)
        end)
        gen()
      end)
      sleep(0)
      t:cancel()
      assert_code("ECANCELED", await, t)
      assert.same({ "ECANCELED", "ECANCELED" }, seen)
    end)

    it("twice, to no more effect than once.", function()
      local n = 0
      local t = spawn(function()
        local _ <close> = on_close(function()
          n = n + 1
          async.shield(sleep, 0.002)
        end)
        sleep(10)
      end)
      sleep(0)
      assert.is_true(t:cancel())
      sleep(0.001)
      assert.is_true(t:cancel())
      assert_code("ECANCELED", await, t)
      assert.equal(1, n)
    end)

    it("at whatever it waits for.", function()
      local q, full = async.queue(), async.queue(1)
      full:put(1)
      local e, l, s, b = async.event(), async.lock(), async.semaphore(0), async.barrier(2)
      l:acquire()
      local f, other = async.future(), spawn(sleep, 10)
      local waits = {
        function() q:get() end, function() full:put(2) end, function() full:join() end,
        function() e:wait() end, function() l:acquire() end, function() s:acquire() end,
        function() b:wait() end, function() await(f) end, function() await(other) end,
        function() async.wait { f, other } end, function() sleep(10) end,
        function() async.shield(sleep, 0) sleep(10) end,
      }
      for i, wait in ipairs(waits) do
        local t = spawn(wait)
        sleep(0)
        sleep(0)
        assert.is_false(t:done(), "wait " .. i)
        t:cancel()
        assert_code("ECANCELED", await, t)
      end
      other:cancel()
      l:release()
      assert.equal(1, full:get())
      assert.equal(0, full:size())
    end)
  end)

  describe("that ends", function()
    it("runs its close handlers, which may wait, when it fails.", function()
      local order = {}
      local t = spawn(function()
        local _ <close> = on_close(function(err)
          sleep(0.001)
          order[#order + 1] = err
        end)
        error("boom", 0)
      end)
      assert.equal("boom", failure(await, t))
      assert.same({ "boom" }, order)
    end)

    it("with the error of a close handler, when that fails.", function()
      local t = spawn(function()
        local _ <close> = on_close(function()
          sleep(0)
          error("second", 0)
        end)
        error("first", 0)
      end)
      assert.equal("second", failure(await, t))
    end)

    it("is collected, though thousands did.", function()
      collectgarbage()
      local before = collectgarbage "count"
      for _ = 1, 5000 do await(spawn(sleep, 0)) end
      collectgarbage()
      assert.is_true(collectgarbage "count" - before < 500)
    end)
  end)
end)

describe("An error object", function()
  before_each(clean.start)
  after_each(clean.check)

  it("has a code, an operation and a message, and reads as one line.", function()
    local err = failure(async.timeout, 0, sleep, 1)
    assert.equal("ETIMEDOUT", err.code)
    assert.equal("timeout", err.op)
    assert.is_string(err.message)
    assert_prints("^timeout: .* %(ETIMEDOUT%)$", err)
    assert.is_false(getmetatable(err))
  end)

  it("survives that a script breaks it.", function()
    local err = failure(async.timeout, 0, sleep, 1)
    for key in pairs(err) do err[key] = {} end
    assert.is_string(tostring(err))
    for key in pairs(err) do err[key] = nil end
    assert.is_string(tostring(err))
  end)
end)
