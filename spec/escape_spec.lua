-- Every way out of a sandbox's folders, for every function of fs that takes a
-- path.  An attacking script runs in a sandbox of its own with read and write
-- below in/; secret/ beside it must stay unread, unchanged and unlisted.
--
--   top/in/       the root      top/secret/   what is outside

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local process = require "asyncbox.process"
local cli = require "spec.support.cli"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local at, shell, output = folder.at, folder.shell, folder.output

-- How to call each function with one path; `two`: with a second one, of which
-- the other is harmless.  A function of fs that is in neither table fails the
-- first case below: a new function has to say here how it is attacked.
local attacks = [[
local async = require "asyncbox"
local fs = require "asyncbox.fs"
one = {
  read = { function(p) return fs.read(p) end },
  write = {
    function(p) return fs.write(p, "x") end,
    function(p) return fs.write(p, "x", { append = true }) end,
    function(p) return fs.write(p, "x", { atomic = true }) end,
    function(p) return fs.write(p, "x", { sync = true }) end,
  },
  open = {
    function(p) return fs.open(p):close() end,
    function(p) return fs.open(p, "w"):close() end,
    function(p) return fs.open(p, "a"):close() end,
    function(p) return fs.open(p, "r+"):close() end,
    function(p) return fs.open(p, "w+"):close() end,
    function(p) return fs.open(p, "a+"):close() end,
  },
  lines = { function(p) for _ in fs.lines(p) do end end },
  stat = { function(p) return fs.stat(p) end },
  lstat = { function(p) return fs.lstat(p) end, entry = true },
  exists = { function(p) return fs.exists(p) end },
  chmod = { function(p) return fs.chmod(p, 511) end },
  chown = { function(p) return fs.chown(p, 1, 1) end },
  utime = { function(p) return fs.utime(p, 1, 1) end },
  readlink = { function(p) return fs.readlink(p) end, entry = true },
  realpath = { function(p) return fs.realpath(p) end },
  mkdir = {
    function(p) return fs.mkdir(p .. "/new") end,
    function(p) return fs.mkdir(p .. "/new/new", { parents = true }) end,
    function(p) return fs.mkdir(p, { parents = true }) end,
  },
  rmdir = { function(p) return fs.rmdir(p) end, entry = true },
  rename = {
    function(p) return fs.rename(p, "stolen") end,
    function(p) return fs.rename("mine", p) end,
    entry = true,
  },
  link = {
    function(p) return fs.link(p, "stolen") end,
    function(p) return fs.link("mine", p) end,
    entry = true,
  },
  symlink = {
    function(p) return fs.symlink("mine", p) end, -- targets: a case of their own
    entry = true,
  },
  remove = {
    function(p) return fs.remove(p) end,
    function(p) return fs.remove(p, { recursive = true }) end,
    entry = true,
  },
  copy = {
    function(p) return fs.copy(p, "stolen") end,
    function(p) return fs.copy("mine", p, { overwrite = true }) end,
  },
  list = { function(p) return fs.list(p) end },
  scan = { function(p) for _ in fs.scan(p) do end end },
  walk = { function(p) for _ in fs.walk(p) do end end },
  glob = { function(p) return fs.glob(p .. "/*") end, quiet = true },
  watch = { function(p) local w <close> = fs.watch(p) end },
  tempdir = { function(p) local t <close> = fs.tempdir { dir = p } end },
  tempfile = { function(p) local t <close> = fs.tempfile { dir = p } end },
}
no_path = { path = true }

function code_of(f, ...)
  local ok, err = pcall(f, ...)
  if ok then return "ok" end
  return type(err) == "table" and err.code or tostring(err)
end
]]

