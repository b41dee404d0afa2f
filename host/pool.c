/* pool.c - see pool.h.  Regions of 2 MiB are cut into slabs of 32 KiB; the
 * slab of a block is found by masking its address. */
#include "pool.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_BYTES ((size_t)32 * 1024)
#define REGION_BYTES ((size_t)2 * 1024 * 1024)
#define SLABS_PER_REGION (REGION_BYTES / SLAB_BYTES)

typedef struct ab_slab {
    struct ab_slab *next, **back; /* in partial[] or empty */
    struct ab_region *region;
    void *free_list;   /* blocks that were freed */
    char *fresh;       /* blocks from here on were never used */
    uint32_t used;     /* blocks in use */
    uint32_t capacity; /* blocks in all */
    uint32_t block_bytes;
} ab_slab;

typedef struct ab_region {
    struct ab_region *next, **back;
    char *base;     /* aligned to REGION_BYTES */
    uint32_t cut;   /* slabs cut so far */
    uint32_t used;  /* slabs that hold blocks */
} ab_region;

#define SLAB_HEAD ((sizeof(ab_slab) + 15) & ~(size_t)15)

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

static void region_free(ab_region *region)
{
    munmap(region->base, REGION_BYTES);
    free(region);
}

void ab_pool_deinit(ab_pool *pool)
{
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

static ab_region *region_new(ab_pool *pool)
{
    ab_region *region = calloc(1, sizeof *region);
    if (!region)
        return NULL;
    region->base = map_aligned();
    if (!region->base) {
        free(region);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    /* The first region stays in small pages: most boxes never fill it. */
    if (pool->regions)
        madvise(region->base, REGION_BYTES, MADV_HUGEPAGE);
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
    slab = (ab_slab *)(void *)(region->base + region->cut++ * SLAB_BYTES);
    slab->region = region;
    return slab;
}

static ab_slab *slab_new(ab_pool *pool, size_t cls)
{
    if (pool->reserved_bytes + SLAB_BYTES > pool->reserve_cap)
        return NULL;
    ab_slab *slab = slab_raw(pool);
    if (!slab)
        return NULL;
    slab->block_bytes = (uint32_t)((cls + 1) * AB_POOL_STEP);
    slab->capacity = (uint32_t)((SLAB_BYTES - SLAB_HEAD) / slab->block_bytes);
    slab->used = 0;
    slab->free_list = NULL;
    slab->fresh = (char *)slab + SLAB_HEAD;
    slab->region->used++;
    pool->reserved_bytes += SLAB_BYTES;
    slab_link(&pool->partial[cls], slab);
    return slab;
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
    } else {
        block = slab->fresh;
        slab->fresh += slab->block_bytes;
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
    ab_region *region = slab->region;
    pool->reserved_bytes -= SLAB_BYTES;
    slab_link(&pool->empty, slab);
    if (--region->used || region == pool->regions)
        return;
    for (uint32_t i = 0; i < region->cut; i++)
        slab_unlink((ab_slab *)(void *)(region->base + i * SLAB_BYTES));
    *region->back = region->next;
    if (region->next)
        region->next->back = region->back;
    region_free(region);
}

static void small_free(ab_pool *pool, void *block)
{
    ab_slab *slab =
        (ab_slab *)((uintptr_t)block & ~(uintptr_t)(SLAB_BYTES - 1));
    size_t cls = slab->block_bytes / AB_POOL_STEP - 1;
    if (!slab_has_room(slab))
        slab_link(&pool->partial[cls], slab);
    memcpy(block, &slab->free_list, sizeof(void *));
    slab->free_list = block;
    /* One slab a size is kept, so that a size on the brink doesn't thrash. */
    if (--slab->used == 0 && (slab->next || slab->back != &pool->partial[cls])) {
        slab_unlink(slab);
        slab_retire(pool, slab);
    }
}

static void *large_resize(ab_pool *pool, void *block, size_t old_bytes,
                          size_t new_bytes)
{
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
    if (bytes <= AB_POOL_MAX)
        return small_new(pool, bytes);
    return large_resize(pool, NULL, 0, bytes);
}

static void block_free(ab_pool *pool, void *block, size_t bytes)
{
    if (bytes <= AB_POOL_MAX) {
        small_free(pool, block);
    } else {
        free(block);
        pool->reserved_bytes -= bytes;
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
