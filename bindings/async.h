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
/* Says that it will be taken: nobody else may, and it is not twice in a list.
 */
void ab_coroobj_claim(lua_State *L, int idx, const char *what);

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
int ab_queue_new(lua_State *L);     /* (max) */
int ab_lock_new(lua_State *L);      /* () */
int ab_semaphore_new(lua_State *L); /* (n) */
int ab_event_new(lua_State *L);     /* () */

/* ---- waiting in a list for a partner: async_wait.c ----
 * The wait of queues, locks and events, which hand over directly to the first
 * in the list. */
typedef struct ab_waiter {
    ab_op op;
    ab_link link;  /* in the list of what is waited for */
    lua_State *co; /* the coroutine that waits: a value can be put on its stack,
                      or (putters) taken from it */
} ab_waiter;

/* How a wait ends: the status for ab_waiter_wake; negative: that error. */
enum {
    AB_WAITER_NOTHING, /* no results */
    AB_WAITER_SELF,    /* argument 1 of the function that waits */
    AB_WAITER_VALUE,   /* what ab_waiter_give has put on its stack */
    AB_WAITER_NIL
};

/* Types, one a name (for errors and deadlock reports), share these hooks. */
int ab_waiter_push(lua_State *L, ab_op *op);
void ab_waiter_cancel(ab_op *op);
#define AB_WAITER_TYPE(text)                                                   \
    {                                                                          \
        .name = (text), .size = sizeof(ab_waiter), .push = ab_waiter_push,     \
        .cancel = ab_waiter_cancel                                             \
    }

/* Waits at the end of the list; return it.  The object that holds the list is
 * argument 1, so it lives as long as anybody waits. */
int ab_waiter_park(lua_State *L, const ab_op_type *type, ab_link *list);

/* Ends the wait of a waiter. */
void ab_waiter_wake(ab_waiter *waiter, int status);

/* The first that waits, or NULL. */
static inline ab_waiter *ab_waiter_first(const ab_link *list)
{
    ab_link *link = ab_list_first(list);
    return link ? ab_container(link, ab_waiter, link) : NULL;
}

#endif
