-- Write 300 files of 100 × 11,000 bytes, one after the other.

local async = require "asyncbox"
local fs = async.fs

local function save_file(filename, size)
  local file <close> = fs.open(filename, "w")
  for _ = 1, size do
    file:write(("xxxxxxxxxxx"):rep(1000))
  end
end

local function main()
  local dir <close> = fs.tempdir() -- removed with all that is in it, after Ctrl-C too
  for i = 0, 299 do
    save_file(dir.path .. "/" .. i .. ".txt", 100)
  end
end

main()
