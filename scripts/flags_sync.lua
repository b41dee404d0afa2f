-- Fetch the flags of the world, one after the other, with a progress bar.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, progress = async.http, async.progress

local web <close> = site.open(arg)
local session <close> = http.session { proxy = site.take(arg, "proxy") }

local response = session:get(web:url "/fr/codes.json")
response:raise_for_status()

local codes = {}
for code in pairs(response:json()) do
  codes[#codes + 1] = code
end
table.sort(codes)

for code in progress(codes) do
  local r = session:get(web:url("/256x192/" .. code .. ".png"))
  r:raise_for_status()
  r:read() -- the content is of no use here
end
