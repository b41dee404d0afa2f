-- One async function awaits another and gets its result.

local async = require "asyncbox"
local await, sleep = async.await, async.sleep

local compute = async(function(x, y)
  print("Compute " .. x .. " + " .. y .. " ...")
  sleep(1.0)
  return x + y
end, "compute")

local print_sum = async(function(x, y)
  local result = await(compute(x, y))
  print(x .. " + " .. y .. " = " .. result)
end, "print_sum")

async.run(print_sum(1, 2))
