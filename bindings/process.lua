-- process.lua - run and pipe: what composes spawn, streams and tasks.
-- Gets the primitives of process.c and the asyncbox module.
local core, async = ...
local start, failure, misuse = core.spawn, core.failure, core.misuse
local group, timeout, shield, wait = async.group, async.timeout, async.shield, async.wait
local pcall, error, type, next, select = pcall, error, type, next, select
local setmetatable, tostring = setmetatable, tostring
local concat, move = table.concat, table.move

local process = {}

local MAX_OUTPUT = 64 << 20
local LINGER = 0.25
local PASSED_ON = { "stdout", "stderr", "cwd", "env", "clear_env", "shell", "group", "grace" }

-- program, "a", "b", {options} or program, {"a", "b"}, {options}
local function arguments(what, program, ...)
  local n = select("#", ...)
  local first, second = ...
  if type(program) ~= "string" then
    misuse(what .. ": the program must be a string, got " .. type(program))
  end
  if type(first) == "table" and (n > 1 or first[1] ~= nil or next(first) == nil) then
    if n > 2 then misuse(what .. ": nothing may follow the options") end
    for key in next, first do
      if type(key) ~= "number" then
        misuse(what .. ": the list of arguments has the key '" .. tostring(key) ..
          "': options are a table after it")
      end
    end
    return program, first, second
  end
  local list = { ... }
  local options
  if n > 0 and (type(list[n]) == "table" or list[n] == nil) then
    options, list[n] = list[n], nil
    n = n - 1
  end
  for i = 1, n do
    if list[i] == nil then misuse(what .. ": an argument must be a string, got nil") end
  end
  return program, list, options
end

function process.spawn(...)
  return start("process.spawn", arguments("process.spawn", ...))
end

-- ---- run and pipe ----

-- The options that spawn is given for one child of many.
local function options_of(options, stdin, has_input)
  local mine = {}
  for _, key in next, PASSED_ON do mine[key] = options[key] end
  mine.stdin = has_input and "pipe" or stdin or "null"
  return mine
end

-- A child that does not want all of its input is no error of ours.
local function feed(stdin, input)
  local ok, err = pcall(stdin.write, stdin, input)
  if ok then ok, err = pcall(stdin.close, stdin) end
  local code = type(err) == "table" and err.code
  if not ok and code ~= "EPIPE" and code ~= "ECLOSED" and code ~= "ECONNRESET" then
    error(err, 0)
  end
end

-- Ends all children at once and waits until they are gone, whatever has
-- happened: their graces bound it.
local function end_all(children)
  for i = 1, #children do core.finish(children[i]) end
  shield(function()
    for i = 1, #children do
      local _ <close> = children[i] -- closes its streams too
    end
  end)
end

-- All that a child writes.  The caller knows of no stream: its errors speak of
-- the program.
local function read_all(what, program, name, stream, max)
  local ok, data = pcall(stream.read_all, stream, { max = max })
  if ok then return data end
  if type(data) == "table" and (data.code == "ELIMIT" or data.code == "ENOMEM") then
    data.op, data.program, data.stream = what, program, name
    data.message = data.code == "ELIMIT" and
      program .. " wrote more than max_output = " .. max .. " bytes to its " .. name or
      "no memory for what " .. program .. " wrote to its " .. name
  end
  error(data, 0)
end

