-- url_host.lua - the hosts of URLs: names, IPv4 in all its spellings, IPv6.
-- Gets the primitives of url.c.
local core = ...
local to_ascii = core.to_ascii
local byte, char, find, format, gsub, gmatch, lower, match, sub =
  string.byte, string.char, string.find, string.format, string.gsub, string.gmatch, string.lower,
  string.match, string.sub
local concat, unpack = table.concat, table.unpack
local tonumber = tonumber

local CONTROL = "[\0-\31\127-\255]"

local function encode_byte(c) return format("%%%02X", byte(c)) end

local function from_hex(digits) return char(tonumber(digits, 16)) end

-- A number of an IPv4 address in any of its spellings; nil: it is none.
local function ipv4_number(text)
  local base, digits = 10, text
  if find(text, "^0[xX]") then
    base, digits = 16, sub(text, 3)
    if find(digits, "[^0-9A-Fa-f]") then return end
  elseif find(text, "^0[0-9]") then
    base, digits = 8, sub(text, 2)
    if find(digits, "[^0-7]") then return end
  elseif text == "" or find(text, "[^0-9]") then
    return
  end
  digits = match(digits, "^0*(.*)$")
  if digits == "" then return 0 end
  return #digits > 11 and 1 << 40 or tonumber(digits, base)
end

-- The address as text; false: it ends as one but is none; nil: it is a name.
local function ipv4(host)
  local parts = {}
  for part in gmatch(gsub(host, "%.$", "") .. ".", "([^.]*)%.") do
    parts[#parts + 1] = part
    if #parts > 127 then return end
  end
  local n = #parts
  if not find(parts[n], "^[0-9]+$") and not ipv4_number(parts[n]) then return end
  if n > 4 then return false end
  local address = 0
  for i = 1, n do
    local number = ipv4_number(parts[i])
    local limit = i < n and 256 or 256 ^ (5 - n)
    if not number or number >= limit then return false end
    address = address + (i < n and number << (8 * (4 - i)) or number)
  end
  return format("%d.%d.%d.%d", address >> 24, address >> 16 & 255, address >> 8 & 255,
    address & 255)
end

-- Adds the groups of one side of "::"; gives false if they are none.
local function ipv6_groups(text, list, may_end_in_ipv4)
  if text == "" then return true end
  local fields = {}
  for field in gmatch(text .. ":", "([^:]*):") do fields[#fields + 1] = field end
  for i = 1, #fields do
    local field = fields[i]
    if find(field, "^[0-9A-Fa-f]+$") and #field <= 4 then
      list[#list + 1] = tonumber(field, 16)
    elseif i == #fields and may_end_in_ipv4 then
      local bytes = { match(field, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
      for j = 1, 4 do
        local digits = bytes[j]
        if not digits or #digits > 3 or find(digits, "^0.") then return false end
        bytes[j] = tonumber(digits)
        if bytes[j] > 255 then return false end
      end
      local a, b, c, d = unpack(bytes)
      list[#list + 1] = a << 8 | b
      list[#list + 1] = c << 8 | d
    else
      return false
    end
  end
  return true
end

-- The longest run of zeros, two or more, becomes "::".
local function ipv6_text(groups)
  local best, length, i = nil, 1, 1
  while i <= 8 do
    local j = i
    while j <= 8 and groups[j] == 0 do j = j + 1 end
    if j - i > length then best, length = i, j - i end
    i = j + 1
  end
  for k = 1, 8 do groups[k] = format("%x", groups[k]) end
  if not best then return concat(groups, ":") end
  return concat(groups, ":", 1, best - 1) .. "::" .. concat(groups, ":", best + length, 8)
end

local function ipv6(text)
  if #text > 45 then return end
  local gap = find(text, "::", 1, true)
  local groups, tail = {}, {}
  if not gap then
    return ipv6_groups(text, groups, true) and #groups == 8 and ipv6_text(groups) or nil
  end
  if find(text, "::", gap + 1, true) then return end
  if not ipv6_groups(sub(text, 1, gap - 1), groups, false) then return end
  if not ipv6_groups(sub(text, gap + 2), tail, true) then return end
  if #groups + #tail > 7 then return end
  for _ = 1, 8 - #groups - #tail do groups[#groups + 1] = 0 end
  for i = 1, #tail do groups[#groups + 1] = tail[i] end
  return ipv6_text(groups)
end

-- The host in its one spelling (IPv6 without brackets), or nil and why not.
return function(text, special)
  if sub(text, 1, 1) == "[" then
    local address = match(text, "^%[(.*)%]$")
    address = address and ipv6(address)
    if not address then return nil, "invalid IPv6 address" end
    return address
  end
  if not special then
    if find(text, "[\0\t\n\r #/:<>?@[\\%]^|]") then return nil, "invalid character in the host" end
    return (gsub(text, CONTROL, encode_byte))
  end
  local host = lower((gsub(text, "%%([0-9A-Fa-f][0-9A-Fa-f])", from_hex)))
  if host == "" then return nil, "the host is missing" end
  if find(host, "[\128-\255]") or find(host, "xn--", 1, true) then
    local ascii, why = to_ascii(host)
    if not ascii then return nil, why end
    host = ascii
  end
  if find(host, "[\0-\32#%%/:<>?@[\\%]^|\127]") then
    return nil, "invalid character in the host"
  end
  local address = ipv4(host)
  if address == false then return nil, "invalid IPv4 address" end
  return address or host
end
