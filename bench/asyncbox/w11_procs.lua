-- W11: run `true` COUNT times, CONCURRENCY at a time, exit codes collected; by
-- process.spawn, or with a third argument "run" by process.run.
local async = require "asyncbox"
local process = async.process
local COUNT, CONCURRENCY, BY_RUN = tonumber(arg[1]), tonumber(arg[2]), arg[3] == "run"

local options = { stdin = "null", stdout = "null", stderr = "null" }
local t0 = async.now()
local left, codes = COUNT, {}

local function once()
  if BY_RUN then return process.run("/bin/true", options).status end
  return (process.spawn("/bin/true", options):wait())
end

local function worker()
  while left > 0 do
    left = left - 1
    local code = once()
    codes[#codes + 1] = code
  end
end

local workers = {}
for i = 1, CONCURRENCY do workers[i] = async.spawn(worker) end
async.gather(workers)
local t = async.now() - t0
assert(#codes == COUNT)
for _, code in ipairs(codes) do assert(code == 0) end
print(string.format("ok n=%d t=%.6f", COUNT, t))
