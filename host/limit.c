/* limit.c - see limit.h. */
#include "limit.h"
#include <stdint.h>
#include <stdlib.h>

#ifdef ASYNCBOX_PLAIN_MALLOC
/* Under a sanitizer every block is malloc's own, so that misuse shows. */
static void *plain_alloc(void *arg, void *block, size_t old_bytes,
                         size_t new_bytes)
{
    (void)arg;
    (void)old_bytes;
    if (new_bytes == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, new_bytes);
}
#endif

void ab_limits_init(ab_limits *limits, size_t cap_bytes,
                    asyncbox_alloc_fn alloc, void *alloc_arg)
{
    limits->used_bytes = limits->peak_bytes = 0;
    limits->cap_bytes = cap_bytes ? cap_bytes : SIZE_MAX;
    limits->hit = 0;
    limits->swept_bytes = 0;
    /* Slabs of other sizes may lie idle; they may take as much again. */
    ab_pool_init(&limits->pool, cap_bytes && cap_bytes < SIZE_MAX / 4
                                    ? 2 * cap_bytes + ((size_t)1 << 20)
                                    : SIZE_MAX);
    limits->alloc = alloc;
    limits->alloc_arg = alloc_arg;
    if (alloc)
        return;
#ifdef ASYNCBOX_PLAIN_MALLOC
    limits->alloc = plain_alloc;
#else
    limits->alloc = ab_pool_alloc;
    limits->alloc_arg = &limits->pool;
#endif
}

void ab_limits_deinit(ab_limits *limits) { ab_pool_deinit(&limits->pool); }

void *ab_limits_alloc(void *arg, void *block, size_t old_bytes,
                      size_t new_bytes)
{
    ab_limits *limits = arg;
    if (!block)
        old_bytes = 0; /* Lua passes the kind of object here */
    if (new_bytes > old_bytes &&
        new_bytes - old_bytes > limits->cap_bytes - limits->used_bytes) {
        limits->hit = 1;
        return NULL;
    }
    /* Nearly always the pool: called by its name, it is inlined. */
    void *result =
        limits->alloc == ab_pool_alloc
            ? ab_pool_alloc(&limits->pool, block, old_bytes, new_bytes)
            : limits->alloc(limits->alloc_arg, block, old_bytes, new_bytes);
    if (result || new_bytes == 0) {
        limits->used_bytes += new_bytes - old_bytes;
        if (limits->used_bytes > limits->peak_bytes)
            limits->peak_bytes = limits->used_bytes;
    }
    return result;
}

int ab_limits_charge(ab_limits *limits, size_t bytes)
{
    if (bytes > limits->cap_bytes - limits->used_bytes) {
        limits->hit = 1;
        return 0;
    }
    limits->used_bytes += bytes;
    if (limits->used_bytes > limits->peak_bytes)
        limits->peak_bytes = limits->used_bytes;
    return 1;
}

void ab_limits_discharge(ab_limits *limits, size_t bytes)
{
    limits->used_bytes -= bytes;
}
