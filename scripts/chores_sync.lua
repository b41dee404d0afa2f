-- Household chores, one after the other: we stand before each machine until it ends.

local async = require "asyncbox"
local block, now = async.block, async.now

local function boil_water(sec)
  print("Start boiling water for " .. sec .. " seconds")
  block(sec)
  print("End boiling water for " .. sec .. " seconds")
end

local function washing_machine(sec)
  print("Start washing machine")
  block(sec)
  print("End washing machine")
end

local function dryer(sec)
  print("Start dryer")
  block(sec)
  print("End dryer")
end

local function dishwasher(sec)
  print("Start dishwasher")
  block(sec)
  print("End dishwasher")
end

local function clean_potatoes(pieces)
  print("Start cleaning potatoes")
  for i = 0, pieces - 1 do
    print("Cleaning potato " .. i)
    block(0.5)
  end
  print("End cleaning potatoes")
end

local function main()
  dishwasher(3)
  washing_machine(3)
  dryer(3)
  boil_water(4)
  clean_potatoes(14)
end

local start = now()
main()
local finish = now()
print("Elapsed " .. (finish - start))
