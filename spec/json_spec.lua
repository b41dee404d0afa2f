-- asyncbox.json: RFC 8259, within the box's memory.
local json = require "asyncbox.json"

local function fails(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  return err
end

describe("json.decode", function()
  it("gives tables, strings, booleans and null", function()
    local value = json.decode '{"a": [true, false, null, "x\\u00e4\\n"], "b": {}}'
    assert.same({ true, false, json.null, "xä\n" }, value.a)
    assert.same({}, value.b)
    assert.equal(json.null, json.decode "null")
  end)

  it("gives whole numbers as integers at every depth", function()
    assert.equal("7", tostring(json.decode "7"))
    assert.equal("-3", tostring(json.decode("[[{\"n\": -3}]]")[1][1].n))
    assert.equal("float", math.type(json.decode "2.5"))
    assert.equal("integer", math.type(json.decode "9007199254740992"))
    assert.equal("float", math.type(json.decode "1e300"))
    assert.equal(math.maxinteger, json.decode "9223372036854775807")
    assert.equal("float", math.type(json.decode "9223372036854775808"))
    assert.equal(-math.huge, 1 / json.decode "-0.0")
  end)

  it("says what is wrong and where", function()
    local err = fails(json.decode, "[1,")
    assert.equal("EINVAL", err.code)
    assert.equal("json.decode", err.op)
    assert.equal(
      "json.decode: unexpected end at line 1, column 4 (EINVAL)",
      tostring(err)
    )
  end)

  it("counts lines and columns.", function()
    assert.matches("',' or '}' expected at line 3, column 3",
      tostring(fails(json.decode, '{\n "a": 1\n  "b": 2}')))
  end)

  it("reads every escape, and pairs of surrogates.", function()
    assert.equal("\"\\/\b\f\n\r\t\u{1F600}\u{20AC}\0",
      json.decode [["\"\\\/\b\f\n\r\t\ud83d\ude00\u20ac\u0000"]])
    assert.equal("after", json.decode '{"a": "x\\ty", "b": "after"}'.b)
  end)

  it("reads what is nested up to a thousand times.", function()
    local deep = json.decode(("["):rep(1000) .. ("]"):rep(1000))
    assert.equal(("["):rep(1000) .. ("]"):rep(1000), json.encode(deep))
    local deeper = ("["):rep(1001) .. ("]"):rep(1001)
    assert.matches("nested too deep", tostring(fails(json.decode, deeper)))
  end)

  it("refuses what is not JSON", function()
    for _, bad in ipairs {
      "", " ", "[1,]", "{,}", "nul", "NaN", "[NaN]", "Infinity", "-", "01", "0x10", "1 2", "[1}",
      '{"a" 1}', "{1: 2}", '"\\ud800"', '"\\x"', '"a', "'a'", "//", ("["):rep(2000),
      "1e999", '"\\udc00"', '"\\ud800x"', '"\\u12g4"', '"\n"', "1.", ".5", "1e",
      "+1", "tru", "[1 2]", "\239\187\1911",
    } do
      assert.equal("EINVAL", fails(json.decode, bad).code, bad)
    end
  end)

  it("takes a string only", function()
    assert.matches("string expected", fails(json.decode))
    assert.matches("string expected", fails(json.decode, {}))
  end)
end)

describe("json.encode", function()
  it("writes what decode reads", function()
    assert.equal('[1,2.5,"x",null,true]', json.encode { 1, 2.5, "x", json.null, true })
    assert.equal('{"a":{"b":[1]}}', json.encode { a = { b = { 1 } } })
    assert.equal('"\\u0000\\"\\n"', json.encode "\0\"\n")
    assert.equal("{}", json.encode {})
  end)

  it("writes numbers so that they are read back the same.", function()
    for _, n in ipairs { 123456789012345, math.mininteger, 0.1, 1 / 3, 1e100, -2.5e-8, 5e-324 } do
      assert.equal(n, json.decode(json.encode(n)))
    end
  end)

  it("keeps empty lists that it has read, or that were marked.", function()
    assert.equal('{"a":[]}', json.encode(json.decode '{"a":[]}'))
    assert.equal("[]", json.encode(json.array {}))
    assert.equal("[1,null,3]", json.encode { 1, nil, 3 })
  end)

  it("stays within the memory of the box.", function()
    local cli = require "spec.support.cli"
    local got = cli.run({ "run", "--sandbox", "--memory=32M", "-" }, { stdin = [[
      local json = require "asyncbox.json"
      local s, t = ("x"):rep(1 << 20), {}
      for i = 1, 2100 do t[i] = s end
      print(pcall(json.encode, t))
      local text = '"' .. ("\\n"):rep(3 << 20) .. ("y"):rep(4 << 20) .. '"'
      collectgarbage()
      for _ = 1, 20 do -- nothing is lost where it fails
        local kept = {}
        print(#kept, pcall(function()
          while true do kept[#kept + 1] = json.decode(text) end
        end))
      end
    ]] })
    assert.equal("false\tnot enough memory\n"
      .. ("0\tfalse\tnot enough memory\n"):rep(20), got.stdout)
  end)

  it("refuses what JSON cannot say", function()
    local loop = {}
    loop[1] = loop
    for _, bad in ipairs { print, 0 / 0, math.huge, coroutine.create(print), loop,
      { [1] = 1, [1000] = 2 }, { [true] = 1 } } do
      local err = fails(json.encode, bad)
      assert.equal("EINVAL", err.code)
      assert.equal("json.encode", err.op)
    end
    assert.matches("value expected", fails(json.encode))
  end)
end)
