-- fs.watch when many watches of one box look at the same folders: they share one
-- instance of inotify, and no one notices.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local events = require "spec.support.events"
local folder = require "spec.support.folder"
local at, put, shell = folder.at, folder.put, folder.shell
local text_of, next_of = events.text_of, events.next_of
local events_until_mark, count_of = events.until_mark, events.count_of
local spawn, sleep = async.spawn, async.sleep

describe("fs.watch with others in one box", function()
  before_each(folder.start)
  after_each(folder.check)

  it("hears in a folder what the others hear, also when one of them ends", function()
    local one = fs.watch(folder.path)
    local two <close> = fs.watch(folder.path)
    put("a", "")
    assert.are.equal("created a", text_of(next_of(one)))
    one:close()
    put("b", "")
    assert.are.same({ "created a", "created b" }, events_until_mark(two))
  end)

  it("hears nothing of what was before it", function()
    local early <close> = fs.watch(folder.path)
    put("before", "")
    local late <close> = fs.watch(folder.path)
    put("after", "")
    assert.are.equal("created after", text_of(next_of(late)))
    assert.are.equal("created before", text_of(next_of(early)))
  end)

  it("hears below its own folder when trees overlap", function()
    shell("mkdir -p %s %s", at "a/x", at "b")
    local outer <close> = fs.watch(folder.path, { recursive = true })
    local inner <close> = fs.watch(at "a", { recursive = true })
    local again <close> = fs.watch(folder.path, { recursive = true })
    shell("mkdir %s", at "a/x/new")
    assert.are.equal("created a/x/new/", text_of(next_of(inner)))
    assert.are.equal("created a/x/new/", text_of(next_of(outer)))
    put("a/x/new/f", "")
    shell("mv %s %s", at "a/x", at "b/y")
    put("b/y/new/g", "")
    local got = events_until_mark(inner, "a/mark")
    assert.are.equal(1, count_of(got, "created a/x/new/f"))
    assert.are.equal("removed a/x/", got[#got])
    got = events_until_mark(outer, "b/mark")
    assert.are.equal(1, count_of(got, "renamed b/y from a/x/"))
    assert.are.equal(1, count_of(got, "created b/y/new/g"))
    outer:close()
    put("b/y/new/h", "")
    got = events_until_mark(again, "mark")
    assert.are.equal(1, count_of(got, "created b/y/new/h"))
    shell("rm -r %s", at "a")
    assert.are.equal("removed a/mark", text_of(next_of(inner)))
    assert.are.equal("removed a/", text_of(next_of(inner)))
    assert.is_nil(next_of(inner))
    assert.are.equal(1, count_of(events_until_mark(again, "mark2"), "removed a/"))
  end)

  it("hears of a folder that is moved into it from another", function()
    shell("mkdir -p %s %s", at "from/d/sub", at "to")
    local from <close> = fs.watch(at "from", { recursive = true })
    local to <close> = fs.watch(at "to", { recursive = true })
    for i = 1, 20 do
      shell("mv %s %s", at "from/d", at "to/d")
      put("to/d/sub/f" .. i, "")
      local got = events_until_mark(to, "to/mark" .. i)
      assert.are.equal(1, count_of(got, "created to/d/"))
      assert.are.equal(1, count_of(got, "created to/d/sub/f" .. i))
      shell("mv %s %s", at "to/d", at "from/d")
      got = events_until_mark(from, "from/mark" .. i)
      assert.are.equal(1, count_of(got, "removed from/d/"))
      assert.are.equal(1, count_of(got, "created from/d/"))
    end
  end)

  it("is not held up by one that nobody asks, which is told what it lost", function()
    local slow <close> = fs.watch(folder.path)
    local fast <close> = fs.watch(folder.path)
    local one, two = io.open(at "one", "w"), io.open(at "two", "w")
    for round = 1, 20 do
      for _ = 1, 500 do -- in turn: else the kernel takes them for one
        one:write("x"):flush()
        two:write("x"):flush()
      end
      local got = events_until_mark(fast, "mark" .. round)
      assert.are.equal(0, count_of(got, "overflow ."))
      assert.is_true(count_of(got, "modified one") > 0)
      assert.is_true(count_of(got, "modified two") > 0)
    end
    one:close()
    two:close()
    local event
    repeat event = next_of(slow) until event.kind == "overflow"
    put("late", "")
    repeat event = next_of(slow) until event.path == at "late"
  end)

  it("is one of a thousand", function()
    local watches, waiting = {}, {}
    shell("mkdir %s && cd %s && seq -f 'd%%.0f' 1 300 | xargs mkdir", at "d", at "d")
    for i = 1, 700 do watches[i] = fs.watch(put("f" .. i, "")) end
    for i = 1, 300 do watches[700 + i] = fs.watch(at("d/d" .. i)) end
    assert.are.equal(1000, #watches)
    for i, watch in ipairs(watches) do waiting[i] = spawn(watch.next, watch) end
    sleep(0)
    for i = 1, 700 do put("f" .. i, "x") end
    for i = 1, 300 do put("d/d" .. i .. "/new", "") end
    async.timeout(events.BOUND, function()
      for i = 1, 700 do assert.are.equal("modified f" .. i, text_of(waiting[i]:await())) end
      for i = 1, 300 do
        assert.are.equal("created d/d" .. i .. "/new", text_of(waiting[700 + i]:await()))
      end
    end)
    for _, watch in ipairs(watches) do watch:close() end
  end)
end)
