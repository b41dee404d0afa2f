/* require.c - Lua's require, but a module may wait while it loads.
 *
 * Two tasks that require one module load it once: the second waits for a
 * future that the first settles.  Messages and results are Lua's own. */
#include "binding.h"

/* Stack of a require that loads. */
enum { NAME = 1, LOADED, SEARCHERS, MESSAGE, LOCK, FIXED = LOCK };

static const char loading_key = 0; /* registry: name -> future */

/* ---- the lock: a future that others wait for ---- */

static void push_loading(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &loading_key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &loading_key);
}

/* A guard: user value 1 is the future, 2 the name, 3 the loader. */
typedef struct guard {
    const ab_task *loader;
} guard;

static int guard_close(lua_State *L)
{
    push_loading(L);
    lua_getiuservalue(L, 1, 2);
    lua_pushnil(L);
    lua_rawset(L, -3);
    lua_getiuservalue(L, 1, 1);
    ab_task *future = lua_touserdata(L, -1);
    if (future && future->state != AB_TASK_DEAD) {
        lua_pushvalue(L, 2); /* the error that ends the load */
        ab_future_settle(L, -2, 1, 1);
        ab_task_taken(future); /* raised in the loader: it is not lost */
    }
    return 0;
}

static const luaL_Reg guard_metas[] = {{"__close", guard_close}, {NULL, NULL}};
static const ab_class guard_class = {"require.guard", NULL, guard_metas};

static void lock(lua_State *L)
{
    guard *g = ab_object_new(L, &guard_class, sizeof *g, 3);
    g->loader = ab_task_current(L);
    ab_task_push(L, g->loader);
    lua_setiuservalue(L, LOCK, 3);
    ab_future_new(L);
    lua_setiuservalue(L, LOCK, 1);
    lua_pushvalue(L, NAME);
    lua_setiuservalue(L, LOCK, 2);
    push_loading(L);
    lua_pushvalue(L, NAME);
    lua_pushvalue(L, LOCK);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    lua_toclose(L, LOCK);
}

/* Another task loads this module: gives 1 with its future on the stack. */
static int is_loading(lua_State *L)
{
    push_loading(L);
    lua_pushvalue(L, NAME);
    lua_rawget(L, -2);
    const guard *g = lua_touserdata(L, -1);
    /* A dead one: there was no memory to close its guard. */
    if (!g || g->loader == ab_task_current(L) ||
        g->loader->state == AB_TASK_DEAD) {
        lua_settop(L, LOADED);
        return 0;
    }
    lua_getiuservalue(L, -1, 1);
    lua_replace(L, LOADED + 1);
    lua_settop(L, LOADED + 1);
    return 1;
}

static int join(lua_State *L)
{
    ab_task_check(L, "require");
    return ab_task_join(L, 1);
}

static int l_require(lua_State *L);

/* The other task has loaded it, or has failed. */
static int joined(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - LOADED;
    const ab_task *task = ab_task_current(L);
    if (!ab_error_is(L, -1, UV_ECANCELED) || task->flags & AB_TASK_INTERRUPT)
        return lua_error(L);
    lua_settop(L, NAME);
    return l_require(L); /* only that task was cancelled: load it here */
}

/* ---- search and load ---- */

static int search(lua_State *L, lua_KContext i);

static int loaded(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    const char *name = lua_tostring(L, NAME);
    /* ...; loader data; result of the loader */
    if (!lua_isnil(L, -1))
        lua_setfield(L, LOADED, name);
    else
        lua_pop(L, 1);
    if (lua_getfield(L, LOADED, name) == LUA_TNIL) {
        lua_pushboolean(L, 1);
        lua_copy(L, -1, -2);
        lua_setfield(L, LOADED, name);
    }
    lua_rotate(L, -2, 1); /* module; loader data */
    if (lua_touserdata(L, LOCK)) {
        lua_getiuservalue(L, LOCK, 1);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -3);
        ab_future_settle(L, -3, 2, 0);
        lua_pop(L, 1);
    }
    return 2;
}

static int load(lua_State *L)
{
    /* ...; loader; loader data */
    lua_rotate(L, -2, 1);
    lua_pushvalue(L, NAME);
    lua_pushvalue(L, -3);
    lua_callk(L, 2, 1, 0, loaded);
    return loaded(L, LUA_OK, 0);
}

static int searched(lua_State *L, int status, lua_KContext i)
{
    (void)status;
    if (lua_isfunction(L, -2))
        return load(L);
    if (lua_isstring(L, -2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, MESSAGE);
        lua_pushliteral(L, "\n\t");
        lua_pushvalue(L, -3);
        lua_concat(L, 3);
        lua_replace(L, MESSAGE);
    }
    lua_settop(L, FIXED);
    return search(L, i + 1);
}

static int search(lua_State *L, lua_KContext i)
{
    if (lua_rawgeti(L, SEARCHERS, i) == LUA_TNIL)
        return luaL_error(L, "module '%s' not found:%s", lua_tostring(L, NAME),
                          lua_tostring(L, MESSAGE));
    lua_pushvalue(L, NAME);
    lua_callk(L, 1, 2, i, searched);
    return searched(L, LUA_OK, i);
}

static int l_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, LOADED, name);
    if (lua_toboolean(L, -1))
        return 1;
    lua_pop(L, 1);
    int in_task = ab_task_current(L) != NULL;
    if (in_task && is_loading(L)) {
        lua_pushcfunction(L, join);
        lua_insert(L, LOADED + 1);
        return joined(L, lua_pcallk(L, 1, LUA_MULTRET, 0, 0, joined), 0);
    }
    if (lua_getfield(L, lua_upvalueindex(1), "searchers") != LUA_TTABLE)
        return luaL_error(L, "'package.searchers' must be a table");
    lua_pushliteral(L, "");
    if (in_task)
        lock(L);
    else
        lua_pushnil(L);
    return search(L, 1);
}

int ab_open_require(lua_State *L)
{
    lua_getglobal(L, LUA_LOADLIBNAME);
    lua_pushcclosure(L, l_require, 1);
    lua_setglobal(L, "require");
    return 0;
}
