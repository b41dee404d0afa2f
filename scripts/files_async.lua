-- Write 300 files of 10 × 11,000 bytes, all at once.

local async = require "asyncbox"
local fs = async.fs
local await, create_task, gather = async.await, async.create_task, async.gather

local save_file = async(function(filename, size)
  local file <close> = fs.open(filename, "w")
  for _ = 1, size do
    file:write(("xxxxxxxxxxx"):rep(1000))
  end
end, "save_file")

local main = async(function()
  local dir <close> = fs.tempdir() -- removed with all that is in it, after Ctrl-C too
  local tasks = {}
  for i = 0, 299 do
    tasks[#tasks + 1] = create_task(save_file(dir.path .. "/" .. i .. ".txt", 10))
  end
  await(gather(tasks))
end, "main")

async.run(main())
