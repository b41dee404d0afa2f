/* async_scope.c - timeout, shield, group, and the scope of async.run. */
#include "async.h"

/* ---- timeout and shield: a scope around one call ---- */

static int no_memory(lua_State *L, const char *what)
{
    return ab_error_raise(L, UV_ENOMEM, &(ab_detail){what, 0, 0, 0});
}

/* What has waited already is passed on as await does; nil is a mistake. */
static void check_call(lua_State *L, int arg)
{
    luaL_checkany(L, arg);
    if (lua_isnil(L, arg))
        luaL_typeerror(L, arg, "function or something to await");
}

static ab_scope *enter(lua_State *L, ab_task *task, ab_scope_sort sort,
                       int shield, const char *what)
{
    if (ab_scope_depth(task) >= AB_SCOPE_DEPTH_MAX)
        ab_misuse(L, "%s: more than %d scopes one inside the other", what,
                  AB_SCOPE_DEPTH_MAX);
    return ab_scope_enter(task, sort, shield);
}

/* Leaves the scope that a call entered, and groups inside that it never
 * closed. */
static void leave(lua_State *L, ab_scope *scope)
{
    ab_scope_rewind(ab_task_current(L), scope->serial);
    ab_scope_leave(scope);
}

/* Stack: 1 handler, 2 seconds, 3.. results or the error. */
static int timeout_done(lua_State *L, int status, lua_KContext ctx)
{
    ab_scope *scope = (ab_scope *)ctx;
    int fired = scope->fired;
    leave(L, scope);
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 2;
    const ab_task *task = ab_task_current(L);
    int ours = fired && ab_error_is(L, -1, UV_ECANCELED) && task &&
               !(task->flags & AB_TASK_INTERRUPT);
    if (!ours)
        return ab_report_rethrow(L);
    lua_pushfstring(L, "timed out after %f s", lua_tonumber(L, 2));
    return ab_error_raise(
        L, UV_ETIMEDOUT,
        &(ab_detail){"timeout", lua_tostring(L, -1), NULL, NULL});
}

/* timeout(sec, f|awaitable, ...) */
int ab_timeout(lua_State *L)
{
    int64_t ns = ab_check_seconds(L, 1, "seconds");
    check_call(L, 2);
    ab_task *task = ab_task_check(L, "timeout");
    ab_await_prepare(L, 2);
    lua_pushcfunction(L, ab_report_handler);
    lua_insert(L, 1);
    ab_scope *scope = enter(L, task, AB_SCOPE_PLAIN, 0, "timeout");
    if (!scope || ab_scope_deadline(scope, ns)) {
        if (scope)
            ab_scope_leave(scope);
        return no_memory(L, "timeout");
    }
    int nargs = lua_gettop(L) - 3;
    lua_KContext ctx = (lua_KContext)scope;
    return timeout_done(
        L, lua_pcallk(L, nargs, LUA_MULTRET, 1, ctx, timeout_done), ctx);
}

/* Stack: 1 handler, 2.. results or the error. */
static int shield_done(lua_State *L, int status, lua_KContext ctx)
{
    leave(L, (ab_scope *)ctx);
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 1;
    return ab_report_rethrow(L);
}

/* shield(f|awaitable, ...) */
int ab_shield(lua_State *L)
{
    check_call(L, 1);
    ab_task *task = ab_task_current(L);
    if (!task)
        ab_task_check(L, "shield");
    ab_await_prepare(L, 1);
    lua_pushcfunction(L, ab_report_handler);
    lua_insert(L, 1);
    lua_KContext ctx =
        (lua_KContext)enter(L, task, AB_SCOPE_PLAIN, 1, "shield");
    if (!ctx)
        return no_memory(L, "shield");
    int nargs = lua_gettop(L) - 2;
    return shield_done(
        L, lua_pcallk(L, nargs, LUA_MULTRET, 1, ctx, shield_done), ctx);
}

/* ---- groups ---- */

typedef struct group {
    ab_scope *scope; /* NULL: closed */
} group;

static const ab_class group_class;

