-- async.lua - what composes the primitives of the asyncbox module.
-- Gets the module's table, the primitives that only this file uses (async.c),
-- and the methods of Task and Future.
local async, core, task_methods = ...
local await, spawn, sleep = async.await, async.spawn, async.sleep
local shield, now = async.shield, async.now
local join, start, results = core.join, core.start, core.results
local is_task, failed, misuse, rethrow = core.is_task, core.failed, core.misuse, core.rethrow
local pcall, xpcall, type, setmetatable = pcall, xpcall, type, setmetatable
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
    await(tasks[which]) -- raises its error
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
    pcall(await, self)
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
  return methods, { __index = methods, __name = name, __metatable = false }
end

function async.lifo_queue(max) return async.queue(max, true) end

local priority, priority_meta = class "PriorityQueue"
priority_meta.__call = function(self) return self:get() end
priority_meta.__len = function(self) return #self._heap end

-- Items are compared with <, lists by their first element, or with `less`.
local function default_less(a, b)
  if type(a) == "table" and type(b) == "table" and a[1] ~= nil then return a[1] < b[1] end
  return a < b
end

function async.priority_queue(max, less)
  max = max or 0
  if math.type(max) ~= "integer" or max < 0 then
    misuse("priority_queue: bad argument #1 (max must be 0 (unbounded) or more)")
  end
  return setmetatable({
    _heap = {}, _order = 0, _less = less or default_less,
    -- One ticket an item: the plain queue does the waiting.
    _tickets = async.queue(max),
  }, priority_meta)
end

local function heap_less(self, a, b)
  if self._less(a.item, b.item) then return true end
  if self._less(b.item, a.item) then return false end
  return a.order < b.order
end

local function heap_push(self, item)
  self._order = self._order + 1
  local heap, entry, i = self._heap, { item = item, order = self._order }, #self._heap + 1
  while i > 1 and heap_less(self, entry, heap[i // 2]) do
    heap[i] = heap[i // 2]
    i = i // 2
  end
  heap[i] = entry
end

local function heap_pop(self)
  local heap = self._heap
  local top, last = heap[1], remove(heap)
  local n, i = #heap, 1
  while n > 0 do
    local child = 2 * i
    if child > n then break end
    if child < n and heap_less(self, heap[child + 1], heap[child]) then child = child + 1 end
    if not heap_less(self, heap[child], last) then break end
    heap[i] = heap[child]
    i = child
  end
  if n > 0 then heap[i] = last end
  return top.item
end

local function check_item(item, what)
  if item == nil then
    misuse(what .. ": nil cannot be put: it is what get gives at the end")
  end
end

function priority:put(item)
  check_item(item, "queue:put")
  self._tickets:put(true)
  heap_push(self, item)
end

function priority:put_nowait(item)
  check_item(item, "queue:put_nowait")
  local ok = self._tickets:put_nowait(true)
  if ok then heap_push(self, item) end
  return ok
end

function priority:get()
  return self._tickets:get() and heap_pop(self) or nil
end

function priority:get_nowait()
  return self._tickets:get_nowait() and heap_pop(self) or nil
end

for _, name in ipairs { "task_done", "join", "close", "size", "empty", "full" } do
  priority[name] = function(self) return self._tickets[name](self._tickets) end
end

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
    _parties = parties, _count = 0, _event = async.event(), _broken = false,
  }, barrier_meta)
end

local function break_barrier(self)
  self._broken = true
  self._event:set()
end

-- Gives the order of arrival; the last to come lets all go on.
function barrier:wait()
  if self._broken then core.raise("EBROKEN", "barrier:wait") end
  self._count = self._count + 1
  local order, event = self._count, self._event
  if order == self._parties then
    self._count, self._event = 0, async.event()
    event:set()
    return order
  end
  local ok, err = try(event.wait, event)
  if not ok then
    if event == self._event then break_barrier(self) end
    rethrow(err)
  end
  if self._broken and event == self._event then core.raise("EBROKEN", "barrier:wait") end
  return order
end

function barrier:abort() break_barrier(self) end

function barrier:reset()
  self._event:set()
  self._count, self._event, self._broken = 0, async.event(), false
end

function barrier:waiting() return self._count end

function barrier:broken() return self._broken end

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
