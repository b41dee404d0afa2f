/* pool.c - see pool.h.  Regions of 2 MiB are cut into slabs of 64 KiB; what is
 * known of a slab stands at the region's beginning, which is found by masking
 * a block's address.  So 91 stacks of coroutines (720 bytes) fill a slab to 16
 * bytes. */
#include "pool.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define SLAB_BYTES ((size_t)64 * 1024)
#define REGION_BYTES ((size_t)2 * 1024 * 1024)
#define SLABS_PER_REGION (REGION_BYTES / SLAB_BYTES)

typedef struct ab_slab {
    struct ab_slab *next, **back; /* in partial[] or empty */
    void *free_list;              /* blocks that were freed */
    char *fresh;                  /* blocks from here on were never used */
    char *touched;                /* memory from here on was never used */
    uint32_t used;                /* blocks in use */
    uint32_t capacity;            /* blocks in all */
    uint32_t block_bytes;
} ab_slab;

typedef struct ab_region {
    struct ab_region *next, **back;
    uint32_t cut;  /* slabs cut so far */
    uint32_t used; /* slabs that hold blocks */
    ab_slab slabs[SLABS_PER_REGION];
} ab_region;

static ab_region *region_of(const void *block)
{
    return (ab_region *)((uintptr_t)block & ~(uintptr_t)(REGION_BYTES - 1));
}

/* The first slab of a region begins after the region's own data. */
static char *slab_start(const ab_slab *slab)
{
    ab_region *region = region_of(slab);
    size_t i = (size_t)(slab - region->slabs);
    return (char *)region +
           (i ? i * SLAB_BYTES : (sizeof *region + 63) & ~(size_t)63);
}

static char *slab_end(const ab_slab *slab)
{
    ab_region *region = region_of(slab);
    return (char *)region + ((size_t)(slab - region->slabs) + 1) * SLAB_BYTES;
}

static size_t class_of(size_t bytes)
{
    return (bytes + AB_POOL_STEP - 1) / AB_POOL_STEP - 1;
}

static void slab_link(ab_slab **list, ab_slab *slab)
{
    slab->next = *list;
    slab->back = list;
    if (*list)
        (*list)->back = &slab->next;
    *list = slab;
}

static void slab_unlink(ab_slab *slab)
{
    *slab->back = slab->next;
    if (slab->next)
        slab->next->back = slab->back;
    slab->back = NULL;
}

static int slab_has_room(const ab_slab *slab)
{
    return slab->used < slab->capacity;
}

void ab_pool_init(ab_pool *pool, size_t reserve_cap)
{
    memset(pool, 0, sizeof *pool);
    pool->reserve_cap = reserve_cap;
}

static void region_free(ab_region *region) { munmap(region, REGION_BYTES); }

static void drop_kept(ab_pool *pool)
{
    for (size_t i = 0; i < AB_KEEP_CLASSES; i++) {
        for (void *next, *block = pool->kept[i]; block; block = next) {
            memcpy(&next, block, sizeof next);
            free(block);
        }
        pool->kept[i] = NULL;
    }
    pool->reserved_bytes -= pool->kept_bytes;
    pool->kept_bytes = 0;
}

void ab_pool_deinit(ab_pool *pool)
{
    drop_kept(pool);
    for (ab_region *r = pool->regions, *next; r; r = next) {
        next = r->next;
        region_free(r);
    }
    memset(pool, 0, sizeof *pool);
}

/* Maps an aligned region: too much, then trims both ends. */
static char *map_aligned(void)
{
    size_t span = 2 * REGION_BYTES;
    char *p = mmap(NULL, span, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t skip = (REGION_BYTES - (uintptr_t)p % REGION_BYTES) % REGION_BYTES;
    if (skip)
        munmap(p, skip);
    if (span - skip > REGION_BYTES)
        munmap(p + skip + REGION_BYTES, span - skip - REGION_BYTES);
    return p + skip;
}

#ifdef MADV_HUGEPAGE
enum { SLOW_NS = 1000000 };

/* A first touch of a huge page costs a sixth of those of 512 small ones, but
 * where a host has taken free memory back from this machine it costs several
 * times as much.  So the touch is timed: 1 when it was slow. */
static int touch_huge(ab_region *region)
{
    struct timespec a, b;
    if (madvise(region, REGION_BYTES, MADV_HUGEPAGE))
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &a);
    *(volatile char *)region = 0;
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec > SLOW_NS;
}
#endif

