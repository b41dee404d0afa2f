/* life_spec.c - boxes come and go: in odd orders, on several threads, with
 * nothing in them, stepped; and what the public functions say to
 * those who use them wrong. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define ASYNC "local async = require 'asyncbox' "
#define FOR_EVER ASYNC "async.event():wait()"

/* ---- made and closed ---- */

static void odd_orders(void)
{
    CHECK_EQUAL(asyncbox_free(NULL), 0);
    asyncbox *box = NULL, *a, *b, *c;
    CHECK_EQUAL(asyncbox_new(NULL, &box), 0); /* all defaults */
    CHECK_EQUAL(asyncbox_free(box), 0);

    a = check_new(1), b = check_new(1), c = check_new(1);
    CHECK_EQUAL(asyncbox_free(b), 0);
    CHECK_EQUAL(check_run_code(a, "x = 1"), 0);
    b = check_new(1);
    CHECK_EQUAL(asyncbox_free(a), 0);
    CHECK_EQUAL(check_run_code(c, "assert(x == nil)"), 0);
    CHECK_EQUAL(asyncbox_free(c), 0);
    CHECK_EQUAL(asyncbox_free(b), 0);
    for (int i = 0; i < 200; i++)
        CHECK_EQUAL(asyncbox_free(check_new(1)), 0);
}

