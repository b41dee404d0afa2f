/* limit.h - the counting allocator and the memory cap.
 *
 * Everything a box allocates, Lua's objects and the waits' buffers alike, goes
 * through ab_limits_alloc, so one number says what the box uses. */
#ifndef AB_LIMITS_H
#define AB_LIMITS_H

#include "asyncbox.h"
#include "pool.h"

typedef struct ab_limits {
    size_t used_bytes;
    size_t peak_bytes;
    size_t cap_bytes;   /* SIZE_MAX: none */
    int hit;            /* the cap refused an allocation */
    size_t swept_bytes; /* used when ab_box_make_room collected, or less */
    asyncbox_alloc_fn alloc;
    void *alloc_arg;
    ab_pool pool; /* behind `alloc` unless the host gave its own */
} ab_limits;

/* alloc NULL: the pool. cap_bytes 0: no cap. */
void ab_limits_init(ab_limits *limits, size_t cap_bytes,
                    asyncbox_alloc_fn alloc, void *alloc_arg);
void ab_limits_deinit(ab_limits *limits);

/* As lua_Alloc; `limits` is the first argument. */
void *ab_limits_alloc(void *limits, void *block, size_t old_bytes,
                      size_t new_bytes);

/* Counts memory that a library allocates for the box by itself.  0: that would
 * be more than the cap, nothing was counted.  What was counted is discounted
 * again. */
int ab_limits_charge(ab_limits *limits, size_t bytes);
void ab_limits_discharge(ab_limits *limits, size_t bytes);

#endif
