/* resolver_cares.c - see resolver_cares.h; owns the process's one libcares. */
#include "resolver_cares.h"
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static ab_cares table;
static int usable;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int find(void *library, const char *name, void *slot)
{
    void *symbol = dlsym(library, name);
    /* ISO C knows no cast from void * to a function. */
    memcpy(slot, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* Its allocator is left alone (ares_library_init_mem): it is one for the whole
 * process, in which the host may use libcares too. */
static void open_library(void)
{
    void *library = dlopen(ASYNCBOX_CARES_SONAME, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
#define AB_CARES_FIND(name, result, arguments)                                 \
    if (!find(library, "ares_" #name, &table.name))                            \
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
