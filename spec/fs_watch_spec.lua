-- fs.watch: what happens to files and folders, told in order. Every wait is for
-- an event that was made to happen; nothing depends on how long it takes.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local cli = require "spec.support.cli"
local events = require "spec.support.events"
local folder = require "spec.support.folder"
local at, put, shell, failure = folder.at, folder.put, folder.shell, folder.failure
local text_of, next_of = events.text_of, events.next_of
local events_until_mark, count_of = events.until_mark, events.count_of
local spawn, sleep = async.spawn, async.sleep

local function denied(code, ...)
  local r = cli.run { "run", ..., "-e", code }
  return r.stdout .. r.stderr
end

describe("fs.watch", function()
  before_each(folder.start)
  after_each(folder.check)

  it("tells what is made, changed, renamed and removed in a folder", function()
    local watch <close> = fs.watch(folder.path)
    put("a", "1")
    shell("mv %s %s", at "a", at "b")
    os.remove(at "b")
    shell("mkdir %s", at "d")
    shell("mv %s %s", at "d", at "e")
    shell("rmdir %s", at "e")
    assert.are.same({
      "created a", "modified a", "renamed b from a", "removed b",
      "created d/", "renamed e from d/", "removed e/",
    }, events_until_mark(watch))
  end)

  it("waits, lets other tasks run, and is an iterator", function()
    local ticks, got = 0, {}
    local watcher = spawn(function()
      for event in fs.watch(folder.path) do
        got[#got + 1] = text_of(event)
        if #got == 2 then break end
      end
    end)
    while #got < 2 do
      ticks = ticks + 1
      os.remove(at "x")
      put("x", "")
      sleep(0.001)
    end
    watcher:await()
    assert.is_true(ticks > 0)
  end)

  it("puts the path as it was given before the names", function()
    local watch <close> = fs.watch(folder.path .. "/")
    put("a", "")
    assert.are.same({ kind = "created", path = at "a", directory = false }, next_of(watch))
  end)

  it("tells equal events that nobody has asked for once", function()
    local watch <close> = fs.watch(folder.path)
    local file = io.open(at "a", "w")
    for _ = 1, 50 do
      file:write("x"):flush()
      io.open(at "other", "a"):write("y"):close()
    end
    file:close()
    local got = events_until_mark(watch)
    assert.are.equal(1, count_of(got, "modified a"))
    assert.are.equal(1, count_of(got, "modified other"))
  end)

  it("tells of names that hold newlines and are no UTF-8", function()
    local watch <close> = fs.watch(folder.path)
    local name = "a\nb \xff"
    put(name, "")
    assert.are.equal(at(name), next_of(watch).path)
  end)

  describe("of one file", function()
    it("tells what happens to it and nothing else", function()
      local path = put("a", "1")
      local watch <close> = fs.watch(path)
      put("b", "2")
      put("a", "3")
      os.remove(path)
      put("a", "4")
      assert.are.same({ "modified a", "removed a", "created a" },
        { text_of(next_of(watch)), text_of(next_of(watch)), text_of(next_of(watch)) })
    end)

    it("goes on when an editor renames a new one over it", function()
      local path = put("a", "1")
      local watch <close> = fs.watch(path)
      for i = 1, 3 do
        put("a.tmp", tostring(i))
        assert(os.rename(at "a.tmp", path))
        assert.are.same({ kind = "created", path = path, directory = false }, next_of(watch))
      end
    end)

    it("watches the file that a symlink names", function()
      shell("mkdir %s", at "real")
      put("real/a", "1")
      shell("ln -s real/a %s", at "link")
      local watch <close> = fs.watch(at "link")
      put("real/a", "2")
      assert.are.same({ kind = "modified", path = at "link", directory = false }, next_of(watch))
    end)
  end)

  describe("recursively", function()
    it("tells what happens below, and in folders made later", function()
      shell("mkdir -p %s", at "one/two")
      local watch <close> = fs.watch(folder.path, { recursive = true })
      put("one/two/a", "")
      assert.are.equal("created one/two/a", text_of(next_of(watch)))
      shell("mkdir %s", at "one/three")
      assert.are.equal("created one/three/", text_of(next_of(watch)))
      put("one/three/b", "")
      assert.are.equal("created one/three/b", text_of(next_of(watch)))
    end)

    it("tells of what was in a folder before its watch was there", function()
      local watch <close> = fs.watch(folder.path, { recursive = true })
      shell("mkdir -p %s", at "p/q/r")
      put("p/q/r/deep", "")
      put("p/flat", "")
      local got = events_until_mark(watch)
      for _, wanted in ipairs {
        "created p/", "created p/q/", "created p/q/r/", "created p/q/r/deep", "created p/flat",
      } do
        assert.are.equal(1, count_of(got, wanted), wanted)
      end
    end)

    it("knows new paths after a folder was renamed", function()
      shell("mkdir -p %s", at "old/sub")
      local watch <close> = fs.watch(folder.path, { recursive = true })
      shell("mv %s %s", at "old", at "new")
      put("new/sub/a", "")
      assert.are.same({ "renamed new from old/", "created new/sub/a" }, events_until_mark(watch))
    end)

    it("lets go of a folder that is moved out, and takes one that is moved in", function()
      shell("mkdir -p %s %s", at "in/sub", at "out")
      local watch <close> = fs.watch(at "in", { recursive = true })
      shell("mv %s %s", at "in/sub", at "out/sub")
      assert.are.equal("removed in/sub/", text_of(next_of(watch)))
      put("out/sub/unseen", "")
      shell("mv %s %s", at "out/sub", at "in/back")
      assert.are.same({ "created in/back/", "created in/back/unseen" },
        events_until_mark(watch, "in/mark"))
    end)

    it("goes on after folders were removed", function()
      shell("mkdir -p %s", at "a/b")
      local watch <close> = fs.watch(folder.path, { recursive = true })
      shell("rm -r %s", at "a")
      assert.are.same({ "removed a/b/", "removed a/" }, events_until_mark(watch))
      shell("mkdir -p %s", at "a/b")
      put("a/b/c", "")
      assert.are.equal(1, count_of(events_until_mark(watch, "mark2"), "created a/b/c"))
    end)

    it("follows no symlink", function()
      shell("mkdir %s %s", at "in", at "out")
      shell("ln -s ../out %s", at "in/link")
      local watch <close> = fs.watch(at "in", { recursive = true })
      put("out/a", "")
      shell("ln -s ../out %s", at "in/link2")
      put("out/b", "")
      assert.are.same({ "created in/link2" }, events_until_mark(watch, "in/mark"))
    end)

    it("tells that events were lost, and still knows every folder", function()
      local limit = io.open("/proc/sys/fs/inotify/max_queued_events"):read "n"
      if limit > 100000 then pending("max_queued_events is too large to fill: " .. limit) end
      local watch <close> = fs.watch(folder.path, { recursive = true })
      shell("mkdir -p %s", at "x/y")
      shell("cd %s && seq -f 'f%%.0f' 1 %d | xargs touch", folder.path, limit + 100)
      shell("mkdir -p %s", at "late/sub") -- of this the kernel tells nothing
      local event
      repeat event = next_of(watch) until event.kind == "overflow"
      assert.are.equal(folder.path, event.path)
      put("late/sub/a", "")
      repeat event = next_of(watch) until event.path == at "late/sub/a"
      assert.are.equal("created", event.kind)
    end)
  end)

  it("ends when what it watches is removed", function()
    shell("mkdir %s", at "gone")
    local watch <close> = fs.watch(at "gone")
    shell("rmdir %s", at "gone")
    assert.are.same({ kind = "removed", path = at "gone", directory = true }, next_of(watch))
    assert.is_nil(next_of(watch))
    assert.is_nil(watch())
  end)

  it("ends when a new folder cannot be found, since one above was renamed", function()
    shell("mkdir -p %s", at "above/here")
    local watch <close> = fs.watch(at "above/here", { recursive = true })
    shell("mv %s %s", at "above", at "elsewhere")
    put("elsewhere/here/a", "")
    assert.are.equal("created above/here/a", text_of(next_of(watch)))
    shell("mkdir %s", at "elsewhere/here/new")
    assert.are.equal("created above/here/new/", text_of(next_of(watch)))
    assert.are.equal("removed above/here/", text_of(next_of(watch)))
    assert.is_nil(next_of(watch))
  end)

  it("raises for what is not there, and names it", function()
    local err = failure(fs.watch, at "none")
    assert.are.equal("ENOENT", err.code)
    assert.are.equal("fs.watch", err.op)
    assert.are.equal(at "none", err.path)
  end)

  -- Runs a script where the kernel allows so many; nil where none may be made.
  local function limited(kind, count, code)
    local set = ("echo %d > /proc/sys/user/max_inotify_%s"):format(count, kind)
    if not os.execute(("unshare -Ur sh -c '%s' 2>/dev/null"):format(set)) then return nil end
    local path = put("limited.lua", "local fs, dir = require('asyncbox').fs, arg[1]\n" .. code)
    return folder.output(("unshare -Ur sh -c '%s; exec \"$0\" run \"$1\" \"$2\"' %s %s %s 2>&1")
      :format(set, folder.program, path, folder.path))
  end

  it("takes one instance of inotify for all watches of a box", function()
    local got = limited("instances", 1, [[
      local held = {}
      for i = 1, 100 do held[i] = fs.watch(dir) end
      for i = 1, 99 do held[i]:close() end
      fs.write(dir .. "/a", "")
      print(held[100]().kind)
      held[100]:close()
      for i = 1, 20 do fs.watch(dir):close() end
      print "again"]])
    if not got then return pending "this user may not set limits" end
    assert.are.equal("created\nagain", got)
  end)

  it("names the limit when there are too many instances", function()
    local got = limited("instances", 0, [[
      local ok, err = pcall(fs.watch, dir)
      print(ok, err.code, err.path == dir)
      print(err.message)]])
    if not got then return pending "this user may not set limits" end
    assert.are.equal("false\tEMFILE\ttrue\ntoo many open files, or instances of inotify of " ..
      "this user (the limits are ulimit -n and sysctl fs.inotify.max_user_instances)", got)
  end)

  it("names the limit when there are too many folders", function()
    shell("mkdir -p %s/1/2/3/4/5/6", folder.path)
    local got = limited("watches", 5, [[
      local ok, err = pcall(fs.watch, dir, { recursive = true })
      print(ok, err.code, err.path == dir)
      print(err.message)
      local watch <close> = fs.watch(dir) -- what was begun has been given up
      print(watch)]])
    if not got then return pending "this user may not set limits" end
    assert.matches("^false\tENOSPC\ttrue\ntoo many folders are watched by this user " ..
      "%(the limit is sysctl fs.inotify.max_user_watches%)\n<Watch", got)
  end)

  it("of a folder that cannot be watched for the limit tells later", function()
    local got = limited("watches", 3, [[
      local watch <close> = fs.watch(dir, { recursive = true })
      fs.mkdir(dir .. "/a/b/c/d", { parents = true })
      print(pcall(function() for event in watch do end end))
      print(watch:next())]])
    if not got then return pending "this user may not set limits" end
    assert.matches("^false\tfs.watch: too many folders are watched by this user .*ENOSPC%)\nnil$",
      got)
  end)

  it("collects watches that nobody holds before it gives up", function()
    local got = limited("watches", 4, [[
      collectgarbage "stop"
      for i = 1, 50 do
        fs.mkdir(dir .. "/" .. i)
        fs.watch(dir .. "/" .. i)
      end
      print "all"]])
    if not got then return pending "this user may not set limits" end
    assert.are.equal("all", got)
  end)

  it("refuses wrong arguments at the caller's line", function()
    assert.matches("bad argument #1 to '[%w.]*watch' %(string expected", failure(fs.watch))
    assert.matches("path contains a zero byte", failure(fs.watch, "a\0b"))
    assert.matches("fs.watch: unknown option 'recurse' %(known: recursive%)",
      failure(fs.watch, folder.path, { recurse = true }))
    assert.matches("recursive", failure(fs.watch, folder.path, { recursive = 1 }))
    local watch <close> = fs.watch(folder.path)
    assert.matches("Watch expected", failure(watch.next, 1))
  end)

  it("can be cancelled while it waits, and loses nothing", function()
    local watch <close> = fs.watch(folder.path)
    local waiter = spawn(watch.next, watch)
    sleep(0)
    waiter:cancel()
    assert.are.equal("ECANCELED", failure(waiter.await, waiter).code)
    assert.are.equal("ETIMEDOUT", failure(async.timeout, 0.01, watch.next, watch).code)
    put("a", "")
    assert.are.equal("created a", text_of(next_of(watch)))
    local opener = spawn(fs.watch, folder.path, { recursive = true })
    sleep(0)
    opener:cancel()
    local ok, err = pcall(opener.await, opener) -- it may have been there already
    if ok then err:close() else assert.are.equal("ECANCELED", err.code) end
  end)

  it("refuses a second task", function()
    local watch <close> = fs.watch(folder.path)
    local waiter = spawn(watch.next, watch)
    sleep(0)
    local err = failure(watch)
    assert.are.equal("EBUSY", err.code)
    assert.matches("another task is waiting for it", tostring(err))
    put("a", "")
    assert.are.equal("created a", text_of(waiter:await()))
  end)

  it("ends for who waits when it is closed, and may be closed twice", function()
    local watch = fs.watch(folder.path)
    local waiter = spawn(watch.next, watch)
    sleep(0)
    watch:close()
    watch:close()
    assert.is_nil(waiter:await())
    assert.is_nil(watch:next())
  end)

  it("is closed by the collector", function()
    fs.watch(folder.path)
  end)

  it("may be pending when the script ends", function()
    local r = cli.run { "-e", ([[
      local async = require "asyncbox"
      async.spawn(function() for _ in async.fs.watch(%q, { recursive = true }) do end end)
      async.sleep(0.01)
      os.exit(7)
    ]]):format(folder.path) }
    assert.are.equal(7, r.status)
    assert.are.equal("", r.stderr)
  end)

  describe("in a sandbox", function()
    local WATCH = [[
      local fs = require "asyncbox.fs"
      local ok, err = pcall(fs.watch, %q, { recursive = true })
      print(ok, not ok and err.code)
      print(err)
    ]]

    it("needs a grant, and says which", function()
      local text = denied(WATCH:format(folder.path), "--sandbox")
      assert.matches("^false\tEDENIED\n", text)
      assert.matches("allow it with --allow-read=", text, 1, true)
    end)

    it("is refused through a symlink that leads out", function()
      shell("mkdir %s %s", at "in", at "out")
      shell("ln -s ../out %s", at "in/link")
      local text = denied(WATCH:format(at "in/link"), "--sandbox", "--allow-read=" .. at "in")
      assert.matches("^false\tEDENIED\n", text)
    end)

    it("tells of a granted folder, and of a granted file nothing but that file", function()
      local code = [[
        local async = require "asyncbox"
        local fs, dir = async.fs, %q
        local watch <close> = fs.watch(dir .. %q, { recursive = true })
        fs.write(dir .. "/w/other", "1")
        fs.write(dir .. "/w/file", "2")
        local event = async.timeout(20, watch.next, watch)
        print(event.kind, event.path)
      ]]
      shell("mkdir %s", at "w")
      put("w/file", "0")
      local write = "--allow-write=" .. at "w"
      local function allowed(name)
        local script = code:format(folder.path, name)
        return cli.run { "run", write, "--allow-read=" .. folder.path .. name, "-e", script }
      end
      local r = allowed "/w/file"
      assert.are.equal("modified\t" .. at "w/file" .. "\n", r.stdout .. r.stderr)
      r = allowed "/w"
      assert.are.equal("modified\t" .. at "w/other" .. "\n",
        (r.stdout .. r.stderr):gsub("created", "modified"))
    end)
  end)
end)
