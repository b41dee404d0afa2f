-- asyncbox.net: connections and servers, over TCP and Unix sockets.

local async = require "asyncbox"
local net = require "asyncbox.net"
local fs = require "asyncbox.fs"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"

local assert_code = errors.assert_code

-- The first stream of a loop makes libuv keep a descriptor to itself.
setup(function()
  local server = net.listen("127.0.0.1", 0)
  net.connect("127.0.0.1", server:address().port):close()
  server:close()
  async.sleep(0.02)
end)

before_each(clean.start)
after_each(clean.check)

local function echo(conn)
  for bytes in conn:chunks() do conn:write(bytes) end
end

-- A server on a free port that is closed at the end of the block, and the port.
local function serve(handler)
  local server = net.listen("127.0.0.1", 0, handler)
  return server, server:address().port
end

describe("net.connect", function()
  it("connects by address and by name", function()
    local server <close>, port = serve(echo)
    assert.are.equal("127.0.0.1", server:address().host)
    for _, host in ipairs { "127.0.0.1", "localhost" } do
      local conn <close> = net.connect(host, port)
      conn:write "hello"
      assert.are.equal("hello", conn:read_exactly(5))
      assert.are.equal("127.0.0.1:" .. port, tostring(conn:peer()))
    end
  end)

  it("says who refused", function()
    local server, port = serve(echo)
    server:close()
    local err = assert_code("ECONNREFUSED", net.connect, "127.0.0.1", port)
    assert.are.equal("127.0.0.1", err.host)
    assert.are.equal(port, err.port)
    assert.are.equal(
      ("net.connect: connection refused: 127.0.0.1:%d (ECONNREFUSED)"):format(port),
      tostring(err))
  end)

  it("connects to a Unix socket", function()
    local dir <close> = fs.tempdir()
    local path = dir.path .. "/echo"
    local server <close> = net.listen({ path = path }, echo)
    local conn <close> = net.connect { path = path }
    conn:write "hello"
    assert.are.equal("hello", conn:read_exactly(5))
    conn:shutdown()
    assert.is_nil(conn:read())
    assert.are.equal(path, server:address().path)
  end)
end)
