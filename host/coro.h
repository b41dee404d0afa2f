/* coro.h - coroutines of scripts, inside which a task may wait.
 *
 * A wait suspends the innermost coroutine; whoever resumed that one (asyncbox's
 * own coroutine.resume and wrap) suspends itself in turn, down to the task,
 * and on the way back each resumes its inner one again. */
#ifndef AB_CORO_H
#define AB_CORO_H

#include "scope.h"
#include <lua.h>

enum { AB_CORO_ERROR = -1, AB_CORO_PARKED = -2 };

/* Resumes co with the narg values on top of L (moved).  Gives the number of
 * results, which are moved to L; AB_CORO_ERROR with the error value on L; or
 * AB_CORO_PARKED: the task waits inside co, so call ab_coro_park at once.
 * serial: 0, or what ab_coro_unpark gave. */
int ab_coro_resume(lua_State *L, lua_State *co, int narg, uint64_t serial);

/* Suspends L until the wait inside co (at idx) is over, then calls k, which
 * calls ab_coro_resume(L, co, 0, ab_coro_unpark(L, co)).  `return` it. */
int ab_coro_park(lua_State *L, int idx, lua_KFunction k);
/* Gives the serial of the newest scope when co was resumed at first. */
uint64_t ab_coro_unpark(lua_State *L, lua_State *co);

/* The script's coroutine inside which a suspended one waits, or NULL. */
lua_State *ab_coro_inner(lua_State *co);

/* Closes a suspended coroutine and those inside which it waits, innermost
 * first; their <close> variables run and cannot wait.  Never raises. */
void ab_coro_close(lua_State *from, lua_State *co);

#endif
