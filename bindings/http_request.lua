-- http_request.lua - a request with options that C does not read: puts together what core.fetch is
-- given. And http.map.
local core, part = ...
local async = core.module "asyncbox"
local misuse = core.misuse
local find, format, match = string.find, string.format, string.match
local next, type, unpack = next, type, table.unpack

local KEYS = { "params", "json", "form", "multipart", "length", "auth", "cookies", "proxy",
  "resolve", "unix_socket", "verify", "ca", "cert", "key", "key_password", "http2", "decompress",
  "retries", "raise_for_status" }
local C_KEYS = core.request_keys
do
  local all = { unpack(C_KEYS) }
  for i = 1, #KEYS do all[#all + 1] = KEYS[i] end
  KEYS = all
end

-- A query of names and values, or a text as it is, at the end of the URL.
local function add_params(what, url, params)
  local query = params
  if type(params) == "table" then
    query = core.module("asyncbox.url").encode_query(params)
  elseif type(params) ~= "string" then
    part.wrong(what, "params", "a table or a string", params)
  end
  if query == "" then return url end
  local front, fragment = match(url, "^([^#]*)(.*)$")
  local joint = not find(front, "?", 1, true) and "?" or find(front, "[?&]$") and "" or "&"
  return front .. joint .. query .. fragment
end

local WITHOUT_LOGIN = { authorization = true }

local function set_login(what, low, auth, settings)
  low.headers = part.copy_headers(what, low.headers, WITHOUT_LOGIN)
  low.headers.Authorization = false -- none of the session's
  if auth == false then
    part.set(settings, "user", "")
    return
  end
  local line = part.login(what, auth, settings)
  if line then
    low.headers.Authorization = line
    part.set(settings, "user", "")
  end
end

local function set_type(what, low, kind)
  if not kind or part.has_header(low.headers, "content-type") then return end
  low.headers = part.copy_headers(what, low.headers, {})
  low.headers["Content-Type"] = kind
end

-- Seconds for the whole, or nil: for ever. C checks the values.
local function total_of(timeout, defaults)
  if type(timeout) == "table" then timeout = timeout.total end
  if timeout == nil then timeout = defaults.total end
  return type(timeout) == "number" and timeout or nil
end

local function pick(value, otherwise)
  if value == nil then return otherwise end
  return value
end

function part.request(session, verb, method, url, options)
  local what = core.verb(verb)
  local defaults = core.session_options(session) or {}
  options = options or {}
  if type(options) ~= "table" then
    misuse(format("%s: options must be a table, got %s", what, type(options)))
  end
  core.options(options, what, unpack(KEYS))
  local login
  url, login = part.take_login(what, core.url(session, url, what))
  if options.params ~= nil then url = add_params(what, url, options.params) end

  local low = {}
  for i = 1, #C_KEYS do low[C_KEYS[i]] = options[C_KEYS[i]] end
  local settings = part.settings(what, options)
  local auth = pick(options.auth, login)
  if auth ~= nil then set_login(what, low, auth, settings) end
  if options.cookies ~= nil then part.set_cookies(what, options.cookies, settings) end
  local body, kind = part.body(what, options)
  low.settings = settings
  low.body = type(body) == "string" and body or nil
  set_type(what, low, kind)

  local retries = defaults.retries
  if options.retries ~= nil then retries = part.retries(what, options.retries) end
  if type(body) == "table" and body.once then retries = nil end
  local raise = core.boolean(options, "raise_for_status", defaults.raise_for_status)
  local response = part.fetch(retries, method, low, total_of(options.timeout, defaults), function()
    if type(body) == "table" then
      return part.upload(session, verb, method, url, low, body)
    end
    return core.fetch(session, verb, method, url, low)
  end)
  if raise then response:raise_for_status() end
  return response
end

-- ---- http.map ----

local MAP_KEYS = { "limit" }
for i = 1, #KEYS do MAP_KEYS[#MAP_KEYS + 1] = KEYS[i] end

-- f(response, url) for each URL, `limit` at once; the results in the order of the URLs.
function part.map(session, urls, f, options)
  if type(urls) ~= "table" then
    misuse("http.map: bad argument #1 (list expected, got " .. type(urls) .. ")")
  end
  if type(f) ~= "function" then
    misuse("http.map: bad argument #2 (function expected, got " .. type(f) .. ")")
  end
  local limit, own = 100, nil
  if options ~= nil then
    core.options(options, "http.map", unpack(MAP_KEYS))
    limit = core.integer(options, "limit", limit, 1)
    own = {}
    for key, value in next, options do
      if key ~= "limit" then own[key] = value end
    end
    if next(own) == nil then own = nil end
  end
  for i = 1, #urls do
    if type(urls[i]) ~= "string" then
      misuse(format("http.map: URL %d must be a string, got %s", i, type(urls[i])))
    end
  end
  local get = session.get
  return async.map(urls, function(url)
    local response = get(session, url, own)
    return f(response, url)
  end, { limit = limit })
end

