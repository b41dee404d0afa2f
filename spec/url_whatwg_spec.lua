-- asyncbox.url against the examples of the web-platform-tests, urltestdata.json, as Debian's
-- librust-url-dev brings them.
local fs = require "asyncbox.fs"
local json = require "asyncbox.json"
local url = require "asyncbox.url"

local PORTS = { http = 80, https = 443, ws = 80, wss = 443, ftp = 21 }

-- The text of the file of that name among those of Rust's packages, or nil.
local function example_file(name)
  local found = fs.glob("/usr/share/cargo/registry/*/tests/" .. name)
  return found[1] and fs.read(found[#found])
end

-- A URL is made of code points: half of a pair of surrogates is no text, and becomes U+FFFD.
local function without_lone_surrogates(text)
  local out, at = {}, 1
  while true do
    local from, to, digits = text:find("\\u([dD][89a-fA-F]%x%x)", at)
    if not from then break end
    out[#out + 1] = text:sub(at, from - 1)
    local low = text:match("^\\u[dD][c-fC-F]%x%x", to + 1)
    local is_high = digits:find "^[dD][89abAB]"
    if is_high and low then to = to + #low end
    out[#out + 1] = is_high and low and text:sub(from, to) or "\\uFFFD"
    at = to + 1
  end
  return table.concat(out) .. text:sub(at)
end

-- The standard has changed since: "^" in a path is encoded.
local function as_of_today(case)
  local path = case.pathname:gsub("%^", "%%5E")
  if path ~= case.pathname then
    local at, to = case.href:find(case.pathname, 1, true)
    case.href = case.href:sub(1, at - 1) .. path .. case.href:sub(to + 1)
    case.pathname = path
  end
end

local function prefixed(mark, text) return text and text ~= "" and mark .. text or "" end

-- A URL with the names that browsers give to its parts; `origin` is not among them.
local function browser_parts(u)
  local host = u.host or ""
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  local port = u.port ~= PORTS[u.scheme] and tostring(u.port) or ""
  return {
    href = tostring(u), protocol = u.scheme .. ":", username = u.user or "",
    password = u.password or "", host = host .. prefixed(":", port), hostname = host, port = port,
    pathname = u.path, search = prefixed("?", u.query), hash = prefixed("#", u.fragment),
    searchParams = tostring(url.decode_query(u.query or "")),
  }
end

-- What is wrong with our reading of a case, or nil.
local function difference(case, u)
  local parts = browser_parts(u)
  for name, value in pairs(parts) do
    if case[name] and case[name] ~= value then
      return ("%s is %q, not %q"):format(name, value, case[name])
    end
  end
  local again = tostring(url.parse(parts.href))
  if again ~= parts.href then return "read again, it is " .. again end
end

local NOT_ASCII = "[\128-\255]"

-- Names that are not ASCII, or stand for such, are refused or not looked into.
local function is_about_names(case)
  local authority = case.input:match "//([^/]*)" or ""
  return authority:find(NOT_ASCII) or authority:lower():find "xn%-%-"
    or authority:find "%%[c-fC-F]%x"
end

describe("url.parse and the examples of the WHATWG", function()
  local text = example_file "urltestdata.json"
  if not text then
    pending "need urltestdata.json: apt-get install librust-url-dev"
    return
  end

  local good, bad = {}, {}
  for _, case in ipairs(json.decode(without_lone_surrogates(text))) do
    if type(case) == "table" and not is_about_names(case) then
      if case.base == json.null then case.base = nil end
      if case.href then as_of_today(case) end
      local list = case.failure and bad or good
      list[#list + 1] = case
    end
  end

  it("reads what they read, into the same parts", function()
    local wrong = {}
    for _, case in ipairs(good) do
      local ok, u = pcall(url.parse, case.input, case.base)
      local what = not ok and tostring(u) or difference(case, u)
      if what then wrong[#wrong + 1] = ("%q at %s: %s"):format(case.input, case.base, what) end
    end
    assert.same({}, wrong)
    assert.is_true(#good >= 400, #good .. " cases")
  end)

  it("refuses what they refuse", function()
    local wrong = {}
    for _, case in ipairs(bad) do
      local ok, u = pcall(url.parse, case.input, case.base)
      if ok then
        wrong[#wrong + 1] = ("%q at %s: read as %s"):format(case.input, case.base, tostring(u))
      elseif u.code ~= "EINVAL" then
        wrong[#wrong + 1] = tostring(u)
      end
    end
    assert.same({}, wrong)
    assert.is_true(#bad >= 200, #bad .. " cases")
  end)
end)
