-- What a box says when a script goes wrong: uncaught and lost errors, coroutine
-- objects that were never awaited, deadlocks, os.exit, the memory limit.

local cli = require "spec.support.cli"

local path

-- Runs a script; "script.lua" stands for its path in what it printed.
local function run(code, ...)
  local file <close> = assert(io.open(path, "w"))
  file:write("local async = require 'asyncbox' local await, sleep, spawn ="
    .. " async.await, async.sleep, async.spawn\n", code)
  file:close()
  local args = { "run", ... }
  args[#args + 1] = path
  local result = cli.run(args)
  for _, stream in ipairs { "stdout", "stderr" } do
    result[stream] = result[stream]:gsub(path:gsub("%p", "%%%0"), "script.lua")
  end
  return result
end

-- It ended with this status and printed these lines on stderr; a line that
-- ends in "..." may go on.
local function assert_reports(status, lines, result)
  local at = 1
  for line in result.stderr:gmatch "[^\n]+" do
    local wanted = lines[at] or "nothing more"
    local open = wanted:match "^(.*)%.%.%.$"
    if open then line, wanted = line:sub(1, #open), open end
    assert.equal(wanted, line, result.stderr)
    at = at + 1
  end
  assert.equal(#lines, at - 1, result.stderr)
  assert.equal(status, result.status)
end

describe("An uncaught error", function()
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("of the main chunk is printed with its traceback and the task.", function()
    local result = run [[
local function f() error "boom" end
print "before"
f()
]]
    assert.equal("before\n", result.stdout)
    assert_reports(1, {
      "asyncbox: script.lua:2: boom",
      "stack traceback:",
      "\t[C]: in function 'error'",
      "\tscript.lua:2: in local 'f'",
      "\tscript.lua:4: in main chunk",
      "\t[task 'Task-1']",
    }, result)
  end)

  it("of an awaited task shows both tasks, and where the first was spawned.", function()
    assert_reports(1, {
      "asyncbox: script.lua:2: boom",
      "stack traceback:",
      "\t[C]: in function 'error'",
      "\tscript.lua:2: in upvalue 'inner'",
      "\tscript.lua:4: in function <script.lua:4>",
      "\t[task 'worker', spawned at script.lua:4]",
      "\t[C]: in function 'asyncbox.await'",
      "\tscript.lua:6: in main chunk",
      "\t[task 'Task-1']",
    }, run [[
local function inner() sleep(0.001) error "boom" end

local t = spawn(function() inner() end)
t:name "worker"
await(t)
]])
  end)

  it("passes through gather, timeout, group and run with where it came from.", function()
    for _, how in ipairs {
      "async.gather(co(), spawn(sleep, 1))", "async.timeout(1, co())", "async.run(co)",
      "do local g <close> = async.group() g:spawn(co) end", "async.wait_for(co(), 1)",
      "async.race(co())", "async.any(co())", "async.map({ 1 }, co)", "async.shield(co)",
      "await(spawn(co):and_then(print))", "await(spawn(co):finally(print))",
    } do
      local result = run([[
local function inner() sleep(0) error "boom" end
local co = async(function() inner() end)
]] .. how)
      assert.equal(1, result.status, how)
      assert.is_truthy(result.stderr:find "^asyncbox: script.lua:2: boom\nstack traceback:\n", how)
      assert.is_truthy(result.stderr:find("in upvalue 'inner'", 1, true),
        how .. "\n" .. result.stderr)
      assert.is_truthy(result.stderr:find("\tscript.lua:4: in ", 1, true),
        how .. "\n" .. result.stderr)
      assert.is_nil(result.stderr:find "%[asyncbox", how .. "\n" .. result.stderr)
    end
  end)

  it("of a sandboxed script calls no metamethod of its.", function()
    local code = "error(setmetatable({}, { __tostring = function() return 'mine' end }))"
    local result = run(code, "--sandbox")
    assert.equal("asyncbox: (error object is a table value)", result.stderr:match "^[^\n]*")
  end)

  it("may be any value.", function()
    for value, text in pairs {
      ["{}"] = "(error object is a table value)", ["nil"] = "(error object is a nil value)",
      ["42"] = "42", ["print"] = "(error object is a function value)",
      ["setmetatable({}, { __tostring = function() return 'mine' end })"] = "mine",
      ["setmetatable({}, { __tostring = function() error 'no' end })"] =
        "(error object is a table value)",
      ["setmetatable({}, { __tostring = function() return 5 end })"] = "5",
      ["setmetatable({}, { __tostring = function() sleep(1) end })"] =
        "(error object is a table value)",
      ["(select(2, pcall(async.timeout, 0, sleep, 1)))"] =
        "timeout: timed out after 0.0 s (ETIMEDOUT)",
    } do
      local result = run("error(" .. value .. ")")
      assert.equal("asyncbox: " .. text, result.stderr:match "^[^\n]*", value)
      assert.equal(1, result.status)
    end
  end)

  it("of the main chunk cancels the other tasks, whose close handlers run.", function()
    local result = run [[
spawn(function()
  local _ <close> = setmetatable({}, { __close = function()
    async.shield(sleep, 0.001)
    print "closed"
  end })
  sleep(100)
end)
sleep(0)
error("boom", 0)
]]
    assert.equal("closed\n", result.stdout)
    assert.equal(1, result.status)
  end)

  it("that nobody takes is printed, and the rest goes on, to status 1.", function()
    local result = run [[
spawn(function() local t = {} t.x.y = 1 end):name "lost"
sleep(0.002)
print "main ends"
]]
    assert.equal("main ends\n", result.stdout)
    assert_reports(1, {
      "asyncbox: script.lua:2: attempt to index a nil value (field 'x')",
      "stack traceback:",
      "\tscript.lua:2: in function <script.lua:2>",
      "\t[task 'lost', spawned at script.lua:2]",
    }, result)
  end)

  it("is printed once for each task that is lost, and not when it was taken.", function()
    local result = run [[
local kept = spawn(error, "kept", 0)
for i = 1, 3 do spawn(error, "lost " .. i, 0) end
local taken = { spawn(error, "t1", 0), spawn(error, "t2", 0), spawn(error, "t3", 0) }
sleep(0)
pcall(await, taken[1])
taken[2]:error()
pcall(taken[3].result, taken[3])
local f = async.future()
f:set_error "future"
local cancelled = spawn(sleep, 10)
cancelled:cancel()
]]
    local n = 0
    for text in result.stderr:gmatch "asyncbox: ([^\n]*)\n" do
      n = n + 1
      assert.is_truthy(text:find "^lost %d$" or text == "kept" or text == "future", text)
    end
    assert.equal(5, n, result.stderr)
    assert.equal(1, result.status)
  end)

  it("of a finished script is none.", function()
    assert_reports(0, {}, run "await(spawn(sleep, 0.001))")
  end)
end)

describe("A coroutine object that is never awaited", function()
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("is reported with its name and the place where it was made.", function()
    local result = run [[
local fetch = async(function() end)
fetch()
collectgarbage()
local keep = fetch()
print "end"
]]
    assert.equal("end\n", result.stdout)
    assert_reports(0, {
      "asyncbox: warning: coroutine object 'fetch', made at script.lua:3, was never awaited",
      "asyncbox: warning: coroutine object 'fetch', made at script.lua:5, was never awaited",
    }, result)
  end)

  it("is not, if it was used in any way.", function()
    assert_reports(0, {}, run [[
local f = async(function() end)
await(f()) spawn(f()) async.gather(f()) async.run(f()) f():await()
]])
  end)
end)

describe("A deadlock", function()
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("is reported with each task, where it waits and for what; main gets EDEADLK.", function()
    local result = run [[
local q, e, l = async.queue(), async.event(), async.lock()
l:acquire()
spawn(function() q:get() end):name "getter"
spawn(function() coroutine.wrap(function() e:wait() end)() end)
local t = spawn(function() l:acquire() end)
spawn(function() await(t) end)
local f = async.future()
spawn(function() async.gather(f) end)
local ok, err = pcall(await, f)
print(ok, err.code)
l:release() q:put(1) e:set() f:set_result()
]]
    assert.equal("false\tEDEADLK\n", result.stdout)
    assert_reports(0, {
      "asyncbox: deadlock: nothing is left that could wake these tasks:",
      "\ttask 'Task-1', which waits at script.lua:10 for a future made at script.lua:8",
      "\ttask 'getter', spawned at script.lua:4, which waits at script.lua:4 for queue:get",
      "\ttask 'Task-3', spawned at script.lua:5, which waits at script.lua:5 for event:wait",
      "\ttask 'Task-4', spawned at script.lua:6, which waits at script.lua:6 for lock:acquire",
      "\ttask 'Task-5', spawned at script.lua:7, which waits at script.lua:7 for task 'Task-4'",
      "\ttask 'Task-6', spawned at script.lua:9, which waits at script.lua:9 for gather",
    }, result)
  end)

  it("of tasks that wait for each other is found.", function()
    local result = run [[
local a, b
a = spawn(function() await(b) end)
b = spawn(function() await(a) end)
await(a)
]]
    assert.equal(1, result.status)
    assert.is_truthy(result.stderr:find("\ttask 'Task-2', spawned at script.lua:3, which waits at "
      .. "script.lua:3 for task 'Task-3'", 1, true), result.stderr)
    assert.is_truthy(result.stderr:find "\nasyncbox: await: [^\n]*%(EDEADLK%)\n", result.stderr)
  end)

  it("after the main chunk ended cancels who is left, to status 1.", function()
    local result = run [[
spawn(function()
  local _ <close> = setmetatable({}, { __close = function(_, e) print(e.code) end })
  async.event():wait()
end)
]]
    assert.equal("ECANCELED\n", result.stdout)
    assert.equal(1, result.status)
    assert.is_truthy(result.stderr:find "^asyncbox: deadlock: ", result.stderr)
  end)

  it("is none while a timer can still end it.", function()
    assert_reports(0, {}, run [[
local e = async.event()
spawn(function() sleep(0.005) e:set() end)
e:wait()
print(pcall(async.timeout, 0.001, await, async.future()))
]])
  end)

  it("in a shield ends as well.", function()
    local result = run [[
spawn(function() async.shield(function() async.event():wait() end) end)
]]
    assert.equal(1, result.status)
  end)
end)

describe("os.exit", function()
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("closes the box: every task's close handlers run, and nothing else.", function()
    local result = run [[
local function handler(name)
  return setmetatable({}, { __close = function() print("close " .. name) end })
end
spawn(function() local _ <close> = handler "other" sleep(10) end)
sleep(0)
local _ <close> = handler "main"
coroutine.wrap(function()
  local _ <close> = handler "inner"
  pcall(os.exit, 3)
  print "never"
end)()
print "never"
]]
    assert.equal("close inner\nclose main\nclose other\n", result.stdout)
    assert_reports(3, {}, result)
  end)

  it("has Lua's statuses.", function()
    for code, status in pairs { ["os.exit()"] = 0, ["os.exit(true)"] = 0, ["os.exit(false)"] = 1,
      ["os.exit(7)"] = 7, ["spawn(os.exit, 4) sleep(10)"] = 4, ["os.exit(256 + 5)"] = 5,
      ["table.sort({ 1, 2 }, function() os.exit(6) end)"] = 6,
      ["pcall(table.sort, { 1, 2 }, function() os.exit(6) end)"] = 6,
      ["spawn(table.sort, { 1, 2 }, function() os.exit(6) end) sleep(1)"] = 6 } do
      assert_reports(status, {}, run(code))
    end
  end)

  it("ends although close handlers fail, wait or exit again.", function()
    local result = run [[
local function handler(f) return setmetatable({}, { __close = f }) end
local _ <close> = handler(function() print "first" end)
local _ <close> = handler(function() error "in a handler" end)
local _ <close> = handler(function() print(pcall(sleep, 1)) end)
local _ <close> = handler(function() os.exit(9) end)
os.exit(2)
]]
    assert.is_truthy(result.stdout:find "false\tsleep: .*the box is closing.*%(ECLOSED%)\nfirst\n$",
      result.stdout)
    assert.equal(2, result.status)
  end)
end)

describe("The memory limit", function()
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  -- The peak of resident memory in KiB of a run under --memory 32M, or nil.
  local function peak(code)
    local file <close> = assert(io.open(path, "w"))
    file:write("local async = require 'asyncbox'\n", code)
    file:close()
    local pipe <close> = assert(io.popen(([[
      case $(uname -sm) in
      'Linux x86_64') call=98 ;;
      'Linux aarch64') call=165 ;;
      *) exit ;;
      esac
      command -v perl >/dev/null || exit
      perl -e 'system(@ARGV); $usage = "\0" x 144; syscall('$call', -1, $usage);
        print unpack("x32 q", $usage)' timeout 60 %s run --memory 32M %s 2>/dev/null
    ]]):format(cli.quote(cli.program()), cli.quote(path))))
    return tonumber((pipe:read "a"))
  end

  local hogs = {
    ["a table that is filled"] = "local t = {} for i = 1, math.huge do t[i] = { i } end",
    ["a string that is doubled"] = "local s = 'x' while true do s = s .. s end",
    ["tasks without end"] = "while true do spawn(sleep, 10) end",
    ["a queue that is never read"] =
      "local q = async.queue() while true do q:put(('x'):rep(100) .. q:size()) end",
    ["coroutines without end"] =
      "local t = {} for i = 1, math.huge do t[i] = coroutine.create(print) end",
    ["one very long string"] = "local s = ('x'):rep(1 << 30)",
  }
  for name, code in pairs(hogs) do
    it("ends " .. name .. " with a clear error.", function()
      local result = run(code, "--memory", "32M")
      assert.equal(1, result.status, result.stderr)
      assert.is_truthy(result.stderr:find "^asyncbox: not enough memory %(the limit is 32768 KiB",
        result.stderr)
      assert.equal("", result.stdout)
    end)
  end

  it("keeps the whole process small.", function()
    local program <close> = assert(io.open(cli.program(), "rb"))
    if program:read("a"):find("__asan_init", 1, true) or not peak "" then
      pending "cannot measure here, or runs under a sanitizer"
      return
    end
    for name, code in pairs(hogs) do
      code = "local spawn, sleep, await = async.spawn, async.sleep, async.await\n" .. code
      assert.is_true(peak(code) < 96 * 1024, name)
    end
  end)

  it("ends no process: resuming what cannot be, without memory, is an error.", function()
    local result = run([[
local dead, keep = coroutine.create(print), {}
coroutine.resume(dead)
local ok = pcall(function()
  for size = 20, 4, -1 do
    pcall(function() while true do keep[#keep + 1] = ("x"):rep(1 << size) end end)
    coroutine.resume(dead)
    coroutine.resume(coroutine.running())
    coroutine.resume(coroutine.create(coroutine.resume), coroutine.running())
  end
end)
keep = nil
print "alive"
]], "--memory", "2M")
    assert.is_truthy(result.stdout:find "alive\n$", result.stdout)
    assert.equal(0, result.status)
  end)

  it("can be survived by a script that catches the error.", function()
    local result = run([[
for round = 1, 3 do
  local ok, err = pcall(function()
    local t = {}
    for i = 1, math.huge do t[i] = { i } end
  end)
  print(ok, err)
end
print(await(spawn(function() sleep(0.001) return "works" end)))
]], "--memory", "32M")
    assert.equal(("false\tnot enough memory\n"):rep(3) .. "works\n", result.stdout)
    assert_reports(0, {}, result)
  end)
end)
