/* json.c - the module asyncbox.json: lua-cjson with error objects.
 *
 * lua-cjson knows no integers: it decodes 7 as 7.0. What is a whole number is
 * made one here, since `url .. id` must not give "/7.0". */
#include "binding.h"
#include <math.h>
#include <string.h>

#ifdef ASYNCBOX_HAVE_CJSON

/* From lua-cjson's archive, whose header is none. */
int luaopen_cjson_safe(lua_State *L);

enum { DEPTH_MAX = 1000 };

/* Raises the text on top of the stack as an error object. */
static int raise_text(lua_State *L, const char *op)
{
    const char *text = lua_tostring(L, -1);
    return ab_error_raise(L, UV_EINVAL,
                          &(ab_detail){op, text ? text : "failed", NULL, NULL});
}

/* Beyond 2^53 a double may stand for several integers: those stay floats. */
static int is_whole(lua_State *L, int idx, lua_Integer *out)
{
    if (lua_type(L, idx) != LUA_TNUMBER || lua_isinteger(L, idx))
        return 0;
    lua_Number n = lua_tonumber(L, idx);
    if (!(n >= -9007199254740992.0 && n <= 9007199254740992.0) ||
        n != floor(n) || (n == 0 && signbit(n)))
        return 0;
    *out = (lua_Integer)n;
    return 1;
}

/* The table on top of the stack, all the way down. Changing a field that is
 * there is allowed while lua_next goes through. */
static void make_whole(lua_State *L)
{
    int table = lua_gettop(L);
    lua_Integer whole;
    luaL_checkstack(L, 4, "JSON nested too deep");
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_istable(L, -1)) {
            make_whole(L);
        } else if (is_whole(L, -1, &whole)) {
            lua_pushvalue(L, -2);
            lua_pushinteger(L, whole);
            lua_rawset(L, table);
        }
    }
}

static int l_decode(lua_State *L)
{
    lua_Integer whole;
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 2);
    if (lua_isnil(L, 1)) /* null is not nil: it is json.null */
        return raise_text(L, "json.decode");
    lua_settop(L, 1);
    if (lua_istable(L, 1)) {
        make_whole(L);
    } else if (is_whole(L, 1, &whole)) {
        lua_pushinteger(L, whole);
    }
    return 1;
}

static int l_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 2);
    if (lua_isnil(L, 1))
        return raise_text(L, "json.encode");
    lua_settop(L, 1);
    return 1;
}

/* cjson.KEY(value), for its settings; cjson is on top of the stack. */
static void set(lua_State *L, const char *key, lua_Integer value)
{
    lua_getfield(L, -1, key);
    lua_pushinteger(L, value);
    lua_call(L, 1, 0);
}

int ab_open_json(lua_State *L)
{
    lua_settop(L, 0);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, luaopen_cjson_safe);
    lua_call(L, 0, 1);
    set(L, "encode_max_depth", DEPTH_MAX);
    set(L, "decode_max_depth", DEPTH_MAX);
    lua_getfield(L, 2, "decode_invalid_numbers"); /* NaN is not JSON */
    lua_pushboolean(L, 0);
    lua_call(L, 1, 0);
    lua_getfield(L, 2, "decode");
    lua_pushcclosure(L, l_decode, 1);
    lua_setfield(L, 1, "decode");
    lua_getfield(L, 2, "encode");
    lua_pushcclosure(L, l_encode, 1);
    lua_setfield(L, 1, "encode");
    lua_getfield(L, 2, "null");
    lua_setfield(L, 1, "null");
    lua_settop(L, 1);
    return 1;
}

#else

int ab_open_json(lua_State *L)
{
    return luaL_error(L, "asyncbox.json: built without lua-cjson");
}

#endif
