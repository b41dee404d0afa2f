/* iter.c - iterators of what the outside does; see binding.h. */
#include "binding.h"
#include <string.h>

/* ---- life ---- */

ab_iter *ab_iter_new(lua_State *L, const ab_iter_type *type)
{
    ab_iter **object = ab_object_new(L, type->cls, sizeof *object, 0);
    ab_iter *it = ab_box_alloc_or_raise(L, type->bytes);
    memset(it, 0, type->bytes);
    it->type = type;
    it->box = ab_box_of(L);
    it->refs = 1;
    it->closed = 1;
    *object = it;
    return it;
}

static void on_box_close(ab_closer *closer)
{
    ab_iter_close(ab_container(closer, ab_iter, closer));
}

void ab_iter_open(ab_iter *it)
{
    it->closed = 0;
    it->closer.close = on_box_close;
    ab_list_append(&it->box->closers, &it->closer.link);
}

void ab_iter_unref(ab_iter *it)
{
    if (--it->refs > 0)
        return;
    if (it->type->drop)
        it->type->drop(it);
    ab_box_free(it->box, it, it->type->bytes);
}

int ab_iter_waited_for(const ab_iter *it)
{
    return it->waiter && !it->waiter->finished;
}

void ab_iter_wake(ab_iter *it, int status)
{
    if (ab_iter_waited_for(it))
        ab_op_finish(it->waiter, status);
}

void ab_iter_close(ab_iter *it)
{
    if (it->closed)
        return;
    it->closed = 1;
    ab_list_remove(&it->closer.link);
    ab_iter_wake(it, ASYNCBOX_ECLOSED);
    it->type->close(it);
}

/* ---- waiting ---- */

int ab_iter_push(lua_State *L, ab_op *op)
{
    ab_iter *it = ((ab_iter_op *)op)->iter;
    if (it->waiter == op)
        it->waiter = NULL;
    if (!it->closed)
        return it->type->give(L, it);
    lua_pushnil(L);
    return 1;
}

void ab_iter_cancel(ab_op *op)
{
    ab_iter *it = ((ab_iter_op *)op)->iter;
    if (it->waiter == op)
        it->waiter = NULL;
    if (it->type->stop)
        it->type->stop(it);
    ab_op_finish(op, UV_ECANCELED);
}

void ab_iter_drop(ab_op *op)
{
    ab_iter *it = ((ab_iter_op *)op)->iter;
    if (!it)
        return;
    if (it->waiter == op)
        it->waiter = NULL;
    ab_iter_unref(it);
}

int ab_iter_park(lua_State *L, ab_iter *it, const ab_op_type *type)
{
    ab_iter_op *o = (ab_iter_op *)ab_op_new(L, type);
    o->iter = it;
    it->refs++;
    it->waiter = &o->op;
    int err = it->type->start ? it->type->start(it) : 0;
    if (err)
        return ab_op_fail(L, &o->op, err, it->path ? "path" : NULL, it->path);
    return ab_task_park(L, &o->op);
}

/* ---- methods ---- */

/* Of whichever class: they share these functions. */
static ab_iter **object_of(lua_State *L)
{
    ab_class cls = {"iterator", NULL, NULL};
    if (lua_getfield(L, lua_upvalueindex(1), "__name") == LUA_TSTRING)
        cls.name = lua_tostring(L, -1);
    lua_pop(L, 1); /* the metatable keeps it */
    return ab_self(L, &cls);
}

static ab_iter *self_of(lua_State *L)
{
    ab_iter *it = *object_of(L);
    if (!it) /* a finalizer of the script got hold of it */
        luaL_error(L, "attempt to use an iterator that was collected");
    return it;
}

static int l_next(lua_State *L)
{
    ab_iter *it = self_of(L);
    const ab_iter_type *type = it->type;
    ab_task_check(L, type->op->name);
    if (it->waiter)
        return ab_error_raise(L, UV_EBUSY,
                              &(ab_detail){type->op->name,
                                           "another task is waiting for it",
                                           it->path ? "path" : NULL, it->path});
    if (it->closed) {
        lua_pushnil(L);
        return 1;
    }
    return type->ready(it) ? type->give(L, it) : ab_iter_park(L, it, type->op);
}

static int l_close(lua_State *L)
{
    ab_iter_close(self_of(L));
    return 0;
}

static int l_gc(lua_State *L)
{
    ab_iter **object = object_of(L);
    ab_iter *it = *object;
    if (it) {
        *object = NULL;
        ab_iter_close(it);
        ab_iter_unref(it);
    }
    return 0;
}

int ab_iter_for(lua_State *L)
{
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -3);
    return 4;
}

const luaL_Reg ab_iter_methods[] = {
    {"close", l_close}, {"next", l_next}, {NULL, NULL}};
const luaL_Reg ab_iter_metas[] = {
    {"__call", l_next}, {"__close", l_close}, {"__gc", l_gc}, {NULL, NULL}};
