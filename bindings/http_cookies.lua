-- http_cookies.lua - the cookies of a session, which libcurl keeps: session.cookies.
local core, part = ...
local misuse = core.misuse
local find, format, gsub, lower, match, sub = string.find, string.format, string.gsub,
  string.lower, string.match, string.sub
local concat, sort, unpack = table.concat, table.sort, table.unpack
local next, setmetatable, time, tonumber, type = next, setmetatable, os.time, tonumber, type

local jar_methods = {}
local jar_meta = { __index = jar_methods, __name = "Cookies", __metatable = false }
local sessions = setmetatable({}, { __mode = "k" }) -- jar -> session
local jars = setmetatable({}, { __mode = "k" }) -- session -> jar

function part.cookies(session)
  local jar = jars[session]
  if not jar then
    jar = setmetatable({}, jar_meta)
    jars[session], sessions[jar] = jar, session
  end
  return jar
end

local function session_of(jar)
  local session = sessions[jar]
  if not session then misuse("bad self (Cookies expected, got " .. type(jar) .. ")") end
  return session
end

-- A line of a Netscape cookie file.
local function read_line(line)
  local http_only = sub(line, 1, 10) == "#HttpOnly_"
  if http_only then line = sub(line, 11) end
  local domain, below, path, secure, expires, name, value =
    match(line, "^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t?(.*)$")
  if not domain then return nil end
  expires = tonumber(expires)
  return {
    name = name, value = value, domain = gsub(domain, "^%.", ""), path = path,
    subdomains = below == "TRUE", secure = secure == "TRUE", http_only = http_only,
    expires = expires ~= 0 and expires or nil,
  }
end

-- ---- reading ----

local function check_text(name, n, value)
  if type(value) ~= "string" then
    misuse(format("bad argument #%d to '%s' (string expected, got %s)", n, name, type(value)))
  end
end

-- A cookie that a server takes back has a time in the past, and libcurl keeps it until another
-- one comes.
local function is_over(cookie) return cookie.expires and cookie.expires <= time() end

-- All cookies, or those for a domain (and its parents, where they are for all below).
function jar_methods:list(domain)
  local lines, list = core.cookies(session_of(self)), {}
  if domain ~= nil then check_text("list", 1, domain) end
  for i = 1, #lines do
    local cookie = read_line(lines[i])
    if cookie and not is_over(cookie) and (domain == nil or part.covers(cookie, domain)) then
      list[#list + 1] = cookie
    end
  end
  sort(list, function(a, b)
    if a.domain ~= b.domain then return a.domain < b.domain end
    if a.path ~= b.path then return a.path < b.path end
    return a.name < b.name
  end)
  return list
end

function part.covers(cookie, domain)
  domain = lower(core.to_ascii(domain) or domain)
  local own = lower(cookie.domain)
  return own == domain or cookie.subdomains and sub(domain, -#own - 1) == "." .. own
end

-- The value, or nil. Of several of that name the one with the longest path.
function jar_methods:get(name, domain)
  local found
  session_of(self)
  check_text("get", 1, name)
  if domain ~= nil then check_text("get", 2, domain) end
  for _, cookie in next, jar_methods.list(self, domain) do
    if cookie.name == name and (not found or #cookie.path > #found.path) then found = cookie end
  end
  return found and found.value
end

-- ---- writing ----

local KEYS = { "name", "value", "domain", "path", "subdomains", "secure", "http_only", "expires" }

local function line_of(what, cookie)
  core.options(cookie, what, unpack(KEYS))
  local value = part.check_cookie(what, cookie.name, cookie.value)
  local domain, path = cookie.domain, cookie.path or "/"
  if type(domain) == "string" then domain = core.to_ascii(domain) or domain end
  if type(domain) ~= "string" or not find(domain, "^[%w._:-]+$") then
    misuse(format("%s: cookie '%s': a domain expected", what, cookie.name))
  end
  if type(path) ~= "string" or not find(path, "^/") or find(path, "[%c;\127]") then
    misuse(format("%s: cookie '%s': a path expected", what, cookie.name))
  end
  local expires = cookie.expires or 0
  if type(expires) ~= "number" or expires ~= expires or expires < 0 or expires > 1e14 then
    misuse(format("%s: cookie '%s': 'expires' must be seconds since 1970", what, cookie.name))
  end
  local below = core.boolean(cookie, "subdomains", false)
  return concat({
    (core.boolean(cookie, "http_only", false) and "#HttpOnly_" or "") .. domain,
    below and "TRUE" or "FALSE", path, core.boolean(cookie, "secure", false) and "TRUE" or "FALSE",
    format("%d", expires // 1), cookie.name, value,
  }, "\t")
end

-- Puts a cookie in: {name=, value=, domain=, ...}
function jar_methods:set(cookie)
  local session = session_of(self)
  if type(cookie) ~= "table" then
    misuse("bad argument #1 to 'set' (table expected, got " .. type(cookie) .. ")")
  end
  core.put_cookie(session, line_of("session.cookies:set", cookie))
end

-- Takes out those of that name; gives how many there were.
function jar_methods:remove(name, domain)
  local session, count = session_of(self), 0
  check_text("remove", 1, name)
  if domain ~= nil then check_text("remove", 2, domain) end
  local lines = core.cookies(session)
  core.put_cookie(session, "ALL")
  for i = 1, #lines do
    local cookie = read_line(lines[i])
    if cookie and cookie.name == name and (domain == nil or part.covers(cookie, domain)) then
      if not is_over(cookie) then count = count + 1 end
    else
      core.put_cookie(session, lines[i])
    end
  end
  return count
end

function jar_methods:clear() core.put_cookie(session_of(self), "ALL") end

-- What http.session is given: {name = value} for the host of base_url, or a list of cookies.
function part.first_cookies(what, cookies, base_url)
  local lines = {}
  if cookies[1] ~= nil then
    for i = 1, #cookies do
      if type(cookies[i]) ~= "table" then
        misuse(format("%s: option 'cookies': item %d must be a table, got %s", what, i,
          type(cookies[i])))
      end
      lines[i] = line_of(what, cookies[i])
    end
    return lines
  end
  local host
  for name, value in next, cookies do
    host = host or base_url and core.module("asyncbox.url").parse(base_url).host
    if not host then misuse(what .. ": option 'cookies': names and values need 'base_url'") end
    lines[#lines + 1] = line_of(what, { name = name, value = value, domain = host })
  end
  return lines
end
