-- Fetch the flags of the world, all at once.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, await, gather, now = async.http, async.await, async.gather, async.now

local web <close> = site.open(arg)
local proxy = site.take(arg, "proxy")

local fetch = async(function(code, session)
  local response = session:get(web:url("/256x192/" .. code .. ".png"))
  return response:read()
end, "fetch")

local main = async(function()
  local session <close> = http.session { proxy = proxy }
  local codes = session:get(web:url "/fr/codes.json"):raise_for_status():json()

  local t0 = now()
  local futures = {}
  for code in pairs(codes) do
    futures[#futures + 1] = fetch(code, session)
  end
  local data
  for _, response in ipairs(await(gather(futures))) do
    data = response
  end
  assert(#data > 0)
  print(("done in %.5fs"):format(now() - t0))
end, "main")

async.run(main())
