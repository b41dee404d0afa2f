/* sched_wake.h - the part of the scheduler that only the host core calls. */
#ifndef AB_SCHED_WAKE_H
#define AB_SCHED_WAKE_H

#include "sched.h"
#include "timers.h"

/* Queues a parked task: its wait is over. Any context of the loop's thread. */
void ab_sched_wake(ab_task *task);

/* Takes a parked task out of its wait (cancelling the source) and queues it
 * to raise `code`. */
void ab_sched_break(ab_task *task, int code);

/* The op needs its deadline no more, if it has one. */
void ab_sched_untime(ab_op *op);

/* Puts an op that is done with on the list to be freed; reap frees them. */
void ab_sched_spend(ab_box *box, ab_op *op);
void ab_sched_reap(ab_box *box);

/* Runs one batch of ready tasks.  1: something ran. */
int ab_sched_batch(ab_box *box);

/* Queues all whose deadline has come. */
void ab_sched_expire(ab_box *box);

/* The next deadline somebody waits for, -1: none. */
int64_t ab_sched_deadline(ab_box *box);

/* Cancels every living task. */
void ab_sched_cancel_all(ab_box *box);

/* The table of living tasks: calls fn for each. fn may end tasks. */
void ab_sched_each(ab_box *box, void (*fn)(ab_task *task, void *arg),
                   void *arg);

/* For ab_timers_forget. */
int ab_sched_timer_alive(void *box, const ab_timer_entry *entry);

/* Timer numbers: tasks by slot, scopes with this bit. */
#define AB_TIMER_SCOPE 0x80000000u

/* Ends a task whose coroutine has returned or failed: keeps its outcome, tells
 * who watches.  Base level of the box only (no Lua running). */
void ab_task_end(ab_task *task, lua_State *co, int status, int n);

/* Ends a task that was cancelled before its first turn. Base level. */
void ab_task_end_unstarted(ab_task *task);

/* The task of a slot, or NULL. */
ab_task *ab_task_of_slot(ab_box *box, uint32_t slot);

/* Tells everybody who watches. */
void ab_task_fire(ab_task *task);

/* The stack indexes of box->L at base level. */
enum { AB_STACK_TASKS = 1, AB_STACK_SPARES = 2, AB_STACK_BASE = 2 };

/* Coroutines kept for re-use. */
enum { AB_SPARES_MAX = 128 };

#endif
