/* pool_spec.c - host/pool.c against a shadow: what is in a block stays in it,
 * blocks never overlap, what is freed can be had again, caps hold. */
#include "check.h"
#include "pool.h"
#include <stdint.h>
#include <unistd.h>

static uint64_t seed = 88172645463325252u;

static uint32_t any(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

/* ---- blocks and what they must hold ---- */

typedef struct shadow {
    unsigned char *block;
    size_t bytes;
    unsigned char fill;
} shadow;

static int filled(const shadow *s, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (s->block[i] != s->fill)
            return 0;
    return 1;
}

static void fill(shadow *s)
{
    s->fill = (unsigned char)any(256);
    memset(s->block, s->fill, s->bytes);
}

/* Mostly small, all sizes around the steps and the limit to large ones. */
static size_t any_size(void)
{
    switch (any(8)) {
    case 0:
        return AB_POOL_MAX - 4 + any(9);
    case 1:
        return 1 + any(60000);
    case 2:
        return AB_POOL_STEP * (1 + any(AB_POOL_CLASSES));
    default:
        return 1 + any(AB_POOL_MAX);
    }
}

/* One random move on one block; 0 when the pool refused. */
static int move(ab_pool *pool, shadow *s)
{
    if (!s->block) {
        size_t bytes = any_size();
        s->block = ab_pool_alloc(pool, NULL, any(9), bytes);
        if (!s->block)
            return 0;
        CHECK((uintptr_t)s->block % 8 == 0);
        s->bytes = bytes;
        fill(s);
        return 1;
    }
    CHECK(filled(s, s->bytes));
    if (any(2)) {
        ab_pool_alloc(pool, s->block, s->bytes, 0);
        s->block = NULL;
        return 1;
    }
    size_t bytes = any_size();
    unsigned char *moved = ab_pool_alloc(pool, s->block, s->bytes, bytes);
    if (!moved) {
        CHECK(filled(s, s->bytes)); /* as it was, and still to be freed so */
        return 0;
    }
    s->block = moved;
    CHECK(filled(s, bytes < s->bytes ? bytes : s->bytes));
    s->bytes = bytes;
    fill(s);
    return 1;
}

static void free_all(ab_pool *pool, shadow *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!s[i].block)
            continue;
        CHECK(filled(&s[i], s[i].bytes));
        ab_pool_alloc(pool, s[i].block, s[i].bytes, 0);
        s[i].block = NULL;
    }
}

/* ---- the specs ---- */

enum { BLOCKS = 3000 };

static void random_moves(size_t cap)
{
    static shadow s[BLOCKS];
    ab_pool pool;
    size_t refused = 0;
    ab_pool_init(&pool, cap);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 20000; i++) {
            refused += !move(&pool, &s[any(BLOCKS)]);
            if (pool.reserved_bytes > cap)
                CHECK(!"more than the cap");
        }
        if (round % 5 == 4)
            free_all(&pool, s, BLOCKS);
    }
    CHECK(cap == SIZE_MAX ? refused == 0 : refused > 0);
    free_all(&pool, s, BLOCKS);
    /* One slab a size may stay. */
    CHECK(pool.reserved_bytes <= AB_POOL_CLASSES * (size_t)64 * 1024);
    ab_pool_deinit(&pool);
    CHECK_EQUAL(pool.reserved_bytes, 0);
}

