-- asyncbox.net: connecting by names that have several addresses, or others by
-- and by, with a name server of the spec's own.

local async = require "asyncbox"
local dns = require "asyncbox.dns"
local fs = require "asyncbox.fs"
local net = require "asyncbox.net"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local dns_server = require "spec.support.dns_server"
local errors = require "spec.support.errors"
local folder = require "spec.support.folder"
local sockets = require "spec.support.sockets"

local assert_code = errors.assert_code

setup(function()
  sockets.warm_up()
  children.warm_up()
end)
before_each(clean.start)
after_each(function()
  dns.servers {}
  clean.check()
  children.check()
end)

local function serve(zone)
  return dns_server.serve(zone, { timeout = 5, tries = 1 })
end

-- Two addresses and a port: at the first nobody ever answers, at the second
-- somebody echoes.
local function stuck_and_good()
  for _ = 1, 50 do
    local stuck = net.listen("127.0.0.2", 0, { backlog = 1 })
    local port, all = stuck:address().port, { stuck }
    local ok, good = pcall(net.listen, "127.0.0.3", port, sockets.echo)
    if ok then
      sockets.fill("127.0.0.2", port, all)
      all[#all + 1] = good
      return port, setmetatable(all, {
        __close = function()
          for _, x in ipairs(all) do x:close() end
        end,
      })
    end
    stuck:close()
  end
end

describe("the race of a name's addresses", function()
  it("is won by the one that answers, in whatever order they come", function()
    local port, _ <close> = stuck_and_good()
    local _ <close> = serve {
      ["ab.test"] = { A = { "127.0.0.2", "127.0.0.3" } },
      ["ba.test"] = { A = { "127.0.0.3", "127.0.0.2" } },
      ["many.test"] = { A = { "127.0.0.2", "127.0.0.3", "127.0.0.4" }, AAAA = "::1" },
    }
    for _, name in ipairs { "ab.test.", "ba.test.", "many.test." } do
      local conn <close> = net.connect(name, port)
      assert.are.equal("127.0.0.3", conn:peer().host)
      conn:write "x"
      assert.are.equal("x", conn:read())
    end
  end)

  it("looks the name up once", function()
    local server <close> = serve { ["one.test"] = { A = "127.0.0.1" } }
    local listener <close>, port = sockets.serve(sockets.echo)
    net.connect("one.test.", port):close()
    assert.are.equal(2, server.asked["one.test"]) -- A and AAAA
    assert.is_truthy(listener)
  end)

  it("ends with the first error when nobody answers", function()
    local _ <close> = serve {
      ["none.test"] = { A = { "127.0.0.1", "127.0.0.2", "127.0.0.3" } },
    }
    local port = sockets.free_port()
    local err = assert_code("ECONNREFUSED", net.connect, "none.test.", port)
    assert.are.equal("none.test.", err.host)
    assert.are.equal(port, err.port)
  end)

  it("is over when the time is, or when it is cancelled", function()
    local port, _ <close> = stuck_and_good()
    local _ <close> = serve {
      ["stuck.test"] = { A = { "127.0.0.2", "127.0.0.2" }, AAAA = "::ffff:127.0.0.2" },
    }
    assert_code("ETIMEDOUT", net.connect, "stuck.test.", port, { timeout = 0.4 })
    local task = async.spawn(net.connect, "stuck.test.", port)
    async.sleep(0.3)
    assert.is_false(task:done())
    task:cancel()
    assert_code("ECANCELED", async.await, task)
  end)
end)

describe("looking up", function()
  it("fails as the name server says", function()
    local _ <close> = serve { ["broken.test"] = "SERVFAIL" }
    for _, name in ipairs { "gone.test.", "broken.test." } do
      local err = errors.failure(net.connect, name, 80)
      assert.is_truthy(err.code:find "^EAI_", err.code)
      assert.are.equal(name, err.host)
      assert.are.equal("net.connect", err.op)
    end
  end)

  it("counts into the timeout, and can be cancelled", function()
    local _ <close> = serve { ["dead.test"] = "silent" }
    local err = assert_code("ETIMEDOUT", net.connect, "dead.test.", 80, { timeout = 0.05 })
    assert.are.equal("dead.test.", err.host)
    local task = async.spawn(net.connect, "dead.test.", 80)
    async.sleep(0.01)
    task:cancel()
    assert_code("ECANCELED", async.await, task)
  end)
end)

describe("listening on a name", function()
  it("looks it up, fails as that fails, and can be cancelled", function()
    local _ <close> = serve {
      ["mine.test"] = { A = { "127.0.0.1", "127.0.0.2" } },
      ["dead.test"] = "silent",
    }
    local listener <close> = net.listen("mine.test.", 0, sockets.echo)
    local hosts = {}
    for i, at in ipairs(listener:addresses()) do
      hosts[i] = at.host
      net.connect(at.host, at.port):close()
    end
    table.sort(hosts)
    assert.are.same({ "127.0.0.1", "127.0.0.2" }, hosts)
    local err = errors.failure(net.listen, "gone.test.", 0)
    assert.are.equal("net.listen", err.op)
    assert.are.equal("gone.test.", err.host)
    local task = async.spawn(net.listen, "dead.test.", 0)
    async.sleep(0.01)
    task:cancel()
    assert_code("ECANCELED", async.await, task)
  end)
end)

-- What each line of code says in a sandbox with these flags.
local function run(flags, server, code, ...)
  local path = os.tmpname()
  fs.write(path, ([[
    local async = require "asyncbox"
    local dns, net = async.dns, async.net
    dns.servers { %q }
    function try(f, ...)
      local ok, got = pcall(f, ...)
      if ok and got.close then got:close() got = "connected" end
      if type(got) == "table" then got = got.code or table.concat(got, " ") end
      print(got)
    end
  ]]):format(server.address) .. code:format(...))
  local args = { "run", "--allow-net=" .. server.address, table.unpack(flags) }
  args[#args + 1] = path
  local r = process.run(folder.program, args, { check = false })
  fs.remove(path)
  assert.are.equal("", r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

describe("a name whose answer changes between look-up and connect", function()
  local connections, listener, port

  before_each(function()
    connections = 0
    listener, port = sockets.serve(function() connections = connections + 1 end)
  end)
  after_each(function() listener:close() end)

  -- Public when it is looked up, this machine from then on.
  local function start(inner)
    return dns_server.start {
      ["turns.test"] = function(count, kind)
        if kind == 28 then return inner.AAAA and count > 2 and inner or {} end
        return count > 2 and inner or { A = "192.88.98.1" }
      end,
    }
  end

  it("reaches nothing that was not granted", function()
    for _, inner in ipairs {
      { A = "127.0.0.1" }, { A = "0.0.0.0" }, { A = "127.0.0.2" }, { AAAA = "::1" },
      { AAAA = "::ffff:127.0.0.1" }, { AAAA = "::" }, { A = "169.254.169.254" },
      { A = "10.0.0.1" }, { AAAA = "fe80::1" }, { AAAA = "fd00::1" },
    } do
      local server <close> = start(inner)
      assert.are.equal("192.88.98.1\nEDENIED\nEDENIED",
        run({ "--allow-net=turns.test" }, server, [[
          try(dns.resolve, "turns.test.")
          try(net.connect, "turns.test.", %d, { timeout = 10 })
          try(net.connect, "turns.test", %d, { timeout = 10 })
        ]], port, port))
    end
    assert.are.equal(0, connections)
  end)

  it("reaches what is granted by its address as well", function()
    local server <close> = start { A = "127.0.0.1" }
    assert.are.equal("192.88.98.1\nconnected",
      run({ "--allow-net=turns.test", "--allow-net=127.0.0.1:" .. port }, server, [[
        try(dns.resolve, "turns.test.")
        try(net.connect, "turns.test.", %d, { timeout = 10 })
      ]], port))
  end)

  it("is not connected at addresses of which only some are granted", function()
    local server <close> = dns_server.start {
      ["mixed.test"] = { A = { "127.0.0.1", "127.0.0.2", "127.0.0.3" } },
    }
    local other <close> = net.listen("127.0.0.2", port, sockets.echo)
    assert.are.equal("connected",
      run({ "--allow-net=mixed.test", "--allow-net=127.0.0.2" }, server,
        [[try(net.connect, "mixed.test.", %d)]], port))
    assert.are.equal(0, connections)
    assert.is_truthy(other)
  end)
end)
