/* binding.c - what bindings share: classes, durations, options, Lua parts. */
#include "binding.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- classes ---- */

static int class_tostring(lua_State *L)
{
    lua_getfield(L, lua_upvalueindex(1), "__name");
    lua_pushfstring(L, "<%s: %p>", lua_tostring(L, -1), lua_topointer(L, 1));
    return 1;
}

static void class_make(lua_State *L, const ab_class *cls)
{
    static const luaL_Reg shown[] = {{"__tostring", class_tostring},
                                     {NULL, NULL}};
    lua_createtable(L, 0, 8);
    lua_pushstring(L, cls->name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    luaL_setfuncs(L, shown, 1);
    if (cls->metas) {
        lua_pushvalue(L, -1);
        luaL_setfuncs(L, cls->metas, 1);
    }
    if (cls->methods) {
        lua_newtable(L);
        lua_pushvalue(L, -2);
        luaL_setfuncs(L, cls->methods, 1);
        lua_setfield(L, -2, "__index");
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, cls);
}

void ab_class_push(lua_State *L, const ab_class *cls)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, cls) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    class_make(L, cls);
}

void *ab_object_new(lua_State *L, const ab_class *cls, size_t bytes, int users)
{
    void *object = lua_newuserdatauv(L, bytes, users);
    memset(object, 0, bytes);
    ab_class_push(L, cls);
    lua_setmetatable(L, -2);
    return object;
}

void *ab_self(lua_State *L, const ab_class *cls)
{
    void *object = lua_touserdata(L, 1);
    if (object && lua_getmetatable(L, 1)) {
        int same = lua_rawequal(L, -1, lua_upvalueindex(1));
        lua_pop(L, 1);
        if (same)
            return object;
    }
    luaL_typeerror(L, 1, cls->name);
    return NULL;
}

void *ab_object_test(lua_State *L, int idx, const ab_class *cls)
{
    void *object = lua_touserdata(L, idx);
    if (!object || !lua_getmetatable(L, idx))
        return NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, cls);
    int same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? object : NULL;
}

void *ab_object_take(lua_State *L, const ab_class *cls)
{
    void *object = ab_self(L, cls), *it, *none = NULL;
    memcpy(&it, object, sizeof it); /* it was stored as another pointer type */
    memcpy(object, &none, sizeof none);
    return it;
}

/* ---- misuse ---- */

int ab_misuse(lua_State *L, const char *format, ...)
{
    ab_report_where(L);
    va_list args;
    va_start(args, format);
    lua_pushvfstring(L, format, args);
    va_end(args);
    lua_concat(L, 2);
    return lua_error(L);
}

/* Whether or not its task is cancelled. */
static int is_suspendable(lua_State *L)
{
    const ab_box *box = ab_box_of(L);
    const ab_task *task = box->current;
    return task && !box->closing && L == box->running &&
           task->state == AB_TASK_RUNNING && lua_isyieldable(L) &&
           !(box->nest && box->nest->blocked);
}

int ab_may_wait(lua_State *L)
{
    return is_suspendable(L) &&
           !(ab_box_of(L)->current->flags & AB_TASK_INTERRUPT);
}

int ab_is_cancelled(lua_State *L)
{
    return is_suspendable(L) &&
           ab_box_of(L)->current->flags & AB_TASK_INTERRUPT;
}

/* ---- bytes ---- */

