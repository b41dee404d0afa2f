-- Runs asyncbox as a child process and hands back all that it said.
--
--   local cli = require "spec.support.cli"
--   local r = cli.run { "run", "--virtual-time", "scripts/count.lua" }
--   r.status, r.stdout, r.stderr
--
-- The call blocks the whole spec until the child ends: a child must not need
-- anything of the process that runs the spec.

local cli = {}

-- A word for the shell, whatever is in it.
function cli.quote(word)
  return "'" .. tostring(word):gsub("'", "'\\''") .. "'"
end

-- The program under test: $ASYNCBOX, else the one that runs this spec, else the
-- one of the build folder.
function cli.program()
  local program = os.getenv "ASYNCBOX"
  if program and program ~= "" then
    return program
  end
  local first = 0
  while arg and arg[first - 1] do
    first = first - 1
  end
  if first < 0 and arg[first]:match "[^/]*$" == "asyncbox" then
    return arg[first]
  end
  return "build/asyncbox"
end

local function read_and_remove(path)
  local file <close> = assert(io.open(path, "rb"))
  local text = file:read "a"
  os.remove(path)
  return text
end

-- Runs `asyncbox ARGS...`. Options: stdin (a string; nothing if not given), env
-- (a table of names and values), cwd, timeout (seconds, 60 if not given; the
-- child is killed then and status is 137). Returns a table: status (128 + the
-- signal's number if one ended it), stdout, stderr.
function cli.run(args, opts)
  opts = opts or {}
  local out, err, input = os.tmpname(), os.tmpname(), "/dev/null"

  local words = { "exec env" }
  for name, value in pairs(opts.env or {}) do
    words[#words + 1] = cli.quote(name .. "=" .. value)
  end
  words[#words + 1] = "timeout -s KILL " .. (opts.timeout or 60)
  words[#words + 1] = cli.quote(opts.program or cli.program())
  for _, word in ipairs(args) do
    words[#words + 1] = cli.quote(word)
  end
  if opts.stdin then
    input = os.tmpname()
    local file <close> = assert(io.open(input, "wb"))
    file:write(opts.stdin)
  end

  -- The shell's own words ("Killed") go nowhere, not to the child's stderr.
  local pipe <close> = assert(io.popen(string.format(
    "exec 2>/dev/null; %s (%s) <%s >%s 2>%s; echo $?",
    opts.cwd and "cd " .. cli.quote(opts.cwd) .. " || exit;" or "",
    table.concat(words, " "), input, out, err
  )))
  local status = tonumber((pipe:read "l"))
  local result = {
    status = status,
    stdout = read_and_remove(out),
    stderr = read_and_remove(err),
  }
  if opts.stdin then
    os.remove(input)
  end
  if not status then
    error("cannot run in " .. tostring(opts.cwd), 2)
  end
  return result
end

return cli
