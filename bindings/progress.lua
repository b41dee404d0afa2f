-- progress.lua - bars of progress on the terminal, or lines in a log.
-- Gets the module asyncbox, the primitives of progress.c, and what makes a line.
local async, core, line_of = ...
local now, spawn, is_task = async.now, async.spawn, core.is_task
local misuse, check_options, terminal = core.misuse, core.options, core.terminal
local type, pairs, getmetatable, setmetatable = type, pairs, getmetatable, setmetatable
local pcall, select, tostring, format = pcall, select, tostring, string.format
local concat, remove, pack = table.concat, table.remove, table.pack
local stdout = io.stdout
local stderr = io.stderr or async.stderr -- a sandbox has no io.stderr

local TERMINAL_INTERVAL, LOG_INTERVAL = 0.1, 3 -- seconds
local SMOOTHING = 0.3 -- how much the last moment counts in the rate

local progress, bar_methods = {}, {}
local bar_meta = { __index = bar_methods, __name = "ProgressBar", __metatable = false }

-- ---- displays: where bars are drawn ----

-- By file: { bars, drawn (when), rows, columns }
local displays = setmetatable({}, { __mode = "k" })

-- A bar must not break what it tells of: a full disk, a cancelled wait for room.
local function put(file, text) pcall(file.write, file, text) end

local function display_of(file)
  local display = displays[file]
  if not display then
    display = { bars = {} }
    displays[file] = display
  end
  if file == stderr then display.columns, display.rows = terminal() end
  return display
end

-- All bars, from the top; the cursor stays at the beginning of the first.
local function draw(file, display, at)
  display.drawn = at
  local bars, lines = display.bars, {}
  local shown = #bars < display.rows and #bars or display.rows - 1
  for i = 1, shown do lines[i] = bars[i]:_line(at, display.columns - 1) end
  local text = "\r" .. concat(lines, "\27[K\n") .. "\27[J"
  if shown > 1 then text = text .. "\27[" .. shown - 1 .. "A" end
  put(file, text .. "\r")
end

