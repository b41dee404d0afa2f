-- async.lua - what composes the primitives of the asyncbox module.
-- Gets the module's table, the primitives that only this file uses (async.c),
-- and the methods of Task and Future.
local async, core, task_methods = ...
local await, spawn, sleep = async.await, async.spawn, async.sleep
local shield, now = async.shield, async.now
local join, start, results = core.join, core.start, core.results
local is_task, failed, misuse, rethrow = core.is_task, core.failed, core.misuse, core.rethrow
local xpcall, type, setmetatable = xpcall, type, setmetatable
local unpack, remove, insert = table.unpack, table.remove, table.insert

local ALL, UNTIL_ERROR, UNTIL_FIRST = 0, 1, 2 -- modes of core.join

-- pcall for errors that are passed on: their traceback is kept for rethrow.
local function try(f, ...) return xpcall(f, core.trace, ...) end

local function cancel_all(tasks, n)
  for i = 1, n do tasks[i]:cancel() end
end

-- Cancels what is left of the tasks and waits until all have ended.
local function end_all(tasks, n)
  cancel_all(tasks, n)
  shield(join, tasks, n, ALL)
end

-- Waits for tasks that belong to the caller alone: when the wait is cancelled,
-- so are they.
local function join_own(tasks, n, mode)
  local ok, which = try(join, tasks, n, mode)
  if ok then return which end
  end_all(tasks, n)
  rethrow(which)
end

-- ---- many at once ----

function async.gather(...)
  local tasks, n, options, is_list = start("gather", ...)
  core.options(options, "gather", "return_exceptions")
  local keep_errors = options and options.return_exceptions or false
  local which = join_own(tasks, n, keep_errors and ALL or UNTIL_ERROR)
  if which then
    end_all(tasks, n)
    -- Its error is raised, and speaks for those that failed with it.
    for i = 1, n do
      if failed(tasks[i]) then tasks[i]:error() end
    end
    await(tasks[which])
  end
  return results(tasks, n, keep_errors, not is_list)
end

local RETURN_WHEN = { all = ALL, first = UNTIL_FIRST, error = UNTIL_ERROR }

function async.wait(list, options)
  core.options(options, "wait", "timeout", "return_when")
  local when = options and options.return_when or "all"
  local mode = RETURN_WHEN[when]
  if not mode then
    misuse("wait: return_when must be 'all', 'first' or 'error', got " .. tostring(when))
  end
  local tasks, n = start("wait", list)
  local seconds = options and options.timeout
  if seconds then
    core.check_seconds(seconds, "timeout")
    local ok, err = try(async.timeout, seconds, join, tasks, n, mode)
    if not ok and not (type(err) == "table" and err.code == "ETIMEDOUT") then rethrow(err) end
  else
    join(tasks, n, mode)
  end
  local done, pending = {}, {}
  for i = 1, n do
    local t = tasks[i]
    insert(t:done() and done or pending, t)
  end
  return done, pending
end

function async.wait_for(x, seconds)
  core.check_seconds(seconds, "seconds")
  if not core.is_awaitable(x) then return x end
  local got = table.pack(try(async.timeout, seconds, await, x))
  if got[1] then return unpack(got, 2, got.n) end
  if is_task(x) and not x:done() then end_all({ x }, 1) end
  rethrow(got[2])
end

function async.race(...)
  local tasks, n = start("race", ...)
  if n == 0 then misuse("race: nothing to wait for") end
  local which = join_own(tasks, n, UNTIL_FIRST)
  end_all(tasks, n)
  return await(tasks[which])
end

