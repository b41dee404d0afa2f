-- url.lua - URLs after the WHATWG's standard: parse, build, join, queries.
-- Gets the primitives of url.c and the reader of hosts.
local core, parse_host = ...
local failure, misuse = core.failure, core.misuse
local char, find, format, gsub, gmatch, lower, match, sub =
  string.char, string.find, string.format, string.gsub, string.gmatch, string.lower,
  string.match, string.sub
local concat, sort = table.concat, table.sort
local error, type, next, tonumber, tostring = error, type, next, tonumber, tostring
local setmetatable, math_type = setmetatable, math.type

local url = {}

local DEFAULT_PORT = { http = 80, https = 443, ws = 80, wss = 443, ftp = 21, file = false }
local PARTS = { "scheme", "user", "password", "host", "port", "path", "query", "fragment" }
local KNOWN = {}
for i = 1, #PARTS do KNOWN[PARTS[i]] = true end

local function is_special(scheme) return DEFAULT_PORT[scheme] ~= nil end

-- Text of the script's, as an error quotes it.
local function fail(what, message, text)
  error(failure(what, message, #text > 200 and sub(text, 1, 200) .. "..." or text), 0)
end

local function check_string(what, n, value)
  if type(value) ~= "string" then
    misuse(format("bad argument #%d to '%s' (string expected, got %s)", n, what,
      value == nil and "no value" or type(value)))
  end
end

-- ---- percent-encoding ----

local HEX = {}
for i = 0, 255 do HEX[char(i)] = format("%%%02X", i) end

-- The sets of the standard: what must be encoded where.
local CONTROL = "[\0-\31\127-\255]"
local FRAGMENT = "[\0-\32\"<>`\127-\255]"
local QUERY = "[\0-\32\"#<>\127-\255]"
local SPECIAL_QUERY = "[\0-\32\"#'<>\127-\255]"
local PATH = "[\0-\32\"#<>?^`{}\127-\255]"
local OPAQUE = "[\0-\31#?\127-\255]"
local USERINFO = "[\0-\32\"#<>?^`{}/:;=@[\\%]|\127-\255]"
local COMPONENT = "[^A-Za-z0-9_.~-]"
local FORM = "[^A-Za-z0-9*_. -]"

local function escape(text, set) return (gsub(text, set, HEX)) end

local function from_hex(digits) return char(tonumber(digits, 16)) end

-- What is no escape stays as it is.
local function unescape(text) return (gsub(text, "%%([0-9A-Fa-f][0-9A-Fa-f])", from_hex)) end

function url.encode(text)
  check_string("encode", 1, text)
  return escape(text, COMPONENT)
end

function url.decode(text)
  check_string("decode", 1, text)
  local at = find(gsub(text, "%%[0-9A-Fa-f][0-9A-Fa-f]", "..."), "%", 1, true)
  if at then
    fail("url.decode", "a '%' without two hexadecimal digits at byte " .. at, text)
  end
  return unescape(text)
end

-- ---- queries ----

local query_methods = {}
local query_meta = { __index = query_methods, __name = "Query" }

function query_methods:get(name)
  for i = 1, #self do
    if self[i][1] == name then return self[i][2] end
  end
end

function query_methods:all(name)
  local values = {}
  for i = 1, #self do
    if self[i][1] == name then values[#values + 1] = self[i][2] end
  end
  return values
end

local function form_escape(text) return (gsub(escape(text, FORM), " ", "+")) end

local function form_unescape(text) return unescape((gsub(text, "+", " "))) end

local function text_of(value, name)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "boolean" or math_type(value) == "integer" then return tostring(value) end
  if kind == "number" and value == value and value - value == 0 then return tostring(value) end
  misuse("url.encode_query: the value of '" .. name ..
    "' must be a string, a finite number or a boolean, got " ..
    (kind == "number" and tostring(value) or kind))
end

local function add_pair(out, name, value)
  out[#out + 1] = form_escape(name) .. "=" .. form_escape(text_of(value, name))
end

local function encode_pairs(list)
  local out = {}
  for i = 1, #list do
    local pair = list[i]
    if type(pair) ~= "table" or type(pair[1]) ~= "string" then
      misuse("url.encode_query: item " .. i .. " must be a list of a name and a value")
    end
    add_pair(out, pair[1], pair[2])
  end
  return concat(out, "&")
end

-- Names in it would be lost: queries have no tables.
local function check_list(name, list)
  for key in next, list do
    if math_type(key) ~= "integer" then
      misuse("url.encode_query: the value of '" .. name .. "' must be a list, it has the key '" ..
        tostring(key) .. "'")
    end
  end
end

-- The names in order, so that the same table gives the same text.
local function encode_map(map)
  local names, out = {}, {}
  for name in next, map do
    if type(name) ~= "string" then
      misuse("url.encode_query: a name must be a string, got " .. type(name))
    end
    names[#names + 1] = name
  end
  sort(names)
  for i = 1, #names do
    local name, value = names[i], map[names[i]]
    if type(value) == "table" then
      check_list(name, value)
      for j = 1, #value do add_pair(out, name, value[j]) end
    else
      add_pair(out, name, value)
    end
  end
  return concat(out, "&")
end

function url.encode_query(values)
  if type(values) ~= "table" then
    misuse("bad argument #1 to 'encode_query' (table expected, got " .. type(values) .. ")")
  end
  if values[1] ~= nil then return encode_pairs(values) end
  return encode_map(values)
end

query_meta.__tostring = encode_pairs

function url.decode_query(text)
  check_string("decode_query", 1, text)
  local list = {}
  for item in gmatch(text, "[^&]+") do
    local eq = find(item, "=", 1, true)
    local name, value = item, ""
    if eq then name, value = sub(item, 1, eq - 1), sub(item, eq + 1) end
    list[#list + 1] = { form_unescape(name), form_unescape(value) }
  end
  return setmetatable(list, query_meta)
end

-- ---- paths ----

local function is_dot(segment)
  return segment == "." or #segment == 3 and lower(segment) == "%2e"
end

local function is_dot_dot(segment)
  return segment == ".." or #segment <= 6 and gsub(lower(segment), "%%2e", ".") == ".."
end

-- "C:" and "C|" of file URLs, which ".." does not leave.
local function is_drive(segment) return find(segment, "^[A-Za-z][:|]$") ~= nil end

local function begins_with_drive(text) return find(text .. "/", "^[A-Za-z][:|]/") ~= nil end

-- A path that begins with "/", without "." and "..".
local function normal_path(path, scheme)
  local in_file = scheme == "file" and find(path, "/[A-Za-z][:|]")
  if not in_file and not find(path, "/%.") and not find(path, "/%%2[eE]") then
    return escape(path, PATH)
  end
  local out, n, open = {}, 0, false
  for segment in gmatch(path, "/([^/]*)") do
    open = true
    if is_dot_dot(segment) then
      if n > 0 and not (in_file and n == 1 and is_drive(out[1])) then out[n], n = nil, n - 1 end
    elseif not is_dot(segment) then
      if in_file and n == 0 and is_drive(segment) then segment = sub(segment, 1, 1) .. ":" end
      n, open = n + 1, false
      out[n] = segment
    end
  end
  return escape("/" .. concat(out, "/") .. (open and n > 0 and "/" or ""), PATH)
end

-- What a relative path is put behind.
local function folder_of(base)
  local path = base.path
  if base.scheme == "file" and is_drive(sub(path, 2)) then return path .. "/" end
  return match(path, "^.*/") or "/"
end

-- ---- building ----

local url_meta = { __name = "Url" }

local function build(u)
  local scheme, host, path = u.scheme, u.host, u.path
  local out = { scheme, ":" }
  if host then
    out[#out + 1] = "//"
    if (u.user or "") ~= "" or (u.password or "") ~= "" then
      out[#out + 1] = u.user or ""
      if (u.password or "") ~= "" then out[#out + 1] = ":" .. u.password end
      out[#out + 1] = "@"
    end
    out[#out + 1] = find(host, ":", 1, true) and "[" .. host .. "]" or host
    if u.port and u.port ~= DEFAULT_PORT[scheme] then out[#out + 1] = ":" .. u.port end
  elseif sub(path, 1, 2) == "//" then
    out[#out + 1] = "/." -- or it would be read as a host
  end
  out[#out + 1] = path
  if u.query then out[#out + 1] = "?" .. u.query end
  if u.fragment then out[#out + 1] = "#" .. u.fragment end
  return concat(out)
end

local function check_parts(parts)
  for key, value in next, parts do
    if not KNOWN[key] then
      misuse(format("url.build: unknown part '%s' (known: %s)", tostring(key), concat(PARTS, ", ")))
    end
    local kind = type(value)
    if key == "port" then
      if math_type(value) ~= "integer" or value < 0 or value > 65535 then
        misuse("url.build: 'port' must be a whole number from 0 to 65535")
      end
    elseif kind ~= "string" and not (key == "query" and kind == "table") then
      misuse(format("url.build: '%s' must be a string, got %s", key, kind))
    end
  end
  if not parts.scheme then misuse "url.build: 'scheme' is missing" end
  if not find(parts.scheme, "^[A-Za-z][A-Za-z0-9+.-]*$") then
    fail("url.build", "invalid scheme", parts.scheme)
  end
  if (parts.user or parts.password or parts.port) and (parts.host or "") == "" then
    misuse "url.build: 'user', 'password' and 'port' need a host"
  end
  if (parts.user or parts.password or parts.port) and lower(parts.scheme) == "file" then
    misuse "url.build: a file URL has no 'user', 'password' or 'port'"
  end
end

function url.build(parts)
  if type(parts) ~= "table" then
    misuse("bad argument #1 to 'build' (table expected, got " .. type(parts) .. ")")
  end
  check_parts(parts)
  local scheme = lower(parts.scheme)
  local special = is_special(scheme)
  local host, path, query = parts.host, parts.path or "", parts.query
  if special and not host then host = "" end
  if host and not (host == "" and scheme == "file") then
    local why
    local bracketed = find(host, ":", 1, true) and sub(host, 1, 1) ~= "["
    host, why = parse_host(bracketed and "[" .. host .. "]" or host, special)
    if not host then fail("url.build", why, parts.host or "") end
    if scheme == "file" and host == "localhost" then host = "" end
  end
  if special then path = gsub(path, "\\", "/") end
  if host and (special or path ~= "") and sub(path, 1, 1) ~= "/" then path = "/" .. path end
  if sub(path, 1, 1) == "/" then
    path = normal_path(path, scheme)
  else
    path = gsub(escape(path, OPAQUE), " $", "%%20")
  end
  if type(query) == "table" then query = url.encode_query(query) end
  return build {
    scheme = scheme, host = host, port = parts.port, path = path,
    user = parts.user and escape(parts.user, USERINFO),
    password = parts.password and escape(parts.password, USERINFO),
    query = query and escape(query, special and SPECIAL_QUERY or QUERY),
    fragment = parts.fragment and escape(parts.fragment, FRAGMENT),
  }
end

url_meta.__tostring = url.build

-- ---- parsing ----

-- "user:password@host:port" into u; gives why not.
local function parse_authority(u, text, special)
  local at = find(text, "@[^@]*$")
  if at then
    local info = sub(text, 1, at - 1)
    local colon = find(info, ":", 1, true)
    local user, password = info, ""
    if colon then user, password = sub(info, 1, colon - 1), sub(info, colon + 1) end
    if user ~= "" then u.user = escape(user, USERINFO) end
    if password ~= "" then u.password = escape(password, USERINFO) end
    text = sub(text, at + 1)
  end
  local host, port = match(text, "^(.-):([^:%]]*)$")
  host = host or text
  if port and port ~= "" then
    local digits = match(port, "^0*([0-9]*)$")
    if not digits or #digits > 5 or (tonumber(digits) or 0) > 65535 then
      return "invalid port '" .. sub(port, 1, 20) .. "'"
    end
    u.port = tonumber(digits) or 0
  end
  if host == "" and (at or port) then return "the host is missing" end
  local why
  if host == "" and not special then
    u.host = ""
  else
    u.host, why = parse_host(host, special)
  end
  return why
end

local function split(rest)
  local slash = find(rest, "/", 1, true)
  if not slash then return rest, "" end
  return sub(rest, 1, slash - 1), sub(rest, slash)
end

local function set_authority(u, rest, special)
  local authority, path = split(rest)
  local why
  if u.scheme ~= "file" then
    why = parse_authority(u, authority, special)
  elseif is_drive(authority) then
    u.host, path = "", "/" .. rest
  elseif authority == "" then
    u.host = ""
  else
    u.host, why = parse_host(authority, true)
    if u.host == "localhost" then u.host = "" end
  end
  if special and path == "" then path = "/" end
  u.path = path ~= "" and normal_path(path, u.scheme) or ""
  return why
end

-- A reference without a scheme, or with that of its base.
local function resolve(u, rest, base, special)
  u.scheme = base.scheme
  if sub(rest, 1, 2) == "//" then
    if special and u.scheme ~= "file" then rest = gsub(rest, "^/+", "//") end
    return set_authority(u, sub(rest, 3), special)
  end
  u.user, u.password, u.host, u.port = base.user, base.password, base.host, base.port
  if rest == "" then
    u.path = base.path
    u.query = u.query or base.query
  elseif sub(rest, 1, 1) == "/" then
    local drive = u.scheme == "file" and not begins_with_drive(sub(rest, 2))
      and match(base.path .. "/", "^(/[A-Za-z]:)/")
    u.path = normal_path((drive or "") .. rest, u.scheme)
  elseif u.scheme == "file" and begins_with_drive(rest) then
    u.path = normal_path("/" .. rest, u.scheme)
  else
    u.path = normal_path(folder_of(base) .. rest, u.scheme)
  end
end

local function is_opaque(u) return not u.host and sub(u.path, 1, 1) ~= "/" end

local function locate(u, scheme, rest, base)
  local special = is_special(scheme or base and base.scheme)
  if special then rest = gsub(rest, "\\", "/") end
  if not scheme then
    if not base then return "a relative URL without a base" end
    if is_opaque(base) then
      if rest ~= "" or u.query or not u.fragment then
        return "its base has no path to start from"
      end
      u.scheme, u.path, u.query = base.scheme, base.path, base.query
      return
    end
    return resolve(u, rest, base, special)
  end
  u.scheme = scheme
  if sub(rest, 1, 2) ~= "//" and special and base and base.scheme == scheme then
    return resolve(u, rest, base, special)
  elseif scheme == "file" and sub(rest, 1, 2) ~= "//" then
    u.host, u.path = "", normal_path(sub(rest, 1, 1) == "/" and rest or "/" .. rest, "file")
  elseif special and scheme ~= "file" then
    return set_authority(u, gsub(rest, "^/+", ""), special)
  elseif sub(rest, 1, 2) == "//" then
    return set_authority(u, sub(rest, 3), special)
  elseif sub(rest, 1, 1) == "/" then
    u.path = normal_path(rest, scheme)
  else
    u.path = gsub(escape(rest, CONTROL), " $", "%%20")
  end
end

local function parse(what, given, base)
  local u = {}
  local text = match(gsub(given, "[\t\n\r]", ""), "^[\0-\32]*(.*)$")
  text = match(text, "^.*[^\0-\32]") or ""
  local hash = find(text, "#", 1, true)
  if hash then
    u.fragment = escape(sub(text, hash + 1), FRAGMENT)
    text = sub(text, 1, hash - 1)
  end
  local scheme, rest = match(text, "^([A-Za-z][A-Za-z0-9+.-]*):(.*)$")
  scheme, rest = scheme and lower(scheme), rest or text
  local mark = find(rest, "?", 1, true)
  if mark then
    local special = is_special(scheme or base and base.scheme)
    u.query = escape(sub(rest, mark + 1), special and SPECIAL_QUERY or QUERY)
    rest = sub(rest, 1, mark - 1)
  end
  local why = locate(u, scheme, rest, base)
  if why then fail(what, why, given) end
  u.port = u.port or u.host and DEFAULT_PORT[u.scheme] or nil
  return setmetatable(u, url_meta)
end

local function parsed(what, n, value)
  if type(value) == "table" then value = url.build(value) end
  check_string(what, n, value)
  return parse("url." .. what, value)
end

function url.parse(text, base)
  check_string("parse", 1, text)
  return parse("url.parse", text, base ~= nil and parsed("parse", 2, base) or nil)
end

function url.join(base, reference)
  check_string("join", 2, reference)
  return build(parse("url.join", reference, parsed("join", 1, base)))
end

return url