static ab_region *region_new(ab_pool *pool)
{
    ab_region *region = (ab_region *)(void *)map_aligned();
    if (!region)
        return NULL;
#ifdef MADV_HUGEPAGE
    /* Small boxes stay in small pages: they touch few of every slab's. */
    if (pool->reserved_bytes > REGION_BYTES && !pool->slow_pages)
        pool->slow_pages = touch_huge(region);
#endif
    region->next = pool->regions;
    region->back = &pool->regions;
    if (region->next)
        region->next->back = &region->next;
    pool->regions = region;
    return region;
}

static ab_slab *slab_raw(ab_pool *pool)
{
    ab_slab *slab = pool->empty;
    if (slab) {
        slab_unlink(slab);
        return slab;
    }
    ab_region *region = pool->regions;
    if (!region || region->cut == SLABS_PER_REGION)
        region = region_new(pool);
    if (!region)
        return NULL;
    slab = &region->slabs[region->cut++];
    slab->touched = slab_start(slab);
    return slab;
}

static ab_slab *slab_new(ab_pool *pool, size_t cls)
{
    ab_slab *slab = slab_raw(pool);
    if (!slab)
        return NULL;
    slab->block_bytes = (uint32_t)((cls + 1) * AB_POOL_STEP);
    slab->fresh = slab_start(slab);
    slab->capacity =
        (uint32_t)((size_t)(slab_end(slab) - slab->fresh) / slab->block_bytes);
    slab->used = 0;
    slab->free_list = NULL;
    region_of(slab)->used++;
    slab_link(&pool->partial[cls], slab);
    return slab;
}

/* Takes a block that was never used, if the memory may be touched. */
static void *fresh_block(ab_pool *pool, ab_slab *slab)
{
    char *block = slab->fresh, *end = block + slab->block_bytes;
    if (end > slab->touched) {
        size_t more = (size_t)(end - slab->touched);
        if (more > pool->reserve_cap - pool->reserved_bytes)
            return NULL;
        pool->reserved_bytes += more;
        slab->touched = end;
    }
    slab->fresh = end;
    return block;
}

static void *small_new(ab_pool *pool, size_t bytes)
{
    size_t cls = class_of(bytes);
    ab_slab *slab = pool->partial[cls];
    if (!slab && !(slab = slab_new(pool, cls)))
        return NULL;
    void *block = slab->free_list;
    if (block) {
        memcpy(&slab->free_list, block, sizeof(void *));
    } else if (!(block = fresh_block(pool, slab))) {
        return NULL;
    }
    slab->used++;
    if (!slab_has_room(slab))
        slab_unlink(slab);
    return block;
}

/* The last block of a slab is gone: any size may have the slab now.  A region
 * without blocks goes back to the kernel, unless it is the one being cut. */
static void slab_retire(ab_pool *pool, ab_slab *slab)
{
    ab_region *region = region_of(slab);
    slab_link(&pool->empty, slab);
    if (--region->used || region == pool->regions)
        return;
    for (uint32_t i = 0; i < region->cut; i++) {
        ab_slab *each = &region->slabs[i];
        slab_unlink(each);
        pool->reserved_bytes -= (size_t)(each->touched - slab_start(each));
    }
    *region->back = region->next;
    if (region->next)
        region->next->back = region->back;
    region_free(region);
}

static void small_free(ab_pool *pool, void *block)
{
    ab_region *region = region_of(block);
    ab_slab *slab =
        &region->slabs[(size_t)((char *)block - (char *)region) / SLAB_BYTES];
    size_t cls = slab->block_bytes / AB_POOL_STEP - 1;
    if (!slab_has_room(slab))
        slab_link(&pool->partial[cls], slab);
    memcpy(block, &slab->free_list, sizeof(void *));
    slab->free_list = block;
    /* One slab a size is kept, so that a size on the brink doesn't thrash. */
    if (--slab->used == 0 &&
        (slab->next || slab->back != &pool->partial[cls])) {
        slab_unlink(slab);
        slab_retire(pool, slab);
    }
}

