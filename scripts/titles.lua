-- Fetch every URL of a file (one a line) at once; print each with its page's title.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, html = async.http, async.html
local await, create_task, gather = async.await, async.create_task, async.gather

local web <close> = site.open(arg)

local fetch = async(function(session, url)
  local response = session:get(url)
  local content = response:text()
  return { url, content }
end, "fetch")

local main = async(function()
  if #arg < 1 then
    io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " FILENAME\n")
    os.exit(1)
  end

  local session <close> = http.session()
  local tasks = {}
  for _, url in ipairs(web:urls(arg[1])) do
    tasks[#tasks + 1] = create_task(fetch(session, url))
  end
  await(gather(tasks))

  for _, task in ipairs(tasks) do
    local url, content = table.unpack(task:result())
    print(url)
    local title = html.parse(content):find "title"
    print(not title and "Missing" or title:contents()[1]) -- nil: there is nothing in it
  end
end, "main")

async.run(main())
