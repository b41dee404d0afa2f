-- Where a coroutine cannot wait: calls back from C.

local async = require "asyncbox"
local clean = require "spec.support.clean"
local errors = require "spec.support.errors"
local scoped = require "spec.support.scoped"
local failure, assert_says = errors.failure, errors.assert_says
local await, sleep, spawn = async.await, async.sleep, async.spawn
local on_close = scoped.on_close

describe("A wait is refused, and the reason named,", function()
  before_each(clean.start)
  after_each(clean.check)

  local function refused(name, f, ...)
    assert_says("coroutine_refusal_spec.lua:%d+: sleep: cannot wait inside " .. name
      .. ": it calls back from C and cannot be suspended", f, ...)
  end
  local function wait() sleep(0) end

  it("in a comparator of table.sort.", function()
    refused("table%.sort", table.sort, { 1, 2, 3 }, wait)
    refused("table%.sort", coroutine.wrap(function() table.sort({ 1, 2, 3 }, wait) end))
  end)

  it("in a metamethod below table.sort, table.concat or table.insert.", function()
    local mt = { __lt = wait, __index = wait, __len = wait, __newindex = wait }
    local a, b = setmetatable({}, mt), setmetatable({}, mt)
    refused("table%.sort", table.sort, { a, b })
    refused("table%.concat", table.concat, a)
    refused("table%.insert", table.insert, a, 1)
    refused("table%.unpack", table.unpack, a)
  end)

  it("in a function or table given to string.gsub.", function()
    refused("string%.gsub", string.gsub, "abc", ".", wait)
    refused("string%.gsub", string.gsub, "abc", ".", setmetatable({}, { __index = wait }))
    refused("string%.gsub", function() return ("abc"):gsub(".", wait) end)
  end)

  it("in __tostring, __name and what print or tostring calls.", function()
    local t = setmetatable({}, { __tostring = wait })
    refused("tostring", tostring, t)
    refused("print", print, t)
    refused("string%.format", string.format, "%s", t)
  end)

  it("in a reader of load.", function()
    -- In a pcall, because load's errors go through message handlers outside.
    local _, f, err = pcall(load, function()
      sleep(0)
      return nil
    end)
    assert.is_nil(f)
    assert.is_truthy(err:find "sleep: cannot wait inside load")
  end)

  it("in a finalizer.", function()
    local err
    setmetatable({}, { __gc = function() err = failure(sleep, 0) end })
    collectgarbage()
    assert.is_truthy(err:find "cannot wait inside a __gc finalizer", err)
    local co = coroutine.wrap(function()
      setmetatable({}, { __gc = function() err = failure(sleep, 0) end })
      collectgarbage()
    end)
    co()
    assert.is_truthy(err:find "cannot wait inside a __gc finalizer", err)
  end)

  it("in a message handler of xpcall.", function()
    local err
    xpcall(error, function() err = failure(sleep, 0) end, "x")
    assert.is_truthy(err:find "cannot wait inside a message handler", err)
  end)

  it("in a close handler that coroutine.close or a failed generator runs.", function()
    local err
    local co = coroutine.create(function()
      local _ <close> = on_close(function() err = failure(sleep, 0) end)
      coroutine.yield()
    end)
    coroutine.resume(co)
    assert.is_true(coroutine.close(co))
    assert.is_truthy(err:find "cannot wait inside coroutine%.close", err)
    err = nil
    local gen = coroutine.wrap(function()
      local _ <close> = on_close(function() err = failure(sleep, 0) end)
      error("x", 0)
    end)
    assert.equal("x", failure(gen))
    assert.is_truthy(err:find "cannot wait inside .*a generator that failed", err)
  end)

  it("in a coroutine that is resumed where it could not be.", function()
    refused("table%.sort", table.sort, { 1, 2, 3 }, coroutine.wrap(wait))
    refused("string%.gsub", string.gsub, "x", ".", function()
      return coroutine.wrap(function() coroutine.wrap(wait)() end)()
    end)
  end)

  it("by every function that waits.", function()
    local q, e, l, f = async.queue(), async.event(), async.lock(), async.future()
    local t = spawn(sleep, 0)
    for name, call in pairs {
      await = function() await(t) end, get = function() q:get() end,
      put = function() q:put(1) end, wait = function() e:wait() end,
      acquire = function() l:acquire() end, gather = function() async.gather(f) end,
      timeout = function() async.timeout(1, print) end, group = function() async.group() end,
    } do
      local err = failure(table.sort, { 1, 2 }, call)
      local text = name .. ": " .. tostring(err)
      assert.is_truthy(text:find "cannot wait inside table.sort", text)
    end
    await(t)
    f:cancel()
  end)
end)
