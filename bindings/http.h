/* http.h - what the files of the module asyncbox.http share. */
#ifndef AB_HTTP_H
#define AB_HTTP_H

#include "binding.h"

/* http_headers.c: makes lines ("Name: value" and a NUL each) of the table at
 * idx, followed by those of `base` whose names it does not mention.  They lie
 * in a userdata that is pushed, so they live while it stays on the stack.
 * Raises: `what` is the function that the script called. */
void ab_http_lines(lua_State *L, int idx, const char *what, const char *base,
                   size_t base_bytes, const char **out, size_t *out_bytes);

/* http_response.c: the push hook of every op type of http.c. Pushes the
 * response, or raises what went wrong. */
int ab_response_push(lua_State *L, ab_op *op);

/* Makes the metatable; called when the module is opened. */
void ab_response_open(lua_State *L);

#endif
