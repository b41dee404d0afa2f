/* async_queue.c - queues: first in first out, or last in first out.
 *
 * The items are a ring in a Lua table (user value 1), which doubles when an
 * unbounded queue outgrows it.  A getter waits only when the queue is empty, a
 * putter only when it is full; values go from stack to stack. */
#include "async.h"

typedef struct queue {
    lua_Integer max;      /* 0: unbounded */
    lua_Integer capacity; /* of the ring */
    lua_Integer head, count;
    lua_Integer unfinished; /* put and not yet task_done */
    int lifo;
    int closed;
    ab_link getters, putters, joiners;
} queue;

static const ab_class queue_class;
static const ab_op_type get_type = AB_WAITER_TYPE("queue:get");
static const ab_op_type put_type = AB_WAITER_TYPE("queue:put");
static const ab_op_type join_type = AB_WAITER_TYPE("queue:join");

enum { RING_MIN = 16, VALUE = 2 /* the argument of put */ };

static queue *self(lua_State *L) { return ab_self(L, &queue_class); }

/* ---- the ring ---- */

static void grow(lua_State *L, queue *q)
{
    lua_Integer capacity = 2 * q->capacity;
    if (q->max && capacity > q->max)
        capacity = q->max;
    lua_createtable(L, (int)capacity, 0);
    lua_getiuservalue(L, 1, 1);
    for (lua_Integer i = 0; i < q->count; i++) {
        lua_rawgeti(L, -1, (q->head + i) % q->capacity + 1);
        lua_rawseti(L, -3, i + 1);
    }
    lua_pop(L, 1);
    lua_setiuservalue(L, 1, 1);
    q->head = 0;
    q->capacity = capacity;
}

/* Adds the value at an index; leaves the ring on the stack. */
static void append(lua_State *L, queue *q, int value)
{
    if (q->count == q->capacity)
        grow(L, q);
    lua_Integer at = q->head + q->count;
    if (at >= q->capacity)
        at -= q->capacity;
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, value);
    lua_rawseti(L, -2, at + 1);
    q->count++;
}

/* Pushes the next item, above the ring, and takes it out. */
static void take(lua_State *L, queue *q)
{
    lua_Integer at = q->head;
    if (q->lifo) {
        at = (q->head + q->count - 1) % q->capacity;
    } else if (++q->head == q->capacity) {
        q->head = 0;
    }
    q->count--;
    lua_getiuservalue(L, 1, 1);
    lua_rawgeti(L, -1, at + 1);
    lua_pushnil(L);
    lua_rawseti(L, -3, at + 1);
}

/* ---- put and get ---- */

static void check_put(lua_State *L, const queue *q, const char *what)
{
    luaL_argcheck(L, !lua_isnoneornil(L, VALUE), VALUE,
                  "nil cannot be put: it is what get gives at the end");
    if (q->closed)
        ab_error_raise(L, ASYNCBOX_ECLOSED,
                       &(ab_detail){what, "the queue is closed", 0, 0});
}

/* 1 when the value at VALUE was put. */
static int try_put(lua_State *L, queue *q)
{
    ab_waiter *getter = ab_waiter_first(&q->getters);
    if (!getter && q->max && q->count >= q->max)
        return 0;
    if (getter) {
        lua_pushvalue(L, VALUE);
        lua_xmove(L, getter->co, 1);
        ab_waiter_wake(getter, AB_WAITER_VALUE);
    } else {
        append(L, q, VALUE);
    }
    q->unfinished++;
    return 1;
}

static int l_put(lua_State *L)
{
    queue *q = self(L);
    check_put(L, q, "queue:put");
    lua_settop(L, VALUE);
    /* A cancelled task is told even when there is room: every wait raises. */
    ab_task_check(L, "queue:put");
    if (try_put(L, q))
        return 0;
    return ab_waiter_park(L, &put_type, &q->putters);
}

static int l_put_nowait(lua_State *L)
{
    queue *q = self(L);
    check_put(L, q, "queue:put_nowait");
    lua_settop(L, VALUE);
    lua_pushboolean(L, try_put(L, q));
    return 1;
}

