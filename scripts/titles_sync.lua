-- Fetch the URLs of a file (one a line), one after the other; print each with its page's title.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, html = async.http, async.html

local web <close> = site.open(arg)

local function fetch(url)
  local response = http.get(url)
  local content = response:text()
  return content
end

local function main()
  if #arg < 1 then
    io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " FILENAME\n")
    os.exit(1)
  end

  for _, url in ipairs(web:urls(arg[1])) do
    local content = fetch(url)
    print(url)
    local title = html.parse(content):find "title"
    print(not title and "Missing" or title:contents()[1])
  end
end

main()
