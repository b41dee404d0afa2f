-- The tutorial programs that fetch, run as a user would run them: all that they
-- print, on both streams, and their exit status. What differs from run to run is
-- masked: the small site's port, seconds, rates.

local async = require "asyncbox"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"

local site = dofile "scripts/support/site.lua"

setup(children.warm_up)
before_each(clean.start)
after_each(function()
  children.check()
  clean.check()
end)

-- Ports of loopback but 1, and numbers with a fraction.
local function mask(text)
  text = text:gsub("http://127%.0%.0%.1:%d%d%d+", "SITE")
  text = text:gsub("http://127%.0%.0%.1:1/", "NOBODY/")
  text = text:gsub("start: %d+\n", "start: TIME\n")
  return (text:gsub("%d+%.%d[%de.-]*", "N"))
end

-- Its own site answers at once; the spec goes on meanwhile, and may serve.
local function run(name, ...)
  return process.run(cli.program(), { "run", "scripts/" .. name, "--delay", "0", ... },
    { timeout = 120 })
end

local function assert_printed(expected, result)
  assert.equal("", mask(result.stderr))
  assert.equal(table.concat(expected, "\n") .. "\n", mask(result.stdout))
  assert.equal(0, result.status)
end

local function assert_usage(expected, result)
  assert.equal(expected .. "\n", result.stderr)
  assert.equal("", result.stdout)
  assert.equal(1, result.status)
end