/* ---- large blocks ---- */

static int is_kept_size(size_t bytes)
{
    return bytes > AB_KEEP_MIN && bytes <= AB_KEEP_MAX;
}

/* How large the block of malloc's for so many bytes is. */
static size_t large_bytes(size_t bytes)
{
    if (!is_kept_size(bytes))
        return bytes;
    return (bytes + AB_KEEP_STEP - 1) / AB_KEEP_STEP * AB_KEEP_STEP;
}

static void large_free(ab_pool *pool, void *block, size_t bytes)
{
    size_t real = large_bytes(bytes), most = pool->reserve_cap / 8;
    if (most > AB_KEPT_BYTES)
        most = AB_KEPT_BYTES;
    if (!is_kept_size(bytes) || pool->closing ||
        pool->kept_bytes + real > most) {
        free(block);
        pool->reserved_bytes -= real;
        return;
    }
    void **list = &pool->kept[real / AB_KEEP_STEP - 1];
    memcpy(block, list, sizeof *list);
    *list = block;
    pool->kept_bytes += real;
}

static void *large_kept(ab_pool *pool, size_t bytes)
{
    size_t real = large_bytes(bytes);
    void **list = &pool->kept[real / AB_KEEP_STEP - 1], *block = *list;
    if (!block)
        return NULL;
    memcpy(list, block, sizeof *list);
    pool->kept_bytes -= real;
    return block;
}

static void *large_resize(ab_pool *pool, void *block, size_t old_bytes,
                          size_t new_bytes)
{
    void *kept =
        !block && is_kept_size(new_bytes) ? large_kept(pool, new_bytes) : NULL;
    if (kept)
        return kept;
    old_bytes = large_bytes(old_bytes);
    new_bytes = large_bytes(new_bytes);
    if (new_bytes == old_bytes)
        return block;
    if (new_bytes > old_bytes &&
        new_bytes - old_bytes > pool->reserve_cap - pool->reserved_bytes)
        drop_kept(pool);
    if (new_bytes > old_bytes &&
        new_bytes - old_bytes > pool->reserve_cap - pool->reserved_bytes)
        return NULL;
    void *moved = realloc(block, new_bytes);
    if (moved)
        pool->reserved_bytes += new_bytes - old_bytes;
    return moved;
}

static void *block_new(ab_pool *pool, size_t bytes)
{
    pool->closing = 0;
    if (bytes <= AB_POOL_MAX)
        return small_new(pool, bytes);
    return large_resize(pool, NULL, 0, bytes);
}

static void block_free(ab_pool *pool, void *block, size_t bytes)
{
    if (bytes <= AB_POOL_MAX) {
        if (!pool->closing)
            small_free(pool, block);
    } else {
        large_free(pool, block, bytes);
    }
}

void *ab_pool_alloc(void *arg, void *block, size_t old_bytes, size_t new_bytes)
{
    ab_pool *pool = arg;
    if (!block)
        return new_bytes ? block_new(pool, new_bytes) : NULL;
    if (new_bytes == 0) {
        block_free(pool, block, old_bytes);
        return NULL;
    }
    if (old_bytes > AB_POOL_MAX && new_bytes > AB_POOL_MAX)
        return large_resize(pool, block, old_bytes, new_bytes);
    if (old_bytes <= AB_POOL_MAX && new_bytes <= AB_POOL_MAX &&
        class_of(old_bytes) == class_of(new_bytes))
        return block;
    void *moved = block_new(pool, new_bytes);
    if (!moved)
        /* Lua holds that shrinking never fails: leave the block as it is,
         * but only where it can still be freed by its new size. */
        return NULL;
    memcpy(moved, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    block_free(pool, block, old_bytes);
    return moved;
}
