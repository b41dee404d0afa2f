-- processes: run, spawn and pipe with real programs, and what is left of them.

local async = require "asyncbox"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local eventually = require "spec.support.eventually"
local errors = require "spec.support.errors"
local failure, code_of = errors.failure, errors.code_of
local run, spawn, pipe = process.run, process.spawn, process.pipe
local sleep = async.sleep

-- Calls run with shell code in a task of its own, and comes back when the shell
-- has said that it is ready: echo $$ >"$1". Gives the task and the shell's pid.
local function running(code, options)
  local path = os.tmpname()
  options.shell = true
  local task = async.spawn(run, code, path, options)
  local pid = eventually("the shell is ready", function()
    local file <close> = assert(io.open(path))
    assert(not task:done())
    return tonumber((file:read "L" or ""):match "^(%d+)\n")
  end)
  os.remove(path)
  return task, pid
end

describe("process", function()
  setup(children.warm_up)
  before_each(clean.start)
  after_each(function()
    children.check()
    clean.check()
  end)

  describe("run", function()
    it("gives the status and all that was written", function()
      local r = run("sh", "-c", "echo out; echo err >&2; exit 3")
      assert.are.same({ status = 3, stdout = "out\n", stderr = "err\n" }, r)
    end)

    it("takes arguments one by one, as a list, or none", function()
      assert.are.equal("a b\n", run("echo", "a", "b").stdout)
      assert.are.equal("a 1\n", run("echo", { "a", 1 }).stdout)
      assert.are.equal("\n", run("echo").stdout)
      assert.are.equal("/\n", run("pwd", { cwd = "/" }).stdout)
      assert.are.equal("/\n", run("pwd", {}, { cwd = "/" }).stdout)
      assert.are.equal("a\n", run("echo", "a", nil).stdout)
    end)

    it("starts no shell", function()
      assert.are.equal("$HOME; *\n", run("echo", "$HOME; *").stdout)
    end)

    it("starts one when asked to, with arguments as $1 and so on", function()
      assert.are.equal("3\n", run("echo $((1+2))", { shell = true }).stdout)
      assert.are.equal("a b|c\n", run("echo \"$1|$2\"", "a b", "c", { shell = true }).stdout)
    end)

    it("feeds input", function()
      assert.are.equal("a\nb\n", run("sort", { input = "b\na\n" }).stdout)
      assert.are.equal("1a\n", run("cat", { input = { 1, "a\n" } }).stdout)
      assert.are.equal("", run("cat").stdout)
    end)

    it("feeds and reads much at the same time", function()
      local text = ("0123456789abcde\n"):rep(200000)
      assert.is_true(run("cat", { input = text }).stdout == text)
    end)

    it("runs many beside each other", function()
      local got = async.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function(n)
        return run("sh", "-c", "sleep 0.02; echo " .. n).stdout
      end)
      assert.are.equal("1\n2\n3\n4\n5\n6\n7\n8\n", table.concat(got))
    end)

    it("gives the signal that ended it, and 128 + its number", function()
      local r = run("sh", "-c", "kill -KILL $$")
      assert.are.equal(137, r.status)
      assert.are.equal("SIGKILL", r.signal)
    end)

    it("raises what starting failed with, and names the program or the folder", function()
      assert.are.equal("process.run: no such file or directory: no-such-program (ENOENT)",
        tostring(failure(run, "no-such-program")))
      assert.are.equal("ENOENT", code_of(run, "/no/such"))
      assert.are.equal("EACCES", code_of(run, "/etc/passwd"))
      local err = failure(run, "true", { cwd = "/no/such" })
      assert.are.equal("ENOENT", err.code)
      assert.are.equal("/no/such", err.path)
    end)

    it("names the folder when that may not be entered", function()
      -- As root, who may enter all, as somebody else.
      local other = run("id", "-u").stdout == "0\n" and
        "setpriv --reuid=65534 --regid=65534 --clear-groups" or ""
      if run(other .. ' "$1" -e ""', cli.program(), { shell = true }).status ~= 0 then
        return pending "nobody else may run this program"
      end
      local dir = os.tmpname()
      os.remove(dir)
      assert(os.execute("mkdir -m 0 " .. dir))
      local code = ("print(select(2, pcall(require 'asyncbox.process'.run, 'true', { cwd = %q })))")
        :format(dir)
      local r = run(other .. ' "$1" -e "$2"', cli.program(), code, { shell = true })
      os.remove(dir)
      assert.are.equal("process.run: permission denied: " .. dir .. " (EACCES)\n", r.stdout)
    end)

    it("with check raises when the program fails", function()
      local err = failure(run, "sh", "-c", "echo x; echo why >&2; echo more >&2; exit 4",
        { check = true })
      assert.are.equal("process.run: sh ended with status 4: why (ESTATUS)", tostring(err))
      assert.are.equal(4, err.status)
      assert.are.equal("x\n", err.stdout)
      assert.are.equal("why\nmore\n", err.stderr)
      err = failure(run, "sh", "-c", "kill -TERM $$", { check = true })
      assert.are.equal("process.run: sh was ended by SIGTERM (ESTATUS)", tostring(err))
      assert.are.equal(0, run("true", { check = true }).status)
    end)

    it("ends the program when its time is over", function()
      local err = failure(run, "sleep", "100", { timeout = 0.05 })
      assert.are.equal("process.run: timed out after 0.05 s (ETIMEDOUT)", tostring(err))
      assert.are.same({ "sleep", "", "" }, { err.program, err.stdout, err.stderr })
    end)

    it("tells what a program wrote before its time was over", function()
      -- How long it takes to write is up to the machine: again, with more time.
      local code, seconds = "head -c 100000 /dev/zero; echo why >&2; exec sleep 100", 0.1
      local err
      repeat
        err = failure(run, "sh", "-c", code, { timeout = seconds })
        seconds = seconds * 2
      until #err.stderr > 0 or seconds > 30
      assert.are.equal(100000, #err.stdout)
      assert.are.equal("why\n", err.stderr)
      err = failure(run, "yes", { timeout = 0.01, stderr = "null" })
      assert.is_string(err.stdout)
      assert.is_nil(err.stderr)
      err = failure(process.pipe, { { "sleep", "100" }, { "cat" } }, { timeout = 0.01 })
      assert.are.same({ "sleep", "", "" }, { err.program, err.stdout, err.stderr })
    end)

    it("ends the program when it writes too much", function()
      assert.are.equal("ELIMIT", code_of(run, "yes", { max_output = 100000 }))
      assert.are.equal("ELIMIT", code_of(run, "sh", "-c", "yes >&2", { max_output = 100000 }))
      assert.are.equal(100000, #run("head", "-c", "100000", "/dev/zero",
        { max_output = 100000 }).stdout)
    end)

    it("says which program wrote too much, to what", function()
      local err = failure(run, "yes", { max_output = 1000 })
      assert.are.equal("process.run: yes wrote more than max_output = 1000 bytes to its stdout " ..
        "(ELIMIT)", tostring(err))
      assert.are.equal("yes", err.program)
      assert.are.equal("stdout", err.stream)
      err = failure(process.pipe, { { "sh", "-c", "yes >&2" }, { "cat" } }, { max_output = 1000 })
      assert.are.equal("process.pipe: sh wrote more than max_output = 1000 bytes to its stderr " ..
        "(ELIMIT)", tostring(err))
    end)

    it("ends the program when it is cancelled", function()
      local task, pid = running('echo $$ >"$1"; exec sleep 100', {})
      assert.is_true(children.is_alive(pid))
      task:cancel()
      assert.are.equal("ECANCELED", code_of(task.await, task))
      children.await_end(pid)
    end)

    it("ends one that ignores SIGTERM for sure, after the grace", function()
      local task, pid = running("trap '' TERM; echo $$ >\"$1\"; while :; do sleep 0.01; done",
        { grace = 0.1 })
      task:cancel()
      assert.are.equal("ECANCELED", code_of(task.await, task))
      children.await_end(pid)
    end)

    it("lets the program clean up", function()
      local path = os.tmpname()
      local task = running("trap 'echo clean > " .. path .. "; exit' TERM; echo $$ >\"$1\"; "
        .. "while :; do sleep 0.01; done", { grace = 100 })
      task:cancel()
      assert.are.equal("ECANCELED", code_of(task.await, task))
      local file <close> = assert(io.open(path))
      assert.are.equal("clean", file:read "l")
      os.remove(path)
    end)

    it("does not mind a program that closes its input early", function()
      local r = run("head", "-c", "1", { input = ("x"):rep(1000000) })
      assert.are.same({ status = 0, stdout = "x", stderr = "" }, r)
      r = run("sh", "-c", "exec <&-; sleep 0.05", { input = ("x"):rep(1000000) })
      assert.are.equal(0, r.status)
    end)

    it("does not wait for a grandchild that holds the pipes", function()
      local r = run("sh", "-c", "echo hi; sleep 1000 & echo $!")
      local pid = r.stdout:match "^hi\n(%d+)\n$"
      assert.is_truthy(pid, r.stdout)
      assert.is_true(children.is_alive(pid))
      os.execute("kill " .. pid)
    end)

    it("hears what a grandchild says within `linger`", function()
      local r = run("sh", "-c", "(sleep 0.05; echo late) & echo hi", { linger = 60 })
      assert.are.equal("hi\nlate\n", r.stdout)
      r = run("sh", "-c", "sleep 1000 & echo $!", { linger = 0 })
      local pid = tonumber(r.stdout)
      assert.is_true(children.is_alive(pid))
      os.execute("kill " .. pid)
    end)

    it("loses nothing of what the program itself wrote, though linger is 0", function()
      local r = run("sh", "-c", "sleep 1 & head -c 60000 /dev/zero", { linger = 0 })
      assert.are.equal(60000, #r.stdout)
    end)

    it("gives the environment with what is added and taken away", function()
      local r = run("env", { env = { FOO = "a b", HOME = false } })
      assert.matches("\nFOO=a b\n", "\n" .. r.stdout)
      assert.matches("\nPATH=", "\n" .. r.stdout)
      assert.is_nil(("\n" .. r.stdout):match "\nHOME=")
      assert.are.equal("X=1\n", run("env", { env = { X = 1 }, clear_env = true }).stdout)
      assert.are.equal("", run("env", { clear_env = true }).stdout)
    end)

    it("sends streams where they are wanted", function()
      local r = run("sh", "-c", "echo a; echo b >&2", { stderr = "stdout" })
      assert.are.equal("a\nb\n", r.stdout)
      assert.is_nil(r.stderr)
      r = run("sh", "-c", "echo a", { stdout = "null" })
      assert.is_nil(r.stdout)
    end)

    it("refuses what it does not know", function()
      assert.matches("unknown option 'chek'", failure(run, "true", { chek = true }))
      assert.matches("program must be a string, got nil", failure(run))
      assert.matches("nothing may follow", failure(run, "echo", {}, {}, {}))
      assert.matches("must be a string, got table", failure(run, "echo", { {} }))
      assert.matches("must be a string, got boolean", failure(run, "echo", true))
      assert.matches("zero byte", failure(run, "echo", "a\0b"))
      assert.matches("got nil", failure(run, "echo", nil, "x"))
      assert.matches("must be 'pipe'", failure(run, "true", { stdout = "file" }))
      assert.matches("'timeout' must not be negative", failure(run, "true", { timeout = -1 }))
      assert.matches("options 'input' and 'stdin'", failure(run, "true",
        { input = "", stdin = "null" }))
      assert.matches("names must be strings", failure(run, "true", { env = { ["a=b"] = "x" } }))
      assert.matches("key 'cwd'", failure(run, "echo", { "a", cwd = "/" }))
      assert.matches("option 'input': item 2 must be a string, got table",
        failure(run, "cat", { input = { "a", {} } }))
    end)

    it("refuses a standard input that nobody would ever close", function()
      local want = "option 'stdin' must be 'null' or 'inherit', got "
      assert.matches(want .. "'pipe'", failure(run, "cat", { stdin = "pipe", timeout = 10 }))
      assert.matches(want .. "boolean", failure(run, "true", { stdin = false }))
    end)

    it("names the line of the script that misuses it", function()
      assert.matches("^spec/process_spec.lua:%d+: process.run: unknown", failure(function()
        run("true", { chek = true })
      end))
    end)
  end)

  describe("spawn", function()
    it("gives streams and a pid", function()
      local p <close> = spawn("cat")
      assert.is_true(children.is_alive(p.pid))
      assert.are.equal(("process (%d)"):format(p.pid), tostring(p))
      p.stdin:write "one\n"
      assert.are.equal("one", p.stdout:read_line())
      p.stdin:close()
      assert.are.same({ 0, nil }, { p:wait() })
      assert.are.same({ 0, nil }, { p:wait() })
      assert.are.equal(("process (%d, ended)"):format(p.pid), tostring(p))
      assert.are.equal("", p.stderr:read_all())
      assert.is_nil(p.no_such_field)
    end)

    it("gives no stream for what goes elsewhere", function()
      local p <close> = spawn("true", { stdin = "null", stdout = "null", stderr = "inherit" })
      assert.is_nil(p.stdin)
      assert.is_nil(p.stdout)
      assert.is_nil(p.stderr)
      p:wait()
    end)

    it("by its <close> ends the child and reaps it", function()
      local pid
      do
        local p <close> = spawn("sleep", "100")
        pid = p.pid
      end
      assert.is_false(children.is_alive(pid))
    end)

    it("by its <close> ends one that ignores SIGTERM", function()
      local pid
      do
        local p <close> = spawn("sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done",
          { grace = 0.05 })
        p.stdout:read()
        pid = p.pid
      end
      assert.is_false(children.is_alive(pid))
    end)

    it("by its <close> ends the child also in a cancelled task", function()
      local pid
      local task = async.spawn(function()
        local p <close> = spawn("sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done",
          { grace = 0.05 })
        p.stdout:read()
        pid = p.pid
        p:wait()
      end)
      eventually("the child is up", function() return pid end)
      task:cancel()
      assert.are.equal("ECANCELED", code_of(task.await, task))
      assert.is_false(children.is_alive(pid))
    end)

    it("goes on when it is collected, and is reaped", function()
      local pid = spawn("sleep", "100").pid
      collectgarbage()
      collectgarbage()
      assert.is_true(children.is_alive(pid))
      os.execute("kill " .. pid)
      children.await_end(pid)
    end)

    it("refuses bad options without starting anything", function()
      assert.matches("unknown option 'input'", failure(spawn, "true", { input = "x" }))
      assert.matches("'grace' must not be negative", failure(spawn, "true", { grace = -1 }))
      assert.matches("'cwd'", failure(spawn, "true", { "a", cwd = 1 }))
      assert.are.equal("ENOENT", code_of(spawn, "no-such-program"))
      assert.are.equal("process.spawn", failure(spawn, "no-such-program").op)
    end)

    it("leaves no descriptor when there are too many", function()
      local r = run("ulimit -n 64; exec \"$1\" -e \"$2\"", cli.program(), [[
        local process = require "asyncbox.process"
        local list, err = {}
        repeat
          local ok, p = pcall(process.spawn, "sleep", "100")
          if ok then list[#list + 1] = p else err = p end
        until not ok or #list == 2000
        print(err and err.code)
        for _, p in ipairs(list) do p:stop(0) end
        list = nil
        collectgarbage()
        print(process.run("echo", "again").stdout)
      ]], { shell = true })
      assert.are.equal("EMFILE\nagain\n\n", r.stdout)
    end)
  end)

  describe("wait", function()
    it("may be called by many", function()
      local p <close> = spawn("sh", "-c", "read x; exit 5")
      local waiters = { async.spawn(p.wait, p), async.spawn(p.wait, p) }
      sleep(0)
      p.stdin:write "\n"
      local r = async.gather(waiters)
      assert.are.same({ 5, 5 }, r)
    end)

    it("can be cancelled, and the child goes on", function()
      local p <close> = spawn("cat")
      local task = async.spawn(p.wait, p)
      sleep(0)
      task:cancel()
      assert.are.equal("ECANCELED", code_of(task.await, task))
      assert.is_true(children.is_alive(p.pid))
    end)

    it("is for processes only", function()
      local p <close> = spawn("true")
      assert.matches("Process expected", failure(p.wait, 1))
    end)
  end)

  describe("kill and stop", function()
    it("send signals by name and by number", function()
      local p <close> = spawn("sleep", "100")
      assert.is_true(p:kill(0))
      assert.is_true(p:kill "SIGUSR1")
      assert.are.same({ 138, "SIGUSR1" }, { p:wait() })
      assert.is_false(p:kill())
    end)

    it("know SIGTERM by default and refuse what is no signal", function()
      local p <close> = spawn("sleep", "100")
      assert.matches("unknown signal 'SIGFOO'", failure(p.kill, p, "SIGFOO"))
      assert.matches("unknown signal 'KILL", failure(p.kill, p, "KILL\0"))
      assert.is_true(p:kill(0.0))
      assert.matches("from 0 to 64", failure(p.kill, p, -1))
      p:kill()
      assert.are.same({ 143, "SIGTERM" }, { p:wait() })
    end)

    it("reach the whole group with the option group", function()
      local p <close> = spawn("sh", "-c", "sleep 100 & echo $!; wait", { group = true })
      local pid = tonumber(p.stdout:read_line())
      p:stop()
      children.await_end(pid)
    end)

    it("stop ends politely, then for sure", function()
      local p <close> = spawn("sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done")
      p.stdout:read()
      assert.are.same({ 137, "SIGKILL" }, { p:stop(0.05) })
      local q <close> = spawn("sleep", "100")
      assert.are.same({ 143, "SIGTERM" }, { q:stop() })
      assert.are.same({ 143, "SIGTERM" }, { q:stop() })
      assert.matches("grace must not be negative", failure(q.stop, q, -1))
    end)

    it("stop can be cancelled, and the child ends nevertheless", function()
      local p <close> = spawn("sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done")
      p.stdout:read()
      local task = async.spawn(p.stop, p, 0.1)
      sleep(0)
      task:cancel()
      assert.are.equal("ECANCELED", code_of(task.await, task))
      assert.are.same({ 137, "SIGKILL" }, { p:wait() })
    end)
  end)

  describe("pipe", function()
    it("says what the system does when there are too many arguments", function()
      local command = { "true" }
      for i = 2, 1000100 do command[i] = "x" end
      assert.are.equal("E2BIG", code_of(pipe, { command, { "cat" } }))
    end)

    it("connects programs", function()
      local r = pipe { { "printf", "b\\na\\nc\\n" }, { "sort", "-r" }, { "head", "-2" } }
      assert.are.equal("c\nb\n", r.stdout)
      assert.are.same({ 0, 0, 0 }, r.statuses)
      assert.are.equal(0, r.status)
    end)

    it("feeds the first and gathers what all say on stderr", function()
      local one = { "sh", "-c", "cat; echo one >&2" }
      local two = { "sh", "-c", "cat; echo two >&2; exit 3" }
      local r = pipe({ { "cat" }, one, two }, { input = "text" })
      assert.are.equal("text", r.stdout)
      assert.are.equal("one\ntwo\n", r.stderr)
      assert.are.equal(3, r.status)
    end)

    it("ends one that writes for ever when the next has heard enough", function()
      local r = pipe({ { "yes" }, { "head", "-1" } }, { check = true })
      assert.are.equal("y\n", r.stdout)
      assert.are.equal("SIGPIPE", r.signals[1])
    end)

    it("with check raises for any that fails", function()
      local err = failure(pipe, { { "sh", "-c", "exit 2" }, { "cat" } }, { check = true })
      assert.are.equal("process.pipe: sh ended with status 2 (ESTATUS)", tostring(err))
    end)

    it("leaves nothing when one cannot start", function()
      local function descriptors() return #async.fs.list "/proc/self/fd" end
      local before = descriptors()
      collectgarbage "stop" -- no finalizer helps
      local code = code_of(pipe, { { "yes" }, { "cat" }, { "no-such-program" } })
      local after = descriptors()
      collectgarbage "restart"
      assert.are.equal("ENOENT", code)
      assert.are.equal(before, after)
    end)

    it("ends all when its time is over", function()
      assert.are.equal("ETIMEDOUT", code_of(pipe, { { "yes" }, { "sleep", "100" } },
        { timeout = 0.05 }))
    end)

    it("ends all when it is cancelled", function()
      local task = async.spawn(pipe, { { "yes" }, { "sleep", "100" } })
      eventually("both run", function()
        local list = children.list()
        return not list or select(2, list:gsub("%d+", "")) == 2
      end)
      task:cancel()
      assert.are.equal("ECANCELED", code_of(task.await, task))
    end)

    it("refuses what is no list of commands", function()
      assert.matches("list of commands", failure(pipe, {}))
      assert.matches("command 1 must be a list", failure(pipe, { "ls", "sort" }))
      assert.matches("command 2 must be a list", failure(pipe, { { "ls" }, {} }))
      assert.matches("command 1 has the key 'cwd'", failure(pipe, { { "ls", cwd = "/" } }))
    end)
  end)

  it("cannot be waited for outside of a task", function()
    local co = coroutine.wrap(function() return run("true").status end)
    assert.are.equal(0, co()) -- a coroutine of a task's own may wait
    local function compare() return run "true" end
    assert.matches("cannot wait inside", failure(table.sort, { 1, 2 }, compare))
  end)
end)
