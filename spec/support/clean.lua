-- Proves after each case that nothing is left alive: no task, op, handle, timer
-- or file descriptor. In a spec file, at the top of its outermost describe:
--
--   local clean = require "spec.support.clean"
--   before_each(clean.start)
--   after_each(clean.check)
--
-- A case that leaves something fails, and what it left is cancelled so that
-- the next case starts clean.

local async = require "asyncbox"

local clean = {}

local COUNTED = { "tasks", "ops", "handles", "timers" }
local FD_MAX = 256
local before

-- The open descriptors as { [number] = true }. Opening the probe takes a number
-- of its own, but only after the path was looked up.
local function descriptors()
  local open, count = {}, 0
  for fd = 0, FD_MAX - 1 do
    local probe = io.open("/proc/self/fdinfo/" .. fd)
    if probe then
      probe:close()
      open[fd] = true
      count = count + 1
    end
  end
  return open, count
end

local function collect()
  collectgarbage()
  collectgarbage() -- what finalizers let go of
end

function clean.start()
  collect()
  before = { stats = async.stats(), fds = descriptors(), tasks = {} }
  for _, task in ipairs(async.all_tasks()) do before.tasks[task] = true end
end

local function living()
  local list = {}
  for _, task in ipairs(async.all_tasks()) do
    if not before.tasks[task] then list[#list + 1] = task end
  end
  return list
end

local function leftovers()
  local found = {}
  for _, task in ipairs(living()) do
    found[#found + 1] = tostring(task) .. "\n" .. (task:traceback() or "")
  end
  local stats = async.stats()
  for _, key in ipairs(COUNTED) do
    local more = stats[key] - before.stats[key]
    if more ~= 0 then found[#found + 1] = ("%+d %s"):format(more, key) end
  end
  for fd in pairs((descriptors())) do
    if not before.fds[fd] then found[#found + 1] = "file descriptor " .. fd end
  end
  return found
end

-- What has been cancelled or was about to end gets a few turns for it; what the
-- system has to do first (close, reap, end a call in the thread pool), its time.
function clean.check()
  local found
  local turns, deadline = 0, async.now() + 10
  repeat
    turns = turns + 1
    async.sleep(turns > 10 and 0.005 or 0)
    collect()
    found = leftovers()
    if #found == 0 then return end
  until turns >= 10 and #living() > 0 or async.now() > deadline
  for _, task in ipairs(living()) do
    task:cancel()
    pcall(async.await, task)
  end
  error("left alive:\n" .. table.concat(found, "\n"), 0)
end

return clean
