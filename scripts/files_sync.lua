-- Write 300 files of 100 × 11,000 bytes, one after the other.

local async = require "asyncbox"
local fs = async.fs

-- A new folder for this program alone, removed with all that is in it by <close>.
local function temporary_folder()
  local parent = os.getenv "TMPDIR" or "/tmp"
  local path = ("%s/asyncbox-%016x"):format(parent, math.random(0))
  fs.mkdir(path, { mode = tonumber("700", 8) })
  return setmetatable({ path = path }, {
    __close = function()
      async.shield(fs.remove, path, { recursive = true }) -- after Ctrl-C too
    end,
  })
end

local function save_file(filename, size)
  local file <close> = fs.open(filename, "w")
  for _ = 1, size do
    file:write(("xxxxxxxxxxx"):rep(1000))
  end
end

local function main()
  local dir <close> = temporary_folder()
  for i = 0, 299 do
    save_file(dir.path .. "/" .. i .. ".txt", 100)
  end
end

main()
