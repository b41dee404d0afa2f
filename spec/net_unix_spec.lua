-- asyncbox.net: Unix sockets, and the files they are reached by.

local async = require "asyncbox"
local net = require "asyncbox.net"
local fs = require "asyncbox.fs"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local sandboxed = require("spec.support.sandboxed").run
local sockets = require "spec.support.sockets"

local assert_code = errors.assert_code
local at, echo = folder.at, sockets.echo

setup(sockets.warm_up)
before_each(folder.start)
after_each(folder.check)

describe("a Unix socket", function()
  it("is connected to by its path", function()
    local server <close> = net.listen({ path = at "s" }, echo)
    local conn <close> = net.connect { path = at "s" }
    conn:write "hello"
    assert.are.equal("hello", conn:read_exactly(5))
    assert.are.equal(at "s", conn:peer().path)
    assert.are.equal("unix", conn:peer().family)
    assert.are.equal(at "s", tostring(server:address()))
    assert.are.equal("stream (unix:" .. at "s" .. ")", tostring(conn))
    conn:shutdown()
    assert.is_nil(conn:read())
  end)

  it("may have a path longer than the system's limit", function()
    local deep = at(("d"):rep(120))
    fs.mkdir(deep)
    local path = deep .. "/socket"
    local server <close> = net.listen({ path = path }, echo)
    local conn <close> = net.connect { path = path }
    conn:write "x"
    assert.are.equal("x", conn:read())
    assert.is_truthy(server)
  end)

  it("has no options of TCP", function()
    local server <close> = net.listen({ path = at "s" }, echo)
    local conn <close> = net.connect { path = at "s" }
    assert_code("ENOTSUP", conn.nodelay, conn, true)
    assert_code("ENOTSUP", conn.keepalive, conn, true)
    assert.is_truthy(server)
  end)

  it("is removed when the server is closed", function()
    local server = net.listen({ path = at "s" }, echo)
    assert.is_true(fs.exists(at "s"))
    server:close()
    assert.is_false(fs.exists(at "s"))
  end)

  it("is left alone when the name has come to mean another file", function()
    local server = net.listen({ path = at "s" }, echo)
    fs.remove(at "s")
    folder.put("s", "not ours")
    server:close()
    assert.are.equal("not ours", folder.slurp(at "s"))
  end)

  it("takes the place of one that a dead server left behind", function()
    folder.shell([[timeout 5 sh -c 'nc -lU "%s/s" & p=$!; until [ -S "%s/s" ]; do sleep 0.01; done;
      kill -9 $p; wait $p' 2>/dev/null || true]], folder.path, folder.path)
    assert.is_true(fs.exists(at "s"))
    local server <close> = net.listen({ path = at "s" }, echo)
    local conn <close> = net.connect { path = at "s" }
    conn:write "x"
    assert.are.equal("x", conn:read())
    assert.is_truthy(server)
  end)

  it("is not taken from a living server, and no other file is replaced", function()
    local server <close> = net.listen({ path = at "s" }, echo)
    local err = assert_code("EADDRINUSE", net.listen, { path = at "s" })
    assert.are.equal(at "s", err.path)
    folder.put("file", "precious")
    assert_code("EADDRINUSE", net.listen, { path = at "file" })
    assert.are.equal("precious", folder.slurp(at "file"))
    fs.symlink(at "nowhere", at "dangling")
    assert_code("EADDRINUSE", net.listen, { path = at "dangling" })
    assert.is_truthy(server)
  end)

  it("has the mode that it is given", function()
    local server <close> = net.listen({ path = at "s", mode = 384 }, echo)
    assert.are.equal(384, fs.stat(at "s").mode & 511)
    assert.is_truthy(server)
  end)

  it("that is not there, or is another file, cannot be connected to", function()
    local err = assert_code("ENOENT", net.connect, { path = at "s" })
    assert.are.equal(at "s", err.path)
    folder.put("file", "x")
    assert_code("ENOTSOCK", net.connect, { path = at "file" })
    assert_code("ENOENT", net.listen, { path = at "none/s" })
  end)

  it("whose queue is full is waited for, so long, or until cancelled", function()
    local server <close> = net.listen { path = at "s", backlog = 1 }
    local conns, full = {}, nil
    repeat
      local ok, conn = pcall(net.connect, { path = at "s", timeout = 0.02 })
      if ok then conns[#conns + 1] = conn else full = conn end
    until not ok
    assert.are.equal("ETIMEDOUT", full.code)
    local task = async.spawn(net.connect, { path = at "s" })
    async.sleep(0.01)
    assert.is_false(task:done())
    server:accept():close()
    async.await(task):close()
    task = async.spawn(net.connect, { path = at "s" })
    local another = async.spawn(net.connect, { path = at "s" })
    async.sleep(0.01)
    another:cancel()
    assert_code("ECANCELED", async.await, another)
    server:accept():close()
    async.await(task):close()
    for _, conn in ipairs(conns) do conn:close() end
  end)

  it("is removed with its box, however it ends", function()
    local r = sandboxed({}, "") and require("spec.support.cli").run { "run", folder.put("x.lua", [[
      local net = require "asyncbox.net"
      net.listen({ path = arg[1] }, function() end)
      os.exit(3)
    ]]), at "s" }
    assert.are.equal(3, r.status)
    assert.is_false(fs.exists(at "s"))
  end)
end)

describe("in a sandbox", function()
  local function try(flags, code)
    return sandboxed(flags, [[
      local net = async.net
      local function try(f, ...)
        local ok, err = pcall(f, ...)
        print(ok and "ok" or type(err) == "table" and err.code or err)
      end
    ]] .. code)
  end

  it("a path needs both grants", function()
    local server <close> = net.listen({ path = at "s" }, echo)
    local connect = ("try(net.connect, { path = %q })"):format(at "s")
    local read, write = "--allow-read=" .. folder.path, "--allow-write=" .. folder.path
    assert.are.equal("EDENIED", try({ "--sandbox" }, connect))
    assert.are.equal("EDENIED", try({ "--allow-net=*" }, connect))
    assert.are.equal("EDENIED", try({ read }, connect))
    assert.are.equal("EDENIED", try({ write }, connect))
    assert.are.equal("ok", try({ read, write }, connect))
    assert.are.equal("ok", try({ "--allow-read=" .. at "s", "--allow-write=" .. at "s" }, connect))
    local listen = ("try(net.listen, { path = %q })"):format(at "t")
    assert.are.equal("EDENIED", try({ "--allow-listen=*" }, listen))
    assert.are.equal("EDENIED", try({ read }, listen))
    assert.are.equal("EDENIED", try({ write }, listen))
    assert.are.equal("ok", try({ read, write }, listen))
    assert.is_truthy(server)
  end)

  it("a path that leads out is refused, by dots or by links", function()
    local server <close> = net.listen({ path = at "s" }, echo)
    fs.mkdir(at "in")
    fs.symlink(at "s", at "in/link")
    fs.symlink(folder.path, at "in/up")
    fs.symlink(at "t", at "in/dangling")
    local flags = { "--allow-read=" .. at "in", "--allow-write=" .. at "in" }
    for _, path in ipairs { "in/../s", "in/link", "in/up/s", "s" } do
      assert.are.equal("EDENIED", try(flags, ("try(net.connect, { path = %q })"):format(at(path))))
    end
    for _, path in ipairs { "in/../t", "in/up/t", "t" } do
      assert.are.equal("EDENIED", try(flags, ("try(net.listen, { path = %q })"):format(at(path))))
    end
    assert.are.equal("EADDRINUSE",
      try(flags, ("try(net.listen, { path = %q })"):format(at "in/dangling")))
    assert.is_false(fs.exists(at "t"))
    assert.is_truthy(server)
  end)
end)

describe("socat and nc", function()
  it("talk to a Unix server", function()
    local server <close> = net.listen({ path = at "s" }, function(conn)
      conn:write("You said: " .. conn:read_line() .. "\n")
    end)
    local process = require "asyncbox.process"
    for _, line in ipairs { { "nc", "-N", "-U", at "s" }, { "socat", "-", "UNIX:" .. at "s" } } do
      local r = process.run(line[1], { table.unpack(line, 2) }, { input = "hello\n" })
      assert.are.equal("You said: hello\n", r.stdout)
    end
    assert.is_truthy(server)
  end)

  it("are talked to over a Unix socket", function()
    folder.beside("socat UNIX-LISTEN:%s EXEC:cat", at "s")
    eventually("socat listens", function() return fs.exists(at "s") end)
    local conn <close> = net.connect { path = at "s" }
    conn:write "there and back"
    conn:shutdown()
    assert.are.equal("there and back", conn:read_all())
  end)
end)
