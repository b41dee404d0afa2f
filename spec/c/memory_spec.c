/* memory_spec.c - there is no memory left, at every single point: the n-th
 * allocation is refused, or it and all after it, for every n of each program.
 * An error status, never a crash, a hang or a leak; and when it was only one
 * that was refused, the box is as good as before. */
#include "check.h"
#include <uv.h>

typedef struct program {
    const char *name;
    const char *code;
} program;

/* Runs before memory gets short: these programs are about what the scripts do,
 * two others are about making a box and loading the module. */
static const char prelude[] =
    "async = require 'asyncbox'\n"
    "await, sleep, spawn, gather = async.await, async.sleep, async.spawn,\n"
    "  async.gather\n"
    "function closing(f) return setmetatable({}, {__close = f}) end\n";

static const program programs[] = {
    {"spawn", "local t = {}\n"
              "for i = 1, 5 do\n"
              "  t[i] = spawn(function(a, b) sleep(a) return b end, i, i)\n"
              "end\n"
              "for i = 1, 5 do assert(await(t[i]) == i) end\n"
              "spawn(function() sleep(0) end)\n"
              "local u = spawn(sleep, 100)\n"
              "sleep(1)\n"
              "u:cancel()\n"},
    {"names", "local t = spawn(function() sleep(1) end)\n"
              "t:name('fetch')\n"
              "assert(t:name() == 'fetch')\n"
              "assert(tostring(t):find('fetch'))\n"
              "local f = async(function() sleep(1) end)\n"
              "local c = f()\n"
              "tostring(c)\n"
              "assert(#async.all_tasks() == 2)\n"
              "t:traceback()\n"
              "await(c)\n"},
    {"gather", "local f = async(function(s) sleep(s) return s, s end)\n"
               "local a, b, c = gather(f(3), f(1), f(2))\n"
               "assert(a == 3 and b == 1 and c == 2)\n"
               "local l = gather({f(1), f(2)}, {return_exceptions = true})\n"
               "assert(#l == 2)\n"
               "async.race(f(1), f(2))\n"
               "async.any(f(1), f(2))\n"
               "for t in async.as_completed{f(2), f(1)} do t:result() end\n"
               "async.wait({f(1), f(9)}, {timeout = 3})\n"
               "async.map({1, 2, 3}, f, {limit = 2})\n"},
    {"gather fails", "local bad = async(function() sleep(1) error('bad') end)\n"
                     "local good = async(function() sleep(9) end)\n"
                     "local ok, err = pcall(gather, good(), bad(), good())\n"
                     "assert(not ok)\n"
                     "gather(good(), bad())\n"},
    {"queue",
     "local q, done = async.queue(2), async.queue()\n"
     "local function worker()\n"
     "  for item in q do sleep(item) done:put(item) q:task_done() end\n"
     "end\n"
     "local a, b = spawn(worker), spawn(worker)\n"
     "for i = 1, 20 do q:put(i) end\n"
     "q:join()\n"
     "q:close()\n"
     "await(a) await(b)\n"
     "assert(done:size() == 20)\n"
     "local p = async.priority_queue()\n"
     "for i = 9, 1, -1 do p:put({i}) end\n"
     "for i = 1, 9 do p:get() end\n"},
    {"locks",
     "local l, s, e = async.lock(), async.semaphore(1), async.event()\n"
     "local c, b = async.condition(), async.barrier(2)\n"
     "local r = async.rate_limit(1, 1)\n"
     "local function use()\n"
     "  local _ <close> = l:acquire()\n"
     "  sleep(1)\n"
     "  local _ <close> = s:acquire()\n"
     "  e:wait()\n"
     "  b:wait()\n"
     "  r:acquire()\n"
     "  local _ <close> = c:acquire()\n"
     "  c:notify()\n"
     "end\n"
     "local t, u = spawn(use), spawn(use)\n"
     "sleep(1) e:set()\n"
     "await(t) await(u)\n"},
    {"timeouts",
     "assert(async.timeout(5, function() sleep(1) return 7 end) == 7)\n"
     "local ok, err = pcall(async.timeout, 1, sleep, 5)\n"
     "assert(not ok)\n"
     "async.timeout(3, function()\n"
     "  pcall(async.timeout, 1, function()\n"
     "    async.shield(sleep, 1.5)\n"
     "    sleep(9)\n"
     "  end)\n"
     "  sleep(1)\n"
     "end)\n"
     "pcall(async.wait_for, spawn(sleep, 9), 1)\n"},
    {"groups", "do\n"
               "  local g <close> = async.group()\n"
               "  for i = 1, 3 do g:spawn(sleep, i) end\n"
               "  g:wait()\n"
               "end\n"
               "local ok, err = pcall(function()\n"
               "  local g <close> = async.group()\n"
               "  g:spawn(sleep, 9)\n"
               "  g:spawn(function() sleep(1) error{code = 'mine'} end)\n"
               "end)\n"
               "assert(not ok)\n"
               "pcall(async.run, function()\n"
               "  spawn(sleep, 9)\n"
               "  local g <close> = async.group()\n"
               "  g:spawn(sleep, 2)\n"
               "  error('out')\n"
               "end)\n"},
    {"errors", "spawn(function() error('lost') end)\n"
               "spawn(function() error({}) end)\n"
               "spawn(function() error() end)\n"
               "spawn(function() error(false) end)\n"
               "local t = spawn(function() local x = nil; x() end)\n"
               "local ok, err = pcall(await, t)\n"
               "t = spawn(function() await(spawn(error, 'deep')) end)\n"
               "pcall(await, t)\n"
               "spawn(function() await(t) end)\n"
               "sleep(1)\n"
               "error('main')\n"},
    {"error objects",
     "local ok, e = pcall(async.timeout, 0.1, sleep, 1)\n"
     "assert(not ok)\n"
     "tostring(e)\n"
     "local t = spawn(sleep, 1)\n"
     "t:cancel()\n"
     "ok, e = pcall(await, t)\n"
     "tostring(e)\n"
     "t = spawn(function() sleep(1) end) sleep(0.5) t:cancel()\n"
     "ok, e = pcall(await, t)\n"
     "local q = async.queue() q:close()\n"
     "ok, e = pcall(q.put, q, 1)\n"
     "pcall(sleep, -1) pcall(gather, 5) pcall(spawn, nil)\n"
     "pcall(gather, {}, {nonsense = 1})\n"
     "local d <close> = closing(function() sleep(0.1) end)\n"
     "async.event():wait()\n"},
    {"coroutines",
     "local function numbers(n)\n"
     "  return coroutine.wrap(function()\n"
     "    for i = 1, n do sleep(0.1) coroutine.yield(i, i) end\n"
     "  end)\n"
     "end\n"
     "local outer = coroutine.wrap(function()\n"
     "  for i in numbers(3) do coroutine.yield(i) end\n"
     "end)\n"
     "for i in outer do end\n"
     "local t = spawn(function() for i in numbers(9) do end end)\n"
     "sleep(0.25)\n"
     "t:cancel()\n"
     "local co = coroutine.create(function() sleep(1) error('in') end)\n"
     "coroutine.resume(co)\n"
     "coroutine.close(co)\n"
     "pcall(table.sort, {1, 2, 3}, function() sleep(1) end)\n"},
    {"close handlers",
     "local function work()\n"
     "  local a <close> = closing(function() sleep(1) end)\n"
     "  local b <close> = closing(function() async.shield(sleep, 1) end)\n"
     "  local c <close> = closing(function() error('in close') end)\n"
     "  sleep(5)\n"
     "end\n"
     "local t, u = spawn(work), spawn(work)\n"
     "sleep(1)\n"
     "t:cancel()\n"
     "pcall(await, t)\n"
     "pcall(await, u)\n"},
    {"results",
     "local function many(n) return table.unpack({}, 1, n) end\n"
     "local t = spawn(many, 200)\n"
     "assert(select('#', await(t)) == 200)\n"
     "local f = async.future()\n"
     "spawn(function() sleep(1) f:set_result(1, 2, 3) end)\n"
     "assert(select('#', await(f)) == 3)\n"
     "local g = async.future()\n"
     "spawn(function() g:set_error('bad') end)\n"
     "pcall(await, g)\n"
     "t = spawn(function() return 1, 2 end)\n"
     "t:and_then(function(a, b) return a + b end):finally(print and\n"
     "  function() end)\n"
     "t:catch(function() end)\n"
     "t:on_done(function() end)\n"},
    {"locals",
     "local v = async.task_local('d')\n"
     "v:set(1)\n"
     "local t = spawn(function()\n"
     "  v:with(2, function() sleep(1) end)\n"
     "  return v:get()\n"
     "end)\n"
     "assert(await(t) == 1)\n"
     "local n = 0\n"
     "await(async.every(1, function() n = n + 1 return n < 3 end))\n"},
    {"require",
     "package.preload.slow = function() sleep(1) return {x = 1} end\n"
     "package.preload.bad = function() sleep(1) error('no') end\n"
     "local a = spawn(require, 'slow')\n"
     "local b = spawn(require, 'slow')\n"
     "gather(a, b)\n"
     "local c = spawn(require, 'bad')\n"
     "pcall(require, 'bad')\n"
     "pcall(await, c)\n"
     "pcall(require, 'nothere')\n"},
    {"deadlock", "local q, f = async.queue(), async.future()\n"
                 "spawn(function() q:get() end)\n"
                 "spawn(function() await(f) end)\n"
                 "local t = spawn(coroutine.wrap(function()\n"
                 "  async.event():wait() end))\n"
                 "await(t)\n"},
    {"never awaited", "local f = async(function() end)\n"
                      "f() f()\n"
                      "collectgarbage()\n"
                      "local t = spawn(error, 'dropped')\n"
                      "sleep(1)\n"
                      "t = nil\n"
                      "collectgarbage()\n"},
    {"exit", "spawn(function()\n"
             "  local _ <close> = closing(function() sleep(1) end)\n"
             "  sleep(1)\n"
             "end)\n"
             "coroutine.wrap(function() sleep(0.5) os.exit(3) end)()\n"},
    {"fs", "local fs = require 'asyncbox.fs'\n"
           "assert(#fs.read('CMakeLists.txt') > 100)\n"
           "local f <close> = fs.open('CMakeLists.txt')\n"
           "local n = 0\n"
           "for line in f:lines() do n = n + 1 if n == 9 then break end end\n"
           "pcall(fs.read, 'no-such-file')\n"
           "pcall(fs.read, '/etc/passwd')\n"
           "gather(spawn(fs.read, 'LICENSE'), spawn(fs.read, 'LICENSE'))\n"},
    {"json", "local json = require 'asyncbox.json'\n"
             "local v = json.decode('[1, {\"a\": [true, null, \"x\\\\n\"]}]')\n"
             "json.encode(v)\n"
             "pcall(json.decode, '[1,')\n"},
};

