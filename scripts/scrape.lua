-- Ask for five pages at once; print each as it answers.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, wait = async.http, async.wait

local web <close> = site.open(arg)

local URL_LIST = #arg > 0 and arg or {
  "/www.python.org/",
  "/www.javascript.com/",
  "/www.amazon.com",
  "/www.netflix.com/",
  "/www.scala-lang.org/",
}

local fetch = async(function(url)
  local session <close> = http.session()
  local res <close> = session:get(url)
  print(url .. " / " .. res.status)
end, "fetch")

-- The time of day at first, a duration at the end, both in seconds.
local s = os.time()
local begun = async.now()
print("start: " .. s)

local tasks = {}
for _, path in ipairs(URL_LIST) do
  tasks[#tasks + 1] = fetch(web:url(path))
end
wait(tasks)

print("end: " .. async.now() - begun)