static size_t resident_bytes(void)
{
    long pages = 0, unused;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%ld %ld", &unused, &pages) != 2)
        pages = 0;
    fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* A peak of small blocks goes back to the kernel. */
static void returned(void)
{
    enum { N = 400000, BYTES = 208 };
    ab_pool pool;
    ab_pool_init(&pool, SIZE_MAX);
    void **blocks = malloc(N * sizeof *blocks);
    size_t before = resident_bytes();
    for (size_t i = 0; i < N; i++) {
        blocks[i] = ab_pool_alloc(&pool, NULL, 0, BYTES);
        CHECK(blocks[i] != NULL);
        memset(blocks[i], 1, BYTES);
    }
    size_t peak = resident_bytes();
    CHECK(pool.reserved_bytes >= (size_t)N * BYTES);
    CHECK(pool.reserved_bytes < (size_t)N * BYTES * 11 / 10);
    for (size_t i = 0; i < N; i++) /* in an order that mixes the slabs */
        ab_pool_alloc(&pool, blocks[i * 7919 % N], BYTES, 0);
    size_t after = resident_bytes();
    CHECK(before == 0 || after < before + (peak - before) / 4);
    /* Its slabs serve another size. */
    for (size_t i = 0; i < 1000; i++) {
        blocks[i] = ab_pool_alloc(&pool, NULL, 0, 720);
        memset(blocks[i], 2, 720);
    }
    for (size_t i = 0; i < 1000; i++)
        ab_pool_alloc(&pool, blocks[i], 720, 0);
    free(blocks);
    ab_pool_deinit(&pool);
}

static void caps(void)
{
    ab_pool pool;
    size_t cap = (size_t)1 << 20, n = 0;
    ab_pool_init(&pool, cap);
    while (ab_pool_alloc(&pool, NULL, 0, 64))
        n++;
    CHECK(n * 64 <= cap && n * 64 > cap * 8 / 10);
    CHECK(!ab_pool_alloc(&pool, NULL, 0, 2000));
    ab_pool_deinit(&pool);

    ab_pool_init(&pool, cap);
    CHECK(!ab_pool_alloc(&pool, NULL, 0, cap + 1));
    CHECK(!ab_pool_alloc(&pool, NULL, 0, SIZE_MAX));
    char *block = ab_pool_alloc(&pool, NULL, 0, cap / 2);
    CHECK(block != NULL);
    CHECK(!ab_pool_alloc(&pool, block, cap / 2, cap + 1));
    block = ab_pool_alloc(&pool, block, cap / 2, cap);
    CHECK(block != NULL);
    CHECK(!ab_pool_alloc(&pool, NULL, 0, 1));
    /* Shrinking never fails where the block need not move. */
    block = ab_pool_alloc(&pool, block, cap, cap / 2);
    CHECK(block != NULL);
    CHECK(ab_pool_alloc(&pool, NULL, 0, 1) != NULL);
    ab_pool_alloc(&pool, block, cap / 2, 0);
    ab_pool_deinit(&pool);
}

/* Blocks of the size of a stream's reads are used again, so many at most. */
static void kept(void)
{
    enum { N = 100, BYTES = 65561 };
    static void *blocks[N];
    ab_pool pool;
    ab_pool_init(&pool, SIZE_MAX);
    void *block = ab_pool_alloc(&pool, NULL, 0, BYTES);
    ab_pool_alloc(&pool, block, BYTES, 0);
    CHECK(pool.kept_bytes >= BYTES);
    CHECK(ab_pool_alloc(&pool, NULL, 0, BYTES + 100) == block);
    CHECK_EQUAL(pool.kept_bytes, 0);
    /* In its class a block stays where it is, and is freed as what it was. */
    CHECK(ab_pool_alloc(&pool, block, BYTES + 100, BYTES) == block);
    ab_pool_alloc(&pool, block, BYTES, 0);
    for (int i = 0; i < N; i++)
        blocks[i] = ab_pool_alloc(&pool, NULL, 0, BYTES);
    for (int i = 0; i < N; i++)
        ab_pool_alloc(&pool, blocks[i], BYTES, 0);
    CHECK(pool.kept_bytes <= AB_KEPT_BYTES);
    CHECK(pool.kept_bytes > AB_KEPT_BYTES / 2);
    CHECK_EQUAL(pool.reserved_bytes, pool.kept_bytes);
    ab_pool_deinit(&pool);
    /* Where there is little, they make room for others. */
    ab_pool_init(&pool, (size_t)1 << 20);
    block = ab_pool_alloc(&pool, NULL, 0, BYTES);
    ab_pool_alloc(&pool, block, BYTES, 0);
    CHECK(pool.kept_bytes > 0);
    block = ab_pool_alloc(&pool, NULL, 0, (size_t)1 << 20);
    CHECK(block != NULL);
    CHECK_EQUAL(pool.kept_bytes, 0);
    ab_pool_alloc(&pool, block, (size_t)1 << 20, 0);
    CHECK_EQUAL(pool.reserved_bytes, 0);
    ab_pool_deinit(&pool);
}

static void nothing(void)
{
    ab_pool pool;
    ab_pool_init(&pool, SIZE_MAX);
    CHECK(!ab_pool_alloc(&pool, NULL, 0, 0));
    CHECK(!ab_pool_alloc(&pool, NULL, 100, 0));
    ab_pool_deinit(&pool);
    ab_pool_deinit(&pool);
    ab_pool_init(&pool, 0);
    CHECK(!ab_pool_alloc(&pool, NULL, 0, 16));
    ab_pool_deinit(&pool);
}

int main(void)
{
    nothing();
    caps();
    kept();
    random_moves(SIZE_MAX);
    random_moves((size_t)3 << 20);
    returned();
    return check_done("pool_spec");
}
