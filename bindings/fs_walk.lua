-- fs_walk.lua - fs.walk, a folder at a time, and the patterns of fs.glob.
-- Gets the module's table and the primitives of fs_tree.c.
local fs, core = ...
local read_folder, step, pending, mark = core.enter, core.step, core.pending, core.mark
local id_of, forget, probe = core.id, core.forget, core.probe
local misuse, check_options, check, sleep = core.misuse, core.options, core.check, core.sleep
local pcall, error, type, next, setmetatable = pcall, error, type, next, setmetatable
local sub, find, gsub, byte = string.sub, string.find, string.gsub, string.byte
local pack, concat = string.pack, table.concat

local function check_string(what, name, value)
  if type(value) ~= "string" then
    misuse("%s: %s must be a string, got %s", what, name,
      value == nil and "no value" or type(value))
  end
end

local function check_kind(what, options, key, kind)
  local value = options[key]
  if value ~= nil and type(value) ~= kind then
    misuse("%s: option '%s' must be a %s, got %s", what, key, kind, type(value))
  end
  return value
end

local function join(folder, name)
  if folder == "" then return name end
  return sub(folder, -1) == "/" and folder .. name or folder .. "/" .. name
end

-- The folder, or what was one a moment ago, is not there any more.
local GONE = { ENOENT = true, ENOTDIR = true, ELOOP = true }
-- What a pattern passes over.
local CLOSED = { ENOENT = true, ENOTDIR = true, ELOOP = true, EACCES = true, EPERM = true,
  EDENIED = true, ENAMETOOLONG = true }

local function code_of(err) return type(err) == "table" and err.code end

-- ---- walk ----
--
-- A walk is a list of levels, the innermost folder last. [0] is that folder as
-- fs_scan_walk.c wants it, when it need only give its entries.

-- One level more: a folder that is read, and which folders it lies in.
local function enter(w, path, depth)
  local level = w[depth]
  local follow = w.follow or depth == 0
  local ok, found = pcall(read_folder, path, follow, level and level.folder, w.ahead)
  if not ok then
    if depth > 0 and GONE[code_of(found)] then return end
    if depth == 0 or not w.on_error or not code_of(found) or found.code == "ECANCELED" then
      error(found, 0)
    end
    return w.on_error(found, path)
  end
  local id
  if w.follow then
    id = id_of(found)
    local outer = level
    while outer do
      if outer.id == id then -- a link to a folder that it lies in
        return forget(found)
      end
      outer = outer.outer
    end
  end
  w.depth = depth + 1
  w[depth + 1] = { folder = found, id = id, outer = level }
  w[0] = w.fast and found
end

local walk_meta = { __name = "Walk" }
walk_meta.__index = walk_meta

function walk_meta.close(w)
  for depth = 1, w.depth do
    forget(w[depth].folder)
    w[depth] = nil
  end
  w.depth, w[0] = 0, nil
end
walk_meta.__close = walk_meta.close

-- The folder that was given last is entered now, not before: so the loop's body
-- may have removed or made something in it, and `enter` is asked late.
walk_meta.__call = core.iterator(function(w)
  local depth = w.depth
  local level = w[depth]
  local path = level and pending(level.folder)
  if path and depth < w.max_depth and (not w.enter or w.enter(path, depth)) then
    enter(w, path, depth)
  end
  while w.depth > 0 and w.max_depth > 0 do
    depth = w.depth
    level = w[depth]
    local name, kind = step(level.folder)
    if name then
      if kind == "link" and w.follow then
        local ok, target = pcall(probe, name)
        if ok and target == "directory" then
          kind = target
          mark(level.folder)
        end
        if not ok and not CLOSED[code_of(target)] then error(target, 0) end
      end
      return name, kind, depth
    end
    forget(level.folder)
    w[depth] = nil
    w.depth = depth - 1
    w[0] = w.fast and depth > 1 and w[depth - 1].folder
  end
end)

function fs.walk(path, options)
  check "fs.walk"
  check_string("fs.walk", "the path", path)
  check_options(options, "fs.walk", "follow", "max_depth", "enter", "on_error")
  options = options or {}
  local w = setmetatable({ depth = 0 }, walk_meta)
  w.follow = check_kind("fs.walk", options, "follow", "boolean")
  w.enter = check_kind("fs.walk", options, "enter", "function")
  w.on_error = check_kind("fs.walk", options, "on_error", "function")
  w.max_depth = core.integer(options, "max_depth", math.maxinteger)
  w.fast = not w.follow and w.max_depth > 0
  -- What `enter` may refuse is not touched before it is asked.
  w.ahead = not w.follow and not w.enter
  enter(w, path, 0)
  return w, nil, nil, w
end

-- ---- glob: patterns ----

-- Lets other tasks run after so much work, however long a pattern, however many
-- the names.
local work = 0
local function pause(amount)
  work = work + amount
  if work > 50000 then
    work = 0
    sleep(0)
  end
end

local MAX_PATTERN, MAX_ALTERNATIVES, MAX_CLASS = 4096, 1000, 256

-- Position after the class that begins at i, or nil when it is none. As in
-- fs_glob.c.
local function class_end(text, i)
  local j = i + 1
  local c = sub(text, j, j)
  if c == "!" or c == "^" then j = j + 1 end
  if sub(text, j, j) == "]" then j = j + 1 end
  while j <= #text and j - i < MAX_CLASS do
    c = sub(text, j, j)
    if c == "]" then return j + 1 end
    if c == "/" then return nil end
    j = j + (c == "\\" and 2 or 1)
  end
end

