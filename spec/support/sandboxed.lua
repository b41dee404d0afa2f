-- Runs a script in a sandbox.
--
--   local sandboxed = require "spec.support.sandboxed"
--   sandboxed.run({ "--allow-read=x" }, "print(fs.read 'x')")   -- what it prints; in the folder of
--                                                               -- the case
--   sandboxed.beside({ "--allow-net=127.0.0.1" }, code)         -- the tasks of the case go on

local process = require "asyncbox.process"
local cli = require "spec.support.cli"
local folder = require "spec.support.folder"

local sandboxed = {}

local function run_script(flags, code, run)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  local args = { "run" }
  for _, flag in ipairs(flags) do
    args[#args + 1] = flag
  end
  args[#args + 1] = path
  local r = run(args)
  os.remove(path)
  assert(r.stderr == "", r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

function sandboxed.run(flags, code)
  return run_script(flags, "local async = require 'asyncbox'\nlocal fs = async.fs\n" .. code,
    function(args) return cli.run(args, { cwd = folder.path, program = folder.program }) end)
end

function sandboxed.beside(flags, code)
  return run_script(flags, code, function(args) return process.run(folder.program, args) end)
end

return sandboxed
