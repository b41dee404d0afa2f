/* async.c - the module "asyncbox": tasks, waits for time, and what async.lua
 * composes of them. */
#include "async.h"
#include <stdlib.h>
#include <string.h>

extern const char ab_lua_async[], ab_lua_async_priority[], ab_lua_async_sync[];
extern const size_t ab_lua_async_len, ab_lua_async_priority_len,
    ab_lua_async_sync_len;

/* ---- time ---- */

static int l_sleep(lua_State *L)
{
    int64_t ns = ab_check_seconds(L, 1, "seconds");
    ab_task_check(L, "sleep");
    return ab_task_sleep(L, ns);
}

static int l_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)ab_loop_now(&ab_box_of(L)->loop) / 1e9);
    return 1;
}

static int l_block(lua_State *L)
{
    int64_t ns = ab_check_seconds(L, 1, "seconds");
    ab_loop_block(&ab_box_of(L)->loop, ns);
    return 0;
}

/* ---- tasks ---- */

static int l_spawn(lua_State *L)
{
    ab_spawn_any(L, 1, NULL, "spawn");
    return 1;
}

/* A function of its own, so that errors name what was called. */
static int l_create_task(lua_State *L)
{
    ab_spawn_any(L, 1, NULL, "create_task");
    return 1;
}

static int l_current_task(lua_State *L)
{
    const ab_task *task = ab_task_current(L);
    if (task)
        ab_task_push(L, task);
    else
        lua_pushnil(L);
    return 1;
}

typedef struct row {
    uint32_t id, slot;
} row;

static int by_id(const void *a, const void *b)
{
    uint32_t left = ((const row *)a)->id, right = ((const row *)b)->id;
    return left < right ? -1 : left > right;
}

/* all_tasks(): the living tasks, in the order in which they were spawned. */
static int l_all_tasks(lua_State *L)
{
    const ab_box *box = ab_box_of(L);
    size_t n = 0;
    row *rows = lua_newuserdatauv(L, (box->tasks + 1) * sizeof *rows, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->tasks_ref);
    for (uint32_t slot = 1; slot <= box->slots && n < box->tasks; slot++) {
        lua_rawgeti(L, -1, slot);
        const ab_task *task = lua_touserdata(L, -1);
        if (task)
            rows[n++] = (row){task->id, slot};
        lua_pop(L, 1);
    }
    qsort(rows, n, sizeof *rows, by_id);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -2, rows[i].slot);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int l_future(lua_State *L)
{
    ab_future_new(L);
    return 1;
}

static int l_stats(lua_State *L)
{
    asyncbox_stats s = {.size = sizeof s};
    asyncbox_stats_get((asyncbox *)ab_box_of(L), &s);
    const struct {
        const char *name;
        lua_Integer value;
    } rows[] = {
        {"tasks", (lua_Integer)s.tasks},
        {"ops", (lua_Integer)s.ops},
        {"handles", (lua_Integer)s.handles},
        {"timers", (lua_Integer)s.timers},
        {"memory", (lua_Integer)s.memory_bytes},
        {"peak_memory", (lua_Integer)s.peak_bytes},
        {"resumes", (lua_Integer)s.resumes},
    };
    lua_createtable(L, 0, 8);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lua_pushinteger(L, rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
    return 1;
}

/* ---- for async.lua ---- */

static int core_has_locals(lua_State *L)
{
    ab_task *task = ab_task_test(L, 1);
    if (!task)
        return 0;
    if (lua_toboolean(L, 2))
        task->flags |= AB_TASK_LOCALS;
    lua_pushboolean(L, (task->flags & AB_TASK_LOCALS) != 0);
    return 1;
}

static int core_is_awaitable(lua_State *L)
{
    lua_pushboolean(L, ab_task_test(L, 1) || ab_coroobj_test(L, 1));
    return 1;
}

static int core_is_coroutine(lua_State *L)
{
    lua_pushboolean(L, ab_coroobj_test(L, 1));
    return 1;
}

/* take(coroutine object): its function and arguments. */
static int core_take(lua_State *L)
{
    return ab_coroobj_take(L, 1, "await") + 1;
}

static int core_is_task(lua_State *L)
{
    lua_pushboolean(L, ab_task_test(L, 1) != NULL);
    return 1;
}

/* failed(task): the task is done and failed, but not by cancellation. */
static int core_failed(lua_State *L)
{
    const ab_task *task = ab_task_test(L, 1);
    lua_pushboolean(L, task && task->flags & AB_TASK_FAILED);
    return 1;
}

/* rethrow(error): raises it again, with the traceback that it had. */
static int core_rethrow(lua_State *L)
{
    lua_settop(L, 1);
    return ab_report_rethrow(L);
}

/* raise(code, op, message) */
static int core_raise(lua_State *L)
{
    static const struct {
        const char *name;
        int code;
    } codes[] = {{"ECLOSED", ASYNCBOX_ECLOSED},
                 {"EBROKEN", ASYNCBOX_EBROKEN},
                 {"ETIMEDOUT", UV_ETIMEDOUT},
                 {"ECANCELED", UV_ECANCELED},
                 {"EINVAL", UV_EINVAL}};
    const char *name = luaL_checkstring(L, 1);
    int code = UV_EINVAL;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(codes[i].name, name) == 0)
            code = codes[i].code;
    return ab_error_raise(
        L, code,
        &(ab_detail){lua_tostring(L, 2), lua_tostring(L, 3), NULL, NULL});
}

