-- stream_tls.lua - the options of TLS, and starting it on a stream.
-- Gets the primitives of stream_tls.c, and the modules asyncbox and fs.
local core, async, fs = ...
local misuse, timeout = core.misuse, async.timeout
local type, tostring, pcall, error, ipairs = type, tostring, pcall, error, ipairs
local concat, remove, char = table.concat, table.remove, string.char

local tls = {}

local START = "stream:start_tls"
local PATIENCE = 30 -- seconds for a handshake
local CONTEXTS = 16 -- kept for streams with the same settings
local VERSIONS = { ["1.2"] = 12, ["1.3"] = 13 }
local NONE, OPTIONAL, REQUIRED = 0, 1, 2

-- ---- options ----

local function text(what, options, key)
  local value = options[key]
  if value == nil then return nil end
  if type(value) ~= "string" then
    misuse(what .. ": option '" .. key .. "' must be a string, got " .. type(value))
  end
  if value == "" then misuse(what .. ": option '" .. key .. "' must not be empty") end
  if value:find("\0", 1, true) then
    misuse(what .. ": option '" .. key .. "' must not hold a zero byte")
  end
  return value
end

local function version(what, options, key)
  local value = options[key]
  if value == nil then return 0 end
  local number = VERSIONS[value]
  if not number then
    misuse(what .. ": option '" .. key .. "' must be \"1.2\" or \"1.3\", got " ..
      (type(value) == "string" and '"' .. value .. '"' or type(value)))
  end
  return number
end

-- As it goes over the wire: each name after its length.
local function protocols(what, list)
  if list == nil then return nil end
  if type(list) == "string" then list = { list } end
  if type(list) ~= "table" then
    misuse(what .. ": option 'alpn' must be a list of names, got " .. type(list))
  end
  local wire, bytes = {}, 0
  for i = 1, #list do
    local name = list[i]
    if type(name) ~= "string" or #name < 1 or #name > 255 then
      misuse(what .. ": option 'alpn': a name is a string of 1 to 255 bytes (index " .. i .. ")")
    end
    wire[i] = char(#name) .. name
    bytes = bytes + #name + 1
  end
  if bytes == 0 then misuse(what .. ": option 'alpn' must not be empty") end
  if bytes > 65535 then misuse(what .. ": option 'alpn' is too long") end
  return concat(wire)
end

local function verification(what, options, is_server)
  local verify = options.verify
  if verify == nil then verify = not is_server or options.client_ca ~= nil end
  if is_server and verify == "optional" then return OPTIONAL end
  if type(verify) ~= "boolean" then
    misuse(what .. ": option 'verify' must be " ..
      (is_server and 'true, false or "optional"' or "a boolean") .. ", got " ..
      (type(verify) == "string" and '"' .. verify .. '"' or type(verify)))
  end
  return verify and REQUIRED or NONE
end

-- Raises for everything that is wrong with the text of the options. nil or true: the defaults.
local function parse(what, is_server, options, name)
  if options == nil or options == true then options = {} end
  if type(options) ~= "table" then
    misuse(what .. ": tls must be true or a table of options, got " .. type(options))
  end
  if options.server ~= nil and what ~= START then
    misuse(what .. ": option 'server' is for " .. START .. " only")
  end
  if is_server then
    core.options(options, what, "server", "cert", "key", "key_password", "client_ca", "verify",
      "alpn", "min_version", "max_version", "timeout")
  else
    core.options(options, what, "server", "ca", "cert", "key", "key_password", "verify",
      "server_name", "alpn", "min_version", "max_version", "timeout")
  end
  local parsed = {
    is_server = is_server and 1 or 0,
    verify = verification(what, options, is_server),
    ca = text(what, options, is_server and "client_ca" or "ca"),
    cert = text(what, options, "cert"),
    key = text(what, options, "key"),
    key_password = text(what, options, "key_password"),
    alpn = protocols(what, options.alpn),
    min_version = version(what, options, "min_version"),
    max_version = version(what, options, "max_version"),
  }
  if parsed.min_version > parsed.max_version and parsed.max_version > 0 then
    misuse(what .. ": option 'min_version' is above 'max_version'")
  end
  if is_server and not parsed.cert then
    misuse(what .. ": option 'cert' is missing: a server needs a certificate and its key")
  end
  local server_name = not is_server and text(what, options, "server_name") or name
  server_name = server_name and core.ascii(what, server_name)
  if not is_server and not server_name and parsed.verify ~= NONE then
    misuse(what .. ": option 'server_name' is missing: for whom must the certificate be?")
  end
  return parsed, server_name, core.seconds(options, "timeout", PATIENCE)
end

-- ---- contexts ----

local contexts = {} -- oldest first: { key, context }

local function key_of(settings)
  local parts = {}
  for i, name in ipairs { "is_server", "verify", "min_version", "max_version", "alpn", "ca",
    "cert", "key", "key_password" } do
    local value = settings[name]
    value = value and tostring(value)
    parts[i] = value and #value .. ":" .. value or "-"
  end
  return concat(parts)
end

local function context_of(what, settings, paths)
  local key = key_of(settings)
  for i = #contexts, 1, -1 do
    local kept = contexts[i]
    if kept[1] == key then
      remove(contexts, i)
      contexts[#contexts + 1] = kept
      return kept[2]
    end
  end
  local context, code, trouble = core.context(settings)
  if not context then
    local path = trouble and paths[trouble:match "^(%a+): "]
    core.fail(code, what, trouble, path and "path", path)
  end
  if #contexts >= CONTEXTS then remove(contexts, 1) end
  contexts[#contexts + 1] = { key, context }
  return context
end

-- PEM text stays, a path is read.
local function load_files(settings)
  local paths = {}
  for _, name in ipairs { "ca", "cert", "key" } do
    local value = settings[name]
    if value and not value:find("-----BEGIN ", 1, true) then
      paths[name] = value
      settings[name] = fs.read(value)
    end
  end
  return paths
end

-- ---- for others ----

-- For servers and clients that start TLS later, maybe often: all that can be
-- wrong with the options is raised here. Waits if files are named.
function tls.prepare(what, is_server, options, name)
  local settings, server_name, seconds = parse(what, is_server, options, name)
  local paths = load_files(settings)
  return {
    what = what,
    context = context_of(what, settings, paths),
    is_server = is_server,
    name = server_name,
    seconds = seconds,
  }
end

-- Sessions are good for the same name at the same port.
local function session_key(stream, name)
  local peer = name and stream:peer()
  return peer and name .. " " .. tostring(peer.port or peer.path)
end

-- When it fails the stream is closed.
function tls.start(stream, prepared)
  local name = prepared.name
  local ok, err = pcall(timeout, prepared.seconds, core.shake, stream, prepared.context, name,
    session_key(stream, name), prepared.is_server)
  if ok then return stream end
  if type(err) == "table" and err.code == "ETIMEDOUT" and err.op == "timeout" then
    core.timed_out(stream, "the TLS handshake was not done within " .. prepared.seconds .. " s")
  end
  error(err, 0)
end

-- stream:start_tls(options)
function tls.upgrade(stream, options)
  core.check(stream)
  local is_server = type(options) == "table" and options.server
  if is_server ~= nil and type(is_server) ~= "boolean" then
    misuse(START .. ": option 'server' must be a boolean, got " .. type(is_server))
  end
  tls.start(stream, tls.prepare(START, is_server or false, options))
end

return tls
