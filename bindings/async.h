/* async.h - what the files of the asyncbox module share: coroutine objects,
 * and things that can be awaited. */
#ifndef AB_ASYNC_H
#define AB_ASYNC_H

#include "binding.h"

/* ---- coroutine objects: async_coro.c ---- */

/* `async(fn [, name])`: pushes an async function. */
int ab_async_make(lua_State *L);
/* Is the value at idx an async function? */
int ab_async_is(lua_State *L, int idx);
/* Pushes the name of the async function at idx, or nil. */
void ab_async_name(lua_State *L, int idx);
/* The value at idx is a coroutine object. */
int ab_coroobj_test(lua_State *L, int idx);
/* Marks the coroutine object at idx as used and pushes its async function, its
 * plain one and its arguments; gives the number of arguments.  Raises when it
 * was used before; `what` is who wants it. */
int ab_coroobj_take(lua_State *L, int idx, const char *what);

/* ---- awaiting: async_await.c ---- */

/* await(x): see docs/lua/asyncbox.md. */
int ab_await(lua_State *L);
/* Makes (x, ...) from idx on a call that waits for x: a function stays, else
 * the function `await` is put before it. */
void ab_await_prepare(lua_State *L, int idx);
/* Spawns what is at idx (a function with the nargs arguments above it, or a
 * coroutine object) and replaces it all by the Task. */
ab_task *ab_spawn_any(lua_State *L, int idx, ab_scope *home, const char *what);
/* Registry: the function of async.lua that hands task-local values down. */
extern const char ab_inherit_key;
/* join(list, n, mode, shielded), start(what, ...), results(list, n, errors) */
int ab_join(lua_State *L);
int ab_start(lua_State *L);
int ab_results(lua_State *L);
enum { AB_JOIN_ALL, AB_JOIN_ERROR, AB_JOIN_FIRST };

/* ---- Task and Future: async_task.c ---- */
void ab_task_classes(lua_State *L); /* pushes the table of methods */

/* ---- scopes: async_scope.c ---- */
int ab_timeout(lua_State *L);
int ab_shield(lua_State *L);
int ab_group(lua_State *L);
int ab_run_scope(lua_State *L);

/* ---- async_queue.c, async_lock.c ---- */
int ab_queue_new(lua_State *L);    /* (max) */
int ab_lock_new(lua_State *L);     /* () */
int ab_semaphore_new(lua_State *L);/* (n) */
int ab_event_new(lua_State *L);    /* () */

#endif
