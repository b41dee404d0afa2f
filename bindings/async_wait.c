/* async_wait.c - see async.h. */
#include "async.h"

int ab_waiter_push(lua_State *L, ab_op *op)
{
    if (op->status < 0)
        return ab_error_raise(L, op->status,
                              &(ab_detail){op->type->name, 0, 0, 0});
    switch (op->status) {
    case AB_WAITER_SELF:
        lua_pushvalue(L, 1);
        return 1;
    case AB_WAITER_VALUE:
        return 1; /* on top already */
    case AB_WAITER_NIL:
        lua_pushnil(L);
        return 1;
    default:
        return 0;
    }
}

void ab_waiter_cancel(ab_op *op)
{
    ab_list_remove(&((ab_waiter *)op)->link);
    ab_op_finish(op, UV_ECANCELED);
}

int ab_waiter_park(lua_State *L, const ab_op_type *type, ab_link *list)
{
    ab_waiter *waiter = (ab_waiter *)ab_op_new(L, type);
    waiter->co = L;
    ab_list_append(list, &waiter->link);
    return ab_task_park(L, &waiter->op);
}

void ab_waiter_wake(ab_waiter *waiter, int status)
{
    ab_list_remove(&waiter->link);
    ab_op_finish(&waiter->op, status);
}
