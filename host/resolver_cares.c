/* resolver_cares.c - see resolver_cares.h; owns the process's one libcares. */
#include "resolver_cares.h"
#include "library.h"
#include <pthread.h>

static ab_cares table;
static int usable;
static ab_library library = {.soname = ASYNCBOX_CARES_SONAME};
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Its allocator is left alone (ares_library_init_mem): it is one for the whole
 * process, in which the host may use libcares too. */
static void open_library(void)
{
    if (!ab_library_open(&library))
        return;
#define AB_CARES_FIND(name, result, arguments)                                 \
    if (!ab_library_find(&library, "ares_" #name, &table.name))                \
        return;
    AB_CARES_FUNCTIONS(AB_CARES_FIND)
#undef AB_CARES_FIND
    usable = table.library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS;
}

const ab_cares *ab_cares_open(void)
{
    pthread_once(&once, open_library);
    return usable ? &table : NULL;
}
