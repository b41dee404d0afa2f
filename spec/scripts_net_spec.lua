-- The tutorial programs about sockets, run as a user would run them.

local async = require "asyncbox"
local net = require "asyncbox.net"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local eventually = require "spec.support.eventually"
local sockets = require "spec.support.sockets"

setup(function()
  sockets.warm_up()
  children.warm_up()
end)
before_each(clean.start)
after_each(function()
  clean.check()
  children.check()
end)

-- Starts a server on a free port; gives the process, the port, and its first
-- line with the port taken out.
local function start(name)
  local p = process.spawn(cli.program(), "run", "scripts/" .. name, "0")
  local line = p.stdout:read_line()
  local port = tonumber(line:match "%d+$")
  return p, port, (line:gsub("%d+$", "PORT"))
end

local function run(name, ...)
  local r = process.run(cli.program(), { "run", "scripts/" .. name, ... })
  return r.stdout, r.stderr, r.status
end

describe("echo_server", function()
  it("prints what it gets and tells it back, to several at once", function()
    local p <close>, port, said = start "echo_server.lua"
    assert.are.equal("Listening on port PORT", said)
    local a <close> = net.connect("localhost", port)
    local b <close> = net.connect("localhost", port)
    b:write "from b"
    assert.are.equal("You said: from b", b:read())
    a:write "from a"
    assert.are.equal("You said: from a", a:read())
    assert.are.equal("Received: from b", p.stdout:read_line())
    assert.are.equal("Received: from a", p.stdout:read_line())
  end)

  it("outlives clients that break off", function()
    local p <close>, port = start "echo_server.lua"
    for _ = 1, 20 do
      local conn = net.connect("localhost", port)
      conn:write "x"
      conn:reset()
    end
    local conn <close> = net.connect("localhost", port)
    conn:write "still there?"
    assert.are.equal("You said: still there?", conn:read())
    p:kill()
    assert.are.equal("", p.stderr:read_all())
  end)

  it("has a port of its own and says how it is used", function()
    local server <close> = net.listen("127.0.0.1", 0)
    local taken = tostring(server:address().port)
    local _, err, status = run("echo_server.lua", taken)
    assert.is_truthy(err:find("localhost:" .. taken .. " (EADDRINUSE)", 1, true), err)
    assert.are.equal(1, status)
    for _, args in ipairs { { "x" }, { "1", "2" }, { "1.5" } } do
      _, err, status = run("echo_server.lua", table.unpack(args))
      assert.are.equal("Usage: echo_server.lua [PORT]\n", err)
      assert.are.equal(1, status)
    end
    assert.is_truthy(server)
  end)
end)

describe("echo_log_server", function()
  it("says who has come, and gives the bytes back", function()
    local p <close>, port, said = start "echo_log_server.lua"
    assert.are.equal("Started to listen on port PORT", said)
    local conn <close> = net.connect("localhost", port)
    conn:write "one\n"
    assert.are.equal("one\n", conn:read())
    assert.are.equal("Connection established with " .. tostring(conn:local_address()),
      p.stdout:read_line())
    assert.are.equal("Received: one", p.stdout:read_line())
  end)
end)

describe("echo_client", function()
  it("prints what the server said", function()
    local p <close>, port = start "echo_server.lua"
    local out, err, status = run("echo_client.lua", "Hello World", tostring(port))
    assert.are.equal("Server said: You said: Hello World\nconnection lost\n", out)
    assert.are.equal("", err)
    assert.are.equal(0, status)
    assert.are.equal("Received: Hello World", p.stdout:read_line())
  end)

  it("says that the connection failed when nobody listens", function()
    local out, err, status = run("echo_client.lua", "hello", tostring(sockets.free_port()))
    assert.are.equal("connection failed\n", out)
    assert.are.equal("", err)
    assert.are.equal(1, status)
  end)

  it("says how it is used", function()
    local _, err, status = run "echo_client.lua"
    assert.are.equal("Usage: echo_client.lua TEXT [PORT]\n", err)
    assert.are.equal(1, status)
  end)
end)

describe("chat_server", function()
  local function join(port, name)
    local conn = net.connect("localhost", port)
    assert.are.equal("What is your name?", conn:read_line())
    conn:write(name .. "\n")
    return conn
  end

  it("passes on what is said, who joins and who leaves", function()
    local p <close>, port, said = start "chat_server.lua"
    assert.are.equal("Chatting on port PORT", said)
    local ann = join(port, "Ann")
    assert.are.equal("* Here: nobody", ann:read_line())
    local bob = join(port, "  Bob  ")
    assert.are.equal("* Here: Ann", bob:read_line())
    assert.are.equal("* Bob joined", ann:read_line())
    ann:write "hello \27[31mBob\n"
    assert.are.equal("Ann: hello [31mBob", bob:read_line())
    bob:write "hello Ann\nbye\n"
    bob:shutdown()
    assert.are.equal("Bob: hello Ann", ann:read_line())
    assert.are.equal("Bob: bye", ann:read_line())
    assert.are.equal("* Bob left", ann:read_line())
    bob:close()
    ann:close()
    local log = {}
    for i = 1, 4 do log[i] = p.stdout:read_line():gsub(" from .*", "") end
    assert.are.same({ "Ann joined", "Bob joined", "Bob left", "Ann left" }, log)
  end)

  it("asks again for a name that is none, or taken", function()
    local p <close>, port = start "chat_server.lua"
    local ann = join(port, "Ann")
    ann:read_line()
    local other = join(port, "")
    assert.is_truthy(other:read_line():find "1 to 20 characters")
    other:write(("x"):rep(21) .. "\n")
    assert.is_truthy(other:read_line():find "1 to 20 characters")
    other:write "Ann\n"
    assert.is_truthy(other:read_line():find "called Ann already")
    other:write "Eve\n"
    assert.are.equal("* Here: Ann", other:read_line())
    ann:close()
    other:close()
    assert.is_truthy(p)
  end)

  it("drops a slow client, and nobody waits for it", function()
    local p <close>, port = start "chat_server.lua"
    local slow, fast, talker = join(port, "Slow"), join(port, "Fast"), join(port, "Talker")
    slow:read_line()
    local got, dropped = 0, false
    local reader = async.spawn(pcall, function()
      for line in fast:lines() do
        got = got + 1
        dropped = dropped or line == "* Slow was too slow"
      end
    end)
    local line = ("x"):rep(900) .. "\n"
    local sent = 0
    eventually("the slow one is dropped", function()
      -- Only as fast as Fast reads: it must not be dropped.
      if got > sent - 50 then
        for _ = 1, 20 do talker:write(line) end
        sent = sent + 20
      end
      return dropped
    end)
    assert.is_false(reader:done())
    slow:reset()
    talker:close()
    fast:close()
    async.await(reader)
    assert.is_truthy(p)
  end)

  it("outlives clients that say nothing, break off, or send no end", function()
    local p <close>, port = start "chat_server.lua"
    local silent = net.connect("localhost", port)
    local endless = join(port, "Endless")
    pcall(endless.write, endless, ("x"):rep(100000))
    pcall(endless.read_all, endless)
    for i = 1, 10 do join(port, "Gone" .. i):reset() end
    local ann = join(port, "Ann")
    assert.is_truthy(ann:read_line():find "^%* Here: ")
    silent:reset()
    endless:reset()
    ann:close()
    assert.is_truthy(p)
  end)
end)
