-- Two waits, one after the other: 2 s and 1 s make 3 s.
--
-- block() stands for work that lets nobody else run while it waits, as
-- time.sleep does. Compare with print_async.lua.

local async = require "asyncbox"
local block, now = async.block, async.now

local function say(text, sec)
  block(sec)
  print(text)
end

local function main()
  local start = now()
  say("First", 2)
  say("Second", 1)
  local finish = now()
  print("Elapsed: " .. (finish - start))
end

main()
