-- fs.path: paths as text, as Python's posixpath and Node's path.posix have them.

local path = require("asyncbox").fs.path

local function text_of(f, ...)
  return tostring(select(2, pcall(f, ...)))
end

describe("fs.path", function()
  it("joins, and begins anew at what is absolute", function()
    assert.are.equal("a/b/c", path.join("a", "b", "c"))
    assert.are.equal("a/b", path.join("a/", "b"))
    assert.are.equal("/c/d", path.join("a", "/c", "d"))
    assert.are.equal("a/b", path.join("", "a", "", "b"))
    assert.are.equal("a/../b", path.join("a", "../b"))
    assert.are.equal("", path.join())
    assert.are.equal("/", path.join("/"))
  end)

  it("splits into folder and name", function()
    for _, case in ipairs {
      { "a/b", "a", "b" }, { "a/b/", "a", "b" }, { "a", "", "a" }, { "/a", "/", "a" },
      { "/", "/", "" }, { "///", "/", "" }, { "", "", "" }, { "//a//b//", "//a", "b" },
      { "..", "", ".." }, { "a/..", "a", ".." }, { "a\n/ b", "a\n", " b" },
    } do
      assert.are.same({ case[2], case[3] }, { path.split(case[1]) }, case[1])
      assert.are.equal(case[2] == "" and "." or case[2], path.dirname(case[1]))
      assert.are.equal(case[3], path.basename(case[1]))
    end
  end)

  it("knows extensions, and dots that begin none", function()
    for _, case in ipairs {
      { "x.lua", ".lua", "x" }, { "a.b/x", "", "x" }, { "x.tar.gz", ".gz", "x.tar" },
      { ".bashrc", "", ".bashrc" }, { "..a", "", "..a" }, { ".a.b", ".b", ".a" },
      { "x.", ".", "x" }, { "", "", "" }, { "a/x.c/", ".c", "x" }, { "...", "", "..." },
    } do
      assert.are.same({ case[2], case[3] }, { path.ext(case[1]), path.stem(case[1]) }, case[1])
    end
    assert.are.equal("x", path.basename("a/x.lua", ".lua"))
    assert.are.equal(".lua", path.basename("a/.lua", ".lua"))
  end)

  it("normalizes", function()
    for from, to in pairs {
      ["a/./b"] = "a/b", ["a//b/"] = "a/b", ["a/../b"] = "b", ["../a"] = "../a", [""] = ".",
      ["a/.."] = ".", ["/.."] = "/", ["/../a"] = "/a", ["//a"] = "/a", ["a/../../b"] = "../b",
      ["../../x/.."] = "../..", ["/"] = "/", ["."] = ".",
    } do
      assert.are.equal(to, path.normalize(from), from)
    end
  end)

  it("tells how to get from one to another", function()
    assert.are.equal("../../b", path.relative("a/b", "a/c/d"))
    assert.are.equal("a", path.relative("/a", "/"))
    assert.are.equal(".", path.relative("a/", "a"))
    assert.are.equal("..", path.relative("/a", "/a/b"))
    assert.are.equal("x/y", path.relative("x/y"))
    assert.are.equal("../c", path.relative("../../c", "../../b"))
    local here = path.absolute "."
    assert.are.equal("x", path.relative(here .. "/x", "."))
    assert.are.equal(path.join(path.basename(here), "x"), path.relative("x", ".."))
  end)

  it("knows absolute paths", function()
    assert.is_true(path.isabs "/a")
    assert.is_false(path.isabs "a")
    assert.is_false(path.isabs "")
    assert.is_true(path.isabs(path.absolute "a"))
  end)

  it("keeps any bytes", function()
    assert.are.equal("\xff/\0b\n", path.join("\xff", "\0b\n"))
    assert.are.equal("\0b\n", path.basename "\xff/\0b\n")
  end)

  it("names a wrong argument at the caller's line", function()
    local text = text_of(function() path.join("a", nil) end)
    assert.matches("^spec/fs_path_spec.lua:%d+: bad argument #2 to 'path.join' %(string", text)
    assert.matches("bad argument #1 to 'path.ext' %(string expected, got number%)",
      text_of(path.ext, 5))
    for _, name in ipairs { "split", "dirname", "basename", "normalize", "isabs", "relative" } do
      assert.matches("'path." .. name .. "'", text_of(path[name]))
    end
  end)
end)
