-- What of Lua's own library a sandboxed script has.

local cli = require "spec.support.cli"

local path

local function run(code, ...)
  local file <close> = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  return cli.run { "run", ..., path }
end

-- What a sandboxed script prints.
local function prints(code)
  local result = run(code, "--sandbox")
  assert.equal("", result.stderr)
  assert.equal(0, result.status)
  return result.stdout
end

describe("In a sandbox a script", function()
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("has these functions and no others.", function()
    local out = prints [[
      for _, name in ipairs { "_G", "os", "io", "debug", "package", "coroutine" } do
        local list = {}
        for key in pairs(_G[name]) do list[#list + 1] = key end
        table.sort(list)
        print(name .. ": " .. table.concat(list, " "))
      end
    ]]
    assert.equal(table.concat({
      "_G: _G _VERSION arg assert collectgarbage coroutine debug error getmetatable io ipairs "
        .. "load math next os package pairs pcall print rawequal rawget rawlen rawset require "
        .. "select setmetatable string table tonumber tostring type utf8 warn xpcall",
      "os: clock date difftime exit getenv time",
      "io: stdout type write",
      "debug: traceback",
      "package: config loaded path preload searchers",
      "coroutine: close create isyieldable resume running status wrap yield",
    }, "\n") .. "\n", out)
  end)

  it("writes, but does not get the file of standard output.", function()
    assert.equal("a1b\nnil\tnil\n", prints [[
      io.write("a", 1):write("b\n")
      print(io.write().close, io.stdout.setvbuf)
    ]])
  end)

  it("finds nothing more in package.loaded.", function()
    assert.equal("ok\n", prints [[
      for name, module in pairs(package.loaded) do
        if type(module) == "table" and name ~= "_G" and _G[name] ~= nil then
          assert(module == _G[name], name)
        end
        for _, bad in ipairs { "execute", "open", "popen", "remove", "rename", "tmpname",
          "sethook", "getregistry", "getupvalue", "setmetatable", "loadlib", "dump", "dofile" } do
          local found = rawget(module, bad)
          assert(not found or (name == "_G" and bad == "setmetatable")
            or (name == "table" and bad == "remove") or name:find "^asyncbox", name .. "." .. bad)
        end
      end
      assert(("").dump == nil)
      print "ok"
    ]])
  end)

  it("does not see LUA_PATH.", function()
    local env = { LUA_PATH = "/of/the/host/?.lua", LUA_PATH_5_4 = "/of/the/host/?.lua" }
    local result = cli.run({ "run", "--sandbox", "-e", "print(package.path)" }, { env = env })
    assert.equal("", result.stderr)
    assert.matches("%?%.lua", result.stdout)
    assert.is_nil(result.stdout:find("/of/the/host", 1, true))
  end)

  it("loads text only.", function()
    assert.equal("ok\n", prints [[
      local f, err = load "\27Lua"
      assert(f == nil and err:find "binary chunk", err)
      f, err = load("\27Lua", "x", "bt")
      assert(f == nil and err:find "binary chunk", err)
      f, err = load("return 1", "x", "b")
      assert(f == nil and err:find "text only", err)
      local parts = { "\27", "Lua" }
      f, err = load(function() return table.remove(parts, 1) end)
      assert(f == nil and err:find "binary chunk", err)
      assert(load("return x", "c", "t", { x = 5 })() == 5)
      assert(load("return ...", "c", "bt")(6) == 6)
      assert(load("x = 1; return _ENV", "c", nil, nil) ~= nil)
      f, err = load("x = 1", "c", "t", nil)
      assert(not pcall(f)) -- an environment that is nil
      f, err = load "x ="
      assert(f == nil and err:find "unexpected symbol")
      assert(not pcall(load))
      print "ok"
    ]])
  end)

  it("requires no files, C modules or programs that are not granted.", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir " .. dir))
    local file = assert(io.open(dir .. "/abmod.lua", "w"))
    file:write "return 'loaded'"
    file:close()
    local code = "package.path = '" .. dir .. [[/?.lua'
      local ok, got = pcall(require, "abmod")
      print(ok, (got:gsub("\n.*/", "\n")))
      ok, got = pcall(require, "lfs")
      print(ok)
    ]]
    local out = prints(code)
    assert.is_truthy(out:find "^false\tmodule 'abmod' not found:", out)
    assert.is_truthy(out:find("abmod.lua' (not granted)", 1, true), out)
    assert.is_truthy(out:find "false\n$", out)
    local result = run(code, "--allow-read=" .. dir)
    assert.equal("true\tloaded\nfalse\n", result.stdout)
    file = assert(io.open(dir .. "/abmod.lua", "w"))
    file:write(string.dump(function() end))
    file:close()
    result = run(code, "--allow-read=" .. dir)
    assert.is_truthy(result.stdout:find "^false\terror loading module 'abmod'", result.stdout)
    os.execute("rm -rf " .. dir)
  end)

  it("can exit, print, warn and measure time.", function()
    local result = run([[
      warn "@on"
      warn("a ", "warning")
      print(type(os.time()), type(os.clock()), type(os.date()), io.type(1))
      io.write("a", 1, "\n")
      os.exit(3)
    ]], "--sandbox")
    assert.equal("number\tnumber\tstring\tnil\na1\n", result.stdout)
    assert.equal("Lua warning: a warning\n", result.stderr)
    assert.equal(3, result.status)
  end)

  it("has all of the tasks.", function()
    assert.equal("6\n", prints [[
      local async = require "asyncbox"
      local f = async(function(x) async.sleep(0.001) return x end)
      local a, b, c = async.gather(f(1), f(2), f(3))
      print(a + b + c)
    ]])
  end)

  it("cannot get at what the box itself holds.", function()
    assert.equal("ok\n", prints [[
      local async = require "asyncbox"
      local t = async.current_task()
      for _, object in ipairs { t, async.future(), async.queue(), async.lock(), async.event(),
        async.priority_queue(), async.barrier(1), async.condition(), async.task_local() } do
        assert(getmetatable(object) == false)
        assert(not pcall(setmetatable, object, {}))
      end
      local g = async.group()
      assert(getmetatable(g) == false)
      for _, method in ipairs { "close", "wait", "spawn", "cancel", "count" } do
        for _, self in ipairs { {}, t, async.queue(), 5, "x" } do
          assert(not pcall(g[method], self))
        end
        assert(not pcall(g[method]))
      end
      g:close()
      local _, err = pcall(async.timeout, 0, async.sleep, 1)
      assert(getmetatable(err) == false)
      print "ok"
    ]])
  end)
end)

describe("The environment in a sandbox", function()
  local env = { AB_SPEC_A = "a", AB_SPEC_B = "b", AB_OTHER = "" }

  -- What each of the three gives: its value in quotes, or the code of the error.
  local function values(...)
    local args = { "run", ... }
    table.insert(args, "-e")
    table.insert(args, [[
      for _, name in ipairs { "AB_SPEC_A", "AB_SPEC_B", "AB_OTHER", "AB_SPEC_NOT_SET" } do
        local ok, value = pcall(os.getenv, name)
        io.write(ok and (value and "'" .. value .. "'" or "nil") or value.code, " ")
      end
    ]])
    local result = cli.run(args, { env = env })
    assert.equal("", result.stderr)
    assert.equal(0, result.status)
    return result.stdout
  end

  it("is closed, and the error names the flag.", function()
    assert.equal("EDENIED EDENIED EDENIED EDENIED ", values "--sandbox")
    local result = cli.run { "run", "--sandbox", "-e", [[
      local ok, err = pcall(os.getenv, "HOME")
      print(ok, err, err.op, err.name, err.hint)
    ]] }
    assert.equal("false\tos.getenv: permission not granted: HOME (EDENIED); "
      .. "allow it with --allow-env=HOME\tos.getenv\tHOME\tallow it with --allow-env=HOME\n",
      result.stdout)
  end)

  it("is opened by names, beginnings of names, or as a whole.", function()
    assert.equal("'a' EDENIED EDENIED EDENIED ", values "--allow-env=AB_SPEC_A")
    assert.equal("'a' EDENIED '' EDENIED ", values "--allow-env=AB_SPEC_A,AB_OTHER")
    assert.equal("'a' 'b' EDENIED nil ", values "--allow-env=AB_SPEC_*")
    assert.equal("'a' 'b' '' nil ", values "--allow-env=*")
    assert.equal("'a' 'b' '' nil ", values "--allow-env")
    assert.equal("EDENIED EDENIED EDENIED EDENIED ", values "--allow-env=AB_SPEC_")
    assert.equal("EDENIED EDENIED EDENIED EDENIED ", values "--allow-env=ab_spec_a")
    assert.equal("EDENIED EDENIED EDENIED EDENIED ", values "--allow-read=/")
  end)

  it("is not reached by odd names.", function()
    local result = cli.run({ "run", "--allow-env=AB_SPEC_A", "-e", [[
      for _, name in ipairs { "", "AB_SPEC_B\0", "AB_SPEC_A=", "AB_SPEC_A=a", "AB_SPEC_A " } do
        assert(select(2, pcall(os.getenv, name)).code == "EDENIED")
      end
      print(os.getenv "AB_SPEC_A\0_B", select(2, pcall(os.getenv)))
    ]] }, { env = env })
    assert.equal("", result.stderr)
    assert.matches("^a\tbad argument #1.*expected, got no value", result.stdout)
  end)

  it("takes no rule that is not a name.", function()
    for _, rule in ipairs { "A=B", "A*B", "**" } do
      local result = cli.run { "run", "--allow-env=" .. rule, "-e", "" }
      assert.equal(2, result.status)
      assert.equal("asyncbox: --allow-env=" .. rule ..
        ": want NAME, PREFIX* or *, without a value\n", result.stderr)
    end
    assert.equal(2, cli.run({ "run", "--allow-env=", "-e", "" }).status)
  end)

  it("is Lua's own without a sandbox.", function()
    assert.equal("'a' 'b' '' nil ", values())
  end)
end)
