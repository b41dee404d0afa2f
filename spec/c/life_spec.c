/* life_spec.c - boxes come and go: in odd orders, on several threads, with
 * nothing in them, interrupted, stepped; and what the public functions say to
 * those who use them wrong. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

static asyncbox *new_box(void)
{
    asyncbox_config config = check_config(NULL);
    asyncbox *box = NULL;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    return box;
}

static asyncbox *real_box(void)
{
    asyncbox_config config = check_config(NULL);
    asyncbox *box = NULL;
    config.virtual_time = 0;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    return box;
}

static int run_code(asyncbox *box, const char *code)
{
    CHECK_EQUAL(check_spawn(box, code), 0);
    return asyncbox_run(box);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static asyncbox_stats stats_of(asyncbox *box)
{
    asyncbox_stats stats = {.size = sizeof stats};
    asyncbox_stats_get(box, &stats);
    return stats;
}

#define ASYNC "local async = require 'asyncbox' "
#define FOR_EVER ASYNC "async.event():wait()"

/* ---- made and closed ---- */

static void odd_orders(void)
{
    CHECK_EQUAL(asyncbox_free(NULL), 0);
    asyncbox *box = NULL, *a, *b, *c;
    CHECK_EQUAL(asyncbox_new(NULL, &box), 0); /* all defaults */
    CHECK_EQUAL(asyncbox_free(box), 0);

    a = new_box(), b = new_box(), c = new_box();
    CHECK_EQUAL(asyncbox_free(b), 0);
    CHECK_EQUAL(run_code(a, "x = 1"), 0);
    b = new_box();
    CHECK_EQUAL(asyncbox_free(a), 0);
    CHECK_EQUAL(run_code(c, "assert(x == nil)"), 0);
    CHECK_EQUAL(asyncbox_free(c), 0);
    CHECK_EQUAL(asyncbox_free(b), 0);
    for (int i = 0; i < 200; i++)
        CHECK_EQUAL(asyncbox_free(new_box()), 0);
}

