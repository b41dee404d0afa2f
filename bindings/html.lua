-- html.lua - what composes the primitives of html.c.
-- Gets the methods of nodes, asyncbox.url, and what raises at the caller's line.
local methods, url, misuse = ...
local pcall, type, match = pcall, type, string.match

local function trim(text) return match(text, "^[ \t\n\f\r]*(.-)[ \t\n\f\r]*$") end

-- What relative links of the page belong to: its <base href>, seen from where
-- it came from.
local function base_of(document, page_url)
  local element = document:select_one "base[href]"
  if not element then return page_url end
  local href = trim(element:attr "href")
  local ok, base
  if page_url then
    ok, base = pcall(url.join, page_url, href)
  else
    ok, base = pcall(url.parse, href)
  end
  return ok and base or page_url
end

-- The targets of the links inside of a node, in the order of the page. What is
-- no URL is left out.
function methods:links(page_url)
  if page_url ~= nil then
    if type(page_url) ~= "string" then
      misuse("links: the page's URL must be a string, got " .. type(page_url))
    end
    page_url = url.parse(page_url)
  end
  local base = base_of(self.document, page_url)
  local elements = self:select "a[href], area[href]"
  local out = {}
  for i = 1, #elements do
    local href = trim(elements[i]:attr "href")
    local ok, target = true, href
    if base then ok, target = pcall(url.join, base, href) end
    if ok then out[#out + 1] = target end
  end
  return out
end
