-- fs when things go wrong around it: killed in the middle, a full disk, a
-- folder that vanishes, no descriptors left.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local process = require "asyncbox.process"
local children = require "spec.support.children"
local cli = require "spec.support.cli"
local folder = require "spec.support.folder"
local at, shell, slurp, put = folder.at, folder.shell, folder.slurp, folder.put
local output, failure, text_of = folder.output, folder.failure, folder.text_of

local function script(name, code)
  return put(name, "local async = require 'asyncbox'\nlocal fs = async.fs\n" .. code)
end

-- Runs a script in a shell after `before`; gives what it prints.
local function limited(before, code)
  local path = script("script.lua", code)
  local r = process.run(before .. '; exec "$1" run "$2" "$3"',
    folder.program, path, folder.path, { shell = true, timeout = 120 })
  assert.are.equal("", r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

describe("fs, when things fail,", function()
  setup(children.warm_up)
  before_each(folder.start)
  after_each(function()
    children.check()
    folder.check()
  end)

  -- Each text says how long it is and which one, and is all of one letter.
  local WRITER = [[
    local number = tonumber(arg[2])
    while true do
      number = number + 1
      local letter = string.char(97 + number % 26)
      local text = letter:rep(1 + number * 7919 % 200000)
      fs.write(arg[1], ("%d %d\n%s"):format(number, #text, text), { atomic = true })
    end
  ]]

  local function number_in(path)
    local text = slurp(path)
    local number, length, body = text:match "^(%d+) (%d+)\n(.*)$"
    number = tonumber(number)
    assert(number, "the file is torn: " .. #text .. " bytes")
    assert.are.equal(tonumber(length), #body)
    assert.are.equal(string.char(97 + number % 26):rep(#body), body)
    return number
  end

  it("has written the old or the new file, whole, whenever it is killed", function()
    local target, writer = at "target", script("writer.lua", WRITER)
    put("target", "0 1\na")
    local number, kills, left, deadline = 0, 0, 0, async.now() + 120
    while (number < 1000 or kills < 40) and async.now() < deadline do
      local child <close> = process.spawn(folder.program, "run", writer, target, tostring(number))
      local goal = number + math.random(1, 40)
      repeat -- whoever reads meanwhile sees whole files too
        async.sleep(math.random() * 0.002)
        number = number_in(target)
      until number >= goal or not child:kill(0)
      assert.is_true(child:kill "SIGKILL", "the writer failed by itself")
      local _, signal = child:wait()
      assert.are.equal("SIGKILL", signal)
      number = number_in(target)
      kills = kills + 1
      for _ in output("find " .. folder.path .. " -name '.asyncbox-*'"):gmatch "[^\n]+" do
        left = left + 1
      end
      shell("rm -f %s/.asyncbox-*", folder.path)
    end
    -- Between its name and the target's is a moment only.
    assert.is_true(left <= kills, left .. " temporary files were left")
    assert.is_true(number >= 20 and kills >= 1, number .. " writes, " .. kills .. " kills")
    if number < 1000 or kills < 40 then
      pending(("a slow disk: only %d writes and %d kills in 120 s"):format(number, kills))
    end
  end)

  -- A file system of 256 kB over the folder, for a script only.
  local function with_small_disk(code)
    local prefix = "mount -t tmpfs -o size=256k none " .. cli.quote(at "m")
    shell("mkdir %s", at "m")
    if not os.execute("unshare -m sh -c " .. cli.quote(prefix) .. " 2>/dev/null") then
      pending "this user may not mount a file system"
      return
    end
    local path = script("script.lua", code)
    local r = process.run("unshare", "-m", "sh", "-c", prefix .. ' && exec "$@"', "sh",
      folder.program, "run", path, at "m", { timeout = 60 })
    assert.are.equal("", r.stderr)
    return (r.stdout:gsub("\n$", ""))
  end

  it("keeps the old file and leaves nothing when the disk is full", function()
    local printed = with_small_disk [[
      local path = arg[1] .. "/x"
      local old = ("o"):rep(100000)
      fs.write(path, old, { atomic = true })
      for i = 1, 20 do
        local ok, err = pcall(fs.write, path, ("n"):rep(400000), { atomic = true })
        assert(not ok and err.code == "ENOSPC" and err.path == path, tostring(err))
        assert(fs.read(path) == old)
      end
      -- what the failures took is free again, and nothing is left
      fs.write(path, ("n"):rep(150000), { atomic = true })
      local pipe <close> = io.popen("ls -A " .. arg[1])
      print(pipe:read "a")
      local other = arg[1] .. "/y"
      local ok, err = pcall(fs.write, other, ("y"):rep(400000))
      print(tostring(err):gsub(arg[1], "M"))
      ok, err = pcall(function()
        local file <close> = fs.open(other, "a")
        file:write(("z"):rep(400000)):flush()
      end)
      print(err.op, err.code, (err.path:gsub(arg[1], "M")))
    ]]
    if printed then
      assert.are.equal("x\n\nfs.write: no space left on device: M/y (ENOSPC)\t1\n"
        .. "file:write\tENOSPC\tM/y", printed)
    end
  end)

  it("names the path in a file system that is read-only", function()
    local printed = with_small_disk [[
      fs.write(arg[1] .. "/x", "old")
      assert(os.execute("mount -o remount,ro " .. arg[1]))
      for _, options in ipairs { {}, { atomic = true }, { append = true } } do
        local ok, err = pcall(fs.write, arg[1] .. "/x", "new", options)
        print(err.code, err.path == arg[1] .. "/x")
      end
      print(select(2, pcall(fs.open, arg[1] .. "/new", "w")).code, fs.read(arg[1] .. "/x"))
    ]]
    if printed then
      assert.are.equal("EROFS\ttrue\nEROFS\ttrue\nEROFS\ttrue\nEROFS\told", printed)
    end
  end)

  it("names the path that is too long, gone, or under a file", function()
    local long = at(("n"):rep(300))
    put("file", "")
    for _, call in ipairs {
      function(path) fs.read(path) end,
      function(path) fs.write(path, "x") end,
      function(path) fs.write(path, "x", { atomic = true }) end,
      function(path) fs.open(path, "w") end,
    } do
      for path, code in pairs {
        [long] = "ENAMETOOLONG", [at "gone/x"] = "ENOENT", [at "file/x"] = "ENOTDIR",
      } do
        local err = failure(call, path)
        assert.are.equal(code, err.code)
        assert.are.equal(path, err.path)
        assert.is_truthy(tostring(err):find(path, 1, true))
      end
    end
  end)

  it("goes on writing to a file whose folder is removed meanwhile", function()
    shell("mkdir %s", at "d")
    local file <close> = fs.open(at "d/x", "w+")
    file:write "one"
    shell("rm -r %s", at "d")
    file:write "two"
    file:seek("set", 0)
    assert.are.equal("onetwo", file:read "a")
    assert.matches("ENOENT", text_of(fs.write, at "d/x", "x", { atomic = true }))
  end)

  it("writes and reads 10,000 files at once with 256 descriptors", function()
    local printed = limited("ulimit -n 256", [[
      local N, dir = 10000, arg[1]
      local function path(i) return dir .. "/f" .. i end
      local tasks = {}
      for i = 1, N do tasks[i] = async.spawn(fs.write, path(i), tostring(i)) end
      async.gather(tasks)
      local sum = 0
      for i = 1, N do
        tasks[i] = async.spawn(function()
          local number = tonumber(fs.read(path(i))) -- first: the wait lets others add
          sum = sum + number
        end)
      end
      async.gather(tasks)
      print(sum)
    ]])
    assert.are.equal("50005000", printed)
  end)

  it("says so when too many files are kept open, and recovers", function()
    put("x", "text")
    local printed = limited("ulimit -n 64", [[
      local path, files, err = arg[1] .. "/x", {}
      for i = 1, 10000 do
        local ok, file = pcall(fs.open, path)
        if not ok then err = file break end
        files[i] = file
      end
      print(err.code, err.op, err.path == path, tostring(err):match "ulimit %-n")
      print(select(2, pcall(fs.read, path)).code)
      print(select(2, pcall(fs.write, path, "new", { atomic = true })).code)
      for _, file in ipairs(files) do assert(file:read "a" == "text") file:close() end
      print(fs.read(path))
    ]])
    assert.are.equal("EMFILE\tfs.open\ttrue\tulimit -n\nEMFILE\nEMFILE\ntext", printed)
  end)

  it("opens more when files were dropped without being closed", function()
    put("x", "text")
    assert.are.equal("done", limited("ulimit -n 64", [[
      local path = arg[1] .. "/x"
      for _ = 1, 300 do assert(fs.open(path):read "a" == "text") end
      for _ = 1, 300 do assert(fs.lines(path)() == "text") end
      print "done"
    ]]))
  end)

  it("says EFBIG when a file grows past ulimit -f, and loses no old file", function()
    put("old", "old")
    put("large", ("x"):rep(100000))
    local printed = limited("ulimit -f 16", [[
      local large = ("x"):rep(100000)
      local function code(f, ...)
        local _, err = pcall(f, ...)
        print(err.code, (err.path:match "[^/]*$"))
      end
      local dir = arg[1] .. "/"
      code(fs.write, dir .. "new", large)
      code(fs.write, dir .. "old", large, { atomic = true })
      print(fs.read(dir .. "old"))
      code(function()
        local f <close> = fs.open(dir .. "new", "w")
        f:write(large):flush()
      end)
      code(function()
        local f <close> = fs.open(dir .. "new", "w")
        f:truncate(1 << 20)
      end)
      code(fs.copy, dir .. "large", dir .. "copy")
      print(fs.exists(dir .. "copy"))
      local file = io.open(dir .. "new", "w")
      print(file:write(large) == nil or file:close() == nil)
    ]])
    assert.are.equal("EFBIG\tnew\nEFBIG\told\nold\nEFBIG\tnew\nEFBIG\tnew\nEFBIG\tlarge\n" ..
      "false\ntrue", printed)
  end)

  it("says so when the pool's threads cannot be started", function()
    local limit = "export UV_THREADPOOL_SIZE=1024; ulimit -v 2000000"
    if not os.execute(limit .. "; " .. cli.quote(folder.program) .. " -e '' 2>/dev/null") then
      return pending "a sanitizer needs more memory than that"
    end
    local printed = limited(limit, [[
      local path = arg[1] .. "/x"
      print(select(2, pcall(fs.write, path, "x")).code)
      print(select(2, pcall(fs.read, path)).code)
      print(select(2, pcall(fs.list, path)).code)
      print(select(2, pcall(async.html.parse, "<p>")))
    ]])
    assert.are.equal("EAGAIN\nEAGAIN\nEAGAIN", printed:match "^EAGAIN\nEAGAIN\nEAGAIN", printed)
  end)
end)
