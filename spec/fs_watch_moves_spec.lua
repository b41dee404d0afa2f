-- fs.watch, recursive, against a model: whatever was made, moved and removed
-- while nobody asked, afterwards each watch knows every folder by its name.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local events = require "spec.support.events"
local folder = require "spec.support.folder"

local FOLDERS_MAX = 40

-- All folders below `top`, and itself.
local function folders(top)
  local list, i = { top }, 1
  while list[i] do
    for name, kind in fs.scan(list[i]) do
      if kind == "directory" then list[#list + 1] = list[i] .. "/" .. name end
    end
    i = i + 1
  end
  return list
end

-- One change at random in a tree of which the first `fixed` folders stay.
local function change(top, fixed, serial)
  local list = folders(top)
  local from, to = list[math.random(#list)], list[math.random(#list)]
  local kind = math.random(6)
  if kind <= 3 and #list < FOLDERS_MAX then
    fs.mkdir(("%s/d%d/e%d"):format(from, serial, serial), { parents = true })
  elseif fixed[from] then
    return
  elseif kind <= 5 then -- into itself, or onto one that is not empty: refused
    pcall(fs.rename, from, to .. "/m" .. math.random(3))
  else
    fs.remove(from, { recursive = true })
  end
end

-- Makes a file in each folder; all must be told, by their names.
local function check(watch, top, name)
  local missing, count = {}, 0
  for _, path in ipairs(folders(top)) do
    missing[path .. "/" .. name] = true
    count = count + 1
    fs.write(path .. "/" .. name, "")
  end
  local ok = pcall(async.timeout, events.BOUND, function()
    while count > 0 do
      local event = watch()
      if event.kind == "created" and missing[event.path] then
        missing[event.path] = nil
        count = count - 1
      end
    end
  end)
  assert(ok, "never told: " .. tostring(next(missing)))
end

local function storm(seed)
  math.randomseed(seed)
  local top = folder.path
  local a, b = folder.at "a", folder.at "b"
  fs.mkdir(a)
  fs.mkdir(b)
  local fixed = { [top] = true, [a] = true, [b] = true }
  local all <close> = fs.watch(top, { recursive = true })
  local one <close> = fs.watch(a, { recursive = true })
  local seldom <close> = fs.watch(a, { recursive = true })
  for round = 1, 8 do
    for i = 1, math.random(30) do change(top, fixed, round * 100 + i) end
    check(one, a, "one" .. round)
    check(all, top, "all" .. round)
    if round % 4 == 0 then check(seldom, a, "seldom" .. round) end
  end
end

describe("fs.watch of a tree in which folders move", function()
  before_each(folder.start)
  after_each(folder.check)

  for seed = 1, 4 do
    it("knows every folder afterwards, seed " .. seed, function() storm(seed) end)
  end
end)
