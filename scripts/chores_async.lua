-- Household chores at once: the machines run by themselves while we clean potatoes.
--
-- Cleaning needs all our attention (block), so we see that the laundry is done
-- only after the last potato. With --yield we look up after each potato, and
-- can turn on the dryer in time.

local async = require "asyncbox"
local await, gather, sleep = async.await, async.gather, async.sleep
local block, now = async.block, async.now

if #arg > 1 or (#arg == 1 and arg[1] ~= "--yield") then
  io.stderr:write("Usage ", arg[0]:match("[^/]*$"), " [--yield]\n")
  os.exit(1)
end
local look_up = arg[1] == "--yield"

local boil_water = async(function(sec)
  print("Start boiling water for " .. sec .. " seconds")
  sleep(sec)
  print("End boiling water for " .. sec .. " seconds")
end, "boil_water")

local dryer = async(function(sec)
  print("Start dryer for " .. sec .. " seconds")
  sleep(sec)
  print("End dryer for " .. sec .. " seconds")
end, "dryer")

local washing_machine = async(function(sec)
  print("Start washing machine for " .. sec .. " seconds")
  sleep(sec)
  print("End washing machine for " .. sec .. " seconds")
  await(dryer(3)) -- only washed laundry can be dried
end, "washing_machine")

local dishwasher = async(function(sec)
  print("Start dishwasher for " .. sec .. " seconds")
  sleep(sec)
  print("End dishwasher for " .. sec .. " seconds")
end, "dishwasher")

local clean_potatoes = async(function(pieces)
  print("Start cleaning potatoes for " .. pieces .. " pieces")
  for i = 0, pieces - 1 do
    print("Cleaning potato " .. i)
    block(0.5)
    if look_up then
      sleep(0.0001)
    end
  end
  print("End cleaning potatoes for " .. pieces .. " pieces")
end, "clean_potatoes")

local main = async(function()
  await(gather(
    dishwasher(3),
    washing_machine(3),
    boil_water(4),
    clean_potatoes(14)
  ))
end, "main")

local start = now()
async.run(main())
local finish = now()
print("Elapsed " .. (finish - start))
