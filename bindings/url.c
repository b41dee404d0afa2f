/* url.c - URLs: the primitives of url.lua. */
#include "binding.h"

extern const char ab_lua_url[];
extern const size_t ab_lua_url_len;
extern const char ab_lua_url_host[];
extern const size_t ab_lua_url_host_len;

/* failure(op, message, url): gives the error object. */
static int core_failure(lua_State *L)
{
    ab_error_push(L, UV_EINVAL,
                  &(ab_detail){luaL_checkstring(L, 1), luaL_checkstring(L, 2),
                               "url", luaL_checkstring(L, 3)});
    return 1;
}

static int core_misuse(lua_State *L)
{
    return ab_misuse(L, "%s", luaL_checkstring(L, 1));
}

static const luaL_Reg core[] = {
    {"failure", core_failure},
    {"misuse", core_misuse},
    {"to_ascii", ab_part_to_ascii},
    {NULL, NULL},
};

int ab_open_url(lua_State *L)
{
    luaL_newlib(L, core);
    lua_pushvalue(L, -1);
    ab_lua_part(L, "url_host", ab_lua_url_host, ab_lua_url_host_len, 1, 1);
    ab_lua_part(L, "url", ab_lua_url, ab_lua_url_len, 2, 1);
    return 1;
}
