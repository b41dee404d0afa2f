/* loop.h - a box's loop: libuv, the one clock, the heap of deadlines. */
#ifndef AB_LOOP_H
#define AB_LOOP_H

#include "timers.h"
#include <stdint.h>
#include <uv.h>

typedef struct ab_loop {
    uv_loop_t uv;
    uv_timer_t timer; /* armed for the next deadline while polling blocks */
    uv_async_t wake;  /* asyncbox_interrupt from other threads */
    ab_timers timers;
    int open;           /* uv, timer and wake are initialised */
    int is_virtual;     /* the clock jumps instead of running */
    int64_t virtual_ns; /* the virtual clock */
    int64_t polled_ns;  /* when the kernel was last asked, real time */
} ab_loop;

int ab_loop_init(ab_loop *loop, int is_virtual);
/* Turns until every handle is closed, then frees.  All sources must have been
 * asked to stop. */
void ab_loop_deinit(ab_loop *loop);

/* The clock: nanoseconds, monotonic, only differences mean anything. */
int64_t ab_loop_now(const ab_loop *loop);
/* The same, but never virtual. */
int64_t ab_loop_real_now(void);
/* Blocks the whole thread, or moves the virtual clock on. */
void ab_loop_block(ab_loop *loop, int64_t ns);

/* Asks the kernel without waiting. */
void ab_loop_poll(ab_loop *loop);
/* Waits for the kernel, until the next deadline at most (-1: no deadline).
 * A virtual clock jumps there at once unless `external` waits are pending. */
void ab_loop_wait(ab_loop *loop, int64_t deadline_ns, int external);

#endif
