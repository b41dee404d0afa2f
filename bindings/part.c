/* part.c - what the Lua parts of modules check options with; see binding.h. */
#include "binding.h"

/* check(what): may this function wait? */
static int part_check(lua_State *L)
{
    ab_task_check(L, luaL_checkstring(L, 1));
    return 0;
}

int ab_part_misuse(lua_State *L)
{
    if (lua_gettop(L) > 1) {
        lua_getglobal(L, "string");
        lua_getfield(L, -1, "format");
        lua_replace(L, -2);
        lua_insert(L, 1);
        lua_call(L, lua_gettop(L) - 1, 1);
    }
    return ab_misuse(L, "%s", luaL_checkstring(L, -1));
}

/* options(table, what, known...): raises for other keys. */
static int part_options(lua_State *L)
{
    const char *known[32] = {NULL};
    int n = lua_gettop(L) - 2;
    luaL_argcheck(L, n < 32, 32, "too many names");
    for (int i = 0; i < n; i++)
        known[i] = luaL_checkstring(L, 3 + i);
    ab_options_check(L, 1, luaL_checkstring(L, 2), known);
    return 0;
}

/* boolean(table, key, otherwise) */
static int part_boolean(lua_State *L)
{
    lua_pushboolean(L, ab_option_boolean(L, 1, luaL_checkstring(L, 2),
                                         lua_toboolean(L, 3)));
    return 1;
}

/* integer(table, key, otherwise, min, max): min is 0 when not given. */
static int part_integer(lua_State *L)
{
    lua_pushinteger(
        L, ab_option_integer(L, 1, luaL_checkstring(L, 2),
                             luaL_checkinteger(L, 3), luaL_optinteger(L, 4, 0),
                             luaL_optinteger(L, 5, LUA_MAXINTEGER)));
    return 1;
}

/* seconds(table, key, otherwise) */
static int part_seconds(lua_State *L)
{
    lua_settop(L, 3);
    int64_t ns = ab_option_seconds(L, 1, luaL_checkstring(L, 2), -1);
    if (ns >= 0)
        lua_pushnumber(L, (lua_Number)ns / 1e9);
    return 1;
}

const luaL_Reg ab_part_options[] = {
    {"boolean", part_boolean},
    {"check", part_check},
    {"integer", part_integer},
    {"misuse", ab_part_misuse},
    {"options", part_options},
    {"seconds", part_seconds},
    {NULL, NULL},
};
