-- The tutorial program titles.lua, run as a user would run it.

local nginx = require "spec.support.nginx"
local scripts = require "spec.support.scripts"
local lines, run, run_in_real_time = scripts.lines, scripts.run, scripts.run_in_real_time
local assert_printed, assert_usage = scripts.assert_printed, scripts.assert_usage

local function add(list, more)
  return table.move(more, 1, #more, #list + 1, list)
end

describe("The tutorial program", function()
  describe("titles", function()
    local server

    setup(function()
      server = nginx.start {
        -- The pages of /slow/ come at 1 kB a second after the first 1 kB.
        locations = "location /slow/ { limit_rate_after 1k; limit_rate 1k; }",
      }
    end)

    teardown(function()
      server:stop()
    end)

    -- Writes the URLs into a file of their own, runs the script on it.
    local function titles(list, run_it)
      local path = os.tmpname()
      local file = assert(io.open(path, "wb"))
      file:write(list)
      file:close()
      local result = (run_it or run_in_real_time)("titles.lua", path)
      os.remove(path)
      return result
    end

    it("prints each URL and its title, in the order of the file.", function()
      local urls = {}
      local expected = {}
      for i = 1, 60 do
        local name = "page" .. i .. ".html"
        urls[i] = server:write(name, "<html><head><title>Page " .. i .. "</title></head></html>")
        add(expected, { urls[i], "Page " .. i })
      end
      assert_printed(expected, titles(lines(urls)))
    end)

    it("keeps the order of the file when the first page comes last.", function()
      local filler = "<!-- " .. ("x"):rep(2000) .. " -->"
      local slow = server:write("slow/page.html", filler .. "<title>Slow</title>")
      local fast = server:write("fast.html", "<title>Fast</title>")
      assert_printed({ slow, "Slow", fast, "Fast" }, titles(lines { slow, fast }))
    end)

    it("finds the title however it is written.", function()
      local pages = {
        { "<TITLE>Shouted</TITLE>", "Shouted" },
        { "<title\n lang='en'>With an attribute</title >", "With an attribute" },
        { "<!-- <title>Old</title> --><title>New</title>", "New" },
        { "<title>Fish &amp; chips &lt;3</title>", "Fish & chips <3" },
        { "<title>One</title><svg><title>Two</title></svg>", "One" },
        { "<title>Größe</title>", "Größe" },
      }
      local urls = {}
      local expected = {}
      for i, page in ipairs(pages) do
        urls[i] = server:write("title" .. i .. ".html", page[1])
        add(expected, { urls[i], page[2] })
      end
      assert_printed(expected, titles(lines(urls)))
    end)

    it("prints Missing for a page that has no title.", function()
      local urls = {
        server:write("none.html", "<h1>No title</h1>"),
        server:write("empty.html", ""),
        server:write("bar.html", "<titlebar>No title</titlebar>"),
      }
      assert_printed({ urls[1], "Missing", urls[2], "Missing", urls[3], "Missing" },
        titles(lines(urls)))
    end)

    it("prints the title of an error page, as the page is an answer too.", function()
      local url = server.url .. "nothing-here"
      assert_printed({ url, "404 Not Found" }, titles(url .. "\n"))
    end)

    it("takes a file with empty lines, DOS line ends and no newline at the end.", function()
      local url = server:write("plain.html", "<title>Plain</title>")
      assert_printed({ url, "Plain", url, "Plain" }, titles(url .. "\r\n\r\n\n" .. url))
    end)

    it("prints nothing for an empty file.", function()
      local result = titles("")
      assert.same({ status = 0, stdout = "", stderr = "" }, result)
    end)

    it("fetches under the virtual clock as well.", function()
      local url = server:write("virtual.html", "<title>Virtual</title>")
      assert_printed({ url, "Virtual" }, titles(url .. "\n", run))
    end)

    it("says how it is used when the file's name is missing.", function()
      assert_usage("Usage: titles.lua FILENAME", run "titles.lua")
    end)

    it("names a file that is not there, prints nothing and fails.", function()
      local result = run("titles.lua", "/nonexistent/urls.txt")
      assert.equal("", result.stdout)
      assert.truthy(result.stderr:find("no such file or directory: /nonexistent/urls.txt (ENOENT)",
        1, true), result.stderr)
      assert.equal(1, result.status)
    end)

    it("names the URL that cannot be fetched, prints nothing and fails.", function()
      local url = server:write("fine.html", "<title>Fine</title>")
      -- Port 1 of loopback: nobody listens there.
      local result = titles(lines { url, "http://127.0.0.1:1/" })
      assert.equal("", result.stdout)
      assert.truthy(result.stderr:find("http://127.0.0.1:1/", 1, true), result.stderr)
      assert.truthy(result.stderr:find("ECONNREFUSED", 1, true), result.stderr)
      assert.equal(1, result.status)
    end)
  end)
end)
