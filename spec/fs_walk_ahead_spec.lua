-- What fs.walk reads ahead: it shows in nothing but the time.

local async = require "asyncbox"
local fs = require "asyncbox.fs"
local folder = require "spec.support.folder"
local sandboxed = require("spec.support.sandboxed").run
local spawn, sleep = async.spawn, async.sleep
local at, shell, put, failure = folder.at, folder.shell, folder.put, folder.failure

before_each(folder.start)
after_each(folder.check)

-- 10 .. 49, each with a file and a folder with two files. Only what has not
-- changed for some seconds is read ahead, so they pass; nothing here depends on
-- how many.
local function tree()
  shell("cd %s && for i in $(seq 10 49); do mkdir -p $i/s && touch $i/f $i/s/g $i/s/h; done",
    folder.path)
  sleep(2.1)
end

local function names(path)
  local ok, list = pcall(fs.list, path)
  return ok and list or {}
end

-- What the body does to every other folder that is given, and to the next.
local changes = {
  function(i) put(i .. "/new", "") end,
  function(i) put(i + 1 .. "/new", "") end,
  function(i) fs.remove(at(i + 1 .. "/f")) end,
  function(i) fs.remove(at(tostring(i + 1)), { recursive = true }) end,
  function(i) fs.rename(at(tostring(i + 1)), at("z" .. i)) end,
  function(i)
    fs.rename(at(i + 1 .. "/s"), at(i + 1 .. "/t"))
    fs.mkdir(at(i + 1 .. "/s"))
  end,
  function(i)
    fs.remove(at(tostring(i + 1)), { recursive = true })
    fs.symlink("/etc", at(tostring(i + 1)))
  end,
  function(i)
    fs.rename(at(tostring(i + 1)), at("y" .. i))
    fs.mkdir(at(tostring(i + 1)))
    put(i + 1 .. "/other", "")
  end,
  function(i)
    fs.remove(at(tostring(i + 1)), { recursive = true })
    put(tostring(i + 1), "")
  end,
  function(i) shell("touch %s; rm %s", at(i .. "/s/x"), at(i .. "/s/g")) end,
}

describe("fs.walk, which reads ahead,", function()
  it("gives all there is, once, in order", function()
    tree()
    local want, got = {}, {}
    for i = 10, 49 do
      for _, name in ipairs { "", "/f", "/s", "/s/g", "/s/h" } do
        want[#want + 1] = at(i .. name)
      end
    end
    for path in fs.walk(folder.path) do got[#got + 1] = path end
    assert.are.same(want, got)
    assert.are.equal("200", sandboxed({ "--allow-read=" .. folder.path }, [[
      local n = 0
      for path in fs.walk(".") do n = n + 1 end
      print(n)]]))
  end)

  it("gives what a folder holds when it is entered, whatever the body did before", function()
    tree()
    local want, got, step = {}, {}, 0
    for path, kind, depth in fs.walk(folder.path) do
      local outer = path:match "^(.*)/"
      if depth > 1 then table.insert(got[outer], path:sub(#outer + 2)) end
      if kind == "directory" then
        local i = tonumber(path:match "/(%d%d)$")
        if depth == 1 and i and i % 2 == 0 then
          step = step % #changes + 1
          changes[step](i)
        end
        local there, found = pcall(fs.lstat, path)
        want[path] = there and found.type == "directory" and names(path) or {}
        got[path] = {}
      end
    end
    assert.are.same(want, got)
  end)

  it("ends with its reading, however it is left", function()
    tree()
    for n = 1, 60, 7 do
      local left = n
      for _ in fs.walk(folder.path) do
        left = left - 1
        if left == 0 then break end
      end
      local walk = spawn(function()
        for _ in fs.walk(folder.path) do sleep(0) end
      end)
      for _ = 1, n do sleep(0) end
      walk:cancel()
      pcall(walk.await, walk)
    end
  end)

  it("raises where it belongs what went wrong", function()
    tree()
    local seen = {}
    local err = failure(function()
      for path in fs.walk(folder.path) do
        seen[#seen + 1] = path
        -- The longest name that is left leads past what the system takes.
        if path == at "12" then
          fs.remove(at "13/s", { recursive = true })
          shell("cd %s && d=$(printf '%%0200d' 0) && for i in $(seq 25); do " ..
            "mkdir $d && cd -P $d || exit; done", at "13")
        end
      end
    end)
    assert.are.equal("ENAMETOOLONG", err.code)
    assert.are.equal(at "13", seen[16])
    fs.remove(at "13", { recursive = true })
  end)
end)
