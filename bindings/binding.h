/* binding.h - all that a binding may include: Lua, and the host's contracts.
 *
 * One file = one Lua module = one function table at its bottom = one opener.
 * See op.h for the five steps of a function that waits, CONTRIBUTING.md for
 * the checklist. */
#ifndef AB_BINDING_H
#define AB_BINDING_H

#include "box.h"
#include "coro.h"
#include "error.h"
#include "op.h"
#include "report.h"
#include "sched.h"
#include "scope.h"
#include "transfer.h"
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* ---- classes: userdata with methods ----
 * A class is a metatable kept in the registry under the address of its name.
 * Every method is a closure whose upvalue 1 is that metatable, so checking
 * `self` is one comparison. */
typedef struct ab_class {
    const char *name;        /* "Queue": in errors and tostring */
    const luaL_Reg *methods; /* become fields of __index */
    const luaL_Reg *metas;   /* __gc, __close, ...; may be NULL */
} ab_class;

/* Pushes a new userdata of the class with `users` user values; zeroed. The
 * class is made on first use. */
void *ab_object_new(lua_State *L, const ab_class *cls, size_t bytes, int users);
/* In a method: argument 1, or raises "bad argument #1 to 'get' (Queue
 * expected, got nil)". */
void *ab_self(lua_State *L, const ab_class *cls);
/* Anywhere: NULL when it is something else. */
void *ab_object_test(lua_State *L, int idx, const ab_class *cls);
/* Pushes the metatable of a class. */
void ab_class_push(lua_State *L, const ab_class *cls);

/* ---- arguments ---- */

/* A duration in seconds as nanoseconds: a number from 0 to 1e9, not NaN.
 * Raises at the caller's line, naming the argument. */
int64_t ab_check_seconds(lua_State *L, int arg, const char *name);

/* The same check for Lua parts, raised at the line of the script. */
void ab_check_seconds_misuse(lua_State *L, int arg, const char *name);

/* Raises misuse at the line of the script that called into asyncbox, however
 * many of asyncbox's own Lua parts lie between. */
int ab_misuse(lua_State *L, const char *format, ...);

/* Option tables: reads field `key` of the table at idx on top of the stack and
 * gives its type (LUA_TNIL when absent or when there is no table).  After the
 * last one call ab_options_done with all known names, which raises for an
 * unknown key: "fs.write: unknown option 'apend' (known: append, atomic)". */
void ab_options_check(lua_State *L, int idx, const char *what,
                      const char *const *known);
int ab_option_boolean(lua_State *L, int idx, const char *key, int otherwise);
/* Seconds as nanoseconds, `otherwise` when absent. */
int64_t ab_option_seconds(lua_State *L, int idx, const char *key,
                          int64_t otherwise);
lua_Integer ab_option_integer(lua_State *L, int idx, const char *key,
                              lua_Integer otherwise, lua_Integer min,
                              lua_Integer max);

/* Loads a Lua part of the library ("http" -> bindings/http.lua) and calls it
 * with the values on top of the stack as its `...`; leaves its n results. Its
 * frames are left out of tracebacks. */
void ab_lua_part(lua_State *L, const char *name, const char *source,
                 size_t bytes, int nargs, int nresults);

/* The openers, for modules.c. */
int ab_open_base(lua_State *L);
int ab_open_coroutine(lua_State *L);
int ab_open_require(lua_State *L);
int ab_open_async(lua_State *L);
int ab_open_fs(lua_State *L);
int ab_open_http(lua_State *L);
int ab_open_json(lua_State *L);

#endif
