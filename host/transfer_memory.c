/* transfer_memory.c - libcurl's memory: what it gives back is kept for what it
 * asks for next.
 *
 * A fetch takes some forty small blocks and gives them back.  libc keeps seven
 * of a size at hand for a thread; with dozens of fetches under way most calls
 * miss those, and its long way round is a tenth of a fetch's CPU.  Here a
 * thread that fetches has lists of free blocks, by size.  They are malloc's own
 * blocks, with nothing of ours in front: whoever shares this libcurl with us
 * may give one to free(), and one of malloc's may be given to us. */
#include "transfer_curl.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

/* Under a sanitizer every block is malloc's, so that misuse shows. */
#if defined(__GLIBC__) && !defined(IS_SANITIZED)

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The sizes that glibc's blocks have: 24, 40, 56 ... 2,056 bytes. */
enum { FIRST = 24, STEP = 16, CLASSES = 128 };
enum { KEPT_MAX = 1024 * 1024 }; /* bytes, for each thread */

/* What a free block begins with. */
typedef struct block {
    uintptr_t next; /* see mix */
    struct store *store;
} block;

typedef struct store {
    size_t bytes;
    unsigned users;
    block *free[CLASSES];
} store;

static __thread store *mine; /* NULL: this thread keeps nothing */
static pthread_key_t key;    /* the same, for the end of the thread */
static int has_key;

/* The class whose blocks hold n bytes. */
static size_t class_for(size_t n)
{
    return n <= FIRST ? 0 : (n - FIRST + STEP - 1) / STEP;
}

static size_t size_of(size_t class) { return FIRST + STEP * class; }

/* Against what makes a hole of an overflow or of a block given twice, the same
 * is done as in glibc (its malloc.c: "safe-linking", and the key in tcache's
 * blocks): a link is mixed with the address where it lies, and a block that
 * seems to be in the store is looked for there. */
static uintptr_t mix(const block *at, uintptr_t link)
{
    return ((uintptr_t)at >> 12) ^ link;
}

static block *next_of(const block *b)
{
    uintptr_t next = mix(b, b->next);
    if (next % STEP)
        abort();
    return (block *)next;
}

static block *pop(store *s, size_t class)
{
    block *b = s->free[class];
    if (!b)
        return NULL;
    s->free[class] = next_of(b);
    s->bytes -= size_of(class);
    b->store = NULL;
    return b;
}

static void push(store *s, size_t class, block *b)
{
    b->next = mix(b, (uintptr_t)s->free[class]);
    b->store = s;
    s->free[class] = b;
    s->bytes += size_of(class);
}

static int is_there(const store *s, size_t class, const block *wanted)
{
    const block *b = s->free[class];
    while (b && b != wanted)
        b = next_of(b);
    return b != NULL;
}

static void *take(size_t n)
{
    size_t class = class_for(n);
    void *p = mine && class < CLASSES ? pop(mine, class) : NULL;
    return p ? p : malloc(n);
}

static void give_block(block *b)
{
    store *s = mine;
    size_t n = malloc_usable_size(b), class = (n - FIRST) / STEP;
    if (!s || n < FIRST || class >= CLASSES || s->bytes + n > KEPT_MAX) {
        free(b);
        return;
    }
    if (b->store == s && is_there(s, class, b))
        abort();
    push(s, class, b);
}

static void give(void *p)
{
    if (p) /* more often not */
        give_block(p);
}

static void *change(void *p, size_t n)
{
    if (!p)
        return take(n);
    size_t had = malloc_usable_size(p);
    if (n <= had && n >= had / 2)
        return p;
    if (class_for(had) >= CLASSES || class_for(n) >= CLASSES)
        return realloc(p, n);
    void *other = take(n);
    if (!other)
        return NULL;
    memcpy(other, p, n < had ? n : had);
    give(p);
    return other;
}

static void *take_zeroed(size_t count, size_t each)
{
    if (each && count > SIZE_MAX / each)
        return NULL;
    void *p = take(count * each);
    return p ? memset(p, 0, count * each) : NULL;
}

static char *take_copy(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = take(n);
    return copy ? memcpy(copy, text, n) : NULL;
}

static void empty(store *s)
{
    void *p;
    for (size_t class = 0; class < CLASSES; class ++)
        while ((p = pop(s, class)))
            free(p);
}

static void on_thread_end(void *arg)
{
    mine = NULL;
    empty(arg);
    free(arg);
}

void ab_curl_enter(void)
{
    if (!mine && has_key) {
        mine = calloc(1, sizeof *mine);
        pthread_setspecific(key, mine);
    }
    if (mine)
        mine->users++;
}

void ab_curl_leave(void)
{
    if (mine && mine->users > 0 && --mine->users == 0)
        empty(mine);
}

/* Whoever unloads us must leave libcurl's memory functions where they are. */
static void stay(void)
{
    Dl_info us;
    if (dladdr((void *)(uintptr_t)take, &us) && us.dli_fname)
        dlopen(us.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

static void make_key(void)
{
    has_key = pthread_key_create(&key, on_thread_end) == 0;
    stay();
}

const ab_curl_memory *ab_curl_find_memory(void)
{
    static const ab_curl_memory ours = {take, give, change, take_copy,
                                        take_zeroed};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_key);
    return has_key ? &ours : NULL;
}

#else

void ab_curl_enter(void) {}
void ab_curl_leave(void) {}
const ab_curl_memory *ab_curl_find_memory(void) { return NULL; }

#endif
