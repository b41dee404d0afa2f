-- asyncbox.net: servers: accepting, handlers, closing, and clients that behave
-- badly.

local async = require "asyncbox"
local net = require "asyncbox.net"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local sockets = require "spec.support.sockets"

local assert_code, assert_says = errors.assert_code, errors.assert_says
local serve, echo = sockets.serve, sockets.echo

setup(sockets.warm_up)
before_each(clean.start)
after_each(clean.check)

-- What a script writes and reports; it runs in a program of its own.
local function run_script(code, flags)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write("local async = require 'asyncbox'\nlocal net = async.net\n", code)
  file:close()
  local args = { "run", table.unpack(flags or {}) }
  args[#args + 1] = path
  local r = cli.run(args)
  os.remove(path)
  return r
end

describe("net.listen", function()
  it("chooses a free port, and says which", function()
    local server <close> = net.listen("127.0.0.1", 0)
    assert.is_true(server:address().port > 0)
    assert.are.equal("ipv4", server:address().family)
    assert.are.equal("server (127.0.0.1:" .. server:address().port .. ")", tostring(server))
  end)

  it("listens on all addresses of localhost with one port", function()
    local server <close> = net.listen("localhost", 0, echo)
    for _, address in ipairs(server:addresses()) do
      assert.are.equal(server:address().port, address.port)
      local conn <close> = net.connect(address.host, address.port)
      conn:write "x"
      assert.are.equal("x", conn:read())
    end
  end)

  it("listens everywhere, and shows IPv4 as itself", function()
    local seen
    local server <close> = net.listen("*", 0, function(conn) seen = conn:peer().host end)
    net.connect("127.0.0.1", server:address().port):read()
    assert.are.equal("127.0.0.1", seen)
  end)

  it("fails for a port that is taken", function()
    local server <close>, port = serve(echo)
    local err = assert_code("EADDRINUSE", net.listen, "127.0.0.1", port)
    assert.are.equal("net.listen", err.op)
    assert.are.equal(port, err.port)
    assert.is_truthy(server)
  end)

  it("shares a port with reuse_port", function()
    local a <close> = net.listen("127.0.0.1", 0, { reuse_port = true })
    local b <close> = net.listen("127.0.0.1", a:address().port, { reuse_port = true })
    assert.are.equal(a:address().port, b:address().port)
  end)

  it("fails for an address that this machine does not have", function()
    assert_code("EADDRNOTAVAIL", net.listen, "192.0.2.1", 0)
  end)

  it("refuses wrong arguments", function()
    for _, case in ipairs {
      { { nil, 0 }, "the host must be a string, got nil" },
      { { "127.0.0.1" }, "the port must be a whole number from 0 to 65535, got nil" },
      { { "127.0.0.1", 70000 }, "from 0 to 65535, got 70000" },
      { { "127.0.0.1", 0, 5 }, "the handler must be a function, got number" },
      { { "127.0.0.1", 0, echo, { x = 1 } }, "unknown option 'x'" },
      { { "127.0.0.1", 0, echo, { max_connections = 0 } }, "'max_connections' must be from 1" },
      { { "127.0.0.1", 0, echo, { backlog = -1 } }, "'backlog' must be from 1" },
      { { "127.0.0.1", 0, echo, { on_error = 1 } }, "'on_error' must be a function, got number" },
      { { "127.0.0.1", 0, nil, { max_connections = 1 } }, "'max_connections' needs a handler" },
      { { { path = "x", mode = 512 } }, "'mode' must be from 0 to 511" },
      { { { path = "" } }, "path must not be empty" },
    } do
      assert_says(case[2], net.listen, table.unpack(case[1], 1, 4))
    end
  end)
end)

describe("server:accept", function()
  it("gives one connection after the other, and nil when it is closed", function()
    local server = net.listen("127.0.0.1", 0)
    local a <close> = net.connect("127.0.0.1", server:address().port)
    local b <close> = net.connect("127.0.0.1", server:address().port)
    local first <close> = server:accept()
    local second <close> = server:accept()
    assert.are.equal(tostring(a:local_address()), tostring(first:peer()))
    assert.are.equal(tostring(b:local_address()), tostring(second:peer()))
    local task = async.spawn(server.accept, server)
    async.sleep(0)
    server:close()
    assert.is_nil(async.await(task))
    assert.is_nil(server:accept())
  end)

  it("can be cancelled, and loses no connection", function()
    local server <close> = net.listen("127.0.0.1", 0)
    local task = async.spawn(server.accept, server)
    async.sleep(0)
    task:cancel()
    assert_code("ECANCELED", async.await, task)
    local conn <close> = net.connect("127.0.0.1", server:address().port)
    local got <close> = server:accept()
    assert.are.equal(tostring(conn:local_address()), tostring(got:peer()))
  end)

  it("serves several tasks in turn", function()
    local server <close> = net.listen("127.0.0.1", 0)
    local order = {}
    for i = 1, 3 do
      async.spawn(function()
        server:accept():close()
        order[#order + 1] = i
      end)
    end
    for i = 1, 3 do
      async.sleep(0)
      net.connect("127.0.0.1", server:address().port):close()
      eventually("one more is accepted", function() return #order == i end)
    end
    assert.are.same({ 1, 2, 3 }, order)
  end)

  it("is a loop", function()
    local server = net.listen("127.0.0.1", 0)
    async.spawn(function()
      for i = 1, 3 do
        local conn <close> = net.connect("127.0.0.1", server:address().port)
        conn:write("client " .. i)
      end
    end)
    local got = {}
    for conn in server:accept_loop() do
      got[#got + 1] = conn:read_all()
      conn:close()
      if #got == 3 then server:close() end
    end
    assert.are.same({ "client 1", "client 2", "client 3" }, got)
  end)

  it("is for servers without a handler", function()
    local server <close> = serve(echo)
    assert_says("has a handler", server.accept, server)
    assert_says("has a handler", server.accept_loop, server)
    assert_says("Server expected, got nil", server.accept)
    assert_says("Server expected, got table", server.address, {})
  end)
end)

describe("a handler", function()
  it("has a task for each connection", function()
    local server <close>, port = serve(echo)
    local conns = {}
    for i = 1, 50 do conns[i] = net.connect("127.0.0.1", port) end
    for i = 50, 1, -1 do conns[i]:write("message " .. i) end
    for i = 1, 50 do assert.are.equal("message " .. i, conns[i]:read()) end
    assert.are.equal(50, server:connections())
    for i = 1, 50 do conns[i]:close() end
    eventually("the handlers have ended", function() return server:connections() == 0 end)
  end)

  it("may be an async function", function()
    local server <close>, port = serve(async(function(conn) conn:write "hello" end))
    assert.are.equal("hello", net.connect("127.0.0.1", port):read_all())
    assert.is_truthy(server)
  end)

  it("has its connection closed, when it ends, with all that it wrote", function()
    local n = 4 << 20
    local server <close>, port = serve(function(conn) conn:write(("x"):rep(n)) end)
    assert.are.equal(n, #net.connect("127.0.0.1", port):read_all())
    assert.is_truthy(server)
  end)

  it("that fails ends its own connection alone, and is reported", function()
    local r = run_script [[
      local server = net.listen("127.0.0.1", 0, function(conn)
        local line = conn:read_line()
        if line == "boom" then error "broken handler" end
        conn:write(line)
      end)
      local port = server:address().port
      local good = net.connect("127.0.0.1", port)
      local bad = net.connect("127.0.0.1", port)
      bad:write "boom\n"
      print(bad:read_all() == "")
      good:write "still here\n"
      print(good:read_all())
      server:close()
    ]]
    assert.are.equal("true\nstill here\n", r.stdout)
    local said = "asyncbox: a handler of net.listen: 127.0.0.1:%d+: .*broken handler"
    assert.is_truthy(r.stderr:find(said))
    assert.is_truthy(r.stderr:find "stack traceback:")
    assert.are.equal(0, r.status)
  end)

  it("may spawn tasks, which end with the server, or alone with their errors", function()
    local r = run_script [[
      local server = net.listen("127.0.0.1", 0, function(conn)
        async.spawn(function() while true do async.sleep(1000) end end)
        async.spawn(function() error "of a task of the handler" end)
        async.sleep(0)
        conn:write(conn:read_line() .. "!\n")
      end)
      for i = 1, 3 do
        local conn <close> = net.connect("127.0.0.1", server:address().port)
        conn:write { i, "\n" }
        print(conn:read_line())
      end
      server:close { grace = 10 }
      print(#async.all_tasks())
    ]]
    assert.are.equal("1!\n2!\n3!\n1\n", r.stdout)
    local _, told = r.stderr:gsub("asyncbox: [^\n]*of a task of the handler", "")
    assert.are.equal(3, told)
    assert.are.equal(1, r.status)
  end)

  it("whose client has gone is not reported", function()
    local r = run_script [[
      local server = net.listen("127.0.0.1", 0, function(conn)
        while true do conn:write(("x"):rep(1 << 20)) end
      end)
      local conn = net.connect("127.0.0.1", server:address().port)
      conn:read()
      conn:reset()
      while server:connections() > 0 do async.sleep(0.001) end
      server:close()
    ]]
    assert.are.equal("", r.stderr)
    assert.are.equal(0, r.status)
  end)

  it("that fails is told to on_error instead", function()
    local told = {}
    local server <close>, port = serve(function() error({ mine = true }) end, {
      on_error = function(err, conn) told = { err, conn } end,
    })
    local conn <close> = net.connect("127.0.0.1", port)
    assert.is_nil(conn:read())
    eventually("it is told", function() return told[1] end)
    assert.is_true(told[1].mine)
    assert.are.equal(tostring(conn:local_address()), tostring(told[2]:peer()))
    assert.is_truthy(server)
  end)

  it("waits for its turn when there are max_connections", function()
    local most, now = 0, 0
    local server <close>, port = serve(function(conn)
      now = now + 1
      most = math.max(most, now)
      conn:write "go"
      conn:read()
      now = now - 1
    end, { max_connections = 2 })
    local served = 0
    async.map({ 1, 2, 3, 4, 5, 6 }, function()
      local conn <close> = net.connect("127.0.0.1", port)
      assert.are.equal("go", conn:read())
      served = served + 1
    end)
    assert.are.equal(6, served)
    assert.are.equal(2, most)
    assert.is_truthy(server)
  end)
end)

describe("a server in a box with little memory", function()
  it("outlives what does not fit, and serves on", function()
    local r = cli.run({ "run", "--memory", "2M", "-e", [[
      local async = require "asyncbox"
      local net = async.net
      local server = net.listen("127.0.0.1", 0, function(conn)
        conn:write("hello " .. #conn:read_all() .. "\n")
      end, { max_connections = 4, on_error = function(err)
        if not tostring(err):find "memory" and err.code ~= "ECONNRESET" then error(err, 0) end
      end })
      local port = server:address().port
      local function flood()
        local conn <close> = net.connect("127.0.0.1", port)
        local piece = ("x"):rep(10000)
        pcall(function() for _ = 1, 400 do conn:write(piece) end end)
        pcall(conn.read_all, conn)
        conn:reset()
      end
      for _ = 1, 10 do pcall(flood) collectgarbage() end
      while server:connections() > 0 do async.sleep(0.001) end
      local conn = net.connect("127.0.0.1", port)
      conn:write "x"
      conn:shutdown()
      print(conn:read_line())
      server:close()
    ]] })
    assert.are.equal("hello 1\n", r.stdout)
    assert.are.equal(0, r.status)
  end)
end)

describe("server:close", function()
  it("cancels the handlers and waits for them", function()
    local how, reading
    local server, port = serve(function(conn)
      reading = true
      local _ <close> = setmetatable({}, { __close = function(_, err) how = err.code end })
      conn:read()
    end)
    local conn <close> = net.connect("127.0.0.1", port)
    eventually("it is served", function() return reading end)
    server:close()
    assert.are.equal("ECANCELED", how)
    assert.are.equal(0, server:connections())
    assert.is_nil(conn:read())
    assert_code("ECONNREFUSED", net.connect, "127.0.0.1", port)
    server:close() -- again: nothing
  end)

  it("gives them a grace to end by themselves", function()
    local server, port = serve(function(conn)
      conn:write(conn:read_line() .. "!")
    end)
    local conn <close> = net.connect("127.0.0.1", port)
    eventually("it is served", function() return server:connections() == 1 end)
    local closing = async.spawn(server.close, server, { grace = 1000 })
    async.sleep(0)
    conn:write "slow\n"
    assert.are.equal("slow!", conn:read_all())
    async.await(closing)
  end)

  it("cancels those that don't end within the grace", function()
    local server, port = serve(echo)
    local conn <close> = net.connect("127.0.0.1", port)
    eventually("it is served", function() return server:connections() == 1 end)
    server:close { grace = 0.02 }
    assert.are.equal(0, server:connections())
    assert.is_nil(conn:read())
  end)

  it("ends its handlers also when it is cancelled itself", function()
    local server, port = serve(echo)
    local conn <close> = net.connect("127.0.0.1", port)
    eventually("it is served", function() return server:connections() == 1 end)
    local closing = async.spawn(server.close, server, { grace = 1000 })
    async.sleep(0)
    closing:cancel()
    assert_code("ECANCELED", async.await, closing)
    assert.are.equal(0, server:connections())
    assert.is_nil(conn:read())
  end)

  it("may be called by a handler", function()
    local server, port
    server, port = serve(function(conn)
      if conn:read_line() == "stop" then
        server:close()
        conn:write "stopped"
      end
    end)
    local other <close> = net.connect("127.0.0.1", port)
    local conn <close> = net.connect("127.0.0.1", port)
    eventually("both are served", function() return server:connections() == 2 end)
    conn:write "stop\n"
    assert.are.equal("stopped", conn:read_all())
    assert.is_nil(other:read())
    server:wait()
  end)

  it("is what server:wait waits for", function()
    local server = serve(echo)
    local waiting = async.spawn(server.wait, server)
    async.sleep(0)
    assert.is_false(waiting:done())
    server:close()
    async.await(waiting)
    assert_says("has no handler", net.listen("127.0.0.1", 0).wait, net.listen("127.0.0.1", 0))
    collectgarbage()
  end)

  it("is not waited for any more by who is cancelled", function()
    local server <close> = serve(echo)
    local waiting = async.spawn(server.wait, server)
    async.sleep(0)
    waiting:cancel()
    assert_code("ECANCELED", async.await, waiting)
  end)

  it("refuses options that it has not", function()
    local server <close> = serve(echo)
    assert_says("unknown option 'gracious'", server.close, server, { gracious = 1 })
    assert_says("'grace' must not be negative", server.close, server, { grace = -1 })
  end)

  it("is done when the script is interrupted", function()
    local r = run_script [[
      local signal = require "asyncbox.signal"
      local server <close> = net.listen("127.0.0.1", 0, function(conn) conn:read() end)
      local conn = net.connect("127.0.0.1", server:address().port)
      while server:connections() == 0 do async.sleep(0) end
      error "the end"
    ]]
    assert.is_truthy(r.stderr:find "the end")
    assert.are.equal(1, r.status)
  end)
end)
