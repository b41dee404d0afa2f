-- Serve the small site by itself, for programs that are told so by --base.
-- asyncbox run scripts/support/serve.lua [DELAY]: prints its URL.

local site = dofile((arg[0]:match ".*/" or "") .. "site.lua")

local server <close>, url = site.serve(tonumber(arg[1]) or 0.1)
print(url)
io.stdout:flush()
server:wait()
