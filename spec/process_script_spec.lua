-- asyncbox.process in scripts that are programs of their own: in a sandbox, and
-- what becomes of the children of a script that ends.

local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"

local run = process.run

-- What a script prints that runs with these options of the program.
local function sandboxed(flags, code, env)
  local args = { "run" }
  for _, flag in ipairs(flags) do args[#args + 1] = flag end
  args[#args + 1] = "-e"
  args[#args + 1] = "local async = require 'asyncbox' local process = async.process " .. code
  local r = cli.run(args, { env = env })
  assert.are.equal("", r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

describe("process", function()
  setup(children.warm_up)
  before_each(clean.start)
  after_each(function()
    children.check()
    clean.check()
  end)

  describe("in a sandbox", function()
    it("is denied unless the program is granted", function()
      assert.are.equal(
        "process.run: permission not granted: echo (EDENIED); allow it with --allow-run=echo",
        sandboxed({ "--sandbox" }, "print(select(2, pcall(process.run, 'echo')))"))
      assert.are.equal("hi\n", sandboxed({ "--allow-run=echo" },
        "print(process.run('echo', 'hi').stdout)"))
      assert.are.equal("EDENIED", sandboxed({ "--allow-run=echo" },
        "print(select(2, pcall(process.run, 'ls')).code)"))
      assert.are.equal("EDENIED",
        sandboxed({ "--allow-run=echo" },
          "print(select(2, pcall(process.pipe, {{'echo'}, {'ls'}})).code)"))
      assert.are.equal("EDENIED",
        sandboxed({ "--allow-run=echo" }, "print(select(2, pcall(process.spawn, 'no-such')).code)"))
      assert.are.equal("0", sandboxed({ "--allow-run=*" }, "print(process.run('true').status)"))
    end)

    it("starts a shell only if the shell is granted", function()
      local code = "print(select(2, pcall(process.run, 'echo', {shell = true})).code)"
      assert.are.equal("EDENIED", sandboxed({ "--allow-run=echo" }, code))
      assert.are.equal("nil", sandboxed({ "--allow-run=/bin/sh" }, code))
    end)

    it("is not fooled by another program of that name", function()
      local code = [[
        print(select(2, pcall(process.run, './echo')).code,
          select(2, pcall(process.run, '/tmp/echo')).code)
      ]]
      assert.are.equal("EDENIED\tEDENIED", sandboxed({ "--allow-run=echo" }, code))
    end)

    it("gives the child no environment but what is granted", function()
      local env = { OF_HOST = "yes", OF_HOME = "no", OTHER = "no" }
      local function child(flags, options)
        table.insert(flags, "--allow-run=env")
        return sandboxed(flags, "print(process.run('env', " .. options .. ").stdout)", env)
      end
      assert.are.equal("", child({}, "{}"))
      assert.are.equal("OF_HOST=yes\n", child({ "--allow-env=OF_HOST" }, "{}"))
      assert.are.equal("OF_HOST=no\n", child({ "--allow-env=OF_HOST" }, "{env={OF_HOST='no'}}"))
      assert.are.equal("", child({ "--allow-env=OF_HOST" }, "{env={OF_HOST=false}}"))
      assert.are.equal("", child({ "--allow-env=OF_HOST" }, "{clear_env=true}"))
      assert.are.equal("X=1\n", child({ "--allow-env=X" }, "{env={X=1}}"))
      assert.matches("OTHER=no", child({ "--allow-env" }, "{}"))
    end)

    it("sets no variable that is not granted, and never what the loader reads", function()
      local code = "print(select(2, pcall(process.run, 'env', {env={%s='x'}})))"
      assert.are.equal(
        "process.run: permission not granted: X (EDENIED); allow it with --allow-env=X",
        sandboxed({ "--allow-run=env", "--allow-env=Y" }, code:format "X"))
      for _, flag in ipairs { "--allow-env=LD_PRELOAD", "--allow-env" } do
        assert.are.equal("process.run: permission not granted: LD_PRELOAD (EDENIED); "
          .. "a sandbox may not set what the loader reads",
          sandboxed({ "--allow-run=env", flag }, code:format "LD_PRELOAD"))
      end
    end)

    it("inherits no standard stream and goes to no folder that was not granted", function()
      assert.are.equal("EDENIED",
        sandboxed({ "--allow-run=cat" },
          "print(select(2, pcall(process.run, 'cat', {stdin='inherit'})).code)"))
      assert.are.equal("EDENIED",
        sandboxed({ "--allow-run=pwd" },
          "print(select(2, pcall(process.run, 'pwd', {cwd='/etc'})).code)"))
      assert.are.equal("/etc\n",
        sandboxed({ "--allow-run=pwd", "--allow-read=/etc" },
          "print(process.run('pwd', {cwd='/etc'}).stdout)"))
    end)

    it("refuses a rule for a program that is not there", function()
      local r = cli.run { "run", "--allow-run=no-such-program", "-e", "" }
      assert.are.equal(2, r.status)
    end)
  end)

  describe("of a script that ends", function()
    it("is ended with it, politely, then for sure", function()
      local r = cli.run { "-e", [[
        local process = require "asyncbox.process"
        local a = process.spawn("sleep", "100")
        local b = process.spawn("sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done")
        b.stdout:read()
        print(a.pid, b.pid)
      ]] }
      assert.are.equal("", r.stderr)
      local pids = 0
      for pid in r.stdout:gmatch "%d+" do
        children.await_end(pid)
        pids = pids + 1
      end
      assert.are.equal(2, pids)
    end)

    it("is ended with it by Ctrl-C too", function()
      local r = run(cli.program(), "-e", [[
        local process = require "asyncbox.process"
        local p <close> = process.spawn("sleep", "100")
        print(p.pid)
        io.stdout:flush()
        process.run("kill", "-INT", tostring(io.open("/proc/self/stat"):read "n"))
        p:wait()
      ]])
      assert.are.equal(130, r.status)
      children.await_end(r.stdout:match "%d+")
    end)
  end)
end)
