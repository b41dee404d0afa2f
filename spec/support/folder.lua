-- A folder for each case about files, and what such cases say often.
--
--   local folder = require "spec.support.folder"
--   before_each(folder.start)     -- makes it
--   after_each(folder.check)      -- nothing is left: see clean.lua; removes it

local async = require "asyncbox"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"

local folder = { path = nil }
local ops

-- The program, also from other folders.
folder.program = cli.program()
if folder.program:sub(1, 1) ~= "/" then
  local pipe <close> = assert(io.popen "pwd")
  folder.program = pipe:read "l" .. "/" .. folder.program
end

function folder.at(name)
  return folder.path .. "/" .. name
end

function folder.shell(command, ...)
  command = command:format(...)
  local ok, how, code = os.execute(command)
  if not ok then error(("%s %d of: %s"):format(how, code, command), 2) end
end

-- Starts a shell command beside the spec; it never outlives it for long. In it,
-- `hold` goes on until the case ends, `gate` until the case says folder.go().
function folder.beside(command, ...)
  local words = "hold() { while [ -e %s ]; do sleep 0.02; done; }; " ..
    "gate() { until [ -e %s ]; do sleep 0.02; done; }; "
  words = words:format(folder.path, folder.at "go") .. command:format(...)
  folder.shell("timeout 100 sh -c '%s' </dev/null >/dev/null 2>&1 &", words)
end

function folder.go()
  folder.put("go", "")
end

function folder.slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- Makes a file in the folder; gives its path.
function folder.put(name, text)
  local file <close> = assert(io.open(folder.at(name), "wb"))
  file:write(text)
  return folder.at(name)
end

-- What a shell command prints, without the newline at its end.
function folder.output(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("\n$", ""))
end

folder.failure, folder.text_of = errors.failure, errors.text_of

-- A file system of 64 kB at folder.at "m" while f runs; false when this user
-- may not mount.
function folder.with_full_disk(f)
  local mount = "mkdir %s && mount -t tmpfs -o size=64k none %s 2>/dev/null"
  if not os.execute(mount:format(folder.at "m", folder.at "m")) then
    return false
  end
  local ok, err = pcall(f)
  collectgarbage() -- files that an error left open would keep it mounted
  folder.shell("umount -l %s", folder.at "m")
  assert(ok, err)
  return true
end

function folder.start()
  folder.path = folder.output "mktemp -d /tmp/fs_spec.XXXXXX"
  clean.start()
  ops = async.stats().ops
end

-- A call in the thread pool that nobody waits for any more ends when it ends.
local function settle()
  pcall(eventually, "calls have ended", function() return async.stats().ops <= ops end)
end

function folder.check()
  settle()
  local temporary = folder.output("find " .. folder.path .. " -name '.asyncbox-*'")
  folder.shell("rm -rf %s", folder.path)
  clean.check()
  assert(temporary == "", "temporary files are left: " .. temporary)
end

return folder
