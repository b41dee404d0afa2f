/* task.c - the life of a task: spawn, outcome, who is told; futures.
 *
 * A task is a userdata; its user value 1 is its coroutine while it lives and
 * its outcome after (outcome.c). */
#include "box.h"
#include "error.h"
#include "outcome.h"
#include "report.h"
#include "sched_wake.h"
#include <string.h>

/* ---- the coroutine of a task ---- */

static int body_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 3;
    ab_task *task = lua_touserdata(L, 1);
    task->flags |= AB_TASK_FAILED;
    return 1;
}

/* Body of every task's coroutine: (task, message handler, origin, f, ...).  f
 * runs under lua_pcallk, so that its <close> handlers may wait on errors too.
 * origin: the async function that f belongs to, or nil. */
static int body(lua_State *L)
{
    int nargs = lua_gettop(L) - 4;
    return body_done(L, lua_pcallk(L, nargs, LUA_MULTRET, 2, 0, body_done), 0);
}

static lua_State *coroutine_take(lua_State *L, ab_box *box)
{
    if (box->spares) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, box->spares_ref);
        lua_rawgeti(L, -1, box->spares--);
        lua_remove(L, -2);
        return lua_tothread(L, -1);
    }
    lua_State *co = lua_newthread(L);
    ab_co_set(co, AB_CO_TASK, AB_CO_TASK);
    return co;
}

/* Keeps the coroutine of a task that ended well; base level. */
static void coroutine_keep(ab_box *box, lua_State *co)
{
    if (box->spares >= AB_SPARES_MAX || ab_co_flags(co) & AB_CO_SEEN)
        return;
    if (lua_gethook(co)) /* of an interrupt that came too late, or the script */
        return;
    lua_pushthread(co);
    lua_xmove(co, box->L, 1);
    lua_rawseti(box->L, AB_STACK_SPARES, ++box->spares);
}

/* ---- where it was spawned ---- */

/* What fits into a task's bit fields. */
#define SOURCES_MAX 0xfffu
#define LINES_MAX 0xfffff

/* The number of a source's name; names are few and kept for ever. */
static uint16_t source_id(lua_State *L, ab_box *box, const char *name)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->sources_ref);
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    lua_Integer id = lua_tointeger(L, -1);
    if (id == 0) {
        id = (lua_Integer)lua_rawlen(L, -2) + 1;
        if (id > SOURCES_MAX) /* all further ones share the last number */
            id = SOURCES_MAX;
        lua_pushstring(L, name);
        lua_rawseti(L, -3, id);
        lua_pushstring(L, name);
        lua_pushinteger(L, id);
        lua_rawset(L, -4);
    }
    lua_pop(L, 2);
    return (uint16_t)id;
}

/* Finds the innermost frame of a script's and gives its place.  Asking for a
 * function's name is slow, so the last one is remembered. */
void ab_task_place(lua_State *L, uint16_t *source, int32_t *line)
{
    ab_box *box = ab_box_of(L);
    lua_Debug ar;
    *source = 0;
    *line = 0;
    /* Level 0 is the C function that wants to know. */
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "fl", &ar);
        const void *fn = lua_topointer(L, -1);
        if (ar.currentline > 0 && fn == box->place_fn) {
            lua_pop(L, 1);
            *source = box->place_source;
            *line = ar.currentline;
            return;
        }
        if (ar.currentline > 0 && lua_getinfo(L, "S", &ar) &&
            !ab_report_internal(ar.source)) {
            *source = source_id(L, box, ar.short_src);
            *line = ar.currentline;
            lua_rawgeti(L, LUA_REGISTRYINDEX, box->place_ref);
            lua_insert(L, -2);
            lua_rawseti(L, -2, 1);
            lua_pop(L, 1);
            box->place_fn = fn;
            box->place_source = *source;
            return;
        }
        lua_pop(L, 1);
    }
}

static void place_task(lua_State *L, ab_task *task)
{
    uint16_t source;
    int32_t line;
    ab_task_place(L, &source, &line);
    task->source = (unsigned)source & SOURCES_MAX;
    task->line = line < LINES_MAX ? (unsigned)line & LINES_MAX : LINES_MAX;
}

/* ---- spawn ---- */

static ab_task *userdata_new(lua_State *L, ab_box *box, int mt_ref)
{
    ab_task *task = lua_newuserdatauv(L, sizeof *task, 1);
    memset(task, 0, sizeof *task);
    task->scope = box->root;
    task->id = box->next_id + 1;
    task->state = AB_TASK_DEAD; /* until all of it is there */
    lua_rawgeti(L, LUA_REGISTRYINDEX, mt_ref);
    lua_setmetatable(L, -2);
    return task;
}