function async.any(...)
  local tasks, n = start("any", ...)
  if n == 0 then misuse("any: nothing to wait for") end
  local left = { unpack(tasks, 1, n) }
  local last
  while #left > 0 do
    local ok, which = try(join, left, #left, UNTIL_FIRST)
    if not ok then
      end_all(tasks, n)
      rethrow(which)
    end
    last = remove(left, which)
    if not failed(last) then
      end_all(left, #left)
      return await(last)
    end
    last:error() -- looked at: it is not lost
  end
  return await(last) -- all have failed: the last one's error
end

function async.as_completed(list)
  local tasks, n = start("as_completed", list)
  local left = { unpack(tasks, 1, n) }
  return function()
    if #left == 0 then return nil end
    return remove(left, join(left, #left, UNTIL_FIRST))
  end
end

function async.map(list, f, options)
  if type(list) ~= "table" then
    misuse("map: bad argument #1 (list expected, got " .. type(list) .. ")")
  end
  core.options(options, "map", "limit")
  local limit = options and options.limit or math.huge
  if type(limit) ~= "number" or limit < 1 then
    misuse("map: limit must be 1 or more, got " .. tostring(limit))
  end
  if type(f) ~= "function" then
    misuse("map: bad argument #2 (function expected, got " .. type(f) .. ")")
  end
  local n, index, out = #list, 0, {}
  local function worker()
    while index < n do
      index = index + 1
      local i = index
      out[i] = await(f(list[i], i))
    end
  end
  local workers = {}
  for i = 1, math.min(limit, n) do workers[i] = spawn(worker) end
  async.gather(workers)
  return out
end

function async.run(x, ...)
  if type(x) ~= "function" and not core.is_awaitable(x) then
    misuse("run: bad argument #1 (function, coroutine object, task or future expected, got "
      .. type(x) .. ")")
  end
  local _ <close> = core.run_scope()
  if type(x) == "function" then return await(x(...)) end
  return await(x)
end

function async.every(seconds, f, ...)
  core.check_seconds(seconds, "seconds")
  if type(f) ~= "function" then
    misuse("every: bad argument #2 (function expected, got " .. type(f) .. ")")
  end
  return spawn(function(...)
    local due = now()
    while true do
      due = due + seconds
      sleep(math.max(0, due - now()))
      if await(f(...)) == false then return end
    end
  end, ...)
end

-- ---- chaining, for programs in the style of callbacks ----

function task_methods:on_done(f)
  spawn(function()
    join({ self }, 1, ALL)
    f(self)
  end)
  return self
end

local function chain(self, on_ok, on_err)
  return spawn(function()
    local got = table.pack(try(await, self))
    if got[1] then
      if on_ok then return await(on_ok(unpack(got, 2, got.n))) end
      return unpack(got, 2, got.n)
    end
    if on_err and self:done() then return await(on_err(got[2])) end
    rethrow(got[2])
  end)
end

function task_methods:and_then(on_ok, on_err) return chain(self, on_ok, on_err) end

function task_methods:catch(on_err) return chain(self, nil, on_err) end

function task_methods:finally(f)
  return spawn(function()
    local got = table.pack(try(await, self))
    await(f())
    if got[1] then return unpack(got, 2, got.n) end
    rethrow(got[2])
  end)
end

-- ---- queues with an order of their own ----

local function class(name)
  local methods = {}
  local meta = { __index = methods, __name = name, __metatable = false }
  meta.__tostring = function(self) return string.format("<%s: %p>", name, self) end
  return methods, meta
end

function async.lifo_queue(max)
  max = max or 0
  if math.type(max) ~= "integer" or max < 0 then
    misuse("lifo_queue: bad argument #1 (max must be 0 (unbounded) or more)")
  end
  return async.queue(max, true)
end

local priority, priority_meta = class "PriorityQueue"
priority_meta.__call = function(self) return self:get() end
priority_meta.__len = function(self) return #self._heap end

-- Items are compared with <, lists by their first element, or with `less`.
local function default_less(a, b)
  if type(a) == "table" and type(b) == "table" and a[1] ~= nil then a, b = a[1], b[1] end
  if type(a) ~= type(b) then
    misuse("priority_queue: cannot compare a " .. type(a) .. " with a " .. type(b)
      .. "; give priority_queue(max, less) a function that can")
  end
  return a < b
end

-- Two semaphores do the waiting: one counts free places, one counts items.
function async.priority_queue(max, less)
  max = max or 0
  if math.type(max) ~= "integer" or max < 0 then
    misuse("priority_queue: bad argument #1 (max must be 0 (unbounded) or more)")
  end
  return setmetatable({
    _heap = {}, _order = 0, _less = less or default_less, _unfinished = 0, _max = max,
    _places = async.semaphore(max > 0 and max or math.maxinteger // 2),
    _items = async.semaphore(0), _idle = async.event(),
  }, priority_meta)
end

local function heap_less(self, a, b)
  if self._less(a.item, b.item) then return true end
  if self._less(b.item, a.item) then return false end
  return a.order < b.order
end

-- Both look for the way first and move after, so that a comparison that fails
-- leaves the heap as it was.
local function heap_push(self, item)
  local heap, way = self._heap, { #self._heap + 1 }
  self._order = self._order + 1
  local entry = { item = item, order = self._order }
  while way[#way] > 1 and heap_less(self, entry, heap[way[#way] // 2]) do
    way[#way + 1] = way[#way] // 2
  end
  for k = 1, #way - 1 do heap[way[k]] = heap[way[k + 1]] end
  heap[way[#way]] = entry
end

local function heap_pop(self)
  local heap, way = self._heap, { 1 }
  local n, last = #heap - 1, heap[#heap]
  while true do
    local child = 2 * way[#way]
    if child > n then break end
    if child < n and heap_less(self, heap[child + 1], heap[child]) then child = child + 1 end
    if not heap_less(self, heap[child], last) then break end
    way[#way + 1] = child
  end
  local top = heap[1]
  heap[n + 1] = nil
  for k = 1, #way - 1 do heap[way[k]] = heap[way[k + 1]] end
  if n > 0 then heap[way[#way]] = last end
  return top.item
end

local function check_put(self, item, what)
  if item == nil then misuse(what .. ": nil cannot be put: it is what get gives at the end") end
  if self._closed then core.raise("ECLOSED", what, "the queue is closed") end
end

-- A place has been taken: puts the item, or gives the place back.
local function put_in_place(self, item)
  local ok, err = try(heap_push, self, item)
  if not ok then
    self._places:release()
    rethrow(err)
  end
  self._unfinished = self._unfinished + 1
  self._items:release()
end

function priority:put(item)
  check_put(self, item, "queue:put")
  self._places:acquire()
  if self._closed then
    self._places:release() -- for the next that waits to be told
    core.raise("ECLOSED", "queue:put", "the queue is closed")
  end
  put_in_place(self, item)
end

function priority:put_nowait(item)
  check_put(self, item, "queue:put_nowait")
  if not self._places:try_acquire() then return false end
  put_in_place(self, item)
  return true
end

-- An item has been taken from the count: gives it, or nil at the end.
local function get_counted(self)
  if #self._heap == 0 then
    self._items:release() -- closed: for the next that waits to be told
    return nil
  end
  local ok, item = try(heap_pop, self)
  if not ok then
    self._items:release()
    rethrow(item)
  end
  self._places:release()
  return item
end

function priority:get()
  self._items:acquire()
  return get_counted(self)
end

function priority:get_nowait()
  if not self._items:try_acquire() then return nil end
  return get_counted(self)
end

function priority:close()
  if self._closed then return end
  self._closed = true
  self._items:release()
  self._places:release()
end

function priority:task_done()
  if self._unfinished == 0 then
    misuse("queue:task_done: called more often than items were put")
  end
  self._unfinished = self._unfinished - 1
  if self._unfinished == 0 then
    self._idle:set()
    self._idle = async.event()
  end
end

function priority:join()
  if self._unfinished > 0 then self._idle:wait() end
end

function priority:size() return #self._heap end

function priority:empty() return #self._heap == 0 end

function priority:full() return self._max > 0 and #self._heap >= self._max end

-- ---- condition, barrier, rate limit ----

local condition, condition_meta = class "Condition"
condition_meta.__close = function(self) self._lock:release() end

function async.condition(lock)
  return setmetatable({ _lock = lock or async.lock(), _waiting = {} }, condition_meta)
end

function condition:acquire()
  self._lock:acquire()
  return self
end

function condition:release() self._lock:release() end

function condition:locked() return self._lock:locked() end

function condition:wait()
  if not self._lock:locked() then misuse("condition:wait: acquire it first") end
  local event = async.event()
  insert(self._waiting, event)
  self._lock:release()
  local ok, err = try(event.wait, event)
  shield(self._lock.acquire, self._lock) -- the caller releases it again
  if ok then return end
  for i, e in ipairs(self._waiting) do
    if e == event then
      remove(self._waiting, i)
      break
    end
  end
  rethrow(err)
end

function condition:wait_for(predicate)
  local value = predicate()
  while not value do
    self:wait()
    value = predicate()
  end
  return value
end

function condition:notify(n)
  if not self._lock:locked() then misuse("condition:notify: acquire it first") end
  for _ = 1, math.min(n or 1, #self._waiting) do remove(self._waiting, 1):set() end
end

function condition:notify_all() self:notify(#self._waiting) end

local barrier, barrier_meta = class "Barrier"

function async.barrier(parties)
  if math.type(parties) ~= "integer" or parties < 1 then
    misuse("barrier: bad argument #1 (a number of parties, 1 or more, expected)")
  end
  return setmetatable({
    _parties = parties, _count = 0, _round = { event = async.event() },
  }, barrier_meta)
end

local function next_round(self)
  local round = self._round
  self._count, self._round = 0, { event = async.event() }
  return round
end

local function break_round(round)
  round.broken = true
  round.event:set()
end

-- Gives the order of arrival; the last to come lets all go on.
function barrier:wait()
  local round = self._round
  if round.broken then core.raise("EBROKEN", "barrier:wait") end
  local order = self._count + 1
  self._count = order
  if order == self._parties then
    next_round(self).event:set()
    return order
  end
  local ok, err = try(round.event.wait, round.event)
  if not ok then
    if round == self._round then break_round(round) end
    rethrow(err)
  end
  if round.broken then core.raise("EBROKEN", "barrier:wait") end
  return order
end

function barrier:abort() break_round(self._round) end

-- Whoever waits is told that the barrier is broken; it can be used again.
function barrier:reset() break_round(next_round(self)) end

function barrier:waiting() return self._count end

function barrier:broken() return self._round.broken or false end

local limiter, limiter_meta = class "RateLimit"
limiter_meta.__close = function() end

-- At most n acquisitions in any `per` seconds, in the order of asking.
function async.rate_limit(n, per)
  if math.type(n) ~= "integer" or n < 1 then
    misuse("rate_limit: bad argument #1 (a whole number, 1 or more, expected)")
  end
  core.check_seconds(per, "per")
  return setmetatable({
    _n = n, _per = per, _times = {}, _next = 1, _lock = async.lock(),
  }, limiter_meta)
end

function limiter:acquire()
  local _ <close> = self._lock:acquire()
  local slot = self._next
  local last = self._times[slot]
  if last then sleep(math.max(0, last + self._per - now())) end
  self._times[slot] = now()
  self._next = slot % self._n + 1
  return self
end

-- ---- task locals ----

local stores = setmetatable({}, { __mode = "k" }) -- task -> { [local] = value }
local locals, locals_meta = class "TaskLocal"

-- A task sees the values that its parent had when it was spawned: tables are
-- shared and copied on the first write.
function async.task_local(default)
  return setmetatable({ _default = default }, locals_meta)
end

function locals:get()
  local task = async.current_task()
  local store = task and stores[task]
  local value = store and store[self]
  if value == nil then return self._default end
  return value
end

function locals:set(value)
  local task = async.current_task()
  if not task then misuse("task_local:set: this is not a task") end
  local copy = {}
  for k, v in pairs(stores[task] or {}) do copy[k] = v end
  copy[self] = value
  stores[task] = copy
  core.has_locals(task, true)
end

-- Runs f(...) with the value, and puts the old one back.
function locals:with(value, f, ...)
  local old = self:get()
  self:set(value)
  local _ <close> = setmetatable({}, { __close = function() self:set(old) end })
  return await(f(...))
end

-- Called by spawn when the parent has any.
return function(parent, child) stores[child] = stores[parent] end
