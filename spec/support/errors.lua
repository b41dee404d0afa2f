-- What a call that has to fail raises.
--
--   local errors = require "spec.support.errors"
--   errors.failure(fs.read, "none")                -- the error itself
--   errors.assert_code("ENOENT", fs.read, "none")  -- and gives it

local assert = require "luassert"

local errors = {}

function errors.failure(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "no error was raised")
  return err
end

local failure = errors.failure

function errors.text_of(f, ...)
  return tostring(failure(f, ...))
end

function errors.code_of(f, ...)
  return failure(f, ...).code
end

function errors.assert_says(pattern, f, ...)
  local text = errors.text_of(f, ...)
  assert.is_truthy(text:find(pattern), text)
end

-- The error is an object of this code, or this very value.
function errors.assert_code(code, f, ...)
  local err = failure(f, ...)
  assert.equal(code, type(err) == "table" and err.code or err)
  return err
end

return errors
