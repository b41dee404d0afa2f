/* transfer_curl.c - see transfer_curl.h; owns the process's one libcurl. */
#include "transfer_curl.h"
#include "library.h"
#include "transfer.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Loading libcurl and its 35 libraries costs 4-6 ms and 6 MB, which scripts
 * that fetch nothing must not pay.  It stays open for good: its threads for
 * name look-ups may outlive any box. */
static ab_curl table;
static int usable;
static ab_library library = {.soname = ASYNCBOX_CURL_SONAME};
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* By number: the headers that we are compiled with may be older. */
static const struct {
    int feature;
    const char *name;
} codings[] = {{1 << 3, "gzip, deflate"}, {1 << 23, "br"}, {1 << 26, "zstd"}};

static const char *list_encodings(void)
{
    static char line[64];
    static const char name[] = "Accept-Encoding";
    int known = table.version_info(CURLVERSION_FIRST)->features;
    const char *joint = ": ";
    strcpy(line, name);
    for (size_t i = 0; i < sizeof codings / sizeof *codings; i++)
        if (known & codings[i].feature) {
            strcat(strcat(line, joint), codings[i].name);
            joint = ", ";
        }
    return line[sizeof name - 1] ? line : NULL;
}

static void open_library(void)
{
    if (!ab_library_open(&library))
        return;
#define AB_CURL_FIND(name, result, arguments)                                  \
    if (!ab_library_find(&library, "curl_" #name, &table.name))                \
        return;
    AB_CURL_FUNCTIONS(AB_CURL_FIND)
#undef AB_CURL_FIND
    CURLcode code = table.global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK) {
        snprintf(library.trouble, sizeof library.trouble,
                 "libcurl does not start: %s", table.easy_strerror(code));
        return;
    }
    table.encodings = list_encodings();
    usable = 1;
}

const ab_curl *ab_curl_open(void)
{
    pthread_once(&once, open_library);
    return usable ? &table : NULL;
}

const char *ab_client_trouble(void) { return library.trouble; }
