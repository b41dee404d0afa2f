/* coro.c - see coro.h. */
#include "coro.h"
#include "box.h"

/* On the stack of a coroutine that waits because an inner one does: the serial
 * of the newest scope when the inner one was resumed, this mark, and the inner
 * one on top. */
static const char inner_mark = 0;

int ab_coro_resume(lua_State *L, lua_State *co, int narg, uint64_t serial)
{
    ab_box *box = ab_box_of(L);
    ab_task *task = box->current;
    if (ab_co_flags(co) & (AB_CO_TASK | AB_CO_PARKED)) {
        lua_pop(L, narg);
        lua_pushstring(L, ab_co_flags(co) & AB_CO_PARKED
                              ? "cannot resume a coroutine that waits"
                              : "cannot resume non-suspended coroutine");
        return AB_CORO_ERROR;
    }
    if (!lua_checkstack(co, narg)) {
        lua_pop(L, narg);
        lua_pushliteral(L, "too many arguments to resume");
        return AB_CORO_ERROR;
    }
    lua_xmove(L, co, narg);
    if (!serial)
        serial = box->scope_serial;
    ab_nest nest = {box->nest, L, serial,
                    !lua_isyieldable(L) || (box->nest && box->nest->blocked)};
    int nres = 0;
    lua_State *running = box->running;
    box->nest = &nest;
    box->running = co;
    int status = lua_resume(co, L, narg, &nres);
    box->nest = nest.outer;
    box->running = running;
    if (status == LUA_YIELD && task && task->state != AB_TASK_RUNNING) {
        lua_pushinteger(L, (lua_Integer)serial);
        return AB_CORO_PARKED;
    }
    if (task && status != LUA_YIELD)
        ab_scope_rewind(task, serial);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return AB_CORO_ERROR;
    }
    if (!lua_checkstack(L, nres + 1)) {
        lua_pop(co, nres);
        lua_pushliteral(L, "too many results to resume");
        return AB_CORO_ERROR;
    }
    lua_xmove(co, L, nres);
    return nres;
}

int ab_coro_park(lua_State *L, int idx, lua_KFunction k)
{
    lua_State *co = lua_tothread(L, idx);
    idx = idx < 0 && idx > LUA_REGISTRYINDEX ? lua_absindex(L, idx) : idx;
    ab_co_set(co, AB_CO_PARKED, AB_CO_PARKED);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&inner_mark);
    lua_pushvalue(L, idx);
    return lua_yieldk(L, 2, 0, k);
}

uint64_t ab_coro_unpark(lua_State *L, lua_State *co)
{
    ab_co_set(co, 0, AB_CO_PARKED);
    /* A wait of our own leaves its values (the mark) where they were. */
    uint64_t serial = (uint64_t)lua_tointeger(L, -3);
    lua_pop(L, 3);
    /* Likewise inside, when co waits for yet another one: its k pops them. */
    return serial;
}

lua_State *ab_coro_inner(lua_State *co)
{
    if (lua_status(co) != LUA_YIELD || lua_gettop(co) < 2 ||
        lua_touserdata(co, -2) != &inner_mark)
        return NULL;
    return lua_tothread(co, -1);
}

void ab_coro_close(lua_State *from, lua_State *co)
{
    lua_State *inner = ab_coro_inner(co);
    if (inner)
        ab_coro_close(from, inner);
    ab_box *box = ab_box_of(co);
    lua_State *running = box->running;
    box->running = co;
    lua_closethread(co, from);
    lua_settop(co, 0); /* the error, if a handler failed */
    box->running = running;
}
