/* op.h - an op is one pending wait, in memory that Lua doesn't own.
 *
 * The source (a libuv handle or request, a transfer, a partner such as a
 * queue) owns the op until it finishes it; from then on the task owns it;
 * whoever holds it when nobody is left frees it.  There are no reference
 * counts: op->task == NULL means that nobody waits.
 *
 * A binding function is always these five steps:
 *   1. ab_task_check(L, "fs.read")   may I wait here?  Raises.
 *   2. arguments and grants          everything else that can raise.
 *   3. ab_op_new(L, &type)           zeroed; copy what the source needs in.
 *   4. start the source              fails at once: return ab_op_fail(...)
 *   5. return ab_task_park(L, op)    the last statement.
 * No raising Lua call between 3 and 5. */
#ifndef AB_OP_H
#define AB_OP_H

#include "list.h"
#include <lua.h>
#include <stdint.h>

typedef struct ab_op ab_op;
typedef struct ab_task ab_task;
typedef struct ab_box ab_box;

enum {
    /* The wait can be ended by something outside of the box's own tasks (a
     * file, a socket): as long as one is there, it is no deadlock. */
    AB_OP_EXTERNAL = 1
};

typedef struct ab_op_type {
    const char *name; /* "fs.read": in errors and in deadlock reports */
    size_t size;      /* of the whole struct, which begins with an ab_op */
    unsigned flags;
    /* Pushes the results, on the coroutine that waits, and returns how many.
     * May raise.  op->status is what ab_op_finish was given. */
    int (*push)(lua_State *L, ab_op *op);
    /* Hurries the source: nobody waits any more (op->task is NULL already).
     * Called at most once, touches no Lua, does not free; may call
     * ab_op_finish, which then frees the op. NULL: the source cannot be
     * hurried and will finish by itself. */
    void (*cancel)(ab_op *op);
    /* Releases what the op holds, exactly once, works half filled and after
     * lua_close.  The op's own memory is freed by the caller.  May be NULL. */
    void (*drop)(ab_op *op);
    /* For watchers of tasks (ab_task_watch): `task` is done. */
    void (*fired)(ab_op *op, ab_task *task);
} ab_op_type;

struct ab_op {
    const ab_op_type *type;
    ab_box *box;
    ab_task *task; /* who waits; NULL: nobody */
    int status;    /* valid once finished */
    unsigned finished : 1;
    unsigned timed : 1; /* ab_op_deadline: timer_seq is in the heap */
    uint32_t timer_seq;
    lua_KContext ctx; /* ab_task_parkk: goes on here */
    lua_KFunction k;
    ab_link link; /* in box->ops */
};

/* Makes an op: type->size zeroed bytes, counted against the box's memory.
 * Raises (out of memory), and then nothing is left. */
ab_op *ab_op_new(lua_State *L, const ab_op_type *type);

/* Step 4 failed at once, so no callback will come: drops and frees the op,
 * raises the error object.  `key`/`value` as in ab_detail or NULL; value is
 * copied before the op is freed, so it may point into the op. */
int ab_op_fail(lua_State *L, ab_op *op, int code, const char *key,
               const char *value);

/* Between steps 3 and 5: unless it is over by then, the wait ends after ns of
 * the box's clock; the source is cancelled and ETIMEDOUT raised. 0 or
 * UV_ENOMEM. */
int ab_op_deadline(ab_op *op, int64_t ns);

/* The source is done.  Called exactly once per op, from the last callback
 * that the source will ever make, or from whoever satisfies the wait; queues
 * the task, or frees the op when nobody waits.  The op may be gone after. */
void ab_op_finish(ab_op *op, int status);

/* Drops and frees an op that no source owns. */
void ab_op_free(ab_op *op);

#endif
