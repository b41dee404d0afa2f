-- asyncbox.html: the tree of any page, its nodes, links, limits; selectors: html_select_spec.lua.

local async = require "asyncbox"
local html = require "asyncbox.html"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local eventually = require "spec.support.eventually"
local parse = html.parse
local assert_code, assert_says = errors.assert_code, errors.assert_says

-- What the pool still works at ends when it ends.
local ops
before_each(function()
  parse "" -- opens libgumbo
  clean.start()
  ops = async.stats().ops
end)
after_each(function()
  eventually("parsing has ended", function() return async.stats().ops <= ops end)
  clean.check()
end)

-- <html><head></head><body>INNER</body></html>
local function in_body(inner)
  return "<html><head></head><body>" .. inner .. "</body></html>"
end

-- { page, what stands in its body } pairs.
local function bodies(cases)
  for _, case in ipairs(cases) do
    assert.equal(in_body(case[2]), parse(case[1]):html(), case[1])
  end
end

local function wholes(cases)
  for _, case in ipairs(cases) do
    assert.equal(case[2], parse(case[1]):html(), case[1])
  end
end

describe("html.parse", function()
  it("gives the document of a page", function()
    local page = parse "<!DOCTYPE html><title>Hi</title><p class=x>one<p>two"
    assert.equal("<Document>", tostring(page))
    assert.equal("Hi", page.title)
    assert.equal("html", page.doctype)
    assert.equal("<Element html>", tostring(page.root))
    assert.equal("<Element head>", tostring(page.head))
    assert.equal("<Element body>", tostring(page.body))
    assert.equal("one", page:find("p"):text())
    assert.equal(
      "<!DOCTYPE html><html><head><title>Hi</title></head>" ..
      '<body><p class="x">one</p><p>two</p></body></html>', page:html())
  end)

  it("makes a page of anything", function()
    wholes {
      { "", in_body "" },
      { "<div", in_body "" },
      { "text", in_body "text" },
      { "<head><p>x", in_body "<p>x</p>" },
      { "<title><b>x</b></title>",
        "<html><head><title>&lt;b&gt;x&lt;/b&gt;</title></head><body></body></html>" },
      { "<script>if (a<b) '<p>'</script>x",
        "<html><head><script>if (a<b) '<p>'</script></head><body>x</body></html>" },
      { "<!-- a --><!doctype html><html lang=en><!-- b --><body class=x><html id=y><body id=z>",
        '<!DOCTYPE html><!-- a --><html lang="en" id="y"><!-- b --><head></head>' ..
        '<body class="x" id="z"></body></html>' },
      { "<?php x ?>z", "<!--?php x ?--><html><head></head><body>z</body></html>" },
      { "<!-->x", "<!----><html><head></head><body>x</body></html>" },
      { "<template><tr><td>x</template>",
        "<html><head><template><tr><td>x</td></tr></template></head><body></body></html>" },
      { "<!doctype html><frameset><frame></frameset>",
        "<!DOCTYPE html><html><head></head><frameset><frame></frameset></html>" },
    }
  end)

  it("closes what was left open and moves what stands wrong, as the standard says", function()
    bodies {
      { "<p>one<p>two", "<p>one</p><p>two</p>" },
      { "<ul><li>a<li>b</ul>c", "<ul><li>a</li><li>b</li></ul>c" },
      { "<dl><dt>a<dd>b<dt>c", "<dl><dt>a</dt><dd>b</dd><dt>c</dt></dl>" },
      { "<b><i>x</b>y</i>", "<b><i>x</i></b><i>y</i>" },
      { "<p><b>a<p>b", "<p><b>a</b></p><p><b>b</b></p>" },
      { "<font><p>a</font>b", "<font></font><p><font>a</font>b</p>" },
      { "<a href=1>x<a href=2>y", '<a href="1">x</a><a href="2">y</a>' },
      { "<div><p>a</div>b</p>", "<div><p>a</p></div>b<p></p>" },
      { "<h1>a<h2>b</h1>c", "<h1>a</h1><h2>b</h2>c" },
      { "<br></br></p>", "<br><br><p></p>" },
      { "</div>x</span>", "x" },
      { "<button>a<button>b", "<button>a</button><button>b</button>" },
      { "<ruby>a<rt>b<rp>c", "<ruby>a<rt>b</rt><rp>c</rp></ruby>" },
      { "<table>x<tr><td>1<td>2</table>z",
        "x<table><tbody><tr><td>1</td><td>2</td></tr></tbody></table>z" },
      { "<table><tr><td><table><tr><td>x</table>y",
        "<table><tbody><tr><td><table><tbody><tr><td>x</td></tr></tbody></table>y" ..
        "</td></tr></tbody></table>" },
      { "<b><table><td></b><i></table>x</i>",
        "<b><table><tbody><tr><td><i></i></td></tr></tbody></table>x</b>" },
      { "<select><option>a<option>b<p>c</select>",
        "<select><option>a</option><option>bc</option></select>" },
      { "<textarea><b></textarea>", "<textarea>&lt;b&gt;</textarea>" },
      { "<plaintext>a</plaintext>b", "<plaintext>a</plaintext>b</plaintext>" },
      { "<div a=1 a=2 B=3>", '<div a="1" b="3"></div>' },
      { "<image>", "<img>" },
      { "<pre>\n\na</pre>", "<pre>\na</pre>" },
      { "a\r\nb\rc", "a\nb\nc" },
      { "<svg viewbox=1><lineargradient xlink:href=#a /><foreignObject><p>x</p></foreignObject>" ..
        "</svg>y",
        '<svg viewBox="1"><linearGradient xlink:href="#a"></linearGradient>' ..
        "<foreignObject><p>x</p></foreignObject></svg>y" },
      { "<svg><desc><p>x</svg>y", "<svg><desc><p>xy</p></desc></svg>" },
      { "<math><mi>x</math>", "<math><mi>x</mi></math>" },
      { "<My-Element A=1>x", '<my-element a="1">x</my-element>' },
    }
  end)

  it("translates characters, and writes them back", function()
    bodies {
      { "a&amp;b&lt;&copy;&#65;&#x1F600;&bogus;&ampx", "a&amp;b&lt;©A😀&amp;bogus;&amp;x" },
      { "<img alt='b\"c<&amp;'>", '<img alt="b&quot;c<&amp;">' },
      { "a&nbsp;b", "a&nbsp;b" },
      { "&#0;&#xD800;&#x110000;", "\u{fffd}\u{fffd}\u{fffd}" },
    }
    assert.equal("a\u{a0}b", parse("a&nbsp;b"):text())
    assert.equal("&lt;a b=&quot;c&quot;&gt;&#39;&amp;", html.escape [[<a b="c">'&]])
  end)

  it("takes UTF-8, passes a byte order mark over and replaces what is none", function()
    local page = parse "\u{feff}<title>\xffé\xe4</title><p\xff Q\xff=\xff>x"
    assert.equal("\u{fffd}é\u{fffd}", page.title)
    local odd = page.body:children()[1]
    assert.equal("p\u{fffd}", odd.name)
    assert.same({ ["q\u{fffd}"] = "\u{fffd}" }, odd:attrs())
    assert.equal("x", parse("\u{feff}<!doctype html>x").body:text())
    assert.equal("html", parse("\u{feff}<!doctype html>x").doctype)
    for _, text in ipairs { page:html(), page:text() } do assert.is_truthy(utf8.len(text)) end
    assert.equal("ab", parse("<p>a\0b"):find("p"):text())
  end)

  it("reads what it has written again", function()
    local page = "<!DOCTYPE html><title>a &amp; b</title><p id='x\"y'>1<br>2<table><td>3" ..
      "<script>a && b</script><svg><path d=1></svg><pre>\n\nq</pre>"
    local once = parse(page):html()
    assert.equal(once:gsub("<pre>", "<pre>\n"), (parse(once):html():gsub("<pre>", "<pre>\n\n")))
  end)

  it("lets others run meanwhile", function()
    local endless = async.spawn(parse, ("<div>"):rep(100000)) -- takes more than a minute
    for _ = 1, 100 do async.sleep(0) end
    assert.equal("x", parse("x"):text())
    assert.is_false(endless:done())
    endless:cancel()
    assert_code("ECANCELED", async.await, endless)
  end)

  it("parses many pages at once", function()
    local pages = {}
    for i = 1, 50 do pages[i] = "<title>" .. i .. "</title>" .. ("<p>x"):rep(i * 20) end
    local documents = async.map(pages, function(text) return parse(text) end)
    for i = 1, 50 do
      assert.equal(tostring(i), documents[i].title)
      assert.equal(i * 20, #documents[i]:find_all "p")
    end
  end)

  it("keeps the document while a node of it is held, and lets go of it then", function()
    local function memory()
      collectgarbage()
      collectgarbage()
      return async.stats().memory
    end
    local before = memory()
    local node = parse("<p>hello" .. ("<b>x</b>"):rep(20000)):find "p"
    assert.is_true(memory() - before > 20000 * 30)
    assert.equal("hello", node:contents()[1])
    assert.equal("<Document>", tostring(node.document))
    node = nil -- luacheck: ignore
    assert.is_true(memory() - before < 20000)
  end)

  it("does not pile up documents that nobody holds", function()
    local page = ("<p>hello <b>world</b>"):rep(2000)
    parse(page)
    collectgarbage()
    local before, most = async.stats().memory, 0
    for _ = 1, 100 do
      parse(page)
      most = math.max(most, async.stats().memory - before)
    end
    assert.is_true(most < 30 * 3 * #page, most)
  end)

  it("says which argument is wrong", function()
    assert_says("html_spec.lua:%d+: bad argument #1 to .*string expected, got number",
      function() parse(1) end)
    assert_says("bad argument #1", parse)
    assert_says("html_spec.lua:%d+: html.parse: unknown option 'depth' %(known: max_nodes, ",
      function() parse("", { depth = 1 }) end)
    assert_says("option 'max_nodes' must be from 1 to ", parse, "", { max_nodes = 0 })
    assert_says("option 'max_memory' must be from ", parse, "", { max_memory = 1 })
    assert_says("option 'timeout' must not be NaN", parse, "", { timeout = 0 / 0 })
    assert_says("options must be a table", parse, "", 1)
    assert_says("string expected", html.escape)
  end)

  it("stops at its limits", function()
    local err = assert_code("ELIMIT", parse, "<p>x", { max_nodes = 4 })
    assert.equal("max_nodes", err.limit)
    assert.equal("html.parse: more than 4 nodes (see the option max_nodes) (ELIMIT)",
      tostring(err))
    assert.equal("x", parse("<p>x", { max_nodes = 6 }):text())
    err = assert_code("ELIMIT", parse, ("<b>"):rep(100000), { max_memory = 1 << 20 })
    assert.equal("max_memory", err.limit)
    err = assert_code("ETIMEDOUT", parse, ("<div>"):rep(100000), { timeout = 0.05 })
    assert.equal("html.parse: parsing takes more than 0.05 s (see the option timeout) (ETIMEDOUT)",
      tostring(err))
  end)

  it("takes more memory when the first guess was too little", function()
    -- Each paragraph opens all the formats anew: the tree is many times the page.
    local page = "<p>" .. ("<b a=1><i><u><s>"):rep(3) .. ("<p>x"):rep(2999)
    local document = parse(page)
    assert.equal(3000, #document:find_all "p")
    assert.is_true(#document:select "p b" >= 9000)
  end)

  it("nests as deep as the page does, and no stack overflows", function()
    local deep = 5000
    local page = parse(("<div>"):rep(deep) .. "x", { timeout = 100 })
    assert.equal(deep, #page:find_all "div")
    assert.equal(deep - 1, #page:select "div > div")
    assert.equal("x", page:text())
    assert.equal(in_body(("<div>"):rep(deep) .. "x" .. ("</div>"):rep(deep)), page:html())
    local all = page:find_all "div"
    assert.equal(page.body, all[deep]:closest "body")
    assert.is_true(all[deep]:matches "body div div")
  end)

  it("stops when its task is cancelled, also one that waits for its turn", function()
    local tasks = {}
    for i = 1, 6 do tasks[i] = async.spawn(parse, ("<div>"):rep(100000)) end
    async.sleep(0)
    async.sleep(0)
    for _, task in ipairs(tasks) do task:cancel() end
    for _, task in ipairs(tasks) do assert_code("ECANCELED", async.await, task) end
    assert.equal("x", parse("x"):text()) -- the others' turns have come to an end
  end)

  it("raises outside of a task", function()
    local co = coroutine.wrap(function() return parse "<p>inside of a coroutine" end)
    assert.equal("inside of a coroutine", co():text())
    assert_says("cannot wait", function()
      table.sort({ 1, 2 }, function() parse "x" end)
    end)
  end)

  it("works in a sandbox, within its memory", function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write [[
      local html = require "asyncbox.html"
      print(html.parse("<title>in a box</title>").title)
      local page = ("<p class=a>some <b>text</b></p>"):rep(3000)
      local n = 0
      for i = 1, 40 do n = n + #html.parse(page):find_all "b" end
      print(n)
      local ok, err = pcall(html.parse, ("<br>"):rep(400000))
      print(ok, type(err) == "table" and err.code or err)
      print(html.parse("<p>goes on").body:text())
    ]]
    file:close()
    local r = cli.run { "run", "--sandbox", "--memory=32M", path }
    os.remove(path)
    assert.equal("in a box\n120000\nfalse\tENOMEM\ngoes on\n", r.stdout)
    assert.equal("", r.stderr)
  end)
end)

describe("A node", function()
  local page
  before_each(function()
    page = parse [[
      <!doctype html><title>
         The   title </title>
      <div id=a class="x y"><p>one <b>two</b><!-- no --></p> <p>three</p>tail</div>
      <svg><title>of a picture</title></svg>
      <script>var code</script><style>p {}</style>
    ]]
  end)

  it("knows its name, its attributes and its neighbours", function()
    local div = page:find "div"
    assert.equal("div", div.name)
    assert.equal("<Element div#a.x.y>", tostring(div))
    assert.equal("x y", div:attr "class")
    assert.equal("x y", div:attr "CLASS")
    assert.is_nil(div:attr "none")
    assert.same({ id = "a", class = "x y" }, div:attrs())
    local first, second = table.unpack(div:children())
    assert.is_nil(div:children()[3])
    assert.equal(second, first.next)
    assert.equal(first, second.previous)
    assert.is_nil(first.previous)
    assert.is_nil(second.next)
    assert.equal(div, first.parent)
    assert.equal(page, div.document)
    assert.equal(page, page.root.parent)
    assert.is_true(first.position < second.position)
    assert.are_not.equal(first, second)
    assert.is_nil(div.no_such_field)
    assert.is_nil(div.title)
    for _, field in ipairs { "name", "parent", "next", "previous" } do
      assert.is_nil(page[field])
    end
    assert.same({}, page:attrs())
    assert.is_nil(page:attr "id")
  end)

  it("gives its contents: elements, and text as strings", function()
    local contents = page:find("div"):contents()
    assert.equal(4, #contents)
    assert.equal("<Element p>", tostring(contents[1]))
    assert.equal(" ", contents[2])
    assert.equal("tail", contents[4])
    assert.same({ "one ", page:find "b" }, page:find("p"):contents())
  end)

  it("gives its text, without what nobody reads", function()
    assert.equal("one two threetail", page:find("div"):text())
    assert.equal("The title one two threetail of a picture", page:text { trim = true })
    assert.equal("var code", page:find("script"):text())
    assert.equal("", parse("  \n "):text { trim = true })
    assert_says("unknown option 'trimm'", page.text, page, { trimm = true })
  end)

  it("gives its HTML", function()
    local p = page:find "p"
    assert.equal("<p>one <b>two</b><!-- no --></p>", p:html())
    assert.equal("one <b>two</b><!-- no -->", p:inner_html())
    assert.equal("<p>a</p><br>", parse("<p>a</p><br>").body:inner_html())
    assert.equal("", parse("<br>"):find("br"):inner_html())
  end)

  it("is the page's title only in HTML, and without needless spaces", function()
    assert.equal("The title", page.title)
    assert.is_nil(parse("<svg><title>x</title></svg>").title)
    assert.equal("", parse("<title></title>").title)
    assert.is_nil(parse("").title)
    assert.is_nil(parse("").doctype)
  end)

  it("finds elements by name, those inside of it", function()
    assert.equal(2, #page:find_all "p")
    assert.equal("three", page:find_all("P")[2]:text())
    assert.is_nil(page:find "video")
    assert.same({}, page:find_all "video")
    assert.is_nil(page:find("p"):find "p")
    assert.is_nil(page:find(""))
  end)

  it("refuses what is no node", function()
    assert_says("Node expected, got no value", page.find)
    assert_says("Node expected, got table", page.select, {}, "p")
    assert_says("string expected", page.find, page)
    assert_says("string expected", page.select, page)
    assert_says("string expected", page:find("p").attr, page:find "p")
    assert.is_false(page == "x")
    assert.equal(false, getmetatable(page))
  end)
end)

describe("node:links", function()
  local page = [[
    <p><a href="b">1</a><a>none</a><a name=x>none</a><map><area href=" /c?d#e "></map></p>
    <div><a href="https://other/">2</a><a href="mailto:a@b">3</a><a href="http://[">bad</a>
    <a href="">itself</a><a href="//h/p">4</a></div><link href=style.css>]]

  it("gives the targets, seen from where the page came from", function()
    assert.same({
      "http://x/y/b", "http://x/c?d#e", "https://other/", "mailto:a@b", "http://x/y/z",
      "http://h/p",
    }, parse(page):links "http://x/y/z")
    assert.same({ "https://other/", "mailto:a@b", "http://x/y/z", "http://h/p" },
      parse(page):find("div"):links "http://x/y/z")
  end)

  it("respects the page's <base href>", function()
    local base = "<base target=x><base href=../q/><base href=/no/>"
    local links = parse(base .. page):links "http://x/y/z"
    assert.equal("http://x/q/b", links[1])
    links = parse("<base href='http://far/a/'>" .. page):links()
    assert.equal("http://far/a/b", links[1])
    links = parse("<base href='http://['>" .. page):links "http://x/y/z"
    assert.equal("http://x/y/b", links[1])
  end)

  it("gives them as they stand where nothing says from where", function()
    assert.same({ "b", "/c?d#e", "https://other/", "mailto:a@b", "http://[", "", "//h/p" },
      parse(page):links())
  end)

  it("refuses a page's URL that is none", function()
    assert_code("EINVAL", function() return parse(page):links "no url" end)
    assert_says("html_spec.lua:%d+: links: the page's URL must be a string, got number",
      function() parse(page):links(1) end)
  end)
end)
