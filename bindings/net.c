/* net.c - asyncbox.net: TCP and Unix sockets.  What composes is net.lua. */
#include "net.h"
#include <string.h>

extern const char ab_lua_net[];
extern const size_t ab_lua_net_len;

/* ---- primitives for net.lua ---- */

/* check(what): may this function wait? */
static int core_check(lua_State *L)
{
    ab_task_check(L, luaL_checkstring(L, 1));
    return 0;
}

/* check_host(what, host, port): is it granted, as it is written? */
static int core_check_host(lua_State *L)
{
    ab_grants_check_host(L, luaL_checkstring(L, 1), luaL_checkstring(L, 2),
                         (int)luaL_checkinteger(L, 3));
    return 0;
}

/* port(value, what, min) */
static int core_port(lua_State *L)
{
    lua_pushinteger(L, ab_check_port(L, 1, luaL_checkstring(L, 2),
                                     (int)luaL_checkinteger(L, 3)));
    return 1;
}

/* fail(code, op, message or nil, host, port): code is a name or a number. */
static int core_fail(lua_State *L)
{
    int code =
        lua_type(L, 1) == LUA_TNUMBER ? (int)lua_tointeger(L, 1) : UV_ETIMEDOUT;
    return ab_net_fail(L, code, luaL_checkstring(L, 2),
                       luaL_optstring(L, 3, NULL), luaL_optstring(L, 4, NULL),
                       (int)luaL_optinteger(L, 5, 0));
}

/* options(table, what, known...) */
static int core_options(lua_State *L)
{
    const char *known[24] = {NULL};
    int n = lua_gettop(L) - 2;
    for (int i = 0; i < n && i < 23; i++)
        known[i] = lua_tostring(L, 3 + i);
    ab_options_check(L, 1, lua_tostring(L, 2), known);
    return 0;
}

/* integer(table, key, otherwise, min, max) */
static int core_integer(lua_State *L)
{
    lua_pushinteger(L, ab_option_integer(L, 1, luaL_checkstring(L, 2),
                                         luaL_checkinteger(L, 3),
                                         luaL_checkinteger(L, 4),
                                         luaL_checkinteger(L, 5)));
    return 1;
}

/* seconds(table, key) -> number or nil */
static int core_seconds(lua_State *L)
{
    int64_t ns = ab_option_seconds(L, 1, luaL_checkstring(L, 2), -1);
    if (ns < 0)
        return 0;
    lua_pushnumber(L, (lua_Number)ns / 1e9);
    return 1;
}

static int core_boolean(lua_State *L)
{
    lua_pushboolean(L, ab_option_boolean(L, 1, luaL_checkstring(L, 2), 0));
    return 1;
}

static int core_misuse(lua_State *L)
{
    return ab_misuse(L, "%s", luaL_checkstring(L, 1));
}

static const luaL_Reg core[] = {
    {"attempt", ab_net_attempt},
    {"boolean", core_boolean},
    {"check", core_check},
    {"check_host", core_check_host},
    {"connect_path", ab_net_connect_path},
    {"fail", core_fail},
    {"integer", core_integer},
    {"listen", ab_net_listen},
    {"listen_path", ab_net_listen_path},
    {"misuse", core_misuse},
    {"options", core_options},
    {"port", core_port},
    {"resolve", ab_net_resolve},
    {"seconds", core_seconds},
    {NULL, NULL},
};

/* What scripts call as it is; net.lua adds the rest. */
static const luaL_Reg functions[] = {
    {NULL, NULL},
};

int ab_open_net(lua_State *L)
{
    luaL_newlib(L, functions);
    lua_pushvalue(L, -1);
    luaL_newlib(L, core);
    luaL_requiref(L, "asyncbox", ab_open_async, 0);
    ab_lua_part(L, "net", ab_lua_net, ab_lua_net_len, 3, 0);
    return 1;
}
