-- Fetch a page with callbacks: one for success, one for failure, one for both.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, spawn = async.http, async.spawn

local web <close> = site.open(arg)

-- A task that has the page's text when it is done, or an error.
local function get_page(url)
  return spawn(function()
    return http.get(url):raise_for_status():text()
  end)
end

local function print_page(result)
  print("Page")
  print("Size of the returned page is " .. #result)
end

local function print_error(err)
  print("Error")
  print("Error: " .. tostring(err))
end

local function stop()
  print("stop")
end

if #arg ~= 1 then
  io.stderr:write("Usage: asyncbox run ", arg[0], " <URL>\n")
  os.exit(1)
end

local d = get_page(web:url(arg[1]))
d = d:and_then(print_page, print_error)
d = d:finally(stop)

async.await(d)
