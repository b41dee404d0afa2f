/* html_gumbo.c - parses with libgumbo; see html.h and html_gumbo.h. */
#include "html_gumbo.h"
#include "html.h"
#include <pthread.h>
#include <string.h>

/* ---- the library ---- */

static ab_gumbo gumbo;
static int usable;
static ab_library library = {.soname = ASYNCBOX_GUMBO_SONAME};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_library(void)
{
    if (!ab_library_open(&library))
        return;
#define AB_GUMBO_FIND(name, result, arguments)                                 \
    if (!ab_library_find(&library, "gumbo_" #name, &gumbo.name))               \
        return;
    AB_GUMBO_FUNCTIONS(AB_GUMBO_FIND)
#undef AB_GUMBO_FIND
    usable = 1;
}

int ab_html_gumbo_open(void)
{
    pthread_once(&once, open_library);
    return usable ? 0 : UV_ENOTSUP;
}

/* ---- the arena ---- */

enum { ALIGN = 16, LARGE = 4096, CALLS_PER_LOOK = 64 };

/* In pages that are nested deep gumbo takes long between one element and the
 * next, but it always comes here for each. */
static void look(ab_html_arena *arena)
{
    if (atomic_load_explicit(arena->stop, memory_order_relaxed))
        longjmp(arena->out, UV_ECANCELED);
    if (uv_hrtime() > arena->deadline_ns)
        longjmp(arena->out, UV_ETIMEDOUT);
}

void *ab_html_arena_take(ab_html_arena *arena, size_t bytes)
{
    if (++arena->calls % CALLS_PER_LOOK == 0 || bytes >= LARGE)
        look(arena);
    size_t left = (size_t)(arena->low - arena->start);
    if (bytes > left - left % ALIGN)
        longjmp(arena->out, UV_ENOBUFS);
    arena->low -= (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return arena->low;
}

static void *on_take(void *arena, size_t bytes)
{
    return ab_html_arena_take(arena, bytes);
}

static void on_free(void *arena, void *block)
{
    (void)arena;
    (void)block;
}

int ab_html_gumbo_parse(ab_html_job *job)
{
    ab_html_arena arena = {.start = job->block,
                           .low = job->block + job->block_bytes / ALIGN * ALIGN,
                           .deadline_ns = job->deadline_ns,
                           .stop = &job->stop};
    int code = setjmp(arena.out);
    if (code)
        return code;
    GumboOptions options = {.allocator = on_take,
                            .deallocator = on_free,
                            .userdata = &arena,
                            .tab_stop = 8,
                            .max_errors = 0,
                            .fragment_context = GUMBO_TAG_LAST,
                            .fragment_namespace = GUMBO_NAMESPACE_HTML};
    ab_html_gumbo_copy(
        &gumbo, &arena,
        gumbo.parse_with_options(&options, job->text, job->bytes),
        job->max_nodes);
    return 0;
}
