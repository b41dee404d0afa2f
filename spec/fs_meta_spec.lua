-- fs: the calls on one name or two. Ways out of a sandbox: escape_spec.lua.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local cli = require "spec.support.cli"
local folder = require "spec.support.folder"
local spawn = async.spawn
local at, shell, slurp = folder.at, folder.shell, folder.slurp
local put, output, failure, text_of = folder.put, folder.output, folder.failure, folder.text_of

local function octal(text)
  return tonumber(text, 8)
end

before_each(folder.start)
after_each(folder.check)

-- For each function: a call that works, its arguments as a function because the
-- folder is another one for each case; the kind of grant it needs.
local calls = {
  { "stat", function() return at "x" end, "read" },
  { "lstat", function() return at "x" end, "read" },
  { "exists", function() return at "x" end, "read" },
  { "readlink", function() return at "link" end, "read" },
  { "realpath", function() return at "x" end, "read" },
  { "chmod", function() return at "x", octal "600" end, "write" },
  { "chown", function() return at "x" end, "write" },
  { "utime", function() return at "x" end, "write" },
  { "mkdir", function() return at "new" end, "write" },
  { "rmdir", function() return at "empty" end, "write" },
  { "rename", function() return at "x", at "y" end, "write", two = true },
  { "link", function() return at "x", at "y" end, "write", two = true },
  { "symlink", function() return "x", at "y" end, "write", two = true, path = 2 },
}

local function prepare()
  shell("mkdir -p %s && ln -sfn x %s && rm -rf %s %s", at "empty", at "link", at "y", at "new")
  put("x", "text")
end

