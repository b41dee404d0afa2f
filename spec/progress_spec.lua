-- asyncbox.progress: what it writes, in virtual time, on a terminal and in a log.

local async = require "asyncbox"
local progress = require "asyncbox.progress"
local clean = require "spec.support.clean"
local cli = require "spec.support.cli"
local errors = require "spec.support.errors"
local assert_says = errors.assert_says

before_each(clean.start)
after_each(clean.check)

-- What the script writes to stderr, in virtual time. COLUMNS of a terminal, or
-- no terminal.
local function run(code, columns, flags)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write([[
    local async = require "asyncbox"
    local progress = require "asyncbox.progress"
    local sleep, spawn = async.sleep, async.spawn
  ]], code)
  file:close()
  local args = { "run", "--virtual-time", table.unpack(flags or {}) }
  args[#args + 1] = path
  local r
  if columns then
    local words = { cli.quote(cli.program()) }
    for _, word in ipairs(args) do words[#words + 1] = cli.quote(word) end
    -- script(1) gives it a terminal, whose output it shows.
    r = cli.run({ "-qec", table.concat(words, " "), "/dev/null" },
      { program = "script", env = { COLUMNS = columns, LINES = 6, TERM = "xterm" } })
    r.stderr, r.stdout = r.stdout:gsub("\r\n", "\n"), ""
  else
    r = cli.run(args)
  end
  os.remove(path)
  assert.equal(0, r.status, r.stderr)
  return r.stderr, r.stdout
end

local function assert_writes(expected, code, columns, flags)
  assert.equal(expected, (run(code, columns, flags)))
end

-- A file that keeps what is written.
local function sink()
  local written = {}
  return {
    write = function(_, text) written[#written + 1] = text end,
    text = function() return table.concat(written) end,
  }
end

describe("progress", function()
  it("writes a line every three seconds, and a last one, where there is no terminal", function()
    assert_writes(
      " 60%|██████    | 6/10 [00:03<00:02,  2.00it/s]\n" ..
      "100%|██████████| 10/10 [00:05<00:00,  2.00it/s]\n",
      "for _ in progress { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 } do sleep(0.5) end")
  end)

  it("draws its line over again on a terminal", function()
    assert_writes(
      "\r  0%|                    | 0/4 [00:00<?, ?it/s]\27[J\r" ..
      "\r 25%|███         | 1/4 [00:01<00:03,  1.00it/s]\27[J\r" ..
      "\r 50%|██████      | 2/4 [00:02<00:02,  1.00it/s]\27[J\r" ..
      "\r 75%|█████████   | 3/4 [00:03<00:01,  1.00it/s]\27[J\r" ..
      "\r100%|████████████| 4/4 [00:04<00:00,  1.00it/s]\27[J\r" ..
      "\r100%|████████████| 4/4 [00:04<00:00,  1.00it/s]\27[K\n" ..
      "\r\27[J\r",
      "for _ in progress { 1, 2, 3, 4 } do sleep(1) end", 48)
  end)

  it("does not draw more often than every tenth of a second", function()
    local text = run("for _ in progress(('x'):rep(1000):gmatch '.') do sleep(0.001) end", 60)
    local _, count = text:gsub("\27%[J", "")
    assert.is_true(count >= 9 and count <= 13, count)
  end)

  it("gives the items of a list, and what an iterator gives", function()
    local got = {}
    for x in progress({ "a", "b" }, { disable = true }) do got[#got + 1] = x end
    for k, v in progress(("x=1 y=2"):gmatch "(%w)=(%d)", { disable = true }) do
      got[#got + 1] = k .. v
    end
    local queue = async.queue()
    queue:put "q"
    queue:close()
    for x in progress(queue, { disable = true }) do got[#got + 1] = x end
    assert.same({ "a", "b", "x1", "y2", "q" }, got)
  end)

  it("gives what pairs, ipairs and io.lines give, and closes that", function()
    assert_writes("2it [00:02,  1.00it/s]\n1it [00:01,  1.00it/s]\n1it [00:00, ?it/s]\n", [[
      for i, x in progress(ipairs { "a", "b" }) do assert(x == ("ab"):sub(i, i)) sleep(1) end
      for k, v in progress(pairs { a = 1 }) do assert(k == "a" and v == 1) sleep(1) end
      local closed = false
      local closing = setmetatable({}, { __close = function() closed = true end })
      for x in progress(function(s, c) return s > c and c + 1 end, 2, 0, closing) do
        if x == 2 then break end
      end
      assert(closed)
    ]])
  end)

  it("lets what it goes through wait", function()
    local queue, got = async.queue(), {}
    async.spawn(function()
      for i = 1, 3 do
        async.sleep(0)
        queue:put(i)
      end
      queue:close()
    end)
    local file = sink()
    for x in progress(queue, { file = file }) do got[#got + 1] = x end
    assert.same({ 1, 2, 3 }, got)
    assert.matches("^3it %[00:00, ", file.text())
  end)

  it("says how far it came when a loop is left early or breaks", function()
    assert_writes("2it [00:02,  1.00it/s]\n 50%|█████     | 1/2 [00:01<00:01,  1.00it/s]\n", [[
      for x in progress(("a b c d"):gmatch "%a") do
        if x == "c" then break end
        sleep(1)
      end
      pcall(function()
        for x in progress { 1, 2 } do
          if x == 2 then error "broken" end
          sleep(1)
        end
      end)
    ]])
  end)

  it("shows several bars at once; those that end stay above", function()
    local one = "one:   0%|           | 0/2 [00:00<?, ?it/s]"
    local two = "two:   0%|           | 0/1 [00:00<?, ?it/s]"
    assert_writes(
      "\r" .. one .. "\27[J\r" ..
      "\r" .. one .. "\27[K\n" .. two .. "\27[J\27[1A\r" ..
      "\rone:  50%|█▌ | 1/2 [00:01<00:01,  1.00it/s]\27[K\n" .. two:gsub("00:00", "00:01") ..
      "\27[J\27[1A\r" ..
      "\rtwo: 100%|███| 1/1 [00:01<00:00,  1.00it/s]\27[K\n" ..
      "\rone:  50%|█▌ | 1/2 [00:01<00:01,  1.00it/s]\27[J\r" ..
      "\rone: 100%|███| 2/2 [00:02<00:00,  1.00it/s]\27[J\r" ..
      "\rone: 100%|███| 2/2 [00:02<00:00,  1.00it/s]\27[K\n\r\27[J\r",
      [[
      local one = progress.bar { total = 2, desc = "one" }
      local two = progress.bar { total = 1, desc = "two" }
      sleep(1)
      one:update()
      two:update()
      two:close()
      sleep(1)
      one:update()
      one:close()
    ]], 44)
  end)

  it("shows no more bars than the terminal has lines", function()
    local text = run([[
      local bars = {}
      for i = 1, 20 do bars[i] = progress.bar { total = 1, leave = false } end
      for i = 1, 20 do bars[i]:close() end
    ]], 50)
    assert.is_truthy(text:find("\27[4A", 1, true))
    assert.is_nil(text:find("\27[5A", 1, true))
  end)

  it("leaves nothing behind when it is told so", function()
    local text = run("for _ in progress({ 1 }, { leave = false }) do end", 50)
    assert.is_nil(text:find "\n")
    assert.matches("\27%[J\r$", text)
    assert_writes("", "for _ in progress({ 1 }, { leave = false }) do end")
  end)

  it("prints lines above the bars", function()
    local text = run([[
      for x in progress { 1, 2 } do progress.write("item", x) end
    ]], 50)
    assert.is_truthy(text:find("\27[J\r\r\27[Jitem\t1\n\r", 1, true), text)
    local err, out = run "for x in progress { 1 } do progress.write('item', x) end"
    assert.equal("item\t1\n", out)
    assert.equal("100%|██████████| 1/1 [00:00<?, ?it/s]\n", err)
  end)

  it("cuts a line that is too long, and keeps control characters to itself", function()
    local text = run([[
      local bar = progress.bar { total = 2, desc = ("é"):rep(100) }
      bar:close()
      bar = progress.bar { total = 2, desc = "a\27[31m\nb" }
      bar:close()
    ]], 30)
    assert.is_truthy(text:find("\r" .. ("é"):rep(29) .. "\27[K\n", 1, true))
    assert.is_truthy(text:find("\ra [31m b:   0%|", 1, true))
  end)

  it("is drawn in a sandbox, too", function()
    local code = "for _ in progress { 1, 2 } do sleep(4) end"
    assert_writes(" 50%|█████     | 1/2 [00:04<00:04,  4.00s/it]\n" ..
      "100%|██████████| 2/2 [00:08<00:00,  4.00s/it]\n", code, nil, { "--sandbox" })
    local flags = { "--allow-env=COLUMNS,LINES" }
    assert.equal((run(code, 50)), (run(code, 50, flags)))
    local above = "local bar = progress.bar { total = 1 } progress.write('above', 1) bar:close()"
    assert.equal((run(above, 50)), (run(above, 50, flags)))
  end)

  it("goes on when nothing can be written", function()
    local broken = { write = function() error "the disk is full" end }
    local count = 0
    for _ in progress({ 1, 2, 3 }, { file = broken, interval = 0 }) do count = count + 1 end
    assert.equal(3, count)
  end)

  it("says which argument is wrong", function()
    local function says(pattern, ...)
      local args = table.pack(...)
      assert_says("progress_spec.lua:%d+: " .. pattern, function()
        for _ in progress(table.unpack(args, 1, args.n)) do end -- luacheck: ignore
      end)
    end
    says "progress: bad argument #1 %(list or iterator expected, got nil%)"
    says("progress: bad argument #1 %(list or iterator expected, got number%)", 10)
    says("progress: unknown option 'title' %(known: total, initial, desc, ", {}, { title = "x" })
    says("progress: options must be a table, got string", {}, "x")
    says("progress: option 'total' must be a number, got string", {}, { total = "x" })
    says("progress: option 'total' must be a finite number, got %-?nan", {}, { total = 0 / 0 })
    says("progress: option 'interval' must not be negative", {}, { interval = -1 })
    says("progress: option 'leave' must be a boolean, got number", {}, { leave = 1 })
    says("progress: option 'file' must have a method write, got string", {}, { file = "x" })
    local bar = progress.bar { disable = true }
    assert_says("progress_spec.lua:%d+: update: the number of steps must be a finite number",
      function() bar:update "x" end)
    assert_says("update: the number of steps must be a finite number, got %-?nan",
      bar.update, bar, 0 / 0)
    assert_says("set: the count must be a finite number, got nil", bar.set, bar)
    assert_says("describe: the text must be a string, got number", bar.describe, bar, 1)
    assert_says("a bar without a list or iterator cannot be called", bar)
  end)
end)

describe("A bar", function()
  it("counts bytes by 1,024, as a download does", function()
    assert_writes(
      "page.bin:  50%|█████     | 1.50M/3.00M [00:03<00:03, 512kB/s]\n" ..
      "page.bin: 100%|██████████| 3.00M/3.00M [00:06<00:00, 512kB/s]\n", [[
      local bar <close> = progress.bar { desc = "page.bin", unit = "B" }
      for i = 1, 6 do
        sleep(1)
        bar:set(i * 512 * 1024, 3 << 20) -- as on_progress is called
      end
    ]])
  end)

  it("goes on from where something was, without counting it for the rate", function()
    assert_writes(" 75%|███████▌  | 6/8 [00:02<00:02,  1.00it/s]\n", [[
      local bar <close> = progress.bar { total = 8, initial = 4 }
      sleep(2)
      bar:update(2)
    ]])
  end)

  it("can be told more while it runs", function()
    assert_writes("b:  10%|█         | 5/50 [00:01<00:09,  5.00it/s, 3 left]\n", [[
      local bar <close> = progress.bar { desc = "a" }
      bar:describe "b"
      bar:note "3 left"
      sleep(1)
      bar:update(5)
      bar.total = 50
    ]])
  end)

  it("shows hours, thousands, slow rates and more than there should be", function()
    assert_writes(
      "1.20Mrow [1:01:40, 324row/s]\n" ..
      "  0%|          | 1/1000 [01:40<27:45:00, 100.00s/it]\n" ..
      "3it [00:00, ?it/s]\n" ..
      " 50%|#####     | 1/2 [00:00<?, ?it/s]\n" ..
      " 25%|##5       | 1/4 [00:00<?, ?it/s]\n", [[
      local bar = progress.bar { unit = "row", scale = true, interval = 1e6 }
      sleep(3700)
      bar:update(1200000)
      bar:close()
      bar = progress.bar { total = 1000, interval = 1e6 }
      sleep(100)
      bar:update()
      bar:close()
      bar = progress.bar { total = 2 }
      bar:update(3)
      bar:close()
      for total = 2, 4, 2 do
        bar = progress.bar { total = total, ascii = true }
        bar:update()
        bar:close()
        bar:close()
      end
    ]])
  end)

  it("estimates by the last moments more than by the first", function()
    local file = sink()
    local text = run [[
      local bar = progress.bar { total = 100, interval = 0 }
      for i = 1, 20 do sleep(1) bar:update(1) end
      for i = 1, 20 do sleep(0.1) bar:update(1) end
    ]]
    -- By all its time it would be 1.8 a second.
    assert.matches("40/100 %[00:22<00:0%d,  9%.%d%dit/s%]\n$", text)
    assert.equal("", file.text())
  end)

  it("tells how it stands", function()
    local bar = progress.bar { total = 2, disable = true }
    bar:update()
    assert.equal(1, bar.count)
    assert.equal(2, bar.total)
    assert.equal("<ProgressBar  50%|█████     | 1/2 [00:00<?, ?it/s]>", tostring(bar))
    assert.is_nil(bar.no_such_field)
  end)

  it("survives any total", function()
    local bar = progress.bar { disable = true }
    for _, total in ipairs { 0, -1, 0 / 0, math.huge, "x", {} } do
      bar.total = total
      assert.matches("0it %[", tostring(bar))
    end
  end)
end)

describe("progress.gather", function()
  it("gives the results in order and shows each that is done", function()
    assert_writes(
      "fetch:  67%|██████▋   | 2/3 [00:03<00:01,  1.50s/it]\n" ..
      "fetch: 100%|██████████| 3/3 [00:05<00:00,  1.67s/it]\n", [[
      local job = async(function(seconds)
        sleep(seconds)
        return seconds
      end)
      local results = progress.gather({ job(5), spawn(job(1)), job(3) }, { desc = "fetch" })
      assert(#results == 3 and results[1] == 5 and results[2] == 1 and results[3] == 3)
    ]])
  end)

  it("raises the first error and cancels the others", function()
    local file, other = sink(), nil
    local ok, err = pcall(progress.gather, {
      async.spawn(function()
        async.sleep(0)
        error("broken", 0)
      end),
      async.spawn(function()
        other = async.current_task()
        async.sleep(100)
      end),
    }, { file = file })
    assert.is_false(ok)
    assert.equal("broken", err)
    assert.is_true(other:cancelled())
    assert.matches(" 50%%|█████     | 1/2 ", file.text())
  end)

  it("is cancelled with its task", function()
    local file, inner = sink(), nil
    local task = async.spawn(progress.gather, { async.spawn(function()
      inner = async.current_task()
      async.sleep(100)
    end) }, { file = file })
    async.sleep(0)
    async.sleep(0)
    task:cancel()
    errors.assert_code("ECANCELED", async.await, task)
    assert.is_true(inner:cancelled())
    assert.matches("0/1", file.text())
  end)

  it("says what cannot be waited for", function()
    assert_says("progress_spec.lua:%d+: progress.gather: item 1 is a function, which nobody can " ..
      "wait for %(write async.spawn%(f, ...%)%)", function() progress.gather { print } end)
    assert_says("item 1 is a string", progress.gather, { "x" })
    assert_says("list expected, got nil", progress.gather)
  end)
end)

describe("progress.map", function()
  it("shows each that is done, at most so many at once", function()
    assert_writes(
      " 33%|███▎      | 1/3 [00:03<00:06,  3.00s/it]\n" ..
      "100%|██████████| 3/3 [00:07<00:00,  2.26s/it]\n", [[
      local doubled = progress.map({ 3, 3, 4 }, function(x)
        sleep(x)
        return x * 2
      end, { limit = 2 })
      assert(doubled[1] == 6 and doubled[2] == 6 and doubled[3] == 8)
    ]])
  end)

  it("says which argument is wrong", function()
    assert_says("progress.map: bad argument #1", progress.map, nil, print)
    assert_says("limit must be 1 or more", progress.map, {}, print, { limit = 0, disable = true })
    assert_says("unknown option 'x'", progress.map, {}, print, { x = 0 })
    assert_says("bad argument #2", progress.map, {}, nil, { disable = true })
  end)
end)