-- The lines of a text from the first to the last, in the order of letters.
local function sorted(text, first, last)
  local lines = {}
  for line in text:gmatch "[^\n]*\n" do lines[#lines + 1] = line end
  last = #lines + 1 - last
  local middle = table.move(lines, first, last, 1, {})
  table.sort(middle)
  table.move(middle, 1, #middle, first, lines)
  return table.concat(lines)
end

-- The spec's own site, for as long as f runs.
local function with_site(f)
  local server <close>, base = site.serve(0)
  return f(base, server)
end

-- A file with these lines, for as long as f runs.
local function with_file(lines, f)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  local result = f(path)
  os.remove(path)
  return result
end

local PAGES = "scripts/support/pages.txt"

describe("The program fetch_page", function()
  it("prints the page and OK", function()
    local page = { "<!doctype html>", "<title>Pear</title>", "<h1>Welcome</h1>", "<ul>",
      "<li><a href='/'>/</a>", "</ul>", "", "OK" }
    assert_printed(page, run("fetch_page.lua", "/pear"))
    with_site(function(base)
      assert_printed(page, run("fetch_page.lua", base .. "/pear"))
      assert_printed(page, run("fetch_page.lua", "/pear", "--base", base .. "/"))
    end)
  end)

  it("fetches the small site's first page when it is given none", function()
    assert.matches("^<!doctype html>\n<title>The garden</title>.*\n\nOK\n$",
      run("fetch_page.lua").stdout)
  end)

  it("names what cannot be fetched, and fails", function()
    local result = run("fetch_page.lua", "http://127.0.0.1:1/")
    assert.equal(1, result.status)
    assert.equal("", result.stdout)
    assert.matches("connection refused: http://127.0.0.1:1/ %(ECONNREFUSED%)", result.stderr)
  end)
end)

describe("The programs of titles", function()
  local printed = {
    "SITE/", "The garden", "SITE/apple", "Apple & core", "SITE/plum", "Plum",
    "SITE/untitled", "Missing", "SITE/empty", "nil", "SITE/press", "The press",
  }

  it("print each URL of a file and its title: titles_sync", function()
    assert_printed(printed, run("titles_sync.lua", PAGES))
    assert_usage("Usage: titles_sync.lua FILENAME", run "titles_sync.lua")
  end)

  it("and all at once, in the same order: titles", function()
    assert_printed(printed, run("titles.lua", PAGES))
    with_site(function(base)
      assert_printed(printed, run("titles.lua", PAGES, "--base", base))
    end)
  end)

  it("and so many of them, so many at a time, as they come: titles_queue", function()
    local lines = { "SITE/ - The garden", "SITE/apple - Apple & core", "SITE/plum - Plum",
      "SITE/untitled - nil" }
    assert_printed(lines, run("titles_queue.lua", 4, 1, PAGES))
    local result = run("titles_queue.lua", 4, 3, PAGES)
    result.stdout = sorted(mask(result.stdout), 1, 1)
    assert_printed(lines, result)
    assert_printed({ lines[1], lines[2], lines[3], lines[4], "SITE/empty - nil",
      "SITE/press - The press" }, run("titles_queue.lua", 99, 1, PAGES))
    assert.equal("", run("titles_queue.lua", 0, 3, PAGES).stdout)
    with_file({ "/pear", "/apple", "/pear" }, function(path) -- a URL has one line, as in a dict
      assert_printed({ "SITE/pear - Pear", lines[2] }, run("titles_queue.lua", 9, 1, path))
    end)
    assert_usage("Usage: titles_queue.lua LIMIT PARALLEL FILENAME", run("titles_queue.lua", 4, 2))
    assert_usage("Usage: titles_queue.lua LIMIT PARALLEL FILENAME",
      run("titles_queue.lua", "x", 2, PAGES))
    assert_usage("Usage: titles_queue.lua LIMIT PARALLEL FILENAME",
      run("titles_queue.lua", 4, 0, PAGES))
  end)

  it("parse what they fetch: titles in comments and scripts are none", function()
    with_site(function(base)
      local result = with_file({ base .. "/pear", base .. "/gone" }, function(path)
        return run("titles_sync.lua", path)
      end)
      assert_printed({ "SITE/pear", "Pear", "SITE/gone", "404 Not Found" }, result)
    end)
  end)
end)

describe("The programs of flags", function()
  it("fetch them one after the other, with a bar: flags_sync", function()
    local result = run "flags_sync.lua"
    assert.equal(0, result.status)
    assert.equal("", result.stdout)
    local last = result.stderr:match "([^\n]*)\n$"
    assert.matches("^100%%|██████████| 306/306 %[%d%d:%d%d<00:00, +[%d.]+it/s%]$", last)
  end)

  it("and all at once: flags", function()
    assert_printed({ "done in Ns" }, run "flags.lua")
  end)

  it("through a proxy as well", function()
    with_site(function(proxy)
      local away = { "--base", "http://flags.invalid", "--proxy", proxy }
      assert_printed({ "done in Ns" }, run("flags.lua", table.unpack(away)))
      assert.equal(0, run("flags_sync.lua", table.unpack(away)).status)
    end)
  end)

  it("take no longer for all of them than for a few", function()
    -- 306 answers of 0.2 s each: 61 s in a row.
    local result = process.run(cli.program(), { "run", "scripts/flags.lua", "--delay", "0.2" })
    local seconds = tonumber(result.stdout:match "^done in (%d+%.%d+)s\n$")
    assert.is_true(seconds >= 0.2 and seconds < 30, result.stdout)
  end)
end)

describe("The program ping_sites", function()
  it("says how long it took in a row, and at once, and the difference", function()
    assert_printed({ "sync_run: N", "async_run: N", "async_run - sync_run: N" },
      run "ping_sites.lua")
  end)

  it("has an error line for each answer but 200", function()
    assert_printed({
      "Error: SITE/www.amazon.com - 503", "sync_run: N",
      "Error: SITE/www.amazon.com - 503", "async_run: N", "async_run - sync_run: N",
    }, run("ping_sites.lua", "--user-agent", "robot"))
    assert_printed({
      "Error: SITE/none - 404", "sync_run: N", "Error: SITE/none - 404", "async_run: N",
      "async_run - sync_run: N",
    }, run("ping_sites.lua", "/www.lua.org", "/none"))
  end)
end)

describe("The program crawl", function()
  local garden = {
    "0 SITE/ - The garden", "1 SITE/apple - Apple & core", "1 SITE/pear - Pear",
    "1 SITE/plum - Plum", "2 SITE/cider - Cider", "2 SITE/jam - Jam", "3 SITE/press - The press",
    "3 SITE/gone - (404)",
  }

  it("visits each page once, breadth first, as deep as it is told", function()
    local function to(n, last)
      local lines = table.move(garden, 1, n, 1, {})
      lines[#lines + 1] = last
      return lines
    end
    assert_printed(to(1, "1 pages, 3 more beyond"), run("crawl.lua", "/", 0))
    assert_printed(to(4, "4 pages, 2 more beyond"), run("crawl.lua", "/", 1))
    assert_printed(to(6, "6 pages, 2 more beyond"), run("crawl.lua", "/", 2))
    assert_printed(to(8, "8 pages, 0 more beyond"), run("crawl.lua", "/", 9))
    assert_printed(to(8, "8 pages, 0 more beyond"), run("crawl.lua", "/", 9, "--limit", 1))
  end)

  it("begins anywhere, and stays on that site", function()
    with_site(function(base)
      assert_printed({ "0 SITE/plum - Plum", "1 SITE/apple - Apple & core", "1 SITE/jam - Jam",
        "3 pages, 3 more beyond" }, run("crawl.lua", base .. "/plum", 1))
    end)
    assert_printed({ "0 NOBODY/ - (ECONNREFUSED)", "1 pages, 0 more beyond" },
      run("crawl.lua", "http://127.0.0.1:1/", 3))
  end)

  it("has no more pages in flight than its limit", function()
    local most, now = 0, 0
    local server <close> = async.net.listen("127.0.0.1", 0, function(connection)
      for line in connection:lines() do
        local path = line:match "^GET (%S+)"
        if path then
          now = now + 1
          most = math.max(most, now)
          async.sleep(0.02)
        elseif line == "" or line == "\r" then
          local body = ""
          for i = 1, 12 do body = body .. "<a href=/" .. i .. ">" end
          now = now - 1
          connection:write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: " ..
            #body .. "\r\n\r\n" .. body)
        end
      end
    end)
    local base = "http://127.0.0.1:" .. server:address().port
    local result = run("crawl.lua", base .. "/", 1, "--limit", 3)
    assert.matches("\n13 pages, 0 more beyond\n$", result.stdout)
    assert.is_true(most <= 3, most)
  end)

  it("says how it is used", function()
    local usage = "Usage: crawl.lua START DEPTH [--limit N] [--base URL]"
    assert_usage(usage, run "crawl.lua")
    assert_usage(usage, run("crawl.lua", "/"))
    assert_usage(usage, run("crawl.lua", "/", "deep"))
    assert_usage(usage, run("crawl.lua", "/", -1))
    assert_usage(usage, run("crawl.lua", "/", 1, "--limit", 0))
    assert_usage("crawl.lua: --limit needs a number, not x",
      run("crawl.lua", "/", 1, "--limit", "x"))
    assert_usage("crawl.lua: --limit needs a value", run("crawl.lua", "/", 1, "--limit"))
  end)
end)

describe("The programs of scrape", function()
  local sites = { "SITE/www.amazon.com / 503", "SITE/www.javascript.com/ / 200",
    "SITE/www.netflix.com/ / 200", "SITE/www.python.org/ / 200", "SITE/www.scala-lang.org/ / 200" }

  it("ask for one page after the other: scrape_sync", function()
    assert_printed({ "requested : " .. sites[4], "requested : " .. sites[2],
      "requested : " .. sites[1], "requested : " .. sites[3], "requested : " .. sites[5], "N" },
      run "scrape_sync.lua")
  end)

  it("and for all at once: scrape", function()
    local result = run "scrape.lua"
    result.stdout = sorted(mask(result.stdout), 2, 2)
    assert_printed({ "start: TIME", sites[1], sites[2], sites[3], sites[4], sites[5], "end: N" },
      result)
  end)
end)

describe("The programs with callbacks", function()
  it("tell the size of a page, or the error, and stop: web_client", function()
    assert_printed({ "Page", "Size of the returned page is 86", "stop" },
      run("web_client.lua", "/pear"))
    assert_printed({ "Error", "Error: http.get: 404 Not Found: SITE/none (EHTTP)", "stop" },
      run("web_client.lua", "/none"))
    assert_printed({ "Error",
      "Error: http.get: connection refused: NOBODY/ (ECONNREFUSED)", "stop" },
      run("web_client.lua", "http://127.0.0.1:1/"))
    assert_usage("Usage: asyncbox run scripts/web_client.lua <URL>", run "web_client.lua")
  end)

  -- What it prints with so many at a time, 21 pages of 1,160 bytes, does not
  -- depend on which page comes first.
  local function conversation(max)
    local lines, current, left = {}, 0, 21
    local function process_queue()
      lines[#lines + 1] = ("process_queue cs: %d max: %d"):format(current, max)
      local room = max - current
      local taken = math.min(room, left)
      current, left = current + taken, left - taken
      lines[#lines + 1] = taken == room and "No empty slot" or "queue is empty"
    end
    process_queue()
    while current > 0 do
      current = current - 1
      lines[#lines + 1] = "page size:  1160"
      lines[#lines + 1] = "current_parallel:  " .. current
      process_queue()
    end
    lines[#lines + 1] = "----done ---"
    return lines
  end

  it("fetch a queue with at most so many at a time: web_client_parallel", function()
    assert_printed(conversation(3), run "web_client_parallel.lua")
    assert_printed(conversation(1), run("web_client_parallel.lua", 1))
    assert_printed(conversation(30), run("web_client_parallel.lua", 30))
    for _, bad in ipairs { 0, 1.5, "x" } do
      assert_usage("Usage: web_client_parallel.lua [MAX]", run("web_client_parallel.lua", bad))
    end
  end)

  it("and go on after an error", function()
    local result = run("web_client_parallel.lua", 2, "--base", "http://127.0.0.1:1")
    local _, errors = result.stdout:gsub(
      "Error:  http%.get: connection refused: http://127%.0%.0%.1:1/3/%S* %(ECONNREFUSED%)\n", "")
    assert.equal(21, errors)
    assert.matches("queue is empty\n%-%-%-%-done %-%-%-\n$", result.stdout)
    assert.equal("", result.stderr)
  end)
end)

describe("The small site", function()
  it("serves by itself, until it is told to stop", function()
    local server <close> = process.spawn(cli.program(), { "run", "scripts/support/serve.lua", "0" })
    local base = server.stdout:read_line()
    assert.matches("^http://127%.0%.0%.1:%d+$", base)
    assert_printed({ "Page", "Size of the returned page is 86", "stop" },
      run("web_client.lua", "/pear", "--base", base))
    server:kill "INT"
    assert.equal(130, (server:wait()))
  end)
end)
