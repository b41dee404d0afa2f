/* hostile_spec.c - what a script can try against the scheduler: lists that
 * change while they are waited for, odd metamethods, recursion without end. */
#include "check.h"
#include <uv.h>

/* Each is to end with this status, by itself, without a crash. */
static void hostile(void)
{
    static const struct {
        const char *code;
        int status;
    } all[] = {
        /* the list that is waited for changes */
        {"local l = {spawn(sleep, 1), spawn(sleep, 2)} spawn(function() "
         "l[1] = 5 l[2] = nil l[3] = io end) async.gather(l)",
         0},
        {"async.gather(setmetatable({}, {__len = function() return 1 << 40 "
         "end}))",
         ASYNCBOX_ESCRIPT},
        {"async.gather(setmetatable({}, {__len = function() return -5 end}))",
         0},
        {"local t = spawn(sleep, 1) async.race(t, t) async.gather(t, t)", 0},
        /* groups that outlive their block, or are closed by others */
        {"local g async.timeout(1, function() g = async.group() end) "
         "pcall(g.spawn, g, sleep, 1) pcall(g.wait, g) g:close()",
         0},
        {"local g = async.group() g:spawn(sleep, 1) g = nil collectgarbage() "
         "sleep(2) collectgarbage()",
         0},
        {"local g = async.group() g:spawn(sleep, 2) local t = spawn(function()"
         " pcall(g.wait, g) end) sleep(1) pcall(g.close, g) await(t)",
         0},
        {"local g spawn(function() g = async.group() end) sleep(1) "
         "pcall(g.spawn, g, sleep, 1) g:close()",
         0},
        /* yields out of scopes, before and after waits */
        {"local co = coroutine.wrap(function() async.timeout(1, function() "
         "sleep(0.1) coroutine.yield() end) end) assert(not pcall(co))",
         0},
        {"local co = coroutine.wrap(function() async.timeout(1, sleep, 0.1) "
         "coroutine.yield(7) end) assert(co() == 7)",
         0},
        /* finalizers that cancel many while the scheduler works */
        {"local t = {} for i = 1, 300 do t[i] = spawn(sleep, 99) end sleep(0) "
         "for i = 1, 3 do setmetatable({}, {__gc = function() for _, x in "
         "ipairs(t) do x:cancel() end end}) end "
         "for i = 1, 2000 do spawn(function() return {}, {}, {}, {} end) "
         "if i % 50 == 0 then sleep(0) end end",
         0},
        {"local t, i = {}, 0 for k = 1, 3000 do t[k] = spawn(sleep, 99) end "
         "sleep(0) collectgarbage('incremental', 10, 400) "
         "collectgarbage('stop') local mt = {__gc = function() "
         "for _ = 1, 3 do i = i + 1 if t[i] then t[i]:cancel() end end end} "
         "local function f(k) return k, k, k, k end "
         "for k = 1, 2000 do setmetatable({}, mt) spawn(f, k) end "
         "collectgarbage('restart') sleep(0) sleep(0)",
         0},
        {"setmetatable({}, {__gc = function() pcall(sleep, 1) "
         "pcall(async.shield, sleep, 1) pcall(async.group) pcall(os.exit) "
         "end}) collectgarbage()",
         ASYNCBOX_EEXIT},
        /* odd errors */
        {"error(false)", ASYNCBOX_ESCRIPT},
        {"error(setmetatable({}, {__tostring = function() error('x') end}))",
         ASYNCBOX_ESCRIPT},
        {"local function f() return f() + 1 end f()", ASYNCBOX_ESCRIPT},
        {"local function f() coroutine.wrap(f)() end f()", ASYNCBOX_ESCRIPT},
        {"local function f() await(spawn(f)) end "
         "pcall(async.timeout, 0.1, f)",
         0},
        {"local t = {} for i = 1, 200 do t = {t} end error(t)",
         ASYNCBOX_ESCRIPT},
        {"string.rep('x', 1 << 40)", ASYNCBOX_ESCRIPT},
        {"return table.unpack({}, 1, 200000)", 0},
        {"local t = spawn(table.unpack, {}, 1, 200000) "
         "assert(select('#', await(t)) == 200000)",
         0},
        {"local f = async.future() f:set_result(table.unpack({}, 1, 200000)) "
         "assert(select('#', await(f)) == 200000)",
         0},
        {"spawn(spawn, spawn, spawn, function() end)", 0},
        /* waiting for oneself, in a ring, twice */
        {"local t t = spawn(function() await(t) end) pcall(await, t)", 0},
        {"local a, b a = spawn(function() await(b) end) "
         "b = spawn(function() await(a) end) pcall(await, a)",
         ASYNCBOX_ESCRIPT},
        /* its own coroutine in the wrong hands */
        {"local me = coroutine.running() spawn(function() "
         "assert(not coroutine.resume(me)) assert(not pcall(coroutine.close, "
         "me)) end) sleep(1)",
         0},
        {"local co co = coroutine.create(function() sleep(1) end) "
         "spawn(function() assert(not coroutine.resume(co)) assert(not pcall("
         "coroutine.close, co)) assert(coroutine.status(co) == 'normal') end) "
         "assert(coroutine.resume(co))",
         0},
        {"local co = coroutine.create(function() local _ <close> = "
         "setmetatable({}, {__close = function() sleep(1) end}) "
         "coroutine.yield() end) coroutine.resume(co) "
         "assert(not coroutine.close(co))",
         0},
        /* os.exit where nothing can be suspended, and swallowed */
        {"table.sort({1, 2, 3}, function() os.exit(1) end)", ASYNCBOX_EEXIT},
        {"pcall(table.sort, {1, 2, 3}, function() os.exit(1) end)",
         ASYNCBOX_EEXIT},
        {"async.timeout(1, function() coroutine.wrap(function() os.exit(1) "
         "end)() end)",
         ASYNCBOX_EEXIT},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        counter c = {0};
        asyncbox_config config = check_config(&c);
        asyncbox *box = NULL;
        config.memory_bytes = (size_t)16 << 20;
        check_in("hostile %zu", i);
        CHECK_EQUAL(asyncbox_new(&config, &box), 0);
        CHECK_EQUAL(check_run_code(box,
                                   "async = require 'asyncbox' spawn, await, "
                                   "sleep = async.spawn, async.await, "
                                   "async.sleep"),
                    0);
        CHECK_EQUAL(check_run_code(box, all[i].code), all[i].status);
        CHECK_EQUAL(asyncbox_free(box), 0);
        counter_check(&c);
    }
    check_out();
}

int main(void)
{
    hostile();
    return check_done("hostile_spec");
}
