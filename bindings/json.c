/* json.c - the module asyncbox.json: RFC 8259, in the box's own memory. */
#include "json.h"

const char ab_json_array_key = 0;

void ab_json_push_null(lua_State *L) { lua_pushlightuserdata(L, NULL); }

int ab_json_fail(lua_State *L, const char *op, const char *message)
{
    return ab_error_raise(L, UV_EINVAL, &(ab_detail){op, message, NULL, NULL});
}

/* array(t) marks a table as a list, for when it is empty. */
static int l_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ab_json_array_key);
    lua_setmetatable(L, 1);
    return 1;
}

static const luaL_Reg functions[] = {
    {"array", l_array},
    {"decode", ab_json_decode},
    {"encode", ab_json_encode},
    {NULL, NULL},
};

int ab_open_json(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "json.array");
    lua_setfield(L, -2, "__name");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ab_json_array_key);
    luaL_newlib(L, functions);
    ab_json_push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
