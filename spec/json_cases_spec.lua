-- asyncbox.json on the corners of RFC 8259, in the groups of the public JSONTestSuite
-- (https://github.com/nst/JSONTestSuite; the cases are our own): what must be read, what must be
-- refused, and what the RFC leaves open, with what is done here.
local json = require "asyncbox.json"

local HUGE = math.huge

-- Every text is read, and as what follows it.
local function reads(cases)
  for i = 1, #cases, 2 do
    local value = json.decode(cases[i])
    assert.same(cases[i + 1], value, cases[i])
    assert.equal(math.type(cases[i + 1]), math.type(value), cases[i])
  end
end

-- Every text is refused, with an error that says where: the column follows it.
local function refuses(cases)
  for i = 1, #cases, 2 do
    local ok, err = pcall(json.decode, cases[i])
    assert.is_false(ok, cases[i])
    assert.equal("EINVAL", err.code)
    assert.equal("json.decode", err.op)
    assert.equal("line 1, column " .. cases[i + 1], err.message:match "line %d+, column %d+",
      cases[i] .. ": " .. err.message)
  end
end

describe("json.decode reads", function()
  it("structures: any value at the top, space around it", function()
    reads {
      "null", json.null, "true", true, "false", false, "0", 0, '""', "", "[]", {}, "{}", {},
      " \t\r\n1 \t\r\n", 1, "[ ]", {}, "{ }", {}, "[1 , 2]", { 1, 2 }, '{"a" : 1}', { a = 1 },
    }
  end)

  it("arrays", function()
    reads {
      "[null]", { json.null }, "[[]]", { {} }, "[1,null,2]", { 1, json.null, 2 },
      '["a",1,true,{}]', { "a", 1, true, {} }, "[false]", { false }, '[""]', { "" },
      "[[[[[]]]]]", { { { { {} } } } },
    }
  end)

  it("objects", function()
    reads {
      '{"":0}', { [""] = 0 }, '{"a":{"b":{}}}', { a = { b = {} } },
      '{"\\u0000":1}', { ["\0"] = 1 }, '{"a":1,"a":2}', { a = 2 }, -- the last one counts
      '{"a":1,"a":null}', { a = json.null }, '{"1":"a"}', { ["1"] = "a" },
      '{"' .. ("x"):rep(1000) .. '":[]}', { [("x"):rep(1000)] = {} },
    }
  end)

  it("numbers: whole ones as integers, while they fit", function()
    reads {
      "1", 1, "-1", -1, "0", 0, "123456789", 123456789,
      "9223372036854775807", math.maxinteger, "-9223372036854775808", math.mininteger,
      "9223372036854775808", 2.0 ^ 63, "-9223372036854775809", -2.0 ^ 63,
      "100000000000000000000", 1e20, ("1"):rep(300), tonumber(("1"):rep(300) .. ".0"),
      "1.0", 1.0, "1e2", 100.0, "1E+2", 100.0, "1E-2", 0.01, "0e1", 0.0, "0.1", 0.1,
      "0.5e-0", 0.5, "123.456e78", 123.456e78, "1e308", 1e308, "1e-400", 0.0,
      "2.2250738585072011e-308", 2.2250738585072011e-308, "5e-324", 5e-324,
      "0." .. ("0"):rep(400) .. "1", 0.0, "1" .. ("0"):rep(400) .. "e-400", 1.0,
      "0.1000000000000000055511151231257827021181583404541015625", 0.1,
    }
    local zero = json.decode "-0"
    assert.equal("float", math.type(zero))
    assert.equal(-HUGE, 1 / zero)
    assert.equal(-HUGE, 1 / json.decode "-0.0")
    assert.equal(-HUGE, 1 / json.decode "-1e-999")
  end)

  it("strings", function()
    reads {
      [["\"\\\/\b\f\n\r\t"]], "\"\\/\b\f\n\r\t", [["\u0041\u00e9\u20aC"]], "Aé€",
      [["\u0000"]], "\0", [["a\u0000b"]], "a\0b", [["\uFFFF"]], "\u{ffff}",
      [["\ud83d\ude00"]], "😀", [["\uD800\uDC00"]], "\u{10000}", [["\udbff\udfff"]], "\u{10ffff}",
      '"\u{7f}"', "\u{7f}", '"/"', "/", [["\u002c"]], ",", '"€😀"', "€😀",
      [["\\u0041"]], "\\u0041", [["\ufeff"]], "\u{feff}", '"\u{2028}"', "\u{2028}",
      '"' .. ("x"):rep(100000) .. '"', ("x"):rep(100000),
    }
  end)
end)

describe("json.decode refuses", function()
  it("what is no structure", function()
    refuses {
      "", 1, " ", 2, "[", 2, "{", 2, "]", 1, "}", 1, "[1", 3, "[1,", 4, '{"a"', 5, '{"a":', 6,
      '{"a":1', 7, "[]]", 3, "[1]x", 4, "1 2", 3, "[][]", 3, "{}}", 3, "[}", 2, "{]", 2, "[1}", 3,
      "nul", 1, "nulll", 5, "True", 1, "TRUE", 1, "<null>", 1, "a", 1, "'a'", 1, "/**/1", 1,
      "1//", 2, "[1]\0", 4, "\0", 1, "\u{feff}1", 1, "\u{feff}", 1, "\xff", 1, "1\u{a0}", 2,
      "\v1", 1, "\f1", 1, "[\u{2060}]", 2,
    }
  end)

  it("what is no array", function()
    refuses {
      "[1,]", 4, "[,1]", 2, "[,]", 2, "[1,,2]", 4, "[1 2]", 4, "[1;2]", 3, '["a" "b"]', 6,
      '["a":1]', 5, "[1:2]", 3, "[*]", 2, "[1,*]", 4, "[,", 2, "[[1]", 5, "[x]", 2,
    }
  end)

  it("what is no object", function()
    refuses {
      "{1:1}", 2, "{a:1}", 2, "{'a':1}", 2, "{null:1}", 2, "{[]:1}", 2, '{"a"}', 5, '{"a" 1}', 6,
      '{"a":}', 6, '{"a"::1}', 6, '{"a":1,}', 8, '{,"a":1}', 2, '{"a":1,,"b":2}', 8,
      '{"a":1 "b":2}', 8, '{"a":1;"b":2}', 7, '{"a":1', 7, '{"a",1}', 5, '{"a"=1}', 5,
      '{"a":/**/1}', 6, '{"a":1}#', 8, "{{}:1}", 2,
    }
  end)

  it("what is no number", function()
    refuses {
      "+1", 1, "-", 2, "--1", 2, "- 1", 2, "01", 2, "-01", 3, "00", 2, "1.", 3, "-1.", 4, ".5", 1,
      "-.5", 2, "1.e1", 3, "1e", 3, "1e+", 4, "1ee1", 3, "1e1.5", 4, "1.2.3", 4, "0x1", 2,
      "0b1", 2, "1_000", 2, "1,000", 2, "NaN", 1, "nan", 1, "-NaN", 2, "Infinity", 1,
      "-Infinity", 2, "inf", 1, "1a", 2, "1e1e1", 4, "0e", 3, "1 e1", 3, "\u{ff11}", 1, "-a", 2,
    }
  end)

  it("what is beyond a float", function()
    refuses { "1e400", 1, "-1e400", 1, "[1, 1e999999999999]", 5, ("9"):rep(400), 1 }
    local ok, err = pcall(json.decode, "[2e308]")
    assert.is_false(ok)
    assert.equal("number out of range at line 1, column 2", err.message)
  end)

  it("what is no string", function()
    refuses {
      '"', 2, '"a', 3, '"a\\"', 5, '"\\', 3, [["\a"]], 3, [["\x41"]], 3, [["\'"]], 3, [["\0"]], 3,
      '"\n"', 2, '"a\tb"', 3, '"\0"', 2, '"\31"', 2, [["\U0041"]], 3, [["\u"]], 4, [["\u00"]], 6,
      [["\u004"]], 7, [["\u004g"]], 7, [["\u 041"]], 4, [["\u+041"]], 4, [["\uD83D\ ]], 8,
      "\"\\\u{1F600}\"", 3,
    }
  end)

  it("halves of surrogates, alone or turned round", function()
    refuses {
      [["\ud800"]], 8, [["\udbffx"]], 8, [["\ud83d\n"]], 8, [["\ud83d\u0041"]], 14,
      [["\ud83d\ud83d"]], 14, [["\udc00"]], 8, [["\udfff\ud800"]], 8, [["\ud83d\u"]], 10,
    }
  end)

  it("what nests more than a thousand deep, at once", function()
    assert.is_truthy(json.decode(("["):rep(1000) .. ("]"):rep(1000)))
    refuses {
      ("["):rep(1001) .. ("]"):rep(1001), 1001, ("["):rep(100000), 1001,
      ('{"a":'):rep(1001), 5001, ("[{\"a\":"):rep(50000), 3001,
    }
  end)
end)

describe("json.decode leaves", function()
  it("bytes that are no UTF-8 as they are: it is no judge of texts", function()
    reads {
      '"\xff"', "\xff", '"\xc0\x80"', "\xc0\x80", '"\xed\xa0\x80"', "\xed\xa0\x80",
      '"\xf4\x90\x80\x80"', "\xf4\x90\x80\x80", '{"\xe9":1}', { ["\xe9"] = 1 },
      '"\xe2\x82"', "\xe2\x82",
    }
  end)
end)

describe("json.encode", function()
  -- Each text comes back as it was.
  local function keeps(texts)
    for _, text in ipairs(texts) do assert.equal(text, json.encode(json.decode(text))) end
  end

  it("writes what it has read", function()
    keeps {
      "null", "true", "false", "0", "-1", "1.5", "-0", "1e+300", "0.1", "1.5e-07",
      "9223372036854775807", "-9223372036854775808", '""', '"a"', "[]", "{}", "[[]]", "[{}]",
      '{"a":[]}', '{"a":{}}', "[[],{},[[]]]", "[null,null]", "[1,2.5,\"x\",null,true]",
      '"\\"\\\\\\b\\f\\n\\r\\t"', '"\\u0000\\u001f\\u007f"', '"/"', '"é€😀"', '{"":{"":[]}}',
      ("["):rep(1000) .. ("]"):rep(1000),
    }
  end)

  it("writes floats so short that they still read back the same", function()
    for number, text in pairs {
      [0.1] = "0.1", [1e20] = "1e+20", [1 / 3] = "0.3333333333333333",
      [2.0 ^ 53] = "9007199254740992", [0.1 + 0.2] = "0.30000000000000004",
      [5e-324] = "4.94065645841247e-324",
      [1.7976931348623157e308] = "1.7976931348623157e+308", [100.0] = "100", [-2.5] = "-2.5",
      [2.0 ^ 63] = "9.223372036854776e+18",
    } do
      assert.equal(text, json.encode(number))
      assert.equal(number, json.decode(text))
    end
    assert.equal("-0", json.encode(-0.0))
    local seed = 1
    for _ = 1, 2000 do
      seed = seed * 6364136223846793005 + 1442695040888963407
      local number = string.unpack("d", string.pack("j", seed))
      if number == number and math.abs(number) ~= HUGE then
        assert.equal(number, json.decode(json.encode(number)))
      end
    end
  end)

  it("refuses what JSON has no word for", function()
    for _, value in ipairs {
      0 / 0, HUGE, -HUGE, { HUGE }, { a = 0 / 0 }, print, { print }, io.stdout, { [print] = 1 },
      { [true] = 1 }, { [{}] = 1 }, coroutine.create(print), { 1, [100] = 2 },
    } do
      local ok, err = pcall(json.encode, value)
      assert.is_false(ok, tostring(value))
      assert.equal("EINVAL", err.code)
      assert.equal("json.encode", err.op)
    end
    assert.is_false(pcall(json.encode))
  end)

  it("says where it is", function()
    local function says(message, value)
      local _, err = pcall(json.encode, value)
      assert.equal("json.encode: " .. message .. " (EINVAL)", tostring(err))
    end
    says("a function is not JSON", print)
    says("a function is not JSON, at [2]", { 1, print })
    says("a function is not JSON, at name", { name = print })
    says("a userdata is not JSON, at users[2].file",
      { users = { { id = 1 }, { file = io.stdout } } })
    says("NaN and infinity are not JSON, at [1][3]", { { 1, 2, 0 / 0 } })
    says("NaN and infinity are not JSON, at [-1]", { [-1] = HUGE })
    says("a list with large gaps, at a", { a = { [100] = 1 } })
    says("a key that is no string or number, at a[1]", { a = { { [true] = 1 } } })
    says("a function is not JSON, at " .. ("x"):rep(40), { [("x"):rep(90)] = print })
    says("a function is not JSON, at ..." .. ("[1]"):rep(38), (function()
      local deep = print
      for _ = 1, 50 do deep = { deep } end
      return deep
    end)())
    assert.equal('[{"a":[1]},{"b":2}]', json.encode { { a = { 1 } }, { b = 2 } })
  end)

  it("refuses what lies in itself, or nests more than a thousand deep", function()
    local own, deep = {}, {}
    own.own = own
    for _ = 1, 1000 do deep = { deep } end
    for _, value in ipairs { own, deep } do
      local _, err = pcall(json.encode, value)
      assert.matches("nested too deep, or in itself", tostring(err))
    end
    assert.is_truthy(json.encode(deep[1]))
  end)

  it("takes a table for a list only when its keys are whole numbers from 1", function()
    for text, value in pairs {
      ["[1,2]"] = { 1, 2 }, ["[null,2]"] = { [2] = 2 }, ['{"0":1}'] = { [0] = 1 },
      ['{"-1":1}'] = { [-1] = 1 }, ['{"1.5":1}'] = { [1.5] = 1 }, ['{"a":1}'] = { a = 1 },
      ["{}"] = {}, ["[]"] = json.array(), ["[[]]"] = { json.array {} },
    } do
      assert.equal(text, json.encode(value))
    end
    assert.same({ ["1"] = "x", a = "y" }, json.decode(json.encode { "x", a = "y" }))
  end)
end)
