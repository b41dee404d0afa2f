-- Many short connections, a third of them broken off at random moments by either
-- side, leave nothing. The script is a bench of its own for larger numbers.

local cli = require "spec.support.cli"

describe("thousands of short connections", function()
  it("leave no task, op, handle, timer or descriptor", function()
    for seed = 1, 2 do
      local r = cli.run({ "run", "bench/asyncbox/soak_net.lua", "1500", tostring(seed) },
        { timeout = 120 })
      assert.are.equal("", r.stderr)
      assert.is_truthy(r.stdout:find "^ok n=1500 ", r.stdout)
      assert.are.equal(0, r.status)
    end
  end)
end)
