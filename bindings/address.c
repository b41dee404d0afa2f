/* address.c - socket addresses as scripts see them: {host, port, family}; names
 * of hosts as scripts give them. */
#include "binding.h"
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char metatable_key = 0;

static int l_tostring(lua_State *L)
{
    if (lua_getfield(L, 1, "path") == LUA_TSTRING)
        return 1;
    lua_getfield(L, 1, "host");
    lua_getfield(L, 1, "port");
    const char *host = luaL_tolstring(L, -2, NULL);
    int bare = strchr(host, ':') == NULL;
    lua_pushfstring(L, bare ? "%s:%s" : "[%s]:%s", host,
                    luaL_tolstring(L, -2, NULL));
    return 1;
}

static void set_metatable(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 2);
        lua_pushcfunction(L, l_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
    }
    lua_setmetatable(L, -2);
}

void ab_address_push_text(lua_State *L, const char *text)
{
    lua_createtable(L, 0, 3);
    const char *colon = strrchr(text, ':');
    if (strncmp(text, "unix:", 5) == 0 || !colon) {
        lua_pushstring(L, colon ? text + 5 : text);
        lua_setfield(L, -2, "path");
        lua_pushliteral(L, "unix");
    } else {
        int bracket = text[0] == '[';
        lua_pushlstring(L, text + bracket,
                        (size_t)(colon - text) - 2 * (size_t)bracket);
        lua_setfield(L, -2, "host");
        lua_pushinteger(L, atoi(colon + 1));
        lua_setfield(L, -2, "port");
        lua_pushstring(L, bracket ? "ipv6" : "ipv4");
    }
    lua_setfield(L, -2, "family");
    set_metatable(L);
}

void ab_address_push(lua_State *L, const struct sockaddr *from)
{
    char text[AB_ADDR_TEXT];
    ab_sockaddr_format(from, text);
    ab_address_push_text(L, text);
}

int ab_check_port(lua_State *L, int arg, const char *what, int min)
{
    int whole;
    lua_Integer n = lua_tointegerx(L, arg, &whole);
    if (lua_type(L, arg) != LUA_TNUMBER || !whole || n < min || n > 65535)
        ab_misuse(L,
                  "%s: the port must be a whole number from %d to 65535, "
                  "got %s",
                  what, min, luaL_tolstring(L, arg, NULL));
    return (int)n;
}

const char *ab_check_host(lua_State *L, int arg, const char *what)
{
    size_t bytes;
    char ascii[AB_IDNA_MAX];
    const char *why, *host = lua_tolstring(L, arg, &bytes);
    if (!ab_idna_is_needed(host))
        return host;
    int err = ab_idna_to_ascii(host, bytes, ascii, &why);
    if (err)
        ab_error_raise(L, err, &(ab_detail){what, why, "host", host});
    lua_pushstring(L, ascii);
    lua_replace(L, arg);
    return lua_tostring(L, arg);
}

int ab_part_ascii(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TSTRING);
    ab_check_host(L, 2, luaL_checkstring(L, 1));
    lua_settop(L, 2);
    return 1;
}

int ab_part_to_ascii(lua_State *L)
{
    size_t bytes;
    char ascii[AB_IDNA_MAX];
    const char *why, *host = luaL_checklstring(L, 1, &bytes);
    if (ab_idna_to_ascii(host, bytes, ascii, &why)) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        return 2;
    }
    lua_pushstring(L, ascii);
    return 1;
}
