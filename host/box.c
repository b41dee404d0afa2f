/* box.c - the life of a box: made, and closed at any moment. */
#include "box.h"
#include "coro.h"
#include "error.h"
#include "report.h"
#include "sched_wake.h"
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_BITS = 7 };

static uintptr_t *extra(lua_State *L) { return lua_getextraspace(L); }

ab_box *ab_box_of(lua_State *L)
{
    return (ab_box *)(*extra(L) & ~(uintptr_t)FLAG_BITS);
}

unsigned ab_co_flags(lua_State *co)
{
    return (unsigned)(*extra(co) & FLAG_BITS);
}

void ab_co_set(lua_State *co, unsigned flags, unsigned mask)
{
    *extra(co) = (*extra(co) & ~(uintptr_t)mask) | flags;
}

/* ---- memory of waits ---- */

void *ab_box_alloc(ab_box *box, size_t bytes)
{
    return ab_limits_alloc(&box->limits, NULL, 0, bytes);
}

void *ab_box_realloc(ab_box *box, void *block, size_t old_bytes,
                     size_t new_bytes)
{
    return ab_limits_alloc(&box->limits, block, old_bytes, new_bytes);
}

void ab_box_free(ab_box *box, void *block, size_t bytes)
{
    if (block)
        ab_limits_alloc(&box->limits, block, bytes, 0);
}

void *ab_box_alloc_or_raise(lua_State *L, size_t bytes)
{
    ab_box *box = ab_box_of(L);
    void *block = ab_box_alloc(box, bytes);
    if (!block) {
        lua_gc(L, LUA_GCCOLLECT);
        block = ab_box_alloc(box, bytes);
    }
    if (!block) {
        lua_pushliteral(L, "not enough memory"); /* as Lua itself says it */
        lua_error(L);
    }
    return block;
}

void ab_box_make_room(lua_State *L, size_t bytes)
{
    ab_limits *limits = &ab_box_of(L)->limits;
    if (limits->cap_bytes == SIZE_MAX)
        return;
    if (limits->swept_bytes > limits->used_bytes)
        limits->swept_bytes = limits->used_bytes;
    if (limits->used_bytes <= limits->cap_bytes &&
        bytes <= limits->cap_bytes - limits->used_bytes)
        return;
    if (limits->used_bytes - limits->swept_bytes < limits->cap_bytes / 16)
        return;
    lua_gc(L, LUA_GCCOLLECT);
    limits->swept_bytes = limits->used_bytes;
}

void ab_box_set_error(ab_box *box, lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    snprintf(box->error_text, sizeof box->error_text, "%s",
             text ? text : "not enough memory");
    lua_pop(L, 1);
}

/* ---- made ---- */

static int registry_ref(lua_State *L) { return luaL_ref(L, LUA_REGISTRYINDEX); }

/* Tables and metatables of the scheduler. */
static void make_tables(lua_State *L)
{
    ab_box *box = ab_box_of(L);
    lua_createtable(L, 3, 0); /* all fields are there from now on */
    for (int i = 1; i <= 3; i++) {
        lua_pushboolean(L, 0);
        lua_rawseti(L, -2, i);
    }
    box->trace_ref = registry_ref(L);
    lua_createtable(L, 1, 0);
    box->place_ref = registry_ref(L);
    lua_newtable(L);
    box->sources_ref = registry_ref(L);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    box->failures_ref = registry_ref(L);
    lua_newtable(L);
    box->task_mt = lua_topointer(L, -1);
    box->task_mt_ref = registry_ref(L);
    lua_newtable(L);
    box->failed_mt = lua_topointer(L, -1);
    box->failed_mt_ref = registry_ref(L);
    lua_newtable(L);
    box->future_mt = lua_topointer(L, -1);
    box->future_mt_ref = registry_ref(L);
    lua_pushboolean(L, 0);
    box->main_ref = registry_ref(L);
}

/* Everything of the state that may run out of memory; L's stack is left with
 * the two tables that sched_wake.h names. */
