-- Standard output and error from outside: print, io.write, asyncbox.stdout and
-- stderr, to files, terminals and pipes that nobody reads.

local eventually = require "spec.support.eventually"
local shell = require "spec.support.shell"

local write = shell.write

-- Nothing that hangs outlives it. (A signal is never sent through `timeout`: one
-- that comes as soon as the program runs may still end only `timeout`.)
local function sh(code)
  write("case.sh", code)
  return shell.run [[export A D; timeout -s KILL 100 sh "$D/case.sh"]]
end

-- A FIFO as standard output ($D/out, which fd 3 holds open and nobody reads),
-- the script started, and a wait (at most 20 s) for it to write $D/ready.
local start = [[
await() { i=0; while [ ! -s "$1" ] && [ $i -lt 1000 ]; do sleep 0.02; i=$((i+1)); done; }
mkfifo "$D/out"; exec 3<>"$D/out"
"$A" "$D/x.lua" "$D" >"$D/out" 2>"$D/err" 3>&- & pid=$!
await "$D/ready"
]]
-- All that comes out, into $D/got, once somebody reads; the status in $s.
local read_all = [[
exec 4<"$D/out"; cat <&4 >"$D/got" 3>&- & cat=$!; exec 3>&- 4<&-; wait $pid; s=$?; wait $cat
]]

-- What every script here begins with. A task that was spawned runs only when
-- the main one waits: `ready` says that print does.
local head = [[
local async = require "asyncbox"
local dir = ...
local function note(name, text)
  local file <close> = assert(io.open(dir .. "/" .. name, "w"))
  file:write(text or "yes")
end
local line = ("x"):rep(999)
async.spawn(note, "ready")
]]

local function script(code)
  return write("x.lua", head .. code)
end

local linux = io.open "/proc/self/fdinfo/0"

-- Does a program with the script of this case go on?
local function is_running()
  local list <close> = assert(io.popen "ls /proc")
  for pid in list:lines() do
    local file <close> = tonumber(pid) and io.open("/proc/" .. pid .. "/cmdline")
    local line = file and file:read "a"
    if line and line:find(shell.dir .. "/x.lua", 1, true) then return line end
  end
  return false
end

local function close()
  local ok, err = pcall(eventually, "no program is left", function()
    return not (linux and is_running())
  end)
  shell.close()
  assert(ok, err)
end

