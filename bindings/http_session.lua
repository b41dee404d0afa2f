-- http_session.lua - a session with options that C does not read.
local core, part = ...
local match, type, unpack = string.match, type, table.unpack

local KEYS = { "auth", "cookies", "proxy", "resolve", "unix_socket", "verify", "ca", "cert", "key",
  "key_password", "http2", "decompress", "retries", "raise_for_status", "trust_env" }
local C_KEYS = core.session_keys
do
  local all = { unpack(C_KEYS) }
  for i = 1, #KEYS do all[#all + 1] = KEYS[i] end
  KEYS = all
end

local TOTAL = 300

-- What every request of the session needs to know, or nil: C does it alone.
local function own_options(what, options)
  local own = {}
  if options.retries ~= nil then own.retries = part.retries(what, options.retries) end
  own.raise_for_status = core.boolean(options, "raise_for_status", false)
  if not own.retries and not own.raise_for_status then return nil end
  local timeout = options.timeout
  if type(timeout) == "table" then timeout = timeout.total end
  own.total = timeout == nil and TOTAL or timeout
  return own
end

function part.session(options)
  local what = "http.session"
  core.options(options, what, unpack(KEYS))
  local low, login = {}, nil
  for i = 1, #C_KEYS do low[C_KEYS[i]] = options[C_KEYS[i]] end
  if type(low.base_url) == "string" and match(low.base_url, "^%a+://") then
    low.base_url, login = part.take_login(what, low.base_url)
  end
  local settings = part.settings(what, options)
  if core.boolean(options, "trust_env", false) and options.proxy == nil then
    part.set_environment(what, settings)
  end
  local auth = options.auth
  if auth == nil then auth = login end
  if auth then
    local line = part.login(what, auth, settings)
    low.headers = part.copy_headers(what, low.headers, { authorization = true })
    low.headers.Authorization = line
  end
  local cookies = options.cookies
  if cookies == nil or cookies == true then cookies = {} end
  if cookies and type(cookies) ~= "table" then
    part.wrong(what, "cookies", "a table or a boolean", cookies)
  end
  local lines = cookies and part.first_cookies(what, cookies, low.base_url) or {}
  local session = core.new_session(low, settings, own_options(what, options), cookies ~= false)
  for i = 1, #lines do core.put_cookie(session, lines[i]) end
  return session
end
