/* process.h - what the parts of the process module share; nobody else includes
 * it.
 *
 *   process.c        children: their life and methods; the module
 *   process_spawn.c  from arguments and options to a running child
 *   process.lua      run and pipe, which compose these */
#ifndef AB_PROCESS_H
#define AB_PROCESS_H

#include "binding.h"
#include <uv.h>

/* A child.  C memory of the box: the Lua object may be collected while the
 * child runs; it is reaped nevertheless. */
typedef struct ab_process {
    ab_child child;
    uv_timer_t timer; /* the grace before SIGKILL */
    ab_box *box;
    ab_closer closer;
    int refs;    /* the Lua object, the handles, each op */
    int handles; /* child and timer: not yet closed */
    unsigned running : 1;
    unsigned ending : 1; /* SIGTERM was sent */
    unsigned group : 1;  /* it leads a group of its own: signals go to it */
    unsigned forced : 1; /* SIGKILL was sent because the grace was over */
    int signal;          /* that ended it, 0: none */
    int64_t status;
    int64_t grace_ns;
    ab_link waiters; /* wait ops */
    int link;        /* what it writes, for the next in a pipeline; -1: none */
} ab_process;

extern const ab_class ab_process_class; /* its object: one pointer; user values:
                                           stdin, stdout, stderr or nil */

/* core.spawn(what, program, args, options, from, link) -> Process */
int ab_process_spawn(lua_State *L);

/* Pushes a new object with an ab_process that has not started. */
ab_process *ab_process_new(lua_State *L);
/* Starts the child (ab_child_start: blocks shortly).  0 or a code; then nothing
 * is left but the object. */
int ab_process_start(ab_process *p, const ab_child_plan *plan);
void ab_process_close_link(ab_process *p);

#endif