-- Reads all there is of the streams while the children run. Who still holds a
-- pipe when they have ended has `linger` seconds to say more.
local function collect(what, commands, children, input, max, linger)
  local result = { statuses = {}, signals = {} }
  local g <close> = group()
  local readers, streams = {}, {}
  local function read(i, name)
    local stream = children[i][name]
    if not stream then return end
    local task = g:spawn(read_all, what, commands[i][1], name, stream, max)
    readers[#readers + 1] = task
    streams[task] = stream
    return task
  end
  local n = #children
  local out, errs = read(n, "stdout"), {}
  for i = 1, n do errs[#errs + 1] = read(i, "stderr") end
  if input then g:spawn(feed, children[1].stdin, input) end
  for i = 1, n do
    result.statuses[i], result.signals[i] = children[i]:wait()
  end
  if children[1].stdin then pcall(children[1].stdin.close, children[1].stdin) end
  local _, late = nil, {}
  for i = 1, #readers do
    if not readers[i]:done() then late = readers end
  end
  if late[1] then
    _, late = wait(late, { timeout = linger })
  end
  for i = 1, #late do core.end_when_idle(streams[late[i]]) end
  result.status, result.signal = result.statuses[n], result.signals[n]
  result.stdout = out and out:await()
  if errs[1] then
    for i = 1, #errs do errs[i] = errs[i]:await() end
    result.stderr = concat(errs)
  end
  return result
end

local function raise_status(what, program, status, signal, result)
  local text = signal and " was ended by " .. signal or " ended with status " .. status
  local said = result.stderr and result.stderr:match "[^\n]+"
  local err = failure("ESTATUS", what, program .. text .. (said and ": " .. said or ""), program)
  err.status, err.signal = status, signal
  err.stdout, err.stderr = result.stdout, result.stderr
  error(err, 0)
end

local function check(what, commands, result)
  local n = #commands
  for i = 1, n do
    local status, signal = result.statuses[i], result.signals[i]
    -- Who writes to one that has heard enough is ended by that.
    if status ~= 0 and (i == n or signal ~= "SIGPIPE") then
      raise_status(what, commands[i][1], status, signal, result)
    end
  end
end

local function check_input(what, input)
  local kind = type(input)
  if kind == "table" then
    for i = 1, #input do
      kind = type(input[i])
      if kind ~= "string" and kind ~= "number" then
        misuse(what .. ": option 'input': item " .. i .. " must be a string, got " .. kind)
      end
    end
  elseif input ~= nil and kind ~= "string" then
    misuse(what .. ": option 'input' must be a string or a list, got " .. kind)
  end
end

-- Nobody but `input` would ever write to a pipe, or close it.
local function check_stdin(what, options)
  local stdin = options.stdin
  if stdin == nil then return end
  if stdin ~= "null" and stdin ~= "inherit" then
    misuse(what .. ": option 'stdin' must be 'null' or 'inherit', got " ..
      (type(stdin) == "string" and "'" .. stdin .. "'" or type(stdin)))
  end
  if options.input ~= nil then
    misuse(what .. ": options 'input' and 'stdin' exclude each other")
  end
end

-- What a child has written so far, of which nothing was taken.
local function heard(stream, max)
  if not stream then return nil end
  local ok, data = pcall(timeout, 0, stream.read, stream, max > 0 and max or 1)
  return ok and data or ""
end

local function raise_timeout(what, commands, children, max, text)
  local n, errs = #children, {}
  local err = failure("ETIMEDOUT", what, text, commands[1][1])
  err.stdout = heard(children[n].stdout, max)
  for i = 1, n do errs[#errs + 1] = heard(children[i].stderr, max) end
  err.stderr = errs[1] and concat(errs)
  error(err, 0)
end

local function run_all(what, commands, options)
  core.check(what)
  core.options(options, what, "input", "timeout", "max_output", "check", "linger", "stdin",
    "stdout", "stderr", "cwd", "env", "clear_env", "shell", "group", "grace")
  options = options or {}
  local input = options.input
  check_input(what, input)
  check_stdin(what, options)
  local max = core.integer(options, "max_output", MAX_OUTPUT)
  local linger = core.seconds(options, "linger", LINGER)
  local seconds = core.seconds(options, "timeout")
  local must = core.boolean(options, "check")
  local children = {}
  local _ <close> = setmetatable(children, { __close = end_all })
  for i = 1, #commands do
    local program, list = commands[i][1], commands[i][2]
    local mine = options_of(options, i == 1 and options.stdin or nil, i == 1 and input ~= nil)
    children[i] = start(what, program, list, mine, children[i - 1], i < #commands)
  end
  local result
  if seconds then
    local ok, err = pcall(timeout, seconds, collect, what, commands, children, input, max, linger)
    if not ok and type(err) == "table" and err.code == "ETIMEDOUT" then
      raise_timeout(what, commands, children, max, err.message)
    end
    if not ok then error(err, 0) end
    result = err
  else
    result = collect(what, commands, children, input, max, linger)
  end
  if must then check(what, commands, result) end
  return result
end

function process.run(...)
  local program, list, options = arguments("process.run", ...)
  local result = run_all("process.run", { { program, list } }, options)
  result.statuses, result.signals = nil, nil
  return result
end

function process.pipe(list, options)
  if type(list) ~= "table" or #list == 0 then
    misuse "process.pipe: a list of commands expected: { {\"ls\"}, {\"sort\", \"-r\"} }"
  end
  local commands = {}
  for i = 1, #list do
    local command = list[i]
    if type(command) ~= "table" or type(command[1]) ~= "string" then
      misuse("process.pipe: command " .. i .. " must be a list that begins with a program")
    end
    for key in next, command do
      if type(key) ~= "number" then
        misuse("process.pipe: command " .. i .. " has the key '" .. tostring(key) ..
          "': options are a table after the list of commands")
      end
    end
    commands[i] = { command[1], move(command, 2, #command, 1, {}) }
  end
  return run_all("process.pipe", commands, options)
end

return process