static void note(const char *name, size_t n, int on, const char *stage)
{
    check_in("\"%s\" n=%zu%s %s", name, n, on ? "+" : "", stage);
    check_within(120);
}

static void on_report(void *arg, const char *text, size_t bytes)
{
    CHECK(bytes > 0);
    if (*(int *)arg)
        printf("%.*s\n", (int)bytes, text);
}
static int loud; /* prints reports */

/* ---- one run ---- */

static int is_outcome(int status)
{
    return status == 0 || status == UV_ENOMEM || status == ASYNCBOX_ESCRIPT ||
           status == ASYNCBOX_EEXIT || status == ASYNCBOX_EDEADLK;
}

static asyncbox *ready_box(counter *c)
{
    asyncbox_config config = check_config(c);
    asyncbox *box = NULL;
    config.report = on_report;
    config.report_arg = &loud;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    CHECK_EQUAL(asyncbox_allow(box, "read", "."), 0);
    CHECK_EQUAL(check_spawn(box, prelude), 0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    return box;
}

/* Lets call number n of the program fail; 0 when it has fewer calls. */
static int run_once(const program *p, size_t n, int on)
{
    counter c = {0};
    note(p->name, n, on, "start");
    asyncbox *box = ready_box(&c);
    c.calls = 0;
    c.fail_at = n;
    c.fail_on = on;
    note(p->name, n, on, "spawn");
    int status = check_spawn(box, p->code);
    if (!status) {
        note(p->name, n, on, "run");
        status = asyncbox_run(box);
    } else {
        CHECK_EQUAL(status, UV_ENOMEM);
    }
    CHECK(is_outcome(status));
    asyncbox_stats stats = check_stats(box);
    if (status != ASYNCBOX_EEXIT) {
        CHECK_EQUAL(stats.tasks, 0);
        /* A file call that was given up is in the thread pool yet. */
        while (stats.ops) {
            asyncbox_step(box, 0);
            stats = check_stats(box);
        }
    }
    CHECK_EQUAL(stats.memory_bytes, c.bytes);
    int refused = c.refused;
    if (refused && !on && status != ASYNCBOX_EEXIT) {
        note(p->name, n, on, "again");
        CHECK_EQUAL(check_spawn(box, "assert(await(spawn(function()\n"
                                     "sleep(1) return 5 end)) == 5)"),
                    0);
        CHECK_EQUAL(asyncbox_run(box), 0);
    }
    note(p->name, n, on, "free");
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
    return refused;
}

/* The n-th call of making a box, loading the module and spawning. */
static int run_new(size_t n, int on)
{
    counter c = {.fail_at = n, .fail_on = on};
    asyncbox_config config = check_config(&c);
    asyncbox *box = NULL;
    note("new", n, on, "new");
    int status = asyncbox_new(&config, &box);
    if (status) {
        CHECK_EQUAL(status, UV_ENOMEM);
        CHECK(!box);
        counter_check(&c);
        return 1;
    }
    if (c.refused) /* it got over it: a string not interned, or the like */
        c.fail_at = 0;
    note("new", n, on, "run");
    status = check_spawn(box, prelude);
    if (status)
        CHECK_EQUAL(status, UV_ENOMEM);
    else
        CHECK(is_outcome(asyncbox_run(box)));
    int refused = c.refused;
    note("new", n, on, "free");
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
    return refused;
}

/* A cap in the place of a refusing allocator, at many sizes. */
static void run_capped(const program *p)
{
    for (size_t cap = 100000; cap < 600000; cap += 29927) {
        counter c = {0};
        asyncbox_config config = check_config(&c);
        config.memory_bytes = cap;
        asyncbox *box = NULL;
        note(p->name, cap, 0, "capped");
        int status = asyncbox_new(&config, &box);
        if (status) {
            CHECK_EQUAL(status, UV_ENOMEM);
            counter_check(&c);
            continue;
        }
        status = check_spawn(box, prelude);
        if (!status)
            status = asyncbox_run(box);
        if (!status && !(status = check_spawn(box, p->code)))
            status = asyncbox_run(box);
        CHECK(is_outcome(status));
        CHECK(check_stats(box).peak_bytes <= cap);
        CHECK_EQUAL(asyncbox_free(box), 0);
        counter_check(&c);
    }
}

int main(int argc, char **argv)
{
    /* memory_spec [program [n]] */
    const char *only = argc > 1 ? argv[1] : NULL;
    size_t first = argc > 2 ? (size_t)atol(argv[2]) : 1;
    loud = argc > 2;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const program *p = &programs[i];
        if (only && strcmp(only, p->name) != 0)
            continue;
        size_t n = first;
        while (run_once(p, n, 0) && argc <= 2)
            n++;
        n = first;
        while (run_once(p, n, 1) && argc <= 2)
            n++;
        if (argc <= 2)
            run_capped(p);
        if (only)
            printf("%s: %zu points\n", p->name, n - 1);
    }
    if (!only || strcmp(only, "new") == 0) {
        for (size_t n = first; run_new(n, 0) && argc <= 2;)
            n++;
        for (size_t n = first; run_new(n, 1) && argc <= 2;)
            n += 7;
    }
    return check_done("memory_spec");
}