describe("each call on a name", function()
  for _, call in ipairs(calls) do
    local name, arguments, kind = call[1], call[2], call[3]
    local f = fs[name]
    local which = call.path or 1

    -- The arguments with another path.
    local function on(path)
      local args = table.pack(arguments())
      args[which] = path
      return table.unpack(args, 1, args.n)
    end

    it("fs." .. name .. " works and gives one result", function()
      prepare()
      local results = table.pack(f(arguments()))
      assert.are.equal(1, results.n)
      assert.is_truthy(results[1])
    end)

    it("fs." .. name .. " names code, op and path of what fails", function()
      prepare()
      local long = at(("n"):rep(300))
      local tries = { ENAMETOOLONG = long, ENOENT = at "gone/x" }
      if name ~= "exists" then tries.ENOTDIR = at "x/below" end
      for code, path in pairs(tries) do
        if not (name == "exists" and code == "ENOENT") then
          local err = failure(f, on(path))
          assert.are.equal(code, err.code)
          assert.are.equal("fs." .. name, err.op)
          assert.are.equal(path, err.path)
          assert.is_truthy(tostring(err):find(path, 1, true))
          if call.two then assert.is_string(err.to) end
        end
      end
      if name ~= "realpath" then -- which looks at one name after the other
        assert.are.equal("ENAMETOOLONG", failure(f, on(("d/"):rep(2500) .. "x")).code)
      end
    end)

    it("fs." .. name .. " says which argument is wrong", function()
      prepare()
      assert.matches("bad argument #%d to '.*" .. name, text_of(f))
      assert.matches("bad argument #" .. which .. " .*string expected", text_of(f, on {}))
      assert.matches("bad argument #" .. which .. " .*zero byte", text_of(f, on "a\0b"))
      if name ~= "exists" then
        assert.are.equal("ENOENT", failure(f, on "").code)
      end
    end)

    it("fs." .. name .. " is refused in a sandbox, which is told the flag", function()
      prepare()
      local other = kind == "read" and "write" or "read"
      local script = put("script.lua", ([[
        local fs = require "asyncbox.fs"
        print(select(2, pcall(fs[%q], table.unpack(arg))))]]):format(name))
      local args = { "run", "--allow-" .. other .. "=.", script }
      for _, value in ipairs { arguments() } do
        args[#args + 1] = value
      end
      local r = cli.run(args, { cwd = folder.path, program = folder.program })
      assert.matches("fs." .. name .. ": permission not granted: .*EDENIED", r.stdout)
      assert.matches("%-%-allow%-" .. kind .. "=", r.stdout)
    end)

    it("fs." .. name .. " lets go when it is cancelled", function()
      local cancelled = 0
      for _ = 1, 200 do
        prepare()
        local task = spawn(f, arguments())
        spawn(function() task:cancel() end)
        local ok, err = pcall(task.await, task)
        if not ok then
          assert.are.equal("ECANCELED", err.code)
          cancelled = cancelled + 1
        end
        if cancelled > 2 then break end
        async.sleep(0)
      end
      assert.is_true(cancelled > 0)
    end)
  end
end)

describe("fs.stat", function()
  it("gives what the system's stat does", function()
    put("x", ("x"):rep(5000))
    shell("chmod 640 %s; touch -d '2001-02-03 04:05:06.25 UTC' %s", at "x", at "x")
    local s = fs.stat(at "x")
    assert.are.equal("file", s.type)
    assert.are.equal(5000, s.size)
    assert.are.equal(octal "640", s.mode)
    assert.are.equal(981173106.25, s.mtime)
    assert.are.equal(981173106250000000, s.mtime_ns)
    local line = "%d %d %d %d %d %d"
    assert.are.equal(
      output("stat -c '%i %d %h %u %g %b' " .. at "x"),
      line:format(s.ino, s.dev, s.nlink, s.uid, s.gid, s.blocks)
    )
    for _, key in ipairs { "atime", "ctime" } do
      assert.are.equal("float", math.type(s[key]))
      assert.are.equal(math.floor(s[key]), s[key .. "_ns"] // 1000000000)
    end
  end)

  it("tells the types apart; lstat shows the link itself", function()
    put("x", "")
    shell("mkfifo %s; ln -s x %s; ln -s none %s", at "f", at "l", at "dangling")
    assert.are.equal("directory", fs.stat(folder.path).type)
    assert.are.equal("fifo", fs.stat(at "f").type)
    assert.are.equal("char", fs.stat("/dev/null").type)
    assert.are.equal("file", fs.stat(at "l").type)
    assert.are.equal("link", fs.lstat(at "l").type)
    assert.are.equal("link", fs.lstat(at "dangling").type)
    assert.are.equal("ENOENT", failure(fs.stat, at "dangling").code)
  end)

  it("survives names of any bytes", function()
    for _, name in ipairs { "new\nline", " space ", "\xff\xfe", "-n", "*" } do
      put(name, "x")
      assert.are.equal(1, fs.stat(at(name)).size)
      fs.rename(at(name), at(name .. "2"))
      assert.are.equal(at(name .. "2"), fs.realpath(at(name .. "2")))
    end
  end)
end)

describe("fs.exists", function()
  it("is false only for what is not there", function()
    put("x", "")
    shell("ln -s none %s; ln -s loop %s", at "dangling", at "loop")
    assert.is_true(fs.exists(at "x"))
    assert.is_true(fs.exists(folder.path))
    assert.is_false(fs.exists(at "none"))
    assert.is_false(fs.exists(at "none/none"))
    assert.is_false(fs.exists(at "x/none"))
    assert.is_false(fs.exists(at "dangling"))
    assert.is_false(fs.exists "")
    assert.are.equal("ELOOP", failure(fs.exists, at "loop").code)
  end)
end)

describe("fs.chmod, fs.chown and fs.utime", function()
  it("change what a link leads to", function()
    put("x", "")
    shell("ln -s x %s", at "l")
    fs.chmod(at "l", octal "604")
    assert.are.equal("604", output("stat -c %a " .. at "x"))
    fs.utime(at "l", 1000.5, -1.25)
    local s = fs.stat(at "x")
    assert.are.equal(1000500000000, s.atime_ns)
    assert.are.equal(-1250000000, s.mtime_ns)
  end)

  it("utime without times means now, with one time both", function()
    put("x", "")
    fs.utime(at "x", 5)
    assert.are.equal(5.0, fs.stat(at "x").mtime)
    fs.utime(at "x")
    assert.is_true(fs.stat(at "x").mtime > 1e9)
  end)

  it("chown leaves what is nil", function()
    put("x", "")
    local before = fs.stat(at "x")
    fs.chown(at "x", nil, nil)
    fs.chown(at "x", before.uid)
    fs.chown(at "x", nil, before.gid)
    assert.are.equal(before.uid, fs.stat(at "x").uid)
    assert.are.equal(before.gid, fs.stat(at "x").gid)
  end)

  it("refuse numbers that mean nothing", function()
    put("x", "")
    for _, mode in ipairs { -1, 4096, 1.5, "rwx", 0 / 0 } do
      assert.matches("bad argument #2", text_of(fs.chmod, at "x", mode))
    end
    assert.matches("bad argument #2", text_of(fs.chmod, at "x"))
    for _, time in ipairs { 0 / 0, 1 / 0, -1 / 0, 1e300, "x", {} } do
      assert.matches("bad argument #2", text_of(fs.utime, at "x", time))
      assert.matches("bad argument #3", text_of(fs.utime, at "x", 0, time))
    end
    for _, id in ipairs { -1, 1 << 32, 0xffffffff, 1.5, "x" } do
      assert.matches("bad argument #2", text_of(fs.chown, at "x", id))
      assert.matches("bad argument #3", text_of(fs.chown, at "x", nil, id))
    end
  end)
end)

describe("fs.readlink and fs.realpath", function()
  it("give the text of a link, and where a path leads", function()
    shell("mkdir %s; ln -s ../b/./c %s; mkdir %s; touch %s", at "a", at "a/l", at "b", at "b/c")
    assert.are.equal("../b/./c", fs.readlink(at "a/l"))
    assert.are.equal(at "b/c", fs.realpath(at "a/../a//l"))
    assert.are.equal("EINVAL", failure(fs.readlink, at "b/c").code)
    local long = ("n/"):rep(1500) .. "x"
    fs.symlink(long, at "long")
    assert.are.equal(long, fs.readlink(at "long"))
  end)
end)

describe("fs.mkdir", function()
  it("makes one folder, and the missing ones above with parents", function()
    assert.is_true(fs.mkdir(at "a"))
    assert.are.equal("EEXIST", failure(fs.mkdir, at "a").code)
    assert.are.equal("ENOENT", failure(fs.mkdir, at "b/c").code)
    assert.is_true(fs.mkdir(at "b//c/d/", { parents = true }))
    assert.are.equal("directory", fs.stat(at "b/c/d").type)
    assert.is_true(fs.mkdir(at "b/c/d", { parents = true }))
    assert.is_true(fs.mkdir(at "e/../g/.", { parents = true }))
    assert.are.equal("directory", fs.stat(at "e").type)
    assert.are.equal("directory", fs.stat(at "g").type)
  end)

  it("takes a link to a folder for one, but not a file nor a link to nothing", function()
    shell("mkdir %s; ln -s a %s; ln -s none %s", at "a", at "l", at "dangling")
    put("x", "")
    assert.is_true(fs.mkdir(at "l", { parents = true }))
    assert.is_true(fs.mkdir(at "l/m/n", { parents = true }))
    assert.is_true(fs.exists(at "a/m/n"))
    assert.are.equal("EEXIST", failure(fs.mkdir, at "x", { parents = true }).code)
    assert.are.equal("EEXIST", failure(fs.mkdir, at "dangling", { parents = true }).code)
    assert.are.equal("ENOTDIR", failure(fs.mkdir, at "x/y/z", { parents = true }).code)
  end)

  it("gives the last one its mode, the others the usual", function()
    fs.mkdir(at "a/b", { parents = true, mode = octal "700" })
    fs.mkdir(at "plain")
    assert.are.equal(octal "700", fs.stat(at "a/b").mode)
    assert.are.equal(fs.stat(at "plain").mode, fs.stat(at "a").mode)
  end)

  it("makes 1,000 levels, by many tasks at once", function()
    local path = folder.path .. ("/d"):rep(1000)
    local tasks = {}
    for i = 1, 8 do
      tasks[i] = spawn(fs.mkdir, path, { parents = true })
    end
    for _, task in ipairs(tasks) do
      assert.is_true(task:await())
    end
    assert.are.equal("directory", fs.stat(path).type)
  end)

  it("names an option that is wrong", function()
    assert.matches("unknown option 'parent' %(known: parents, mode%)",
      text_of(fs.mkdir, at "a", { parent = true }))
    assert.matches("'mode' must be", text_of(fs.mkdir, at "a", { mode = -1 }))
  end)
end)

describe("fs.rename and fs.link", function()
  it("rename replaces a file, moves a folder, and says why it can't", function()
    put("x", "new")
    put("y", "old")
    fs.rename(at "x", at "y")
    assert.are.equal("new", slurp(at "y"))
    assert.is_false(fs.exists(at "x"))
    shell("mkdir -p %s %s", at "a/b", at "full/x")
    fs.rename(at "a", at "c")
    assert.is_true(fs.exists(at "c/b"))
    assert.are.equal("ENOTEMPTY", failure(fs.rename, at "c", at "full").code)
    assert.are.equal("EINVAL", failure(fs.rename, at "c", at "c/b/d").code)
    local err = failure(fs.rename, at "none", at "to")
    assert.are.equal(at "none", err.path)
    assert.are.equal(at "to", err.to)
    assert.are.equal(
      ("fs.rename: no such file or directory: %s -> %s (ENOENT)"):format(at "none", at "to"),
      tostring(err)
    )
  end)

  it("rename takes a slash at the end for a folder, in a sandbox too", function()
    shell("mkdir %s && ln -s d %s", at "d", at "l")
    put("x", "")
    local code = [[
      local fs, results = require("asyncbox").fs, {}
      for _, pair in ipairs { { "l/", "l2" }, { "x/", "y" }, { "x", "y/" }, { "d/", "e/" } } do
        local ok, err = pcall(fs.rename, pair[1], pair[2])
        results[#results + 1] = ok and "ok" or err.code
      end
      print(table.concat(results, " "))]]
    local script = put("s.lua", code)
    for _, flags in ipairs { {}, { "--allow-read=.", "--allow-write=." } } do
      local args = { "run", flags[1] or script, flags[2], flags[1] and script }
      local r = cli.run(args, { cwd = folder.path, program = folder.program })
      assert.are.equal("", r.stderr)
      assert.are.equal("ENOTDIR ENOTDIR ENOTDIR ok\n", r.stdout)
      fs.rename(at "e", at "d")
    end
  end)

  it("rename across file systems is EXDEV, which says what to do", function()
    local mounted = folder.with_full_disk(function()
      put("x", "")
      local err = failure(fs.rename, at "x", at "m/x")
      assert.are.equal("EXDEV", err.code)
      assert.matches("copy it and remove the old one: .*x %-> .*m/x %(EXDEV%)", tostring(err))
    end)
    if not mounted then pending "this user may not mount" end
  end)

  it("link makes another name of the same file", function()
    put("x", "1")
    fs.link(at "x", at "y")
    assert.are.equal(fs.stat(at "x").ino, fs.stat(at "y").ino)
    assert.are.equal(2, fs.stat(at "x").nlink)
    assert.are.equal("EEXIST", failure(fs.link, at "x", at "y").code)
    shell("ln -s x %s", at "l")
    fs.link(at "l", at "l2")
    assert.are.equal("link", fs.lstat(at "l2").type)
  end)
end)

describe("on a file system that is read-only", function()
  it("errors say EROFS and name the path", function()
    local mounted = folder.with_full_disk(function()
      put("m/x", "x")
      shell("mkdir %s && mount -o remount,ro %s", at "m/d", at "m")
      local tries = {
        { fs.write, at "m/x", "y" },
        { fs.write, at "m/x", "y", { atomic = true } },
        { fs.open, at "m/new", "w" },
        { fs.chmod, at "m/x", 0 },
        { fs.utime, at "m/x" },
        { fs.mkdir, at "m/new" },
        { fs.rmdir, at "m/d" },
        { fs.rename, at "m/x", at "m/y" },
        { fs.link, at "m/x", at "m/y" },
      }
      for _, try in ipairs(tries) do
        local err = failure(table.unpack(try))
        assert.are.equal("EROFS", err.code)
        assert.are.equal(try[2], err.path)
      end
    end)
    if not mounted then pending "this user may not mount" end
  end)
end)
