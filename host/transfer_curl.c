/* transfer_curl.c - see transfer_curl.h; owns the process's one libcurl. */
#include "transfer_curl.h"
#include "transfer.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Loading libcurl and its 35 libraries costs 4-6 ms and 6 MB, which scripts
 * that fetch nothing must not pay.  It stays open for good: its threads for
 * name look-ups may outlive any box. */
static ab_curl table;
static int usable;
static char trouble[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int find(void *library, const char *name, void *slot)
{
    void *symbol = dlsym(library, name);
    if (!symbol) {
        snprintf(trouble, sizeof trouble, "%s has no %s", ASYNCBOX_CURL_SONAME,
                 name);
        return 0;
    }
    /* ISO C knows no cast from void * to a function. */
    memcpy(slot, &symbol, sizeof symbol);
    return 1;
}

static void open_library(void)
{
    void *library = dlopen(ASYNCBOX_CURL_SONAME, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        snprintf(trouble, sizeof trouble, "%s",
                 why ? why : "cannot open " ASYNCBOX_CURL_SONAME);
        return;
    }
#define AB_CURL_FIND(name, result, arguments)                                  \
    if (!find(library, "curl_" #name, &table.name))                            \
        return;
    AB_CURL_FUNCTIONS(AB_CURL_FIND)
#undef AB_CURL_FIND
    CURLcode code = table.global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK) {
        snprintf(trouble, sizeof trouble, "libcurl does not start: %s",
                 table.easy_strerror(code));
        return;
    }
    usable = 1;
}

const ab_curl *ab_curl_open(void)
{
    pthread_once(&once, open_library);
    return usable ? &table : NULL;
}

const char *ab_client_trouble(void) { return trouble; }