describe("Printing to a pipe that nobody reads", function()
  before_each(shell.open)
  after_each(close)

  it("waits, while other tasks go on, and loses nothing.", function()
    script [[
      local lines = coroutine.wrap(function() -- which waits, too
        for _ = 1, 1000 do print(line) coroutine.yield() end
      end)
      for i = 1, 1000 do lines() io.write(line, "\n") async.stdout:write { line, "\n" } end
      io.write "end\n"
      os.exit(7)]]
    assert.equal("7 3000004 end\n", sh(start .. read_all ..
      [[echo $s $(wc -c <"$D/got") $(tail -n 1 "$D/got"); cat "$D/err"]]))
  end)

  it("never mixes up what two tasks print, however long it is.", function()
    script [[
      local function printer(c)
        local text = c:rep(300000)
        for i = 1, 10 do print(text) io.write(text, text, "\n") end
      end
      local spawn = async.spawn
      async.gather(spawn(printer, "a"), spawn(printer, "b"), spawn(printer, "c"))]]
    assert.equal("0 60 0 3\n", sh(start .. read_all .. [[
      echo $s $(wc -l <"$D/got") $(grep -vcE '^(a*|b*|c*)$' "$D/got") \
        $(cut -c 1 "$D/got" | sort -u | wc -l)]]))
  end)

  it("comes out at the end of the script, though the loop is done with it.", function()
    script [[for _ = 1, 500 do print(line) end note "ready" ]]
    assert.equal("0 500000\n", sh(start .. read_all .. [[echo $s $(wc -c <"$D/got")]]))
  end)

  it("blocks where nothing can wait.", function()
    script [[
      note "ready"
      table.sort({ 2, 1 }, function(a, b) print(line:rep(3000)) return a < b end)]]
    assert.is_truthy(sh(start .. read_all .. [[echo $s $(($(wc -c <"$D/got") % 2997001))]])
      :find "^0 0\n$")
  end)

  it("is cancelled by Ctrl-C; what is printed comes out, and a <close> may print.", function()
    script [[
      local guard <close> = setmetatable({}, { __close = function()
        print "closed"
        note "closed"
      end })
      while true do print(line) end]]
    assert.equal("130 closed\n", sh(start .. [[kill -INT $pid; await "$D/closed"
      ]] .. read_all .. [[echo $s $(tail -n 1 "$D/got"); cat "$D/err"]]))
  end)

  it("is given up when the script was stopped and nobody reads.", function()
    script "while true do print(line) end"
    assert.equal("143 asyncbox: cannot write to standard output: timed out\n",
      sh(start .. [[kill -TERM $pid; wait $pid; echo $? $(cat "$D/err")]]))
  end)

  it("is ended at once by a second Ctrl-C.", function()
    script [[
      local guard <close> = setmetatable({}, { __close = function() note "closed" end })
      while true do print(line) end]]
    assert.equal("130\n", sh(start .. [[kill -INT $pid; await "$D/closed"; sleep 0.2
      kill -INT $pid; wait $pid; echo $?]]))
  end)

  it("is broken off by Ctrl-C where nothing can wait, too.", function()
    script [[
      note "ready"
      table.sort({ 2, 1 }, function() while true do print(line) end end)]]
    assert.equal("130\n", sh(start .. [[sleep 0.1; kill -INT $pid
      ]] .. read_all .. [[echo $s; cat "$D/err"]]))
  end)

  it("raises ECANCELED in a task that is cancelled meanwhile; its text is not printed.", function()
    script [[
      print(("y"):rep(1200000)) -- more than is queued before one has to wait
      local calls = {
        function() print "lost" end,
        function() io.write "lost" end,
        function() async.stdout:write "lost" end,
        function() io.stdout:flush() end,
        function() async.stdout:flush() end,
        function() os.execute "echo lost" end,
        function() io.popen "echo lost" end,
        function() async.process.spawn("echo", "lost", { stdout = "inherit" }) end,
      }
      local seen = {}
      for i, call in ipairs(calls) do
        local t = async.spawn(call)
        async.sleep(0)
        async.sleep(0)
        seen[#seen + 1] = tostring(t:done())
        t:cancel()
        local _, err = pcall(async.await, t)
        seen[#seen + 1] = err.op .. " " .. err.code .. "\n"
      end
      note("result", table.concat(seen, " "))]]
    local got = sh(start .. [[await "$D/result"; cat "$D/result"; ]] .. read_all ..
      [[echo $s $(grep -c lost "$D/got") $(wc -c <"$D/got")]])
    assert.equal(([[
false print ECANCELED
 false io.write ECANCELED
 false stdout:write ECANCELED
 false io.flush ECANCELED
 false stdout:flush ECANCELED
 false os.execute ECANCELED
 false io.popen ECANCELED
 false process.spawn ECANCELED
0 0 1200001
]]), got)
  end)

  it("does not keep a cancelled task from printing its last words.", function()
    script [[
      print(("y"):rep(1200000))
      local t = async.spawn(function()
        local guard <close> = setmetatable({}, { __close = function()
          for _ = 1, 100 do print(line) end
          io.write "last words\n"
          note("raised", select(2, pcall(function() while true do print(line) end end)).code)
        end })
        print "lost"
      end)
      async.sleep(0)
      async.sleep(0)
      t:cancel()
      pcall(async.await, t)
      note("result")]]
    assert.equal("ECANCELED0 1 0\n", sh(start .. [[await "$D/result"; cat "$D/raised"
      ]] .. read_all .. [[echo $s $(grep -c "last words" "$D/got") $(grep -c lost "$D/got")]]))
  end)

  it("takes its own time with --virtual-time.", function()
    write("x.lua", "local async = require 'asyncbox' local t = async.now()\n" .. [[
      for _ = 1, 3000 do print(("x"):rep(999)) async.sleep(100) end
      assert(async.now() - t == 300000)]])
    assert.equal("0 3000000\n", sh [[
      { "$A" run --virtual-time "$D/x.lua"; echo $? >"$D/s"; } |
        { sleep 0.1; wc -c >"$D/n"; }; echo $(cat "$D/s" "$D/n")]])
  end)

  it("comes before what the program says itself.", function()
    write("bad.lua", "no code")
    write("x.lua", "print(('x'):rep(300000)) error('failed', 0)")
    for _, call in ipairs { "x.lua", "bad.lua", "none.lua" } do
      local got = sh(([["$A" -e "print(('x'):rep(300000))" "$D/%s" 2>&1 |
        { sleep 0.2; cat; } | tr -s x | sed '/^\t/d']]):format(call))
      assert.matches(call == "x.lua" and "^x\nx\nasyncbox: failed\n" or "^x\nasyncbox: .+\n$", got)
    end
  end)

  it("leaves a script with little memory enough of it.", function()
    write("x.lua", [[
      for i = 1, 3000 do print(("x"):rep(999), { i, i, i, i }) end
      local keep = {}
      for i = 1, 5000 do keep[i] = { i } end]])
    assert.equal("0 3000\n", sh [[
      { "$A" run --memory 900K "$D/x.lua"; echo $? >"$D/s"; } |
        { sleep 0.5; wc -l >"$D/n"; }; echo $(cat "$D/s" "$D/n")]])
  end)

  it("is given up at the end only by Ctrl-C.", function()
    script "print(('y'):rep(300000))"
    assert.equal("130\n", sh(start ..
      "while kill -INT $pid 2>/dev/null; do sleep 0.2; done; wait $pid; echo $?"))
  end)

  it("is what flush waits for.", function()
    script [[
      print(("y"):rep(200000))
      async.stdout:flush()
      note "flushed"]]
    assert.equal("no\n0\nyes", sh(start .. [[[ -e "$D/flushed" ] || echo no
      ]] .. read_all .. [[echo $s; cat "$D/flushed"]]))
  end)

  it("never makes the pipe non-blocking for others.", function()
    if not linux then
      return
    end
    script "for _ = 1, 3000 do print(line) end"
    -- Descriptor 5 is the same opening of the pipe as the script's own.
    local shared = start:gsub('"%$A"', 'exec 5>"$D/out"; %0'):gsub('>"%$D/out" 2>', '>&5 2>')
      :gsub("3>&%-", "%0 5>&-")
    local flags, rest = sh(shared .. "grep flags /proc/self/fdinfo/5 | cut -c 7-; exec 5>&-\n" ..
      read_all .. [[echo $s $(wc -c <"$D/got")]]):match "(%d+)\n(.*)"
    assert.equal(0, tonumber(flags, 8) & 2048, flags)
    assert.equal("0 3000000\n", rest)
  end)
end)

describe("Standard output", function()
  before_each(shell.open)
  after_each(close)

  -- The status is printed last.
  local function run(code, redirect, options)
    write("x.lua", "local async = require 'asyncbox'\n" .. code)
    return sh(("\"$A\" %s \"$D/x.lua\" %s; echo $?"):format(
      options or "run", redirect or "2>&1 | cat"))
  end

  it("is one, in order, for print, io.write, io.stdout, asyncbox.stdout and stderr.", function()
    local code = [[
      io.write "1 " print "2" io.stdout:write("3 ", 4, " ", 5.5, "\n")
      io.stderr:write "6\n" io.write "7 " io.stderr:write "8\n"
      async.stdout:write { "9 ", 10, "\n" } async.stdout:write(11)
      async.stderr:write " 12\n" io.write "13\n" warn "@on" warn "14" io.write "15 "
      error("16", 0)]]
    local want = "1 2\n3 4 5.5\n6\n7 8\n9 10\n11 12\n13\nLua warning: 14\n15 asyncbox: 16\n"
    assert.equal(want, run(code):sub(1, #want))
    assert.equal(want, run(code, ">\"$D/f\" 2>&1; cat \"$D/f\""):sub(1, #want))
  end)

  it("writes at once what print says, and before a wait what io.write said.", function()
    write("x.lua", [[
      local async = require "asyncbox"
      local dir = ...
      print "printed"
      while not io.open(dir .. "/one") do end
      io.write "written"
      async.sleep(0.001)
      while not io.open(dir .. "/two") do end]])
    assert.equal("printed\nwritten0\n", sh [[
      await() {
        i=0; while ! grep -q "$1" "$D/out" && [ $i -lt 1000 ]; do sleep 0.02; i=$((i+1)); done
      }
      : >"$D/out"; "$A" "$D/x.lua" "$D" | cat >"$D/out" &
      await printed; echo >"$D/one"; await written; echo >"$D/two"; wait; cat "$D/out"; echo 0]])
  end)

  it("writes at once what io.stderr:write says, though both go to one pipe.", function()
    write("x.lua", [[
      io.stdout:write "out "
      io.stderr:write "said"
      local dir = ...
      while not io.open(dir .. "/one") do end
      io.stdout:write " end\n"]])
    assert.equal("out said end\n", sh [[
      : >"$D/out"; "$A" "$D/x.lua" "$D" 2>&1 | cat >"$D/out" &
      i=0; while ! grep -q said "$D/out" && [ $i -lt 1000 ]; do sleep 0.02; i=$((i+1)); done
      [ $i -lt 1000 ] || echo late; echo >"$D/one"; wait; cat "$D/out"]])
  end)

  it("has all of it at the end, however that comes.", function()
    assert.equal("a0\n", run "io.write 'a'")
    assert.equal("a3\n", run("io.write 'a' os.exit(3)", ">\"$D/f\"; s=$?; cat \"$D/f\"; (exit $s)"))
    local failed = run("io.write 'a' error 'b'", ">\"$D/f\" 2>&1; s=$?; cat \"$D/f\"; (exit $s)")
    assert.is_truthy(failed:find "^aasyncbox: .*: b\n.*\n1\n$", failed)
    assert.equal("ab0\n", run [[
      io.write 'a'
      setmetatable({}, { __gc = function() io.write 'b' end })]])
    assert.equal("ab4\n", run([[
      local guard <close> = setmetatable({}, { __close = function() io.write 'b' end })
      io.write 'a' os.exit(4)]], ">\"$D/f\"; s=$?; cat \"$D/f\"; (exit $s)"))
  end)

  it("is written before a program that shares it is started.", function()
    assert.equal("1\n2\n3\n4\n5\n6\n0\n", run [[
      io.write "1\n" os.execute "echo 2"
      io.write "3\n" async.process.run("echo", "4", { stdout = "inherit" })
      io.write "5\n" io.popen("echo 6", "w"):close()]])
  end)

  it("says when writing fails, and the status is 1.", function()
    if not io.open "/dev/full" then
      return
    end
    local all = "2>&1 >/dev/full"
    local full = "asyncbox: cannot write to standard output: no space left on device\n1\n"
    assert.equal(full, run("print 'x'", all))
    assert.equal("true\n" .. full, run([[
      io.stdout:setvbuf "no"
      local ok, text, code = io.write 'x'
      assert(text == "No space left on device" and code == 28)
      io.stderr:write(tostring(ok == nil), "\n")]],
      all))
    assert.equal("stdout:write: no space left on device (ENOSPC)\nstdout\n" .. full, run([[
      local ok, err = pcall(async.stdout.write, async.stdout, "x")
      io.stderr:write(tostring(err), "\n", err.stream, "\n")]], all))
  end)

  it("takes strings, numbers and lists of these.", function()
    local out = run [[
      print(async.stdout:write("a", 1) == async.stdout, async.stdout == require "asyncbox.stdout")
      print(pcall(async.stdout.write, async.stdout))
      print(pcall(async.stdout.write, async.stdout, { "a", {} }))
      print(pcall(async.stdout.write, 1, "a"))
      print(pcall(table.sort, { 2, 1 }, function() async.stdout:write "a" end))
      print(tostring(async.stdout), tostring(async.stderr), async.stdout:isatty())]]
    assert.is_truthy(out:find("a1true\ttrue\nfalse\tbad argument #2", 1, true), out)
    assert.is_truthy(out:find("string expected at index 2, got table", 1, true), out)
    assert.is_truthy(out:find("(Output expected, got number)", 1, true), out)
    assert.is_truthy(out:find("stdout:write: cannot wait inside table.sort", 1, true), out)
    assert.is_truthy(out:find("stream (stdout)\tstream (stderr)\tfalse\n0\n", 1, true), out)
  end)

  it("is there in a sandbox, which cannot close or re-buffer it.", function()
    assert.equal("123\n4\tnil\n5\ntable\n0\n", run([[
      io.write(1, 2) io.stdout:write(3, "\n") print(4, nil) async.stdout:write "5\n"
      print(type(io.stdout))]], nil, "run --sandbox"))
  end)

  it("obeys io.output, io.stdout:setvbuf and seek as Lua's own.", function()
    local code = [[
      io.output(io.open(os.getenv "F", "w")) io.write "in the file" io.output():close()
      io.output(io.stdout) io.write(1.0, " ", 2^53, " ", 3, " ", "x", "\n")
      print(io.stdout:setvbuf("full", 10), io.stdout:setvbuf "line", io.stdout:setvbuf "no")
      print(pcall(io.stdout.setvbuf, io.stdout, "foo"))
      print(pcall(io.write, {}))
      print(io.stdout:flush() == io.stdout, io.flush() == io.stdout, io.stdout:close())
      print(io.stdout:seek "cur", io.type(io.stdout))]]
    write("y.lua", code)
    local ours = sh [[F="$D/g" "$A" "$D/y.lua" >"$D/f"; cat "$D/f" "$D/g"]]
    assert.is_truthy(ours:find("1 9.007199254741e+15 3 x\ntrue\ttrue\ttrue\n", 1, true), ours)
    assert.is_truthy(ours:find("invalid option 'foo'", 1, true), ours)
    assert.is_truthy(ours:find("string expected, got table", 1, true), ours)
    assert.is_truthy(ours:find("true\ttrue\tnil\tcannot close standard file\n", 1, true), ours)
    local at, rest = ours:match "(%d+)\tfile\n(.*)$"
    assert.equal("in the file", rest)
    assert.equal(#ours - #rest - #at - #"\tfile\n", tonumber(at))
  end)

  it("is 141 when nobody reads, from io.write and stdout:write too.", function()
    for _, call in ipairs { "io.write 'y\\n'", "async.stdout:write 'y\\n'", "print 'y'" } do
      write("x.lua", "local async = require 'asyncbox' while true do " .. call .. " end")
      assert.equal("y\n141\n", sh [[
        { "$A" "$D/x.lua"; echo $? >"$D/s"; } | head -1; cat "$D/s"]])
    end
  end)

  it("is 141 when it is a socket, too.", function()
    if not os.execute "python3 -c '' 2>/dev/null" then
      return
    end
    write("x.lua", "while true do print(('x'):rep(99)) end")
    write("peer.py", [[
import signal, socket, subprocess, sys
ours, theirs = socket.socketpair()
child = subprocess.Popen(sys.argv[1:], stdout=theirs, restore_signals=True)
theirs.close()
for _ in range(100):
    ours.recv(65536)
ours.close()
print(child.wait())
]])
    assert.equal("-13\n", sh [[python3 "$D/peer.py" "$A" "$D/x.lua"]])
  end)

  it("of a terminal shows a prompt before the answer is read.", function()
    if not os.execute "python3 -c 'import pty' 2>/dev/null" then
      return
    end
    write("x.lua", [[
      io.write "name? "
      local name = io.read()
      print("hello " .. name, require "asyncbox".stdout:isatty())
      for _ = 1, 3000 do print(("x"):rep(99)) end]])
    write("ask.py", [[
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
out = b""
asked = False
while True:
    try:
        data = os.read(fd, 65536)
    except OSError:
        break
    if not data:
        break
    out += data
    if not asked and b"name? " in out:
        asked = True
        os.write(fd, b"you\n")
print(out.count(b"\n"), b"hello you\ttrue" in out, os.WEXITSTATUS(os.waitpid(pid, 0)[1]))
]])
    assert.equal("3002 True 0\n", sh [[python3 "$D/ask.py" "$A" "$D/x.lua"]])
  end)
end)
