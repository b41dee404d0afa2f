-- A name server on loopback, for specs: UDP, and TCP for what does not fit.
--
--   local server <close> = dns_server.start {
--     ["a.test"] = { A = "192.0.2.1", MX = { { 10, "mail.test" } } },
--     ["gone.test"] = "NXDOMAIN",        -- or SERVFAIL, REFUSED
--     ["dead.test"] = "silent",          -- or garbage, forged, truncated
--     ["turns.test"] = function(count) return { A = ... } end,
--   }
--   dns.servers({ server.address }, { timeout = 0.2, tries = 2 })  -- or dns_server.serve
--   server.asked["a.test"]               -- how many questions came
--
-- A record is written as a string or a list of fields, several as a list of
-- them. A name that is not there does not exist.

local async = require "asyncbox"
local dns = require "asyncbox.dns"
local net = require "asyncbox.net"

local dns_server = {}

local TYPES = {
  A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28, SRV = 33,
  NAPTR = 35, CAA = 257,
}
local RCODES = { SERVFAIL = 2, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5 }

-- ---- writing ----

local function name(text)
  local labels = {}
  for label in text:gmatch "[^.]+" do labels[#labels + 1] = string.pack("s1", label) end
  return table.concat(labels) .. "\0"
end

local function address(text)
  if not text:find(":", 1, true) then
    return (text:gsub("(%d+)%.?", function(byte) return string.char(byte) end))
  end
  local head, tail = text:match "^(.-)::(.*)$"
  local function groups(part)
    local list = {}
    for group in part:gmatch "%x+" do list[#list + 1] = string.pack(">I2", tonumber(group, 16)) end
    return table.concat(list)
  end
  local left, right = groups(head or text), groups(tail or "")
  return left .. ("\0"):rep(16 - #left - #right) .. right
end

local WRITERS = {
  A = address, AAAA = address, NS = name, CNAME = name, PTR = name,
  MX = function(r) return string.pack(">I2", r[1]) .. name(r[2]) end,
  TXT = function(r)
    if type(r) == "string" then r = { r } end
    local parts = {}
    for i, part in ipairs(r) do parts[i] = string.pack("s1", part) end
    return table.concat(parts)
  end,
  SRV = function(r) return string.pack(">I2I2I2", r[1], r[2], r[3]) .. name(r[4]) end,
  SOA = function(r)
    return name(r[1]) .. name(r[2]) .. string.pack(">I4I4I4I4I4", table.unpack(r, 3))
  end,
  CAA = function(r) return string.pack("Bs1", r[1], r[2]) .. r[3] end,
  NAPTR = function(r)
    return string.pack(">I2I2s1s1s1", table.unpack(r, 1, 5)) .. name(r[6])
  end,
}

-- One record, or a list of them: what each has as its data.
local function datas(kind, value)
  local list = {}
  local is_list = type(value) == "table" and type(value[1]) == "table" or
    (kind == "A" or kind == "AAAA" or kind == "NS" or kind == "PTR" or kind == "TXT")
    and type(value) == "table" and not value.parts
  if not is_list then value = { value } end
  for i, one in ipairs(value) do
    if type(one) == "table" and one.raw then
      list[i] = one.raw
    else
      list[i] = WRITERS[kind](one)
    end
  end
  return list
end

-- ---- answering ----

local function read_question(query)
  local labels, at = {}, 13
  while query:byte(at) ~= 0 do
    local label
    label, at = string.unpack("s1", query, at)
    labels[#labels + 1] = label
  end
  local kind = string.unpack(">I2", query, at + 1)
  return table.concat(labels, "."):lower(), kind, query:sub(13, at + 4)
end

local function message(id, flags, question, answers)
  return string.pack(">I2I2I2I2I2I2", id, flags, 1, #answers, 0, 0) .. question ..
    table.concat(answers)
end

local function records(entry, wanted)
  local list = {}
  for kind, value in pairs(entry) do
    if TYPES[kind] == wanted or kind == "CNAME" then
      for _, data in ipairs(datas(kind, value)) do
        list[#list + 1] = string.pack(">I2I2I2I4s2", 0xc00c, TYPES[kind], 1, 60, data)
      end
    end
  end
  return list
end

-- The messages to send back: none, one or two.
local function answer(self, query, by_tcp)
  local id = string.unpack(">I2", query)
  local asked, kind, question = read_question(query)
  local count = (self.asked[asked] or 0) + 1
  self.asked[asked] = count
  local entry = self.zone[asked]
  if type(entry) == "function" then entry = entry(count, kind) end
  if entry == nil then entry = "NXDOMAIN" end
  if entry == "silent" then return end
  if entry == "garbage" then return { query:sub(1, 2) .. ("\xff"):rep(40) } end
  if RCODES[entry] then return { message(id, 0x8180 | RCODES[entry], question, {}) } end
  local list = records(entry, kind)
  if entry.truncated and not by_tcp then return { message(id, 0x8380, question, {}) } end
  local right = message(id, 0x8180, question, list)
  if entry.cut then right = right:sub(1, -1 - entry.cut) end
  if entry.forged then
    local wrong = records({ A = "6.6.6.6", AAAA = "6::6" }, kind)
    return { message(id ~ 1, 0x8180, question, wrong), right }
  end
  return { right }
end

local function serve_udp(self, socket)
  for query, from in socket:packets() do
    self.total = self.total + 1
    for _, reply in ipairs(answer(self, query) or {}) do pcall(socket.send, socket, reply, from) end
  end
end

local function serve_tcp(self, conn)
  self.by_tcp = self.by_tcp + 1
  local head = conn:read_exactly(2)
  local query = conn:read_exactly(string.unpack(">I2", head))
  for _, reply in ipairs(answer(self, query, true) or {}) do
    conn:write(string.pack(">s2", reply))
  end
end

function dns_server.start(zone)
  local self = { zone = zone, asked = {}, total = 0, by_tcp = 0 }
  -- One port for both: another program may have it for TCP.
  for _ = 1, 50 do
    self.socket = net.udp { host = "127.0.0.1", port = 0, receive_buffer = 4 << 20 }
    self.port = self.socket:address().port
    local ok, listener = pcall(net.listen, "127.0.0.1", self.port,
      function(conn) serve_tcp(self, conn) end)
    if ok then
      self.listener = listener
      break
    end
    self.socket:close()
  end
  self.address = "127.0.0.1:" .. self.port
  self.task = async.spawn(serve_udp, self, self.socket)
  return setmetatable(self, dns_server)
end

-- The same, and all look-ups go to it, with these options of dns.servers.
function dns_server.serve(zone, options)
  local self = dns_server.start(zone)
  dns.servers({ self.address }, options)
  return self
end

function dns_server:__close()
  self.socket:close()
  self.listener:close()
  async.await(self.task)
end

return dns_server