local function log(file, display, at)
  display.drawn = at
  local bars, lines = display.bars, {}
  for i = 1, #bars do
    local bar = bars[i]
    if bar.count ~= bar._logged then
      bar._logged = bar.count
      lines[#lines + 1] = bar:_line(at) .. "\n"
    end
  end
  if #lines > 0 then put(file, concat(lines)) end
end

local function refresh(bar)
  local display, at = bar._display, now()
  local interval = bar._interval or display.columns and TERMINAL_INTERVAL or LOG_INTERVAL
  if at - display.drawn < interval then return end
  return (display.columns and draw or log)(bar._file, display, at)
end

-- ---- a bar ----

-- A mean in which older values count less and less.
local function smooth(mean, value) return SMOOTHING * value + (1 - SMOOTHING) * mean end

-- Its line, as of now. The rate is that of the last moments; of a closed bar
-- that of all its time.
function bar_methods:_line(at, width)
  local elapsed = (self._ended or at) - self._started
  local dn, dt = self.count - self._seen, at - self._seen_at
  if dn ~= 0 and dt > 0 then
    self._mean_n, self._mean_t = smooth(self._mean_n, dn), smooth(self._mean_t, dt)
    self._seen, self._seen_at = self.count, at
  end
  local rate
  if not self._ended and self._mean_t > 0 then
    rate = self._mean_n / self._mean_t
  elseif elapsed > 0 then
    rate = (self.count - self._initial) / elapsed
  end
  return line_of(self, elapsed, rate, self._width or width)
end

local function check_number(what, value)
  if type(value) ~= "number" or value ~= value or value - value ~= 0 then
    misuse(format("%s must be a finite number, got %s", what,
      type(value) == "number" and tostring(value) or type(value)))
  end
end

function bar_methods:update(n)
  if n ~= nil then check_number("update: the number of steps", n) end
  self.count = self.count + (n or 1)
  if not self._ended and self._file then refresh(self) end
end

function bar_methods:set(count, total)
  check_number("set: the count", count)
  if total ~= nil then
    check_number("set: the total", total)
    self.total = total
  end
  self.count = count
  if not self._ended and self._file then refresh(self) end
end

local function check_text(what, text)
  if text ~= nil and type(text) ~= "string" then
    misuse(format("%s must be a string, got %s", what, type(text)))
  end
  return text
end

function bar_methods:describe(text) self._desc = check_text("describe: the text", text) end

function bar_methods:note(text) self._note = check_text("note: the text", text) end

-- Its last line stays, above those of the others.
local function finish(bar, display, file)
  for i, other in pairs(display.bars) do
    if other == bar then
      remove(display.bars, i)
      break
    end
  end
  if not display.columns then
    local said = bar._logged == bar.count and display.drawn == bar._ended
    if bar._leave and not said then put(file, bar:_line(bar._ended) .. "\n") end
    return
  end
  if bar._leave then put(file, "\r" .. bar:_line(bar._ended, display.columns - 1) .. "\27[K\n") end
  draw(file, display, bar._ended)
end

function bar_methods:close()
  if self._ended then return end
  self._ended = now()
  if self._file then finish(self, self._display, self._file) end
end

bar_meta.__close = bar_methods.close

function bar_meta.__tostring(self)
  return "<ProgressBar " .. line_of(self, (self._ended or now()) - self._started, nil) .. ">"
end

-- One step of a for: what came before is done now.
local function step(self, ...)
  if (...) == nil then self:close() end
  return ...
end

function bar_meta.__call(self, state, control)
  local next_of = self._next
  if not next_of then misuse("a bar without a list or iterator cannot be called") end
  if self._ended then return nil end
  if self._begun then
    self.count = self.count + 1
    if self._file then refresh(self) end
  else
    self._begun = true
  end
  return step(self, next_of(state, control))
end

-- ---- making one ----

local function check_file(file)
  if file == nil then return stderr end
  if type(file) ~= "table" and type(file) ~= "userdata" or not file.write then
    misuse("progress: option 'file' must have a method write, got " .. type(file))
  end
  return file
end

local function check_kind(options, key, kind)
  local value = options[key]
  if value ~= nil and type(value) ~= kind then
    misuse(format("progress: option '%s' must be a %s, got %s", key, kind, type(value)))
  end
  if kind == "number" and value ~= nil then
    check_number("progress: option '" .. key .. "'", value)
    if value < 0 then misuse(format("progress: option '%s' must not be negative", key)) end
  end
  return value
end

local function make(options, total, next_of)
  check_options(options, "progress", "total", "initial", "desc", "unit", "scale", "leave", "ascii",
    "disable", "interval", "width", "file")
  options = options or {}
  local unit = check_kind(options, "unit", "string") or "it"
  local scale = check_kind(options, "scale", "boolean")
  if scale == nil then scale = unit == "B" end
  local at, initial = now(), check_kind(options, "initial", "number") or 0
  local file = check_file(options.file)
  local bar = setmetatable({
    count = initial, total = check_kind(options, "total", "number") or total,
    _desc = check_kind(options, "desc", "string"), _unit = unit,
    _divisor = scale and (unit == "B" and 1024 or 1000) or nil,
    _ascii = check_kind(options, "ascii", "boolean"),
    _leave = check_kind(options, "leave", "boolean") ~= false,
    _interval = check_kind(options, "interval", "number"),
    _width = check_kind(options, "width", "number"),
    _started = at, _initial = initial, _seen = initial, _seen_at = at,
    _mean_n = 0, _mean_t = 0, _next = next_of,
    _file = not check_kind(options, "disable", "boolean") and file or nil,
  }, bar_meta)
  if bar._file then
    local display = display_of(file)
    bar._display = display
    display.bars[#display.bars + 1] = bar
    if #display.bars == 1 then display.drawn = at end
    if display.columns then draw(file, display, at) end
  end
  return bar
end

local function is_callable(x)
  local meta = getmetatable(x)
  return type(x) == "function" or type(meta) == "table" and meta.__call ~= nil
end

local function each(list)
  local i = 0
  return function()
    i = i + 1
    return list[i]
  end
end

-- All that follows `in`, as pairs, ipairs or io.lines give it.
local function iterate_generic(f, state, control, closing)
  local bar = make(nil, nil, f)
  if closing == nil then return bar, state, control, bar end
  return bar, state, control, setmetatable({}, { __close = function()
    local _ <close> = bar
    local _ <close> = closing
  end })
end

-- for x in progress(what [, options])
local function iterate(_, what, options, ...)
  local bar
  if is_callable(what) and select("#", ...) > 0 then return iterate_generic(what, options, ...) end
  if type(what) == "function" or type(what) == "userdata" or is_callable(what) then
    bar = make(options, nil, what)
  elseif type(what) == "table" then
    bar = make(options, #what, each(what))
  else
    misuse("progress: bad argument #1 (list or iterator expected, got " .. type(what) .. ")")
  end
  return bar, nil, nil, bar
end

function progress.bar(options) return make(options) end

-- ---- many tasks ----

function progress.gather(list, options)
  if type(list) ~= "table" then
    misuse("progress.gather: bad argument #1 (list expected, got " .. type(list) .. ")")
  end
  local tasks, count = {}, #list
  for i = 1, count do
    local item = list[i]
    if type(item) ~= "userdata" then
      misuse(format("progress.gather: item %d is a %s, which nobody can wait for%s", i, type(item),
        type(item) == "function" and " (write async.spawn(f, ...))" or ""))
    end
    tasks[i] = item
  end
  local bar <close> = make(options, count)
  local function tell(task)
    if not task:cancelled() then bar:update(1) end
  end
  for i = 1, count do
    if not is_task(tasks[i]) then tasks[i] = spawn(tasks[i]) end
    tasks[i]:on_done(tell)
  end
  local results = async.gather(tasks)
  if bar.count < count then bar.count = count end -- tasks whose `tell` has had no turn yet
  return results
end

function progress.map(list, f, options)
  if type(list) ~= "table" then
    misuse("progress.map: bad argument #1 (list expected, got " .. type(list) .. ")")
  end
  if type(f) ~= "function" then
    misuse("progress.map: bad argument #2 (function expected, got " .. type(f) .. ")")
  end
  local of_bar, of_map = options, nil
  if type(options) == "table" then
    of_bar, of_map = {}, { limit = options.limit }
    for key, value in pairs(options) do of_bar[key] = value end
    of_bar.limit = nil
  end
  local bar <close> = make(of_bar, #list)
  return async.map(list, function(x)
    local result = async.await(f(x))
    bar:update(1)
    return result
  end, of_map)
end

-- Prints a line above the bars.
function progress.write(...)
  local parts = pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]) end
  local display = displays[stderr]
  local bars = display and display.columns and #display.bars > 0
  if bars then put(stderr, "\r\27[J") end
  stdout:write(concat(parts, "\t", 1, parts.n), "\n")
  if bars then draw(stderr, display, now()) end
end

return setmetatable(progress, { __call = iterate, __metatable = false })
