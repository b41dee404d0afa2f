-- net.lua - connecting and serving: what composes the primitives of net.c.
-- Gets the module's table, the primitives, and the asyncbox module.
local net, core, async = ...
local misuse, options_check, seconds_of = core.misuse, core.options, core.seconds
local await, sleep, spawn, wait = async.await, async.sleep, async.spawn, async.wait
local timeout, run, shield = async.timeout, async.run, async.shield
local current_task, now, trace = async.current_task, async.now, core.trace
local pcall, xpcall, error, type, next = pcall, xpcall, error, type, next
local setmetatable, tostring, rawget, unpack = setmetatable, tostring, rawget, table.unpack

-- The Connection Attempt Delay of RFC 8305 (Happy Eyeballs), section 8.
local STAGGER = 0.25
-- How long accepting pauses when the system has nothing left to accept with.
local SHORT_PAUSE = 0.05
-- How often, at most, that is said.
local SHORT_SILENCE = 60

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

local function code_of(err) return type(err) == "table" and err.code end

-- ---- connect ----

local CONNECT = "net.connect"

-- RFC 8305, section 4: the families take turns, the preferred one first.
local function interleave(list)
  local first, other = {}, {}
  local preferred = core.is_ipv6(list[1])
  for i = 1, #list do
    local family = core.is_ipv6(list[i]) == preferred and first or other
    family[#family + 1] = list[i]
  end
  local out = {}
  for i = 1, #list do
    out[#out + 1] = first[i]
    out[#out + 1] = other[i]
  end
  return out
end

-- The end of a race, however it comes: who is still on the way is stopped, and
-- who has come too late as well is closed.
local losers = {
  __close = function(attempts)
    for task in next, attempts do task:cancel() end
    shield(function()
      for task in next, attempts do
        local ok, stream = pcall(await, task)
        if ok and stream then stream:reset() end
      end
    end)
  end,
}

local function attempt(address, host, port)
  local ok, got = pcall(core.attempt, address, host, port)
  if ok then return got end
  return nil, got
end

-- Denied is what counts only when nothing else was tried.
local function worse(old, new)
  if not old or code_of(old) == "EDENIED" then return new end
  return old
end

-- Happy Eyeballs (RFC 8305): an address is tried when the one before it has
-- failed, or has said nothing for a while.
local function race(list, host, port)
  list = interleave(list)
  local attempts <close> = setmetatable({}, losers)
  local at, failure = 1, nil
  while true do
    local address = list[at]
    if address then
      attempts[spawn(attempt, address, host, port)] = true
      at = at + 1
    elseif not next(attempts) then
      error(failure, 0)
    end
    local running = {}
    for task in next, attempts do running[#running + 1] = task end
    local done = wait(running, { timeout = list[at] and STAGGER, return_when = "first" })
    for i = 1, #done do
      attempts[done[i]] = nil
      local stream, err = done[i]:result()
      if stream then
        -- Two may have come at once: the others are losers, not forgotten.
        for k = i + 1, #done do attempts[done[k]] = true end
        return stream
      end
      failure = worse(failure, err)
    end
  end
end

local function connect_any(host, port)
  local list = core.resolve(host, port)
  if #list == 1 then return core.attempt(list[1], host, port) end
  if #list == 0 then core.fail("EAI_NONAME", CONNECT, nil, host, port) end
  return race(list, host, port)
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
  local ok, got = xpcall(timeout, trace, seconds, f, ...)
  if ok then return got end
  if code_of(got) == "ETIMEDOUT" and got.op == "timeout" then
    core.fail("ETIMEDOUT", CONNECT, got.message, host, port)
  end
  core.rethrow(got)
end

-- What the option tls asks for; nil: plain text.
local function tls_option(what, is_server, options, name)
  local value = options and options.tls
  if value == nil or value == false then return nil end
  return core.tls().prepare(what, is_server, value, name)
end

local function secured(secure, connect, host, port)
  local stream = connect(host, port)
  if not secure then return stream end
  local ok, err = xpcall(core.tls().start, trace, stream, secure)
  if ok then return stream end
  stream:reset()
  if type(err) == "table" and err.op == "stream:start_tls" and err.code ~= "ECANCELED" then
    core.fail(err, CONNECT, err.message, host, port or 0)
  end
  core.rethrow(err)
end

function net.connect(host, port, options)
  core.check(CONNECT)
  if type(host) == "table" then
    options = host
    options_check(options, CONNECT, "path", "timeout", "tls")
    local path = check_text(CONNECT, "path", options.path)
    local seconds = seconds_of(options, "timeout")
    local secure = tls_option(CONNECT, false, options)
    return within(seconds, path, 0, secured, secure, connect_path, path)
  end
  check_text(CONNECT, "the host", host)
  port = core.port(port, CONNECT, 1)
  options_check(options, CONNECT, "timeout", "tls")
  local seconds = seconds_of(options, "timeout")
  host = core.ascii(CONNECT, host)
  core.check_host(CONNECT, host, port)
  local secure = tls_option(CONNECT, false, options, host)
  return within(seconds, host, port, secured, secure, connect_any, host, port)
end

-- ---- servers ----

local LISTEN = "net.listen"

local server = {}
local server_meta = { __index = server, __name = "Server", __metatable = false }

-- Descriptors or memory have run out: what is not accepted yet waits in the
-- kernel.  Said once, and not again for every connection that just fits.
local function run_short(self, code)
  local time = now()
  if not self._short_said or time - self._short_said > SHORT_SILENCE then
    self._short_said = time
    core.warn(("%s: %s: %s (%s): new connections wait until some are closed"):format(
      LISTEN, tostring(self._addresses[1]), core.text_of(code), code))
  end
  sleep(SHORT_PAUSE)
end

local function check_self(self, what)
  if type(self) ~= "table" or not rawget(self, "_listener") then
    misuse(what .. ": Server expected, got " .. type(self))
  end
end

local function accept(self)
  local listener = self._listener
  while true do
    local conn, code = listener:accept()
    if conn or not code then return conn end
    run_short(self, code)
  end
end

-- A connection, or nil when the server is closed.
function server:accept()
  check_self(self, "server:accept")
  if self._handler then misuse("server:accept: this server has a handler") end
  return accept(self)
end

function server:accept_loop()
  check_self(self, "server:accept_loop")
  if self._handler then misuse("server:accept_loop: this server has a handler") end
  return function() return accept(self) end
end

function server:address()
  check_self(self, "server:address")
  return self._addresses[1]
end

function server:addresses()
  check_self(self, "server:addresses")
  return { unpack(self._addresses) }
end

-- How many handlers there are at this moment.
function server:connections()
  check_self(self, "server:connections")
  return self._count
end

-- ---- handlers ----

-- Who was broken off by the other side has nothing to answer for.
local LOST = { ECONNRESET = true, EPIPE = true, ECONNABORTED = true, ECANCELED = true }

local function failed(self, err, conn)
  local on_error = self._on_error
  if on_error and code_of(err) ~= "ECANCELED" then
    local ok, another = xpcall(on_error, trace, err, conn)
    if ok then return end
    err = another
  elseif LOST[code_of(err)] then
    return
  end
  core.report(err, LISTEN .. ": " .. tostring(self._addresses[1]))
end

-- Who does not manage the handshake is not worth a report: anybody may try.
local function shaken(self, conn)
  local ok, err = xpcall(core.tls().start, trace, conn, self._tls)
  if not ok and self._on_error then failed(self, err, conn) end
  return ok
end

local function converse(self, conn)
  local _ <close> = conn
  if self._tls and not shaken(self, conn) then return end
  await(self._handler(conn))
end

-- The body of a handler's task: whatever goes wrong ends here.
local function handle(self, conn)
  local ok, err = xpcall(converse, trace, self, conn)
  if not ok then pcall(failed, self, err, conn) end
  self._count = self._count - 1
  self._tasks[current_task()] = nil
  if self._room then self._room:release() end
end

-- Accepts a connection and starts its handler: false when the server is closed.
local function accept_one(self)
  local conn = accept(self)
  if not conn then return false end
  local ok, task = pcall(spawn, handle, self, conn)
  if not ok then
    conn:reset()
    error(task, 0)
  end
  self._count = self._count + 1
  self._tasks[task] = conn
  return true
end

-- The same when there is room for one more; the handler gives the room back.
local function accept_in_turn(self)
  local room = self._room
  if not room then return accept_one(self) end
  room:acquire()
  local ok, more = xpcall(accept_one, trace, self)
  if not (ok and more) then room:release() end
  if not ok then core.rethrow(more) end
  return more
end

-- The end of serving: handlers that were cancelled before their first turn
-- have closed nothing.
local function ended(self)
  self._listener:close()
  for _, conn in next, self._tasks do conn:reset() end
  self._tasks, self._count = {}, 0
end

local function accept_all(self)
  while true do
    local ok, more = xpcall(accept_in_turn, trace, self)
    if ok and not more then break end
    if not ok then
      if more ~= "not enough memory" then core.rethrow(more) end
      pcall(run_short, self, "ENOMEM")
    end
  end
  repeat
    local list = {}
    for task in next, self._tasks do
      if not task:done() then list[#list + 1] = task end
    end
    wait(list)
  until #list == 0
end

-- What handlers spawn belongs to the server: an error there is a lost error and
-- no more, and what is left at the end is cancelled.
local function serve(self)
  local _ <close> = setmetatable({}, { __close = function() ended(self) end })
  run(accept_all, self)
end

-- ---- closing ----

-- The tasks of all handlers but the one that asks.
local function others(self)
  local list, me = {}, current_task()
  for task in next, self._tasks do
    if task ~= me then list[#list + 1] = task end
  end
  return list
end

local function end_handlers(self)
  local list = others(self)
  for i = 1, #list do list[i]:cancel() end
  if #list > 0 then wait(list) end
  -- A handler that closes its own server is waited for by nobody.
  if not self._tasks[current_task()] and current_task() ~= self._task then
    pcall(await, self._task)
  end
end

-- Stops listening; the handlers have `grace` seconds to end by themselves, then
-- they are cancelled, and waited for.
local function close(self, grace)
  self._listener:close()
  local task = self._task
  if not task or task:done() then return end
  local ok, err = true, nil
  if grace and grace > 0 then
    local list = others(self)
    if #list > 0 then ok, err = xpcall(wait, trace, list, { timeout = grace }) end
  end
  shield(end_handlers, self)
  if not ok then core.rethrow(err) end
end

function server:close(options)
  check_self(self, "server:close")
  options_check(options, "server:close", "grace")
  close(self, seconds_of(options, "grace"))
end

-- Until it is closed, by whoever, and its handlers have ended.
function server:wait()
  check_self(self, "server:wait")
  if not self._task then misuse("server:wait: this server has no handler") end
  if self._tasks[current_task()] then
    misuse("server:wait: a handler cannot wait for its own end")
  end
  wait { self._task }
end

-- Where it may not wait the handlers end by themselves.
function server_meta:__close()
  if not pcall(close, self) and self._task then self._task:cancel() end
end

function server_meta:__tostring()
  return "server (" .. tostring(self._addresses[1]) .. ")"
end

-- ---- listen ----

local BACKLOG, BACKLOG_MAX = 511, 0x7fffffff
local MODE_MAX = 511 -- 0777

local function start(listener, handler, options, max, secure)
  local addresses = listener:addresses()
  local self = setmetatable({
    _listener = listener, _addresses = addresses, _count = 0, _tasks = {}, _handler = handler,
  }, server_meta)
  if not handler then return self end
  self._on_error = options and options.on_error
  self._tls = secure
  if max > 0 then self._room = async.semaphore(max) end
  self._task = spawn(serve, self)
  return self
end

-- Gives the option max_connections, 0: any number.
local function check_handler(handler, options)
  if handler ~= nil and type(handler) ~= "function" and not core.is_callable(handler) then
    misuse(LISTEN .. ": the handler must be a function, got " .. type(handler))
  end
  if not options then return 0 end
  if options.on_error ~= nil and type(options.on_error) ~= "function" then
    misuse(LISTEN .. ": option 'on_error' must be a function, got " .. type(options.on_error))
  end
  if handler then return core.integer(options, "max_connections", 0, 1, 0x7fffffff) end
  for _, key in next, { "max_connections", "on_error", "tls" } do
    if options[key] ~= nil then
      misuse(LISTEN .. ": option '" .. key .. "' needs a handler")
    end
  end
  return 0
end

local function listen_path(options, handler)
  options_check(options, LISTEN, "path", "mode", "backlog", "max_connections", "on_error",
    "tls")
  local path = check_text(LISTEN, "path", options.path)
  local max = check_handler(handler, options)
  local mode = core.integer(options, "mode", -1, 0, MODE_MAX)
  local backlog = core.integer(options, "backlog", BACKLOG, 1, BACKLOG_MAX)
  local secure = tls_option(LISTEN, true, options)
  return start(core.listen_path(path, mode, backlog), handler, options, max, secure)
end

-- "*": all addresses of this machine, over one socket where the system can.
local function listen_any(port, options)
  local listener, code = core.listen(core.resolve("::", port, true), options, true)
  if listener or not core.no_ipv6(code) then return listener, code end
  return core.listen(core.resolve("0.0.0.0", port, true), options)
end

function net.listen(host, port, handler, options)
  core.check(LISTEN)
  if type(host) == "table" then return listen_path(host, port) end
  check_text(LISTEN, "the host", host)
  port = core.port(port, LISTEN, 0)
  if type(handler) == "table" and options == nil and not core.is_callable(handler) then
    handler, options = nil, handler
  end
  options_check(options, LISTEN, "backlog", "reuse_port", "max_connections", "on_error", "tls")
  local max = check_handler(handler, options)
  local secure = tls_option(LISTEN, true, options)
  local listener, code
  host = core.ascii(LISTEN, host)
  if host == "*" then
    listener, code = listen_any(port, options)
  else
    listener, code = core.listen(core.resolve(host, port, true), options)
  end
  if not listener then core.fail(code, LISTEN, nil, host, port) end
  return start(listener, handler, options, max, secure)
end
