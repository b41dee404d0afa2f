/* error.h - error objects: what a failed operation raises.
 *
 * A table with the fields code ("ENOENT"), op ("fs.open"), message, and where
 * it applies path, url, host or limit; tostring gives
 * `fs.open: no such file or directory: data.txt (ENOENT)`.  Calls on two paths
 * have the second one as `to`: `...: old.txt -> new.txt (ENOENT)`. */
#ifndef AB_ERROR_H
#define AB_ERROR_H

#include <lua.h>

/* What an error object says besides its code.  NULL fields are left out. */
typedef struct ab_detail {
    const char *op;      /* "fs.open" */
    const char *message; /* NULL: the standard text of the code */
    const char *key;     /* "path", "url", "host", "limit" */
    const char *value;   /* its value */
} ab_detail;

/* Pushes a new error object.  May raise for want of memory. */
void ab_error_push(lua_State *L, int code, const ab_detail *detail);

/* Raises one; never returns (int so that `return ab_error_raise(..)` reads
 * well). */
int ab_error_raise(lua_State *L, int code, const ab_detail *detail);

/* The common case: op and, unless NULL, a path. */
int ab_error_path(lua_State *L, int code, const char *op, const char *path);

/* Is the value at idx an error object with this code?  Raises nothing and
 * calls no metamethod. */
int ab_error_is(lua_State *L, int idx, int code);

/* The code of an error object, 0 for any other value. */
int ab_error_code(lua_State *L, int idx);

/* Pushes the text of any error value without calling a metamethod of the
 * script's: error objects as above, strings and numbers as they are, else
 * "(error object is a table value)". May raise for want of memory. */
void ab_error_text(lua_State *L, int idx);

/* Makes the metatable.  Called once by the box; may raise. */
void ab_error_open(lua_State *L);

#endif