local function run(code, flags)
  local script = folder.put("script.lua", attacks .. code)
  local args = { "run" }
  for _, flag in ipairs(flags or { "--allow-read=.", "--allow-write=." }) do
    args[#args + 1] = flag
  end
  args[#args + 1] = script
  args[#args + 1] = folder.path
  local r = cli.run(args, { cwd = at "in", program = folder.program })
  assert.are.equal("", r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

-- Runs code that prints what went wrong; nothing may be.
local function holds(code, flags)
  assert.are.equal("", run(code, flags))
end

local untouched

local function outside()
  local code = "cd %s && find secret -printf '%%p %%m %%U %%s %%T@ %%l\\n' | sort; " ..
    "cat secret/s secret/dir/x"
  return output(code:format(folder.path))
end

before_each(function()
  folder.start()
  shell([[cd %s && mkdir -p in/deep secret/dir in/d && echo secret >secret/s &&
    echo s >secret/dir/x &&
    ln -s s secret/l && cd in && echo mine >mine && echo deep >deep/b && ln -s ../secret/s file &&
    ln -s ../secret folder && ln -s "$PWD/../secret/s" absolute && ln -s ../secret/none dangling &&
    ln -s / root && ln -s /etc/passwd passwd && ln -s .. up && ln -s folder chain && mkfifo fifo &&
    ln -s /proc/self/root proc && ln -s /dev/stdin stdin]], folder.path)
  untouched = outside()
end)
after_each(function()
  local now = outside()
  folder.check()
  assert.are.equal(untouched, now)
end)

describe("A sandbox", function()
  it("has its attack on every function of fs", function()
    local known = "local a, n = {}, {} " .. attacks:gsub("local async.-\n", "", 1)
    local env = setmetatable({}, { __index = _G })
    assert(load(known, "attacks", "t", env))()
    for name, value in pairs(fs) do
      if type(value) == "function" then
        assert.is_truthy(env.one[name] or env.no_path[name], "no attack on fs." .. name)
      end
    end
  end)

  it("lets no function reach outside by any path", function()
    holds [[
      local top = arg[1]
      local paths = {
        "..", "../", "../secret", "../secret/s", "../secret/none", "../in/../secret/s",
        "deep/../../secret/s", "./../secret", "/", "//", "/etc/passwd", "//etc//passwd",
        "/etc/../etc/passwd", "/root", "/none", top, top .. "/secret/s", top .. "/in/../secret/s",
        top .. "//secret/../secret/dir", "folder/s", "folder/dir", "folder/../secret/s",
        "chain/s", "chain/dir/", "up/secret/s", "up/secret", "root/etc/passwd",
        "/proc/self/root/etc/passwd", "/proc/self/cwd/../secret/s", "/proc/self/environ",
        "/proc/self/fd/0", "/proc/self", "/proc/1/root", "proc/etc/passwd",
        "/dev/stdin", "/dev/null", "/dev/fd/0", "/dev/tty", "/dev/fd", "/dev/shm/x",
        top .. "/inside", top .. "/in/../in2",
      }
      for name, list in pairs(one) do
        for i, f in ipairs(list) do
          for _, path in ipairs(paths) do
            if fs[name] then
              local code = code_of(f, path)
              local fine = code == "EDENIED"
                or list.quiet and code == "ok" and #f(path) == 0
                -- refused for the slash at its end, before anything is looked at
                or name == "write" and code == "EISDIR" and path:find "/$"
              if not fine then print(name, i, path, code) end
            end
          end
        end
      end]]
  end)

  it("follows no link out, whatever the function", function()
    holds [[
      local links = { "file", "absolute", "dangling", "passwd", "folder", "chain", "up", "root",
        "proc", "stdin", "deep/../file", "./folder", "folder/.", "folder//" }
      for name, list in pairs(one) do
        if fs[name] and not list.entry then
          for i, f in ipairs(list) do
            -- a copy takes the place of a link, and writes through none
            for _, path in ipairs(name == "copy" and i == 2 and {} or links) do
              local code = code_of(f, path)
              local fine = code == "EDENIED"
                or list.quiet and code == "ok" and #f(path) == 0
                -- an open that would make a file refuses the slash before it looks
                or (name == "write" or name == "open") and code == "EISDIR" and path:find "[/.]$"
              if not fine then print(name, i, path, code) end
            end
          end
        end
      end]]
  end)

  it("copies in place of a link, not through it", function()
    local secret = folder.slurp(at "secret/s")
    holds [[
      fs.copy("mine", "file", { overwrite = true })
      print(fs.lstat("file").type == "file" and "" or "still a link")]]
    assert.are.equal(secret, folder.slurp(at "secret/s"))
  end)

  it("opens no FIFO or device that lies below a root", function()
    holds [[
      if code_of(fs.read, "fifo") ~= "EDENIED" then print "fifo" end
      for _, name in ipairs { "read", "write", "open", "lines", "copy" } do
        for i, f in ipairs(fs[name] and one[name] or {}) do
          local code = code_of(f, "fifo")
          -- a copy takes the place of what was there
          if code == "ok" and not (name == "copy" and i == 2) then print(name, i, code) end
        end
      end]]
  end)

  it("does not even open a FIFO: who waits for its other side goes on waiting", function()
    if not io.open "/proc/self/stat" then return pending "needs /proc" end
    local writer <close> = process.spawn("sh", "-c", "echo kept >fifo", {
      cwd = at "in", stdin = "null", stdout = "null", stderr = "null" })
    eventually("it waits", function()
      return fs.read("/proc/" .. writer.pid .. "/stat"):match "%) (%a)" == "S"
    end)
    holds [[
      for _, name in ipairs { "read", "lines", "copy", "open" } do
        if code_of(one[name][1], "fifo") ~= "EDENIED" then print(name) end
      end]]
    assert.are.equal("kept", output("timeout 60 cat " .. at "in/fifo"))
    assert.are.equal(0, (writer:wait()))
  end)

  it("takes odd names for what they are", function()
    holds [[
      local long, deep = ("n"):rep(300), ("d/"):rep(2500) .. "x"
      for name, list in pairs(one) do
        for i, f in ipairs(fs[name] and list or {}) do
          for _, path in ipairs { "", "a\0b", "mine\0/../../secret/s", long, deep } do
            local code = code_of(f, path)
            if code == "ok" and not list.quiet and not (name == "exists" and path == "")
              and not (name == "mkdir") then
              print(name, i, #path, code)
            end
          end
        end
      end
      fs.stat "." fs.stat "./" fs.lstat "deep/." fs.stat "deep/.."
      for _, path in ipairs { ".", "./", "deep/..", arg[1] .. "/in" } do
        if code_of(fs.rename, path, "deep/x") == "ok" then print("rename", path) end
        if code_of(fs.rename, "deep", path) == "ok" then print("rename to", path) end
        if code_of(fs.rmdir, path) == "ok" then print("rmdir", path) end
      end
      if code_of(fs.stat, "mine/") ~= "ENOTDIR" then print "a file with a slash" end]]
  end)

  it("makes no link that leads out, nor one that does when it is moved", function()
    holds [[
      local top = arg[1]
      for _, target in ipairs { "..", "../secret", "../in/mine", "/etc/passwd", top .. "/secret",
        "/", "deep/../../secret", "deep/..", top .. "/in/../secret", "/proc/self/root" } do
        local code = code_of(fs.symlink, target, "deep/l")
        if code ~= "EDENIED" then print("symlink", target, code) end
      end
      fs.symlink("mine", "l") fs.symlink(top .. "/in/mine", "l2") fs.symlink("deep/b", "l3")
      if fs.read "l" ~= "mine\n" or fs.read "l2" ~= "mine\n" then print "links inside" end]]
  end)

  it("gives by a new name no more than by the old one", function()
    shell("mkdir %s && echo hidden > %s && echo kept > %s", at "in/wo", at "in/wo/h", at "in/d/ro")
    local flags = { "--allow-write=wo,deep", "--allow-read=deep,d" }
    holds([[
      local function refused(what, ...)
        local code = code_of(...)
        if code ~= "EDENIED" then print(what, code) end
      end
      refused("rename to where it may be read", fs.rename, "wo/h", "deep/h")
      refused("rename of the folder", fs.rename, "wo", "deep/wo")
      refused("link to where it may be read", fs.link, "wo/h", "deep/h")
      refused("link within", fs.link, "wo/h", "wo/h2")
      refused("link of what may only be read", fs.link, "d/ro", "deep/ro")
      refused("rename of what may only be read", fs.rename, "d/ro", "deep/ro")
      refused("chmod of what may only be read", fs.chmod, "d/ro", 511)
      refused("link beside", fs.symlink, "x", "d/l")
      fs.rename("wo/h", "wo/h2")
      fs.rename("deep/b", "wo/b")]], flags)
  end)

  it("cannot remove, replace or move a root", function()
    local flags = { "--allow-write=" .. at "in/d", "--allow-read=" .. at "in/d" }
    holds([[
      local root = arg[1] .. "/in/d"
      fs.mkdir(root .. "/sub")
      for _, path in ipairs { root, root .. "/", root .. "/.", root .. "/sub/..", "d" } do
        for _, f in ipairs { fs.rmdir, one.rename[1], function(p) fs.rename(root .. "/sub", p) end,
          function(p) fs.rename(p, root .. "/sub/x") end, fs.remove } do
          if code_of(f, path) == "ok" then print(path, _) end
        end
      end
      fs.stat(root) fs.chmod(root, 493)]], flags)
  end)

  it("sets no set-user-ID bits", function()
    holds [[
      for _, mode in ipairs { 2541, 1517, 3583, 2048 } do -- 4755, 2755, 6777, 4000
        for _, f in ipairs {
          function() fs.chmod("mine", mode) end,
          function() fs.write("new", "x", { mode = mode }) end,
          function() fs.write("new", "x", { atomic = true, mode = mode }) end,
          function() fs.open("new", "w", mode) end,
          function() fs.mkdir("newdir", { mode = mode }) end,
        } do
          if code_of(f) ~= "EDENIED" then print(mode, _, code_of(f)) end
        end
      end]]
  end)

  it("does not tell whether what is outside is there", function()
    holds [[
      local function text(f, path)
        return (tostring(select(2, pcall(f, path))):gsub("asyncbox%-%x+", "random"))
      end
      for name, list in pairs(one) do
        for i, f in ipairs(fs[name] and not list.quiet and list or {}) do
          local a, b = text(f, "../secret/s"), text(f, "../secret/n")
          if a:gsub("secret/s", "secret/n") ~= b then print(name, i, a, b) end
        end
      end
      for _, name in ipairs { "stat", "exists", "realpath", "utime", "chmod" } do
        local a, b = code_of(fs[name], "file", 1), code_of(fs[name], "dangling", 1)
        if a ~= "EDENIED" or b ~= "EDENIED" then print(name, a, b) end
      end]]
  end)

  it("gets out by no part of Lua's own library", function()
    holds [[
      for _, name in ipairs { "execute", "getenv", "remove", "rename", "tmpname", "setlocale" } do
        local f = os[name]
        local ok, value = pcall(f or error, name == "getenv" and "HOME" or "/etc/passwd", "x")
        if ok and value ~= nil then print("os." .. name, value) end
      end
      for _, name in ipairs { "open", "popen", "lines", "input", "output", "tmpfile" } do
        local f = io[name]
        local ok, value = pcall(f or error, "/etc/passwd")
        if ok and value ~= nil then print("io." .. name, value) end
      end
      for _, f in ipairs { dofile or error, loadfile or error } do
        local ok, value = pcall(f, "/etc/passwd")
        if ok and value ~= nil then print("loads files", value) end
      end
      if package.loadlib or package.cpath then print "C modules" end
      for _, path in ipairs { "../secret/?", arg[1] .. "/secret/?", "/etc/?", "folder/?" } do
        package.path = path
        for _, name in ipairs { "s", "passwd", "x" } do
          local ok, err = pcall(require, name)
          if ok or not tostring(err):find "not granted" then print("require", path, name, err) end
        end
      end]]
  end)

  it("is not fooled by a link that another process swaps", function()
    -- Another process makes in/d a folder and a link to secret/, in turn.
    local swapper = folder.put("swap.lua", [[
      local fs = require "asyncbox.fs"
      while fs.exists "mine" do
        if not pcall(fs.rename, "real", "d") then
          os.execute "rm -rf d real; mkdir -p real/dir; echo mine >real/s"
        end
        pcall(fs.rename, "d", "real")
        pcall(fs.rename, "turn", "d")
        pcall(fs.rename, "d", "turn")
      end
      fs.write("ended", "")]])
    shell("rmdir %s && ln -s ../secret %s", at "in/d", at "in/turn")
    shell("cd %s && timeout 60 %s run %s >/dev/null 2>&1 &", at "in",
      cli.quote(folder.program), swapper)
    local out = run [[
      local tries, seen = 0, {}
      local function try(name, f, ...)
        local ok, value = pcall(f, ...)
        local code = ok and "ok" or type(value) == "table" and value.code or tostring(value)
        seen[code] = true
        tries = tries + 1
        if name == "read" and ok and value:find "secret" then print "read the secret" end
        if name == "list" and ok and table.concat(value, " "):find "%f[%w]l%f[%W]" then
          print "listed it"
        end
        if name == "realpath" and ok and value:find "secret" then print "learned where" end
      end
      for i = 1, 20000 do
        if i > 300 and seen.EDENIED and seen.ok then break end
        try("read", fs.read, "d/s")
        try("write", fs.write, "d/new", "x")
        try("atomic", fs.write, "d/s", "mine\n", { atomic = true })
        try("stat", fs.stat, "d/l")
        try("chmod", fs.chmod, "d/s", 438)
        try("utime", fs.utime, "d/s", 1)
        try("mkdir", fs.mkdir, "d/a")
        try("rename", fs.rename, "d/l", "stolen")
        try("rename", fs.rename, "mine2", "d/x")
        try("link", fs.link, "d/s", "linked" .. i)
        try("symlink", fs.symlink, "mine", "d/sym")
        try("rmdir", fs.rmdir, "d/dir")
        try("realpath", fs.realpath, "d/s")
        if fs.list then try("list", fs.list, "d") end
        if fs.remove then
          try("remove", fs.remove, "d/x")
          try("remove", fs.remove, "d", { recursive = true })
        end
      end
      print(tries > 0 and seen.EDENIED ~= nil)
    ]]
    shell("rm -f %s", at "in/mine")
    for _ = 1, 2000 do
      if fs.exists(at "in/ended") then break end
      async.sleep(0.01)
    end
    assert.is_true(fs.exists(at "in/ended"))
    assert.are.equal("true", out)
  end)
end)
