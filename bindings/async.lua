-- async.lua - what composes the primitives of the asyncbox module.
-- Gets the module's table, the primitives that only this file uses (async.c),
-- and the methods of Task and Future.
local async, core, task_methods = ...

-- await, but a coroutine object runs as a plain Lua call: recursion through
-- await goes as deep as calls do, not as deep as the C stack.
local await_c, take, is_coroutine = async.await, core.take, core.is_coroutine
local function invoke(f, ...) return f(...) end
local function pass(...) return ... end

function async.await(...)
  local x = ...
  if type(x) ~= "userdata" then return ... end
  if is_coroutine(x) then return invoke(take(x)) end
  return pass(await_c(x)) -- no tail call: tracebacks name await
end

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
      out[i] = await(f(list[i]))
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

-- Classes of the Lua parts: methods, metatable.
local function class(name)
  local methods = {}
  local meta = { __index = methods, __name = name, __metatable = false }
  meta.__tostring = function(self) return string.format("<%s: %p>", name, self) end
  return methods, meta
end

core.class = class
core.try = try

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
