-- Runs the tutorial programs as a user would.

local assert = require "luassert"
local cli = require "spec.support.cli"

local scripts = {}

function scripts.lines(list)
  return table.concat(list, "\n") .. "\n"
end

-- Replaces what differs from run to run.
local function plain(text)
  text = text:gsub("0x%x+", "0xADDRESS")
  return (text:gsub("%f[%d]%d%d:%d%d:%d%d%f[%D]", "HH:MM:SS"))
end

function scripts.run(name, ...)
  return cli.run { "run", "--virtual-time", "scripts/" .. name, ... }
end

function scripts.run_in_real_time(name, ...)
  return cli.run { "run", "scripts/" .. name, ... }
end

-- The script ended well, said nothing on stderr, and printed just these lines.
function scripts.assert_printed(expected, result)
  assert.equal("", result.stderr)
  assert.equal(scripts.lines(expected), plain(result.stdout))
  assert.equal(0, result.status)
end

function scripts.assert_usage(expected, result)
  assert.equal(expected .. "\n", result.stderr)
  assert.equal("", result.stdout)
  assert.equal(1, result.status)
end

return scripts
