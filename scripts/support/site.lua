-- The small site that the programs of this folder fetch from when they are given
-- no other: a few dozen lines of HTTP on asyncbox.net, so that all of them run
-- without internet.
--
--   local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
--   local web <close> = site.open(arg)     -- takes its own options off the list
--   web:url "/apple"                       -- http://127.0.0.1:PORT/apple
--   web:url "https://example.com/"         -- as it is
--
-- Options: --base URL, another site to put in front of what begins with "/";
-- --delay SECONDS, how long the small site thinks before it answers (0.1 if not
-- given). It is started when the first URL of it is asked for.

local async = require "asyncbox"
local html = require "asyncbox.html"

local site = {}

-- ---- its pages ----

-- Path -> title and links: a garden with two ways to most places, one that leads
-- nowhere, and one out of it.
local garden = {
  ["/"] = { "The garden", "/apple", "/pear", "/plum" },
  ["/apple"] = { "Apple & core", "/pear", "/cider" },
  ["/pear"] = { "Pear", "/" },
  ["/plum"] = { "Plum", "/apple", "jam", "#stone", "http://elsewhere.invalid/" },
  ["/jam"] = { "Jam", "/cider", "/jam", "/gone" },
  ["/cider"] = { "Cider", "/press" },
  ["/press"] = { "The press", "/", "mailto:miller@elsewhere.invalid" },
  ["/untitled"] = { nil, "/" },
  ["/empty"] = { "", "/" },
}

-- Written as people write HTML: what can be left out is.
local function garden_page(place)
  local out = { "<!doctype html>\n" }
  if place[1] then out[2] = "<title>" .. html.escape(place[1]) .. "</title>\n" end
  out[#out + 1] = "<h1>Welcome</h1>\n<ul>\n"
  for i = 2, 9 do
    local link = place[i]
    if link then
      out[#out + 1] = "<li><a href='" .. html.escape(link) .. "'>" .. html.escape(link) .. "</a>\n"
    end
  end
  out[#out + 1] = "</ul>\n"
  return table.concat(out)
end

-- The codes of flagcdn.com: countries, and what else has a flag there.
local codes = [[
  ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs
  bt bv bw by bz ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee
  eg eh er es et fi fj fk fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm
  hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc
  li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na
  nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw
  sa sb sc sd se sg sh si sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to
  tr tt tv tw tz ua ug um us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw
  xk eu un gb-eng gb-nir gb-sct gb-wls us-ak us-al us-ar us-az us-ca us-co us-ct us-de us-fl us-ga
  us-hi us-ia us-id us-il us-in us-ks us-ky us-la us-ma us-md us-me us-mi us-mn us-mo us-ms us-mt
  us-nc us-nd us-ne us-nh us-nj us-nm us-nv us-ny us-oh us-ok us-or us-pa us-ri us-sc us-sd us-tn
  us-tx us-ut us-va us-vt us-wa us-wi us-wv us-wy]]

local function codes_json()
  local names = {}
  for code in codes:gmatch "%S+" do names[code] = code:upper() end
  return async.json.encode(names)
end

-- Gives status, type, body. `agent` is the client's User-Agent.
local function answer(path, agent)
  path = path:match "^[^?]*"
  if garden[path] then return 200, "text/html; charset=utf-8", garden_page(garden[path]) end
  if path == "/fr/codes.json" then return 200, "application/json", codes_json() end
  if path:find "^/256x192/[%l-]+%.png$" then return 200, "image/png", ("\137PNG"):rep(256) end
  -- It likes no robots.
  if path == "/www.amazon.com" and not agent:find("Mozilla", 1, true) then
    return 503, "text/plain", "Service Unavailable\n"
  end
  if path:find "^/www%." or path:find "^/3/" then
    return 200, "text/html", ("<p>All that there is to read."):rep(40)
  end
  return 404, "text/html", "<title>404 Not Found</title>"
end

-- ---- its server ----

local REASONS = { [200] = "OK", [404] = "Not Found", [503] = "Service Unavailable" }

-- One request of a connection; false: there is none any more.
local function converse(connection, delay)
  local request = connection:read_line()
  local path = request and request:match "^%u+ (%S+) HTTP/1%.%d"
  if not path then return false end
  path = path:gsub("^http://[^/]*", "") -- as a proxy is asked
  local agent = ""
  for line in connection:lines() do
    if line == "" or line == "\r" then break end
    agent = line:match "^[Uu]ser%-[Aa]gent:%s*(.*)" or agent
  end
  if delay > 0 then async.sleep(delay) end
  local status, kind, body = answer(path, agent)
  connection:write(("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"):format(
    status, REASONS[status], kind, #body, body))
  return true
end

-- Serves on loopback until it is closed. Gives the server and its URL.
function site.serve(delay)
  local server = async.net.listen("127.0.0.1", 0, function(connection)
    while converse(connection, delay) do end
  end)
  return server, "http://127.0.0.1:" .. server:address().port
end

-- ---- what programs use ----

local web = {}
local web_meta = { __index = web }

local function fail(text)
  io.stderr:write(arg[0]:match "[^/]*$", ": ", text, "\n")
  os.exit(1)
end

-- Takes "--name VALUE" off the list; gives VALUE, or nil.
function site.take(args, name)
  for i = 1, #args do
    if args[i] == "--" .. name then
      table.remove(args, i)
      if not args[i] then fail("--" .. name .. " needs a value") end
      return table.remove(args, i)
    end
  end
  return nil
end

-- The same for a number.
function site.take_number(args, name)
  local text = site.take(args, name)
  local number = tonumber(text)
  if text and not number then fail("--" .. name .. " needs a number, not " .. text) end
  return number
end

function site.open(args)
  local base = site.take(args, "base")
  return setmetatable({
    base = base and base:gsub("/+$", ""),
    delay = site.take_number(args, "delay") or 0.1,
  }, web_meta)
end

function web:url(text)
  if text:sub(1, 1) ~= "/" then return text end
  if not self.base then self.server, self.base = site.serve(self.delay) end
  return self.base .. text
end

-- The URLs of a file, one a line.
function web:urls(path)
  local urls = {}
  for line in async.fs.read(path):gmatch "[^\r\n]+" do urls[#urls + 1] = self:url(line) end
  return urls
end

function web_meta.__close(self)
  if self.server then self.server:close() end
end

return site
