-- async_sync.lua - condition, barrier, rate_limit: made of locks and events.
local async, core = ...
local misuse, rethrow, try, class = core.misuse, core.rethrow, core.try, core.class
local sleep, shield, now = async.sleep, async.shield, async.now
local insert, remove = table.insert, table.remove

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
