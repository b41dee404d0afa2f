-- http_encode.lua - what a request sends: JSON, forms, multipart, or what comes from somewhere.
-- A body is a string, or a source: { length = bytes or nil, open = f, once = true when it can be
-- read only once }, where open() gives a function that gives the next piece or nil, and something
-- to be closed or nil.
local core, part = ...
local misuse = core.misuse
local find, format, gsub, match = string.find, string.format, string.gsub, string.match
local concat, sort, unpack = table.concat, table.sort, table.unpack
local error, next, pcall, setmetatable, tostring, type = error, next, pcall, setmetatable,
  tostring, type

local io_type = io and io.type

local PIECE = 64 << 10

-- ---- JSON and forms ----

local function json_body(_, value)
  return core.module("asyncbox.json").encode(value), "application/json"
end

local function form_body(what, values)
  if type(values) ~= "table" then part.wrong(what, "form", "a table", values) end
  return core.module("asyncbox.url").encode_query(values), "application/x-www-form-urlencoded"
end

-- ---- multipart ----

-- As browsers write names in a header: HTML's "multipart/form-data encoding".
local ESCAPES = { ["\r"] = "%0D", ["\n"] = "%0A", ['"'] = "%22" }

local function quoted(what, kind, text)
  if find(text, "\0", 1, true) then misuse(format("%s: multipart: a NUL in a %s", what, kind)) end
  return '"' .. gsub(text, '[\r\n"]', ESCAPES) .. '"'
end

local PART_KEYS = { "name", "value", "file", "filename", "type" }

local function head_of(what, name, item)
  local lines = { "Content-Disposition: form-data; name=" .. quoted(what, "name", name) }
  if item.filename ~= nil and type(item.filename) ~= "string" then
    misuse(format("%s: multipart: 'filename' of '%s' must be a string", what, name))
  end
  local filename = item.filename or item.file and match(item.file, "[^/]*$")
  if filename then
    lines[1] = lines[1] .. "; filename=" .. quoted(what, "file name", filename)
  end
  local kind = item.type or filename and "application/octet-stream"
  if kind then
    if type(kind) ~= "string" or find(kind, "[%c\127]") then
      misuse(format("%s: multipart: 'type' of '%s' must be a string without line breaks", what,
        name))
    end
    lines[2] = "Content-Type: " .. kind
  end
  return concat(lines, "\r\n") .. "\r\n\r\n"
end

