/* stdout.h - what the parts of standard output share.
 *
 *   stdout.c        waiting for room; the modules asyncbox.stdout and stderr
 *   stdout_print.c  print, io.write and the like, when the box has the
 *                   program's standard output to itself */
#ifndef AB_STDOUT_H
#define AB_STDOUT_H

#include "binding.h"

/* Is so much queued that whoever prints has to wait? */
static inline int ab_stdout_is_full(const ab_output *o)
{
    return o->len >= o->full;
}

/* Waits until there is room and returns k(L, LUA_YIELD, ctx), which has to look
 * again: others print, too.  Where nobody can wait there is room for twice as
 * much, and then it blocks, and goes on with k(L, LUA_OK, ctx).  Raises
 * ECANCELED in a cancelled task that has used up that, and when the box is
 * interrupted while it blocks. */
int ab_stdout_make_room(lua_State *L, ab_output *o, const ab_op_type *type,
                        lua_KContext ctx, lua_KFunction k);

/* Waits, or blocks, until all that is queued now is written, and goes on with
 * k. */
int ab_stdout_flush(lua_State *L, ab_output *o, const ab_op_type *type,
                    lua_KContext ctx, lua_KFunction k);

/* The failure that nobody has been told of yet, or 0; told now. */
int ab_stdout_take_error(ab_output *o);

#endif
