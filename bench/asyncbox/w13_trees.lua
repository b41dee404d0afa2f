-- W13: a tree of 100,000 files; bench/peers/sh/trees makes it.
--   walk PATH      every file in it is counted
--   glob PATH      the tenth of them whose name ends in 7.txt
--   copy PATH TO   the whole tree; TO is not there yet
--   remove PATH    the whole tree
local async = require "asyncbox"
local fs = async.fs
local WHAT, PATH, TO = arg[1], arg[2], arg[3]
local FILES = 100000
local op = {}

function op.walk()
  local n = 0
  for _, kind in fs.walk(PATH) do
    if kind == "file" then n = n + 1 end
  end
  return n
end

function op.glob() return 10 * #fs.glob(PATH .. "/**/*7.txt") end

function op.copy()
  fs.copy(PATH, TO, { recursive = true })
  return FILES
end

function op.remove()
  fs.remove(PATH, { recursive = true })
  return FILES
end

local t0 = async.now()
local n = op[WHAT]()
local t = async.now() - t0
assert(n == FILES, n)
assert(WHAT ~= "copy" or #fs.list(TO .. "/d9/d99") == 100)
assert(WHAT ~= "remove" or not fs.exists(PATH))
print(("ok n=%d t=%.6f"):format(n, t))