typedef struct idle_op {
    ab_op op;
    ab_scope *scope; /* lives until it has finished this op */
} idle_op;

static int idle_push(lua_State *L, ab_op *op)
{
    (void)L;
    (void)op;
    return 0;
}

static void idle_cancel(ab_op *op)
{
    ((idle_op *)op)->scope->idle = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

static const ab_op_type idle_type = {
    .name = "group",
    .size = sizeof(idle_op),
    .push = idle_push,
    .cancel = idle_cancel,
};

static int wait_idle(lua_State *L);

/* A group with a failure is not idle until its members are gone. */
static int wait_more(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return wait_idle(L);
}

/* Waits until the group at 1 has no members; true at 2: go on waiting after a
 * failure. */
static int wait_idle(lua_State *L)
{
    group *g = lua_touserdata(L, 1);
    ab_scope *scope = g->scope;
    if (!scope || scope->members == 0 ||
        (scope->cancelled && !lua_toboolean(L, 2)))
        return 0;
    if (scope->idle)
        return luaL_error(L, "group: another task waits for it already");
    ab_task_check(L, "group");
    idle_op *idle = (idle_op *)ab_op_new(L, &idle_type);
    idle->scope = scope;
    scope->idle = &idle->op;
    return ab_task_parkk(L, &idle->op, 0, wait_more);
}

/* Pushes a call that waits until all members are gone, come what may, and
 * gives its number of arguments. */
static int push_wait_gone(lua_State *L)
{
    lua_pushcfunction(L, ab_shield);
    lua_pushcfunction(L, wait_idle);
    lua_pushvalue(L, 1);
    lua_pushboolean(L, 1);
    return 3;
}

static void cancel_members(lua_State *L, ab_scope *scope)
{
    scope->ending = 1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, scope->set_ref);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        ab_task *task = lua_touserdata(L, -2);
        if (task)
            ab_task_cancel(task);
    }
    lua_pop(L, 1);
}

/* Pushes the first member that failed; 0 and nothing when none has. */
static int push_failed(lua_State *L, const ab_scope *scope)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, scope->set_ref);
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
    if (lua_toboolean(L, -1))
        return 1;
    lua_pop(L, 1);
    return 0;
}

/* Last stage of a close: all members are gone.  Stack: 1 group, 2 error of the
 * block or nil, 3 error of the wait or nil. */
static int close_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    group *g = lua_touserdata(L, 1);
    ab_scope *scope = g->scope;
    if (!scope)
        return 0;
    int failed = push_failed(L, scope);
    int at = lua_gettop(L);
    int is_group = scope->sort == AB_SCOPE_GROUP;
    g->scope = NULL;
    ab_scope_leave(scope);
    if (failed && is_group &&
        (lua_isnil(L, 2) || ab_error_is(L, 2, UV_ECANCELED)))
        return ab_task_results(L, at);
    if (status != LUA_OK && status != LUA_YIELD && lua_isnil(L, 2))
        return ab_report_rethrow(L); /* the wait was cancelled */
    if (!lua_isnil(L, 3))
        return lua_pushvalue(L, 3), ab_report_rethrow(L);
    return 0;
}

static int close_cancel(lua_State *L)
{
    group *g = lua_touserdata(L, 1);
    lua_settop(L, 3);
    if (!g->scope)
        return 0; /* another task has closed it meanwhile */
    cancel_members(L, g->scope);
    int n = push_wait_gone(L);
    return close_done(L, lua_pcallk(L, n, 0, 0, 0, close_done), 0);
}

/* The block ended well and its members are waited for: they have ended, or one
 * has failed, or the wait was cancelled. */
static int close_waited(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    group *g = lua_touserdata(L, 1);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_settop(L, 3);
        /* Cancelled from outside; by a failure of its own, that is told. */
        if (g->scope && g->scope->cancelled && ab_error_is(L, 3, UV_ECANCELED))
            lua_pushnil(L), lua_replace(L, 3);
    } else {
        lua_settop(L, 2);
        lua_pushnil(L);
    }
    return close_cancel(L);
}

