-- http_upload.lua - a fetch whose body is made while it is sent. The fetch is a task of its own, so
-- that whatever ends it (a timeout, the server, a closed session) ends a wait of the iterator too.
local core, part = ...
local async = core.module "asyncbox"
local group, sleep = async.group, async.sleep
local error, format, pcall, tostring, type = error, string.format, pcall, tostring, type

local ANSWERED = {}

local function fail(what, code, message, ...)
  error(core.failure(code, what, format(message, ...)), 0)
end

-- Puts the pieces into the feed until there is no more, or nobody wants it.
local function send(what, source, feed)
  local pieces, closing = source.open()
  local _ <close> = closing
  local left = source.length
  while left ~= 0 do
    local piece = pieces()
    if piece == nil then break end
    if type(piece) == "number" then piece = tostring(piece) end
    if type(piece) ~= "string" then
      fail(what, "EINVAL", "the body's iterator gave a %s, not a string", type(piece))
    end
    local wanted, code = feed:put(piece)
    if code == "E2BIG" then
      fail(what, "EINVAL", "the body is longer than its length of %d bytes", source.length)
    elseif code then
      fail(what, code, "no memory for the body")
    end
    if not wanted then return end
    if piece == "" then sleep(0) end -- or who gives nothing else holds all up
    if left then left = left - #piece end
  end
  if not feed:finish() then
    fail(what, "EINVAL", "the body is shorter than its length of %d bytes", source.length)
  end
end

-- As core.fetch. Gives the response when the body is sent, or when the server wants no more of it.
function part.upload(session, verb, method, url, low, source)
  local what = core.verb(verb)
  local feed <close> = core.feed(source.length)
  local response
  low.feed = feed
  local ok, err = pcall(function()
    local g <close> = group()
    local sent = false
    g:spawn(function()
      response = core.fetch(session, verb, method, url, low)
      if response.status < 300 then feed:wait() end
      if not sent then error(ANSWERED, 0) end -- which ends the wait of the block
    end)
    send(what, source, feed)
    sent = true
    g:wait()
  end)
  low.feed = nil
  if response then return response end
  error(ok and core.failure("EHTTP", what, "no response") or err, 0)
end
