-- When each wait starts and ends if nothing else may run: one after the other.

local async = require "asyncbox"
local block, now = async.block, async.now

local function say(what, sec)
  local start = now()
  print("Starting " .. what .. " that will take " .. sec .. "s")
  block(sec)
  local finish = now()
  print("Finishing " .. what .. " in " .. (finish - start) .. "s")
end

local function main()
  local start = now()
  say("First", 2)
  say("Second", 1)
  local finish = now()
  print("Elapsed: " .. (finish - start))
end

main()
