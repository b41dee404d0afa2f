/* check.h - what the C specs share: checks, and an allocator that counts,
 * refuses and knows every block by its size. */
#ifndef CHECK_H
#define CHECK_H

#include "asyncbox.h"
#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int check_failures, check_count;

/* What is going on, for the message of a failed check; may be "". */
static _Thread_local char check_context[128];

__attribute__((format(printf, 1, 2))) static inline void
check_in(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(check_context, sizeof check_context, format, args);
    va_end(args);
}

static inline void check_out(void) { *check_context = '\0'; }

static inline int check_at(int ok, const char *what, const char *file, int line)
{
    check_count++;
    if (ok)
        return 1;
    if (check_failures++ < 50)
        printf("%s:%d: failed: %s%s%s\n", file, line, what,
               *check_context ? "; in " : "", check_context);
    return 0;
}
#define CHECK(e) check_at((e) ? 1 : 0, #e, __FILE__, __LINE__)

static inline int check_equal_at(long long got, long long want,
                                 const char *what, const char *file, int line)
{
    char text[300];
    if (got == want)
        return check_at(1, what, file, line);
    snprintf(text, sizeof text, "%.200s is %lld, not %lld", what, got, want);
    return check_at(0, text, file, line);
}
#define CHECK_EQUAL(got, want)                                                 \
    check_equal_at((long long)(got), (long long)(want), #got, __FILE__,        \
                   __LINE__)

static inline int check_done(const char *name)
{
    printf("%s: %d checks, %d failed\n", name, (int)check_count,
           (int)check_failures);
    return check_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- an allocator for asyncbox_config ---- */

typedef struct counter {
    size_t blocks, bytes; /* not yet freed */
    size_t calls;         /* that asked for more memory */
    size_t fail_at;       /* refuse call number so-and-so, from 1; 0: none */
    int fail_on;          /* and every one after it */
    int refused;
    int wrong_size; /* blocks given back with a size they never had */
} counter;

/* Before each block: its size. */
typedef union counter_head {
    size_t bytes;
    max_align_t align;
} counter_head;

static inline int counter_refuses(counter *c)
{
    size_t call = ++c->calls;
    int refused =
        c->fail_at && (call == c->fail_at || (c->fail_on && call > c->fail_at));
    c->refused |= refused;
    return refused;
}

/* An asyncbox_alloc_fn; arg is a counter. */
static inline void *counter_alloc(void *arg, void *block, size_t old_bytes,
                                  size_t new_bytes)
{
    counter *c = arg;
    counter_head *head = block ? (counter_head *)block - 1 : NULL;
    size_t had = head ? head->bytes : 0;
    if (head && had != old_bytes)
        c->wrong_size++;
    if (new_bytes == 0) {
        c->blocks -= head != NULL;
        c->bytes -= had;
        free(head);
        return NULL;
    }
    /* What Lua shrinks never fails. */
    if (new_bytes > had && counter_refuses(c))
        return NULL;
    counter_head *moved = malloc(sizeof *moved + new_bytes);
    if (!moved)
        return NULL;
    memcpy(moved + 1, block ? block : "", had < new_bytes ? had : new_bytes);
    free(head); /* always moves: who keeps the old address is found out */
    moved->bytes = new_bytes;
    c->blocks += head == NULL;
    c->bytes += new_bytes - had;
    return moved + 1;
}

static inline void counter_check(const counter *c)
{
    CHECK_EQUAL(c->blocks, 0);
    CHECK_EQUAL(c->bytes, 0);
    CHECK_EQUAL(c->wrong_size, 0);
}

/* ---- boxes ---- */

static inline void ignore_report(void *arg, const char *text, size_t bytes)
{
    (void)arg;
    (void)text;
    (void)bytes;
}

/* A silent box in virtual time; counting when c is given. */
static inline asyncbox_config check_config(counter *c)
{
    asyncbox_config config;
    asyncbox_config_init(&config);
    config.virtual_time = 1;
    config.report = ignore_report;
    if (c) {
        config.alloc = counter_alloc;
        config.alloc_arg = c;
    }
    return config;
}

static inline int check_spawn(asyncbox *box, const char *code)
{
    return asyncbox_spawn_string(box, code, strlen(code), "=spec", 0, NULL);
}

static inline asyncbox *check_new(int virtual_time)
{
    asyncbox *box = NULL;
    asyncbox_config config = check_config(NULL);
    config.virtual_time = virtual_time;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    return box;
}

/* Spawns code and runs the box to its end: its status. */
static inline int check_run_code(asyncbox *box, const char *code)
{
    CHECK_EQUAL(check_spawn(box, code), 0);
    return asyncbox_run(box);
}

static inline asyncbox_stats check_stats(asyncbox *box)
{
    asyncbox_stats stats = {.size = sizeof stats};
    asyncbox_stats_get(box, &stats);
    return stats;
}

/* A box in real time that is about to run code; NULL: no memory. */
static inline asyncbox *check_box(counter *c, const char *code, int sandbox)
{
    asyncbox *box = NULL;
    asyncbox_config config = check_config(c);
    config.sandbox = sandbox;
    config.virtual_time = 0;
    if (asyncbox_new(&config, &box) < 0)
        return NULL;
    if (check_spawn(box, code) < 0) {
        asyncbox_free(box);
        return NULL;
    }
    return box;
}

/* ---- the process ---- */

static char check_stuck[200];

static inline void check_on_alarm(int number)
{
    ssize_t n = write(STDERR_FILENO, check_stuck, strlen(check_stuck));
    (void)n;
    signal(number, SIG_DFL);
    raise(number);
}

/* Ends the program, and says what is going on now, if this is not called again
 * within so many seconds.  0: it may take any time again. */
static inline void check_within(unsigned seconds)
{
    snprintf(check_stuck, sizeof check_stuck, "stopped in %s\n", check_context);
    signal(SIGALRM, check_on_alarm);
    alarm(seconds);
}

static inline double check_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Open descriptors, and as many more as looking takes. */
static inline int check_count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

#endif