/* Takes a slot for the userdata at idx; raises when the table can't grow. */
static uint32_t slot_take(lua_State *L, ab_box *box, int idx)
{
    uint32_t slot = box->free_slot, next = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->tasks_ref);
    if (slot) {
        lua_rawgeti(L, -1, slot);
        next = (uint32_t)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, idx);
    lua_rawseti(L, -2, slot ? slot : box->slots + 1);
    lua_pop(L, 1);
    if (slot)
        box->free_slot = next;
    else
        slot = ++box->slots;
    return slot;
}

static void scope_set_add(lua_State *L, ab_scope *home, int idx)
{
    if (home->set_ref == LUA_NOREF)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, home->set_ref);
    lua_pushvalue(L, idx);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static ab_task *spawn(lua_State *L, int nargs, ab_scope *home, int origin)
{
    ab_box *box = ab_box_of(L);
    if (box->closing)
        ab_error_raise(L, ASYNCBOX_ECLOSED,
                       &(ab_detail){"spawn", "the box is closing", 0, 0});
    if (!home)
        home = box->current ? ab_scope_home(box->current) : box->root;
    luaL_checkstack(L, nargs + 8, "too many arguments");
    int fn = lua_gettop(L) - nargs - (origin != 0);
    ab_task *task = userdata_new(L, box, box->task_mt_ref);
    int ud = lua_gettop(L);
    lua_State *co = coroutine_take(L, box);
    if (!lua_checkstack(co, nargs + 5))
        luaL_error(L, "spawn: too many arguments");
    place_task(L, task);
    scope_set_add(L, home, ud);
    uint32_t slot = slot_take(L, box, ud);
    /* From here on nothing raises. */
    lua_setiuservalue(L, ud, 1);
    lua_pushcfunction(co, body);
    lua_pushvalue(L, ud);
    lua_xmove(L, co, 1);
    lua_pushcfunction(co, ab_report_handler);
    lua_rotate(L, fn, 1); /* the userdata below the function */
    if (!origin)
        lua_pushnil(co);
    lua_xmove(L, co, nargs + 1 + (origin != 0));
    task->co = co;
    task->slot = slot;
    task->scope = home;
    task->id = ++box->next_id;
    if (box->current)
        task->flags |= box->current->flags & AB_TASK_LOCALS;
    if (home->ending && box->current && box->current->flags & AB_TASK_INTERRUPT)
        task->flags |= AB_TASK_CANCELLED;
    ab_scope_join(home);
    box->tasks++;
    task->state = AB_TASK_PARKED;
    ab_sched_wake(task);
    return task;
}

ab_task *ab_task_spawn(lua_State *L, int nargs, ab_scope *home)
{
    return spawn(L, nargs, home, 0);
}

ab_task *ab_task_spawn_origin(lua_State *L, int nargs, ab_scope *home)
{
    return spawn(L, nargs, home, 1);
}

