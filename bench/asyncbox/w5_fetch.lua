-- W5: COUNT GETs of URL, INFLIGHT of them at a time, the whole body of SIZE bytes each.
local async = require "asyncbox"
local http = async.http
local spawn, gather, now = async.spawn, async.gather, async.now
local URL = arg[1]
local COUNT, INFLIGHT, SIZE = tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])

local t0 = now()
local session <close> = http.session { max_connections = INFLIGHT, max_per_host = INFLIGHT }
local left = COUNT

local function worker()
  local got = 0
  while left > 0 do
    left = left - 1
    local response = session:get(URL)
    local body = response:read()
    assert(response.status == 200 and #body == SIZE)
    got = got + #body
  end
  return got
end

local workers = {}
for i = 1, INFLIGHT do workers[i] = spawn(worker) end
local total = 0
for _, n in ipairs(gather(workers)) do total = total + n end
local t = now() - t0
assert(total == COUNT * SIZE, total)
print(string.format("ok n=%d t=%.6f", COUNT, t))
