-- Lock, semaphore, event, condition, barrier, rate limit.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local failure, assert_says, assert_code = errors.failure, errors.assert_says, errors.assert_code
local await, sleep, spawn, timeout = async.await, async.sleep, async.spawn, async.timeout

describe("A lock", function()
  before_each(clean.start)
  after_each(clean.check)

  it("is held by one at a time, in the order of asking.", function()
    local lock, order, inside = async.lock(), {}, 0
    local tasks = {}
    for i = 1, 5 do
      tasks[i] = spawn(function()
        local _ <close> = lock:acquire()
        inside = inside + 1
        assert.equal(1, inside)
        order[#order + 1] = i
        sleep(0.0005)
        inside = inside - 1
      end)
    end
    async.gather(tasks)
    assert.same({ 1, 2, 3, 4, 5 }, order)
    assert.is_false(lock:locked())
  end)

  it("is handed over, so that nobody slips in between.", function()
    local lock = async.lock()
    lock:acquire()
    local t = spawn(function() lock:acquire() end)
    sleep(0)
    lock:release()
    assert.is_true(lock:locked())
    assert.is_false(lock:try_acquire())
    await(t)
    lock:release()
    assert.is_true(lock:try_acquire())
    lock:release()
  end)

  it("is released when its block fails or is cancelled.", function()
    local lock = async.lock()
    assert.equal("x", failure(function()
      local _ <close> = lock:acquire()
      error("x", 0)
    end))
    assert_code("ETIMEDOUT", timeout, 0.001, function()
      local _ <close> = lock:acquire()
      sleep(10)
    end)
    assert.is_false(lock:locked())
  end)

  it("goes past those who are cancelled.", function()
    local lock = async.lock()
    lock:acquire()
    local a, b = spawn(lock.acquire, lock), spawn(lock.acquire, lock)
    sleep(0)
    a:cancel()
    lock:release()
    assert.equal(lock, await(b))
    assert.is_true(a:cancelled())
    lock:release()
  end)

  it("belongs to who was chosen, though that is cancelled then.", function()
    local lock = async.lock()
    lock:acquire()
    local t = spawn(function()
      local _ <close> = lock:acquire()
      sleep(10)
    end)
    sleep(0)
    lock:release()
    t:cancel()
    assert_code("ECANCELED", await, t)
    assert.is_false(lock:locked())
  end)

  it("refuses to wait for itself, and to be released by nobody.", function()
    local lock = async.lock()
    assert_says("lock:release: it is not held", lock.release, lock)
    lock:acquire()
    assert_says("this task holds the lock already", lock.acquire, lock)
    lock:release()
    assert_says("Lock expected, got Semaphore", lock.acquire, async.semaphore())
    assert_says("Lock expected, got nil", lock.release, nil)
  end)
end)

describe("A semaphore", function()
  before_each(clean.start)
  after_each(clean.check)

  it("lets as many in as it was made for.", function()
    local s, inside, most = async.semaphore(3), 0, 0
    local tasks = {}
    for i = 1, 10 do
      tasks[i] = spawn(function()
        local _ <close> = s:acquire()
        inside = inside + 1
        most = math.max(most, inside)
        sleep(0.0005)
        inside = inside - 1
      end)
    end
    async.gather(tasks)
    assert.equal(3, most)
    assert.equal(3, s:value())
  end)

  it("can start at 0 and be released beyond where it started.", function()
    local s = async.semaphore(0)
    local t = spawn(s.acquire, s)
    sleep(0)
    assert.is_false(t:done())
    s:release()
    await(t)
    s:release()
    s:release()
    assert.equal(2, s:value())
    assert.is_true(s:try_acquire())
    assert.is_true(s:try_acquire())
    assert.is_false(s:try_acquire())
  end)

  it("goes past those who are cancelled.", function()
    local s = async.semaphore(0)
    local a, b = spawn(s.acquire, s), spawn(s.acquire, s)
    sleep(0)
    a:cancel()
    s:release()
    await(b)
    assert.equal(0, s:value())
  end)

  it("refuses bad arguments.", function()
    assert_says("the value must be 0 or more", function() async.semaphore(-1) end)
    assert_says("number expected, got string", function() async.semaphore "x" end)
    local s = async.semaphore(math.maxinteger)
    assert_says("semaphore:release: too often", s.release, s)
    assert_says("Semaphore expected, got Lock", async.semaphore().acquire, async.lock())
  end)
end)

describe("An event", function()
  before_each(clean.start)
  after_each(clean.check)

  it("wakes all who wait when it is set, in their order.", function()
    local e, order = async.event(), {}
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = spawn(function()
        e:wait()
        order[#order + 1] = i
      end)
    end
    sleep(0)
    assert.same({}, order)
    assert.is_false(e:is_set())
    e:set()
    assert.is_true(e:is_set())
    async.gather(tasks)
    assert.same({ 1, 2, 3 }, order)
    e:wait()
  end)

  it("can be cleared and used again.", function()
    local e = async.event()
    e:set()
    e:set()
    e:clear()
    local t = spawn(e.wait, e)
    sleep(0)
    assert.is_false(t:done())
    e:set()
    e:clear() -- who was woken stays so
    await(t)
  end)

  it("can be waited for with a timeout.", function()
    local e = async.event()
    assert_code("ETIMEDOUT", timeout, 0.001, e.wait, e)
    assert_says("Event expected, got nil", e.set, nil)
  end)
end)

describe("A condition", function()
  before_each(clean.start)
  after_each(clean.check)

  it("wakes as many as it is told to, who hold the lock then.", function()
    local c, order = async.condition(), {}
    local tasks = {}
    for i = 1, 4 do
      tasks[i] = spawn(function()
        local _ <close> = c:acquire()
        c:wait()
        assert.is_true(c:locked())
        order[#order + 1] = i
        sleep(0)
      end)
    end
    sleep(0.001)
    c:acquire()
    c:notify()
    c:notify(2)
    c:release()
    sleep(0.001)
    assert.same({ 1, 2, 3 }, order)
    c:acquire()
    c:notify_all()
    c:notify_all()
    c:release()
    async.gather(tasks)
    assert.same({ 1, 2, 3, 4 }, order)
    assert.is_false(c:locked())
  end)

  it("waits for what a function says.", function()
    local c, n = async.condition(), 0
    local t = spawn(function()
      local _ <close> = c:acquire()
      return c:wait_for(function() return n >= 2 and "enough" end)
    end)
    for _ = 1, 2 do
      sleep(0.001)
      local _ <close> = c:acquire()
      n = n + 1
      c:notify()
    end
    assert.equal("enough", await(t))
  end)

  it("takes the lock back when its wait is cancelled, and forgets the wait.", function()
    local c = async.condition()
    local held
    local t = spawn(function()
      local _ <close> = c:acquire()
      local ok, err = pcall(c.wait, c)
      held = c:locked()
      assert.is_false(ok)
      error(err, 0)
    end)
    local other = spawn(function()
      local _ <close> = c:acquire()
      c:wait()
    end)
    sleep(0.001)
    t:cancel()
    assert_code("ECANCELED", await, t)
    assert.is_true(held)
    assert.is_false(c:locked())
    c:acquire()
    c:notify()
    c:release()
    await(other)
  end)

  it("shares a lock, and must be held.", function()
    local lock = async.lock()
    local c = async.condition(lock)
    assert_says("condition:wait: acquire it first", c.wait, c)
    assert_says("condition:notify: acquire it first", c.notify, c)
    lock:acquire()
    c:notify()
    c:release()
    assert.is_false(lock:locked())
  end)
end)

describe("A barrier", function()
  before_each(clean.start)
  after_each(clean.check)

  it("lets all go on when the last has come, again and again.", function()
    local b, order = async.barrier(3), {}
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = spawn(function()
        for round = 1, 3 do
          sleep(i / 2000)
          order[#order + 1] = round
          assert.equal(i, b:wait())
        end
      end)
    end
    async.gather(tasks)
    assert.same({ 1, 1, 1, 2, 2, 2, 3, 3, 3 }, order)
    assert.equal(0, b:waiting())
    assert.equal(1, async.barrier(1):wait())
  end)

  it("breaks for all when one is cancelled.", function()
    local b = async.barrier(3)
    local a, c = spawn(b.wait, b), spawn(b.wait, b)
    sleep(0)
    assert.equal(2, b:waiting())
    a:cancel()
    assert_code("ECANCELED", await, a)
    assert_code("EBROKEN", await, c)
    assert.is_true(b:broken())
    assert_code("EBROKEN", b.wait, b)
    b:reset()
    assert.is_false(b:broken())
    local again = { spawn(b.wait, b), spawn(b.wait, b), spawn(b.wait, b) }
    assert.same({ 1, 2, 3 }, async.gather(again))
  end)

  it("breaks who waits when it is aborted or reset.", function()
    for _, name in ipairs { "abort", "reset" } do
      local b = async.barrier(2)
      local t = spawn(b.wait, b)
      sleep(0)
      b[name](b)
      assert_code("EBROKEN", await, t)
      assert.equal(name == "abort", b:broken())
    end
  end)

  it("refuses bad numbers.", function()
    for _, n in ipairs { 0, -1, 1.5, "x" } do
      assert_says("barrier: bad argument #1", async.barrier, n)
    end
  end)
end)

describe("A rate limit", function()
  before_each(clean.start)
  after_each(clean.check)

  it("lets so many through in a time, in the order of asking.", function()
    local limit, order, times = async.rate_limit(2, 0.02), {}, {}
    local began = async.now()
    local tasks = {}
    for i = 1, 5 do
      tasks[i] = spawn(function()
        limit:acquire()
        order[#order + 1] = i
        times[#times + 1] = async.now()
      end)
    end
    async.gather(tasks)
    assert.same({ 1, 2, 3, 4, 5 }, order)
    assert.is_true(times[3] - began >= 0.0199)
    assert.is_true(times[5] - began >= 0.0399)
  end)

  it("goes on for the rest when one is cancelled.", function()
    local limit = async.rate_limit(1, 0.002)
    limit:acquire()
    local a, b = spawn(limit.acquire, limit), spawn(limit.acquire, limit)
    sleep(0)
    a:cancel()
    await(b)
    assert.is_true(a:cancelled())
    do
      local _ <close> = limit:acquire()
    end
  end)

  it("refuses bad arguments.", function()
    assert_says("rate_limit: bad argument #1", async.rate_limit, 0, 1)
    assert_says("rate_limit: bad argument #1", async.rate_limit, "x", 1)
    assert_says("must not be negative", async.rate_limit, 1, -1)
  end)
end)
