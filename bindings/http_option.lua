-- http_option.lua - options that become settings of curl's: who we are, which way we go, how we
-- trust. Gets the primitives of http_core.c and the table that the parts share.
local core, part = ...
local misuse = core.misuse
local find, format, gsub, lower, match, sub = string.find, string.format, string.gsub,
  string.lower, string.match, string.sub
local byte, char = string.byte, string.char
local concat, sort = table.concat, table.sort
local error, next, tonumber, tostring, type = error, next, tonumber, tostring, type

local MAX_PEM = 4 << 20
local MAX_SOCKET_PATH = 107 -- what the system's address holds

-- ---- checks ----

function part.wrong(what, name, expected, value)
  misuse(format("%s: option '%s' must be %s, got %s", what, name, expected, type(value)))
end
local wrong = part.wrong

-- A text without line breaks and NUL.
local function check_text(what, name, value)
  if type(value) ~= "string" then wrong(what, name, "a string", value) end
  if find(value, "[\r\n\0]") then
    misuse(format("%s: option '%s': a line break or NUL in it", what, name))
  end
  return value
end
part.check_text = check_text

local function set(list, name, value)
  list[#list + 1] = name
  list[#list + 1] = value
end

-- ---- headers ----

-- A copy without the named ones, which are given in small letters.
function part.copy_headers(what, headers, without)
  if headers ~= nil and type(headers) ~= "table" then wrong(what, "headers", "a table", headers) end
  local copy = {}
  for name, value in next, headers or {} do
    if type(name) ~= "string" or not without[lower(name)] then copy[name] = value end
  end
  return copy
end

function part.has_header(headers, wanted)
  if type(headers) ~= "table" then return false end
  for name in next, headers do
    if type(name) == "string" and lower(name) == wanted then return true end
  end
  return false
end

-- ---- logins ----

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

function part.base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = byte(text, i, i + 2)
    local bits = a << 16 | (b or 0) << 8 | (c or 0)
    local four = {}
    for j = 0, 3 do
      local digit = (bits >> (18 - 6 * j) & 63) + 1
      four[j + 1] = sub(DIGITS, digit, digit)
    end
    if not c then four[4] = "=" end
    if not b then four[3] = "=" end
    out[#out + 1] = concat(four)
  end
  return concat(out)
end

local function check_pair(what, pair)
  if type(pair) ~= "table" then
    misuse(what .. ": option 'auth': a list of user and password expected, got " .. type(pair))
  end
  for i = 1, 2 do
    if type(pair[i]) ~= "string" then
      misuse(format("%s: option 'auth': the %s must be a string, got %s", what,
        i == 1 and "user" or "password", type(pair[i])))
    end
    if find(pair[i], "[\r\n\0]") then
      misuse(what .. ": option 'auth': a line break or NUL in it")
    end
  end
  return pair[1], pair[2]
end

local SCHEMES = { basic = true, digest = true, bearer = true }

-- The value of an Authorization header, or user and password for digest.
function part.login(what, auth, settings)
  if type(auth) ~= "table" then wrong(what, "auth", "a table or false", auth) end
  local key, value = next(auth)
  if key == nil then misuse(what .. ": option 'auth' is empty") end
  if type(key) == "number" then
    for other in next, auth do
      if other ~= 1 and other ~= 2 then
        misuse(format("%s: option 'auth': unknown key '%s'", what, tostring(other)))
      end
    end
    key, value = "basic", auth
  elseif not SCHEMES[key] or next(auth, key) ~= nil then
    misuse(what .. ": option 'auth' must be {user, password}, {digest = {user, password}} " ..
      "or {bearer = token}")
  end
  if key == "bearer" then
    if type(value) ~= "string" or find(value, "[^\33-\126]") or value == "" then
      misuse(what .. ": option 'auth': the token must be visible ASCII without spaces")
    end
    return "Bearer " .. value
  end
  local user, password = check_pair(what, value)
  if key == "digest" then
    if user == "" then misuse(what .. ": option 'auth': the user is empty") end
    set(settings, "user", user)
    set(settings, "password", password)
    return
  end
  if find(user, ":", 1, true) then
    misuse(what .. ": option 'auth': a user with ':' cannot be told from the password")
  end
  return "Basic " .. part.base64(user .. ":" .. password)
end

local function unescape(text)
  return (gsub(text, "%%(%x%x)", function(digits) return char(tonumber(digits, 16)) end))
end

-- "http://user:password@host/" -> "http://host/", {user, password}
function part.take_login(what, url)
  local scheme, authority, rest = match(url, "^(%a+://)([^/?#]*)(.*)$")
  local info, host = match(authority, "^(.*)@(.*)$")
  if not info then return url end
  local plain = scheme .. host .. rest
  local user, password = match(info, "^([^:]*):?(.*)$")
  user, password = unescape(user), unescape(password)
  if host == "" then core.bad_url(what, plain, "bad URL: no host") end
  if find(user .. password, "[\r\n\0]") or find(user, ":", 1, true) then
    core.bad_url(what, plain, "bad URL: a line break, NUL or ':' in its user")
  end
  return plain, info ~= "" and info ~= ":" and { user, password } or nil
end

-- ---- proxies ----

local HOST_MAX = 253 -- of a name in the DNS
local PORTS = { http = 80, https = 443, socks5 = 1080, socks5h = 1080 }

-- "host:8080" -> "http://host:8080"; nil: it is none. Errors don't show it: it may hold a password.
local function read_proxy(text)
  local scheme, rest = match(text, "^(%a[%w+.-]*)://(.*)$")
  scheme, rest = lower(scheme or "http"), gsub(rest or text, "/$", "")
  local info, place = match(rest, "^(.*@)(.*)$")
  local host, port = match(place or rest, "^(.-):?(%d*)$")
  if find(host, "[\128-\255]") then host = core.to_ascii(host) or "" end
  if not PORTS[scheme] or #host > HOST_MAX or find(info or "", "[^\33-\126]") then return end
  if not find(host, "^[%w._-]+$") and not (find(host, "^%[[%x:.]+%]$")) then return end
  port = port ~= "" and tonumber(port) or PORTS[scheme]
  if port < 1 or port > 65535 then return end
  -- Names are looked up by the proxy, as http proxies do.
  return format("%s://%s%s:%d", scheme == "socks5" and "socks5h" or scheme, info or "", host, port)
end

local function set_proxy(what, value, settings)
  local proxy = ""
  if value ~= false then
    proxy = read_proxy(check_text(what, "proxy", value))
    if not proxy then
      misuse(what .. ": option 'proxy' must be [scheme://][user:password@]host[:port] " ..
        "with the scheme http, https or socks5")
    end
  end
  set(settings, "proxy", proxy)
  set(settings, "proxy_tls", proxy)
  set(settings, "no_proxy", "") -- that of the environment is for its proxies
end

local function from_environment(what, ...)
  for _, name in next, { ... } do
    local value = core.env(what, name)
    if value and value ~= "" then return value end
  end
end

-- HTTP_PROXY in capitals is not read: in a CGI program it is a header of the client's.
local function set_environment(what, settings)
  local all = from_environment(what, "all_proxy", "ALL_PROXY")
  local plain = from_environment(what, "http_proxy") or all
  local secure = from_environment(what, "https_proxy", "HTTPS_PROXY") or all
  local except = from_environment(what, "no_proxy", "NO_PROXY")
  plain, secure = plain and read_proxy(plain), secure and read_proxy(secure)
  if plain then set(settings, "proxy", plain) end
  if secure then set(settings, "proxy_tls", secure) end
  if except and not find(except, "\0", 1, true) then set(settings, "no_proxy", except) end
end

-- ---- where to ----

-- {["example.org:443"] = "127.0.0.1"}; without a port it is for all ports.
local function set_resolve(what, map, settings)
  if type(map) ~= "table" then wrong(what, "resolve", "a table", map) end
  for place, address in next, map do
    local host, port = nil, nil
    if type(place) == "string" then
      host, port = match(place, "^([%w._\128-\255-]+):?(%d*)$")
      host = host and core.to_ascii(host)
      if not host then host, port = match(place, "^(%[[%x:.]+%]):?(%d*)$") end
    end
    if not host then
      misuse(what .. ": option 'resolve': a host or host:port expected, got " ..
        (type(place) == "string" and "'" .. place .. "'" or type(place)))
    end
    if type(address) ~= "string" or find(address, "[^%x:.]") or not core.is_address(address) then
      misuse(format("%s: option 'resolve': the address of '%s' must be an IP address", what, place))
    end
    if find(address, ":", 1, true) then address = "[" .. address .. "]" end
    set(settings, "connect_to", format("%s:%s:%s:", host, port, address))
  end
end

local function set_unix_socket(what, path, settings)
  if path == false then path = "" else check_text(what, "unix_socket", path) end
  if #path > MAX_SOCKET_PATH then
    misuse(format("%s: option 'unix_socket': a path of more than %d bytes", what, MAX_SOCKET_PATH))
  end
  set(settings, "unix_socket", path)
end

-- ---- TLS ----

-- A text in PEM, or the path of a file with such.
local function read_pem(what, name, value)
  if type(value) ~= "string" then wrong(what, name, "a path or a text in PEM", value) end
  if value == "" then misuse(format("%s: option '%s' is empty", what, name)) end
  if find(value, "-----BEGIN ", 1, true) then return value end
  if find(value, "\0", 1, true) then misuse(format("%s: option '%s': a NUL in it", what, name)) end
  local text = core.module("asyncbox.fs").read(value, { max = MAX_PEM })
  if not find(text, "-----BEGIN ", 1, true) then
    error(core.failure("EINVAL", what, "nothing in PEM in the file of option '" .. name .. "'",
      "path", value), 0)
  end
  return text
end

local function set_tls(what, options, settings)
  if options.verify ~= nil then
    set(settings, "verify", core.boolean(options, "verify", true) and 1 or 0)
  end
  if options.ca ~= nil then set(settings, "ca", read_pem(what, "ca", options.ca)) end
  if options.cert ~= nil then
    local cert = read_pem(what, "cert", options.cert)
    set(settings, "cert", cert)
    set(settings, "key", options.key ~= nil and read_pem(what, "key", options.key) or cert)
  elseif options.key ~= nil then
    misuse(what .. ": option 'key' needs 'cert'")
  end
  if options.key_password ~= nil then
    set(settings, "key_password", check_text(what, "key_password", options.key_password))
  end
end

local HTTP2 = { [false] = 0, [true] = 2, prior_knowledge = 3 }

-- ---- cookies ----

function part.check_cookie(what, name, value)
  if type(name) ~= "string" or name == "" or find(name, "[%c%s\127=;,\"]") then
    misuse(what .. ": cookies: a name expected, got " ..
      (type(name) == "string" and format("%q", name) or type(name)))
  end
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" then
    misuse(format("%s: cookie '%s': string expected, got %s", what, name, type(value)))
  end
  if find(value, "[%c\127;]") then
    misuse(format("%s: cookie '%s': a control character or ';' in its value", what, name))
  end
  return value
end

local function set_cookies(what, cookies, settings)
  if cookies == false then return set(settings, "jar", 0) end
  if type(cookies) ~= "table" then wrong(what, "cookies", "a table or false", cookies) end
  local list = {}
  for name, value in next, cookies do
    list[#list + 1] = name .. "=" .. part.check_cookie(what, name, value)
  end
  sort(list)
  if list[1] then set(settings, "cookie", concat(list, "; ")) end
end

-- ---- all ----

-- What sessions and requests have in common.
function part.settings(what, options)
  local settings = {}
  if options.proxy ~= nil then set_proxy(what, options.proxy, settings) end
  if options.resolve ~= nil then set_resolve(what, options.resolve, settings) end
  if options.unix_socket ~= nil then set_unix_socket(what, options.unix_socket, settings) end
  set_tls(what, options, settings)
  if options.http2 ~= nil then
    if HTTP2[options.http2] == nil then
      misuse(what .. ": option 'http2' must be a boolean or 'prior_knowledge'")
    end
    set(settings, "http2", HTTP2[options.http2])
  end
  if options.decompress ~= nil then
    set(settings, "decompress", core.boolean(options, "decompress", true) and 1 or 0)
  end
  return settings
end

part.set, part.set_cookies, part.set_environment = set, set_cookies, set_environment
