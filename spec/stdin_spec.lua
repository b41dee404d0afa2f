-- asyncbox.stdin, in programs whose standard input is a pipe, a file, a
-- terminal, a device, or nothing at all.

local shell = require "spec.support.shell"

local sh, write = shell.run, shell.write

local prelude = [[
  local async = require "asyncbox"
  local stdin, spawn = async.stdin, async.spawn
  local function code_of(f, ...)
    local ok, err = pcall(f, ...)
    return not ok and (type(err) == "table" and err.code or err) or "fine"
  end
  -- Tells the shell of the spec that it has come this far.
  local function reached(name) async.fs.write(os.getenv "D" .. "/" .. name, "") end
]]

-- For the shell: waits, at most 10 s, until the script has reached a place.
local function await(name)
  return ('i=0; while [ ! -e "$D/%s" ] && [ $i -lt 500 ]; do sleep 0.02; i=$((i+1)); done\n')
    :format(name)
end

-- Runs a line of shell in which $S runs this script.
local function run(code, line)
  write("x.lua", prelude .. code)
  return sh('export D; export A; S="$A $D/x.lua"\n' .. line)
end

-- What the program prints at a terminal of its own, on which `typed` (a line of
-- shell prints it) is typed. Without the echo, and with plain line ends.
local function at_terminal(code, typed, command)
  local text = run(code, ("{ %s%s\n} | " ..
    "script -qec \"stty -echo; touch $D/ready; %s\" /dev/null; echo $?")
    :format(await "ready", typed, command or "$S"))
  return (text:gsub("\r", ""))
end

