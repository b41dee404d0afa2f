-- http_upload.lua - a fetch whose body is made while it is sent. The fetch is a task of its own, so
-- that whatever ends it (a timeout, the server, a closed session) ends a wait of the iterator too.
local core, part = ...
local async = core.module "asyncbox"
local group, sleep = async.group, async.sleep
local error, format, pcall, tostring, type = error, string.format, pcall, tostring, type

local ANSWERED = {}

local function is_cancelled(err) return type(err) == "table" and err.code == "ECANCELED" end

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
-- The fetch's own task fails only to end a wait of the iterator, and somebody takes that error: it
-- would be reported as lost, if it came together with one of the iterator's.
function part.upload(session, verb, method, url, low, source)
  local what = core.verb(verb)
  local feed <close> = core.feed(source.length)
  local response, failure, own, sent, ended
  low.feed = feed
  local ok, err = pcall(function()
    local g <close> = group()
    g:spawn(function()
      local fetched, got = pcall(core.fetch, session, verb, method, url, low)
      if not fetched then
        failure = got
      else
        response = got
        if got.status < 300 then feed:wait() end
      end
      ended = not sent
      if ended then error(ANSWERED, 0) end
    end)
    local fine
    fine, own = pcall(send, what, source, feed)
    sent = true
    if fine or ended then g:wait() end
    if not fine then error(own, 0) end
  end)
  low.feed = nil
  if own and not is_cancelled(own) then
    if response then response:close() end
    error(own, 0)
  end
  if response then return response end
  error(failure or own or (ok and core.failure("EHTTP", what, "no response")) or err, 0)
end
