-- What a sandboxed script may connect to and listen on, in every spelling of an
-- address. (Unix sockets: net_unix_spec. spec/c/grants_spec.c asks grants.h.)

local net = require "asyncbox.net"
local folder = require "spec.support.folder"
local sandboxed = require("spec.support.sandboxed").run
local sockets = require "spec.support.sockets"

setup(sockets.warm_up)
before_each(folder.start)
after_each(folder.check)

local prelude = [[
  local net = async.net
  function try(f, ...)
    local ok, got = pcall(f, ...)
    print(ok and "ok" or type(got) == "table" and got.code or got)
    if ok then got:close() end
  end
]]

-- What each line of code says, as a list of words.
local function run(flags, code, ...)
  local out = {}
  for line in sandboxed(flags, prelude .. code:format(...)):gmatch "[^\n]+" do
    out[#out + 1] = line
  end
  return out
end

local function all(word, list)
  for i, got in ipairs(list) do assert.are.equal(word, got, "number " .. i) end
  assert.is_true(#list > 0)
end

-- All of these reach 127.0.0.1 on Linux.
local SPELLINGS = {
  "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1",
  "017700000001", "127.0.0.1.", "::ffff:127.0.0.1", "::ffff:7f00:1", "[::ffff:127.0.0.1]",
  "0:0:0:0:0:ffff:127.0.0.1", "0x7f.0x0.0x0.0x1", "localhost", "LOCALHOST", "localhost.",
  "x.localhost", "0.0.0.0", "0", "::",
}

local function list_of(words)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = ("%q"):format(word) end
  return table.concat(quoted, ", ")
end

describe("a sandbox", function()
  it("connects nowhere", function()
    local server <close>, port = sockets.serve(sockets.echo)
    all("EDENIED", run({ "--sandbox" }, [[
      for _, host in ipairs { %s, "::1", "example.org", "8.8.8.8" } do
        try(net.connect, host, %d)
      end
    ]], list_of(SPELLINGS), port))
    assert.is_truthy(server)
  end)

  it("that may connect to every public host does not reach this machine, however spelt", function()
    local server <close>, port = sockets.serve(sockets.echo)
    all("EDENIED", run({ "--allow-net=*" }, [[
      for _, host in ipairs { %s, "::1", "[::1]", "0:0:0:0:0:0:0:1" } do
        try(net.connect, host, %d)
      end
    ]], list_of(SPELLINGS), port))
    assert.is_truthy(server)
  end)

  it("does not reach private, link-local and other special addresses", function()
    all("EDENIED", run({ "--allow-net=*" }, [[
      for _, host in ipairs {
        "10.0.0.1", "10.1", "167772161", "0xa000001", "012.0.0.1", "::ffff:10.0.0.1",
        "172.16.0.1", "192.168.1.1", "192.168.257", "169.254.169.254", "2852039166",
        "0xa9fea9fe", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "fe80::1", "fe80::1%%1", "fe80::1%%lo", "fc00::1",
        "fd00::1", "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1",
      } do try(net.connect, host, 80, { timeout = 5 }) end
    ]]))
  end)

  it("reaches what is granted as such, in every spelling", function()
    local server <close>, port = sockets.serve(sockets.echo)
    local words = {}
    for _, host in ipairs(SPELLINGS) do
      -- 0.0.0.0 and :: are addresses of their own.
      local other = host == "0.0.0.0" or host == "0" or host == "::"
      if not (other or host:lower():find "localhost") then
        words[#words + 1] = host
      end
    end
    for _, flag in ipairs { "127.0.0.1", "127.0.0.1:" .. port, "127.0.0.0/8", "localhost" } do
      all("ok", run({ "--allow-net=" .. flag }, [[
        for _, host in ipairs { %s } do try(net.connect, host, %d) end
      ]], list_of(words), port))
    end
    all("EDENIED", run({ "--allow-net=127.0.0.1" }, [[
      for _, host in ipairs { "0.0.0.0", "0", "::", "127.0.0.2", "::1" } do
        try(net.connect, host, %d)
      end
    ]], port))
    all("EDENIED", run({ "--allow-net=127.0.0.1:" .. (port ~= 1 and 1 or 2) }, [[
      try(net.connect, "127.0.0.1", %d)
    ]], port))
    assert.is_truthy(server)
  end)

  it("may try a name for its granted addresses only", function()
    -- localhost is ::1 and 127.0.0.1: of these one is granted.
    local server <close>, port = sockets.serve(sockets.echo)
    all("ok", run({ "--allow-net=localhost" }, [[try(net.connect, "localhost", %d)]], port))
    all("EDENIED", run({ "--allow-net=127.0.0.1" }, [[try(net.connect, "localhost", %d)]], port))
    assert.is_truthy(server)
  end)

  it("is told which flag would help", function()
    local said = run({ "--sandbox" }, [[
      local _, err = pcall(net.connect, "127.1", 80)
      print(err)
      _, err = pcall(net.connect, "::1", 80)
      print(err.hint)
      _, err = pcall(net.listen, "127.0.0.1", 8000)
      print(err)
      _, err = pcall(net.listen, "::1", 0)
      print(err.hint)
    ]])
    assert.are.same({
      "net.connect: permission not granted: 127.1 (EDENIED); allow it with --allow-net=127.1:80",
      "allow it with --allow-net=[::1]:80",
      "net.listen: permission not granted: 127.0.0.1:8000 (EDENIED); " ..
        "allow it with --allow-listen=127.0.0.1:8000",
      "allow it with --allow-listen=[::1]",
    }, said)
  end)

  it("listens on nothing but what is granted", function()
    local tries = [[
      for _, at in ipairs { { "127.0.0.1", %d }, { "127.1", 0 }, { "0.0.0.0", 0 }, { "*", 0 } } do
        try(net.listen, at[1], at[2])
      end
    ]]
    local port = sockets.free_port()
    local function listen(flag) return table.concat(run({ flag }, tries, port), " ") end
    assert.are.equal("EDENIED EDENIED EDENIED EDENIED", listen "--sandbox")
    assert.are.equal("EDENIED EDENIED EDENIED EDENIED", listen "--allow-net=*")
    assert.are.equal("ok EDENIED EDENIED EDENIED", listen("--allow-listen=127.0.0.1:" .. port))
    assert.are.equal("ok EDENIED EDENIED EDENIED", listen("--allow-listen=" .. port))
    assert.are.equal("ok EDENIED EDENIED EDENIED", listen("--allow-listen=*:" .. port))
    assert.are.equal("ok ok EDENIED EDENIED", listen "--allow-listen=127.0.0.1")
    assert.are.equal("ok ok EDENIED EDENIED", listen "--allow-listen=localhost")
    assert.are.equal("ok ok EDENIED EDENIED", listen "--allow-listen=127.0.0.0/8")
    assert.are.equal("EDENIED EDENIED ok EDENIED", listen "--allow-listen=0.0.0.0")
    assert.are.equal("ok ok ok ok", listen "--allow-listen=*")
  end)

  it("looks no name up to listen on", function()
    all("EDENIED", run({ "--allow-listen=*", "--allow-net=*" }, [[
      try(net.listen, "secret.example.org", 0)
    ]]))
  end)

  it("that may listen may not connect for that", function()
    all("EDENIED", run({ "--allow-listen=*" }, [[
      local server <close> = net.listen("127.0.0.1", 0)
      try(net.connect, "127.0.0.1", server:address().port)
    ]]))
  end)
end)

describe("a rule to listen that cannot be read", function()
  it("is refused when it is given", function()
    local cli = require "spec.support.cli"
    for _, rule in ipairs { "example.org", "0", "65536", "127.0.0.1:0", "10.0.0.0/33", "x y" } do
      local r = cli.run { "run", "--allow-listen=" .. rule, "-e", "" }
      assert.are_not.equal(0, r.status, rule)
      assert.is_truthy(r.stderr:find("allow-listen", 1, true), r.stderr)
    end
    assert.is_truthy(net)
  end)
end)
