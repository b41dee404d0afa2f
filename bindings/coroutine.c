/* coroutine.c - Lua's coroutine library, but a task may wait inside.
 *
 * Where no wait is involved, every function does what Lua's own does, error
 * messages included (checked against the official tests). */
#include "binding.h"

static lua_State *check_co(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "thread");
    return co;
}

/* A task's own coroutine is to its script what the main one is to a program:
 * it cannot be resumed, yielded or closed by it. */
static int is_task(lua_State *co)
{
    return (ab_co_flags(co) & AB_CO_TASK) != 0;
}

/* Closes co; its <close> variables run and cannot wait: this function is what
 * they are told lies in between. */
static int close_thread(lua_State *L, lua_State *co)
{
    ab_box *box = ab_box_of(L);
    ab_nest nest = {box->nest, L, 0, AB_NEST_CLOSE};
    lua_State *running = box->running;
    box->nest = &nest;
    box->running = co;
    int status = lua_closethread(co, L);
    box->nest = nest.outer;
    box->running = running;
    return status;
}

/* ---- resume ---- */

static int resume_results(lua_State *L, int n);

static int resume_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_State *co = lua_tothread(L, 1);
    uint64_t serial = ab_coro_unpark(L, co);
    return resume_results(L, ab_coro_resume(L, co, 0, serial));
}

static int resume_results(lua_State *L, int n)
{
    if (n == AB_CORO_PARKED)
        return ab_coro_park(L, 1, resume_k);
    lua_pushboolean(L, n >= 0);
    int count = n >= 0 ? n : 1;
    lua_insert(L, -(count + 1));
    return count + 1;
}

static int l_resume(lua_State *L)
{
    lua_State *co = check_co(L);
    return resume_results(L, ab_coro_resume(L, co, lua_gettop(L) - 1, 0));
}

/* ---- wrap ---- */

static int wrap_results(lua_State *L, int n);

static int wrap_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    uint64_t serial = ab_coro_unpark(L, co);
    return wrap_results(L, ab_coro_resume(L, co, 0, serial));
}

/* Raises the error on top of the stack in the caller of a wrapped function. */
static int wrap_error(lua_State *L, lua_State *co)
{
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) {
        status = close_thread(L, co);
        lua_xmove(co, L, 1); /* the error, or that of a <close> variable */
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int wrap_results(lua_State *L, int n)
{
    if (n == AB_CORO_PARKED)
        return ab_coro_park(L, lua_upvalueindex(1), wrap_k);
    if (n == AB_CORO_ERROR)
        return wrap_error(L, lua_tothread(L, lua_upvalueindex(1)));
    return n;
}

static int wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    return wrap_results(L, ab_coro_resume(L, co, lua_gettop(L), 0));
}

static int l_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

static int l_wrap(lua_State *L)
{
    l_create(L);
    lua_pushcclosure(L, wrapped, 1);
    return 1;
}

/* ---- yield ---- */

static int l_yield(lua_State *L)
{
    if (is_task(L))
        return luaL_error(L, "attempt to yield from outside a coroutine");
    const ab_box *box = ab_box_of(L);
    if (box->current && box->nest && box->running == L &&
        box->current->scope->owner == box->current &&
        box->current->scope->serial > box->nest->serial)
        /* The scope would go on outside of the block that entered it. */
        return luaL_error(L, "cannot yield inside of timeout, shield, run or "
                             "group: end the block first");
    return lua_yield(L, lua_gettop(L));
}

static int l_isyieldable(lua_State *L)
{
    lua_State *co = lua_isnone(L, 1) ? L : check_co(L);
    lua_pushboolean(L, !is_task(co) && lua_isyieldable(co));
    return 1;
}

/* ---- status, running, close ---- */

typedef enum status { RUNNING, DEAD, SUSPENDED, NORMAL } status;

static const char *const status_names[] = {"running", "dead", "suspended",
                                           "normal"};

static status status_of(lua_State *L, lua_State *co)
{
    if (L == co)
        return RUNNING;
    /* Active, though not on the C stack: its task waits inside. */
    if (ab_co_flags(co) & AB_CO_PARKED)
        return NORMAL;
    switch (lua_status(co)) {
    case LUA_YIELD:
        return is_task(co) ? NORMAL : SUSPENDED;
    case LUA_OK: {
        lua_Debug ar;
        if (lua_getstack(co, 0, &ar))
            return NORMAL;
        return lua_gettop(co) == 0 ? DEAD : SUSPENDED;
    }
    default:
        return DEAD;
    }
}

static int l_status(lua_State *L)
{
    lua_pushstring(L, status_names[status_of(L, check_co(L))]);
    return 1;
}

static int l_running(lua_State *L)
{
    ab_co_set(L, AB_CO_SEEN, AB_CO_SEEN); /* the script may keep it */
    int is_main = lua_pushthread(L);
    lua_pushboolean(L, is_main || is_task(L));
    return 2;
}

static int l_close(lua_State *L)
{
    lua_State *co = check_co(L);
    status s = status_of(L, co);
    if (s == RUNNING || s == NORMAL || is_task(co))
        return luaL_error(L, "cannot close a %s coroutine", status_names[s]);
    if (close_thread(L, co) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

static const luaL_Reg functions[] = {
    {"close", l_close},
    {"create", l_create},
    {"isyieldable", l_isyieldable},
    {"resume", l_resume},
    {"running", l_running},
    {"status", l_status},
    {"wrap", l_wrap},
    {"yield", l_yield},
    {NULL, NULL},
};

/* lua_resume makes these texts outside of any protected call: without memory
 * for one the process would end.  As they exist already it needs none. */
static void keep_texts(lua_State *L)
{
    static const char *const texts[] = {
        "cannot resume non-suspended coroutine", "cannot resume dead coroutine",
        "C stack overflow", "error in error handling"};
    static const char key = 0;
    enum { COUNT = sizeof texts / sizeof *texts };
    lua_createtable(L, COUNT, 0);
    for (int i = 0; i < COUNT; i++) {
        lua_pushstring(L, texts[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}

int ab_open_coroutine(lua_State *L)
{
    keep_texts(L);
    lua_getglobal(L, LUA_COLIBNAME);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
