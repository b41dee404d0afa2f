-- W5b: COUNT URLs (URL/1, URL/2, ...) of a server that answers after 100 ms, all at once.
local async = require "asyncbox"
local http = async.http
local spawn, gather, now = async.spawn, async.gather, async.now
local URL, COUNT = arg[1], tonumber(arg[2])

local t0 = now()
local session <close> = http.session { max_connections = COUNT, max_per_host = COUNT }

local function fetch(i)
  local response = session:get(URL .. "/" .. i)
  assert(response.status == 200)
  return #response:read()
end

local tasks = {}
for i = 1, COUNT do tasks[i] = spawn(fetch, i) end
local total = 0
for _, n in ipairs(gather(tasks)) do total = total + n end
local t = now() - t0
assert(total == 6 * COUNT, total)
print(string.format("ok n=%d t=%.6f", COUNT, t))
