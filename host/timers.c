/* timers.c - a 4-ary heap: half the levels of a binary one, and the four
 * children of an entry share a cache line. */
#include "timers.h"
#include <uv.h>

enum { KEPT = 4096 }; /* entries that an empty heap keeps room for */

static int before(const ab_timer_entry *a, const ab_timer_entry *b)
{
    if (a->at != b->at)
        return a->at < b->at;
    return (int32_t)(a->seq - b->seq) < 0; /* seq may wrap around */
}

void ab_timers_init(ab_timers *timers, ab_limits *limits)
{
    timers->heap = NULL;
    timers->count = timers->capacity = timers->stale = 0;
    timers->next_seq = 0;
    timers->limits = limits;
}

static void release(ab_timers *timers)
{
    if (timers->heap)
        ab_limits_alloc(timers->limits, timers->heap,
                        timers->capacity * sizeof *timers->heap, 0);
    timers->heap = NULL;
    timers->count = timers->capacity = 0;
}

void ab_timers_deinit(ab_timers *timers) { release(timers); }

int ab_timers_reserve(ab_timers *timers)
{
    if (timers->count < timers->capacity)
        return 0;
    size_t capacity = timers->capacity ? 2 * timers->capacity : 16;
    ab_timer_entry *heap = ab_limits_alloc(timers->limits, timers->heap,
                                           timers->capacity * sizeof *heap,
                                           capacity * sizeof *heap);
    if (!heap)
        return UV_ENOMEM;
    timers->heap = heap;
    timers->capacity = capacity;
    return 0;
}

static void sift_up(ab_timer_entry *heap, size_t i, ab_timer_entry entry)
{
    while (i > 0) {
        size_t parent = (i - 1) / 4;
        if (!before(&entry, &heap[parent]))
            break;
        heap[i] = heap[parent];
        i = parent;
    }
    heap[i] = entry;
}

static void sift_down(ab_timer_entry *heap, size_t count, size_t i,
                      ab_timer_entry entry)
{
    for (;;) {
        size_t child = 4 * i + 1, end = child + 4, least = child;
        if (child >= count)
            break;
        if (end > count)
            end = count;
        for (size_t c = child + 1; c < end; c++)
            if (before(&heap[c], &heap[least]))
                least = c;
        if (!before(&heap[least], &entry))
            break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = entry;
}

uint32_t ab_timers_add(ab_timers *timers, int64_t at, uint32_t who)
{
    ab_timer_entry entry = {at, who, timers->next_seq++};
    sift_up(timers->heap, timers->count++, entry);
    return entry.seq;
}

void ab_timers_forget(ab_timers *timers, ab_timers_alive_fn alive, void *arg)
{
    if (++timers->stale < 64 || timers->stale < timers->count / 2)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < timers->count; i++)
        if (alive(arg, &timers->heap[i]))
            timers->heap[kept++] = timers->heap[i];
    timers->count = kept;
    timers->stale = 0;
    for (size_t i = kept > 1 ? (kept - 2) / 4 + 1 : 0; i-- > 0;)
        sift_down(timers->heap, kept, i, timers->heap[i]);
}

const ab_timer_entry *ab_timers_first(const ab_timers *timers)
{
    return timers->count ? &timers->heap[0] : NULL;
}

void ab_timers_pop(ab_timers *timers)
{
    ab_timer_entry last = timers->heap[--timers->count];
    if (timers->count)
        sift_down(timers->heap, timers->count, 0, last);
    else if (timers->capacity > KEPT)
        release(timers); /* many slept: give the memory back */
}
