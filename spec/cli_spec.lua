-- The program: command lines, the global arg, exit statuses, bad input.

local cli = require "spec.support.cli"
local shell = require "spec.support.shell"

local quote, sh, write = cli.quote, shell.run, shell.write

-- The program ended with this status, having printed one line on stderr that
-- begins with "asyncbox: " and has each of these texts in it.
local function assert_one_error(status, result, ...)
  assert.equal("", result.stdout)
  local line, more = result.stderr:match "^([^\n]*)\n(.*)$"
  assert.is_string(line, result.stderr)
  assert.equal("", more)
  assert.equal("asyncbox: ", line:sub(1, 10))
  for _, text in ipairs { ... } do
    assert.is_truthy(line:lower():find(text:lower(), 1, true), ("%q in %q"):format(text, line))
  end
  assert.equal(status, result.status)
end

local function assert_printed(text, result)
  assert.equal("", result.stderr)
  assert.equal(text, result.stdout)
  assert.equal(0, result.status)
end

describe("The program", function()
  local dir

  before_each(function()
    shell.open()
    dir = shell.dir
  end)

  after_each(shell.close)

  describe("says", function()
    it("its version, Lua's and libuv's.", function()
      local pattern = "^asyncbox %d+%.%d+%.%d+, Lua 5%.4%.%d+, libuv %d+%.%d+%.%d+\n$"
      for _, option in ipairs { "--version", "-v" } do
        local result = cli.run { option }
        assert.is_truthy(result.stdout:match(pattern), result.stdout)
        assert.equal("", result.stderr)
        assert.equal(0, result.status)
      end
    end)

    it("its help, as a whole and for each command.", function()
      local main = cli.run { "--help" }
      assert.is_truthy(main.stdout:find "^usage: asyncbox run ")
      assert_printed(main.stdout, cli.run { "-h" })
      assert_printed(main.stdout, cli.run { "help" })
      local run = cli.run { "run", "--help" }
      assert.is_truthy(run.stdout:find("--allow-read=PATH", 1, true))
      assert_printed(run.stdout, cli.run { "help", "run" })
      assert_printed(run.stdout, cli.run { "run", "--memory", "32M", "-h", "x.lua" })
      local test = cli.run { "help", "test" }
      assert.is_truthy(test.stdout:find("busted", 1, true))
      assert_printed(test.stdout, cli.run { "test", "--help" })
      assert_one_error(2, cli.run { "help", "me" }, "'me'")
    end)

    it("its help at a terminal, where there is no script.", function()
      -- script(1) gives the program a terminal; it may be missing.
      local out = sh [[command -v script >/dev/null || { echo usage: 2; exit; }
        script -qec "$A; echo \$?" /dev/null </dev/null]]
      assert.is_truthy(out:find("usage:", 1, true))
      assert.is_truthy(out:find "2%s*$")
    end)
  end)

  describe("gives a script", function()
    local show = [[
      local first = 0
      while arg[first - 1] do first = first - 1 end
      for i = first, #arg do
        print(i, i == first and "program" or (arg[i]:gsub(".*/", "")))
      end
      print(select("#", ...), ...)
    ]]

    it("arg and ... as lua does, in the short form.", function()
      local path = write("show.lua", show)
      assert_printed(
        "-1\tprogram\n0\tshow.lua\n1\ta\n2\t\n3\t--sandbox\n3\ta\t\t--sandbox\n",
        cli.run { path, "a", "", "--sandbox" }
      )
      assert_printed(
        "-4\tprogram\n-3\t-e\n-2\tlocal x\n-1\t--\n0\tshow.lua\n0\n",
        cli.run { "-e", "local x", "--", path }
      )
    end)

    it("arg and ... when run with options.", function()
      local path = write("show.lua", show)
      assert_printed(
        "-4\tprogram\n-3\trun\n-2\t--memory\n-1\t32M\n0\tshow.lua\n1\t-x\n1\t-x\n",
        cli.run { "run", "--memory", "32M", path, "-x" }
      )
    end)

    it("what stands in the global arg when the script starts as its ...", function()
      local path = write("show.lua", "print(...)")
      assert_printed("b\tc\n", cli.run { "-e", "arg[1], arg[2] = 'b', 'c'", path, "a" })
    end)

    it("no ... and an arg that begins with the program when there is only -e.", function()
      assert_printed(
        "0\t-e\n",
        cli.run { "-e", "print(select('#', ...), arg[1]); assert(arg[0] and not arg[-1])" }
      )
    end)

    it("arg in a sandbox too.", function()
      local path = write("show.lua", "print(arg[0] == ..., #arg)")
      assert_printed("true\t1\n", cli.run { "run", "--sandbox", path, path })
    end)
  end)

  describe("runs", function()
    it("a script from standard input: -, run -, or no argument at all.", function()
      local code = "#!/usr/bin/env lua\nprint(arg[0] ~= nil, ...)"
      assert_printed("true\ta\n", cli.run({ "-", "a" }, { stdin = code }))
      assert_printed("true\ta\n", cli.run({ "run", "-", "a" }, { stdin = code }))
      assert_printed("true\n", cli.run({}, { stdin = code }))
    end)

    it("a script that reads the rest of standard input itself.", function()
      local path = write("cat.lua", "io.write(io.read 'a')")
      assert_printed("one\ntwo", cli.run({ path }, { stdin = "one\ntwo" }))
    end)

    it("a script with a shebang line, and counts it in line numbers.", function()
      local path = write("x.lua", "#!/usr/bin/env asyncbox\nprint(debug.getinfo(1).currentline)")
      assert_printed("2\n", cli.run { path })
      assert_printed("2\n", cli.run { "run", path })
      assert_printed("", cli.run { write("only.lua", "#!no line end") })
    end)

    it("a script as a program of its own.", function()
      sh("ln -s " .. quote(shell.program()) .. " \"$D/a\"") -- no path with spaces works here
      write("x.lua", "#!" .. dir .. "/a\nprint('hello', ...)")
      assert.equal("hello\ta b\n", sh [[chmod +x "$D/x.lua"; "$D/x.lua" "a b"]])
    end)

    it("an empty script and one of nothing but a comment.", function()
      assert_printed("", cli.run { write("empty.lua", "") })
      assert_printed("", cli.run { "run", write("comment.lua", "-- nothing") })
      assert_printed("", cli.run({ "-" }, { stdin = "" }))
    end)

    it("a precompiled script.", function()
      local path = dir .. "/x.luac"
      assert_printed("", cli.run { "-e", ([[
        local f = assert(io.open(%q, "wb"))
        f:write(string.dump(load "print(...)"))
        f:close()]]):format(path) })
      assert_printed("a\n", cli.run { path, "a" })
    end)

    it("a script named as a command, by its path.", function()
      write("test", "print 'mine'")
      assert_printed("mine\n", cli.run({ "./test" }, {
        cwd = dir,
        program = shell.program(),
      }))
    end)

    it("a script named - after --.", function()
      local program = shell.program()
      write("-", "print 'a file'")
      assert_printed("a file\n", cli.run({ "--", "-" }, { cwd = dir, program = program }))
    end)

    it("-e several times, in order with -l, before the script; in one state.", function()
      write("mod.lua", "return {name = 'mod ' .. tostring(x)}")
      local path = write("x.lua", "print(x, mod.name, other == mod)")
      local env = { LUA_PATH = dir .. "/?.lua" }
      assert_printed("1\tmod 1\ttrue\n", cli.run(
        { "-ex=1", "-l", "mod", "-lother=mod", path }, { env = env }))
      assert_printed("3\n", cli.run { "-e", "a = 1", "-e", "b = 2", "-e", "print(a + b)" })
      assert_printed("1\n", cli.run { "run", "-e", "print(1)" })
    end)

    it("-e and waits in it, and -e's tasks end before the script starts.", function()
      local path = write("x.lua", "print 'script'")
      assert_printed("code\nscript\n", cli.run { "-e", [[
        local async = require "asyncbox"
        async.spawn(function() async.sleep(0.01) print "code" end)]], path })
    end)

    it("-l of a module with a version in its name, and of one with waits in it.", function()
      write("mod-v2.lua", "require 'asyncbox'.sleep(0.001) return 'two'")
      assert_printed("two\n", cli.run(
        { "-l", "mod-v2", "-e", "print(mod)" }, { env = { LUA_PATH = dir .. "/?.lua" } }))
    end)

    it("the code in LUA_INIT, or the file it names, unless there is -E.", function()
      local init = write("init.lua", "print 'file'")
      local env = { LUA_INIT = "print 'code'" }
      assert_printed("code\nx\n", cli.run({ "-e", "print 'x'" }, { env = env }))
      assert_printed("x\n", cli.run({ "-E", "-e", "print 'x'" }, { env = env }))
      env.LUA_INIT_5_4 = "@" .. init
      assert_printed("file\nx\n", cli.run({ "-e", "print 'x'" }, { env = env }))
    end)

    it("with LUA_PATH unless there is -E.", function()
      local env = { LUA_PATH = dir .. "/?.lua;;" }
      local code = ("print(package.path:find(%q, 1, true) ~= nil)"):format(dir)
      assert_printed("true\n", cli.run({ "-e", code }, { env = env }))
      assert_printed("false\n", cli.run({ "-E", "-e", code }, { env = env }))
    end)

    it("-W, which turns warnings on for what follows.", function()
      local result = cli.run { "-e", "warn 'quiet'", "-W", "-e", "warn('lo', 'ud')" }
      assert.equal("Lua warning: loud\n", result.stderr)
      assert.equal(0, result.status)
    end)

    it("-v, and goes on.", function()
      local result = cli.run { "-v", "-e", "print 'on'" }
      assert.is_truthy(result.stdout:find "^asyncbox .*\non\n$")
    end)

    it("until the last task has ended.", function()
      assert_printed("main\ntask\n", cli.run { "run", "--virtual-time", write("x.lua", [[
        local async = require "asyncbox"
        async.spawn(function() async.sleep(3600) print "task" end)
        print "main"]]) })
    end)
  end)

  describe("ends with the status", function()
    it("of os.exit, with buffers written and <close> variables run.", function()
      local function status(code)
        return cli.run({ "-e", code }).status
      end
      assert.equal(0, status "os.exit()")
      assert.equal(0, status "os.exit(true)")
      assert.equal(1, status "os.exit(false)")
      assert.equal(0, status "os.exit(0)")
      assert.equal(7, status "os.exit(7)")
      assert.equal(255, status "os.exit(255)")
      assert.equal(7, status "os.exit(7, true)")
      local path = write("x.lua", [[
        io.stdout:setvbuf "full"
        io.write "written, "
        local guard <close> = setmetatable({}, {__close = function() io.write "closed" end})
        os.exit(3, true)]])
      local result = cli.run { path }
      assert.equal("written, closed", result.stdout)
      assert.equal("", result.stderr)
      assert.equal(3, result.status)
    end)

    it("of os.exit called in a task, in a coroutine, in -e before the script.", function()
      local path = write("x.lua", "print 'not reached'")
      local result = cli.run { "-e", "os.exit(4)", path }
      assert.equal("", result.stdout)
      assert.equal(4, result.status)
      assert.equal(5, cli.run({ "-e", [[
        local async = require "asyncbox"
        async.spawn(function() os.exit(5) end)
        async.sleep(100)]] }).status)
      assert.equal(6, cli.run({ "-e", "coroutine.wrap(function() os.exit(6) end)()" }).status)
    end)

    it("1 after an error in the script, saying where.", function()
      local path = write("x.lua", "local function f()\n  error 'oops'\nend\nf()\nprint 'no'")
      for _, words in ipairs { { path }, { "run", path }, { "run", "--sandbox", path } } do
        local result = cli.run(words)
        assert.equal("", result.stdout)
        assert.is_truthy(result.stderr:find(path .. ":2: oops", 1, true), result.stderr)
        assert.is_truthy(result.stderr:find("stack traceback:", 1, true))
        assert.equal(1, result.status)
      end
    end)

    it("1 after an error in -e, and the script does not run.", function()
      local path = write("x.lua", "print 'no'")
      local result = cli.run { "-e", "error 'oops'", path }
      assert.equal("", result.stdout)
      assert.is_truthy(result.stderr:find("(command line):1: oops", 1, true))
      assert.equal(1, result.status)
    end)

    it("1 after an error in a task of which the main chunk takes no notice.", function()
      local result = cli.run { "-e", [[
        local async = require "asyncbox"
        async.spawn(error, "lost")
        async.sleep(0.001)
        print "main goes on"]] }
      assert.equal("main goes on\n", result.stdout)
      assert.is_truthy(result.stderr:find("lost", 1, true))
      assert.equal(1, result.status)
    end)

    it("1 when an error is no string.", function()
      for _, value in ipairs { "nil", "{}", "print", "setmetatable({}, {__tostring = error})" } do
        local result = cli.run { "-e", "error(" .. value .. ")" }
        assert.not_equal("", result.stderr)
        assert.equal(1, result.status)
      end
    end)
  end)

  describe("answers with one line and status 1", function()
    it("a script that is not there.", function()
      local path = dir .. "/none.lua"
      assert_one_error(1, cli.run { path }, path, "no such file or directory")
      assert_one_error(1, cli.run { "run", path }, path, "no such file or directory")
      assert_one_error(1, cli.run { "run", "--sandbox", path }, path)
    end)

    it("a folder in place of a script.", function()
      assert_one_error(1, cli.run { "run", dir }, dir, "directory")
      assert_one_error(1, cli.run { dir }, dir, "directory")
    end)

    it("a script that may not be read.", function()
      local path = write("x.lua", "print 1")
      if sh([[chmod 0 "$D/x.lua"; cat "$D/x.lua"]]) == "print 1" then
        -- We are root: somebody else must try.
        local out = sh [[chmod 755 "$D"
          command -v setpriv >/dev/null || { echo skipped; exit; }
          cp "$A" "$D/program"; chmod 755 "$D/program"
          setpriv --reuid=65534 --regid=65534 --clear-groups "$D/program" run "$D/x.lua"
          echo $?]]
        if out ~= "skipped\n" then
          assert.is_truthy(out:find "^asyncbox: [^\n]*\n1\n$")
          assert.is_truthy(out:find(path, 1, true))
          assert.is_truthy(out:lower():find("permission denied", 1, true), out)
        end
      else
        assert_one_error(1, cli.run { "run", path }, path, "permission denied")
      end
    end)

    it("a syntax error, naming its line.", function()
      local path = write("x.lua", "local a = 1\nlocal = 2\n")
      assert_one_error(1, cli.run { path }, path .. ":2:", "'='")
      assert_one_error(1, cli.run { "run", path }, path .. ":2:")
      assert_one_error(1, cli.run { "-e", "x = = 2" }, "(command line):1:")
      assert_one_error(1, cli.run({ "-" }, { stdin = "x = = 2" }), "stdin:1:")
    end)

    it("a precompiled script that was cut off.", function()
      local path = write("x.luac", string.dump(load "print(1)"):sub(1, 20))
      assert_one_error(1, cli.run { path }, "truncated")
    end)

    it("descriptors that are not enough to start.", function()
      local starved
      -- A sanitizer that looks for leaks needs a descriptor, too.
      local start = "export ASAN_OPTIONS=detect_leaks=0; ulimit -n %d; exec %s -e ''"
      for n = 3, 30 do
        local r = cli.run({ "-c", start:format(n, quote(cli.program())) }, { program = "/bin/sh" })
        if r.status == 0 then break end
        if not r.stderr:find "shared libraries" then -- it did not come to us
          assert_one_error(1, r, "cannot start: too many open files")
          starved = true
        end
      end
      assert.is_true(starved)
    end)

    it("memory that is not enough to start.", function()
      assert_one_error(1, cli.run { "run", "--memory", "1K", write("x.lua", "") }, "--memory 1K")
    end)
  end)

  describe("answers with one line and status 2", function()
    local function assert_usage(words, ...)
      local result = cli.run(words)
      assert_one_error(2, result, ...)
      assert.is_truthy(result.stderr:find("--help", 1, true), result.stderr)
    end

    it("an option that it does not know.", function()
      assert_usage({ "run", "--nosuch", "x.lua" }, "'--nosuch'")
      assert_usage({ "run", "--nosuch=1", "x.lua" }, "'--nosuch'")
      assert_usage({ "run", "--allow-all", "x.lua" }, "'--allow-all'")
      assert_usage({ "run", "-q", "x.lua" }, "'-q'")
      assert_usage({ "--nosuch" }, "'--nosuch'")
      assert_usage({ "-z", "x.lua" }, "'-z'")
      assert_usage({ "-vv" }, "'-vv'")
      assert_usage({ "-i" }, "-i", "interactive")
    end)

    it("an option of run in the short form, saying where it belongs.", function()
      assert_usage({ "--sandbox", "x.lua" }, "--sandbox", "asyncbox run --sandbox FILE")
      assert_usage({ "--memory=32M", "x.lua" }, "asyncbox run --memory SIZE FILE")
    end)

    it("run without a file.", function()
      assert_usage({ "run" }, "needs a FILE")
      assert_usage({ "run", "--sandbox" }, "needs a FILE")
      assert_usage({ "run", "--" }, "needs a FILE")
    end)

    it("a size that is none.", function()
      for _, size in ipairs {
        "", "M", "12Q", "-1", "0", "0M", "1.5M", "32MB", " 1M", "1e6",
        "99999999999999999999", "99999999999999999G",
      } do
        assert_usage({ "run", "--memory", size, "x.lua" }, "--memory", "'" .. size .. "'")
        assert_usage({ "run", "--memory=" .. size, "x.lua" }, "'" .. size .. "'")
      end
      assert_usage({ "run", "--memory" }, "--memory needs a value")
    end)

    it("an --allow option without a value or with an empty rule.", function()
      for _, kind in ipairs { "read", "write", "net" } do
        local option = "--allow-" .. kind
        assert_usage({ "run", option, "x.lua" }, option .. " needs a value", option .. "=")
        assert_usage({ "run", option .. "=", "x.lua" }, "empty")
        assert_usage({ "run", option .. "=a,,b", "x.lua" }, "empty")
        assert_usage({ "run", option .. "=,a", "x.lua" }, "empty")
        assert_usage({ "run", option .. "=a,", "x.lua" }, "empty")
      end
    end)

    it("a value for an option that takes none.", function()
      assert_usage({ "run", "--sandbox=yes", "x.lua" }, "--sandbox takes no value")
      assert_usage({ "run", "--virtual-time=1", "x.lua" }, "--virtual-time takes no value")
    end)

    it("-e and -l with nothing after.", function()
      assert_usage({ "-e" }, "-e CODE")
      assert_usage({ "-l" }, "-l MODULE")
    end)

    it("a rule that cannot be read.", function()
      assert_one_error(2, cli.run { "run", "--allow-net=example.org:http", "x.lua" },
        "--allow-net=example.org:http")
      assert_one_error(2, cli.run { "run", "--allow-read=" .. dir .. "/no/such", "x.lua" },
        dir .. "/no/such", "no such file or directory")
    end)
  end)

  describe("in a sandbox", function()
    it("opens no files and starts no programs.", function()
      local path = write("x.lua", [[
        print(io and io.open, os.execute, os.remove, package and package.loadlib, debug.getinfo)]])
      assert_printed("nil\tnil\tnil\tnil\tnil\n", cli.run { "run", "--sandbox", path })
    end)

    it("reads what is allowed and nothing else.", function()
      write("data.txt", "data")
      local path = write("x.lua", ([[
        local fs = require "asyncbox.fs"
        print(fs.read(%q))
        print(select(2, pcall(fs.read, "/etc/hostname")))]]):format(dir .. "/data.txt"))
      local result = cli.run { "run", "--allow-read=/usr," .. dir, path }
      assert.is_truthy(result.stdout:find "^data\n.*EDENIED", result.stdout .. result.stderr)
      assert.is_truthy(result.stdout:find("--allow-read", 1, true))
      result = cli.run { "run", "--sandbox", path }
      assert.is_truthy(result.stderr:find("EDENIED", 1, true))
      assert.equal(1, result.status)
    end)
  end)

  describe("holds a script", function()
    it("to the memory it was given.", function()
      local path = write("x.lua", "local t = {} for i = 1, math.huge do t[i] = {} end")
      local result = cli.run { "run", "--memory", "32M", path }
      assert.is_truthy(result.stderr:find("memory", 1, true))
      assert.equal(1, result.status)
      assert.equal(0, cli.run({ "run", "--memory=1G", write("y.lua", "") }).status)
      assert.equal(0, cli.run({ "run", "--memory=33554432", write("y.lua", "") }).status)
      assert.equal(0, cli.run({ "run", "--memory=64m", write("y.lua", "") }).status)
    end)
  end)
end)
