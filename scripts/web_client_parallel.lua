-- Fetch what is in a queue with callbacks, at most MAX pages at a time.

local async = require "asyncbox"
local site = dofile((arg[0]:match ".*/" or "") .. "support/site.lua")
local http, spawn = async.http, async.spawn

local web <close> = site.open(arg)

local queue = {
  "/3/",
  "/3/whatsnew/3.3.html",
  "/3/tutorial/index.html",
  "/3/library/index.html",
  "/3/reference/index.html",
  "/3/howto/index.html",
  "/3/howto/pyporting.html",
  "/3/howto/cporting.html",
  "/3/howto/curses.html",
  "/3/howto/descriptor.html",
  "/3/howto/functional.html",
  "/3/howto/logging.html",
  "/3/howto/logging-cookbook.html",
  "/3/howto/regex.html",
  "/3/howto/sockets.html",
  "/3/howto/sorting.html",
  "/3/howto/unicode.html",
  "/3/howto/urllib2.html",
  "/3/howto/webservers.html",
  "/3/howto/argparse.html",
  "/3/howto/ipaddress.html",
}

local max_parallel = math.tointeger(tonumber(arg[1] or 3))
if not max_parallel or max_parallel < 1 then
  io.stderr:write("Usage: ", arg[0]:match("[^/]*$"), " [MAX]\n")
  os.exit(1)
end
local current_parallel = 0
local reactor = async.future()

local function get_page(url)
  return spawn(function()
    return http.get(url):raise_for_status():text()
  end)
end

local process_queue

local function print_page(result)
  print("page size:  " .. #result)
  current_parallel = current_parallel - 1
  print("current_parallel:  " .. current_parallel)
  process_queue()
end

local function print_error(err)
  print("Error:  " .. tostring(err))
  current_parallel = current_parallel - 1
  process_queue()
end

function process_queue()
  print(("process_queue cs: %d max: %d"):format(current_parallel, max_parallel))
  while true do
    if current_parallel >= max_parallel then
      print "No empty slot"
      return
    end
    if #queue == 0 then
      print "queue is empty"
      if current_parallel == 0 then
        reactor:set_result()
      end
      return
    end
    local url = table.remove(queue, 1) .. "?" .. os.time()
    current_parallel = current_parallel + 1
    get_page(web:url(url)):and_then(print_page, print_error)
  end
end

process_queue()
async.await(reactor)
print "----done ---"