/* The list at `arg` becomes one string. */
static void join(lua_State *L, int arg)
{
    luaL_Buffer b;
    lua_Integer n = luaL_len(L, arg);
    luaL_buffinit(L, &b);
    for (lua_Integer i = 1; i <= n; i++) {
        int type = lua_geti(L, arg, i);
        if (type != LUA_TSTRING && type != LUA_TNUMBER) {
            lua_pushfstring(L, "string expected at index %I, got %s",
                            (LUAI_UACINT)i, luaL_typename(L, -1));
            luaL_argerror(L, arg, lua_tostring(L, -1));
        }
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    lua_replace(L, arg);
}

void ab_check_bytes(lua_State *L, int arg)
{
    int i = arg, last = lua_gettop(L);
    do {
        if (lua_istable(L, i))
            join(L, i);
        luaL_checkstring(L, i);
    } while (++i <= last);
    lua_concat(L, last - arg + 1);
}

/* ---- durations ---- */

enum { SECONDS_MAX = 1000000000 }; /* 31 years: far within 64 bits of ns */

/* NULL when it is a duration, else what is wrong with it. */
static const char *bad_seconds(lua_Number n)
{
    if (isnan(n))
        return "must not be NaN";
    if (n < 0)
        return "must not be negative";
    if (isinf(n))
        return "must be finite";
    if (n > SECONDS_MAX)
        return "must be at most 1e9 seconds";
    return NULL;
}

static int64_t to_ns(lua_Number seconds)
{
    return (int64_t)(seconds * 1e9 + 0.5);
}

void ab_check_seconds_misuse(lua_State *L, int arg, const char *name)
{
    if (lua_type(L, arg) != LUA_TNUMBER)
        ab_misuse(L, "%s must be a number of seconds, got %s", name,
                  luaL_typename(L, arg));
    const char *bad = bad_seconds(lua_tonumber(L, arg));
    if (bad)
        ab_misuse(L, "%s %s, got %f", name, bad, lua_tonumber(L, arg));
}

int64_t ab_check_seconds(lua_State *L, int arg, const char *name)
{
    int is_number;
    lua_Number n = lua_tonumberx(L, arg, &is_number);
    if (!is_number || lua_type(L, arg) != LUA_TNUMBER) {
        lua_pushfstring(L, "%s must be a number of seconds, got %s", name,
                        luaL_typename(L, arg));
        luaL_argerror(L, arg, lua_tostring(L, -1));
    }
    const char *bad = bad_seconds(n);
    if (bad) {
        lua_pushfstring(L, "%s %s, got %f", name, bad, n);
        luaL_argerror(L, arg, lua_tostring(L, -1));
    }
    return to_ns(n);
}

/* ---- options ---- */

void ab_options_check(lua_State *L, int idx, const char *what,
                      const char *const *known)
{
    if (lua_isnoneornil(L, idx))
        return;
    idx = lua_absindex(L, idx);
    if (!lua_istable(L, idx))
        ab_misuse(L, "%s: options must be a table, got %s", what,
                  luaL_typename(L, idx));
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        int found = 0;
        if (lua_type(L, -2) == LUA_TSTRING)
            for (int i = 0; known[i] && !found; i++)
                found = strcmp(known[i], lua_tostring(L, -2)) == 0;
        if (found)
            continue;
        const char *key = luaL_tolstring(L, -2, NULL);
        luaL_Buffer b;
        luaL_buffinit(L, &b);
        for (int i = 0; known[i]; i++) {
            luaL_addstring(&b, i ? ", " : "");
            luaL_addstring(&b, known[i]);
        }
        luaL_pushresult(&b);
        ab_misuse(L, "%s: unknown option '%s' (known: %s)", what, key,
                  lua_tostring(L, -1));
    }
}

static int option(lua_State *L, int idx, const char *key)
{
    if (lua_isnoneornil(L, idx)) {
        lua_pushnil(L);
        return LUA_TNIL;
    }
    return lua_getfield(L, idx, key);
}

int ab_option_boolean(lua_State *L, int idx, const char *key, int otherwise)
{
    int type = option(L, idx, key);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        ab_misuse(L, "option '%s' must be a boolean, got %s", key,
                  luaL_typename(L, -1));
    int value = type == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

int64_t ab_option_seconds(lua_State *L, int idx, const char *key,
                          int64_t otherwise)
{
    int type = option(L, idx, key);
    if (type != LUA_TNIL && type != LUA_TNUMBER)
        ab_misuse(L, "option '%s' must be a number of seconds, got %s", key,
                  luaL_typename(L, -1));
    lua_Number n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (type == LUA_TNIL)
        return otherwise;
    const char *bad = bad_seconds(n);
    if (bad)
        ab_misuse(L, "option '%s' %s, got %f", key, bad, n);
    return to_ns(n);
}

lua_Integer ab_option_integer(lua_State *L, int idx, const char *key,
                              lua_Integer otherwise, lua_Integer min,
                              lua_Integer max)
{
    int type = option(L, idx, key), whole;
    lua_Integer n = lua_tointegerx(L, -1, &whole);
    if (type != LUA_TNIL && (type != LUA_TNUMBER || !whole))
        ab_misuse(L, "option '%s' must be a whole number, got %s", key,
                  type == LUA_TNUMBER ? luaL_tolstring(L, -1, NULL)
                                      : luaL_typename(L, -1));
    lua_pop(L, 1);
    if (type == LUA_TNIL)
        return otherwise;
    if (n < min || n > max)
        ab_misuse(L, "option '%s' must be from %I to %I, got %I", key,
                  (LUAI_UACINT)min, (LUAI_UACINT)max, (LUAI_UACINT)n);
    return n;
}

/* ---- Lua parts ---- */

void ab_lua_part(lua_State *L, const char *name, const char *source,
                 size_t bytes, int nargs, int nresults)
{
    char chunk[64];
    snprintf(chunk, sizeof chunk, "=[asyncbox %s]", name);
    if (luaL_loadbufferx(L, source, bytes, chunk, "t") != LUA_OK)
        lua_error(L);
    lua_insert(L, -nargs - 1);
    lua_call(L, nargs, nresults);
}
