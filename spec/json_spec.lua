-- asyncbox.json: lua-cjson with integers and error objects.
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
    assert.equal(-math.huge, 1 / json.decode "-0.0")
  end)

  it("says what is wrong and where", function()
    local err = fails(json.decode, "[1,")
    assert.equal("EINVAL", err.code)
    assert.equal("json.decode", err.op)
    assert.equal(
      "json.decode: Expected value but found T_END at character 4 (EINVAL)",
      tostring(err)
    )
  end)

  it("refuses what is not JSON", function()
    for _, bad in ipairs {
      "", " ", "[1,]", "{,}", "nul", "NaN", "[NaN]", "Infinity", "-", "01", "0x10", "1 2", "[1}",
      '{"a" 1}', "{1: 2}", '"\\ud800"', '"\\x"', '"a', "'a'", "//", ("["):rep(2000),
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
