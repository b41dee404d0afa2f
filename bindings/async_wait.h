/* async_wait.h - waiting in a list for a partner: the wait of queues, locks
 * and events, which hand over directly to the first in the list. */
#ifndef AB_ASYNC_WAIT_H
#define AB_ASYNC_WAIT_H

#include "async.h"

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