static int open_state(lua_State *L)
{
    ab_box *box = lua_touserdata(L, 1);
    if (box->sandbox) { /* else package.path shows LUA_PATH */
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    luaL_openlibs(L);
    ab_error_open(L);
    lua_newtable(L); /* living tasks */
    lua_pushvalue(L, -1);
    box->tasks_ref = registry_ref(L);
    lua_createtable(L, AB_SPARES_MAX, 0);
    lua_pushvalue(L, -1);
    box->spares_ref = registry_ref(L);
    make_tables(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (const ab_module *m = box->modules; m->name; m++) {
        lua_pushcfunction(L, m->open);
        if (m->eager)
            lua_call(L, 0, 0);
        else
            lua_setfield(L, -2, m->name);
    }
    lua_pop(L, 1);
    return 2;
}

static int on_panic(lua_State *L)
{
    (void)L; /* only a bug gets here: every call is protected */
    fputs("asyncbox: internal error: unprotected error in a box\n", stderr);
    return 0;
}

static int state_new(ab_box *box)
{
    box->L = lua_newstate(ab_limits_alloc, &box->limits);
    if (!box->L)
        return UV_ENOMEM;
    *extra(box->L) = (uintptr_t)box;
    lua_atpanic(box->L, on_panic);
    lua_gc(box->L, LUA_GCSTOP);
    lua_pushcfunction(box->L, open_state);
    lua_pushlightuserdata(box->L, box);
    if (lua_pcall(box->L, 1, 2, 0) != LUA_OK)
        return UV_ENOMEM;
    lua_gc(box->L, LUA_GCRESTART);
    /* Each cycle walks every living coroutine: start them later than Lua does
     * (at three times what was left, not two) and get through them faster. */
    lua_gc(box->L, LUA_GCINC, 300, 200, 0);
    return 0;
}

static void box_free(ab_box *box)
{
    ab_loop_deinit(&box->loop);
    if (box->stream_buffer)
        ab_box_free(box, box->stream_buffer, AB_STREAM_BUFFER);
    ab_outputs_deinit(&box->outputs);
    ab_timers_deinit(&box->loop.timers);
    ab_box_free(box, box->scope_timers,
                box->scope_timer_count * sizeof *box->scope_timers);
    ab_grants_deinit(&box->grants);
    ab_limits_deinit(&box->limits);
    free(box);
}

int ab_box_new(const asyncbox_config *config, const ab_module *modules,
               ab_box **out)
{
    ab_box *box = calloc(1, sizeof *box);
    if (!box)
        return UV_ENOMEM;
    box->config = *config;
    box->modules = modules;
    box->sandbox = config->sandbox;
    box->thread = pthread_self();
    ab_list_init(&box->ops);
    ab_list_init(&box->spent);
    ab_list_init(&box->closers);
    ab_limits_init(&box->limits, config->memory_bytes, config->alloc,
                   config->alloc_arg);
    ab_timers_init(&box->loop.timers, &box->limits);
    ab_grants_init(&box->grants, !config->sandbox);
    int err = ab_loop_init(&box->loop, config->virtual_time);
    if (!err && config->standard_output)
        err = ab_outputs_init(&box->outputs, box);
    if (!err) {
        box->root = ab_scope_root(box);
        err = box->root ? state_new(box) : UV_ENOMEM;
    }
    if (err) {
        ab_box_close(box);
        return err;
    }
    *out = box;
    return 0;
}

/* ---- closed ---- */

/* Lets go of what a task waits for. */
static void let_go(ab_task *task, void *arg)
{
    (void)arg;
    ab_box *box = ab_task_box(task);
    if (task->state == AB_TASK_PARKED) {
        ab_sched_break(task, ASYNCBOX_ECLOSED);
    } else if (task->kind == AB_WAIT_OP && task->wait.op) {
        ab_sched_spend(box, task->wait.op); /* a result nobody will read */
        task->wait.op = NULL;
    }
    task->kind = AB_WAIT_NONE;
}

static void close_one(ab_task *task, void *arg)
{
    (void)arg;
    ab_box *box = ab_task_box(task);
    if (task->co)
        ab_coro_close(box->L, task->co);
    task->co = NULL;
    task->state = AB_TASK_DEAD;
    task->flags |= AB_TASK_TAKEN | AB_TASK_EMPTY;
    ab_scope_abandon(task);
    ab_scope *home = task->scope;
    task->scope = box->root;
    ab_scope_part(home, 0);
}

/* All waits end before any <close> variable runs: what these do can then reach
 * nobody's wait, and nobody watches a task any more when it is gone. */
static void close_tasks(ab_box *box)
{
    ab_sched_each(box, let_go, NULL);
    ab_sched_reap(box);
    ab_sched_each(box, close_one, NULL);
    box->ready_first = box->ready_last = NULL;
}

int ab_box_close(ab_box *box)
{
    if (box->inside)
        return UV_EBUSY;
    box->closing = 1;
    box->inside = 1;
    if (box->L) {
        if (lua_gettop(box->L) >= AB_STACK_BASE)
            close_tasks(box);
        for (ab_link *link; (link = ab_list_first(&box->closers));) {
            ab_list_remove(link);
            ab_closer *closer = ab_container(link, ab_closer, link);
            closer->close(closer);
        }
        box->limits.pool.closing = 1;
        lua_close(box->L);
        box->limits.pool.closing = 0;
        box->L = NULL;
    }
    ab_scope_close_root(box);
    int err = ab_outputs_finish(&box->outputs);
    /* What is still in flight finishes now, and frees itself. */
    while (box->live_ops && uv_run(&box->loop.uv, UV_RUN_ONCE))
        continue;
    box_free(box);
    return err;
}
