-- asyncbox.url against the examples of the web-platform-tests (urltestdata.json) and those of
-- Unicode for names (IdnaTestV2.txt), as Debian's librust-url-dev and librust-idna-dev bring them.
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

describe("url.parse and the examples of the WHATWG", function()
  local text = example_file "urltestdata.json"
  if not text then
    pending "need urltestdata.json: apt-get install librust-url-dev"
    return
  end

  local good, bad = {}, {}
  for _, case in ipairs(json.decode(without_lone_surrogates(text))) do
    if type(case) == "table" then
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
    assert.is_true(#good >= 440, #good .. " cases")
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
    assert.is_true(#bad >= 240, #bad .. " cases")
  end)
end)

-- "\u00e4" and "\x{e4}" stand for what they say.
local function unescaped(text)
  local function character(digits) return utf8.char(tonumber(digits, 16)) end
  return (text:gsub("\\u(%x%x%x%x)", character):gsub("\\x{(%x+)}", character))
end

-- { name, its ASCII form, what is wrong with it: "C1, V6" or "" }
local function read_names(text)
  local names = {}
  for line in text:gmatch "[^\n]+" do
    local fields = {}
    for field in line:gsub("#.*", ""):gmatch "%s*([^;]*);?" do
      fields[#fields + 1] = field:match "^(.-)%s*$"
    end
    if #fields >= 5 then
      local name = unescaped(fields[1])
      local plain = fields[2] == "" and name or unescaped(fields[2])
      local ascii = fields[4] == "" and plain or unescaped(fields[4])
      local wrong = fields[5] ~= "" and fields[5] or fields[3]
      names[#names + 1] = { name, ascii, wrong:match "%[?([^%]]*)" }
    end
  end
  return names
end

-- What may be wrong with a name that a URL has. A4: empty labels, long ones. V2, V3: where the
-- hyphens stand. P1 and V6: characters that host names proper do not have, such as "$"; all others
-- of these two are refused, which the count shows. And libidn2 looks at the directions of letters
-- in each label by itself: B1, B4, B6.
local FORGIVEN = { A4_1 = true, A4_2 = true, V2 = true, V3 = true, P1 = true, V6 = true,
  B1 = true, B4 = true, B6 = true }

describe("url.parse and Unicode's examples of names", function()
  local text = example_file "IdnaTestV2.txt"
  if not text then
    pending "need IdnaTestV2.txt: apt-get install librust-url-dev"
    return
  end

  it("gives their form in ASCII, or refuses them", function()
    local same, refused, forgiven, too_strict, odd = 0, 0, 0, 0, {}
    for _, case in ipairs(read_names(text)) do
      local name, ascii, wrong = table.unpack(case)
      -- What ends in a number is an address, and some characters end a host.
      if not ascii:find "%d%.?$" and not name:find "[%z\1-\32%%/:?#@\\<>^|%[%]\127]" then
        local ok, u = pcall(url.parse, "http://" .. name .. "/")
        local function say() odd[#odd + 1] = ("%s [%s]: %s"):format(name, wrong, tostring(u)) end
        if not ok then
          refused = refused + 1
          if u.code ~= "EINVAL" then say() end
          if wrong == "" then too_strict = too_strict + 1 end
        elseif wrong == "" then
          same = same + 1
          if u.host ~= ascii then say() end
        else
          forgiven = forgiven + 1
          for status in wrong:gmatch "[%w_]+" do
            if not FORGIVEN[status] then say() end
          end
        end
      end
    end
    assert.same({}, odd)
    assert.is_true(same >= 350 and refused >= 4500, same .. " same, " .. refused .. " refused")
    assert.is_true(too_strict <= 30 and forgiven <= 150, too_strict .. ", " .. forgiven)
  end)
end)
