-- Runs a script in a sandbox, in the folder of the case.
--
--   local sandboxed = require("spec.support.sandboxed").run
--   sandboxed({ "--allow-read=x" }, "print(fs.read 'x')")   -- what it prints

local cli = require "spec.support.cli"
local folder = require "spec.support.folder"

local sandboxed = {}

function sandboxed.run(flags, code)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write("local async = require 'asyncbox'\nlocal fs = async.fs\n", code)
  file:close()
  local args = { "run" }
  for _, flag in ipairs(flags) do
    args[#args + 1] = flag
  end
  args[#args + 1] = path
  local r = cli.run(args, { cwd = folder.path, program = folder.program })
  os.remove(path)
  assert(r.stderr == "", r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

return sandboxed
