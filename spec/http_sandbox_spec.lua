-- asyncbox.http in a sandbox: which hosts and addresses may be fetched from.
local cli = require "spec.support.cli"
local nginx = require "spec.support.nginx"

local server, url

describe("http", function()
  setup(function()
    server = nginx.start {
      locations = "location /old { return 301 /hello.txt; }\n" ..
        "location /to-name { return 302 http://localhost:$server_port/hello.txt; }",
    }
    url = server.url
    server:write("hello.txt", "Hello, world!\n")
  end)

  teardown(function() server:stop() end)

  describe("in a sandbox", function()
    local function run(code, ...)
      local path = os.tmpname()
      local file <close> = assert(io.open(path, "wb"))
      file:write("local http, url = require 'asyncbox.http', ...\n", code)
      file:close()
      local args = { "run", "--sandbox", ... }
      args[#args + 1] = path
      args[#args + 1] = url
      local result = cli.run(args)
      os.remove(path)
      return result
    end

    it("nothing may be fetched unless it is granted", function()
      local result = run "print(select(2, pcall(http.get, url)))"
      assert.equal("", result.stderr)
      assert.equal(
        "http.get: permission not granted: 127.0.0.1 (EDENIED); "
          .. "allow it with --allow-net=127.0.0.1:" .. server.port .. "\n",
        result.stdout
      )
    end)

    it("what is granted may be fetched", function()
      local result = run("print(http.get(url .. 'hello.txt').status)", "--allow-net=127.0.0.1")
      assert.equal("200\n", result.stdout)
    end)

    it("a redirect to another host is decided anew", function()
      local result = run(
        "print(select(2, pcall(http.get, url .. 'to-name')).code, http.get(url .. 'old').status)",
        "--allow-net=127.0.0.1"
      )
      assert.equal("EDENIED\t200\n", result.stdout)
    end)

    it("loopback is refused in every spelling", function()
      local result = run([[
        local port = url:match ":(%d+)"
        for _, host in ipairs { "127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001",
          "localhost", "LOCALHOST", "a.localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
          "127.0.0.1.", "%31%32%37.0.0.1" } do
          local ok, err = pcall(http.get, "http://" .. host .. ":" .. port .. "/hello.txt")
          if ok or err.code ~= "EDENIED" then print(host, ok and "fetched" or err) end
        end
        print "done"
      ]], "--allow-net=*", "--allow-net=example.org")
      assert.equal("done\n", result.stdout)
    end)

    it("a granted name that leads to this machine is refused", function()
      local name
      for line in io.lines "/etc/hosts" do
        name = name or line:match "^127[%d.]*%s+(%a[%w-]*)%s*$"
        name = name ~= "localhost" and name or nil
      end
      if not name then
        return pending "no other name for 127.0.0.1 in /etc/hosts"
      end
      local result = run(
        "local u = url:gsub('127%.0%.0%.1', '" .. name .. "')\n"
          .. "print(select(2, pcall(http.get, u)))",
        "--allow-net=" .. name
      )
      assert.matches("^http.get: permission not granted: 127%.", result.stdout)
    end)
  end)
end)
