-- Count the lines of every file below a folder, with at most 16 files open at once.

local async = require "asyncbox"
local fs = async.fs

if #arg ~= 1 then
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " DIR\n")
  os.exit(1)
end

local failed = 0

local function complain(err)
  failed = failed + 1
  io.stderr:write(tostring(err), "\n")
end

local function count_lines(path)
  local file <close> = fs.open(path)
  local count = 0
  for _ in file:lines() do
    count = count + 1
  end
  return count
end

local paths = {}
for path, kind in fs.walk(arg[1], { on_error = complain }) do
  if kind == "file" then
    paths[#paths + 1] = path
  end
end
table.sort(paths)

-- The results come in the order of the paths, whichever file is done first.
local counts = async.map(paths, function(path)
  local ok, result = pcall(count_lines, path)
  if ok then
    return result
  end
  complain(result)
  return false
end, { limit = 16 })

local total = 0
for i, path in ipairs(paths) do
  if counts[i] then
    total = total + counts[i]
    print(("%8d  %s"):format(counts[i], path))
  end
end
print(("%8d  in %d files"):format(total, #paths))
if failed > 0 then
  print(("%8d  could not be read"):format(failed))
  os.exit(1)
end
