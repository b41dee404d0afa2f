-- Reading folders: fs.list, fs.scan, fs.walk, fs.glob.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local cli = require "spec.support.cli"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local sandboxed = require("spec.support.sandboxed").run
local spawn, sleep = async.spawn, async.sleep
local at, shell, put = folder.at, folder.shell, folder.put
local failure, text_of = folder.failure, folder.text_of

local odd = { "a\nb", " ", "\xff\xfe", "*", "-rf", "[x]", "é" }

setup(children.warm_up)
before_each(folder.start)
after_each(folder.check)

-- a/b/c/3.h, a/1.c, a/b/2.c, a/b/loop -> .., .hid/x.c, top.c
local function tree()
  shell("mkdir -p %s/a/b/c %s/.hid", folder.path, folder.path)
  shell("cd %s && touch a/1.c a/b/2.c a/b/c/3.h .hid/x.c top.c", folder.path)
  shell("ln -s .. %s", at "a/b/loop")
end

local function collect(...)
  local out = {}
  for path, kind, depth in ... do
    out[#out + 1] = path:gsub("^" .. folder.path .. "/?", "") .. " " .. kind .. (depth or "")
  end
  return out
end

local function glob(pattern, options)
  options = options or {}
  options.cwd = options.cwd or folder.path
  return table.concat(fs.glob(pattern, options), " ")
end

-- Cancelled while it waits; the pool may be faster, then once more.
local function cancel(f, ...)
  for _ = 1, 1000 do
    local task = spawn(f, ...)
    sleep(0)
    task:cancel()
    local ok, err = pcall(task.await, task)
    if not ok then
      assert.are.equal("ECANCELED", err.code)
      return
    end
  end
  error "was never cancelled while it waited"
end

describe("fs.list", function()
  it("gives the names in order, all but . and ..", function()
    tree()
    assert.are.same({ ".hid", "a", "top.c" }, fs.list(folder.path))
    assert.are.same({ "3.h" }, fs.list(at ".hid/../a/b/c/."))
    shell("mkdir %s", at "empty")
    assert.are.same({}, fs.list(at "empty"))
  end)

  it("keeps names of any bytes", function()
    for _, name in ipairs(odd) do put(name, "") end
    local want = { table.unpack(odd) }
    table.sort(want)
    assert.are.same(want, fs.list(folder.path))
  end)

  it("reads a folder larger than its first buffers", function()
    shell("cd %s && seq -f 'a-file-with-a-long-name-%%06g' 5000 | xargs touch", folder.path)
    local names = fs.list(folder.path)
    assert.are.equal(5000, #names)
    assert.are.equal("a-file-with-a-long-name-000001", names[1])
    assert.are.equal("a-file-with-a-long-name-005000", names[5000])
  end)

  it("raises what the system says", function()
    assert.are.equal("ENOENT", failure(fs.list, at "none").code)
    assert.are.equal("ENOTDIR", failure(fs.list, put("x", "")).code)
    assert.matches("^fs.list: not a directory: .*/x %(ENOTDIR%)", text_of(fs.list, at "x"))
  end)

  it("names a wrong argument", function()
    assert.matches("string expected", text_of(fs.list))
    assert.matches("zero byte", text_of(fs.list, "a\0b"))
  end)

  it("is refused in a sandbox", function()
    assert.are.equal("EDENIED\tx", sandboxed({ "--allow-read=" .. folder.path }, [[
      require "asyncbox".fs.list "."
      local _, err = pcall(async.fs.list, "/etc")
      print(err.code, "x")]]))
    shell("ln -s /etc %s", at "link")
    assert.are.equal("EDENIED", sandboxed({ "--allow-read=" .. folder.path },
      "print(select(2, pcall(fs.list, 'link')).code)"))
  end)

  it("can be cancelled", function() cancel(fs.list, "/usr/lib") end)
end)

describe("fs.scan", function()
  it("gives names and kinds", function()
    tree()
    shell("mkfifo %s", at "f")
    local kinds = {}
    for name, kind in fs.scan(folder.path) do kinds[name] = kind end
    assert.are.same({ a = "directory", [".hid"] = "directory", ["top.c"] = "file", f = "fifo" },
      kinds)
    kinds = {}
    for name, kind in fs.scan(at "a/b") do kinds[name] = kind end
    assert.are.equal("link", kinds.loop)
  end)

  it("gives each of many entries once, from a batch at a time", function()
    shell("cd %s && seq -f 'a-file-with-a-long-name-%%06g' 5000 | xargs touch", folder.path)
    local seen, n = {}, 0
    for name in fs.scan(folder.path) do
      assert.is_nil(seen[name])
      seen[name], n = true, n + 1
    end
    assert.are.equal(5000, n)
  end)

  it("closes the folder when the loop is left, or nobody needs it any more", function()
    shell("cd %s && seq -f 'a-file-with-a-long-name-%%06g' 3000 | xargs touch", folder.path)
    local n = 0
    for _ in fs.scan(folder.path) do
      n = n + 1
      if n == 2 then break end
    end
    local scan = fs.scan(folder.path)
    assert.is_string((scan()))
    scan:close()
    assert.is_nil((scan()))
    fs.scan(folder.path)
    collectgarbage()
  end)

  it("goes on after a wait that was cancelled", function()
    shell("cd %s && seq -f 'a-file-with-a-long-name-%%06g' 5000 | xargs touch", folder.path)
    local scan <close> = fs.scan(folder.path)
    local n = 0
    while n < 5000 do
      local task = spawn(function() while scan() do n = n + 1 end end)
      sleep(0)
      task:cancel()
      pcall(task.await, task)
      if scan() then n = n + 1 else break end
    end
    assert.are.equal(5000, n)
  end)

  it("raises at the call what the system says", function()
    assert.matches("fs.scan: no such file or directory", text_of(fs.scan, at "none"))
    assert.matches("string expected", text_of(fs.scan, {}))
  end)

  it("is refused in a sandbox", function()
    assert.are.equal("EDENIED", sandboxed({ "--sandbox" },
      "print(select(2, pcall(fs.scan, '/etc')).code)"))
  end)

  it("can be cancelled", function() cancel(fs.scan, "/usr/lib") end)
end)

describe("fs.walk", function()
  it("gives what lies below, a folder before what is in it", function()
    tree()
    assert.are.same({ ".hid directory1", ".hid/x.c file2", "a directory1", "a/1.c file2",
      "a/b directory2", "a/b/2.c file3", "a/b/c directory3", "a/b/c/3.h file4", "a/b/loop link3",
      "top.c file1" }, collect(fs.walk(folder.path)))
  end)

  it("follows links when asked, and ends loops", function()
    tree()
    shell("ln -s top.c %s; ln -s nowhere %s", at "link.c", at "dead")
    assert.are.same({ "a/1.c file1", "a/b directory1", "a/b/2.c file2", "a/b/c directory2",
      "a/b/c/3.h file3", "a/b/loop directory2" }, collect(fs.walk(at "a", { follow = true })))
    local all = table.concat(collect(fs.walk(folder.path, { follow = true })), " ")
    assert.matches("dead link1 link.c link1", all, 1, true)
  end)

  it("stays out of what enter refuses, and above max_depth", function()
    tree()
    local options = { enter = function(path, depth)
      sleep(0)
      return not path:find "b$" and depth < 3
    end }
    assert.are.same({ "a/1.c file1", "a/b directory1" }, collect(fs.walk(at "a", options)))
    assert.are.equal(6, #collect(fs.walk(folder.path, options)))
    assert.are.equal(3, #collect(fs.walk(folder.path, { max_depth = 1 })))
    assert.are.equal(0, #collect(fs.walk(folder.path, { max_depth = 0 })))
  end)

  it("passes over folders that vanish or change what they are meanwhile", function()
    tree()
    local out = {}
    for path in fs.walk(folder.path) do
      out[#out + 1] = path
      if path == at "a" then shell("rm -r %s", at "a") end
      if path == at ".hid" then shell("rm -r %s; touch %s", at ".hid", at ".hid") end
    end
    assert.are.same({ at ".hid", at "a", at "top.c" }, out)
  end)

  it("follows no link that was put in the place of a folder", function()
    tree()
    local out = {}
    for path in fs.walk(folder.path) do
      out[#out + 1] = path
      if path == at "a" then shell("mv %s %s; ln -s /etc %s", at "a", at "z", at "a") end
    end
    assert.is_nil(table.concat(out, " "):find("a/passwd", 1, true))
  end)

  it("raises for an unreadable folder, or tells on_error", function()
    tree()
    shell("chmod 0 %s", at "a/b")
    local told
    local options = { on_error = function(err, path) told = { err.code, path } end }
    local out = collect(fs.walk(folder.path, options))
    if told then -- not root
      assert.are.same({ "EACCES", at "a/b" }, told)
      assert.are.equal("top.c file1", out[#out])
      assert.are.equal("EACCES", failure(function() collect(fs.walk(folder.path)) end).code)
    end
    shell("chmod 700 %s", at "a/b")
  end)

  it("can be left at any moment", function()
    tree()
    for n = 1, 10 do
      for _ in fs.walk(folder.path) do
        n = n - 1
        if n == 0 then break end
      end
    end
  end)

  it("names wrong arguments and options", function()
    assert.matches("^spec/fs_walk_spec.lua:%d+: fs.walk: the path must be a string, got number",
      text_of(function() fs.walk(1) end))
    assert.matches("unknown option 'folow'", text_of(fs.walk, ".", { folow = true }))
    assert.matches("option 'follow' must be a boolean", text_of(fs.walk, ".", { follow = 1 }))
    assert.matches("option 'enter' must be a function", text_of(fs.walk, ".", { enter = 1 }))
    assert.matches("'max_depth' must be from 0", text_of(fs.walk, ".", { max_depth = -1 }))
    assert.are.equal("ENOENT", failure(fs.walk, at "none").code)
  end)

  it("is refused in a sandbox, links out of it too", function()
    shell("ln -s /etc %s", at "link")
    assert.are.equal("EDENIED\tlink\tlink", sandboxed({ "--allow-read=" .. folder.path }, [[
      local code = select(2, pcall(fs.walk, "/etc")).code
      for path, kind in fs.walk(".", {follow = true}) do print(code, path:sub(3), kind) end]]))
  end)

  it("can be cancelled", function()
    cancel(fs.walk, "/usr/lib")
    cancel(function() for _ in fs.walk "/usr" do end end)
  end)
end)

describe("fs.glob", function()
  it("understands stars, question marks, classes, braces and **", function()
    tree()
    for pattern, want in pairs {
      ["*.c"] = "top.c", ["**/*.c"] = "a/1.c a/b/2.c top.c", ["a/**"] =
      "a/1.c a/b a/b/2.c a/b/c a/b/c/3.h a/b/loop", ["**/"] = "a/ a/b/ a/b/c/ a/b/loop/",
      ["{a,top}{/*,.c}"] = "a/1.c a/b top.c", ["**/[1-2].c"] = "a/1.c a/b/2.c",
      ["**/[!1].c"] = "a/b/2.c", ["**/**/**/3.h"] = "a/b/c/3.h", ["./*.c"] = "./top.c",
      ["a/../a/?.c"] = "a/../a/1.c", ["{x,{y,top.c}}"] = "top.c", ["a/b"] = "a/b",
      ["a/b/"] = "a/b/", ["nope/*"] = "", ["top.c/"] = "", ["a/b/loop/*.c"] = "a/b/loop/1.c",
      [".*"] = ".hid", [".hid/*"] = ".hid/x.c", ["*"] = "a top.c", ["{*.c,top.*,t*}"] = "top.c",
      ["t\\op.c"] = "top.c", ["a/?"] = "a/b", ["[a"] = "", ["{a"] = "", [""] = "", ["{a}"] = "",
      ["{a/b,a/*,a/?}"] = "a/1.c a/b", ["{a/b/2.c,**/2.c,./a/b}"] = "./a/b a/b/2.c",
      ["{*,a/../*/b,a/..}"] = "a a/.. a/../a/b top.c", ["{a,a/}"] = "a",
      ["a/b/*/3.h"] = "a/b/c/3.h",
    } do
      assert.are.equal(want, glob(pattern), pattern)
    end
    assert.are.same({ at "top.c" }, fs.glob(folder.path .. "/*.c"))
    assert.are.same({ "/" }, fs.glob "/")
  end)

  it("shows hidden entries and follows links when asked, and ends loops", function()
    tree()
    assert.are.equal(".hid/x.c a/1.c a/b/2.c top.c", glob("**/*.c", { hidden = true }))
    assert.are.equal("a/1.c a/b/2.c top.c", glob("**/*.c", { follow = true }))
  end)

  it("matches names of any bytes, and each by its escape", function()
    for _, name in ipairs(odd) do put(name, "") end
    assert.are.equal(#odd, #fs.glob("*", { cwd = folder.path }))
    for _, name in ipairs(odd) do
      assert.are.same({ name }, fs.glob(fs.glob_escape(name), { cwd = folder.path }))
    end
    assert.are.same({ " ", "*", "é" }, fs.glob("?", { cwd = folder.path }))
    assert.are.same({ "\xff\xfe" }, fs.glob("\xff?", { cwd = folder.path }))
    assert.are.equal("é", glob "[à-ü]")
    assert.are.equal("[x]", glob "[[]*")
  end)

  it("passes over folders whose path is too long; walk says so", function()
    local name = ("d"):rep(200)
    -- A shell goes down step by step; no path that long can be made at once.
    shell("cd %s && for i in $(seq 25); do mkdir %s && cd -P %s || exit; done",
      folder.path, name, name)
    local err = failure(function() for _ in fs.walk(folder.path) do end end)
    assert.are.equal("ENAMETOOLONG", err.code)
    local deepest, told = 0, nil
    local function on_error(failed, path)
      told = failed.code
      assert.is_true(#path >= 4096)
    end
    for _, _, depth in fs.walk(folder.path, { on_error = on_error }) do deepest = depth end
    assert.are.equal("ENAMETOOLONG", told)
    assert.is_true(deepest > 15 and deepest < 25)
    assert.are.equal(deepest, #fs.glob(folder.path .. "/**"))
    fs.remove(at(name), { recursive = true })
  end)

  it("takes no longer than it should for patterns meant to be slow", function()
    put(("a"):rep(250), "")
    assert.are.equal("", glob(("*a"):rep(300) .. "b"))
    assert.are.equal("", glob(("**/"):rep(1000) .. "q"))
    assert.are.equal("", glob(("["):rep(4000)))
    assert.are.equal("", glob(("{"):rep(4000)))
    assert.matches("braces stand for more than 1000 patterns",
      text_of(fs.glob, ("{a,b}"):rep(20)))
    assert.matches("must be shorter than 4096", text_of(fs.glob, ("a"):rep(4096)))
  end)

  it("passes over what may not be read", function()
    tree()
    shell("chmod 0 %s", at "a/b/c")
    assert.are.equal("a/1.c a/b/2.c top.c", glob "**/*.c")
    shell("chmod 700 %s", at "a/b/c")
  end)

  it("passes over what is there no more, though it has a name in /proc", function()
    if not fs.exists "/proc/self/net" then return pending "needs /proc" end
    -- A child that its parent has not asked for: net/ of such a one is EINVAL.
    local parent <close> = process.spawn("sh", "-c", "sleep 0 & echo $!; exec sleep 100")
    local gone = "/proc/" .. parent.stdout:read_line()
    eventually("it has ended", function()
      return fs.read(gone .. "/stat"):match "%) (%a)" == "Z"
    end)
    assert.are.same({}, fs.glob(gone .. "/net/*"))
    assert.are.same({}, fs.glob(gone .. "/ne[t]/dev"))
  end)

  it("gives many, and keeps within the memory limit", function()
    shell("cd %s && seq -f '%%0200.0f' 5000 | xargs touch", folder.path)
    local names = fs.list(folder.path)
    assert.are.equal(5000, #names)
    assert.are.same(names, fs.glob("*", { cwd = folder.path }))
    local script = put("s.lua", [[
      local fs = require("asyncbox").fs
      local ok, err = pcall(fs.glob, arg[1] .. "/*")
      print(ok, err.code, err.path)
      print(#fs.glob(arg[1] .. "/*9"))]])
    local r = cli.run { "run", "--memory", "2M", script, folder.path }
    assert.are.equal("", r.stderr)
    assert.are.equal("false\tENOMEM\t" .. folder.path .. "/*\n500\n", r.stdout)
  end)

  it("names wrong arguments and options", function()
    assert.matches("the pattern must be a string", text_of(fs.glob))
    assert.matches("zero byte", text_of(fs.glob, "a\0"))
    assert.matches("unknown option 'dot'", text_of(fs.glob, "*", { dot = true }))
  end)

  it("is refused in a sandbox, and passes over links that lead out", function()
    shell("ln -s /etc %s; mkdir %s; touch %s", at "link", at "in", at "in/passwd")
    assert.are.equal("EDENIED\tEDENIED\tin/passwd", sandboxed({ "--allow-read=" .. folder.path }, [[
      local a = select(2, pcall(fs.glob, "/etc/*")).code
      local b = select(2, pcall(fs.glob, "/etc/passwd")).code
      print(a, b, table.concat(fs.glob("*/passwd"), " "))]]))
  end)

  it("needs no grant for the folders that a granted one lies in", function()
    tree()
    local function found(pattern)
      local code = "print(select(2, pcall(function() return table.concat(fs.glob %q, ' ') end)))"
      return sandboxed({ "--allow-read=" .. at "a" }, code:format(pattern))
    end
    assert.are.equal(at "a/1.c", found(at "a/*.c"))
    assert.are.equal(at "a/1.c", found(at "a/1.c"))
    assert.are.equal(at "a", found(at "a"))
    assert.are.equal(at "a/", found(at "a/"))
    assert.matches("%(EDENIED%)", found(at "*/1.c"))
    assert.matches("%(EDENIED%)", found(at "top.c"))
  end)

  it("can be cancelled", function()
    cancel(fs.glob, "/usr/**/x")
    cancel(fs.glob, "/usr/lib/nothing")
  end)
end)
