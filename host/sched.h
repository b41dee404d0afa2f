/* sched.h - tasks and who runs them.
 *
 * Only sched.c resumes tasks, from one FIFO ready queue, after a turn of the
 * loop; callbacks record and queue.  A task is a full userdata (the Task that
 * scripts hold) with a coroutine as its user value while it lives and its
 * outcome after. */
#ifndef AB_SCHED_H
#define AB_SCHED_H

#include "op.h"
#include <lua.h>
#include <stdint.h>

typedef struct ab_scope ab_scope;

typedef enum ab_task_state {
    AB_TASK_READY,   /* in the ready queue */
    AB_TASK_RUNNING, /* on the C stack */
    AB_TASK_PARKED,  /* waits */
    AB_TASK_DEAD     /* has an outcome */
} ab_task_state;

/* What a parked task waits for. */
typedef enum ab_wait {
    AB_WAIT_NONE,
    AB_WAIT_OP,    /* wait.op */
    AB_WAIT_SLEEP, /* a deadline in the timer heap, wait.seq */
    AB_WAIT_JOIN   /* one task or future, wait.joined */
} ab_wait;

enum {
    AB_TASK_STARTED = 1 << 0,
    AB_TASK_CANCELLED = 1 << 1,   /* cancel() was called on the task itself */
    AB_TASK_INTERRUPT = 1 << 2,   /* the task or a scope it is in is cancelled:
                                     the next wait raises ECANCELED */
    AB_TASK_RAISE = 1 << 3,       /* raise when resumed: see resume_code */
    AB_TASK_FAILED = 1 << 4,      /* outcome: an error */
    AB_TASK_TAKEN = 1 << 5,       /* somebody has seen the error */
    AB_TASK_FUTURE = 1 << 6,      /* no coroutine: a future */
    AB_TASK_MULTI = 1 << 7,       /* outcome: a table {n=, ...} of results */
    AB_TASK_EMPTY = 1 << 8,       /* outcome: no results at all */
    AB_TASK_LOCALS = 1 << 9,      /* has task-local values */
    AB_TASK_NAMED = 1 << 10,      /* has a name of its own */
    AB_TASK_MAIN = 1 << 11,       /* the script's main chunk */
    AB_TASK_MULTIWATCH = 1 << 12, /* watch is a list of watchers */
    AB_TASK_RAISED = 1 << 13 /* has been told of a cancellation in this turn */
};

/* Who is told when a task or future is done: a parked task (joining) or an op
 * that counts (gather, wait). */
typedef struct ab_watcher {
    struct ab_watcher *next;
    void *who; /* tagged: ab_task* or ab_op*|1 */
} ab_watcher;

/* Kept small: with its coroutine a sleeping task must stay under 1,300 bytes
 * (docs/decisions/0003-task-memory.md). */
struct ab_task {
    lua_State *co;   /* NULL: a future, or dead */
    ab_scope *scope; /* the innermost scope that it has entered itself (its
                        owner is this task); the last outer one is the scope
                        that it was spawned in, and the root's once dead.  Never
                        NULL; see ab_task_box. */
    ab_task *next;   /* in the ready queue */
    union {
        ab_op *op;
        ab_task *joined;
        uint32_t seq;
        int code; /* with AB_TASK_RAISE: what to raise */
    } wait;
    void *watch; /* NULL, one watcher's tag, or (MULTIWATCH) a list */
    uint16_t flags;
    uint8_t state;        /* ab_task_state */
    uint8_t kind;         /* ab_wait */
    uint32_t line : 20;   /* where it was spawned, */
    uint32_t source : 12; /* a number of box->sources; 0: unknown */
    uint32_t id;          /* Task-N */
    uint32_t slot;        /* in the table of living tasks */
};

/* ---- for bindings ---- */

/* Step 1: may this function wait?  `what` is its name ("sleep").  Raises
 * outside a task, across a C function that cannot be suspended (names it), in
 * a closing box, and ECANCELED when a scope of this task is cancelled.
 * Returns the running task. */
ab_task *ab_task_check(lua_State *L, const char *what);

/* The box of a task or future. */
ab_box *ab_task_box(const ab_task *task);

/* The task that is running, or NULL. */
ab_task *ab_task_current(lua_State *L);

/* Step 5: suspends the task until the op is finished; then type->push runs on
 * the same coroutine.  `return ab_task_park(L, op);` */
int ab_task_park(lua_State *L, ab_op *op);

/* The same, but when the wait is over `k(L, LUA_YIELD, ctx)` goes on in the
 * place of returning push's results, with those results pushed on the stack.
 * When the wait raises, k is not called. */
int ab_task_parkk(lua_State *L, ab_op *op, lua_KContext ctx, lua_KFunction k);

/* Suspends for a time; 0 (or less) lets every other ready task run first.
 * Results: none. */
int ab_task_sleep(lua_State *L, int64_t ns);

/* Waits for the task or future at idx and pushes its results, or raises its
 * error. */
int ab_task_join(lua_State *L, int idx);

/* Pushes the results of a done task at idx (returns their number), or raises
 * its error. */
int ab_task_results(lua_State *L, int idx);

/* Spawns the function and the nargs arguments on top of the stack (popped) as
 * a task, which starts at the next turn, and pushes the Task.  `home`: the
 * scope, NULL for the running task's own.  Raises. */
ab_task *ab_task_spawn(lua_State *L, int nargs, ab_scope *home);

/* The same with the async function that f comes from below f: for names. */
ab_task *ab_task_spawn_origin(lua_State *L, int nargs, ab_scope *home);

/* Pushes the userdata of a living task. */
void ab_task_push(lua_State *L, const ab_task *task);

/* Pushes the async function (or nil) that a living task runs and the plain
 * one; 0 and nothing when it cannot be told. */
int ab_task_push_function(lua_State *L, const ab_task *task);

/* The innermost place in the script's own code: a number of box->sources (0:
 * unknown) and a line. May raise for want of memory. */
void ab_task_place(lua_State *L, uint16_t *source, int32_t *line);

/* Pushes the error of a failed task at idx; 1: and its traceback above it. */
int ab_task_push_error(lua_State *L, int idx, ab_task *task);

/* Notes that somebody has seen the error of a task: it is not lost. */
void ab_task_taken(ab_task *task);

/* Pushes a new pending future. */
ab_task *ab_future_new(lua_State *L);

/* Settles a future with the n values on top of L's stack (popped); failed: n
 * is 1, the error.  0 when it was done already (values popped).  May raise for
 * want of memory. */
int ab_future_settle(lua_State *L, int idx, int n, int failed);

/* Cancels: raises ECANCELED in its wait, now and in every wait to come.  1, or
 * 0 when it was done already. */
int ab_task_cancel(ab_task *task);

/* Gives the Task or Future at idx, or NULL when it is something else. */
ab_task *ab_task_test(lua_State *L, int idx);

/* Makes op the watcher of a pending task: ab_watch_fired(op, task) is called
 * when it is done.  0 or UV_ENOMEM. */
int ab_task_watch(ab_task *task, ab_op *op);
void ab_task_unwatch(ab_task *task, ab_op *op);

/* The same for a task that joins; ab_task_watch_task raises nothing. */
int ab_task_watch_task(ab_task *task, ab_task *joiner);
void ab_task_unwatch_task(ab_task *task, ab_task *joiner);

#endif
