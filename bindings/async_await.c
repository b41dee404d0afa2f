/* async_await.c - await, spawn, and waiting for many tasks at once. */
#include "async.h"

/* ---- await ---- */

static int awaited(lua_State *L, int status, lua_KContext base)
{
    (void)status;
    return lua_gettop(L) - (int)base;
}

int ab_await(lua_State *L)
{
    if (ab_task_test(L, 1)) {
        ab_task_check(L, "await");
        return ab_task_join(L, 1);
    }
    if (!ab_coroobj_test(L, 1))
        return lua_gettop(L); /* has waited already, or never had to */
    lua_settop(L, 1);
    int n = ab_coroobj_take(L, 1, "await");
    lua_callk(L, n, LUA_MULTRET, 2, awaited);
    return awaited(L, LUA_OK, 2);
}

void ab_await_prepare(lua_State *L, int idx)
{
    if (lua_isfunction(L, idx) && !ab_async_is(L, idx))
        return;
    if (ab_async_is(L, idx)) {
        lua_getupvalue(L, idx, 1); /* its function, called with the rest */
        lua_replace(L, idx);
        return;
    }
    lua_pushcfunction(L, ab_await);
    lua_insert(L, idx);
}

/* ---- spawn ---- */

const char ab_inherit_key = 0;

/* The new task on top of the stack sees its parent's task-local values. */
static ab_task *inherit(lua_State *L, ab_task *task)
{
    if (!(task->flags & AB_TASK_LOCALS))
        return task;
    const ab_task *parent = ab_task_current(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ab_inherit_key);
    ab_task_push(L, parent);
    lua_pushvalue(L, -3);
    lua_call(L, 2, 0);
    return task;
}

ab_task *ab_spawn_any(lua_State *L, int idx, ab_scope *home, const char *what)
{
    idx = lua_absindex(L, idx);
    if (ab_coroobj_test(L, idx)) {
        if (lua_gettop(L) > idx)
            ab_misuse(L,
                      "%s: a coroutine object has its arguments already; pass "
                      "the function itself to give it some",
                      what);
        int n = ab_coroobj_take(L, idx, what);
        ab_task *task = ab_task_spawn_origin(L, n, home);
        lua_replace(L, idx);
        return inherit(L, task);
    }
    if (!lua_isfunction(L, idx)) {
        lua_pushfstring(L, "function or coroutine object expected, got %s",
                        luaL_typename(L, idx));
        luaL_argerror(L, idx, lua_tostring(L, -1));
    }
    int n = lua_gettop(L) - idx;
    if (!ab_async_is(L, idx))
        return inherit(L, ab_task_spawn(L, n, home));
    lua_getupvalue(L, idx, 1);
    lua_insert(L, idx + 1);
    return inherit(L, ab_task_spawn_origin(L, n, home));
}

/* ---- join: one wait for many tasks ---- */

typedef struct join_op {
    ab_op op;
    lua_State *co; /* who waits; the list is at LIST of its innermost frame */
    lua_Integer count;
    lua_Integer pending;
    ab_task *first; /* that ended the wait: the first that failed, or ended */
    int mode;
} join_op;

enum { LIST = 1 };

/* The i-th task of the list: plain reads of a stack that stands still. */
static ab_task *task_at(lua_State *co, lua_Integer i)
{
    lua_rawgeti(co, LIST, i);
    ab_task *task = lua_touserdata(co, -1);
    lua_pop(co, 1);
    return task;
}

/* Before the wait is over: the list is still on the stack of who waits. */
static void unwatch_all(join_op *join)
{
    /* Dead ones too: one that dies just now may not have told yet. */
    for (lua_Integer i = 1; i <= join->count; i++)
        ab_task_unwatch(task_at(join->co, i), &join->op);
    join->count = 0;
}

static int join_push(lua_State *L, ab_op *op)
{
    const join_op *join = (const join_op *)op;
    if (!join->first)
        return 0;
    lua_Integer i = 1;
    while (task_at(L, i) != join->first)
        i++;
    lua_pushinteger(L, i);
    return 1;
}

static void join_cancel(ab_op *op)
{
    unwatch_all((join_op *)op);
    ab_op_finish(op, UV_ECANCELED);
}

static void join_fired(ab_op *op, ab_task *task)
{
    join_op *join = (join_op *)op;
    if (op->finished) /* a task that is in the list twice */
        return;
    join->pending--;
    int failed = (task->flags & AB_TASK_FAILED) != 0;
    if (!join->first && (join->mode == AB_JOIN_FIRST ||
                         (join->mode == AB_JOIN_ERROR && failed)))
        join->first = task;
    if (join->pending && !join->first)
        return;
    unwatch_all(join);
    ab_op_finish(op, 0);
}

static const ab_op_type join_type = {
    .name = "gather",
    .size = sizeof(join_op),
    .push = join_push,
    .cancel = join_cancel,
    .fired = join_fired,
};

/* Looks at those that are done already: gives the index of one that ends the
 * wait at once (a failure; in mode FIRST any), or 0; counts the others. */
static lua_Integer join_scan(lua_State *L, lua_Integer n, int mode,
                             lua_Integer *pending)
{
    lua_Integer found = 0;
    *pending = 0;
    for (lua_Integer i = 1; i <= n; i++) {
        const ab_task *task = task_at(L, i);
        if (task->state != AB_TASK_DEAD)
            ++*pending;
        else if (!found &&
                 (mode == AB_JOIN_FIRST ||
                  (mode == AB_JOIN_ERROR && task->flags & AB_TASK_FAILED)))
            found = i;
    }
    return found;
}

