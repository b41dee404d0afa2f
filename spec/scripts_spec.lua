-- Every tutorial program, run as a user would run it: all of its output, on both
-- streams, and its exit status. Most run under the virtual clock, where
-- durations are exact; a few in real time, where the order counts.

local cli = require "spec.support.cli"
local scripts = require "spec.support.scripts"
local run, run_in_real_time = scripts.run, scripts.run_in_real_time
local assert_printed, assert_usage = scripts.assert_printed, scripts.assert_usage

-- Takes the duration out of the last line ("Elapsed: 2.0013" → "Elapsed: ") and
-- returns it as a number.
local function take_elapsed(result)
  local elapsed
  result.stdout = result.stdout:gsub("(Elapsed%D*)(%d+%.%d+)\n$", function(word, number)
    elapsed = tonumber(number)
    return word .. "\n"
  end)
  return elapsed
end

-- "Cleaning potato 0" to "Cleaning potato 13" and the like, into a list.
local function add_range(list, prefix, first, last)
  for i = first, last do
    list[#list + 1] = prefix .. i
  end
  return list
end

local function add(list, more)
  return table.move(more, 1, #more, #list + 1, list)
end

describe("The tutorial program", function()
  describe("print_sync", function()
    it("waits for the first, then for the second: three seconds.", function()
      assert_printed({ "First", "Second", "Elapsed: 3.0" }, run "print_sync.lua")
    end)
  end)

  describe("print_async", function()
    it("prints its coroutine object, then the second before the first: two seconds.", function()
      assert_printed({
        "<coroutine object main at 0xADDRESS>",
        "start main",
        "Second",
        "First",
        "Elapsed: 2.0",
      }, run "print_async.lua")
    end)

    it("does so in real time too, and waits no less than it was told.", function()
      local result = run_in_real_time "print_async.lua"
      local elapsed = take_elapsed(result)
      assert_printed({
        "<coroutine object main at 0xADDRESS>",
        "start main",
        "Second",
        "First",
        "Elapsed: ",
      }, result)
      assert.is_true(elapsed >= 2)
    end)
  end)

  describe("sleep_sync", function()
    it("ends the first before it starts the second.", function()
      assert_printed({
        "Starting First that will take 2s",
        "Finishing First in 2.0s",
        "Starting Second that will take 1s",
        "Finishing Second in 1.0s",
        "Elapsed: 3.0",
      }, run "sleep_sync.lua")
    end)
  end)

  describe("sleep_async", function()
    it("starts both, and the shorter ends first.", function()
      assert_printed({
        "Starting First that will take 2s",
        "Starting Second that will take 1s",
        "Finishing Second in 1.0s",
        "Finishing First in 2.0s",
        "Elapsed: 2.0",
      }, run "sleep_async.lua")
    end)
  end)

  describe("tasks_sync", function()
    it("does four tasks in four seconds.", function()
      assert_printed({
        "Start task 0",
        "End task 0",
        "Start task 1",
        "End task 1",
        "Start task 2",
        "End task 2",
        "Start task 3",
        "End task 3",
        "Elapsed time: 4.0",
      }, run("tasks_sync.lua", "4"))
    end)

    it("has nothing to do for 0 tasks.", function()
      assert_printed({ "Elapsed time: 0.0" }, run("tasks_sync.lua", "0"))
    end)

    it("says how it is used when the number is missing, one too many or none.", function()
      local usage = "Usage tasks_sync.lua NUMBER"
      assert_usage(usage, run "tasks_sync.lua")
      assert_usage(usage, run("tasks_sync.lua", "4", "5"))
      assert_usage(usage, run("tasks_sync.lua", "four"))
      assert_usage(usage, run("tasks_sync.lua", "1.5"))
    end)
  end)

  describe("tasks_one_by_one", function()
    it("awaits four coroutine objects in four seconds.", function()
      assert_printed({
        "Main started",
        "Tasks created",
        "Start 0",
        "End 0",
        "Start 1",
        "End 1",
        "Start 2",
        "End 2",
        "Start 3",
        "End 3",
        "Main ended",
        "Elapsed 4.0",
      }, run("tasks_one_by_one.lua", "4"))
    end)

    it("starts, then says how it is used when the number is missing.", function()
      local result = run "tasks_one_by_one.lua"
      assert.equal("Usage tasks_one_by_one.lua NUMBER\n", result.stderr)
      assert.equal("Main started\n", result.stdout)
      assert.equal(1, result.status)
    end)
  end)

  describe("tasks_gather", function()
    it("does four tasks in one second.", function()
      assert_printed({
        "Start 0",
        "Start 1",
        "Start 2",
        "Start 3",
        "End 0",
        "End 1",
        "End 2",
        "End 3",
        "Elapsed 1.0",
      }, run "tasks_gather.lua")
    end)

    it("does so in real time too, and waits no less than it was told.", function()
      local result = run_in_real_time "tasks_gather.lua"
      local elapsed = take_elapsed(result)
      assert_printed({
        "Start 0",
        "Start 1",
        "Start 2",
        "Start 3",
        "End 0",
        "End 1",
        "End 2",
        "End 3",
        "Elapsed ",
      }, result)
      assert.is_true(elapsed >= 1)
    end)
  end)

  describe("coroutine_object", function()
    it("starts to answer only when it is awaited.", function()
      assert_printed({
        "<coroutine object answer at 0xADDRESS>",
        "before await for coroutine",
        "start to answer",
        "result is 42 after await",
      }, run "coroutine_object.lua")
    end)
  end)

  describe("task_object", function()
    -- The line where `answer` is written, so that the script may be edited.
    local function line_of_answer()
      local number = 0
      for line in io.lines "scripts/task_object.lua" do
        number = number + 1
        if line:find("local answer = async(function()", 1, true) then
          return number
        end
      end
    end

    it("starts to answer before it is awaited.", function()
      assert_printed({
        "<Task pending name='Task-2' coro=<answer() at scripts/task_object.lua:"
          .. line_of_answer() .. ">>",
        "start to answer",
        "before await for task",
        "result is 42 after await",
      }, run "task_object.lua")
    end)
  end)

  describe("count", function()
    it("counts apples twice as fast as peaches.", function()
      assert_printed({
        "apple 0",
        "peach 0",
        "apple 1",
        "peach 1",
        "apple 2",
        "apple 3",
        "peach 2",
        "apple 4",
        "apple 5",
        "peach 3",
        "apple 6",
        "apple 7",
        "peach 4",
        "apple 8",
        "apple 9",
        "peach 5",
        "peach 6",
        "peach 7",
        "peach 8",
        "peach 9",
        "Elapsed 2.0",
      }, run "count.lua")
    end)
  end)

  describe("baton", function()
    local expected = { "Before", "After", "start A", "A 0", "start B", "B 0" }
    for i = 1, 9 do
      add(expected, { "A " .. i, "B " .. i })
    end

    it("hands the turn from one task to the other and back.", function()
      assert_printed(expected, run "baton.lua")
    end)

    it("does so in real time too.", function()
      assert_printed(expected, run_in_real_time "baton.lua")
    end)
  end)

  describe("workers", function()
    -- Each line with its time counted from the start ("@0.0"), as the clock may
    -- begin anywhere.
    local function run_workers(...)
      local result = run("workers.lua", ...)
      local start = tonumber(result.stdout:match "\nStart (%d+%.%d+)\n")
      result.stdout = result.stdout
        :gsub("\nStart %d+%.%d+\n", "\nStart\n")
        :gsub("(starting job %d+ )(%d+%.%d+)\n", function(words, time)
          return words .. "@" .. (tonumber(time) - start) .. "\n"
        end)
      return result
    end

    it("does ten jobs of a second in ten seconds when it works alone.", function()
      local expected = { "Total: 10", "Start" }
      for second = 0, 9 do
        add(expected, {
          "Worker 0 starting job 1 @" .. second .. ".0",
          "Worker 0 finished job 1",
        })
      end
      add(expected, { "Elapsed: 10.0" })
      assert_printed(expected, run_workers())
    end)

    it("does them in four seconds when there are three.", function()
      assert_printed({
        "Total: 10",
        "Start",
        "Worker 0 starting job 1 @0.0",
        "Worker 1 starting job 1 @0.0",
        "Worker 2 starting job 1 @0.0",
        "Worker 0 finished job 1",
        "Worker 0 starting job 1 @1.0",
        "Worker 1 finished job 1",
        "Worker 1 starting job 1 @1.0",
        "Worker 2 finished job 1",
        "Worker 2 starting job 1 @1.0",
        "Worker 0 finished job 1",
        "Worker 0 starting job 1 @2.0",
        "Worker 1 finished job 1",
        "Worker 1 starting job 1 @2.0",
        "Worker 2 finished job 1",
        "Worker 2 starting job 1 @2.0",
        "Worker 0 finished job 1",
        "Worker 0 starting job 1 @3.0",
        "Worker 1 finished job 1",
        "Worker 2 finished job 1",
        "Worker 0 finished job 1",
        "Elapsed: 4.0",
      }, run_workers "3")
    end)

    it("leaves the jobs when there is nobody to do them.", function()
      assert_printed({ "Total: 10", "Start", "Elapsed: 0.0" }, run_workers "0")
    end)

    it("says how it is used when the number is none.", function()
      local result = run("workers.lua", "many")
      assert.equal("Usage workers.lua [PARALLEL]\n", result.stderr)
      assert.equal(1, result.status)
    end)
  end)

  describe("say_after", function()
    it("starts both tasks, then waits for one after the other.", function()
      assert_printed({
        "start hello",
        "start world",
        "started at HH:MM:SS",
        "hello",
        "world",
        "finished at HH:MM:SS",
      }, run "say_after.lua")
    end)
  end)

  describe("chores_sync", function()
    it("does one chore after the other: twenty seconds.", function()
      local expected = {
        "Start dishwasher",
        "End dishwasher",
        "Start washing machine",
        "End washing machine",
        "Start dryer",
        "End dryer",
        "Start boiling water for 4 seconds",
        "End boiling water for 4 seconds",
        "Start cleaning potatoes",
      }
      add_range(expected, "Cleaning potato ", 0, 13)
      add(expected, { "End cleaning potatoes", "Elapsed 20.0" })
      assert_printed(expected, run "chores_sync.lua")
    end)
  end)

  describe("chores_async", function()
    local started = {
      "Start dishwasher for 3 seconds",
      "Start washing machine for 3 seconds",
      "Start boiling water for 4 seconds",
      "Start cleaning potatoes for 14 pieces",
    }

    it("turns on the dryer only after the last potato: ten seconds.", function()
      local expected = add({}, started)
      add_range(expected, "Cleaning potato ", 0, 13)
      add(expected, {
        "End cleaning potatoes for 14 pieces",
        "End dishwasher for 3 seconds",
        "End washing machine for 3 seconds",
        "Start dryer for 3 seconds",
        "End boiling water for 4 seconds",
        "End dryer for 3 seconds",
        "Elapsed 10.0",
      })
      assert_printed(expected, run "chores_async.lua")
    end)

    it("turns it on between two potatoes with --yield: seven seconds.", function()
      local expected = add({}, started)
      add_range(expected, "Cleaning potato ", 0, 5)
      add(expected, {
        "End dishwasher for 3 seconds",
        "End washing machine for 3 seconds",
        "Start dryer for 3 seconds",
      })
      add_range(expected, "Cleaning potato ", 6, 7)
      add(expected, { "End boiling water for 4 seconds" })
      add_range(expected, "Cleaning potato ", 8, 11)
      add(expected, { "End dryer for 3 seconds" })
      add_range(expected, "Cleaning potato ", 12, 13)
      add(expected, { "End cleaning potatoes for 14 pieces", "Elapsed 7.0014" })
      assert_printed(expected, run("chores_async.lua", "--yield"))
    end)

    it("says how it is used when the option is another.", function()
      local usage = "Usage chores_async.lua [--yield]"
      assert_usage(usage, run("chores_async.lua", "--yeild"))
      assert_usage(usage, run("chores_async.lua", "--yield", "twice"))
    end)
  end)

  describe("count_three", function()
    local expected = { "one", "two", "one", "one", "one", "two", "two", "two" }

    it("counts once, then three times at once.", function()
      assert_printed(expected, run "count_three.lua")
    end)

    it("does so in real time too.", function()
      assert_printed(expected, run_in_real_time "count_three.lua")
    end)
  end)

  describe("compute_chain", function()
    it("prints the sum that the awaited function computed.", function()
      assert_printed({ "Compute 1 + 2 ...", "1 + 2 = 3" }, run "compute_chain.lua")
    end)
  end)

  describe("of any name", function()
    it("begins with a comment line that says what it shows.", function()
      local pipe <close> = assert(io.popen "ls scripts/*.lua")
      local count = 0
      for path in pipe:lines() do
        local file <close> = assert(io.open(path))
        local first = file:read "l"
        assert.truthy(first:find "^%-%- %a.*%.$", path .. " begins with: " .. first)
        count = count + 1
      end
      assert.is_true(count >= 22, count .. " scripts")
    end)

    it("runs by the short form and from another folder.", function()
      local here <close> = assert(io.popen "pwd")
      local root = here:read "l"
      local program = cli.program()
      if program:find "/" and not program:find "^/" then
        program = root .. "/" .. program
      end
      local script = root .. "/scripts/tasks_sync.lua"
      local result = cli.run({ script }, { cwd = "/", program = program })
      assert_usage("Usage tasks_sync.lua NUMBER", result)
    end)
  end)
end)
