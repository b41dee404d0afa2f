/* error.c - error codes and error objects. */
#include "error.h"
#include "asyncbox.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static const struct {
    int code;
    const char *name, *text;
} own[] = {
#define ROW(code, name, text) {code, #name, text},
    ASYNCBOX_ERRORS(ROW)
#undef ROW
};

const char *asyncbox_err_name(int code)
{
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i].code == code)
            return own[i].name;
    switch (code) {
#define ROW(name, text)                                                        \
    case UV_##name:                                                            \
        return #name;
        UV_ERRNO_MAP(ROW)
#undef ROW
    default:
        return "UNKNOWN";
    }
}

static const char *libuv_text(int code)
{
    switch (code) {
#define ROW(name, text)                                                        \
    case UV_##name:                                                            \
        return text;
        UV_ERRNO_MAP(ROW)
#undef ROW
    default:
        return "unknown error";
    }
}

const char *asyncbox_err_text(int code)
{
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i].code == code)
            return own[i].text;
    switch (code) {
    case UV_ECANCELED: /* libuv's texts for these two are long-winded */
        return "cancelled";
    case UV_ETIMEDOUT:
        return "timed out";
    default:
        return libuv_text(code);
    }
}

static const char metatable_key = 0;

/* The metatable's address tells error objects from tables that look alike. */
static int is_error(lua_State *L, int idx)
{
    if (lua_type(L, idx) != LUA_TTABLE || !lua_checkstack(L, 3) ||
        !lua_getmetatable(L, idx))
        return 0;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
    int same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static void raw_field(lua_State *L, int idx, const char *key)
{
    idx = lua_absindex(L, idx);
    lua_pushstring(L, key);
    lua_rawget(L, idx);
}

static void set_field(lua_State *L, const char *key, const char *value)
{
    if (!value)
        return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

void ab_error_push(lua_State *L, int code, const ab_detail *d)
{
    luaL_checkstack(L, 5, NULL);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, code);
    lua_rawseti(L, -2, 1); /* for the host: codes as numbers */
    set_field(L, "code", asyncbox_err_name(code));
    set_field(L, "op", d->op);
    set_field(L, "message", d->message ? d->message : asyncbox_err_text(code));
    if (d->key)
        set_field(L, d->key, d->value);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
    lua_setmetatable(L, -2);
}

int ab_error_raise(lua_State *L, int code, const ab_detail *detail)
{
    ab_error_push(L, code, detail);
    return lua_error(L);
}

int ab_error_path(lua_State *L, int code, const char *op, const char *path)
{
    return ab_error_raise(L, code, &(ab_detail){op, NULL, "path", path});
}

int ab_error_code(lua_State *L, int idx)
{
    if (!is_error(L, idx))
        return 0;
    lua_rawgeti(L, idx, 1);
    int code = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return code;
}

int ab_error_is(lua_State *L, int idx, int code)
{
    return ab_error_code(L, idx) == code;
}

/* Adds `before` and the string in a field, if there is one. */
static void add_field(luaL_Buffer *b, lua_State *L, int idx, const char *before,
                      const char *key, const char *after)
{
    raw_field(L, idx, key);
    if (lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        return;
    }
    /* The buffer may keep a value of its own on the stack: go by strings. */
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1); /* still held by the error object */
    luaL_addstring(b, before);
    luaL_addstring(b, text);
    luaL_addstring(b, after);
}

/* The port beside a host: errors have it as a number. */
static void add_port(luaL_Buffer *b, lua_State *L, int idx)
{
    char text[16];
    raw_field(L, idx, "port");
    lua_Integer port = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    lua_pop(L, 1);
    if (port <= 0 || port > 65535)
        return;
    snprintf(text, sizeof text, ":%d", (int)port);
    luaL_addstring(b, text);
}

static void push_text(lua_State *L, int idx)
{
    static const char *const subjects[] = {"path", "url", "host", "name"};
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    add_field(&b, L, idx, "", "op", ": ");
    add_field(&b, L, idx, "", "message", "");
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        add_field(&b, L, idx, ": ", subjects[i], "");
    add_port(&b, L, idx);
    add_field(&b, L, idx, " -> ", "to", "");
    add_field(&b, L, idx, " (", "code", ")");
    add_field(&b, L, idx, "; ", "hint", "");
    luaL_pushresult(&b);
}

void ab_error_text(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 5, NULL);
    if (is_error(L, idx)) {
        push_text(L, idx);
        return;
    }
    int type = lua_type(L, idx);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        lua_pushvalue(L, idx);
        lua_tostring(L, -1);
    } else {
        lua_pushfstring(L, "(error object is a %s value)",
                        lua_typename(L, type));
    }
}

static int l_tostring(lua_State *L)
{
    if (!is_error(L, 1))
        return luaL_argerror(L, 1, "error object expected");
    push_text(L, 1);
    return 1;
}

void ab_error_open(lua_State *L)
{
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "asyncbox.error");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
}
