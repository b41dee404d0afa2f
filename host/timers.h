/* timers.h - one heap of deadlines, by time and then by order.
 *
 * Entries are 16 bytes and name who waits by number, not by pointer: moving
 * them touches nothing but the heap, and an entry whose wait is over is found
 * stale when it comes up (or swept out when most are).  Times are nanoseconds
 * of the box's clock. */
#ifndef AB_TIMERS_H
#define AB_TIMERS_H

#include "limit.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ab_timer_entry {
    int64_t at;
    uint32_t who; /* what ab_timers_add was given */
    uint32_t seq; /* orders equal times, and tells re-used numbers apart */
} ab_timer_entry;

typedef struct ab_timers {
    ab_timer_entry *heap;
    size_t count, capacity;
    size_t stale; /* entries whose wait is over */
    uint32_t next_seq;
    ab_limits *limits; /* whose memory this is */
} ab_timers;

void ab_timers_init(ab_timers *timers, ab_limits *limits);
void ab_timers_deinit(ab_timers *timers);

/* Makes room for one more, so that the next add cannot fail.  0, UV_ENOMEM. */
int ab_timers_reserve(ab_timers *timers);

/* Adds a deadline (after a successful reserve) and gives its seq. */
uint32_t ab_timers_add(ab_timers *timers, int64_t at, uint32_t who);

/* Notes that an entry's wait is over before its time; `alive` tells whether
 * an entry is still waited for and is used for sweeping. */
typedef int (*ab_timers_alive_fn)(void *arg, const ab_timer_entry *entry);
void ab_timers_forget(ab_timers *timers, ab_timers_alive_fn alive, void *arg);

/* The earliest entry, or NULL; ab_timers_pop takes it out. */
const ab_timer_entry *ab_timers_first(const ab_timers *timers);
void ab_timers_pop(ab_timers *timers);

#endif
