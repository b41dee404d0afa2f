-- fs.remove and fs.copy, trees too.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local sandboxed = require("spec.support.sandboxed").run
local spawn, sleep = async.spawn, async.sleep
local at, shell, put = folder.at, folder.shell, folder.put
local slurp, output = folder.slurp, folder.output
local failure, text_of = folder.failure, folder.text_of

local odd = { "a\nb", " ", "\xff\xfe", "*", "-rf", "é" }

before_each(folder.start)
after_each(folder.check)

local function exists(path)
  return os.execute(("test -e '%s' || test -L '%s'"):format(path, path)) or false
end

-- 3,000 files in 30 folders.
local function big(name)
  shell("mkdir -p %s", at(name))
  shell("cd %s && for d in $(seq 30); do mkdir d$d; (cd d$d && seq 100 | xargs touch); done",
    at(name))
end

-- A chain of folders far longer than PATH_MAX.
local function deep(name, levels)
  shell([[cd %s && python3 -c '
import os
for i in range(%d):
    os.mkdir("%s" if i == 0 else "some-folder")
    os.chdir("%s" if i == 0 else "some-folder")
open("end", "w").close()']], folder.path, levels, name, name)
end

local function cancelled(f, ...)
  local task = spawn(f, ...)
  sleep(0)
  task:cancel()
  return failure(task.await, task).code
end

describe("fs.remove", function()
  it("removes files, empty folders and links, not what they lead to", function()
    put("x", "x")
    shell("cd %s && ln -s x l && ln -s d ld && mkdir d && ln -s nowhere dead", folder.path)
    assert.is_true(fs.remove(at "l"))
    fs.remove(at "ld")
    fs.remove(at "dead")
    assert.is_true(exists(at "x") and exists(at "d"))
    fs.remove(at "x")
    fs.remove(at "d/")
    assert.are.same({}, fs.list(folder.path))
  end)

  it("removes a tree with names of any bytes", function()
    big "t"
    for _, name in ipairs(odd) do put("t/d1/" .. name, "") end
    shell("mkfifo %s; ln -s /etc %s; ln -s .. %s", at "t/f", at "t/etc", at "t/loop")
    fs.remove(at "t", { recursive = true })
    assert.are.same({}, fs.list(folder.path))
    assert.is_true(exists "/etc/passwd")
  end)

  it("removes a tree of 5,000 levels with few descriptors", function()
    deep("t", 5000)
    assert.are.equal("", output(("ulimit -n 60; %s run %s %s 2>&1"):format(folder.program,
      put("r.lua", "require 'asyncbox'.fs.remove(arg[1], {recursive = true})"), at "t")))
    assert.is_false(exists(at "t"))
  end)

  it("follows no link into which a folder is changed meanwhile", function()
    shell("mkdir -p %s && touch %s/keep", at "safe", at "safe")
    shell("mkdir -p %s", at "t/x")
    folder.beside("cd %s; for i in $(seq 500); do " ..
      "mv x y; ln -s ../safe x; rm x; mv y x; done", at "t")
    for _ = 1, 40 do
      pcall(fs.remove, at "t/x", { recursive = true })
      pcall(fs.remove, at "t/y", { recursive = true })
      os.execute(("mkdir %s 2>/dev/null"):format(at "t/x"))
    end
    assert.is_true(exists(at "safe/keep"))
    shell("while pgrep -f '%s[;]' >/dev/null; do sleep 0.05; done", folder.path)
  end)

  it("raises with the path of what could not be removed", function()
    assert.are.equal("ENOENT", failure(fs.remove, at "none").code)
    assert.are.equal("ENOENT", failure(fs.remove, at "none", { recursive = true }).code)
    shell("mkdir -p %s", at "d/e")
    assert.are.equal("ENOTEMPTY", failure(fs.remove, at "d").code)
    if output "id -u" ~= "0" then
      put("d/e/x", "")
      shell("chmod 500 %s", at "d/e")
      local err = failure(fs.remove, at "d", { recursive = true })
      shell("chmod 700 %s", at "d/e")
      assert.are.same({ "EACCES", at "d/e/x" }, { err.code, err.path })
    else
      local err = failure(fs.remove, "/proc/self/task", { recursive = true })
      assert.matches("^/proc/self/task/%d+/", err.path)
    end
    assert.is_true(exists(at "d/e"))
  end)

  it("names wrong arguments and options", function()
    assert.matches("string expected", text_of(fs.remove))
    assert.matches("zero byte", text_of(fs.remove, "a\0"))
    assert.matches("unknown option 'force'", text_of(fs.remove, "a", { force = true }))
    assert.matches("must be a boolean", text_of(fs.remove, "a", { recursive = 1 }))
  end)

  it("refuses . and .. as the name of what is to go", function()
    shell("mkdir -p %s && touch %s", at "t/u", at "t/x")
    for _, path in ipairs { at "t/.", at "t/u/..", at "t/./" } do
      assert.are.equal("EINVAL", failure(fs.remove, path, { recursive = true }).code)
    end
    assert.are.equal("ENOENT", failure(fs.remove, "").code)
    assert.are.same({ "u", "x" }, fs.list(at "t"))
  end)

  it("stays below what a sandbox was granted", function()
    shell("mkdir -p %s %s && touch %s", at "in/a", at "out", at "out/x")
    shell("ln -s ../out %s", at "in/l")
    assert.are.equal("EDENIED EDENIED EDENIED EDENIED true",
      sandboxed({ "--allow-write=" .. at "in" }, ([[
      local function try(path)
        local ok, err = pcall(fs.remove, path, {recursive = true})
        return ok and "true" or err.code
      end
      print(try "%s", try "out/x", try "in/l/x", try "in", try "in/l")]]):format(at "out"))
      :gsub("\t", " "))
    assert.is_true(exists(at "out/x"))
    assert.are.equal("EDENIED", sandboxed({ "--allow-read=" .. folder.path },
      "print(select(2, pcall(fs.remove, 'in')).code)"))
  end)

  it("stops between two entries when it is cancelled", function()
    big "t"
    assert.are.equal("ECANCELED", cancelled(fs.remove, at "t", { recursive = true }))
  end)
end)

describe("fs.copy", function()
  it("copies the bytes and the permissions, of large files too", function()
    for _, size in ipairs { 0, 1, 65536, 65537, 3000001 } do
      put("x", ("abcdefg"):rep(size // 7 + 1):sub(1, size))
      fs.copy(at "x", at("y" .. size))
      assert.is_true(slurp(at "x") == slurp(at("y" .. size)))
    end
    shell("chmod 751 %s; touch -d @1000000 %s", at "x", at "x")
    fs.copy(at "x", at "m", { times = true })
    assert.are.equal("751 1000000", output("stat -c '%a %Y' " .. at "m"))
    fs.copy("/proc/self/status", at "p")
    assert.matches("^Name:", slurp(at "p"))
  end)

  it("keeps holes", function()
    local function space(name)
      return fs.stat(at(name)).blocks * 512
    end
    for name, command in pairs {
      within = "truncate -s 20M %s && printf x >>%s && truncate -s 30M %s",
      first = "truncate -s 20M %s && head -c 200000 /dev/urandom >>%s; : %s",
      last = "head -c 200000 /dev/urandom >%s && truncate -s 30M %s; : %s",
      all = "truncate -s 30M %s; : %s %s",
    } do
      local path = at(name)
      shell(command, path, path, path)
      if space(name) < 1 << 20 then -- else this file system has none
        fs.copy(path, at(name .. "2"))
        shell("cmp %s %s", path, at(name .. "2"))
        assert.is_true(space(name .. "2") < 1 << 20, name)
      end
    end
  end)

  it("replaces only when asked, a link and not what it leads to", function()
    put("x", "new")
    put("y", "old")
    local err = failure(fs.copy, at "x", at "y")
    assert.are.same({ "EEXIST", at "x", at "y" }, { err.code, err.path, err.to })
    assert.are.equal("old", slurp(at "y"))
    shell("ln -s y %s; ln %s %s", at "l", at "y", at "z")
    fs.copy(at "x", at "l", { overwrite = true })
    assert.are.equal("old", slurp(at "y"))
    fs.copy(at "x", at "y", { overwrite = true })
    assert.are.equal("new", slurp(at "y"))
    assert.are.equal("old", slurp(at "z"))
    assert.matches("same file", text_of(fs.copy, at "x", at "x", { overwrite = true }))
    shell("mkdir %s", at "d")
    assert.are.equal("EISDIR", failure(fs.copy, at "x", at "d", { overwrite = true }).code)
  end)

  it("copies a tree: names of any bytes, links as links, permissions", function()
    big "t"
    for _, name in ipairs(odd) do put("t/d1/" .. name, name) end
    shell("cd %s && ln -s d1/1 l && ln -s .. loop && ln -s nowhere dead", at "t")
    shell("cd %s && chmod 500 d2 && chmod 640 d3/1", at "t")
    fs.copy(at "t", at "u", { recursive = true })
    shell("diff -r --no-dereference %s %s", at "t", at "u")
    local list = "cd %s && find . -printf '%%m %%y %%p %%l\\n' | sort | md5sum"
    assert.are.equal(output(list:format(at "t")), output(list:format(at "u")))
    shell("chmod 700 %s %s", at "t/d2", at "u/d2")
  end)

  it("adds to a folder that is there when it may overwrite", function()
    shell("mkdir -p %s %s", at "t/a", at "u/b")
    put("t/a/x", "x")
    assert.are.equal("EEXIST", failure(fs.copy, at "t", at "u", { recursive = true }).code)
    fs.copy(at "t", at "u", { recursive = true, overwrite = true })
    fs.copy(at "t", at "u", { recursive = true, overwrite = true })
    assert.are.same({ "a", "b" }, fs.list(at "u"))
    assert.are.equal("x", slurp(at "u/a/x"))
  end)

  it("copies a tree of 1,000 levels with few descriptors", function()
    deep("t", 1000)
    assert.are.equal("", output(("ulimit -n 80; %s run %s %s %s 2>&1"):format(folder.program,
      put("c.lua", "require 'asyncbox'.fs.copy(arg[1], arg[2], {recursive = true})"),
      at "t", at "u")))
    assert.are.equal(1000, tonumber(output("find " .. at "u" .. " -type d | wc -l")))
    fs.remove(at "t", { recursive = true })
    fs.remove(at "u", { recursive = true })
  end)

  it("refuses folders without recursive, into themselves, and what is no file", function()
    shell("mkdir -p %s; mkfifo %s", at "t/a", at "f")
    assert.matches("recursive = true", text_of(fs.copy, at "t", at "u"))
    for _, to in ipairs { "t/b", "t/a/b", "t" } do
      local err = failure(fs.copy, at "t", at(to), { recursive = true, overwrite = true })
      assert.are.equal("EINVAL", err.code)
    end
    assert.are.same({ "a" }, fs.list(at "t"))
    assert.matches("neither a file nor a folder", text_of(fs.copy, at "f", at "g"))
    shell("mv %s %s", at "f", at "t/a/f")
    local err = failure(fs.copy, at "t", at "u", { recursive = true })
    assert.are.same({ "EINVAL", at "t/a/f", at "u/a/f" }, { err.code, err.path, err.to })
    err = failure(fs.copy, at "t" .. "//", at "u" .. "/", { recursive = true })
    assert.are.same({ "EEXIST", at "u" }, { err.code, err.to })
  end)

  it("leaves no half of a file when the disk is full", function()
    put("x", ("x"):rep(300000))
    if not folder.with_full_disk(function()
      assert.are.equal("ENOSPC", failure(fs.copy, at "x", at "m/x").code)
      assert.are.same({}, fs.list(at "m"))
      fs.write(at "m/x", "old")
      assert.are.equal("ENOSPC", failure(fs.copy, at "x", at "m/x", { overwrite = true }).code)
      assert.are.same({ "x" }, fs.list(at "m"))
      assert.are.equal("old", slurp(at "m/x"))
    end) then
      pending "may not mount"
    end
  end)

  it("names wrong arguments and options", function()
    assert.are.equal("ENOENT", failure(fs.copy, at "none", at "x").code)
    assert.are.equal("ENOENT", failure(fs.copy, put("x", ""), at "none/x").code)
    assert.matches("bad argument #2 to '.*copy'", text_of(fs.copy, "x"))
    assert.matches("unknown option 'force'", text_of(fs.copy, "x", "y", { force = true }))
  end)

  it("needs both grants in a sandbox, and follows no link out", function()
    shell("mkdir -p %s %s && touch %s", at "in", at "out", at "out/x")
    shell("ln -s ../out %s", at "in/l")
    local code = [[
      local function try(from, to)
        local ok, err = pcall(fs.copy, from, to, {recursive = true})
        return ok and "true" or err.code
      end
      print(try("out/x", "in/y"), try("in/l/x", "in/y"), try("in/x", "out/y"),
        try("in/x", "in/l/y"), try("in/x", "in/y"), try("in", "in2"), try("in/d", "in/e"))]]
    shell("mkdir %s && ln -s ../../out %s", at "in/d", at "in/d/l")
    put("in/x", "")
    assert.are.equal("EDENIED EDENIED EDENIED EDENIED true EDENIED EDENIED", (sandboxed(
      { "--allow-write=" .. at "in", "--allow-read=" .. at "in" }, code):gsub("\t", " ")))
    local both = { "--allow-write=" .. at "in", "--allow-read=" .. at "in" }
    assert.are.equal("in/d/l", sandboxed(both, [[
      local err = select(2, pcall(fs.copy, "in/d", "in/f", { recursive = true }))
      if err.code == "EDENIED" and err.hint:find "no link" then print(err.path) end]]))
    assert.are.equal(("EDENIED "):rep(7):sub(1, -2), (sandboxed(
      { "--allow-write=" .. at "in" }, code):gsub("\t", " ")))
  end)

  it("stops when it is cancelled, and leaves no half of a file", function()
    local SIZE = 32 << 20
    shell("head -c %d /dev/zero >%s", SIZE, at "x")
    big "t"
    -- One that was done before it could be cancelled is tried again.
    local function cancelled_at_last(from)
      for i = 1, 100 do
        local to = at("to" .. i)
        local task = spawn(fs.copy, from, to, { recursive = true })
        sleep(0)
        task:cancel()
        local ok, err = pcall(task.await, task)
        if not ok then return err.code, to end
        fs.remove(to, { recursive = true })
      end
    end
    local code, to = cancelled_at_last(at "x")
    assert.are.equal("ECANCELED", code)
    eventually("it has ended", function() return async.stats().ops == 0 end)
    if exists(to) then assert.are.equal(SIZE, fs.stat(to).size) end
    assert.are.equal("ECANCELED", (cancelled_at_last(at "t")))
  end)
end)
