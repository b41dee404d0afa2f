/* interrupt_spec.c - asyncbox_interrupt: from signal handlers, from other
 * threads, before anything runs. */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>
#include <uv.h>

#define ASYNC "local async = require 'asyncbox' "
#define FOR_EVER ASYNC "async.event():wait()"

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
        asyncbox *box = check_new(0);
        check_in("code %zu", i);
        /* An event that nobody sets would be a deadlock: keep time going. */
        CHECK_EQUAL(check_spawn(box, ASYNC "async.sleep(3000)"), 0);
        CHECK_EQUAL(with_signal(box, codes[i], 20), UV_EINTR);
        CHECK_EQUAL(check_stats(box).tasks, 0);
        CHECK_EQUAL(check_run_code(box, "for i = 1, 1000 do end"), 0);
        CHECK_EQUAL(asyncbox_free(box), 0);
    }
    check_out();
}

/* Many signals, at any moment of many short tasks. */
static void signal_storm(void)
{
    struct itimerval often = {{0, 300}, {0, 300}};
    double end = check_seconds() + 0.5;
    asyncbox *box = check_new(0);
    target = box;
    signal(SIGALRM, on_signal);
    setitimer(ITIMER_REAL, &often, NULL);
    while (check_seconds() < end) {
        if (check_spawn(box, ASYNC "local t = {} for i = 1, 20 do "
                                   "t[i] = async.spawn(coroutine.wrap("
                                   "function() async.sleep(0) return i, i end))"
                                   " end async.gather(t)") != 0)
            continue;
        int status = asyncbox_run(box);
        if (status != UV_EINTR)
            CHECK_EQUAL(status, 0);
        CHECK_EQUAL(check_stats(box).tasks, 0);
    }
    memset(&often, 0, sizeof often);
    setitimer(ITIMER_REAL, &often, NULL);
    signal(SIGALRM, SIG_DFL);
    asyncbox_run(box);
    check_run_code(box, "x = 1");
    CHECK_EQUAL(check_run_code(box, "assert(x == 1)"), 0);
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
        asyncbox *box = check_new(0);
        pthread_t thread;
        CHECK_EQUAL(check_spawn(box, codes[i]), 0);
        CHECK_EQUAL(asyncbox_step(box, 0), 1); /* it has begun */
        CHECK(pthread_create(&thread, NULL, interrupt_soon, box) == 0);
        CHECK_EQUAL(asyncbox_run(box), UV_EINTR);
        pthread_join(thread, NULL);
        CHECK_EQUAL(check_run_code(box, i == 2 ? "assert(done)" : ""), 0);
        CHECK_EQUAL(asyncbox_free(box), 0);
    }
}

static void early_interrupts(void)
{
    asyncbox *box = check_new(1);
    asyncbox_interrupt(box); /* before there is anything */
    CHECK_EQUAL(asyncbox_free(box), 0);
    box = check_new(1);
    CHECK_EQUAL(check_spawn(box, FOR_EVER), 0);
    asyncbox_interrupt(box); /* before the first step */
    asyncbox_interrupt(box);
    int status = 1;
    for (int i = 0; i < 20 && status == 1; i++)
        status = asyncbox_step(box, 0);
    CHECK_EQUAL(status, UV_EINTR);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

int main(void)
{
    signals();
    signal_storm();
    from_thread();
    early_interrupts();
    return check_done("interrupt_spec");
}
