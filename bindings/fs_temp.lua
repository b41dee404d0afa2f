-- fs_temp.lua - fs.tempdir and fs.tempfile: a folder of one's own, which goes
-- with all that is in it when it is closed.
-- Gets the module's table, the primitives of fs_tree.c and the asyncbox module.
local fs, core, async = ...
local misuse, check_options, check = core.misuse, core.options, core.check
local random_name, default_folder, shield = core.random_name, core.temporary, async.shield
local remove_now = core.remove_now
local pcall, error, type, setmetatable = pcall, error, type, setmetatable
local find = string.find

local ATTEMPTS = 8 -- a name of 64 random bits is taken once, if ever
local PRIVATE = { mode = 448 } -- 0700

local function option(what, options, key, otherwise)
  local value = options[key]
  if value == nil then return otherwise end
  if type(value) ~= "string" or find(value, "\0", 1, true) then
    misuse("%s: option '%s' must be a string without zero bytes", what, key)
  end
  return value
end

-- What was called is what an error speaks of.
local function fail(what, err)
  if type(err) == "table" then err.op = what end
  error(err, 0)
end

-- Makes a folder under a name that nobody can foresee.
local function make(what, options)
  if options == nil then options = {} end
  if type(options) ~= "table" then
    misuse("%s: the options must be a table, got %s", what, type(options))
  end
  check_options(options, what, "dir", "prefix")
  local prefix = option(what, options, "prefix", "asyncbox-")
  if find(prefix, "/", 1, true) then
    misuse("%s: option 'prefix' must not hold a slash", what)
  end
  local dir = option(what, options, "dir") or default_folder()
  for attempt = 1, ATTEMPTS do
    local path = dir .. "/" .. prefix .. random_name()
    local ok, err = pcall(fs.mkdir, path, PRIVATE)
    if ok then return path end
    if type(err) ~= "table" or err.code ~= "EEXIST" or attempt == ATTEMPTS then fail(what, err) end
  end
end

-- Somebody else may have removed it already.
local function remove(path)
  local ok, err = pcall(fs.remove, path, { recursive = true })
  if not ok and (type(err) ~= "table" or err.code ~= "ENOENT") then error(err, 0) end
end

-- Where nothing may wait (os.exit, the end of a generator that failed, no more
-- memory for a wait) it is done on the spot; what the disk refuses is refused
-- there, too.
local function discard(path)
  if not pcall(shield, remove, path) then remove_now(path) end
end

local function close(self)
  if self.closed then return end
  self.closed = true
  if not self.file then return discard(self.path) end
  local ok, err = pcall(shield, self.file.close, self.file)
  if not ok then
    local _ <close> = self.file -- which does what it can without a wait
  end
  discard(self.folder)
  if not ok and type(err) == "table" and err.path then error(err, 0) end
end

local function class(name)
  return {
    __name = name,
    __index = { close = close },
    __close = close,
    __tostring = function(self) return self.path end,
    __metatable = false,
  }
end

local folder_class, file_class = class "temporary folder", class "temporary file"

-- What was made has to reach the caller, who removes it: no cancelling here.

function fs.tempdir(options)
  check "fs.tempdir"
  local path = shield(make, "fs.tempdir", options)
  return setmetatable({ path = path, closed = false }, folder_class)
end

local function make_file(options)
  local folder = make("fs.tempfile", options)
  local path = folder .. "/file"
  local ok, file = pcall(fs.open, path, "w+", 384) -- 0600
  if not ok then
    remove(folder)
    fail("fs.tempfile", file)
  end
  return folder, path, file
end

function fs.tempfile(options)
  check "fs.tempfile"
  local folder, path, file = shield(make_file, options)
  return setmetatable({ path = path, folder = folder, file = file, closed = false }, file_class)
end