static void unstepped(void)
{
    asyncbox *box = new_box();
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(1)"), 0);
    CHECK_EQUAL(stats_of(box).tasks, 1);
    CHECK_EQUAL(asyncbox_free(box), 0);

    box = new_box(); /* nothing in it at all */
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(asyncbox_step(box, 0), 0);
    CHECK_EQUAL(asyncbox_step(box, UINT64_MAX), 0);
    CHECK_EQUAL(stats_of(box).tasks, 0);
    CHECK(stats_of(box).memory_bytes > 10000);
    CHECK(*asyncbox_error_text(box) == 0);
    CHECK_EQUAL(asyncbox_exit_status(box), 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

static void again(void)
{
    asyncbox *box = new_box();
    CHECK_EQUAL(run_code(box, "x = 1"), 0);
    CHECK_EQUAL(run_code(box, "error('no')"), ASYNCBOX_ESCRIPT);
    CHECK_EQUAL(run_code(box, "assert(x == 1)"), 0);
    CHECK_EQUAL(run_code(box, FOR_EVER), ASYNCBOX_ESCRIPT);
    CHECK_EQUAL(run_code(box, "assert(x == 1)"), 0);
    /* The main task's error ends the others, every time. */
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(run_code(box, ASYNC "async.spawn(async.sleep, 1e6)"
                                        "error('no')"),
                    ASYNCBOX_ESCRIPT);
        CHECK_EQUAL(stats_of(box).tasks, 0);
    }
    asyncbox_interrupt(box);
    CHECK_EQUAL(run_code(box, FOR_EVER), UV_EINTR);
    CHECK_EQUAL(run_code(box, "assert(x == 1)"), 0);
    /* Two main tasks at a time. */
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(2) y = x"), 0);
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(1) x = 5"), 0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(run_code(box, "assert(x == 5 and y == 5)"), 0);
    CHECK_EQUAL(run_code(box, "os.exit(300)"), ASYNCBOX_EEXIT);
    CHECK_EQUAL(asyncbox_exit_status(box), 300 & 255);
    CHECK_EQUAL(asyncbox_run(box), ASYNCBOX_EEXIT);
    CHECK_EQUAL(asyncbox_step(box, 0), ASYNCBOX_EEXIT);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

/* ---- the config ---- */

static void config_sizes(void)
{
    asyncbox_config config;
    asyncbox *none = (asyncbox *)&config, *box = none;
    asyncbox_config_init(&config);
    CHECK_EQUAL(config.size, sizeof config);
    CHECK_EQUAL(config.sandbox, 1);
    config.size = 0;
    CHECK_EQUAL(asyncbox_new(&config, &box), UV_EINVAL);
    config.size = sizeof config + 1;
    CHECK_EQUAL(asyncbox_new(&config, &box), UV_EINVAL);
    CHECK(box == none);                             /* left alone */
    config.size = offsetof(asyncbox_config, alloc); /* an older host's */
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    CHECK_EQUAL(asyncbox_free(box), 0);

    asyncbox_config_init(&config);
    config.memory_bytes = 1000;
    CHECK_EQUAL(asyncbox_new(&config, &box), UV_ENOMEM);
    config.memory_bytes = SIZE_MAX;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

static void stats_sizes(void)
{
    asyncbox *box = new_box();
    asyncbox_stats stats;
    memset(&stats, 0xff, sizeof stats);
    stats.size = offsetof(asyncbox_stats, ops); /* an older host's */
    asyncbox_stats_get(box, &stats);
    CHECK_EQUAL(stats.tasks, 0);
    CHECK_EQUAL(stats.size, offsetof(asyncbox_stats, ops));
    CHECK(stats.ops == SIZE_MAX);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

static void errors_named(void)
{
    CHECK(!strcmp(asyncbox_err_name(ASYNCBOX_EDENIED), "EDENIED"));
    CHECK(!strcmp(asyncbox_err_name(UV_ENOENT), "ENOENT"));
    for (int code = -6000; code < 100; code++) {
        CHECK(asyncbox_err_name(code) && *asyncbox_err_name(code));
        CHECK(asyncbox_err_text(code) && *asyncbox_err_text(code));
    }
    CHECK(strchr(asyncbox_version(), '.') != NULL);
    CHECK(strstr(asyncbox_lua_version(), "Lua 5.4") != NULL);
    CHECK(strchr(asyncbox_uv_version(), '.') != NULL);
}

/* ---- scripts and arguments ---- */

static void bad_scripts(void)
{
    char path[] = "/tmp/life_spec_XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK(write(fd, "x = = 1", 7) == 7);
    asyncbox *box = new_box();
    CHECK_EQUAL(asyncbox_spawn_file(box, "no/such.lua", 0, NULL), UV_ENOENT);
    CHECK(strstr(asyncbox_error_text(box), "no/such.lua") != NULL);
    CHECK(asyncbox_spawn_file(box, "/tmp", 0, NULL) < 0);
    CHECK(*asyncbox_error_text(box) != 0);
    CHECK_EQUAL(asyncbox_spawn_file(box, path, 0, NULL), ASYNCBOX_ESYNTAX);
    CHECK(strstr(asyncbox_error_text(box), ":1:") != NULL);
    if (geteuid() != 0) {
        CHECK(chmod(path, 0) == 0);
        CHECK(asyncbox_spawn_file(box, path, 0, NULL) < 0);
    }
    CHECK_EQUAL(check_spawn(box, "x ="), ASYNCBOX_ESYNTAX);
    CHECK_EQUAL(check_spawn(box, "\x1bLua"), ASYNCBOX_ESYNTAX); /* bytecode */
    CHECK_EQUAL(asyncbox_spawn_string(box, "", 0, "=e", 0, NULL), 0);
    CHECK(*asyncbox_error_text(box) == 0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(stats_of(box).tasks, 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
    close(fd);
    unlink(path);
}

static void arguments(void)
{
    const char *const argv[] = {"opt", "script", "a", "b"};
    asyncbox *box = new_box();
    CHECK_EQUAL(asyncbox_set_args(box, 4, argv, 1), 0);
    const char first[] =
        "local x, y, z = ... assert(x == 'a' and y == 'b' and "
        "z == nil and arg[0] == 'script' and arg[-1] == 'opt')";
    CHECK_EQUAL(asyncbox_spawn_string(box, first, sizeof first - 1, "=args",
                                      ASYNCBOX_ARGS, NULL),
                0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    const char *const more[] = {"s", "1"};
    const char code[] = "assert(... == '1' and arg[0] == 's' and #arg == 1)";
    CHECK_EQUAL(
        asyncbox_spawn_string(box, code, sizeof code - 1, "=s", 2, more), 0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(asyncbox_set_args(box, 0, NULL, 0), 0);
    CHECK_EQUAL(run_code(box, "assert(#arg == 0)"), 0);
    CHECK_EQUAL(run_code(box, "arg = 5"), 0);
    CHECK(asyncbox_spawn_string(box, "", 0, "=s", ASYNCBOX_ARGS, NULL) < 0);
    CHECK_EQUAL(asyncbox_allow(box, "nonsense", "x"), UV_EINVAL);
    CHECK_EQUAL(asyncbox_free(box), 0);

    enum { MANY = 100000 };
    const char **many = malloc(MANY * sizeof *many);
    for (int i = 0; i < MANY; i++)
        many[i] = "x";
    box = new_box();
    const char count[] = "assert(select('#', ...) == 99999)";
    CHECK_EQUAL(
        asyncbox_spawn_string(box, count, sizeof count - 1, "=m", MANY, many),
        0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
    free(many);
}

/* ---- steps ---- */

static void interleaved(void)
{
    enum { BOXES = 8 };
    asyncbox *box[BOXES];
    int left = BOXES, ended[BOXES] = {0};
    for (int i = 0; i < BOXES; i++) {
        char code[200];
        box[i] = i % 2 ? real_box() : new_box();
        snprintf(code, sizeof code,
                 ASYNC "n = 0 for i = 1, %d do async.sleep(0.0001) n = n + 1 "
                       "end",
                 10 * (i + 1));
        CHECK_EQUAL(check_spawn(box[i], code), 0);
    }
    for (long turn = 0; left && turn < 10000000; turn++) {
        int i = (int)(turn % BOXES);
        if (ended[i])
            continue;
        int status = asyncbox_step(box[i], 0);
        if (status == 1)
            continue;
        CHECK_EQUAL(status, 0);
        ended[i] = 1;
        left--;
    }
    CHECK_EQUAL(left, 0);
    for (int i = BOXES; i-- > 0;) {
        char code[60];
        snprintf(code, sizeof code, "assert(n == %d)", 10 * (i + 1));
        CHECK_EQUAL(run_code(box[i], code), 0);
        CHECK_EQUAL(asyncbox_free(box[i]), 0);
    }
}

static void budgets(void)
{
    asyncbox *box = real_box();
    CHECK_EQUAL(check_spawn(box, ASYNC "while true do async.sleep(0) end"), 0);
    uint64_t one, many = 0;
    CHECK_EQUAL(asyncbox_step(box, 0), 1);
    one = stats_of(box).resumes;
    CHECK(one >= 1);
    /* Again when others had the processor for nearly all of the 20 ms. */
    for (int i = 0; i < 100 && many <= 2 * one; i++) {
        uint64_t before = stats_of(box).resumes;
        double start = seconds();
        CHECK_EQUAL(asyncbox_step(box, 20000000), 1);
        CHECK(seconds() - start >= 0.019);
        many = stats_of(box).resumes - before;
    }
    CHECK(many > 2 * one);
    CHECK_EQUAL(asyncbox_free(box), 0);

    box = real_box(); /* nothing is ready: it returns, and waits for nothing */
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(3600)"), 0);
    CHECK_EQUAL(asyncbox_step(box, 0), 1);
    CHECK_EQUAL(asyncbox_step(box, UINT64_MAX), 1);
    CHECK_EQUAL(stats_of(box).timers, 1);
    CHECK_EQUAL(asyncbox_free(box), 0);

    box = new_box(); /* virtual time takes none, stepped or run */
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(3600) "
                                       "assert(async.now() >= 3600)"),
                0);
    int status = 1, turns = 0;
    while (status == 1 && turns++ < 100)
        status = asyncbox_step(box, 0);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

/* ---- reports ---- */

typedef struct sink {
    asyncbox *box;
    int lines;
    char last[2000];
} sink;

/* Whatever is called from inside is refused, not fatal. */
static void on_report(void *arg, const char *text, size_t bytes)
{
    sink *s = arg;
    s->lines++;
    snprintf(s->last, sizeof s->last, "%.*s", (int)bytes, text);
    if (!s->box)
        return;
    CHECK_EQUAL(asyncbox_free(s->box), UV_EBUSY);
    CHECK_EQUAL(asyncbox_run(s->box), UV_EBUSY);
    CHECK_EQUAL(asyncbox_step(s->box, 0), UV_EBUSY);
    CHECK_EQUAL(check_spawn(s->box, "x = 1"), UV_EBUSY);
    CHECK_EQUAL(asyncbox_set_args(s->box, 0, NULL, 0), UV_EBUSY);
    CHECK(stats_of(s->box).memory_bytes > 0);
}

static void reports(void)
{
    sink s = {0};
    asyncbox_config config = check_config(NULL);
    config.report = on_report;
    config.report_arg = &s;
    CHECK_EQUAL(asyncbox_new(&config, &s.box), 0);
    CHECK_EQUAL(run_code(s.box, "error('woe')"), ASYNCBOX_ESCRIPT);
    CHECK_EQUAL(s.lines, 1);
    CHECK(strstr(s.last, "woe") != NULL);
    CHECK_EQUAL(run_code(s.box, FOR_EVER), ASYNCBOX_ESCRIPT);
    CHECK(s.lines > 1);
    s.lines = 0;
    CHECK_EQUAL(run_code(s.box, ASYNC "async.spawn(error, 'lost') "
                                      "async.sleep(1)"),
                ASYNCBOX_ESCRIPT);
    CHECK_EQUAL(s.lines, 1);
    CHECK_EQUAL(run_code(s.box, ASYNC "async(print)() collectgarbage()"), 0);
    CHECK_EQUAL(s.lines, 2);
    /* Garbage that is found while the host spawns has a say, too. */
    s.lines = 0;
    CHECK_EQUAL(run_code(s.box, ASYNC "collectgarbage('generational') "
                                      "local f = async(print) "
                                      "for i = 1, 10 do f() end"),
                0);
    for (int i = 0; i < 100; i++)
        CHECK_EQUAL(run_code(s.box, "local t = {} for i = 1, 99 do t[i] = {} "
                                    "end"),
                    0);
    CHECK(s.lines == 10);
    /* At the very end, when the box cannot be asked any more. */
    s.lines = 0;
    CHECK_EQUAL(run_code(s.box, "warn('@on') e = setmetatable({}, {__gc = "
                                "function() warn('last words') end})"),
                0);
    CHECK_EQUAL(asyncbox_free(s.box), 0);
    CHECK(s.lines > 0);
}

/* ---- interrupts ---- */

static asyncbox *volatile target;

static void on_signal(int number)
{
    (void)number;
    asyncbox_interrupt(target);
}

static int with_signal(asyncbox *box, const char *code, int ms)
{
    struct itimerval after = {.it_value = {0, ms * 1000},
                              .it_interval = {0, 50000}};
    target = box;
    CHECK_EQUAL(check_spawn(box, code), 0);
    signal(SIGALRM, on_signal);
    setitimer(ITIMER_REAL, &after, NULL);
    int status = asyncbox_run(box);
    memset(&after, 0, sizeof after);
    setitimer(ITIMER_REAL, &after, NULL);
    signal(SIGALRM, SIG_DFL);
    return status;
}

static void signals(void)
{
    static const char *const codes[] = {
        "while true do end",
        "coroutine.wrap(function() while true do end end)()",
        ASYNC "async.sleep(3600)",
        ASYNC "while true do async.sleep(0) end",
        FOR_EVER " ",
        ASYNC "async.spawn(function() while true do end end) async.sleep(1e6)",
        "local co = coroutine.wrap(function() while true do coroutine.yield() "
        "end end) while true do co() end",
        ASYNC "while true do async.timeout(1, function() while true do end "
              "end) end",
        ASYNC "local g <close> = async.group() for i = 1, 9 do "
              "g:spawn(async.sleep, 1e6) end while true do end",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "local t = setmetatable({}, {__index = function() while true do end "
        "end}) return t.x",
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        asyncbox *box = real_box();
        snprintf(check_context, sizeof check_context, "code %zu", i);
        /* An event that nobody sets would be a deadlock: keep time going. */
        CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(3000)"), 0);
        CHECK_EQUAL(with_signal(box, codes[i], 20), UV_EINTR);
        CHECK_EQUAL(stats_of(box).tasks, 0);
        CHECK_EQUAL(run_code(box, "for i = 1, 1000 do end"), 0);
        CHECK_EQUAL(asyncbox_free(box), 0);
    }
    *check_context = 0;
}

/* Many signals, at any moment of many short tasks. */
static void signal_storm(void)
{
    struct itimerval often = {{0, 300}, {0, 300}};
    double end = seconds() + 0.5;
    asyncbox *box = real_box();
    target = box;
    signal(SIGALRM, on_signal);
    setitimer(ITIMER_REAL, &often, NULL);
    while (seconds() < end) {
        if (check_spawn(box, ASYNC "local t = {} for i = 1, 20 do "
                                   "t[i] = async.spawn(coroutine.wrap("
                                   "function() async.sleep(0) return i, i end))"
                                   " end async.gather(t)") != 0)
            continue;
        int status = asyncbox_run(box);
        if (status != UV_EINTR)
            CHECK_EQUAL(status, 0);
        CHECK_EQUAL(stats_of(box).tasks, 0);
    }
    memset(&often, 0, sizeof often);
    setitimer(ITIMER_REAL, &often, NULL);
    signal(SIGALRM, SIG_DFL);
    asyncbox_run(box);
    run_code(box, "x = 1");
    CHECK_EQUAL(run_code(box, "assert(x == 1)"), 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

static void *interrupt_soon(void *box)
{
    usleep(20000);
    asyncbox_interrupt(box);
    return NULL;
}

static void from_thread(void)
{
    static const char *const codes[] = {
        ASYNC "async.sleep(3600)",
        ASYNC "while true do async.sleep(0) end",
        ASYNC "local e <close> = setmetatable({}, {__close = function() "
              "async.shield(async.sleep, 0.01) done = true end}) "
              "async.sleep(3600)",
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        asyncbox *box = real_box();
        pthread_t thread;
        CHECK_EQUAL(check_spawn(box, codes[i]), 0);
        CHECK_EQUAL(asyncbox_step(box, 0), 1); /* it has begun */
        CHECK(pthread_create(&thread, NULL, interrupt_soon, box) == 0);
        CHECK_EQUAL(asyncbox_run(box), UV_EINTR);
        pthread_join(thread, NULL);
        CHECK_EQUAL(run_code(box, i == 2 ? "assert(done)" : ""), 0);
        CHECK_EQUAL(asyncbox_free(box), 0);
    }
}

static void early_interrupts(void)
{
    asyncbox *box = new_box();
    asyncbox_interrupt(box); /* before there is anything */
    CHECK_EQUAL(asyncbox_free(box), 0);
    box = new_box();
    CHECK_EQUAL(check_spawn(box, FOR_EVER), 0);
    asyncbox_interrupt(box); /* before the first step */
    asyncbox_interrupt(box);
    int status = 1;
    for (int i = 0; i < 20 && status == 1; i++)
        status = asyncbox_step(box, 0);
    CHECK_EQUAL(status, UV_EINTR);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

/* ---- threads ---- */

static void *life_on_thread(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        counter c = {0};
        asyncbox_config config = check_config(&c);
        asyncbox *a = NULL, *b = real_box();
        config.virtual_time = i % 2;
        CHECK_EQUAL(asyncbox_new(&config, &a), 0);
        CHECK_EQUAL(run_code(a, ASYNC "local q = async.queue(2) "
                                      "async.spawn(function() for i = 1, 99 do "
                                      "q:put(i) async.sleep(1e-5) end q:close()"
                                      " end) n = 0 for i in q do n = n + i end "
                                      "assert(n == 99 * 50)"),
                    0);
        CHECK_EQUAL(check_spawn(b, FOR_EVER), 0);
        CHECK_EQUAL(asyncbox_step(b, 0), 1);
        CHECK_EQUAL(check_spawn(a, FOR_EVER), 0);
        CHECK_EQUAL(asyncbox_free(a), 0);
        CHECK_EQUAL(asyncbox_free(b), 0);
        counter_check(&c);
    }
    return NULL;
}

static void threads(void)
{
    enum { THREADS = 6 };
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], NULL, life_on_thread, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

/* ---- what a script can try ---- */

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
        snprintf(check_context, sizeof check_context, "hostile %zu", i);
        CHECK_EQUAL(asyncbox_new(&config, &box), 0);
        CHECK_EQUAL(run_code(box, "async = require 'asyncbox' spawn, await, "
                                  "sleep = async.spawn, async.await, "
                                  "async.sleep"),
                    0);
        CHECK_EQUAL(run_code(box, all[i].code), all[i].status);
        CHECK_EQUAL(asyncbox_free(box), 0);
        counter_check(&c);
    }
    *check_context = 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {
        {"odd_orders", odd_orders},
        {"unstepped", unstepped},
        {"again", again},
        {"config_sizes", config_sizes},
        {"stats_sizes", stats_sizes},
        {"errors_named", errors_named},
        {"bad_scripts", bad_scripts},
        {"arguments", arguments},
        {"interleaved", interleaved},
        {"budgets", budgets},
        {"reports", reports},
        {"signals", signals},
        {"signal_storm", signal_storm},
        {"from_thread", from_thread},
        {"early", early_interrupts},
        {"threads", threads},
        {"hostile", hostile},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (argc < 2 || strcmp(argv[1], all[i].name) == 0)
            all[i].run();
    return check_done("life_spec");
}
