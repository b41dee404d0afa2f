-- net.lua - connecting and serving: what composes the primitives of net.c.
-- Gets the module's table, the primitives, and the asyncbox module.
local net, core, async = ...
local misuse, options_check = core.misuse, core.options
local sleep, timeout, group, spawn = async.sleep, async.timeout, async.group, async.spawn
local await, shield = async.await, async.shield
local pcall, error, type, setmetatable, tostring = pcall, error, type, setmetatable, tostring
local floor = math.floor

local function check_text(what, name, value)
  if type(value) ~= "string" then
    misuse(what .. ": " .. name .. " must be a string, got " .. type(value))
  end
  if value == "" then misuse(what .. ": " .. name .. " must not be empty") end
  if value:find("\0", 1, true) then
    misuse(what .. ": " .. name .. " must not hold a zero byte")
  end
  return value
end

-- ---- connect ----

local CONNECT = "net.connect"

local function connect_any(host, port)
  local list = core.resolve(host, port)
  local failure
  for i = 1, #list do
    local ok, got = pcall(core.attempt, list[i], host, port)
    if ok then return got end
    failure = failure or got
  end
  error(failure, 0)
end

-- The queue of a Unix server may be full, and nobody tells when it is not.
local function connect_path(path)
  local pause = 0.001
  while true do
    local stream = core.connect_path(path)
    if stream then return stream end
    sleep(pause)
    pause = pause < 0.05 and pause * 2 or pause
  end
end

local function within(seconds, host, port, f, ...)
  if not seconds then return f(...) end
  local ok, got = pcall(timeout, seconds, f, ...)
  if ok then return got end
  if type(got) == "table" and got.code == "ETIMEDOUT" and got.op == "timeout" then
    core.fail("ETIMEDOUT", CONNECT, got.message, host, port)
  end
  error(got, 0)
end

function net.connect(host, port, options)
  core.check(CONNECT)
  if type(host) == "table" then
    options = host
    options_check(options, CONNECT, "path", "timeout")
    local path = check_text(CONNECT, "path", options.path)
    return within(core.seconds(options, "timeout"), path, 0, connect_path, path)
  end
  check_text(CONNECT, "the host", host)
  port = core.port(port, CONNECT, 1)
  options_check(options, CONNECT, "timeout")
  core.check_host(CONNECT, host, port)
  return within(core.seconds(options, "timeout"), host, port, connect_any, host, port)
end

-- ---- listen ----

local LISTEN = "net.listen"

local server = {}
local server_meta = { __index = server, __name = "Server", __metatable = false }

function server_meta:__tostring() return "server (" .. tostring(self._address) .. ")" end

function server:accept() return self._listener:accept() end

function server:accept_loop()
  return function() return self:accept() end
end

function server:address() return self._address end

-- Stops listening, ends the handlers, and waits until they have ended.
function server:close()
  self._listener:close()
  local task = self._task
  if task then
    task:cancel()
    shield(pcall, await, task)
  end
end

server_meta.__close = server.close

local function serve(self, handler)
  local g <close> = group()
  local function handle(conn)
    local _ <close> = conn
    handler(conn)
  end
  for conn in self:accept_loop() do g:spawn(handle, conn) end
end

function net.listen(host, port, handler, options)
  local listener, code
  if type(host) == "table" then
    options, handler = host, port
    options_check(options, LISTEN, "path", "mode", "backlog")
    local path = check_text(LISTEN, "path", options.path)
    listener = core.listen_path(path, core.integer(options, "mode", -1, 0, floor(0x1ff)),
      core.integer(options, "backlog", 511, 1, 65535))
  else
    check_text(LISTEN, "the host", host)
    port = core.port(port, LISTEN, 0)
    if type(handler) == "table" then handler, options = nil, handler end
    options_check(options, LISTEN, "backlog", "reuse_port")
    listener, code = core.listen(core.resolve(host, port, true), options)
    if not listener then core.fail(code, LISTEN, nil, host, port) end
  end
  local self = setmetatable({ _listener = listener, _address = listener:addresses()[1] },
    server_meta)
  if handler then self._task = spawn(serve, self, handler) end
  return self
end
