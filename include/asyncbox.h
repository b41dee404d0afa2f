/* asyncbox.h - the one public header of libasyncbox.
 *
 * A box is one Lua 5.4 state with a scheduler: its scripts are made of tasks,
 * which wait for timers, files and transfers without blocking the thread that
 * steps the box.
 *
 * Threads: every function takes a box and must be called on the thread that
 * made the box, but for asyncbox_interrupt, which any thread and any signal
 * handler may call.  A process may have any number of boxes, on any number of
 * threads.  The library writes nothing to standard output by itself, and never
 * exits or aborts the process because of anything that a script or the outside
 * world did.
 *
 * Signals are left alone until a script needs them.  The first stream (a pipe
 * to or from a program) that is opened in the process makes it ignore SIGPIPE,
 * for good, if that was at its default then; a handler of the host's stays.
 * SIGCHLD is left alone on Linux; where the kernel has no pidfd, or the host
 * ignores SIGCHLD, and on other systems it has libuv's handler while programs
 * run.  That, and what asyncbox.signal watches for, is put back.
 *
 * Errors: functions that return int give 0 or more when all is well and a
 * negative code else.  Codes above -5000 are libuv's (negated errno values on
 * Unix); those from -5000 down are asyncbox's own and listed below. */
#ifndef ASYNCBOX_H
#define ASYNCBOX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ASYNCBOX_API __attribute__((visibility("default")))
#else
#define ASYNCBOX_API
#endif

typedef struct asyncbox asyncbox;

/* asyncbox's own error codes: code, name as scripts see it, what it means. */
#define ASYNCBOX_ERRORS(X)                                                     \
    X(-5000, EDENIED, "permission not granted")                                \
    X(-5001, EDEADLK, "nothing is left that could end this wait")              \
    X(-5002, ECLOSED, "closed")                                                \
    X(-5003, ELIMIT, "limit exceeded")                                         \
    X(-5004, ESCRIPT, "error in the script")                                   \
    X(-5005, EURL, "bad URL")                                                  \
    X(-5006, ETLS, "TLS failure")                                              \
    X(-5007, EHTTP, "HTTP failure")                                            \
    X(-5008, EEXIT, "the script ended the program")                            \
    X(-5009, EBROKEN, "the barrier was broken")                                \
    X(-5010, ESYNTAX, "syntax error in the script")                            \
    X(-5016, ETRUNCATED, "the connection was cut off")                         \
    X(-5030, ESTATUS, "the program failed")

enum asyncbox_error {
#define ASYNCBOX_ERROR_(code, name, text) ASYNCBOX_##name = (code),
    ASYNCBOX_ERRORS(ASYNCBOX_ERROR_)
#undef ASYNCBOX_ERROR_
        ASYNCBOX_OK = 0
};

/* The short name of a code ("ENOENT", "EDENIED") and what it means ("no such
 * file or directory").  Static strings, never NULL. */
ASYNCBOX_API const char *asyncbox_err_name(int code);
ASYNCBOX_API const char *asyncbox_err_text(int code);

/* The version of the library, "0.1.0", and of the Lua in it, "Lua 5.4.9". */
ASYNCBOX_API const char *asyncbox_version(void);
ASYNCBOX_API const char *asyncbox_lua_version(void);
/* The version of libuv that is in use, "1.44.2". */
ASYNCBOX_API const char *asyncbox_uv_version(void);

/* An allocator: as lua_Alloc.  Frees when new_bytes is 0; returns NULL when
 * there is no memory.  Gets all memory of the box: Lua's and the waits'. */
typedef void *(*asyncbox_alloc_fn)(void *arg, void *block, size_t old_bytes,
                                   size_t new_bytes);

/* Takes a line or more of text that a box has to say to people: an error that
 * nobody took, a coroutine object never awaited, a deadlock.  `text` is valid
 * during the call. */
typedef void (*asyncbox_report_fn)(void *arg, const char *text, size_t bytes);

typedef struct asyncbox_config {
    size_t size;         /* set by asyncbox_config_init */
    size_t memory_bytes; /* 0: no limit.  Lua's memory and the waits' */
    int sandbox;         /* 1: no grants but the ones given below, no io, no
                            os.execute, no debug, no C modules.  0: trusted. */
    int virtual_time;    /* 1: the clock stands still while tasks run and jumps
                            to the next deadline when nothing else is pending */
    asyncbox_alloc_fn alloc; /* NULL: the pool of the library */
    void *alloc_arg;
    asyncbox_report_fn report; /* NULL: to standard error */
    void *report_arg;
    int standard_output; /* 1: what the script prints goes to descriptors 1 and
                            2 through a queue of the box, past C's stdout and
                            stderr, and does not block the loop when the other
                            side is slow; reports without `report` go there,
                            too.  For one box of a process.  0: through C's
                            stdout, which blocks. */
} asyncbox_config;

/* Fills in the defaults: an embedded box is a sandbox with no grants. */
ASYNCBOX_API void asyncbox_config_init(asyncbox_config *config);

