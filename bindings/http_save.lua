-- http_save.lua - response:save: the steps of it. Gets the primitives of
-- http_save.c.
local core = ...
local create, open, write, finish = core.create, core.open, core.write, core.finish
local begin, release, fill = core.begin, core.release, core.fill
local setmetatable, type = setmetatable, type

-- Who is cancelled wants none of it any more, and half a body is no use.
local guard = {
  __close = function(self, err)
    if self.held then release(self.response) end
    if err == nil then return end
    if self.begun or type(err) == "table" and err.code == "ECANCELED" then self.response:close() end
  end,
}

return function(response, path, on_progress)
  local file <close> = create(path)
  local guarded <close> = setmetatable({ response = response, held = false }, guard)
  local tell, total = begin(response, on_progress)
  guarded.held = true
  open(file)
  local bytes = 0
  guarded.begun = true
  while fill(response) do
    bytes = write(response, file)
    if tell then tell(bytes, total) end
  end
  finish(file)
  return bytes
end
