/* pool.h - the memory of a box: slabs of equal blocks, in large pages.
 *
 * A box with many tasks makes many objects of few sizes (a coroutine is one of
 * 208 bytes, one of 720 and some of 64).  Slabs have no header per block, are
 * given back for other sizes when they are empty, and are cut from regions
 * that the kernel may back with huge pages, which is what makes first touches
 * of memory cheap.  Blocks above AB_POOL_MAX go to malloc; of those about as
 * large as what streams read at once (AB_KEEP_MIN to AB_KEEP_MAX) some are kept
 * when they are freed, since malloc gives such a block back to the kernel, and
 * each first touch of a page costs as much as filling it. */
#ifndef AB_POOL_H
#define AB_POOL_H

#include <stddef.h>

#define AB_POOL_MAX 1024
#define AB_POOL_STEP 8
#define AB_POOL_CLASSES (AB_POOL_MAX / AB_POOL_STEP)

#define AB_KEEP_MIN ((size_t)16 << 10)
#define AB_KEEP_MAX ((size_t)80 << 10)
#define AB_KEEP_STEP ((size_t)16 << 10)
#define AB_KEEP_CLASSES (AB_KEEP_MAX / AB_KEEP_STEP)
#define AB_KEPT_BYTES ((size_t)2 << 20) /* at most, in all */

struct ab_slab;
struct ab_region;

typedef struct ab_pool {
    struct ab_slab *partial[AB_POOL_CLASSES]; /* slabs with a free block */
    struct ab_slab *empty;                    /* slabs of no size at all */
    struct ab_region *regions;
    int slow_pages; /* huge pages have turned out slow here: no more of them */
    int closing; /* all blocks go at once soon: small ones are not freed, until
                    one is asked for again (by a finalizer) */
    void *kept[AB_KEEP_CLASSES]; /* freed blocks by size, linked */
    size_t kept_bytes;
    size_t reserved_bytes; /* memory ever touched, and large blocks */
    size_t reserve_cap;    /* reserved_bytes may not pass it */
} ab_pool;

void ab_pool_init(ab_pool *pool, size_t reserve_cap);
void ab_pool_deinit(ab_pool *pool); /* frees every block at once */

/* asyncbox_alloc_fn; the pool is `arg`. */
void *ab_pool_alloc(void *arg, void *block, size_t old_bytes, size_t new_bytes);

#endif