/* Makes a box.  *out is set only when 0 is returned.  The config is copied. */
ASYNCBOX_API int asyncbox_new(const asyncbox_config *config, asyncbox **out);

/* Closes a box at any moment: waits are stopped, every task's <close>
 * variables run (they may not wait any more), everything is freed.  NULL is
 * fine.  Refused (UV_EBUSY) while the box is running on this thread.  With
 * config.standard_output it blocks until all that was printed is written (of a
 * box that was interrupted: until nobody has read any of it for five seconds);
 * any other negative code says that something could not be, and the box is
 * gone all the same. */
ASYNCBOX_API int asyncbox_free(asyncbox *box);

/* With config.standard_output: blocks until all that was printed is written, as
 * a host does before it prints something itself.  0, UV_ECANCELED when the box
 * is interrupted meanwhile, or why something could not be written.  Else: 0.
 * asyncbox_error_text stays. */
ASYNCBOX_API int asyncbox_flush(asyncbox *box);

/* Grants: kind is "read" or "write" (rule: a folder or file), "net" (rule:
 * host, host:port or *), "listen" (rule: address, address:port, port or *;
 * accepting connections and datagrams), "run" (rule: a program's path, its name
 * in PATH, or
 * *; what it does is not limited any more) or "env" (rule: the name of a
 * variable of the environment, the beginning of one and *, or *) or "stdin"
 * (rule: *; reading the standard input of the process).  Before the first step
 * only.
 * UV_EINVAL: no such kind or a rule that cannot be read. */
ASYNCBOX_API int asyncbox_allow(asyncbox *box, const char *kind,
                                const char *rule);

/* Sets the global `arg` as the program `lua` does: argv[script_at] becomes
 * arg[0], what follows it arg[1], arg[2], ..., and what stands before it gets
 * negative indexes.  The strings are copied.  0 or UV_ENOMEM. */
ASYNCBOX_API int asyncbox_set_args(asyncbox *box, int argc,
                                   const char *const *argv, int script_at);

/* In the place of an argc: the arguments are those in the global `arg`. */
#define ASYNCBOX_ARGS (-1)

/* Makes the script the box's main task; it starts at the first step.  argv[0]
 * is the script's name as `arg[0]` gives it, the rest are its arguments, its
 * `...`.  argc 0: none, and `arg` is left as it is; argc ASYNCBOX_ARGS: what
 * asyncbox_set_args said (argv may be NULL).  `path` NULL: standard input.
 * When a main task has ended, another one may be spawned in the same box.
 * Negative: see asyncbox_error_text. */
ASYNCBOX_API int asyncbox_spawn_file(asyncbox *box, const char *path, int argc,
                                     const char *const *argv);
/* The same with code from memory; `name` is what error messages call it. */
ASYNCBOX_API int asyncbox_spawn_string(asyncbox *box, const char *code,
                                       size_t bytes, const char *name, int argc,
                                       const char *const *argv);

/* Runs until every task has ended.  0: all is well.  ASYNCBOX_ESCRIPT: an
 * error that nobody took (it was reported).  ASYNCBOX_EEXIT: os.exit was
 * called, see asyncbox_exit_status.  UV_EINTR: interrupted.  UV_EBUSY: called
 * from inside a run. */
ASYNCBOX_API int asyncbox_run(asyncbox *box);

/* Runs what is ready and returns: 1 while tasks are left, else as
 * asyncbox_run.  budget_ns: how long it may go on starting new turns (a turn
 * is never cut short); 0: one turn.  Never waits for the outside. */
ASYNCBOX_API int asyncbox_step(asyncbox *box, uint64_t budget_ns);

/* Asks the box to stop: its tasks are cancelled, their <close> variables run,
 * asyncbox_run returns UV_EINTR.  A Lua loop that never waits is broken too
 * when called from a signal handler on the box's thread.  Any thread. */
ASYNCBOX_API void asyncbox_interrupt(asyncbox *box);

/* Why the last call failed, as text for people (of an error of the script,
 * the last report); "" when it did not.  Valid until the next call. */
ASYNCBOX_API const char *asyncbox_error_text(asyncbox *box);

/* The status that os.exit was given (0..255). */
ASYNCBOX_API int asyncbox_exit_status(asyncbox *box);

typedef struct asyncbox_stats {
    size_t size;         /* set by the caller: sizeof(asyncbox_stats) */
    size_t tasks;        /* tasks that have not ended */
    size_t ops;          /* waits in memory, finished or not */
    size_t handles;      /* open outside resources: files, sessions, ... */
    size_t timers;       /* pending sleeps and deadlines */
    size_t memory_bytes; /* in use by Lua and by waits */
    size_t peak_bytes;   /* the most there was */
    uint64_t resumes;    /* turns of tasks since the box was made */
} asyncbox_stats;

ASYNCBOX_API void asyncbox_stats_get(asyncbox *box, asyncbox_stats *out);

#ifdef __cplusplus
}
#endif
#endif
