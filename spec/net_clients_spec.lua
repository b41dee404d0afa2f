-- asyncbox.net: servers whose clients behave badly, or are too many.

local async = require "asyncbox"
local net = require "asyncbox.net"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local eventually = require "spec.support.eventually"
local sockets = require "spec.support.sockets"

local serve, echo = sockets.serve, sockets.echo

setup(sockets.warm_up)
before_each(clean.start)
after_each(clean.check)

describe("a server outlives clients that", function()
  local server, port

  before_each(function()
    server, port = serve(function(conn)
      for line in conn:lines { max = 1024 } do conn:write("You said: " .. line .. "\n") end
    end, {
      on_error = function(err)
        if err.code ~= "ELIMIT" and err.code ~= "ECONNRESET" then error(err) end
      end,
    })
  end)

  -- It still serves, and the badly behaved one is gone or harmless.
  after_each(function()
    local conn <close> = net.connect("127.0.0.1", port)
    conn:write "hello\n"
    assert.are.equal("You said: hello", conn:read_line())
    server:close()
  end)

  it("send nothing", function()
    local conn = net.connect("127.0.0.1", port)
    eventually("it is served", function() return server:connections() == 1 end)
    conn:close()
  end)

  it("send half a line", function()
    local conn = net.connect("127.0.0.1", port)
    conn:write "half a l"
    conn:shutdown()
    assert.are.equal("You said: half a l\n", conn:read_all())
    conn:close()
  end)

  it("send a line without an end", function()
    local conn = net.connect("127.0.0.1", port)
    pcall(conn.write, conn, ("x"):rep(1 << 20))
    local ok, rest = pcall(conn.read_all, conn)
    assert.is_true(not ok or rest == "")
    conn:reset()
  end)

  it("send a byte at a time", function()
    local conn = net.connect("127.0.0.1", port)
    for c in ("slow\n"):gmatch "." do
      conn:write(c)
      async.sleep(0.002)
    end
    assert.are.equal("You said: slow", conn:read_line())
    conn:close()
  end)

  it("reset the connection", function()
    for _ = 1, 20 do
      local conn = net.connect("127.0.0.1", port)
      conn:write "x"
      conn:reset()
    end
  end)

  it("close one direction only", function()
    local conn = net.connect("127.0.0.1", port)
    conn:write "a\nb\n"
    conn:shutdown()
    assert.are.equal("You said: a\nYou said: b\n", conn:read_all())
    conn:close()
  end)
end)

describe("a client that sends without end and reads nothing", function()
  it("is stopped by the kernel, and costs the server little memory", function()
    local server <close>, port = serve(echo)
    local conn = net.connect("127.0.0.1", port)
    collectgarbage()
    local before = async.stats().memory
    local piece, sent = ("x"):rep(1 << 18), 0
    local writer = async.spawn(pcall, function()
      for _ = 1, 4096 do -- 1 GB
        conn:write(piece)
        sent = sent + 1
      end
    end)
    local last, same = -1, 0
    eventually("it is stopped", function()
      same = sent == last and same + 1 or 0
      last = sent
      return same > 20
    end)
    assert.is_true(sent < 4096)
    collectgarbage()
    collectgarbage()
    assert.is_true(async.stats().memory - before < 1 << 20)
    writer:cancel()
    pcall(async.await, writer)
    conn:reset()
    assert.is_truthy(server)
  end)
end)

describe("a server without descriptors", function()
  it("waits until there are some, says so once, and serves on", function()
    local script = [[
      local server = net.listen("127.0.0.1", 0, function(conn)
        for line in conn:lines() do conn:write(line .. "\n") end
      end)
      io.stdout:setvbuf "no"
      print(server:address().port)
      async.stdin:read_line()
      server:close()
    ]]
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write("local async = require 'asyncbox'\nlocal net = async.net\n", script)
    file:close()
    local process = require "asyncbox.process"
    local p <close> = process.spawn("sh",
      "-c", 'ulimit -n 32; exec "$0" "$@"', cli.program(), "run", path)
    local port = tonumber(p.stdout:read_line())
    local conns = {}
    for i = 1, 60 do
      conns[i] = net.connect("127.0.0.1", port)
      conns[i]:write("hello " .. i .. "\n")
    end
    local said = p.stderr:read_line()
    assert.is_truthy(said:find "too many open files %(EMFILE%): new connections wait", said)
    -- Each is served when those before it have gone.
    for i = 1, 60 do
      assert.are.equal("hello " .. i, conns[i]:read_line())
      conns[i]:close()
    end
    p.stdin:close()
    assert.are.equal(0, p:wait())
    assert.are.equal("", p.stderr:read_all())
    os.remove(path)
  end)
end)

describe("a connection that waits", function()
  -- What the box counts for each of n whose clients have sent `text`.
  local function memory_each(n, text)
    local reading = 0
    local server <close>, port = serve(function(conn)
      while conn:read_line() do reading = reading + 1 end
    end)
    collectgarbage()
    local before, conns = async.stats().memory, {}
    for i = 1, n do
      conns[i] = net.connect("127.0.0.1", port)
      conns[i]:write(text)
    end
    local _, lines = text:gsub("\n", "")
    eventually("all have come", function()
      return server:connections() == n and reading == n * lines
    end)
    async.sleep(0.02)
    collectgarbage()
    collectgarbage()
    local each = (async.stats().memory - before) / n
    for i = 1, n do conns[i]:close() end
    return each -- with its client's end, which is in this box as well
  end

  it("costs little, whatever has come before", function()
    for _, text in ipairs { "", "half a l", ("x"):rep(5000) .. "\nhalf a l", ("x\n"):rep(20000) } do
      local each = memory_each(100, text)
      assert.is_true(each < 6000, #text .. " bytes sent: " .. each)
    end
  end)
end)
