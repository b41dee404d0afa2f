-- Ask some sites whether they answer: one after the other, then at once.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, await, gather, now = async.http, async.await, async.gather, async.now

local web <close> = site.open(arg)

-- Some sites turn away what does not look like a browser.
local USER_AGENT = site.take(arg, "user-agent")
  or "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " ..
    "Chrome/120.0.0.0 Safari/537.36"

local GAFAM = #arg > 0 and arg or {
  "/www.google.com",
  "/www.amazon.com",
  "/www.facebook.com",
  "/www.apple.com",
  "/www.microsoft.com",
}

local function get_resp(session, url)
  local response <close> = session:get(web:url(url), { headers = { ["User-Agent"] = USER_AGENT } })
  if response.status ~= 200 then
    print("Error: " .. web:url(url) .. " - " .. response.status)
  end
end

local function sync_run()
  for _, url in ipairs(GAFAM) do
    local session <close> = http.session()
    get_resp(session, url)
  end
end

local async_run = async(function()
  local tasks = {}
  for _, url in ipairs(GAFAM) do
    tasks[#tasks + 1] = async.spawn(function()
      local session <close> = http.session()
      get_resp(session, url)
    end)
  end
  await(gather(tasks))
end, "async_run")

local s_start = now()
sync_run()
local s_total = now() - s_start
print(("sync_run: %.4f"):format(s_total))

local a_start = now()
async.run(async_run())
local a_total = now() - a_start
print(("async_run: %.4f"):format(a_total))
print(("async_run - sync_run: %.4f"):format(s_total - a_total))
