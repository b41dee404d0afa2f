/* op.c - making, finishing and freeing ops; who waits is sched.c's matter. */
#include "box.h"
#include "error.h"
#include "sched_wake.h"
#include <string.h>

ab_op *ab_op_new(lua_State *L, const ab_op_type *type)
{
    ab_box *box = ab_box_of(L);
    ab_op *op = ab_box_alloc_or_raise(L, type->size);
    memset(op, 0, type->size);
    op->type = type;
    op->box = box;
    op->task = box->current;
    ab_list_append(&box->ops, &op->link);
    box->live_ops++;
    return op;
}

int ab_op_deadline(ab_op *op, int64_t ns)
{
    ab_loop *loop = &op->box->loop;
    int err = ab_timers_reserve(&loop->timers);
    if (err)
        return err;
    op->timer_seq =
        ab_timers_add(&loop->timers, ab_loop_now(loop) + ns, op->task->slot);
    op->timed = 1;
    return 0;
}

void ab_op_free(ab_op *op)
{
    ab_box *box = op->box;
    ab_sched_untime(op);
    if (op->type->drop)
        op->type->drop(op);
    ab_list_remove(&op->link);
    box->live_ops--;
    ab_box_free(box, op, op->type->size);
}

int ab_op_fail(lua_State *L, ab_op *op, int code, const char *key,
               const char *value)
{
    /* The value may lie in the op: make it Lua's, protected by the op staying
     * on the box's list of spent ops until the error object exists. */
    ab_box *box = op->box;
    const char *name = op->type->name;
    ab_sched_spend(box, op);
    ab_error_push(L, code, &(ab_detail){name, NULL, key, value});
    ab_sched_reap(box);
    return lua_error(L);
}

void ab_op_finish(ab_op *op, int status)
{
    op->status = status;
    op->finished = 1;
    if (!op->task) {
        ab_op_free(op);
        return;
    }
    /* Still starting: ab_task_park will see that it is finished. */
    if (op->task->state == AB_TASK_PARKED)
        ab_sched_wake(op->task);
}
