-- Go through the pages of a site from START on, breadth first: each once, up to DEPTH links away.
--
-- Prints how far away each page is, its URL and its title. Pages of the same
-- distance are fetched together, at most --limit (16) at a time.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, html, url = async.http, async.html, async.url

local web <close> = site.open(arg)
local limit = math.tointeger(site.take_number(arg, "limit") or 16)
local depth = math.tointeger(tonumber(arg[2]))

if #arg ~= 2 or not depth or depth < 0 or not limit or limit < 1 then
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " START DEPTH [--limit N] [--base URL]\n")
  os.exit(1)
end

local session <close> = http.session()
local start = url.parse(web:url(arg[1]))

-- Gives the page's title, or why there is none, and its links.
local function visit(address)
  local ok, response = pcall(session.get, session, address)
  if not ok then
    return { title = "(" .. response.code .. ")", links = {} }
  elseif response.status ~= 200 then
    return { title = "(" .. response.status .. ")", links = {} }
  end
  local page = html.parse(response:text())
  return { title = page.title or "(no title)", links = page:links(response.url) }
end

-- Is it of this site? Then without what is only a place in a page.
local function here(link)
  local target = url.parse(link)
  if target.scheme == start.scheme and target.host == start.host and target.port == start.port then
    target.fragment = nil
    return url.build(target)
  end
end

local seen = { [url.build(start)] = true }
local level, count = { url.build(start) }, 0

for distance = 0, depth do
  local pages = async.map(level, visit, { limit = limit })
  local next_level = {}
  for i, page in ipairs(pages) do
    print(distance .. " " .. level[i] .. " - " .. page.title)
    count = count + 1
    for _, link in ipairs(page.links) do
      local address = here(link)
      if address and not seen[address] then
        seen[address] = true
        next_level[#next_level + 1] = address
      end
    end
  end
  level = next_level
end
print(count .. " pages, " .. #level .. " more beyond")
