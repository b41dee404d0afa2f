/* async_task.c - Task and Future, as scripts see them. */
#include "async.h"

static ab_task *check_self(lua_State *L)
{
    ab_task *task = ab_task_test(L, 1);
    if (!task)
        luaL_typeerror(L, 1, "Task or Future");
    return task;
}

static int is_done(const ab_task *task) { return task->state == AB_TASK_DEAD; }

/* The task failed, with this error object. */
static int has_failed_with(lua_State *L, int idx, ab_task *task, int code)
{
    if (!(task->flags & AB_TASK_FAILED))
        return 0;
    int top = lua_gettop(L);
    int traced = ab_task_push_error(L, idx, task);
    int result = ab_error_is(L, traced ? -2 : -1, code);
    lua_settop(L, top);
    return result;
}

/* The error of a failed task is that of its cancellation. */
static int is_cancelled(lua_State *L, int idx, ab_task *task)
{
    return has_failed_with(L, idx, task, UV_ECANCELED);
}

static int l_await(lua_State *L)
{
    check_self(L);
    lua_settop(L, 1);
    ab_task_check(L, "await");
    return ab_task_join(L, 1);
}

static int l_done(lua_State *L)
{
    lua_pushboolean(L, is_done(check_self(L)));
    return 1;
}

static int not_done(lua_State *L, const char *what)
{
    return luaL_error(L, "%s: the task is not done yet; await it first", what);
}

static int l_result(lua_State *L)
{
    if (!is_done(check_self(L)))
        return not_done(L, "result");
    return ab_task_results(L, 1);
}

static int l_error(lua_State *L)
{
    ab_task *task = check_self(L);
    if (!is_done(task))
        return not_done(L, "error");
    if (!(task->flags & AB_TASK_FAILED))
        return 0;
    ab_task_taken(task);
    if (ab_task_push_error(L, 1, task))
        lua_pop(L, 1);
    return 1;
}

static int push_cancelled(lua_State *L)
{
    ab_error_push(L, UV_ECANCELED, &(ab_detail){"future", 0, 0, 0});
    return 1;
}

static int l_cancel(lua_State *L)
{
    ab_task *task = check_self(L);
    if (task->flags & AB_TASK_FUTURE && !is_done(task)) {
        push_cancelled(L);
        lua_pushboolean(L, ab_future_settle(L, 1, 1, 1));
    } else {
        lua_pushboolean(L, ab_task_cancel(task));
    }
    return 1;
}

static int l_cancelled(lua_State *L)
{
    ab_task *task = check_self(L);
    lua_pushboolean(L, is_done(task) && is_cancelled(L, 1, task));
    return 1;
}

/* name() gives it, name("other") sets it. */
static int l_name(lua_State *L)
{
    check_self(L);
    if (!lua_isnoneornil(L, 2)) {
        luaL_checkstring(L, 2);
        lua_settop(L, 2);
        ab_report_set_name(L, 1);
        return 0;
    }
    ab_report_name(L, 1);
    return 1;
}

static int l_traceback(lua_State *L)
{
    ab_task *task = check_self(L);
    if (task->co) {
        ab_report_traceback(L, task->co, 0);
        return 1;
    }
    if (task->flags & AB_TASK_FAILED && ab_task_push_error(L, 1, task))
        return 1;
    return 0;
}

static int l_set_result(lua_State *L)
{
    ab_task *task = check_self(L);
    luaL_argcheck(L, task->flags & AB_TASK_FUTURE, 1, "a task sets its own");
    lua_pushboolean(L, ab_future_settle(L, 1, lua_gettop(L) - 1, 0));
    return 1;
}

static int l_set_error(lua_State *L)
{
    ab_task *task = check_self(L);
    luaL_argcheck(L, task->flags & AB_TASK_FUTURE, 1, "a task sets its own");
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    lua_pushboolean(L, ab_future_settle(L, 1, 1, 1));
    return 1;
}

/* ---- text ---- */

/* Pushes " coro=<answer() at tasks.lua:3>" of a living task, or "". */
static void push_coro(lua_State *L, const ab_task *task)
{
    int top = lua_gettop(L);
    if (!ab_task_push_function(L, task) || !lua_isfunction(L, -1)) {
        lua_settop(L, top);
        lua_pushliteral(L, "");
        return;
    }
    ab_async_name(L, top + 1);
    const char *name = lua_tostring(L, -1);
    lua_pushvalue(L, top + 2);
    lua_Debug ar;
    lua_getinfo(L, ">S", &ar);
    if (!name && ab_report_function_name(L, top + 2))
        name = lua_tostring(L, -1);
    if (*ar.what == 'C')
        lua_pushfstring(L, " coro=<%s()>", name ? name : "?");
    else if (*ar.what == 'm')
        lua_pushfstring(L, " coro=<%s>", ar.short_src);
    else
        lua_pushfstring(L, " coro=<%s() at %s:%d>", name ? name : "function",
                        ar.short_src, ar.linedefined);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

static int l_tostring(lua_State *L)
{
    ab_task *task = check_self(L);
    const char *state = !is_done(task)                 ? "pending"
                        : is_cancelled(L, 1, task)     ? "cancelled"
                        : task->flags & AB_TASK_FAILED ? "failed"
                                                       : "finished";
    if (task->flags & AB_TASK_FUTURE) {
        ab_report_place(L, task->source, task->line);
        lua_pushfstring(L, "<Future %s made at %s>", state,
                        lua_tostring(L, -1));
        return 1;
    }
    ab_report_name(L, 1);
    push_coro(L, task);
    lua_pushfstring(L, "<Task %s name='%s'%s>", state, lua_tostring(L, -2),
                    lua_tostring(L, -1));
    return 1;
}

/* A failure that is collected before anybody has looked at it. */
static int l_gc(lua_State *L)
{
    ab_task *task = lua_touserdata(L, 1);
    ab_box *box = ab_box_of(L);
    if (task->flags & AB_TASK_TAKEN || !(task->flags & AB_TASK_FAILED))
        return 0;
    ab_task_taken(task);
    if (has_failed_with(L, 1, task, ASYNCBOX_EEXIT))
        return 0; /* by os.exit */
    box->failed = 1;
    ab_report_failure(L, 1);
    return 0;
}

static const luaL_Reg methods[] = {
    {"await", l_await},
    {"cancel", l_cancel},
    {"cancelled", l_cancelled},
    {"done", l_done},
    {"error", l_error},
    {"name", l_name},
    {"result", l_result},
    {"set_error", l_set_error},
    {"set_result", l_set_result},
    {"traceback", l_traceback},
    {NULL, NULL},
};

void ab_task_classes(lua_State *L)
{
    const ab_box *box = ab_box_of(L);
    const int refs[] = {box->task_mt_ref, box->future_mt_ref,
                        box->failed_mt_ref};
    luaL_newlib(L, methods);
    for (int i = 0; i < 3; i++) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, refs[i]);
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, l_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushstring(L, i == 1 ? "Future" : "Task");
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        if (i == 2) {
            lua_pushcfunction(L, l_gc);
            lua_setfield(L, -2, "__gc");
        }
        lua_pop(L, 1);
    }
}
