-- Print the last ten lines of a file, then what is added to it, until Ctrl-C.
--
-- A file that is cut short is read from its start again, and so is a new one
-- that takes its name, as when logs are rotated.

local async = require "asyncbox"
local fs = async.fs

if #arg ~= 1 then
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " FILE\n")
  os.exit(1)
end
local path = arg[1]

local function say(text)
  io.stderr:write("tail: ", path, ": ", text, "\n")
end

-- Nobody reads what we print any more (| head): there is nothing left to do.
local function put(text)
  if not (io.stdout:write(text) and io.stdout:flush()) then
    os.exit(1)
  end
end

-- The file that is read, what stat said of it, and how much of it was read.
local file, identity, at

local function open()
  local opened = fs.open(path)
  if file then
    file:close()
  end
  file, identity, at = opened, opened:stat(), 0
end

local function put_what_is_new()
  for chunk in file:lines(65536) do
    at = at + #chunk
    put(chunk)
  end
end

-- The last ten lines, or those of them that are in the last 64 KiB.
local function put_last_lines()
  at = file:seek("set", math.max(0, identity.size - 65536))
  local lines = {}
  for line in file:lines "L" do
    at = at + #line
    lines[#lines + 1] = line
  end
  put(table.concat(lines, "", math.max(1, #lines - 9)))
end

-- What f(...) gives; nil when the name stands for nothing now, as between two
-- steps of a rotation: an event follows when it does again.
local function if_there(f, ...)
  local ok, result = pcall(f, ...)
  if ok then
    return result or true
  elseif result.code ~= "ENOENT" then
    error(result, 0)
  end
end

local function go_on()
  put_what_is_new()
  local found = if_there(fs.stat, path)
  if not found then
    return
  end
  local other = found.ino ~= identity.ino or found.dev ~= identity.dev
  if not other and found.size >= at then
    return
  end
  -- Opened anew also if it was cut short: what was read ahead is void.
  if if_there(open) then
    say(other and "following the new file" or "file truncated")
    put_what_is_new()
  end
end

local function follow()
  local events <close> = fs.watch(path) -- first, so that nothing is missed
  open()
  put_last_lines()
  for event in events do
    go_on()
    if event.kind == "removed" and not if_there(fs.stat, path) then
      say "file removed; waiting for a new one"
    end
  end
  say "its folder was removed"
end

local ok, err = pcall(follow)
if not ok then
  if not err.code or err.code == "ECANCELED" then
    error(err, 0) -- Ctrl-C, in a wait or between two
  end
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
