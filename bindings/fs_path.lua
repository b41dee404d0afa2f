-- fs_path.lua - fs.path: paths as text, with POSIX rules. Touches no file.
local core = ...
local misuse, cwd = core.misuse, core.cwd
local type, select = type, select
local sub, match, gmatch = string.sub, string.match, string.gmatch
local concat = table.concat

local path = { sep = "/", delimiter = ":" }

local function check(what, arg, value)
  if type(value) ~= "string" then
    misuse("bad argument #%d to 'path.%s' (string expected, got %s)", arg, what,
      value == nil and "no value" or type(value))
  end
end

function path.isabs(p)
  check("isabs", 1, p)
  return sub(p, 1, 1) == "/"
end

-- An absolute part discards what is before it; empty parts add nothing.
function path.join(...)
  local n = select("#", ...)
  local out = ""
  for i = 1, n do
    local part = select(i, ...)
    check("join", i, part)
    if sub(part, 1, 1) == "/" then
      out = part
    elseif part ~= "" then
      if out ~= "" and sub(out, -1) ~= "/" then out = out .. "/" end
      out = out .. part
    end
  end
  return out
end

-- The folder, without slashes at its end unless it is the root, and what
-- follows the last slash. Slashes at the end of p do not count.
local function split(p)
  local core_part = match(p, "^(.-)/*$")
  if core_part == "" then
    return p == "" and "" or "/", ""
  end
  local head, tail = match(core_part, "^(.*/)([^/]*)$")
  if not head then return "", core_part end
  local folder = match(head, "^(.-)/*$")
  return folder == "" and "/" or folder, tail
end

function path.split(p)
  check("split", 1, p)
  return split(p)
end

function path.dirname(p)
  check("dirname", 1, p)
  local folder = split(p)
  return folder == "" and "." or folder
end

-- Position of the dot that begins the extension of a name, or nil.
local function dot_of(name)
  local lead = #match(name, "^%.*")
  local at = match(name, "()%.[^.]*$")
  return at and at > lead and at or nil
end

function path.basename(p, suffix)
  check("basename", 1, p)
  local _, name = split(p)
  if suffix ~= nil then
    check("basename", 2, suffix)
    if suffix ~= "" and name ~= suffix and sub(name, -#suffix) == suffix then
      name = sub(name, 1, -#suffix - 1)
    end
  end
  return name
end

function path.ext(p)
  check("ext", 1, p)
  local _, name = split(p)
  local at = dot_of(name)
  return at and sub(name, at) or ""
end

-- p without its extension.
function path.stem(p)
  check("stem", 1, p)
  local _, name = split(p)
  local at = dot_of(name)
  return at and sub(name, 1, at - 1) or name
end

local function parts_of(p, absolute)
  local parts, n = {}, 0
  for part in gmatch(p, "[^/]+") do
    if part == ".." then
      if n > 0 and parts[n] ~= ".." then
        parts[n] = nil
        n = n - 1
      elseif not absolute then
        n = n + 1
        parts[n] = part
      end
    elseif part ~= "." then
      n = n + 1
      parts[n] = part
    end
  end
  return parts, n
end

function path.normalize(p)
  check("normalize", 1, p)
  local absolute = sub(p, 1, 1) == "/"
  local parts = parts_of(p, absolute)
  local text = concat(parts, "/")
  if absolute then return "/" .. text end
  return text == "" and "." or text
end

function path.absolute(p)
  check("absolute", 1, p)
  if sub(p, 1, 1) ~= "/" then p = cwd() .. "/" .. p end
  return path.normalize(p)
end

function path.relative(p, from)
  check("relative", 1, p)
  if from == nil then from = "." end
  check("relative", 2, from)
  if (sub(p, 1, 1) == "/") ~= (sub(from, 1, 1) == "/") then
    p, from = path.absolute(p), path.absolute(from)
  end
  local absolute = sub(p, 1, 1) == "/"
  local a, an = parts_of(p, absolute)
  local b, bn = parts_of(from, absolute)
  local same = 0
  while same < an and same < bn and a[same + 1] == b[same + 1] do same = same + 1 end
  if b[same + 1] == ".." then -- what that folder is called, only the file system knows
    a, an = parts_of(path.absolute(p), true)
    b, bn = parts_of(path.absolute(from), true)
    same = 0
    while same < an and same < bn and a[same + 1] == b[same + 1] do same = same + 1 end
  end
  local out = {}
  for _ = same + 1, bn do out[#out + 1] = ".." end
  for i = same + 1, an do out[#out + 1] = a[i] end
  return out[1] and concat(out, "/") or "."
end

return path
