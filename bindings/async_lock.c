/* async_lock.c - lock, semaphore, event. */
#include "async.h"

/* ---- semaphore; a lock is one of 1 that knows who holds it ---- */

typedef struct semaphore {
    lua_Integer value;
    lua_Integer max; /* a lock: 1; else 0: unbounded */
    uint32_t owner;  /* a lock: the task that holds it, by number */
    int is_lock;
    ab_link waiters;
} semaphore;

static const ab_class semaphore_class, lock_class;
static const ab_op_type semaphore_type = AB_WAITER_TYPE("semaphore:acquire");
static const ab_op_type lock_type = AB_WAITER_TYPE("lock:acquire");

static int acquire(lua_State *L, semaphore *s, const ab_op_type *type)
{
    lua_settop(L, 1);
    ab_task *task = ab_task_check(L, type->name);
    if (s->is_lock && s->value == 0 && s->owner == task->id)
        return luaL_error(L, "lock:acquire: this task holds the lock already");
    if (s->value > 0) {
        s->value--;
        s->owner = task->id;
        return 1;
    }
    return ab_waiter_park(L, type, &s->waiters);
}

static int release(lua_State *L, semaphore *s, const char *what)
{
    if (s->max && s->value >= s->max)
        return luaL_error(L, "%s: it is not held", what);
    if (s->value == LUA_MAXINTEGER)
        return luaL_error(L, "%s: too often", what);
    ab_waiter *next = ab_waiter_first(&s->waiters);
    if (next) { /* handed over: nobody can slip in between */
        s->owner = next->op.task->id;
        ab_waiter_wake(next, AB_WAITER_SELF);
    } else {
        s->value++;
    }
    return 0;
}

static int semaphore_acquire(lua_State *L)
{
    return acquire(L, ab_self(L, &semaphore_class), &semaphore_type);
}

static int semaphore_release(lua_State *L)
{
    return release(L, ab_self(L, &semaphore_class), "semaphore:release");
}

static int lock_acquire(lua_State *L)
{
    return acquire(L, ab_self(L, &lock_class), &lock_type);
}

static int lock_release(lua_State *L)
{
    return release(L, ab_self(L, &lock_class), "lock:release");
}

static int try_acquire(lua_State *L, semaphore *s)
{
    int got = s->value > 0;
    if (got) {
        ab_task *task = ab_task_current(L);
        s->value--;
        s->owner = task ? task->id : 0;
    }
    lua_pushboolean(L, got);
    return 1;
}

static int semaphore_try(lua_State *L)
{
    return try_acquire(L, ab_self(L, &semaphore_class));
}

static int lock_try(lua_State *L)
{
    return try_acquire(L, ab_self(L, &lock_class));
}

static int semaphore_value(lua_State *L)
{
    const semaphore *s = ab_self(L, &semaphore_class);
    lua_pushinteger(L, s->value);
    return 1;
}

static int lock_locked(lua_State *L)
{
    const semaphore *s = ab_self(L, &lock_class);
    lua_pushboolean(L, s->value == 0);
    return 1;
}

static const luaL_Reg semaphore_methods[] = {
    {"acquire", semaphore_acquire},
    {"release", semaphore_release},
    {"try_acquire", semaphore_try},
    {"value", semaphore_value},
    {NULL, NULL},
};
static const luaL_Reg semaphore_metas[] = {{"__close", semaphore_release},
                                           {NULL, NULL}};
static const ab_class semaphore_class = {"Semaphore", semaphore_methods,
                                         semaphore_metas};

static const luaL_Reg lock_methods[] = {
    {"acquire", lock_acquire},
    {"locked", lock_locked},
    {"release", lock_release},
    {"try_acquire", lock_try},
    {NULL, NULL},
};
static const luaL_Reg lock_metas[] = {{"__close", lock_release}, {NULL, NULL}};
static const ab_class lock_class = {"Lock", lock_methods, lock_metas};

static int make(lua_State *L, const ab_class *cls, lua_Integer value, int lock)
{
    semaphore *s = ab_object_new(L, cls, sizeof *s, 0);
    s->value = value;
    s->max = lock;
    s->is_lock = lock;
    ab_list_init(&s->waiters);
    return 1;
}

int ab_lock_new(lua_State *L) { return make(L, &lock_class, 1, 1); }

int ab_semaphore_new(lua_State *L)
{
    lua_Integer value = luaL_optinteger(L, 1, 1);
    luaL_argcheck(L, value >= 0, 1, "the value must be 0 or more");
    return make(L, &semaphore_class, value, 0);
}

/* ---- event ---- */

typedef struct event {
    int is_set;
    ab_link waiters;
} event;

static const ab_class event_class;
static const ab_op_type event_type = AB_WAITER_TYPE("event:wait");

static int event_wait(lua_State *L)
{
    event *e = ab_self(L, &event_class);
    ab_task_check(L, "event:wait");
    if (e->is_set)
        return 0;
    return ab_waiter_park(L, &event_type, &e->waiters);
}

static int event_set(lua_State *L)
{
    event *e = ab_self(L, &event_class);
    e->is_set = 1;
    for (ab_waiter *w; (w = ab_waiter_first(&e->waiters));)
        ab_waiter_wake(w, AB_WAITER_NOTHING);
    return 0;
}

static int event_clear(lua_State *L)
{
    event *e = ab_self(L, &event_class);
    e->is_set = 0;
    return 0;
}

static int event_is_set(lua_State *L)
{
    const event *e = ab_self(L, &event_class);
    lua_pushboolean(L, e->is_set);
    return 1;
}

static const luaL_Reg event_methods[] = {
    {"clear", event_clear}, {"is_set", event_is_set},
    {"set", event_set},     {"wait", event_wait},
    {NULL, NULL},
};
static const ab_class event_class = {"Event", event_methods, NULL};

int ab_event_new(lua_State *L)
{
    event *e = ab_object_new(L, &event_class, sizeof *e, 0);
    ab_list_init(&e->waiters);
    return 1;
}