local function add_item(what, list, name, item)
  if type(name) ~= "string" then
    misuse(what .. ": multipart: a name must be a string, got " .. type(name))
  end
  if type(item) ~= "table" then item = { value = item } end
  core.options(item, what .. ": multipart", unpack(PART_KEYS))
  local value, file = item.value, item.file
  if (value == nil) == (file == nil) then
    misuse(format("%s: multipart: '%s' needs a 'value' or a 'file'", what, name))
  end
  if file ~= nil and (type(file) ~= "string" or file == "" or find(file, "\0", 1, true)) then
    misuse(format("%s: multipart: 'file' of '%s' must be a path", what, name))
  end
  local kind = type(value)
  if kind == "number" or kind == "boolean" then value = tostring(value) end
  if value ~= nil and type(value) ~= "string" then
    misuse(format("%s: multipart: '%s' must be a string, a number or a boolean, got %s", what,
      name, kind))
  end
  list[#list + 1] = { head = head_of(what, name, item), text = value, file = file }
end

-- In the order of a list, else of the names.
local function items_of(what, values)
  if type(values) ~= "table" then part.wrong(what, "multipart", "a table", values) end
  local list, names = {}, {}
  if values[1] ~= nil then
    for i = 1, #values do
      local item = values[i]
      if type(item) ~= "table" then
        misuse(format("%s: multipart: item %d must be a table, got %s", what, i, type(item)))
      end
      add_item(what, list, item.name, item)
    end
    return list
  end
  for name in next, values do
    if type(name) ~= "string" then
      misuse(what .. ": multipart: a name must be a string, got " .. type(name))
    end
    names[#names + 1] = name
  end
  sort(names)
  for _, name in next, names do
    local value = values[name]
    if type(value) == "table" and value[1] ~= nil then
      for i = 1, #value do add_item(what, list, name, value[i]) end
    else
      add_item(what, list, name, value)
    end
  end
  return list
end

-- The pieces of a file, of as many bytes as it had.
local function file_pieces(what, path, size)
  local file = core.module("asyncbox.fs").open(path)
  local left = size
  local function pieces()
    local piece = file:read(left and left < PIECE and left or PIECE)
    if left == 0 then return nil end
    if not piece or piece == "" then
      if left then
        error(core.failure("EINVAL", what, "the file became shorter while it was sent", "path",
          path), 0)
      end
      return nil
    end
    if left then left = left - #piece end
    return piece
  end
  return pieces, file
end

-- The pieces of all items, one after the other.
local function open_items(what, list, boundary)
  local index, pieces = 0, nil
  local open = setmetatable({}, { __close = function(self)
    if self.file then self.file:close() end
  end })
  local function next_piece()
    if pieces then
      local piece = pieces()
      if piece then return piece end
      open.file:close()
      open.file, pieces = nil, nil
      return "\r\n"
    end
    index = index + 1
    local item = list[index]
    if not item then
      return index == #list + 1 and "--" .. boundary .. "--\r\n" or nil
    end
    local head = "--" .. boundary .. "\r\n" .. item.head
    if item.text then return head .. item.text .. "\r\n" end
    pieces, open.file = file_pieces(what, item.file, item.size)
    return head
  end
  return next_piece, open
end

local function multipart_body(what, values)
  local list = items_of(what, values)
  local boundary = "asyncbox-" .. core.random()
  local kind = "multipart/form-data; boundary=" .. boundary
  local length, has_file = #boundary + 6, false
  for _, item in next, list do
    local bytes = item.text and #item.text
    if item.file then
      has_file = true
      local stat = core.module("asyncbox.fs").stat(item.file)
      if stat.type == "file" then item.size = stat.size end
      bytes = item.size
    end
    length = length and bytes and length + #boundary + 4 + #item.head + bytes + 2
  end
  if has_file then
    return { length = length, open = function() return open_items(what, list, boundary) end }, kind
  end
  local out = {}
  for piece in open_items(what, list, boundary) do out[#out + 1] = piece end
  return concat(out), kind
end

-- ---- bodies from somewhere ----

local function method(value, name)
  local ok, found = pcall(function() return value[name] end)
  return ok and type(found) == "function" and found
end

-- How much there is of a file from where it stands; nil: that is not known.
local function rest_of(file)
  local stat = file:stat()
  local bytes = stat.type == "file" and stat.size - file:seek() or 0
  return bytes > 0 and bytes or nil -- those of /proc say 0
end

-- Something with read(n). Of a file that grows while it is sent no more is read than it had.
local function file_body(body)
  local source = { once = true }
  if type(body) == "userdata" and method(body, "stat") and method(body, "seek") then
    source.measure = function() return rest_of(body) end
  end
  function source.open()
    local left = source.length
    return function()
      local piece = body:read(left and left < PIECE and left or PIECE)
      if left and piece then left = left - #piece end
      return piece
    end
  end
  return source
end

-- A string, a function that gives pieces, or what has chunks (a stream, a response) or read (a
-- file).
local function given_body(what, body)
  local kind = type(body)
  if kind == "string" then return body end
  if io_type and io_type(body) then
    misuse(what .. ": option 'body': a file of io blocks everything, use one of asyncbox.fs")
  end
  local open
  if kind == "function" then
    open = function() return body end
  elseif (kind == "userdata" or kind == "table") and method(body, "chunks") then
    open = function()
      local f, state, last, closing = body:chunks()
      return function()
        last = f(state, last)
        return last
      end, closing
    end
  elseif (kind == "userdata" or kind == "table") and method(body, "read") then
    return file_body(body)
  else
    part.wrong(what, "body", "a string, a file, a stream or an iterator", body)
  end
  return { open = open, once = true }
end

local MAKERS = { json = json_body, form = form_body, multipart = multipart_body,
  body = given_body }

-- The body of a request and its Content-Type, both may be nil.
function part.body(what, options)
  local chosen
  for name in next, MAKERS do
    if options[name] ~= nil then
      if chosen then
        local first, second = chosen, name
        if second < first then first, second = second, first end
        misuse(format("%s: options '%s' and '%s' exclude each other", what, first, second))
      end
      chosen = name
    end
  end
  if not chosen then
    if options.length ~= nil then misuse(what .. ": option 'length' needs 'body'") end
    return nil
  end
  local body, kind = MAKERS[chosen](what, options[chosen])
  if options.length ~= nil then
    local length = core.integer(options, "length", 0, 0)
    if chosen ~= "body" or type(body) == "string" then
      misuse(what .. ": option 'length' is for a body that is a file, a stream or an iterator")
    end
    body.length = length
  elseif type(body) == "table" and body.measure then
    body.length = body.measure()
  end
  return body, kind
end
