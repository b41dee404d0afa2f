-- http_retry.lua - once more, when it makes sense: what went wrong may pass, and asking twice does
-- no harm.
local core, part = ...
local async = core.module "asyncbox"
local now, sleep = async.now, async.sleep
local misuse = core.misuse
local error, format, math_type, next, pcall, tonumber, tostring, type =
  error, string.format, math.type, next, pcall, tonumber, tostring, type
local lower, match, upper = string.lower, string.match, string.upper
local max, min, time, unpack = math.max, math.min, os.time, table.unpack

local KEYS = { "times", "backoff", "max_wait", "on", "methods" }
local BACKOFF, MAX_WAIT = 0.5, 120
local ON = { 429, 502, 503, 504, "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "EOF",
  "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EAI_AGAIN" }
local METHODS = { "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE" } -- RFC 9110's idempotent ones

local function set_of(what, name, list, is_right)
  local set = {}
  if type(list) ~= "table" then part.wrong(what, "retries." .. name, "a list", list) end
  for i = 1, #list do
    if not is_right(list[i]) then
      misuse(format("%s: option 'retries.%s': item %d is of no use: %s", what, name, i,
        tostring(list[i])))
    end
    set[list[i]] = true
  end
  return set
end

local function is_cause(value)
  return math_type(value) == "integer" and value >= 400 and value <= 599 or
    type(value) == "string" and match(value, "^E[A-Z0-9_]+$")
end

local function is_method(value) return type(value) == "string" and match(value, "^%u+$") end

-- A number of times, or a table, as part.fetch wants it; nil: never.
function part.retries(what, value)
  if value == false then return nil end
  local options = math_type(value) == "integer" and { times = value } or value
  if type(options) ~= "table" then
    part.wrong(what, "retries", "a whole number, a table or false", value)
  end
  core.options(options, what .. ": retries", unpack(KEYS))
  return {
    times = core.integer(options, "times", 3, 0, 1000),
    backoff = core.seconds(options, "backoff", BACKOFF),
    max_wait = core.seconds(options, "max_wait", MAX_WAIT),
    on = set_of(what, "on", options.on or ON, is_cause),
    methods = set_of(what, "methods", options.methods or METHODS, is_method),
  }
end

-- ---- Retry-After ----

local MONTHS = { jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9,
  oct = 10, nov = 11, dec = 12 }

-- Days since 1970-01-01, after Howard Hinnant's "days_from_civil".
local function days(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = year // 400
  local year_of_era = year - era * 400
  local day_of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
  return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year -
    719468
end

-- The three forms of RFC 9110, 5.6.7, as seconds since 1970; nil: none of them.
function part.http_date(text)
  local day, month, year, h, m, s =
    match(text, "^%a+, (%d%d?)[ -](%a%a%a)[ -](%d+) (%d%d):(%d%d):(%d%d) GMT$")
  if not day then
    month, day, h, m, s, year = match(text, "^%a%a%a (%a%a%a) +(%d%d?) (%d%d):(%d%d):(%d%d) (%d+)$")
  end
  month = month and MONTHS[lower(month)]
  if not month then return nil end
  year = tonumber(year)
  if year < 100 then year = year + (year < 70 and 2000 or 1900) end
  if year > 9999 then return nil end
  return days(year, month, tonumber(day)) * 86400 + tonumber(h) * 3600 + tonumber(m) * 60 +
    tonumber(s)
end

-- Seconds, or nil. A date counts from the server's own clock, if it says what time that is.
function part.retry_after(headers)
  local text = headers["retry-after"]
  if not text then return nil end
  local seconds = match(text, "^%d+$")
  if seconds then return tonumber(seconds) end
  local date = part.http_date(text)
  return date and max(0, date - (part.http_date(headers.date or "") or time()))
end

-- ---- fetching ----

-- The time that is left of the whole, for one more attempt.
local function bound(low, deadline)
  if not deadline then return end
  local timeout = low.timeout
  local copy = {}
  if type(timeout) == "table" then
    for key, value in next, timeout do copy[key] = value end
  end
  copy.total = max(deadline - now(), 0.001)
  low.timeout = copy
end

-- Calls attempt(n) until it gives what may be kept. `low` is what core.fetch is given: its timeout
-- is for all attempts and the pauses between.
function part.fetch(retries, method, low, total, attempt)
  if not retries or not retries.methods[upper(method)] then return attempt(1) end
  local deadline = total and now() + total
  local pause = retries.backoff
  for n = 1, retries.times + 1 do
    bound(low, deadline)
    local ok, got = pcall(attempt, n)
    local cause
    if ok then
      cause = got.status
    else
      cause = type(got) == "table" and got.code
    end
    if n > retries.times or not cause or not retries.on[cause] then
      if ok then return got end
      error(got, 0)
    end
    local wait = max(ok and part.retry_after(got.headers) or 0, min(pause, retries.max_wait))
    pause = pause * 2
    if wait > retries.max_wait or deadline and now() + wait >= deadline then
      if ok then return got end
      error(got, 0)
    end
    if ok then got:close() end
    sleep(wait)
  end
end
