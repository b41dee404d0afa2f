/* net.c - asyncbox.net: TCP and Unix sockets.  What composes is net.lua. */
#include "net.h"
#include <string.h>

extern const char ab_lua_net[];
extern const size_t ab_lua_net_len;

/* ---- primitives for net.lua ---- */

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

/* fail(code, op, message or nil, host, port): code is a number or a name. */
static int core_fail(lua_State *L)
{
    int code = (int)lua_tointeger(L, 1);
    if (lua_type(L, 1) == LUA_TSTRING)
        code = strcmp(lua_tostring(L, 1), "ETIMEDOUT") == 0 ? UV_ETIMEDOUT
                                                            : UV_EAI_NONAME;
    else if (lua_type(L, 1) == LUA_TTABLE)
        code = ab_error_code(L, 1);
    return ab_net_fail(L, code, luaL_checkstring(L, 2),
                       luaL_optstring(L, 3, NULL), luaL_optstring(L, 4, NULL),
                       (int)luaL_optinteger(L, 5, 0));
}

/* is_ipv6(address) */
static int core_is_ipv6(lua_State *L)
{
    lua_pushboolean(L, ab_net_check_address(L, 1)->any.sa_family == AF_INET6);
    return 1;
}

/* is_callable(value): an async function, or what has __call */
static int core_is_callable(lua_State *L)
{
    lua_pushboolean(L, luaL_getmetafield(L, 1, "__call") != LUA_TNIL);
    return 1;
}

/* no_ipv6(code): does it mean that this machine has none? */
static int core_no_ipv6(lua_State *L)
{
    lua_Integer code = luaL_checkinteger(L, 1);
    lua_pushboolean(L, code == UV_EAFNOSUPPORT || code == UV_EADDRNOTAVAIL);
    return 1;
}

/* text_of(name of a code) */
static int core_text_of(lua_State *L)
{
    static const int codes[] = {UV_EMFILE, UV_ENFILE, UV_ENOBUFS, UV_ENOMEM};
    const char *name = luaL_checkstring(L, 1);
    lua_pushvalue(L, 1);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(asyncbox_err_name(codes[i]), name) == 0)
            lua_pushstring(L, asyncbox_err_text(codes[i]));
    return 1;
}

/* warn(text) */
static int core_warn(lua_State *L)
{
    const char *text =
        lua_pushfstring(L, "asyncbox: %s", luaL_checkstring(L, 1));
    ab_report(ab_box_of(L), text, lua_rawlen(L, -1));
    return 0;
}

/* report(error, whose): what went wrong in a handler, with its traceback.  No
 * code of a script that is not trusted runs. */
static int core_report(lua_State *L)
{
    ab_box *box = ab_box_of(L);
    const char *whose = luaL_checkstring(L, 2);
    lua_settop(L, 2);
    if (box->sandbox)
        ab_error_text(L, 1);
    else
        luaL_tolstring(L, 1, NULL);
    if (!ab_report_get_trace(L, 1))
        lua_pushliteral(L, "");
    const char *trace = lua_tostring(L, -1);
    const char *text =
        lua_pushfstring(L, "asyncbox: a handler of %s: %s%s%s", whose,
                        lua_tostring(L, 3), *trace ? "\n" : "", trace);
    ab_report(box, text, lua_rawlen(L, -1));
    return 0;
}

/* rethrow(error): raises it again, with the traceback that it had. */
static int core_rethrow(lua_State *L)
{
    lua_settop(L, 1);
    return ab_report_rethrow(L);
}

/* tls() -> the table of stream_tls.lua, loaded on first use */
static int core_tls(lua_State *L)
{
    ab_stream_push_tls(L);
    return 1;
}

static const luaL_Reg core[] = {
    {"ascii", ab_part_ascii},
    {"attempt", ab_net_attempt},
    {"check_host", core_check_host},
    {"connect_path", ab_net_connect_path},
    {"fail", core_fail},
    {"is_callable", core_is_callable},
    {"is_ipv6", core_is_ipv6},
    {"listen", ab_net_listen},
    {"listen_path", ab_net_listen_path},
    {"no_ipv6", core_no_ipv6},
    {"port", core_port},
    {"report", core_report},
    {"resolve", ab_net_resolve},
    {"rethrow", core_rethrow},
    {"tls", core_tls},
    {"text_of", core_text_of},
    {"trace", ab_report_handler},
    {"warn", core_warn},
    {NULL, NULL},
};

/* What scripts call as it is; net.lua adds the rest. */
static const luaL_Reg functions[] = {
    {"udp", ab_net_l_udp},
    {NULL, NULL},
};

int ab_open_net(lua_State *L)
{
    luaL_newlib(L, functions);
    lua_pushvalue(L, -1);
    luaL_newlib(L, core);
    luaL_setfuncs(L, ab_part_options, 0);
    luaL_requiref(L, "asyncbox", ab_open_async, 0);
    ab_lua_part(L, "net", ab_lua_net, ab_lua_net_len, 3, 0);
    return 1;
}