/* Pushes the next item; lets the first putter's value take its place. */
static int try_get(lua_State *L, queue *q)
{
    if (q->count == 0)
        return 0;
    take(L, q);
    ab_waiter *putter = ab_waiter_first(&q->putters);
    if (putter) {
        lua_pushvalue(putter->co, VALUE);
        lua_xmove(putter->co, L, 1);
        append(L, q, lua_gettop(L));
        lua_pop(L, 2); /* back to the item that was taken */
        q->unfinished++;
        ab_waiter_wake(putter, AB_WAITER_NOTHING);
    }
    return 1;
}

static int l_get(lua_State *L)
{
    queue *q = self(L);
    lua_settop(L, 1);
    ab_task_check(L, "queue:get");
    if (try_get(L, q))
        return 1;
    if (q->closed) {
        lua_pushnil(L);
        return 1;
    }
    return ab_waiter_park(L, &get_type, &q->getters);
}

static int l_get_nowait(lua_State *L)
{
    queue *q = self(L);
    lua_settop(L, 1);
    if (!try_get(L, q))
        lua_pushnil(L);
    return 1;
}

/* ---- the rest ---- */

static void wake_all(ab_link *list, int status)
{
    for (ab_waiter *w; (w = ab_waiter_first(list));)
        ab_waiter_wake(w, status);
}

static int l_task_done(lua_State *L)
{
    queue *q = self(L);
    if (q->unfinished == 0)
        return luaL_error(L, "queue:task_done: called more often than items "
                             "were put");
    if (--q->unfinished == 0)
        wake_all(&q->joiners, AB_WAITER_NOTHING);
    return 0;
}

static int l_join(lua_State *L)
{
    queue *q = self(L);
    ab_task_check(L, "queue:join");
    if (q->unfinished == 0)
        return 0;
    return ab_waiter_park(L, &join_type, &q->joiners);
}

static int l_close(lua_State *L)
{
    queue *q = self(L);
    q->closed = 1;
    wake_all(&q->getters, AB_WAITER_NIL);
    wake_all(&q->putters, ASYNCBOX_ECLOSED);
    return 0;
}

static int l_size(lua_State *L)
{
    lua_pushinteger(L, self(L)->count);
    return 1;
}

static int l_empty(lua_State *L)
{
    lua_pushboolean(L, self(L)->count == 0);
    return 1;
}

static int l_full(lua_State *L)
{
    const queue *q = self(L);
    lua_pushboolean(L, q->max && q->count >= q->max);
    return 1;
}

static const luaL_Reg methods[] = {
    {"close", l_close}, {"empty", l_empty},
    {"full", l_full},   {"get", l_get},
    {"join", l_join},   {"get_nowait", l_get_nowait},
    {"put", l_put},     {"put_nowait", l_put_nowait},
    {"size", l_size},   {"task_done", l_task_done},
    {NULL, NULL},
};
/* `for item in queue do` calls the queue. */
static const luaL_Reg metas[] = {
    {"__call", l_get}, {"__len", l_size}, {NULL, NULL}};
static const ab_class queue_class = {"Queue", methods, metas};

/* queue([max [, lifo]]) */
int ab_queue_new(lua_State *L)
{
    lua_Integer max = luaL_optinteger(L, 1, 0);
    luaL_argcheck(L, max >= 0 && max <= INT32_MAX / 2, 1,
                  "max must be 0 (unbounded) or more");
    int lifo = lua_toboolean(L, 2);
    queue *q = ab_object_new(L, &queue_class, sizeof *q, 1);
    q->max = max;
    q->lifo = lifo;
    q->capacity = max && max < RING_MIN ? max : RING_MIN;
    ab_list_init(&q->getters);
    ab_list_init(&q->putters);
    ab_list_init(&q->joiners);
    lua_createtable(L, (int)q->capacity, 0);
    lua_setiuservalue(L, -2, 1);
    return 1;
}