/* Watches every living task of the list; 0 or UV_ENOMEM. */
static int join_watch(join_op *join, lua_Integer n)
{
    for (lua_Integer i = 1; i <= n; i++) {
        ab_task *task = task_at(join->co, i);
        if (task->state == AB_TASK_DEAD)
            continue;
        if (ab_task_watch(task, &join->op)) {
            join->count = i - 1;
            unwatch_all(join);
            return UV_ENOMEM;
        }
    }
    join->count = n;
    return 0;
}

/* join(list, n, mode): waits until all of the n tasks of the list are done, or
 * (mode 1) one has failed, or (mode 2) one is done; gives the index of that
 * one. */
int ab_join(lua_State *L)
{
    lua_Integer n = lua_tointeger(L, 2);
    int mode = (int)lua_tointeger(L, 3);
    lua_Integer pending;
    lua_Integer found = join_scan(L, n, mode, &pending);
    if (found) {
        lua_pushinteger(L, found);
        return 1;
    }
    if (pending == 0)
        return 0;
    ab_task_check(L, "gather");
    join_op *join = (join_op *)ab_op_new(L, &join_type);
    join->co = L;
    join->pending = pending;
    join->mode = mode;
    int err = join_watch(join, n);
    if (err)
        return ab_op_fail(L, &join->op, err, NULL, NULL);
    return ab_task_park(L, &join->op);
}

/* ---- start: arguments of gather and its like become tasks ---- */

static int bad_awaitable(lua_State *L, const char *what, lua_Integer i)
{
    int type = lua_type(L, -1);
    const char *advice =
        type == LUA_TNIL || type == LUA_TNONE
            ? "what it stands for has waited already; to start it without "
              "waiting write spawn(f, ...), or call it through async(f)"
        : type == LUA_TFUNCTION
            ? "write spawn(f, ...), or call an async function to get a "
              "coroutine object"
            : "expected a task, a future or a coroutine object";
    return ab_misuse(L, "%s: argument %I is a %s, which cannot be awaited: %s",
                     what, (LUAI_UACINT)i, luaL_typename(L, -1), advice);
}

/* Raises unless the value on top of the stack can be awaited (popped). All are
 * looked at before the first is spawned. */
static void check_awaitable(lua_State *L, const char *what, lua_Integer i)
{
    if (ab_coroobj_test(L, -1))
        ab_coroobj_claim(L, -1, what);
    else if (!ab_task_test(L, -1))
        bad_awaitable(L, what, i);
    lua_pop(L, 1);
}

/* Replaces the value on top of the stack by a task. */
static void to_task(lua_State *L, const char *what)
{
    if (!ab_task_test(L, -1))
        ab_spawn_any(L, lua_gettop(L), NULL, what);
}

/* start(what, a, b, ... [, options]) or start(what, {a, b}, options): gives
 * tasks, n, options or nil, whether it was a list. */
int ab_start(lua_State *L)
{
    const char *what = luaL_checkstring(L, 1);
    int is_list = lua_type(L, 2) == LUA_TTABLE &&
                  (lua_gettop(L) < 3 || lua_istable(L, 3) || lua_isnil(L, 3));
    lua_Integer n;
    if (is_list) {
        lua_settop(L, 3);
        n = luaL_len(L, 2);
        /* A copy: the script may change its own while they are waited for. */
        lua_createtable(L, (int)n, 0);
        for (lua_Integer i = 1; i <= n; i++) {
            lua_geti(L, 2, i);
            lua_pushvalue(L, -1);
            lua_rawseti(L, 4, i);
            check_awaitable(L, what, i);
        }
        for (lua_Integer i = 1; i <= n; i++) {
            lua_rawgeti(L, 4, i);
            to_task(L, what);
            lua_rawseti(L, 4, i);
        }
        lua_pushinteger(L, n);
        lua_pushvalue(L, 3);
    } else {
        int last = lua_gettop(L);
        int options = last > 1 && lua_istable(L, last);
        n = last - 1 - options;
        lua_createtable(L, (int)n, 0);
        for (lua_Integer i = 1; i <= n; i++) {
            lua_pushvalue(L, (int)i + 1);
            check_awaitable(L, what, i);
        }
        for (lua_Integer i = 1; i <= n; i++) {
            lua_pushvalue(L, (int)i + 1);
            to_task(L, what);
            lua_rawseti(L, last + 1, i);
        }
        lua_pushinteger(L, n);
        if (options)
            lua_pushvalue(L, last);
        else
            lua_pushnil(L);
    }
    lua_pushboolean(L, is_list);
    return 4;
}

/* results(list, n, errors, unpack): the first result of each task, in the place
 * of the task in the list, or unpacked; an error is raised, or (errors) stands
 * for the result. */
int ab_results(lua_State *L)
{
    lua_Integer n = lua_tointeger(L, 2);
    int errors = lua_toboolean(L, 3), unpack = lua_toboolean(L, 4);
    lua_settop(L, 2);
    if (unpack)
        luaL_checkstack(L, (int)n + 4, "too many results to unpack");
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        int idx = lua_gettop(L);
        ab_task *task = lua_touserdata(L, idx);
        if (errors && task->flags & AB_TASK_FAILED) {
            ab_task_taken(task);
            ab_task_push_error(L, idx, task);
        } else if (ab_task_results(L, idx) == 0) {
            lua_pushnil(L);
        } else if (lua_gettop(L) > idx + 1 && task->flags & AB_TASK_MULTI) {
            lua_getiuservalue(L, idx, 1);
            lua_rawgeti(L, -1, 1);
            lua_replace(L, idx + 1);
        }
        lua_settop(L, idx + 1);
        lua_remove(L, idx);
        if (!unpack)
            lua_rawseti(L, LIST, i);
    }
    if (!unpack)
        lua_settop(L, LIST);
    return unpack ? (int)n : 1;
}
