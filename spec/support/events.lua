-- Events of fs.watch in a case's folder (spec.support.folder), as text.

local async = require "asyncbox"
local folder = require "spec.support.folder"

local events = { BOUND = 20 } -- seconds; only a failure takes so long

-- "created sub/ new.txt": an event, with paths as seen from the folder.
function events.text_of(event)
  local function short(path)
    return path == folder.path and "." or path:sub(#folder.path + 2)
  end
  local text = event.kind .. " " .. short(event.path)
  if event.from then text = text .. " from " .. short(event.from) end
  return event.directory and event.kind ~= "overflow" and text .. "/" or text
end

-- Makes a file that marks the end, and gives what was told until then.
function events.until_mark(watch, name)
  folder.put(name or "mark", "")
  local wanted, got = "created " .. (name or "mark"), {}
  async.timeout(events.BOUND, function()
    for event in watch do
      local text = events.text_of(event)
      if text == wanted then return end
      got[#got + 1] = text
    end
  end)
  return got
end

function events.count_of(list, wanted)
  local n = 0
  for _, text in ipairs(list) do n = n + (text == wanted and 1 or 0) end
  return n
end

function events.next_of(watch)
  return async.timeout(events.BOUND, watch.next, watch)
end

return events
