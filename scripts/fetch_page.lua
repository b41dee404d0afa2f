-- Fetch a page and print it.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, await = async.http, async.await

local web <close> = site.open(arg)

local fetch = async(function(session, url)
  local response <close> = session:get(url)
  return response:text()
end, "fetch")

local main = async(function()
  local session <close> = http.session()
  local html = await(fetch(session, web:url(arg[1] or "/")))
  print(html)
  print("OK")
end, "main")

async.run(main())