static int group_close(lua_State *L)
{
    group *g = ab_self(L, &group_class);
    lua_settop(L, 2);
    if (!g->scope)
        return 0;
    if (ab_box_of(L)->closing || !ab_task_current(L)) {
        ab_scope_leave(g->scope);
        g->scope = NULL;
        return 0;
    }
    if (g->scope->sort == AB_SCOPE_RUN || !lua_isnil(L, 2)) {
        lua_pushnil(L);
        return close_cancel(L);
    }
    lua_pushcfunction(L, wait_idle);
    lua_pushvalue(L, 1);
    return close_waited(L, lua_pcallk(L, 1, 0, 0, 0, close_waited), 0);
}

/* Dropped without having been closed: its members go on. */
static int group_gc(lua_State *L)
{
    group *g = lua_touserdata(L, 1);
    if (g->scope)
        ab_scope_leave(g->scope);
    g->scope = NULL;
    return 0;
}

static group *check_group(lua_State *L, const char *what)
{
    group *g = ab_self(L, &group_class);
    if (!g->scope)
        ab_error_raise(L, ASYNCBOX_ECLOSED,
                       &(ab_detail){what, "the group is closed", 0, 0});
    return g;
}

static int group_spawn(lua_State *L)
{
    group *g = check_group(L, "group:spawn");
    if (g->scope->cancelled)
        return ab_error_raise(L, UV_ECANCELED,
                              &(ab_detail){"group:spawn", 0, 0, 0});
    ab_spawn_any(L, 2, g->scope, "group:spawn");
    return 1;
}

/* wait(): until every member has ended; raises the error of the first that
 * failed, after the rest are cancelled and gone. */
static int group_waited(lua_State *L, int status, lua_KContext stage)
{
    group *g = lua_touserdata(L, 1);
    if (!g->scope)
        return 0;
    int error = status != LUA_OK && status != LUA_YIELD;
    if (stage == 0 && g->scope->cancelled) {
        lua_settop(L, 1);
        cancel_members(L, g->scope);
        int n = push_wait_gone(L);
        return group_waited(L, lua_pcallk(L, n, 0, 0, 1, group_waited), 1);
    }
    if (push_failed(L, g->scope))
        return ab_task_results(L, -1);
    if (error)
        return ab_report_rethrow(L);
    return 0;
}

static int group_wait(lua_State *L)
{
    check_group(L, "group:wait");
    lua_settop(L, 1);
    lua_pushcfunction(L, wait_idle);
    lua_pushvalue(L, 1);
    return group_waited(L, lua_pcallk(L, 1, 0, 0, 0, group_waited), 0);
}

static int group_cancel(lua_State *L)
{
    group *g = check_group(L, "group:cancel");
    cancel_members(L, g->scope);
    return 0;
}

static int group_count(lua_State *L)
{
    const group *g = ab_self(L, &group_class);
    lua_pushinteger(L, g->scope ? g->scope->members : 0);
    return 1;
}

static const luaL_Reg group_methods[] = {
    {"cancel", group_cancel}, {"close", group_close}, {"count", group_count},
    {"spawn", group_spawn},   {"wait", group_wait},   {NULL, NULL},
};
static const luaL_Reg group_metas[] = {
    {"__close", group_close}, {"__gc", group_gc}, {NULL, NULL}};
static const ab_class group_class = {"Group", group_methods, group_metas};

static int make(lua_State *L, ab_scope_sort sort, const char *what)
{
    ab_task *task = ab_task_check(L, what);
    group *g = ab_object_new(L, &group_class, sizeof *g, 0);
    lua_createtable(L, 1, 0);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, 1);
    int set_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    g->scope = enter(L, task, sort, 0, what);
    if (!g->scope) {
        luaL_unref(L, LUA_REGISTRYINDEX, set_ref);
        return no_memory(L, what);
    }
    g->scope->set_ref = set_ref;
    g->scope->handled = 1;
    return 1;
}

int ab_group(lua_State *L) { return make(L, AB_SCOPE_GROUP, "group"); }

int ab_run_scope(lua_State *L) { return make(L, AB_SCOPE_RUN, "run"); }
