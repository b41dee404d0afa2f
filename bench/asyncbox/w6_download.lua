-- W6: one body of SIZE bytes from URL: read by chunks and dropped, or saved to PATH.
local async = require "asyncbox"
local URL, SIZE, PATH = arg[1], tonumber(arg[2]), arg[3]

local t0 = async.now()
local response <close> = async.http.get(URL, { timeout = { total = false, stall = 30 } })
local total = 0
if PATH then
  total = response:save(PATH)
else
  for chunk in response:chunks() do total = total + #chunk end
end
local t = async.now() - t0
assert(total == SIZE, total)
print(string.format("ok n=%d t=%.6f", 1, t))
