-- Ask for five pages, one after the other.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, now = async.http, async.now

local web <close> = site.open(arg)

local URL_LIST = #arg > 0 and arg or {
  "/www.python.org/",
  "/www.javascript.com/",
  "/www.amazon.com",
  "/www.netflix.com/",
  "/www.scala-lang.org/",
}

local s = now()
for _, path in ipairs(URL_LIST) do
  local url = web:url(path)
  local res <close> = http.get(url)
  print("requested : " .. url .. " / " .. res.status)
end

print(now() - s)
