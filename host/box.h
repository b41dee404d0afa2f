/* box.h - a box: one Lua state, its scheduler, loop, limits and grants. */
#ifndef AB_BOX_H
#define AB_BOX_H

#include "asyncbox.h"
#include "grants.h"
#include "limit.h"
#include "loop.h"
#include "op.h"
#include "output.h"
#include "sched.h"
#include "scope.h"
#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <stdatomic.h>

#if LUA_VERSION_RELEASE_NUM < 50406
/* Before 5.4.6 (-DASYNCBOX_LUA=system): the same but for the C stack's depth.
 */
#define lua_closethread(co, from) lua_resetthread(co)
#endif

/* A Lua module that the box can load: its name ("asyncbox.fs"), its opener.
 * `eager` modules are opened with the state (they replace parts of Lua's
 * library), others on first use. */
typedef struct ab_module {
    const char *name;
    lua_CFunction open;
    int eager;
} ab_module;

/* A call of coroutine.resume (or wrap) that is on the C stack. */
typedef struct ab_nest {
    struct ab_nest *outer;
    lua_State *from; /* who resumed */
    uint64_t serial; /* of the newest scope then: what is newer was entered
                        inside (a number, since scopes are freed) */
    int blocked;     /* a C function that cannot be suspended lies between;
                        AB_NEST_CLOSE: the one that closes the coroutine */
} ab_nest;
enum { AB_NEST_CLOSE = 2 };

/* Something that lives in the box and must be let go when it closes although
 * Lua's collector may not have got to it: a curl multi handle, a pool of
 * connections.  `close` is called once, after every task is closed and before
 * lua_close; it may start uv_close calls. */
typedef struct ab_closer {
    ab_link link; /* in box->closers */
    void (*close)(struct ab_closer *closer);
} ab_closer;

struct ab_box {
    lua_State *L; /* runs no script code.  Its stack: 1 the table of living
                     tasks by slot, 2 the spare coroutines */
    ab_limits limits;
    ab_loop loop;
    ab_grants grants;
    ab_outputs outputs;       /* NULLs without config.standard_output */
    const ab_module *modules; /* ends with a NULL name */

    /* scheduler: sched.c */
    ab_task *ready_first, *ready_last;
    ab_task *current;      /* the task that runs, or NULL */
    lua_State *running;    /* the innermost coroutine that runs, or NULL */
    ab_nest *nest;         /* coroutine.resume calls of the running task */
    ab_scope *root;        /* the outermost scope */
    uint64_t scope_serial; /* of the newest scope there ever was */
    uint32_t tasks;        /* living tasks (not futures) */
    uint32_t next_id;
    int tasks_ref;  /* registry: living tasks by slot */
    int spares_ref; /* registry: spare coroutines */
    int task_mt_ref, failed_mt_ref, future_mt_ref;
    int trace_ref;         /* the last error with its traceback: report.c */
    int rethrowing;        /* that one is being raised again */
    int sources_ref;       /* places of spawns: id -> name, name -> id */
    int place_ref;         /* {function}: keeps place_fn alive */
    const void *place_fn;  /* the function that spawned last ... */
    uint16_t place_source; /* ... and the id of its source */
    uint32_t free_slot;    /* head of the free slots, 0: none */
    uint32_t slots;        /* slots ever made */
    uint32_t spares;       /* coroutines kept for re-use */
    uint32_t external;     /* attached waits that the outside can end */
    uint64_t resumes;
    ab_link spent; /* ops that are done with: to be freed */
    const void *task_mt, *failed_mt, *future_mt; /* identities of metatables */
    ab_task *failures;       /* dead tasks whose error nobody has taken, through
                                next and wait.joined (back) */
    ab_scope **scope_timers; /* by number - 1; NULL: free */
    uint32_t scope_timer_count;
    uint32_t scope_timer_free; /* first free number from 1, 0: none */

    /* memory of waits */
    ab_link ops;     /* every op there is */
    ab_link closers; /* see ab_closer */
    size_t live_ops;
    void *stream_buffer; /* AB_STREAM_BUFFER bytes or NULL: what streams read
                            into, kept here between reads (stream_read.c) */
    size_t live_handles; /* files, sessions: bindings count theirs */

    struct ab_resolver *resolver; /* resolver.c; NULL: not yet used, or gone */

    int virtual_time;
    int sandbox;
    int closing; /* spawn and waits raise */
    int inside;  /* on the C stack: close is refused */
    int exiting; /* os.exit was called */
    int exit_status;
    int failed;     /* an error that nobody took was reported */
    int cancelling; /* everything was cancelled: main failed, interrupt */
    int stopped;    /* by asyncbox_interrupt */
    int deadlocks;  /* in a row, without a task having gone on */
    uint64_t deadlock_resumes;
    int failures_new;      /* since the last look for lost ones */
    int64_t collect_after; /* when the next such look may be */
    int main_ref;          /* registry: the main task */
    int main_ended;        /* and nobody has looked at its outcome */
    int failures_ref;      /* registry, weak: failures by address */
    atomic_int interrupted;
    pthread_t thread; /* who made the box */
    char error_text[512];
    asyncbox_config config;
};

enum { AB_STREAM_BUFFER = 64 << 10 };

/* The box of a state: kept in the extra space of every coroutine. */
ab_box *ab_box_of(lua_State *L);

/* Flags that live beside the box pointer in a coroutine's extra space. */
enum {
    AB_CO_TASK = 1,   /* a task's own coroutine: only sched.c resumes it */
    AB_CO_PARKED = 2, /* a script's coroutine inside which a task waits */
    AB_CO_SEEN = 4    /* the script has got hold of it: not re-used */
};
unsigned ab_co_flags(lua_State *co);
void ab_co_set(lua_State *co, unsigned flags, unsigned mask);

/* Memory of waits, counted against the box.  NULL: none left. Any context. */
void *ab_box_alloc(ab_box *box, size_t bytes);
void *ab_box_realloc(ab_box *box, void *block, size_t old_bytes,
                     size_t new_bytes);
void ab_box_free(ab_box *box, void *block, size_t bytes);

/* The same from inside a Lua call: collects garbage before it gives up, then
 * raises the memory error. */
void *ab_box_alloc_or_raise(lua_State *L, size_t bytes);

/* From inside a Lua call, before a callback that cannot collect may need
 * `bytes`: collects garbage when the cap does not leave as much, though not
 * over and over for little.  Scripts' finalizers run. */
void ab_box_make_room(lua_State *L, size_t bytes);

/* Life, for api.c. */
int ab_box_new(const asyncbox_config *config, const ab_module *modules,
               ab_box **out);
int ab_box_close(ab_box *box);

/* The run loop: run.c. */
int ab_box_run(ab_box *box);
int ab_box_step(ab_box *box, uint64_t budget_ns);

/* Keeps the text of the error value on top of L's stack (popped) as
 * box->error_text. */
void ab_box_set_error(ab_box *box, lua_State *L);

#endif
