/* outcome.c - how a task or future has ended: kept, read, and not lost.
 *
 * User value 1 of a dead task: one result as it is; several as a table with n
 * (MULTI); an error as it is, or (FAILED and MULTI) as {error, traceback}. */
#include "outcome.h"
#include "box.h"
#include "error.h"
#include "report.h"

/* Packs the n values that are arguments 2.. into the table of argument 1's
 * outcome. Runs protected: it needs memory. */
static int pack_outcome(lua_State *L)
{
    int n = lua_gettop(L) - 1;
    lua_createtable(L, n, 1);
    lua_insert(L, 2);
    lua_pushinteger(L, n);
    lua_setfield(L, 2, "n");
    for (int i = n; i > 0; i--)
        lua_rawseti(L, 2, i);
    lua_setiuservalue(L, 1, 1);
    return 0;
}

void ab_outcome_no_memory(lua_State *L, ab_task *task)
{
    lua_pushliteral(L,
                    "not enough memory"); /* Lua holds this one: it is there */
    lua_setiuservalue(L, -2, 1);
    task->flags |= AB_TASK_FAILED;
    task->flags &= (uint16_t)~AB_TASK_MULTI;
}

void ab_outcome_call(lua_State *L, ab_task *task, lua_CFunction fn, int n)
{
    int ud = lua_gettop(L) - n;
    if (!lua_checkstack(L, 4)) {
        lua_pop(L, n);
        ab_outcome_no_memory(L, task);
        return;
    }
    lua_pushcfunction(L, fn);
    lua_insert(L, ud + 1);
    lua_pushvalue(L, ud);
    lua_insert(L, ud + 2);
    if (lua_pcall(L, n + 1, 0, 0) != LUA_OK) {
        task->flags |= AB_TASK_FAILED;
        task->flags &= (uint16_t)~AB_TASK_MULTI;
        lua_setiuservalue(L, ud, 1);
    }
}

void ab_outcome_store(lua_State *L, ab_task *task, int n)
{
    if (n == 1) {
        lua_setiuservalue(L, -2, 1);
    } else if (n == 0) {
        task->flags |= AB_TASK_EMPTY;
        lua_pushnil(L);
        lua_setiuservalue(L, -2, 1);
    } else {
        task->flags |= AB_TASK_MULTI;
        ab_outcome_call(L, task, pack_outcome, n);
    }
}

/* Runs protected: the error at 2, and its traceback if it was noted, become
 * the outcome of 1. */
static int pack_failure(lua_State *L)
{
    ab_task *task = lua_touserdata(L, 1);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 1);
    if (ab_report_get_trace(L, 2)) {
        lua_rawseti(L, -2, 2);
        task->flags |= AB_TASK_MULTI;
    } else {
        lua_settop(L, 2);
    }
    lua_setiuservalue(L, 1, 1);
    return 0;
}

void ab_outcome_fail(lua_State *L, ab_task *task)
{
    task->flags |= AB_TASK_FAILED;
    ab_outcome_call(L, task, pack_failure, 1);
}

int ab_outcome_is_cancelled(lua_State *L, const ab_task *task)
{
    lua_getiuservalue(L, -1, 1);
    if (task->flags & AB_TASK_MULTI) {
        lua_rawgeti(L, -1, 1);
        lua_remove(L, -2);
    }
    int result = ab_error_is(L, -1, UV_ECANCELED);
    lua_pop(L, 1);
    return result;
}

/* Runs protected: a failed task is found by its address as long as anybody
 * else holds it. */
static int failure_list(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ab_box_of(L)->failures_ref);
    lua_pushvalue(L, 1);
    lua_rawsetp(L, -2, lua_touserdata(L, 1));
    return 0;
}

void ab_outcome_keep_failure(lua_State *L, ab_task *task)
{
    ab_box *box = ab_task_box(task);
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->failed_mt_ref);
    lua_setmetatable(L, -2); /* the one with __gc */
    lua_pushcfunction(L, failure_list);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        lua_pop(L, 1); /* no memory: then __gc reports it */
    task->next = box->failures;
    task->wait.joined = NULL; /* the way back */
    if (task->next)
        task->next->wait.joined = task;
    box->failures = task;
    box->failures_new = 1;
}

void ab_task_taken(ab_task *task)
{
    if (task->flags & AB_TASK_TAKEN)
        return;
    task->flags |= AB_TASK_TAKEN;
    if (!(task->flags & AB_TASK_FAILED))
        return;
    ab_box *box = ab_task_box(task);
    if (task->wait.joined)
        task->wait.joined->next = task->next;
    else if (box->failures == task)
        box->failures = task->next;
    if (task->next)
        task->next->wait.joined = task->wait.joined;
    task->next = NULL;
    task->wait.joined = NULL;
}

/* ---- results ---- */

ab_task *ab_task_test(lua_State *L, int idx)
{
    void *ud = lua_touserdata(L, idx);
    if (!ud || !lua_getmetatable(L, idx))
        return NULL;
    const void *mt = lua_topointer(L, -1);
    lua_pop(L, 1);
    const ab_box *box = ab_box_of(L);
    return mt == box->task_mt || mt == box->future_mt || mt == box->failed_mt
               ? ud
               : NULL;
}

int ab_task_push_error(lua_State *L, int idx, ab_task *task)
{
    lua_getiuservalue(L, idx, 1);
    if (!(task->flags & AB_TASK_MULTI))
        return 0;
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    lua_remove(L, -3);
    return 1;
}

static int raise_outcome(lua_State *L, int idx, ab_task *task)
{
    ab_task_taken(task);
    if (ab_task_push_error(L, idx, task)) {
        /* So that a report can say where the error came from at first. */
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        ab_report_set_trace(L, task->id);
    }
    return ab_report_rethrow(L);
}

int ab_task_results(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    ab_task *task = lua_touserdata(L, idx);
    if (task->flags & AB_TASK_FAILED)
        return raise_outcome(L, idx, task);
    if (task->flags & AB_TASK_EMPTY)
        return 0;
    lua_getiuservalue(L, idx, 1);
    if (!(task->flags & AB_TASK_MULTI))
        return 1;
    int table = lua_gettop(L);
    lua_getfield(L, table, "n");
    int n = (int)lua_tointeger(L, -1);
    luaL_checkstack(L, n, "too many results");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, table, i);
    return n;
}
