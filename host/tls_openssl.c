/* tls_openssl.c - see tls_openssl.h; owns the process's one OpenSSL.  When
 * libcurl has brought the same library along, dlopen gives that one. */
#include "tls_openssl.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Loading it costs 3 ms, which scripts without TLS must not pay.  It stays open
 * for good: it registers functions for the end of threads and the process. */
static ab_openssl table;
static int usable;
static char trouble[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int find(void *library, const char *name, void *slot)
{
    /* libssl depends on libcrypto, so its handle finds the names of both. */
    void *symbol = dlsym(library, name);
    if (!symbol) {
        snprintf(trouble, sizeof trouble, "%s has no %s",
                 ASYNCBOX_OPENSSL_SONAME, name);
        return 0;
    }
    /* ISO C knows no cast from void * to a function. */
    memcpy(slot, &symbol, sizeof symbol);
    return 1;
}

static void open_library(void)
{
    void *library = dlopen(ASYNCBOX_OPENSSL_SONAME, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        snprintf(trouble, sizeof trouble, "%s",
                 why ? why : "cannot open " ASYNCBOX_OPENSSL_SONAME);
        return;
    }
#define AB_OPENSSL_FIND(name, result, arguments)                               \
    if (!find(library, #name, &table.name))                                    \
        return;
    AB_OPENSSL_FUNCTIONS(AB_OPENSSL_FIND)
#undef AB_OPENSSL_FIND
    if (table.OPENSSL_init_ssl(0, NULL) != 1) {
        snprintf(trouble, sizeof trouble, "%s does not start",
                 ASYNCBOX_OPENSSL_SONAME);
        return;
    }
    usable = 1;
}

const ab_openssl *ab_openssl_open(void)
{
    pthread_once(&once, open_library);
    return usable ? &table : NULL;
}

const char *ab_openssl_trouble(void) { return trouble; }
