-- W7: files.
--   write PATH    300 files, all at once, 10 writes of 11,000 bytes each (gathered, as stdio does)
--   flushed PATH  the same, each write on its way before the next
--   whole PATH    the same bytes by fs.write, one call a file
--   read PATH     the 300 files whole, all at once
--   big PATH      one file of 1 GiB in pieces of 64 KiB
local async = require "asyncbox"
local fs = async.fs
local WHAT, PATH = arg[1], arg[2]
local FILES, WRITES, BIG = 300, 10, 65536
local chunk = ("x"):rep(11000)
local op = {}

local function name(i) return ("%s/f%03d.txt"):format(PATH, i - 1) end

function op.write(i)
  local file <close> = fs.open(name(i), "w")
  for _ = 1, WRITES do file:write(chunk) end
  file:close()
  return WRITES * #chunk
end

function op.flushed(i)
  local file <close> = fs.open(name(i), "w")
  for _ = 1, WRITES do
    file:write(chunk)
    file:flush()
  end
  file:close()
  return WRITES * #chunk
end

function op.whole(i)
  local data = chunk:rep(WRITES)
  fs.write(name(i), data)
  return #data
end

function op.read(i) return #fs.read(name(i)) end

function op.big()
  local got = 0
  local file <close> = fs.open(PATH)
  for piece in file:lines(BIG) do got = got + #piece end
  return got
end

local t0 = async.now()
local total, want = 0, FILES * WRITES * #chunk
if WHAT == "big" then
  total, want = op.big(), 2 ^ 30
else
  local tasks = {}
  for i = 1, FILES do tasks[i] = async.spawn(op[WHAT], i) end
  for _, n in ipairs(async.gather(tasks)) do total = total + n end
end
local t = async.now() - t0
assert(total == want, total)
print(("ok n=%d t=%.6f"):format(WHAT == "big" and want or FILES, t))
