-- How asyncbox.http finds the hosts of its URLs: by the box's own look-ups.

local async = require "asyncbox"
local dns = require "asyncbox.dns"
local fs = require "asyncbox.fs"
local http = require "asyncbox.http"
local net = require "asyncbox.net"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local dns_server = require "spec.support.dns_server"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local sockets = require "spec.support.sockets"

local assert_code = errors.assert_code

-- Answers each request with the Host that it was asked for; /to/NAME redirects.
local function answer(conn)
  local head = conn:read_until "\r\n\r\n"
  local host = head:match "[Hh]ost: ([^\r]+)"
  local to = head:match "^GET /to/(%S+)"
  if to then
    conn:write(("HTTP/1.1 302 Found\r\nLocation: http://%s/\r\nContent-Length: 0\r\n" ..
      "Connection: close\r\n\r\n"):format(to))
  else
    conn:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s")
      :format(#host, host))
  end
end

local web, port

setup(function()
  children.warm_up()
  sockets.warm_up()
end)

before_each(function()
  clean.start()
  web = net.listen("127.0.0.1", 0, answer)
  port = web:address().port
end)

after_each(function()
  web:close()
  http.close()
  dns.servers {}
  clean.check()
end)

local function url(name, path)
  return ("http://%s:%d/%s"):format(name, port, path or "")
end

describe("asyncbox.http", function()
  it("asks the box's servers, and not again for a while", function()
    local server <close> = dns_server.serve { ["a.test"] = { A = "127.0.0.1" } }
    assert.equal("a.test:" .. port, http.get(url "a.test"):text())
    local asked = server.asked["a.test"]
    assert.is_true(asked >= 2) -- A and AAAA
    for _ = 1, 3 do assert.equal("a.test:" .. port, http.get(url "a.test"):text()) end
    assert.equal(asked, server.asked["a.test"])
    local other <close> = dns_server.serve { ["a.test"] = { A = "127.0.0.1" } }
    assert.equal("a.test:" .. port, http.get(url "a.test"):text())
    assert.is_true(other.asked["a.test"] >= 2)
  end)

  it("asks for every name that redirects lead to", function()
    local server <close> = dns_server.serve {
      ["a.test"] = { A = "127.0.0.1" },
      ["b.test"] = { A = "127.0.0.1" },
    }
    local r = http.get(url("a.test", "to/b.test:" .. port))
    assert.equal("b.test:" .. port, r:text())
    assert.is_true(server.asked["b.test"] >= 2)
    assert_code("EAI_NONAME", http.get, url("a.test", "to/none.test:" .. port))
  end)

  it("asks them for names that begin with a digit, too", function()
    local _ <close> = dns_server.serve {
      ["1a.test"] = { A = "127.0.0.1" },
      ["2.test"] = { A = "127.0.0.1" },
    }
    assert.equal("1a.test:" .. port, http.get(url "1a.test"):text())
    assert.equal("2.test:" .. port, http.get(url "2.test"):text())
    assert.equal("127.1:" .. port, http.get(url "127.1"):text():gsub("^127%.0%.0%.1", "127.1"))
  end)

  it("asks them for names with a dot at the end, too", function()
    local _ <close> = dns_server.serve { ["a.test"] = { A = "127.0.0.1" } }
    for _ = 1, 2 do
      assert.equal(200, http.get(url "a.test").status)
      assert.equal(200, http.get(url "a.test.").status)
    end
  end)

  it("tries all addresses of a name", function()
    local _ <close> = dns_server.serve {
      ["two.test"] = { A = { "127.0.0.77", "127.0.0.1" }, AAAA = "::1" },
    }
    assert.equal("two.test:" .. port, http.get(url "two.test"):text())
  end)

  it("says why a name was not found", function()
    local server <close> = dns_server.serve {
      ["empty.test"] = {},
      ["fail.test"] = "SERVFAIL",
      ["dead.test"] = "silent",
    }
    local err = assert_code("EAI_NONAME", http.get, url "none.test")
    assert.equal("http.get: unknown host: " .. url "none.test" .. " (EAI_NONAME)", tostring(err))
    assert_code("EAI_NODATA", http.get, url "empty.test")
    assert_code("EAI_FAIL", http.get, url "fail.test")
    dns.servers({ server.address }, { timeout = 0.05, tries = 1 })
    assert_code("EAI_AGAIN", http.get, url "dead.test")
    dns.servers { "127.0.0.1:1" }
    assert_code("EAI_AGAIN", http.get, url "a.test")
  end)

  it("says that there are too many open files, not that there is no such host", function()
    local path = os.tmpname()
    fs.write(path, [[
      local async = require "asyncbox"
      pcall(async.http.get, "http://127.0.0.1:1/") -- opens libcurl
      local files = {}
      while true do
        local file = io.open "/dev/null"
        if not file then break end
        files[#files + 1] = file
      end
      local ok, err = pcall(async.http.get, "http://some.test/")
      print(ok, err.code)
    ]])
    local r = process.run('ulimit -n 40; exec "$1" run "$2"', cli.program(), path,
      { shell = true, timeout = 120 })
    os.remove(path)
    assert.same({ "", "false\tEMFILE\n" }, { r.stderr, r.stdout })
  end)

  it("ends the look-up with the fetch", function()
    local server <close> = dns_server.serve { ["dead.test"] = "silent" }
    local err = assert_code("ETIMEDOUT", http.get, url "dead.test", { timeout = 0.05 })
    assert.equal("total", err.limit)
    err = assert_code("ETIMEDOUT", http.get, url "dead.test", { timeout = { connect = 0.05 } })
    assert.equal("connect", err.limit)
    local before = server.asked["dead.test"]
    local task = async.spawn(http.get, url "dead.test")
    eventually("it asked", function() return server.asked["dead.test"] > before end)
    task:cancel()
    assert_code("ECANCELED", async.await, task)
    before = server.asked["dead.test"]
    local session = http.session()
    task = async.spawn(session.get, session, url "dead.test")
    eventually("it asked", function() return server.asked["dead.test"] > before end)
    session:close()
    assert_code("ECLOSED", async.await, task)
  end)
end)

describe("in a sandbox", function()
  after_each(children.check)

  it("the address decides, whatever the name meant before", function()
    local server <close> = dns_server.start {
      ["here.test"] = { A = "127.0.0.1" },
      -- Public for whoever looks first, this machine for whoever connects.
      ["turns.test"] = function(count) return { A = count == 1 and "8.8.8.8" or "127.0.0.1" } end,
    }
    local path = os.tmpname()
    fs.write(path, ([[
      local async = require "asyncbox"
      local dns, http, net = async.dns, async.http, async.net
      dns.servers { %q }
      print(dns.resolve("turns.test", { family = "ipv4" })[1])
      for _, f in ipairs {
        function() http.get("http://turns.test:%d/") end,
        function() http.get("http://here.test:%d/") end,
        function() net.connect("turns.test", %d) end,
        function() net.connect("here.test", %d) end,
      } do
        local ok, err = pcall(f)
        print(ok or err.code, not ok and err.host)
      end]]):format(server.address, port, port, port, port))
    local r = process.run(folder.program, { "run", "--allow-net=*",
      "--allow-net=" .. server.address, path }, { check = false })
    fs.remove(path)
    assert.equal("", r.stderr)
    local first, rest = r.stdout:match "^(%S+)\n(.*)$"
    assert.equal("8.8.8.8", first)
    local count = 0
    for line in rest:gmatch "[^\n]+" do
      assert.is_truthy(line:find "^EDENIED\t127%.0%.0%.1", r.stdout)
      count = count + 1
    end
    assert.equal(4, count)
  end)
end)