int ab_task_push_function(lua_State *L, const ab_task *task)
{
    lua_Debug ar;
    lua_State *co = task->co;
    if (!co || !lua_checkstack(co, 2))
        return 0;
    luaL_checkstack(L, 2, NULL);
    if (!(task->flags & AB_TASK_STARTED)) {
        lua_pushvalue(co, 4);
        lua_pushvalue(co, 5);
        lua_xmove(co, L, 2);
        return 1;
    }
    int depth = ab_report_depth(co);
    if (depth < 2 || !lua_getstack(co, depth - 1, &ar) ||
        !lua_getlocal(co, &ar, 3))
        return 0;
    if (co != L)
        lua_xmove(co, L, 1);
    if (lua_getstack(co, depth - 2, &ar)) {
        lua_getinfo(co, "f", &ar);
        if (co != L)
            lua_xmove(co, L, 1);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* ---- the end ---- */

ab_task *ab_task_of_slot(ab_box *box, uint32_t slot)
{
    /* Not AB_STACK_TASKS: a finalizer that runs while box->L stores an outcome
     * may cancel a sleeper, and then box->L is in the middle of a call. */
    lua_rawgeti(box->L, LUA_REGISTRYINDEX, box->tasks_ref);
    lua_rawgeti(box->L, -1, slot);
    ab_task *task = lua_touserdata(box->L, -1);
    lua_pop(box->L, 2);
    return task;
}

static int push_cancelled(lua_State *L)
{
    ab_error_push(L, UV_ECANCELED, &(ab_detail){"task", 0, 0, 0});
    lua_setiuservalue(L, 1, 1);
    return 0;
}

static int push_yielded(lua_State *L)
{
    lua_pushliteral(L, "a C function yielded outside of a coroutine");
    lua_setiuservalue(L, 1, 1);
    return 0;
}

/* The task leaves its home.  The first failure in a group is the group's to
 * tell, and speaks for those that follow from it.  The userdata is on top of
 * L. */
static void leave_home(lua_State *L, ab_task *task, int failed)
{
    ab_scope *home = task->scope; /* it has left all others */
    task->scope = home->box->root;
    if (home->set_ref != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, home->set_ref);
        lua_pushvalue(L, -2);
        lua_pushnil(L);
        lua_rawset(L, -3);
        lua_rawgeti(L, -1, 1);
        if (failed && !lua_toboolean(L, -1)) {
            lua_pushvalue(L, -3);
            lua_rawseti(L, -3, 1);
        } else if (failed && home->sort == AB_SCOPE_GROUP) {
            task->flags |= AB_TASK_TAKEN;
        }
        lua_pop(L, 2);
    }
    ab_scope_part(home, failed);
}

/* The task whose userdata is on top of L has its outcome: out of the table of
 * the living, tells everybody. */
static void settle(lua_State *L, ab_task *task)
{
    ab_box *box = ab_task_box(task);
    task->co = NULL;
    task->state = AB_TASK_DEAD;
    task->kind = AB_WAIT_NONE;
    task->next = NULL;
    task->wait.joined = NULL;
    lua_pushinteger(L, box->free_slot);
    lua_rawseti(L, AB_STACK_TASKS, task->slot);
    box->free_slot = task->slot;
    box->tasks--;
    ab_scope_abandon(task);
    int failed =
        task->flags & AB_TASK_FAILED && !ab_outcome_is_cancelled(L, task);
    leave_home(L, task, failed);
    if (failed && !(task->flags & AB_TASK_TAKEN))
        ab_outcome_keep_failure(L, task);
    if (task->flags & AB_TASK_MAIN)
        box->main_ended = 1;
    ab_task_fire(task);
}

void ab_task_end(ab_task *task, lua_State *co, int status, int n)
{
    ab_box *box = ab_task_box(task);
    lua_State *L = box->L;
    lua_rawgeti(L, AB_STACK_TASKS, task->slot);
    int ud = lua_gettop(L);
    if (status == LUA_OK && !lua_checkstack(L, n + 4)) {
        lua_pop(co, n); /* there is always room for one: these are results */
        ab_outcome_no_memory(L, task);
    } else if (status == LUA_OK) {
        lua_xmove(co, L, n);
        if (task->flags & AB_TASK_FAILED)
            ab_outcome_fail(L, task);
        else
            ab_outcome_store(L, task, n);
        coroutine_keep(box, co);
    } else if (status == LUA_YIELD) {
        lua_pop(co, n);
        task->flags |= AB_TASK_FAILED;
        ab_outcome_call(L, task, push_yielded, 0);
        lua_closethread(co, L);
    } else { /* the body itself failed: no memory */
        lua_xmove(co, L, 1);
        lua_setiuservalue(L, ud, 1);
        task->flags |= AB_TASK_FAILED;
        lua_closethread(co, L);
    }
    settle(L, task);
    lua_settop(L, ud - 1);
}

/* ---- futures ---- */

ab_task *ab_future_new(lua_State *L)
{
    ab_box *box = ab_box_of(L);
    ab_task *task = userdata_new(L, box, box->future_mt_ref);
    place_task(L, task);
    task->flags = AB_TASK_FUTURE | AB_TASK_STARTED;
    task->state = AB_TASK_PARKED;
    return task;
}

int ab_future_settle(lua_State *L, int idx, int n, int failed)
{
    idx = lua_absindex(L, idx);
    ab_task *task = lua_touserdata(L, idx);
    if (task->state == AB_TASK_DEAD) {
        lua_pop(L, n);
        return 0;
    }
    lua_pushvalue(L, idx);
    lua_rotate(L, -n - 1, 1);
    uint16_t flags = task->flags;
    if (failed) {
        task->flags |= AB_TASK_FAILED;
        lua_setiuservalue(L, -2, 1);
    } else {
        ab_outcome_store(L, task, n);
        if (task->flags & AB_TASK_FAILED) { /* no memory for the results */
            task->flags = flags;
            lua_getiuservalue(L, -1, 1);
            lua_error(L);
        }
    }
    task->state = AB_TASK_DEAD;
    if (failed && !ab_outcome_is_cancelled(L, task))
        ab_outcome_keep_failure(L, task);
    lua_pop(L, 1);
    ab_task_fire(task);
    return 1;
}

/* ---- cancel ---- */

/* A task that was cancelled before its first turn ends without running. Base
 * level. */
void ab_task_end_unstarted(ab_task *task)
{
    lua_State *L = ab_task_box(task)->L;
    lua_rawgeti(L, AB_STACK_TASKS, task->slot);
    lua_settop(task->co, 0);
    task->flags |= AB_TASK_FAILED;
    ab_outcome_call(L, task, push_cancelled, 0);
    settle(L, task);
    lua_pop(L, 1);
}

int ab_task_cancel(ab_task *task)
{
    if (task->state == AB_TASK_DEAD)
        return 0;
    task->flags |= AB_TASK_CANCELLED;
    if (task->flags & AB_TASK_STARTED)
        ab_scope_update(task);
    return 1;
}