static void unstepped(void)
{
    asyncbox *box = check_new(1);
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(1)"), 0);
    CHECK_EQUAL(check_stats(box).tasks, 1);
    CHECK_EQUAL(asyncbox_free(box), 0);

    box = check_new(1); /* nothing in it at all */
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(asyncbox_step(box, 0), 0);
    CHECK_EQUAL(asyncbox_step(box, UINT64_MAX), 0);
    CHECK_EQUAL(check_stats(box).tasks, 0);
    CHECK(check_stats(box).memory_bytes > 10000);
    CHECK(*asyncbox_error_text(box) == 0);
    CHECK_EQUAL(asyncbox_exit_status(box), 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

static void again(void)
{
    asyncbox *box = check_new(1);
    CHECK_EQUAL(check_run_code(box, "x = 1"), 0);
    CHECK_EQUAL(check_run_code(box, "error('no')"), ASYNCBOX_ESCRIPT);
    CHECK_EQUAL(check_run_code(box, "assert(x == 1)"), 0);
    CHECK_EQUAL(check_run_code(box, FOR_EVER), ASYNCBOX_ESCRIPT);
    CHECK_EQUAL(check_run_code(box, "assert(x == 1)"), 0);
    /* The main task's error ends the others, every time. */
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(check_run_code(box, ASYNC "async.spawn(async.sleep, 1e6)"
                                              "error('no')"),
                    ASYNCBOX_ESCRIPT);
        CHECK_EQUAL(check_stats(box).tasks, 0);
    }
    asyncbox_interrupt(box);
    CHECK_EQUAL(check_run_code(box, FOR_EVER), UV_EINTR);
    CHECK_EQUAL(check_run_code(box, "assert(x == 1)"), 0);
    /* Two main tasks at a time. */
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(2) y = x"), 0);
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(1) x = 5"), 0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(check_run_code(box, "assert(x == 5 and y == 5)"), 0);
    CHECK_EQUAL(check_run_code(box, "os.exit(300)"), ASYNCBOX_EEXIT);
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
    asyncbox *box = check_new(1);
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
    asyncbox *box = check_new(1);
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
    CHECK_EQUAL(check_stats(box).tasks, 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
    close(fd);
    unlink(path);
}

static void arguments(void)
{
    const char *const argv[] = {"opt", "script", "a", "b"};
    asyncbox *box = check_new(1);
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
    CHECK_EQUAL(check_run_code(box, "assert(#arg == 0)"), 0);
    CHECK_EQUAL(check_run_code(box, "arg = 5"), 0);
    CHECK(asyncbox_spawn_string(box, "", 0, "=s", ASYNCBOX_ARGS, NULL) < 0);
    CHECK_EQUAL(asyncbox_allow(box, "nonsense", "x"), UV_EINVAL);
    CHECK_EQUAL(asyncbox_free(box), 0);

    enum { MANY = 100000 };
    const char **many = malloc(MANY * sizeof *many);
    for (int i = 0; i < MANY; i++)
        many[i] = "x";
    box = check_new(1);
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
        box[i] = i % 2 ? check_new(0) : check_new(1);
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
        CHECK_EQUAL(check_run_code(box[i], code), 0);
        CHECK_EQUAL(asyncbox_free(box[i]), 0);
    }
}

static void budgets(void)
{
    asyncbox *box = check_new(0);
    CHECK_EQUAL(check_spawn(box, ASYNC "while true do async.sleep(0) end"), 0);
    uint64_t one, many = 0;
    CHECK_EQUAL(asyncbox_step(box, 0), 1);
    one = check_stats(box).resumes;
    CHECK(one >= 1);
    /* Again when others had the processor for nearly all of the 20 ms. */
    for (int i = 0; i < 100 && many <= 2 * one; i++) {
        uint64_t before = check_stats(box).resumes;
        double start = check_seconds();
        CHECK_EQUAL(asyncbox_step(box, 20000000), 1);
        CHECK(check_seconds() - start >= 0.019);
        many = check_stats(box).resumes - before;
    }
    CHECK(many > 2 * one);
    CHECK_EQUAL(asyncbox_free(box), 0);

    box =
        check_new(0); /* nothing is ready: it returns, and waits for nothing */
    CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(3600)"), 0);
    CHECK_EQUAL(asyncbox_step(box, 0), 1);
    CHECK_EQUAL(asyncbox_step(box, UINT64_MAX), 1);
    CHECK_EQUAL(check_stats(box).timers, 1);
    CHECK_EQUAL(asyncbox_free(box), 0);

    box = check_new(1); /* virtual time takes none, stepped or run */
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
    CHECK(check_stats(s->box).memory_bytes > 0);
}

static void reports(void)
{
    sink s = {0};
    asyncbox_config config = check_config(NULL);
    config.report = on_report;
    config.report_arg = &s;
    CHECK_EQUAL(asyncbox_new(&config, &s.box), 0);
    CHECK_EQUAL(check_run_code(s.box, "error('woe')"), ASYNCBOX_ESCRIPT);
    CHECK_EQUAL(s.lines, 1);
    CHECK(strstr(s.last, "woe") != NULL);
    CHECK_EQUAL(check_run_code(s.box, FOR_EVER), ASYNCBOX_ESCRIPT);
    CHECK(s.lines > 1);
    s.lines = 0;
    CHECK_EQUAL(check_run_code(s.box, ASYNC "async.spawn(error, 'lost') "
                                            "async.sleep(1)"),
                ASYNCBOX_ESCRIPT);
    CHECK_EQUAL(s.lines, 1);
    CHECK_EQUAL(check_run_code(s.box, ASYNC "async(print)() collectgarbage()"),
                0);
    CHECK_EQUAL(s.lines, 2);
    /* Garbage that is found while the host spawns has a say, too. */
    s.lines = 0;
    CHECK_EQUAL(check_run_code(s.box, ASYNC "collectgarbage('generational') "
                                            "local f = async(print) "
                                            "for i = 1, 10 do f() end"),
                0);
    for (int i = 0; i < 100; i++)
        CHECK_EQUAL(check_run_code(s.box,
                                   "local t = {} for i = 1, 99 do t[i] = {} "
                                   "end"),
                    0);
    CHECK(s.lines == 10);
    /* At the very end, when the box cannot be asked any more. */
    s.lines = 0;
    CHECK_EQUAL(check_run_code(s.box,
                               "warn('@on') e = setmetatable({}, {__gc = "
                               "function() warn('last words') end})"),
                0);
    CHECK_EQUAL(asyncbox_free(s.box), 0);
    CHECK(s.lines > 0);
}

/* ---- threads ---- */

static void *life_on_thread(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        counter c = {0};
        asyncbox_config config = check_config(&c);
        asyncbox *a = NULL, *b = check_new(0);
        config.virtual_time = i % 2;
        CHECK_EQUAL(asyncbox_new(&config, &a), 0);
        CHECK_EQUAL(check_run_code(a, ASYNC
                                   "local q = async.queue(2) "
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
        {"threads", threads},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (argc < 2 || strcmp(argv[1], all[i].name) == 0)
            all[i].run();
    return check_done("life_spec");
}
