/* tls_openssl.c - see tls_openssl.h; owns the process's one OpenSSL.  When
 * libcurl has brought the same library along, dlopen gives that one. */
#include "tls_openssl.h"
#include "library.h"
#include <pthread.h>
#include <stdio.h>

/* Loading it costs 3 ms, which scripts without TLS must not pay.  It stays open
 * for good: it registers functions for the end of threads and the process. */
static ab_openssl table;
static int usable;
static ab_library library = {.soname = ASYNCBOX_OPENSSL_SONAME};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_library(void)
{
    if (!ab_library_open(&library))
        return;
        /* libssl depends on libcrypto: the names of both are found. */
#define AB_OPENSSL_FIND(name, result, arguments)                               \
    if (!ab_library_find(&library, #name, &table.name))                        \
        return;
    AB_OPENSSL_FUNCTIONS(AB_OPENSSL_FIND)
#undef AB_OPENSSL_FIND
    if (table.OPENSSL_init_ssl(0, NULL) != 1) {
        snprintf(library.trouble, sizeof library.trouble, "%s does not start",
                 library.soname);
        return;
    }
    usable = 1;
}

const ab_openssl *ab_openssl_open(void)
{
    pthread_once(&once, open_library);
    return usable ? &table : NULL;
}

const char *ab_openssl_trouble(void) { return library.trouble; }
