-- progress_line.lua - the line of a bar, in the look of tqdm (https://tqdm.github.io).
local format, rep, sub, gsub, floor = string.format, string.rep, string.sub, string.gsub, math.floor
local len, offset, math_type, max, huge = utf8.len, utf8.offset, math.type, math.max, math.huge

local WIDTH = 10 -- of a bar where nothing else is known

local EIGHTHS = { [0] = " ", "▏", "▎", "▍", "▌", "▋", "▊", "▉" }
local TENTHS = { [0] = " ", "1", "2", "3", "4", "5", "6", "7", "8", "9" }

local PREFIXES = { "", "k", "M", "G", "T", "P", "E" }

-- Three digits: 9.99, 99.9, 999, and then thousands (or 1,024 at a time).
local function scaled(n, divisor)
  for i = 1, #PREFIXES do
    if n < 999.5 then
      local digits = n < 9.995 and "%.2f" or n < 99.95 and "%.1f" or "%.0f"
      return format(digits, n) .. PREFIXES[i]
    end
    n = n / divisor
  end
  return format("%.1fZ", n)
end

local function count(n, divisor)
  if divisor then return scaled(n, divisor) end
  return math_type(n) == "integer" and format("%d", n) or format("%.14g", n)
end

-- 01:15, 1:01:15
local function interval(seconds)
  if seconds ~= seconds or seconds > 1e9 then return "?" end
  local s = floor(seconds + 1e-6) -- 5.999999999 is 6
  local hours, minutes = s // 3600, s // 60 % 60
  if hours > 0 then return format("%d:%02d:%02d", hours, minutes, s % 60) end
  return format("%02d:%02d", minutes, s % 60)
end

local function rate_text(rate, unit, divisor)
  if not rate or rate <= 0 or rate == huge then return "?" .. unit .. "/s" end
  local inverse = rate < 1
  local value = inverse and 1 / rate or rate
  local digits = divisor and scaled(value, divisor) or format("%5.2f", value)
  return inverse and digits .. "s/" .. unit or digits .. unit .. "/s"
end

local function gauge(fraction, width, ascii)
  local parts = ascii and TENTHS or EIGHTHS
  local steps = #parts + 1
  local eighths = floor(fraction * width * steps)
  local full, part = eighths // steps, eighths % steps
  if full >= width then return rep(ascii and "#" or "█", width) end
  return rep(ascii and "#" or "█", full) .. parts[part] .. rep(" ", width - full - 1)
end

local function columns(text) return len(text) or #text end

-- Cut to so many columns.
local function cut(text, width)
  if columns(text) <= width then return text end
  local at = len(text) and offset(text, width + 1) or width + 1
  return sub(text, 1, at - 1)
end

-- What nobody should put on a terminal.
local function plain(text) return (gsub(text, "%c", " ")) end

-- rate: a second, or nil. width: columns of the whole line; nil: as many as it
-- takes.
return function(bar, elapsed, rate, width)
  local divisor = bar._divisor
  local before = bar._desc and plain(bar._desc) .. ": " or ""
  local speed = rate_text(rate, bar._unit, divisor)
  local note = bar._note and ", " .. plain(bar._note) or ""
  local done, total = bar.count, tonumber(bar.total) or 0
  local line
  if total > 0 and total < huge and done < total + 0.5 then
    local left = rate and rate > 0 and interval((total - done) / rate) or "?"
    local head = format("%s%3.0f%%|", before, done / total * 100)
    local tail = format("| %s/%s [%s<%s, %s%s]", count(done, divisor), count(total, divisor),
      interval(elapsed), left, speed, note)
    local room = width and max(1, width - columns(head) - columns(tail)) or WIDTH
    line = head .. gauge(max(0, done / total), room, bar._ascii) .. tail
  else
    line = format("%s%s%s [%s, %s%s]", before, count(done, divisor), bar._unit,
      interval(elapsed), speed, note)
  end
  return width and cut(line, width) or line
end
