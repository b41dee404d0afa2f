-- Queues: first in first out, last in first out, by priority.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local assert_says, assert_code = errors.assert_says, errors.assert_code
local await, sleep, spawn = async.await, async.sleep, async.spawn

-- What holds for a queue of every sort.
local function common(make)
  it("hands an item directly to the first that waits.", function()
    local q = make()
    local order = {}
    local getters = {}
    for i = 1, 3 do
      getters[i] = spawn(function()
        local item = q:get()
        order[#order + 1] = i .. "=" .. item
      end)
    end
    sleep(0)
    q:put(10)
    q:put(20)
    q:put(30)
    async.gather(getters)
    assert.same({ "1=10", "2=20", "3=30" }, order)
  end)

  it("makes who puts wait when it is full.", function()
    local q = make(2)
    local order = {}
    local putter = spawn(function()
      for i = 1, 5 do
        q:put(i)
        order[#order + 1] = "put " .. i
      end
    end)
    sleep(0.001)
    assert.same({ "put 1", "put 2" }, order)
    assert.is_true(q:full())
    assert.equal(2, #q)
    local got = {}
    for i = 1, 5 do
      got[i] = q:get()
      sleep(0)
    end
    await(putter)
    table.sort(got)
    assert.same({ 1, 2, 3, 4, 5 }, got)
    assert.is_true(q:empty())
  end)

  it("can be asked without waiting.", function()
    local q = make(1)
    assert.is_nil(q:get_nowait())
    assert.is_true(q:put_nowait(1))
    assert.is_false(q:put_nowait(2))
    assert.equal(1, q:get_nowait())
    assert.is_nil(q:get_nowait())
    local t = spawn(q.get, q)
    sleep(0)
    assert.is_true(q:put_nowait(3))
    assert.equal(3, await(t))
  end)

  it("ends an iteration when it is closed and empty.", function()
    local q = make()
    for i = 1, 3 do q:put(i) end
    q:close()
    local n = 0
    for item in q do n = n + item end
    assert.equal(6, n)
    assert.is_nil(q:get())
    assert.is_nil(q:get_nowait())
  end)

  it("wakes who gets with nil and who puts with an error when it is closed.", function()
    local q = make()
    local getters = { spawn(q.get, q), spawn(q.get, q) }
    sleep(0)
    q:close()
    assert.is_nil(await(getters[1]))
    assert.is_nil(await(getters[2]))
    assert_code("ECLOSED", q.put, q, 1)
    assert_code("ECLOSED", q.put_nowait, q, 1)
    q:close()
    q = make(1)
    q:put(1)
    local putter = spawn(q.put, q, 2)
    sleep(0)
    q:close()
    assert_code("ECLOSED", await, putter)
    assert.equal(1, q:get())
    assert.is_nil(q:get())
  end)

  it("takes everything but nil.", function()
    local q = make()
    assert_says("nil cannot be put", function() q:put(nil) end)
    assert_says("nil cannot be put", function() q:put() end)
    assert_says("nil cannot be put", function() q:put_nowait(nil) end)
    q:put("x")
    assert.equal("x", q:get())
  end)

  it("lets join wait until all is done.", function()
    local q = make()
    local order = {}
    q:join() -- nothing was put
    for i = 1, 3 do q:put(i) end
    local worker = spawn(function()
      for _ = 1, 3 do
        q:get()
        sleep(0.001)
        order[#order + 1] = "done"
        q:task_done()
      end
    end)
    q:join()
    order[#order + 1] = "joined"
    assert.same({ "done", "done", "done", "joined" }, order)
    assert_says("called more often than items were put", q.task_done, q)
    await(worker)
  end)

  it("loses nothing when waits are cancelled.", function()
    local q = make(1)
    local getters = {}
    for i = 1, 4 do getters[i] = spawn(q.get, q) end
    sleep(0)
    getters[1]:cancel()
    getters[3]:cancel()
    q:put(1)
    q:put(2)
    assert.equal(1, await(getters[2]))
    assert.equal(2, await(getters[4]))
    q:put(3)
    local putters = {}
    for i = 1, 3 do putters[i] = spawn(q.put, q, 3 + i) end
    sleep(0)
    putters[2]:cancel()
    local got = {}
    for i = 1, 3 do
      got[i] = q:get()
      sleep(0)
    end
    table.sort(got)
    assert.same({ 3, 4, 6 }, got)
    assert.is_true(q:empty())
    assert.is_true(putters[2]:cancelled())
  end)

  it("gives an item to who was chosen for it, though that is cancelled then.", function()
    local q = make()
    local got
    local t = spawn(function()
      got = q:get()
      sleep(1)
    end)
    sleep(0)
    q:put "item"
    t:cancel()
    assert_code("ECANCELED", await, t)
    assert.equal("item", got)
  end)

  it("refuses a negative or odd size.", function()
    assert_says("max must be 0 %(unbounded%) or more", function() make(-1) end)
    assert.is_false((pcall(make, 1.5)))
    assert.is_false((pcall(make, "x")))
  end)
end

describe("A queue", function()
  before_each(clean.start)
  after_each(clean.check)

  common(async.queue)

  it("refuses a bound beyond all reason.", function()
    assert_says("max must be 0", function() async.queue(1 << 40) end)
    assert_says("max must be 0", function() async.queue(math.maxinteger) end)
  end)

  it("hands over at once: what is given to a getter is not in it.", function()
    local q = async.queue()
    local t = spawn(q.get, q)
    sleep(0)
    q:put(1)
    assert.equal(0, q:size())
    assert.is_nil(q:get_nowait())
    assert.equal(1, await(t))
  end)

  it("gives what was put first first, beyond its first ring.", function()
    local q = async.queue()
    local next_in, next_out = 0, 0
    for round = 1, 200 do
      for _ = 1, round % 37 + 3 do
        next_in = next_in + 1
        q:put(next_in)
      end
      for _ = 1, round % 31 do
        local item = q:get_nowait()
        if item then
          next_out = next_out + 1
          assert.equal(next_out, item)
        end
      end
      assert.equal(next_in - next_out, q:size())
    end
    while q:size() > 0 do
      next_out = next_out + 1
      assert.equal(next_out, q:get())
    end
    assert.equal(next_in, next_out)
  end)

  it("keeps the order with a bound that is no power of two.", function()
    local q = async.queue(23)
    local got = {}
    local consumer = spawn(function()
      for item in q do
        got[#got + 1] = item
        if item % 7 == 0 then sleep(0) end
      end
    end)
    for i = 1, 500 do q:put(i) end
    q:close()
    await(consumer)
    for i = 1, 500 do assert.equal(i, got[i]) end
  end)

  it("keeps the order of several who put into a full one.", function()
    local q = async.queue(1)
    q:put "first"
    for i = 1, 5 do spawn(q.put, q, i) end
    sleep(0)
    assert.equal("first", q:get())
    for i = 1, 5 do assert.equal(i, q:get()) end
  end)

  it("serves who waits inside of user coroutines.", function()
    local q = async.queue(1)
    local gen = coroutine.wrap(function()
      for item in q do coroutine.yield(item) end
    end)
    spawn(coroutine.wrap(function()
      for i = 1, 4 do q:put(i) end
      q:close()
    end))
    local got = {}
    for item in gen do got[#got + 1] = item end
    assert.same({ 1, 2, 3, 4 }, got)
  end)

  it("raises in put and get when the task is cancelled, though they need not wait.", function()
    local q = async.queue()
    q:put(1)
    local t = spawn(function()
      pcall(sleep, 10)
      assert_code("ECANCELED", q.get, q)
      assert_code("ECANCELED", q.put, q, 2)
      assert_code("ECANCELED", q.join, q)
      return q:get_nowait()
    end)
    sleep(0)
    t:cancel()
    assert.equal(1, await(t))
  end)

  it("refuses what is no queue.", function()
    local q = async.queue()
    for _, name in ipairs { "put", "get", "put_nowait", "get_nowait", "task_done", "join", "close",
      "size", "empty", "full" } do
      assert_says("Queue expected, got table", q[name], {}, 1)
      assert_says("Queue expected, got Lock", q[name], async.lock(), 1)
      assert_says("Queue expected, got no value", q[name])
    end
    assert.is_truthy(tostring(q):find "^<Queue: 0x%x+>$")
    assert.is_false(getmetatable(q))
  end)

  it("is collected with what is in it.", function()
    local weak = setmetatable({}, { __mode = "v" })
    local q = async.queue()
    weak[1] = {}
    q:put(weak[1])
    q:get()
    collectgarbage()
    assert.is_nil(weak[1])
    weak[1] = {}
    q:put(weak[1])
    q = nil -- luacheck: ignore
    collectgarbage()
    assert.is_nil(weak[1])
  end)
end)

describe("A lifo queue", function()
  before_each(clean.start)
  after_each(clean.check)

  common(async.lifo_queue)

  it("gives what was put last first.", function()
    local q = async.lifo_queue()
    for i = 1, 50 do q:put(i) end
    for i = 50, 21, -1 do assert.equal(i, q:get()) end
    q:put "x"
    assert.equal("x", q:get())
    for i = 20, 1, -1 do assert.equal(i, q:get()) end
  end)
end)

describe("A priority queue", function()
  before_each(clean.start)
  after_each(clean.check)

  common(async.priority_queue)

  it("gives the least first, equals in the order of putting.", function()
    local q = async.priority_queue()
    for i, x in ipairs { 5, 1, 4, 1, 3, 9, 2, 6, 5, 3 } do q:put { x, i } end
    local got = {}
    for i = 1, 10 do got[i] = table.concat(q:get(), ":") end
    assert.equal("1:2 1:4 2:7 3:5 3:10 4:3 5:1 5:9 6:8 9:6", table.concat(got, " "))
  end)

  it("orders by a function, if given one.", function()
    local q = async.priority_queue(0, function(a, b) return a.n > b.n end)
    for _, n in ipairs { 2, 3, 1 } do q:put { n = n } end
    assert.same({ 3, 2, 1 }, { q:get().n, q:get().n, q:get().n })
  end)

  it("sorts a thousand.", function()
    local q = async.priority_queue()
    local x = 1
    for _ = 1, 1000 do
      x = x * 48271 % 2147483647
      q:put(x)
    end
    local last = 0
    for _ = 1, 1000 do
      local item = q:get()
      assert.is_true(item >= last)
      last = item
    end
  end)

  it("raises what comparing raises, and can be used on.", function()
    local q = async.priority_queue()
    q:put(1)
    assert_says("cannot compare a string with a number", q.put, q, "x")
    assert.equal(1, q:size())
    q:put(0)
    assert.same({ 0, 1 }, { q:get(), q:get() })
    assert.is_true(q:empty())
  end)

  it("hands the least to who waits for what is put meanwhile.", function()
    local q = async.priority_queue(2)
    local got = {}
    local consumer = spawn(function()
      for item in q do
        got[#got + 1] = item
        sleep(0.001)
      end
    end)
    for _, n in ipairs { 3, 2, 1, 5, 4 } do q:put(n) end
    q:close()
    await(consumer)
    assert.equal(5, #got)
    table.sort(got)
    assert.same({ 1, 2, 3, 4, 5 }, got)
  end)
end)
