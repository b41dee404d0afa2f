-- Fetch the first LIMIT URLs of a file, PARALLEL at a time; print them as they came, with titles.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, html = async.http, async.html
local await, create_task, gather = async.await, async.create_task, async.gather

local web <close> = site.open(arg)

-- A worker: takes URLs off the queue until it is empty.
local fetch = async(function(session, queue, results)
  for url in queue do
    local content = session:get(url):text()
    local title = html.parse(content):find "title"
    if not results[url] then results[#results + 1] = url end
    results[url] = { title and title:contents()[1] }
  end
end, "fetch")

local main = async(function(parallel, urls)
  local results = {}
  local queue = async.queue()
  for _, url in ipairs(urls) do
    queue:put(url)
  end
  queue:close() -- nothing more will come

  local session <close> = http.session()
  local tasks = {}
  for _ = 1, parallel do
    tasks[#tasks + 1] = create_task(fetch(session, queue, results))
  end
  await(gather(tasks))
  return results
end, "main")

local function setup()
  local limit, parallel = math.tointeger(tonumber(arg[1])), math.tointeger(tonumber(arg[2]))
  if #arg < 3 or not limit or limit < 0 or not parallel or parallel < 1 then
    io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " LIMIT PARALLEL FILENAME\n")
    os.exit(1)
  end

  local urls = web:urls(arg[3])
  local first = table.move(urls, 1, math.min(#urls, limit), 1, {})
  local results = async.run(main(parallel, first))
  for _, url in ipairs(results) do
    print(url .. " - " .. tostring(results[url][1]))
  end
end

setup()
