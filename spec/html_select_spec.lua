-- asyncbox.html: what CSS selectors select, and what is wrong with those that are none.

local html = require "asyncbox.html"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local parse = html.parse
local assert_code, assert_says = errors.assert_code, errors.assert_says

before_each(function()
  parse "" -- opens libgumbo
  clean.start()
end)
after_each(clean.check)

describe("node:select", function()
  local page = [[
    <body id=top>
      <h1 id=h class="big title" lang=en-GB>x</h1>
      <ul id=u>
        <li id=l1 class=odd>1</li><!-- c -->
        <li id=l2><a id=a1 href="http://x/one.PDF" title="a b c">one</a></li>
        <li id=l3 class="odd last"><a id=a2 href="/two" title="">two</a> <b id=b1></b></li>
      </ul>
      <div id=d1><div id=d2><p id=p1>x</p><div id=d3><p id=p2 class="été a:b">y</p></div>
       </div></div>
      <p id=p3></p><input id=i1 TYPE=Text value="]">
      <svg id=s viewBox=1><linearGradient id=g /></svg>
    </body>]]

  local function ids(selector, scope)
    local document = parse(page)
    local top = scope and document:select_one("#" .. scope) or document
    local found = {}
    for i, element in ipairs(top:select(selector)) do
      found[i] = element:attr "id" or element.name
      assert.is_true(element:matches(selector))
    end
    local first = top:select_one(selector)
    assert.equal(found[1], first and (first:attr "id" or first.name))
    return table.concat(found, " ")
  end

  local function selects(cases)
    for _, case in ipairs(cases) do assert.equal(case[2], ids(case[1]), case[1]) end
  end

  it("finds by name, class and id", function()
    selects {
      { "li", "l1 l2 l3" }, { "LI", "l1 l2 l3" }, { "#l2", "l2" }, { "#L2", "" },
      { ".odd", "l1 l3" }, { "li.odd.last", "l3" }, { ".last.odd", "l3" }, { "p.odd", "" },
      { "li#l1.odd", "l1" }, { ".o", "" }, { "*", "html head top h u l1 l2 a1 l3 a2 b1 d1 d2 " ..
        "p1 d3 p2 p3 i1 s g" },
      { "linearGradient", "g" }, { ".été", "p2" }, { ".a\\:b", "p2" }, { "\\6c i", "l1 l2 l3" },
      { "#\\6c 1", "l1" }, { "video", "" }, { ".\\e9t\\0000e9", "p2" },
    }
  end)

  it("finds by attributes, with every operator", function()
    selects {
      { "[href]", "a1 a2" }, { "a[title]", "a1 a2" }, { "[HREF]", "a1 a2" },
      { "[title='']", "a2" }, { '[title="a b c"]', "a1" }, { "[title~=b]", "a1" },
      { "[title~='b c']", "" }, { "[title~='']", "" }, { "[lang|=en]", "h" }, { "[lang|=e]", "" },
      { "[href^='http:']", "a1" }, { "[href$='.PDF']", "a1" }, { "[href$='.pdf']", "" },
      { "[href$='.pdf' i]", "a1" }, { "[href*=one]", "a1" }, { "[href*=ONE i]", "a1" },
      { "[href*='']", "" }, { "[href^='']", "" }, { "[href$='']", "" },
      { "[type=Text]", "i1" }, { "[type=text]", "" }, { "[type='text' i]", "i1" },
      { "[type=Text s]", "i1" }, { "[ value = ']' ]", "i1" }, { "[viewBox]", "s" },
      { "[value=\"\\5d\"]", "i1" }, { "[class=odd][id]", "l1" }, { "[none]", "" },
      { "[href|='/two']", "a2" },
    }
  end)

  it("knows what is inside of, below, after what", function()
    selects {
      { "ul a", "a1 a2" }, { "body li > a", "a1 a2" }, { "ul > a", "" }, { "ul>li>a", "a1 a2" },
      { "div p", "p1 p2" }, { "div > p", "p1 p2" }, { "div div p", "p1 p2" },
      { "div div div p", "p2" }, { "div > div > p", "p1 p2" }, { "div div > div p", "p2" },
      { "li + li", "l2 l3" }, { "li + li + li", "l3" }, { "#l1 + li a", "a1" },
      { "h1 ~ p", "p3" }, { "h1 ~ div ~ p", "p3" }, { "h1 ~ div p", "p1 p2" },
      { "p ~ div > p", "p2" },
      { "h1 + ul ~ div > div", "d2" }, { "p + h1", "" }, { "b, a", "a1 a2 b1" },
      { "a,a , a", "a1 a2" },
      { " \n ul \t > \n li ", "l1 l2 l3" }, { "html > body", "top" }, { "body body", "" },
    }
  end)

  it("counts children", function()
    selects {
      { "li:first-child", "l1" }, { "li:last-child", "l3" }, { "li:nth-child(2)", "l2" },
      { "li:nth-child(odd)", "l1 l3" }, { "li:nth-child(even)", "l2" },
      { "li:nth-child(n)", "l1 l2 l3" },
      { "li:nth-child(2n+1)", "l1 l3" }, { "li:nth-child( 2n + 1 )", "l1 l3" },
      { "li:nth-child(-n+2)", "l1 l2" }, { "li:nth-child(n+2)", "l2 l3" },
      { "li:nth-child(3n)", "l3" },
      { "li:nth-child(0)", "" }, { "li:nth-child(-2)", "" }, { "li:nth-child(+3)", "l3" },
      { "li:nth-child(2n-1)", "l1 l3" }, { "LI:NTH-CHILD(ODD)", "l1 l3" },
      { "li:nth-child(n+4)", "" },
      { "li:nth-last-child(1)", "l3" }, { "li:nth-last-child(-n+2)", "l2 l3" },
      { "div:only-child", "d2" }, { "p:only-child", "p2" }, { "b:empty", "b1" },
      { "p:empty", "p3" },
      { ":root", "html" }, { "p:first-child:last-child", "p2" },
    }
  end)

  it("leaves out, and takes one of several", function()
    selects {
      { "li:not(.odd)", "l2" }, { "li:not(.odd, #l2)", "" }, { "li:not(:first-child)", "l2 l3" },
      { "li:not(:not(.odd))", "l1 l3" }, { ":is(h1, b)", "h b1" }, { "li:is(.last, #l1)", "l1 l3" },
      { "li:not([class])", "l2" }, { "ul :not(li):not(a)", "b1" }, { "a:not([href^='/'])", "a1" },
      { "p:is( .x , :empty )", "p3" },
    }
  end)

  it("looks inside of a node, but at all that it lies in", function()
    assert.equal("a1 a2", ids("a", "u"))
    assert.equal("", ids("ul", "u"))
    assert.equal("a1 a2", ids("body ul a", "u"))
    assert.equal("a2 b1", ids("li + li + li > *", "l3"))
    assert.equal("p1 d3 p2", ids("h1 ~ div *", "d2"))
    assert.equal("", ids("a", "b1"))
  end)

  it("does not take a sibling of before for one of another parent's", function()
    local tables = parse(("<table><tr><td class=a>1<td>2<tr><td>3<td>4</table>"):rep(2))
    local texts = {}
    for _, cell in ipairs(tables:select ".a + td") do texts[#texts + 1] = cell:text() end
    assert.same({ "2", "2" }, texts)
    for i, row in ipairs(tables:find_all "tr") do
      assert.equal(i % 2, #row:select ".a ~ td")
      assert.equal(1 - i % 2, #row:select "tr + tr td:first-child")
    end
  end)

  it("tells whether a node is selected, and which one around it is", function()
    local document = parse(page)
    local link = document:select_one "#a2"
    assert.is_true(link:matches "ul a")
    assert.is_false(link:matches "ol a")
    assert.is_true(link:matches "li ~ li > a:first-child")
    assert.equal("l3", link:closest("li"):attr "id")
    assert.equal("l3", link:closest(".odd"):attr "id")
    assert.equal(link, link:closest "a")
    assert.is_nil(link:closest "div")
    assert.is_false(document:matches "*")
    assert.is_nil(document:closest "*")
  end)

  it("says where a selector is wrong", function()
    local document = parse(page)
    local function says(selector, message)
      local err = assert_code("EINVAL", document.select, document, selector)
      assert.equal("html.select: bad selector: " .. message .. " (EINVAL)", tostring(err))
      assert.equal(selector, err.selector)
    end
    says("", "a selector expected at byte 1, at its end: ''")
    says("a,", "a selector expected at byte 3, at its end: 'a,'")
    says("a > ", "a selector expected at byte 5, at its end: 'a > '")
    says("> a", "a selector expected at byte 1, before '> a'")
    says("a ! b", "a selector expected at byte 3, before '! b'")
    says("a)", "an unexpected character at byte 2, before ')'")
    says("a.", "a name expected after '.' at byte 3, at its end: 'a.'")
    says(".1", "a name cannot begin with a digit (write \\3x ) at byte 2, before '1'")
    says("#", "a name expected after '#' at byte 2, at its end: '#'")
    says("a[", "the name of an attribute expected at byte 3, at its end: 'a['")
    says("a[b", "one of = ~= |= ^= $= *= ] expected at byte 4, at its end: 'a[b'")
    says("a[b=]", "a name or a text in quotes expected at byte 5, before ']'")
    says("a[b='c]", "a quote without an end at byte 5, before ''c]'")
    says("a[b=c d]", "']' expected at byte 7, before 'd]'")
    says("a:hover", "a pseudo-class that is not known here at byte 2, before ':hover'")
    says("a:first-children",
      "a pseudo-class that is not known here at byte 2, before ':first-children'")
    says("a:nth-child", "a pseudo-class that is not known here at byte 2, before ':nth-child'")
    says("a::before", "a pseudo-class that is not known here at byte 2, before '::before'")
    says("a:nth-child(x)", "a number expected at byte 13, before 'x)'")
    says("a:nth-child(2", "')' expected at byte 14, at its end: 'a:nth-child(2'")
    says("a:nth-child(99999999999)", "a number too large at byte 23, before '9)'")
    says("a:not(b c)", "',' or ')' expected (no ' ', '>', '+', '~' inside) at byte 9, before 'c)'")
    says("a:not()", "a selector expected at byte 7, before ')'")
    says("a\\", "nothing to escape at byte 3, at its end: 'a\\'")
    says((":not("):rep(9) .. "a" .. (")"):rep(9), "nested too deep at byte 46, before 'a)))))))))'")
    says(("a "):rep(65), "more than 64 parts at byte 129, before 'a '")
    assert.equal("", ids(("a "):rep(64)))
    assert_says("html.matches: bad selector", document.matches, document, "%")
  end)

  it("agrees with looking at each element, on many pages and selectors", function()
    -- A second, slow matcher: from the element outward, by the definition.
    local function simple(element, part)
      if part == "*" then return true end
      if part:sub(1, 1) == "." then
        return (" " .. (element:attr "class" or "") .. " "):find(" " .. part:sub(2) .. " ", 1, true)
      end
      return element.name == part
    end
    local function slow(element, parts, i)
      if not element or element == element.document or not simple(element, parts[i]) then
        return false
      end
      if i == 1 then return true end
      local between = parts[i - 1]
      if between == ">" then return slow(element.parent, parts, i - 2) end
      if between == "+" then return slow(element.previous, parts, i - 2) end
      local step = between == "~" and "previous" or "parent"
      local other = element[step]
      while other do
        if slow(other, parts, i - 2) then return true end
        other = other[step]
      end
      return false
    end

    local seed = 7
    local function random(n)
      seed = (seed * 1103515245 + 12345) % 2147483648
      return seed // 65536 % n + 1
    end
    local tags = { "<div>", "<b class=x>", "<div class='x y'>", "</div>", "</b>", "<p class=y>" }
    local simples = { "div", "b", "p", ".x", ".y", "*", "body" }
    local betweens = { " ", ">", "+", "~" }
    for _ = 1, 60 do
      local text = {}
      for i = 1, 60 do text[i] = tags[random(#tags)] end
      local document = parse(table.concat(text))
      local all = document:select "*"
      for _ = 1, 8 do
        local parts = { simples[random(#simples)] }
        for _ = 1, random(4) - 1 do
          parts[#parts + 1] = betweens[random(4)]
          parts[#parts + 1] = simples[random(#simples)]
        end
        local selector = table.concat(parts)
        local expected = {}
        for _, element in ipairs(all) do
          local found = slow(element, parts, #parts)
          if found then expected[#expected + 1] = element.position end
          assert.equal(found, element:matches(selector), selector)
        end
        local got = {}
        for i, element in ipairs(document:select(selector)) do got[i] = element.position end
        assert.same(expected, got, selector)
      end
    end
  end)
end)
