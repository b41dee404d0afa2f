/* scope.h - what cancellation acts on.
 *
 * Two sorts.  A scope that a task has entered (timeout, shield, group) is in
 * that task's chain, task->scope, innermost first.  A scope that tasks are
 * spawned in (group, run, the box's root) has members.  A group is both.
 * Cancelling a scope interrupts the task that entered it; its members are
 * cancelled by whoever owns the group, as it unwinds, so no walk over the tree
 * of tasks is ever needed. */
#ifndef AB_SCOPE_H
#define AB_SCOPE_H

#include "list.h"
#include <stdint.h>

typedef struct ab_task ab_task;
typedef struct ab_box ab_box;
typedef struct ab_op ab_op;

/* How a scope treats the tasks that are spawned in it. */
typedef enum ab_scope_sort {
    AB_SCOPE_PLAIN, /* none are: timeout, shield */
    AB_SCOPE_RUN,   /* adopts what its owner spawns plainly */
    AB_SCOPE_GROUP  /* the failure of one cancels it */
} ab_scope_sort;

typedef struct ab_scope {
    ab_box *box;
    struct ab_scope *outer; /* in the owner's chain, which ends with its home */
    ab_task *owner;         /* who entered it; NULL: nobody, or it has ended */
    ab_op *idle;            /* waits for the last member, or a failure */
    uint32_t members;       /* living tasks spawned in it */
    uint32_t timer;         /* number in box->scope_timers, from 1; 0: none */
    uint32_t timer_seq;
    uint64_t serial; /* never used twice: what is newer has a greater one */
    uint16_t depth;  /* of scopes that its owner has entered */
    int set_ref;     /* registry: its living members as keys, [1] the first that
                        failed; LUA_NOREF when it takes no members */
    uint8_t sort;
    uint8_t cancelled; /* waits inside raise */
    uint8_t shield;    /* cancellation from outside stops here */
    uint8_t fired;     /* cancelled by its own deadline */
    uint8_t left;      /* its owner has left it */
    uint8_t ending;    /* its members were cancelled: what a cancelled task
                          spawns in it is cancelled from the start */
    uint8_t handled;   /* an object of the script's will leave it; else it goes
                          with the task at the latest */
} ab_scope;

/* How many scopes the task has entered one inside the other, and how many it
 * may: every change walks them. */
unsigned ab_scope_depth(const ab_task *task);
enum { AB_SCOPE_DEPTH_MAX = 1000 };

/* Makes a scope and enters it as the task's innermost.  NULL: no memory. */
ab_scope *ab_scope_enter(ab_task *task, ab_scope_sort sort, int shield);

/* The box's root: entered by nobody. NULL: no memory. */
ab_scope *ab_scope_root(ab_box *box);
/* Frees it when the box closes (after lua_close). */
void ab_scope_close_root(ab_box *box);

/* Leaves: takes it out of its owner's chain, wherever it is there, and frees
 * it once no member is left. */
void ab_scope_leave(ab_scope *scope);

/* Leaves what the task has entered since the scope with that serial and never
 * left (a group that was not closed): the block that entered it has ended. */
void ab_scope_rewind(ab_task *task, uint64_t serial);

/* Cancels after ns; 0 or UV_ENOMEM. */
int ab_scope_deadline(ab_scope *scope, int64_t ns);

/* A member has come or gone (failed: it ended with an error). */
void ab_scope_join(ab_scope *scope);
void ab_scope_part(ab_scope *scope, int failed);

/* The scope that a plain spawn by this task goes to. */
ab_scope *ab_scope_home(ab_task *task);

/* The task has ended: it leaves the scopes that it never left. */
void ab_scope_abandon(ab_task *task);

/* A deadline in the heap has come; id as given in its entry. */
void ab_scope_expire(ab_box *box, uint32_t id, uint32_t seq);
int ab_scope_timer_alive(ab_box *box, uint32_t id, uint32_t seq);

/* Works out anew whether a task's next wait raises. */
void ab_scope_update(ab_task *task);

#endif
