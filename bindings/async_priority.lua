-- async_priority.lua - lifo_queue and priority_queue.
local async, core = ...
local misuse, rethrow, try, class = core.misuse, core.rethrow, core.try, core.class

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
