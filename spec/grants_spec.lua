-- What a sandboxed script can reach: every way out is tried by a script that
-- runs in a sandbox of its own. (spec/c/grants_spec.c asks grants.h itself.)

local cli = require "spec.support.cli"

local program = cli.program()
if program:sub(1, 1) ~= "/" then
  program = os.getenv "PWD" .. "/" .. program
end

local dir

local function shell(command, ...)
  assert(os.execute(command:format(...)))
end

local function output(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("\n$", ""))
end

local prelude = [[
local async = require "asyncbox"
local fs = async.fs
function try(f, ...)
  local ok, err = pcall(f, ...)
  print(ok and tostring(err) or type(err) == "table" and err.code or err)
end
]]

-- Runs `code` in a sandbox with these flags, in in/; gives what it printed.
local function run(flags, code)
  local path = dir .. "/script.lua"
  local file <close> = assert(io.open(path, "w"))
  file:write(prelude, code)
  file:close()
  local args = { "run" }
  for _, flag in ipairs(flags) do
    args[#args + 1] = flag
  end
  args[#args + 1] = path
  local r = cli.run(args, { cwd = dir .. "/in", program = program, timeout = 30 })
  assert.are.equal("", r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

local function denied(flags, code)
  for line in (run(flags, code) .. "\n"):gmatch "(.-)\n" do
    assert.are.equal("EDENIED", line)
  end
end

before_each(function()
  dir = output "mktemp -d /tmp/grants_spec.XXXXXX"
  shell([[cd %s && mkdir -p in/deep secret && echo inside >in/a && echo deep >in/deep/b &&
    echo secret >secret/s && ln -s ../secret/s in/up && ln -s ../secret in/folder &&
    ln -s /etc/passwd in/passwd && ln -s deep/b in/inner && ln -s "$PWD/in/deep" in/absolute &&
    ln -s "$PWD/in" alias && mkfifo in/fifo && ln -s ../secret/new in/dangling]], dir)
end)

after_each(function()
  shell("rm -rf %s", dir)
end)

describe("a sandbox with --allow-read", function()
  it("reads below the folder, however the path is written", function()
    assert.are.equal(
      "inside\ninside\ninside\ndeep\ndeep\ninside\ninside",
      run({ "--allow-read=." }, ([[
        local dir = %q
        for _, path in ipairs {
          "a", "./deep/..//a", dir .. "/in/a", "inner", "absolute/b", "../in/a", dir .. "/alias/a",
        } do
          print((fs.read(path):gsub("\n", "")))
        end]]):format(dir))
    )
  end)

  it("refuses everything that leads out", function()
    denied({ "--allow-read=." }, ([[
      local dir = %q
      for _, path in ipairs {
        "../secret/s", dir .. "/secret/s", "up", "folder/s", "passwd", "/etc/passwd",
        "deep/../../secret/s", "folder/../secret/s", "../secret/none", "/none",
        "/proc/self/root/etc/passwd", "/proc/self/cwd/../secret/s", "/proc/self/environ",
        "/dev/stdin", "/dev/null", "/dev/fd/0", "fifo",
      } do
        try(fs.read, path)
        try(fs.open, path)
        try(fs.open, path, "r+")
        try(fs.write, path, "x")
        try(fs.write, path, "x", { atomic = true })
      end
      try(fs.write, "a", "x")
      try(fs.write, "new", "x", { append = true })
      try(fs.open, "a", "a")]]):format(dir))
    assert.are.equal("inside", output("cat " .. dir .. "/in/a"))
    assert.are.equal("secret", output("cat " .. dir .. "/secret/s"))
  end)

  it("tells a missing file from a denied one only below a root", function()
    assert.are.equal("ENOENT\nENOENT\nEDENIED\nEDENIED", run({ "--allow-read=." }, [[
      try(fs.read, "none")
      try(fs.read, "none/none")
      try(fs.read, "../none")
      try(fs.read, "../secret/s")]]))
  end)

  it("names the flag that would allow it", function()
    local code = [[for _, path in ipairs { "a", "deep/b", "/etc/passwd" } do
      print(select(2, pcall(fs.read, path)).hint) end]]
    assert.are.equal(
      "allow it with --allow-read=.\nallow it with --allow-read=deep\n"
        .. "allow it with --allow-read=/etc",
      run({ "--sandbox" }, code)
    )
    assert.are.equal(
      "fs.read: permission not granted: up (EDENIED); it leads out of what --allow-read allows, "
        .. "or is no plain file",
      run({ "--allow-read=." }, "print(select(2, pcall(fs.read, 'up')))")
    )
  end)

  it("names no flag that would allow far more, or nothing", function()
    local code = [[
      local function rule(f, ...)
        print((select(2, pcall(f, ...)).hint:match "=(.*)$"))
      end
      for _, path in ipairs { "/x", "/", "..", "../", "../x", "../..", "deep/..", "../../x/" } do
        rule(fs.stat, path)
      end
      rule(fs.list, "/etc")
      for _, f in ipairs { fs.list, fs.scan, fs.walk } do rule(f, "../a/b/") end
      rule(fs.glob, "/etc/*")
      rule(require "asyncbox.process".run, "true", { cwd = "../a" })
    ]]
    assert.are.equal("/x\n/\n..\n..\n../x\n../..\ndeep/..\n../../x\n" ..
      "/etc\n../a/b\n../a/b\n../a/b\n/etc\n../a",
      run({ "--allow-read=none-of-these", "--allow-run=true" }, code))
  end)

  it("takes several roots, files among them, and links between them", function()
    local flags = { "--allow-read=a,../secret,up" }
    assert.are.equal("inside\n\nsecret\n\nsecret\n\nEDENIED", run(flags, [[
      try(fs.read, "a") try(fs.read, "up") try(fs.read, "folder/s") try(fs.read, "deep/b")]]))
  end)

  it("reads a FIFO or device that was granted by its own name", function()
    shell("(echo hello > %s/in/fifo) & true", dir)
    assert.are.equal("hello\n\n", run({ "--allow-read=fifo,/dev/null" }, [[
      try(fs.read, "fifo") try(fs.read, "/dev/null")]]))
  end)

  it("means the folder that was there when it was given", function()
    shell("mkfifo %s/in/renamed", dir)
    shell(
      "(cd %s; exec 3>in/renamed; mv in moved; mv secret in; echo >&3) >/dev/null 2>&1 &",
      dir
    )
    local flags = { "--allow-read=" .. dir .. "/in,renamed" }
    assert.are.equal("inside\n\nENOENT\ninside\n", run(flags, ([[
      local dir = %q
      try(fs.read, dir .. "/in/a")
      fs.read "renamed" -- until another process has put secret/ in the place of in/
      try(fs.read, dir .. "/in/s")
      try(fs.read, dir .. "/in/a")]]):format(dir)))
  end)
end)

describe("a sandbox with --allow-write", function()
  it("writes below the folder and reads nothing", function()
    assert.are.equal("true\ntrue\nEDENIED\nEDENIED", run({ "--allow-write=." }, [[
      try(fs.write, "new", "x") try(fs.write, "deep/new", "x", { atomic = true })
      try(fs.read, "new") try(fs.open, "new", "r+")]]))
  end)

  it("makes nothing outside, not through a dangling link nor a link to a folder", function()
    denied({ "--allow-write=." }, [[
      for _, path in ipairs { "dangling", "folder/new", "../secret/new", "up" } do
        try(fs.write, path, "x")
        try(fs.write, path, "x", { append = true })
        try(fs.open, path, "w")
        if path ~= "dangling" then try(fs.write, path, "x", { atomic = true }) end
      end]])
    assert.are.equal("s", output("ls -A " .. dir .. "/secret"))
    assert.are.equal("secret", output("cat " .. dir .. "/secret/s"))
  end)
end)

describe("a sandbox while links are swapped", function()
  it("never reads what is outside", function()
    shell([[cd %s/in; touch run; mkfifo ../ended; (while [ -e run ]; do
        ln -sfn a race; ln -sfn ../secret/s race
        ln -sfn deep way; ln -sfn ../secret way
      done; echo >../ended) >/dev/null 2>&1 &]], dir)
    shell("echo b-in > %s/in/deep/s", dir)
    local got = run({ "--allow-read=." }, [[
      local seen = {}
      for i = 1, 3000 do
        for _, path in ipairs { "race", "way/s" } do
          local ok, text = pcall(fs.read, path)
          seen[ok and text or text.code] = true
        end
      end
      print(seen["inside\n"], seen["secret\n"], seen["b-in\n"], seen.EDENIED)]])
    shell("cd %s/in && rm run && cat ../ended", dir)
    assert.are.equal("true\tnil\ttrue\ttrue", got)
  end)
end)

describe("rules that cannot be", function()
  it("are refused before the script starts", function()
    for _, flag in ipairs {
      "--allow-read=/none/x", "--allow-net=host:0", "--allow-net=10.0.0.0/33",
    } do
      local r = cli.run { "run", flag, "-e", "print 'ran'" }
      assert.are.equal("", r.stdout)
      assert.are_not.equal(0, r.status)
      assert.is_truthy(r.stderr:find(flag:match "=(.*)", 1, true))
    end
  end)
end)

describe("a sandbox without grants", function()
  it("has no other door to the file system", function()
    assert.are.equal("nil nil nil nil nil nil nil nil", run({ "--sandbox" }, [[
      local os, io, debug, package = os or {}, io or {}, debug or {}, package or {}
      print(("nil "):rep(0) .. table.concat({
        tostring(io.open), tostring(io.popen), tostring(io.lines), tostring(os.execute),
        tostring(os.remove), tostring(os.rename), tostring(os.tmpname),
        tostring(debug.getregistry) }, " "))]]))
    local r = run({ "--sandbox" }, [[
      print((loadfile or error) and pcall(loadfile or error, "/etc/passwd"))
      print((pcall(dofile or error, "/etc/passwd")))]])
    assert.is_falsy(r:find("root:", 1, true))
  end)
end)
