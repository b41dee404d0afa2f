/* json.h - what the parts of the json module share; nobody else includes it.
 *
 *   json.c          the module
 *   json_decode.c   from text to values
 *   json_encode.c   from values to text
 *
 * A codec of our own, because a limit of the box must hold for it too: see
 * docs/decisions/0010-json-of-our-own.md. */
#ifndef AB_JSON_H
#define AB_JSON_H

#include "binding.h"

enum { AB_JSON_DEPTH_MAX = 1000 };

/* Its address in the registry: the metatable that marks empty lists. */
extern const char ab_json_array_key;

/* null is the light userdata NULL. */
void ab_json_push_null(lua_State *L);
/* Raises EINVAL. */
int ab_json_fail(lua_State *L, const char *op, const char *message);

/* functions of Lua */
int ab_json_decode(lua_State *L);
int ab_json_encode(lua_State *L);

#endif
