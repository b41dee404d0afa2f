-- A folder of its own for each case, and lines of shell with the program in it.
--
--   local shell = require "spec.support.shell"
--   before_each(shell.open)
--   after_each(shell.close)
--   local path = shell.write("x.lua", "print(1)")
--   shell.run [["$A" "$D/x.lua" | head -1]]

local cli = require "spec.support.cli"

local shell = { dir = nil } -- dir: the folder, while a case runs

function shell.open()
  shell.dir = os.tmpname()
  os.remove(shell.dir)
  assert(os.execute("mkdir " .. cli.quote(shell.dir)))
end

function shell.close()
  local dir = cli.quote(shell.dir)
  os.execute("chmod -R u+rwx " .. dir .. "; rm -rf " .. dir)
  shell.dir = nil
end

-- Writes a file into the folder; returns its path.
function shell.write(name, text)
  local path = shell.dir .. "/" .. name
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
  return path
end

-- Runs shell code; $A is the program, $D the folder. Returns what it printed, on
-- both streams.
function shell.run(code)
  local pipe <close> = assert(io.popen(
    "exec 2>&1; A=" .. cli.quote(cli.program()) .. "; D=" .. cli.quote(shell.dir) .. "\n" .. code
  ))
  return pipe:read "a"
end

-- The program by its full path, for runs in another folder.
function shell.program()
  local program = cli.program()
  return program:sub(1, 1) == "/" and program or (shell.run 'printf %s "$PWD/$A"')
end

return shell