describe("stdin", function()
  before_each(shell.open)
  after_each(shell.close)

  local all = [[
    for line in stdin:lines() do io.write("[", line, "]") end
    print(stdin:read(), stdin:read_line(), stdin:read_all(), tostring(stdin))
  ]]

  it("gives the lines of a pipe, a file, a terminal and a device", function()
    local want = "[one][][three]nil\tnil\t\tstream (stdin)\n"
    write("input", "one\n\nthree")
    assert.are.equal(want, run(all, 'cat "$D/input" | $S'))
    assert.are.equal(want, run(all, '$S < "$D/input"'))
    assert.are.equal("nil\tnil\t\tstream (stdin)\n", run(all, '$S < /dev/null'))
    assert.are.equal(want .. "0\n", at_terminal(all, [[printf 'one\n\nthree\n\004']]))
  end)

  it("is a stream with all that streams can read", function()
    write("input", "abcdefgh:ij\nklm\nrest")
    for _, line in ipairs { 'cat "$D/input" | $S', '$S < "$D/input"' } do
      assert.are.equal("abc\tde\tfgh\ttrue\nij\nklm\nrest\n", run([[
        print(stdin:read(3), stdin:read_exactly(2), stdin:read_until ":")
        for line in stdin:lines() do print(line) break end
        print(stdin:read_all())
      ]], line))
    end
  end)

  it("gives a large file whole, whoever reads it", function()
    write("input", (("x"):rep(99) .. "\n"):rep(30000))
    for _, line in ipairs { 'cat "$D/input" | $S', '$S < "$D/input"' } do
      assert.are.equal("30000\t2970000\n", run([[
        local n, bytes = 0, 0
        for line in stdin:lines() do n, bytes = n + 1, bytes + #line end
        print(n, bytes)
      ]], line))
    end
    assert.are.equal("3000000\n", run("print(#stdin:read_all())", '$S < "$D/input"'))
  end)

  it("lets other tasks go on while it waits", function()
    local code = [[
      spawn(function() async.sleep(0) reached "waiting" end)
      print(stdin:read_line())
    ]]
    local late = await "waiting" .. "echo late"
    assert.are.equal("late\n", run(code, "{ " .. late .. "\n} | $S"))
    assert.are.equal("late\n0\n", at_terminal(code, late))
  end)

  it("begins with what io.read has left", function()
    assert.are.equal("a\tbc\tde\n", run([[
      local first = io.read(1)
      print(first, stdin:read_line(), stdin:read_line())
    ]], [[printf 'abc\nde\n' | $S]]))
  end)

  it("is the same by require", function()
    assert.are.equal("true\n", run('print(require "asyncbox.stdin" == stdin)', "$S < /dev/null"))
  end)

  it("does not keep a script that asks no more from ending", function()
    assert.are.equal("a\n", run("print(stdin:read_line())", [[
      { echo a; sleep 20 & echo $! > "$D/pid"; wait; } | { $S; kill "$(cat "$D/pid")"; }]]))
  end)

  describe("fails", function()
    local code = [[
      local ok, err = pcall(stdin.read_line, stdin)
      print(err, err.op, err.stream)
      print(code_of(stdin.read, stdin))
    ]]

    it("when it is closed, or open for writing only", function()
      local want = "stream:read_line: standard input is not open for reading (EBADF)\t"
        .. "stream:read_line\tstdin\nEBADF\n"
      assert.are.equal(want, run(code, "$S <&-"))
      assert.are.equal(want, run(code, '$S 0>"$D/out"'))
    end)

    it("when it is a folder", function()
      assert.matches("^stream:read_line: standard input is a folder %(EISDIR%)",
        run(code, "$S < /"))
    end)

    it("when the system cannot read it", function()
      if io.open "/proc/self/mem" then -- nothing is there at its beginning
        assert.matches("^stream:read_line: standard input cannot be read %(EIO%)",
          run(code, "$S < /proc/self/mem"))
      end
    end)

    it("when the terminal belongs to another job", function()
      local text = at_terminal(code, "echo typed; " .. await "done",
        [[sh -mc 'trap \"\" TTIN; $S & wait; touch $D/done']])
      assert.matches("^stream:read_line: standard input cannot be read: the terminal has gone, "
        .. "or belongs to another job %(EIO%)", text)
    end)

    it("with wrong arguments", function()
      assert.matches(
        "x.lua:%d+: bad argument #1 to 'read' %(a number of bytes from 1 expected%)\n$",
        run("print(code_of(function() stdin:read(0) end))", "$S < /dev/null"))
      assert.matches("unknown option 'maximum'", run([[
        print(code_of(stdin.read_line, stdin, { maximum = 1 }))]], "$S < /dev/null"))
    end)

    it("to be written, and once it is closed", function()
      assert.are.equal("EBADF\ttrue\ttrue\tECLOSED\tstream (stdin, closed)\n", run([[
        print(code_of(stdin.write, stdin, "x"), stdin:close(), stdin:close(),
          code_of(stdin.read, stdin), tostring(stdin))
      ]], "echo a | $S"))
    end)

    it("for a second task", function()
      assert.are.equal("EBUSY\na\n", run([[
        local first = spawn(stdin.read_line, stdin)
        async.sleep(0)
        print(code_of(stdin.read, stdin))
        reached "waiting"
        print(first:await())
      ]], "{ " .. await "waiting" .. "echo a\n} | $S"))
    end)
  end)

  describe("in a sandbox", function()
    -- Without what the prelude may not do there.
    local function sandboxed(flags)
      write("y.lua", [[
        local stdin = require "asyncbox.stdin"
        local ok, err = pcall(stdin.read_line, stdin)
        print(ok, err)
      ]])
      return sh('echo a | "$A" run ' .. flags .. ' "$D/y.lua"')
    end

    it("is denied", function()
      local want = "false\tstream:read_line: permission not granted (EDENIED); "
        .. "allow it with --allow-stdin\n"
      assert.are.equal(want, sandboxed "--sandbox")
      assert.are.equal(want, sandboxed "--allow-read=/ --allow-env")
    end)

    it("can be granted", function()
      assert.are.equal("true\ta\n", sandboxed "--allow-stdin")
      assert.matches("takes no value", sandboxed "--allow-stdin=x")
    end)
  end)

  describe("pending", function()
    local forms = {
      ["on a pipe"] = function(code, typed) return run(code, "{ " .. typed .. "\n} | $S") end,
      ["on a terminal"] = function(code, typed)
        return (at_terminal(code, typed):gsub("0\n$", ""))
      end,
    }
    for name, start in pairs(forms) do
      it(name .. " is cancelled, and nothing is lost", function()
        assert.are.equal("ETIMEDOUT\tECANCELED\nafter\n", start([[
          local timed = code_of(async.timeout, 0.01, stdin.read_line, stdin)
          local task = spawn(stdin.read_exactly, stdin, 100)
          async.sleep(0)
          task:cancel()
          print(timed, code_of(task.await, task))
          reached "cancelled"
          print(stdin:read_line())
        ]], await "cancelled" .. "echo after"))
      end)

      it(name .. " is closed by another task", function()
        assert.are.equal("ECLOSED\n", start([[
          local task = spawn(stdin.read_line, stdin)
          async.sleep(0)
          stdin:close()
          print(code_of(task.await, task))
          reached "closed"
        ]], await "closed"))
      end)
    end

    local guarded = [[
      local _ <close> = setmetatable({}, { __close = function()
        print "closed"
        io.open(os.getenv "D" .. "/closed", "w"):close()
      end })
      spawn(function() async.sleep(0) reached "waiting" end)
      stdin:read_line()
      print "not reached"
    ]]

    it("ends by Ctrl-C with status 130", function()
      assert.are.equal("closed\n130\n", at_terminal(guarded, await "waiting" .. "printf '\\003'\n"
        .. await "closed"))
    end)

    it("ends by SIGTERM with status 143", function()
      assert.are.equal("closed\n143\n", run(guarded, [[
        mkfifo "$D/fifo"; exec 9<>"$D/fifo"
        $S <&9 & pid=$!
        ]] .. await "waiting" .. "kill $pid; wait $pid; echo $?"))
    end)

    it("leaves the terminal's other users alone", function()
      -- A program that inherits the terminal reads the line that is meant for it.
      assert.are.equal("mine\nyours\n0\n", at_terminal([[
        print(stdin:read_line())
        io.stdout:flush()
        reached "first"
        async.process.run("head", "-n1", { stdin = "inherit", stdout = "inherit" })
      ]], "echo mine; " .. await "first" .. "echo yours"))
    end)
  end)
end)