-- The first braces that hold a comma: where they open and close, and where
-- their alternatives end.
local function find_braces(text)
  local open, best = {}, nil
  local i = 1
  while i <= #text do
    local c = sub(text, i, i)
    local after = i + 1
    if c == "\\" then
      after = i + 2
    elseif c == "[" then
      after = class_end(text, i) or after
    elseif c == "{" then
      open[#open + 1] = { i }
    elseif c == "," and open[1] then
      local braces = open[#open]
      braces[#braces + 1] = i
    elseif c == "}" and open[1] then
      local braces = open[#open]
      open[#open] = nil
      if braces[2] and not (best and best[1] < braces[1]) then
        braces[#braces + 1] = i
        best = braces
      end
    end
    i = after
  end
  if best then return best[1], best[#best], best end
end

local function expand(text)
  local todo, done = { text }, {}
  while todo[1] do
    local one = todo[#todo]
    todo[#todo] = nil
    pause(#one)
    local first, last, commas = find_braces(one)
    if not first then
      done[#done + 1] = one
    else
      for k = #commas, 2, -1 do
        todo[#todo + 1] = sub(one, 1, first - 1) .. sub(one, commas[k - 1] + 1, commas[k] - 1)
          .. sub(one, last + 1)
      end
    end
    if #todo + #done > MAX_ALTERNATIVES then
      misuse("fs.glob: the braces stand for more than %d patterns", MAX_ALTERNATIVES)
    end
  end
  return done
end

-- A pattern as a list of segments: { text=, kind= "any" (**), "name", "wild" }.
local function compile(text)
  local segments = {}
  local i = 1
  while i <= #text do
    local j, wild = i, false
    while j <= #text do
      local c = sub(text, j, j)
      if c == "/" then break end
      if c == "\\" then
        j = j + 2
      elseif c == "[" and class_end(text, j) then
        wild = true
        j = class_end(text, j)
      else
        wild = wild or c == "*" or c == "?"
        j = j + 1
      end
    end
    local segment = sub(text, i, j - 1)
    if segment == "**" then
      local last = segments[#segments]
      if not last or last.kind ~= "any" then segments[#segments + 1] = { kind = "any" } end
    elseif wild then
      segments[#segments + 1] = { kind = "wild", text = segment,
        dot = find(segment, "^\\?%.") and true or false }
    elseif segment ~= "" then
      local name, last = gsub(segment, "\\(.)", "%1"), segments[#segments]
      -- Names that a pattern begins with are one: folders on the way need not
      -- be readable, nor granted.
      if last and not segments[2] and last.kind == "name" then
        last.text = last.text .. "/" .. name
      else
        segments[#segments + 1] = { kind = "name", text = name }
      end
    end
    i = j + 1
  end
  if segments[1] and segments[#segments].kind == "any" then -- a ** at the end
    segments[#segments + 1] = { kind = "wild", text = "*" }
  end
  segments.absolute = byte(text) == 47
  segments.folder = #segments > 0 and sub(text, -1) == "/" -- only folders
  return segments
end

-- What fs_glob.h takes: kind, flag and text of each segment, and an end.
local ANY, NAME, WILD, END = 0, 1, 2, 3

local function flag(on) return on and 1 or 0 end

local function pack_pattern(segments)
  local parts = {}
  for i = 1, #segments do
    local segment = segments[i]
    local kind, text = segment.kind, segment.text
    if kind == "any" then
      parts[i] = pack("=BBs4", ANY, 0, "")
    elseif kind == "wild" then
      parts[i] = pack("=BBs4", WILD, flag(segment.dot), text)
    else
      parts[i] = pack("=BBs4", NAME, flag(text == "." or text == ".." or find(text, "/", 1, true)),
        text)
    end
  end
  parts[#parts + 1] = pack("=BBs4", END, flag(segments.folder), "")
  return concat(parts)
end

local function collect(pattern, programs, base, path, hidden, follow)
  local found, list = core.glob(pattern, concat(programs), base, path, hidden, follow)
  while core.glob_take(found, list) do sleep() end
  return list
end

function fs.glob(pattern, options)
  check "fs.glob"
  check_string("fs.glob", "the pattern", pattern)
  check_options(options, "fs.glob", "hidden", "follow", "cwd")
  options = options or {}
  if #pattern >= MAX_PATTERN then
    misuse("fs.glob: the pattern must be shorter than %d bytes", MAX_PATTERN)
  end
  if find(pattern, "\0", 1, true) then misuse "fs.glob: the pattern contains a zero byte" end
  local cwd = check_kind("fs.glob", options, "cwd", "string")
  local hidden = check_kind("fs.glob", options, "hidden", "boolean")
  local follow = check_kind("fs.glob", options, "follow", "boolean")
  local here, root, top = {}, {}, false
  for _, text in next, expand(pattern) do
    local segments = compile(text)
    local programs = segments.absolute and root or here
    if segments[1] then
      programs[#programs + 1] = pack_pattern(segments)
    else
      top = top or segments.absolute
    end
  end
  local results = {}
  if here[1] then
    local base = cwd and cwd ~= "" and join(cwd, "") or ""
    results = collect(pattern, here, base, "", hidden, follow)
  end
  if root[1] or top then
    local more = root[1] and collect(pattern, root, "", "/", hidden, follow) or {}
    if top then more[#more + 1] = "/" end
    table.move(more, 1, #more, #results + 1, results)
    if here[1] or top then table.sort(results) end
  end
  return results
end

function fs.glob_escape(text)
  check_string("fs.glob_escape", "the text", text)
  return (gsub(text, "[%*%?%[%]{},\\]", "\\%0"))
end

