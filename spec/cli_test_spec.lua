-- asyncbox test: the program as an interpreter for busted.

local cli = require "spec.support.cli"
local shell = require "spec.support.shell"

local quote, sh, write = cli.quote, shell.run, shell.write

describe("The program", function()
  local dir

  before_each(function()
    shell.open()
    dir = shell.dir
  end)

  after_each(shell.close)

  describe("as an interpreter for busted", function()
    local specs = [[
      describe("A spec", function()
        it("may wait.", function()
          local async = require "asyncbox"
          async.sleep(0.01)
          assert.is_truthy(async.current_task())
        end)
      end)]]

    local function run_test(words, options)
      options = options or {}
      options.cwd = dir
      options.program = shell.program()
      return cli.run(words, options)
    end

    before_each(function()
      assert(os.execute("mkdir " .. quote(dir .. "/spec")))
    end)

    it("runs the specs of a project: asyncbox test.", function()
      write("spec/tiny_spec.lua", specs)
      local result = run_test { "test" }
      assert.is_truthy(result.stdout:find("1 success", 1, true), result.stdout .. result.stderr)
      assert.equal("", result.stderr)
      assert.equal(0, result.status)
    end)

    it("hands busted's options on.", function()
      write("spec/tiny_spec.lua", specs)
      local result = run_test { "test", "-o", "TAP", "spec/tiny_spec.lua" }
      assert.is_truthy(result.stdout:find("ok 1 - A spec may wait.", 1, true), result.stdout)
      result = run_test { "test", "--nosuch" }
      assert.is_truthy(result.stderr:find("asyncbox test: error: ", 1, true))
      assert.equal(1, result.status)
    end)

    it("ends with 1 when a spec fails.", function()
      write("spec/tiny_spec.lua", "it('fails.', function() assert.is_true(false) end)")
      local result = run_test { "test" }
      assert.is_truthy(result.stdout:find("1 failure", 1, true))
      assert.equal(1, result.status)
    end)

    it("says how to install busted when it is missing.", function()
      local env = { LUA_PATH = dir .. "/?.lua" }
      local result = run_test({ "test" }, { env = env })
      assert.matches("^asyncbox: [^\n]*apt install lua%-busted[^\n]*\n$", result.stderr)
      assert.equal("", result.stdout)
      assert.equal(1, result.status)
    end)

    it("is what busted --lua=asyncbox starts.", function()
      if sh "command -v busted >/dev/null && echo yes" ~= "yes\n" then
        return
      end
      write("spec/tiny_spec.lua", specs)
      sh("ln -s " .. quote(shell.program()) .. " \"$D/asyncbox\"") -- nor here
      local out = sh [[cd "$D" && busted --lua="$D/asyncbox"; echo $?]]
      assert.is_truthy(out:find("1 success", 1, true), out)
      assert.is_truthy(out:find "\n0\n$", out)
    end)
  end)
end)
