-- The tutorial programs about files, run as a user would run them.

local async = require "asyncbox"
local children = require "spec.support.children"
local cli = require "spec.support.cli"
local folder = require "spec.support.folder"
local at, put, shell = folder.at, folder.put, folder.shell
local process, sleep = async.process, async.sleep

local BOUND = 30 -- seconds; only a failure takes so long

local function run(name, ...)
  return cli.run { "run", "scripts/" .. name, ... }
end

describe("The tutorial program", function()
  setup(children.warm_up)
  before_each(folder.start)
  after_each(folder.check)

  for _, name in ipairs { "files_sync.lua", "files_async.lua" } do
    describe(name, function()
      it("writes its files, prints nothing, and removes them.", function()
        local env = { TMPDIR = folder.path }
        local r = cli.run({ "run", "scripts/" .. name }, { env = env })
        assert.equal("", r.stderr)
        assert.equal("", r.stdout)
        assert.equal(0, r.status)
        assert.equal("", folder.output("ls -A " .. folder.path))
      end)
    end)
  end

  describe("line_counts", function()
    it("counts the lines of every file of a tree, in order.", function()
      shell("mkdir -p %s", at "sub/deep")
      put("b", "1\n2\n3")
      put("a", "")
      put("sub/deep/c", ("x\n"):rep(1000))
      shell("ln -s b %s", at "link")
      local r = run("line_counts.lua", folder.path)
      assert.equal("", r.stderr)
      assert.equal(table.concat({
        "       0  " .. at "a",
        "       3  " .. at "b",
        "    1000  " .. at "sub/deep/c",
        "    1003  in 3 files\n",
      }, "\n"), r.stdout)
      assert.equal(0, r.status)
    end)

    it("counts hundreds of files with few descriptors.", function()
      shell("cd %s && for i in $(seq 300); do echo $i >$i; done", folder.path)
      local command = ("ulimit -n 64; exec %s run scripts/line_counts.lua %s"):format(
        cli.quote(cli.program()), folder.path)
      local r = process.run("sh", "-c", command)
      assert.equal("", r.stderr)
      assert.matches("\n     300  in 300 files\n$", r.stdout)
      assert.equal(0, r.status)
    end)

    it("names a folder that is not there.", function()
      local r = run("line_counts.lua", at "none")
      assert.matches("no such file or directory: " .. at "none", r.stderr, 1, true)
      assert.equal("", r.stdout)
      assert.equal(1, r.status)
    end)

    it("says how it is used.", function()
      local r = run "line_counts.lua"
      assert.equal("Usage: line_counts.lua DIR\n", r.stderr)
      assert.equal(1, r.status)
    end)
  end)

  describe("tail", function()
    local tail

    -- Reads until what was printed since the last time ends in `text`.
    local function expect(text)
      local got = ""
      async.timeout(BOUND, function()
        while got:sub(-#text) ~= text do
          got = got .. assert(tail.stdout:read(4096), "ended after " .. got)
        end
      end)
      assert.equal(text, got)
    end

    local function expect_said(text)
      assert.equal("tail: " .. text, async.timeout(BOUND, tail.stderr.read_line, tail.stderr))
    end

    local function append(name, text)
      local file <close> = assert(io.open(at(name), "a"))
      file:write(text)
    end

    -- Runs f beside a tail of the file, which Ctrl-C ends then.
    local function beside_tail(name, f)
      local child <close> = process.spawn(cli.program(), "run", "scripts/tail.lua", at(name))
      tail = child
      f()
      child:kill "SIGINT"
      assert.equal(130, (async.timeout(BOUND, child.wait, child)))
    end

    it("prints the last ten lines and what is added, and ends on Ctrl-C.", function()
      local lines = {}
      for i = 1, 12 do lines[i] = i .. "\n" end
      put("log", table.concat(lines))
      beside_tail("log", function()
        expect(table.concat(lines, "", 3))
        append("log", "more\n")
        expect "more\n"
        append("log", "half ")
        expect "half "
        append("log", "line\n")
        expect "line\n"
      end)
    end)

    it("starts again when the file is cut short.", function()
      put("log", "a long first line\n")
      beside_tail("log", function()
        expect "a long first line\n"
        put("log", "short\n")
        expect_said(at "log" .. ": file truncated")
        expect "short\n"
      end)
    end)

    it("goes on with a new file of the same name, and prints the end of the old.", function()
      put("log", "old\n")
      beside_tail("log", function()
        expect "old\n"
        put("log.new", "new\n")
        assert(os.rename(at "log.new", at "log"))
        expect_said(at "log" .. ": following the new file")
        expect "new\n"
        os.remove(at "log")
        expect_said(at "log" .. ": file removed; waiting for a new one")
        put("log", "third\n")
        expect_said(at "log" .. ": following the new file")
        expect "third\n"
      end)
    end)

    it("names a file that is not there.", function()
      local r = run("tail.lua", at "none")
      assert.equal("fs.watch: no such file or directory: " .. at "none" .. " (ENOENT)\n", r.stderr)
      assert.equal("", r.stdout)
      assert.equal(1, r.status)
    end)

    it("ends when nobody reads what it prints.", function()
      put("log", "first\n")
      local command = ("%s run scripts/tail.lua %s | head -n 1"):format(
        cli.quote(cli.program()), at "log")
      local reader = async.spawn(process.run, "sh", "-c", command, { timeout = BOUND })
      while not reader:done() do
        append("log", "more\n")
        sleep(0.01)
      end
      local r = reader:await()
      assert.equal("first\n", r.stdout)
      assert.equal("", r.stderr)
    end)

    it("says how it is used.", function()
      local r = run "tail.lua"
      assert.equal("Usage: tail.lua FILE\n", r.stderr)
      assert.equal(1, r.status)
    end)
  end)
end)