static int core_check_seconds(lua_State *L)
{
    ab_check_seconds_misuse(L, 1, luaL_checkstring(L, 2));
    return 0;
}

static const luaL_Reg core[] = {
    {"check_seconds", core_check_seconds},
    {"failed", core_failed},
    {"has_locals", core_has_locals},
    {"is_awaitable", core_is_awaitable},
    {"is_coroutine", core_is_coroutine},
    {"is_task", core_is_task},
    {"join", ab_join},
    {"raise", core_raise},
    {"results", ab_results},
    {"rethrow", core_rethrow},
    {"run_scope", ab_run_scope},
    {"start", ab_start},
    {"take", core_take},
    {"trace", ab_report_handler},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"all_tasks", l_all_tasks},
    {"await", ab_await},
    {"block", l_block},
    {"create_task", l_create_task},
    {"current_task", l_current_task},
    {"event", ab_event_new},
    {"future", l_future},
    {"group", ab_group},
    {"lock", ab_lock_new},
    {"now", l_now},
    {"queue", ab_queue_new},
    {"semaphore", ab_semaphore_new},
    {"shield", ab_shield},
    {"sleep", l_sleep},
    {"spawn", l_spawn},
    {"stats", l_stats},
    {"timeout", ab_timeout},
    {NULL, NULL},
};

/* async(fn [, name]): the module itself is called. */
static int l_call(lua_State *L)
{
    lua_remove(L, 1);
    return ab_async_make(L);
}

/* async.http is require "asyncbox.http". */
static int l_index(lua_State *L)
{
    const char *key = lua_tostring(L, 2);
    if (!key || lua_type(L, 2) != LUA_TSTRING)
        return 0;
    lua_pushfstring(L, "asyncbox.%s", key);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -2) != LUA_TNIL)
        return 1;
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushvalue(L, 3);
    if (lua_rawget(L, -2) == LUA_TNIL)
        return 0;
    lua_getglobal(L, "require");
    lua_pushvalue(L, 3);
    lua_call(L, 1, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

int ab_open_async(lua_State *L)
{
    luaL_newlib(L, functions);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, l_call);
    lua_setfield(L, -2, "__call");
    lua_pushcfunction(L, l_index);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    int module = lua_gettop(L);
    luaL_newlib(L, core);
    luaL_setfuncs(L, ab_part_options, 0);
    lua_pushvalue(L, module);
    lua_pushvalue(L, -2);
    ab_task_classes(L);
    ab_lua_part(L, "async", ab_lua_async, ab_lua_async_len, 3, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ab_inherit_key);
    lua_pushvalue(L, module);
    lua_pushvalue(L, -2);
    ab_lua_part(L, "async", ab_lua_async_priority, ab_lua_async_priority_len, 2,
                0);
    lua_pushvalue(L, module);
    lua_pushvalue(L, -2);
    ab_lua_part(L, "async", ab_lua_async_sync, ab_lua_async_sync_len, 2, 0);
    lua_settop(L, module);
    return 1;
}
