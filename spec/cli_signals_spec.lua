-- The program from outside: Ctrl-C, SIGTERM, closed and full standard output.

local cli = require "spec.support.cli"
local shell = require "spec.support.shell"

local sh, write = shell.run, shell.write

-- Waits, at most 60 s, until the script has printed its first line, in shell.
local await_output = [[
i=0; while [ ! -s "$D/out" ] && [ $i -lt 3000 ]; do sleep 0.02; i=$((i+1)); done
]]

describe("The program", function()
  before_each(shell.open)
  after_each(shell.close)

  describe("stopped by a signal", function()
    -- Starts the script, signals it once it has printed; returns all it printed
    -- and, in the last line, its status.
    local function signalled(code, signals, options)
      write("x.lua", code)
      return sh(("rm -f \"$D/out\"\n" ..
        "$A %s \"$D/x.lua\" >\"$D/out\" 2>&1 & pid=$!\n%s%s\nwait $pid; s=$?\n" ..
        "cat \"$D/out\"; echo $s"):format(options or "run", await_output, signals))
    end

    local waiting = [[
      local async = require "asyncbox"
      local guard <close> = setmetatable({}, {__close = function() print "main closed" end})
      async.spawn(function()
        local guard <close> = setmetatable({}, {__close = function()
          async.shield(async.sleep, 0.01)
          print "task closed"
        end})
        async.sleep(100)
      end)
      async.sleep(0.01)
      print "started" io.stdout:flush()
      async.sleep(100)
      print "not reached"]]

    local function sorted(text)
      local list = {}
      for line in text:gmatch "[^\n]+" do
        list[#list + 1] = line
      end
      table.sort(list)
      return table.concat(list, "\n")
    end

    it("runs its <close> handlers and ends with 130, after SIGTERM with 143.", function()
      assert.equal("130\nmain closed\nstarted\ntask closed",
        sorted(signalled(waiting, "kill -INT $pid")))
      assert.equal("143\nmain closed\nstarted\ntask closed",
        sorted(signalled(waiting, "kill -TERM $pid")))
      assert.equal("130\nmain closed\nstarted\ntask closed",
        sorted(signalled(waiting, "kill -INT $pid", "")))
    end)

    it("takes two signals at once for one.", function()
      assert.equal("130\nmain closed\nstarted\ntask closed",
        -- Both are there when it goes on: nobody's pace comes between them.
        sorted(signalled(waiting,
          "kill -STOP $pid; kill -INT $pid; kill -TERM $pid; kill -CONT $pid")))
    end)

    it("breaks off a loop that never waits.", function()
      assert.equal("started\n130\n", signalled([[
        print "started" io.stdout:flush()
        while true do end]], "kill -INT $pid"))
      local interrupted = "started\ntrue\tECANCELED\nthe script was interrupted (ECANCELED)\n130\n"
      assert.equal(interrupted, signalled([[
        print "started" io.stdout:flush()
        local ok, err = pcall(function() while true do end end)
        print(not ok, err.code)
        print(err)]], "kill -INT $pid"))
    end)

    it("raises in each further wait, but a loop that swallows all errors takes two.", function()
      assert.equal("started\n130\n", signalled([[
        local async = require "asyncbox"
        print "started" io.stdout:flush()
        while true do pcall(async.sleep, 100) end]],
        -- Again until it has ended: two that come while it gets no time are one.
        "while kill -INT $pid 2>/dev/null; do sleep 0.2; done"))
    end)

    it("breaks off a wait inside a user coroutine.", function()
      assert.equal("started\n130\n", signalled([[
        local async = require "asyncbox"
        print "started" io.stdout:flush()
        coroutine.wrap(function() async.sleep(100) end)()]], "kill -INT $pid"))
    end)

    it("breaks off a read of standard input.", function()
      write("x.lua", [[print "started" io.stdout:flush() io.read() print "not reached"]])
      assert.equal("started\n130\n", sh(
        "mkfifo \"$D/in\"; exec sleep 100 >\"$D/in\" & feeder=$!\n" ..
        "$A \"$D/x.lua\" <\"$D/in\" >\"$D/out\" 2>&1 & pid=$!\n" ..
        await_output .. "kill -INT $pid; wait $pid; s=$?\n" ..
        "kill $feeder; cat \"$D/out\"; echo $s"
      ))
    end)

    it("ends at once at the second one.", function()
      assert.equal("started\nclosing\n130\n", signalled([[
        local async = require "asyncbox"
        local guard <close> = setmetatable({}, {__close = function()
          print "closing" io.stdout:flush()
          while true do end
        end})
        print "started" io.stdout:flush()
        async.sleep(100)]], [[kill -INT $pid
        i=0; while ! grep -q closing "$D/out" && [ $i -lt 3000 ]; do sleep 0.02; i=$((i+1)); done
        sleep 0.2; kill -INT $pid]]))
    end)

    it("ends -e too, and the script does not start.", function()
      write("x.lua", "print 'not reached'")
      assert.equal("started\n130\n", sh(
        [[$A -e 'print "started" io.stdout:flush() require "asyncbox".sleep(100)' ]] ..
        "\"$D/x.lua\" >\"$D/out\" 2>&1 & pid=$!\n" .. await_output ..
        "kill -INT $pid; wait $pid; s=$?; cat \"$D/out\"; echo $s"
      ))
    end)
  end)

  describe("writes to standard output", function()
    it("and ends quietly when nobody reads any more.", function()
      write("x.lua", "while true do print 'y' end")
      assert.equal("y\n141\n", sh [[{ "$A" "$D/x.lua"; echo $? >"$D/s"; } | head -1; cat "$D/s"]])
    end)

    it("and says when that fails at the end.", function()
      if not io.open "/dev/full" then
        return
      end
      local out = sh [["$A" -e 'print "x"' >/dev/full; echo $?]]
      assert.is_truthy(out:find "^asyncbox: cannot write to standard output[^\n]*\n1\n$", out)
      out = sh [["$A" -e 'print "x" os.exit(3)' >/dev/full; echo $?]]
      assert.is_truthy(out:find "\n3\n$", out)
      out = sh [["$A" --help >/dev/full; echo $?]]
      assert.is_truthy(out:find "\n1\n$", out)
    end)

    it("or not, when it was closed before the start, and no file takes its place.", function()
      assert.equal("1\n", sh(
        [["$A" -e 'local f = io.open("]] .. shell.dir ..
        [[/data", "w") print "lost" f:close()' ]] ..
        ">&- 2>/dev/null; echo $?; cat \"$D/data\""
      ))
      assert.equal("0\n", sh [["$A" -e 'local x' >&-; echo $?]])
    end)

    it("before a program that the script starts does.", function()
      assert.equal("one\ntwo\n", cli.run({
        "-e", "print 'one' io.stdout:flush() os.execute 'echo two'" }).stdout)
    end)
  end)
end)
