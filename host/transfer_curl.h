/* transfer_curl.h - libcurl as one table of functions, opened on first use. */
#ifndef AB_TRANSFER_CURL_H
#define AB_TRANSFER_CURL_H

#include <curl/curl.h>

/* name, result, arguments */
#define AB_CURL_FUNCTIONS(X)                                                   \
    X(global_init, CURLcode, (long flags))                                     \
    X(easy_init, CURL *, (void))                                               \
    X(easy_setopt, CURLcode, (CURL * easy, CURLoption option, ...))            \
    X(easy_getinfo, CURLcode, (CURL * easy, CURLINFO info, ...))               \
    X(easy_reset, void, (CURL * easy))                                         \
    X(easy_pause, CURLcode, (CURL * easy, int mask))                           \
    X(easy_cleanup, void, (CURL * easy))                                       \
    X(easy_strerror, const char *, (CURLcode code))                            \
    X(multi_init, CURLM *, (void))                                             \
    X(multi_setopt, CURLMcode, (CURLM * multi, CURLMoption option, ...))       \
    X(multi_add_handle, CURLMcode, (CURLM * multi, CURL * easy))               \
    X(multi_remove_handle, CURLMcode, (CURLM * multi, CURL * easy))            \
    X(multi_socket_action, CURLMcode,                                          \
      (CURLM * multi, curl_socket_t fd, int events, int *running))             \
    X(multi_info_read, CURLMsg *, (CURLM * multi, int *left))                  \
    X(multi_cleanup, CURLMcode, (CURLM * multi))                               \
    X(version_info, curl_version_info_data *, (CURLversion age))               \
    X(share_init, CURLSH *, (void))                                            \
    X(share_setopt, CURLSHcode, (CURLSH * share, CURLSHoption option, ...))    \
    X(share_cleanup, CURLSHcode, (CURLSH * share))                             \
    X(slist_free_all, void, (struct curl_slist * list))                        \
    X(url, CURLU *, (void))                                                    \
    X(url_cleanup, void, (CURLU * url))                                        \
    X(url_get, CURLUcode,                                                      \
      (const CURLU *url, CURLUPart part, char **out, unsigned flags))          \
    X(url_set, CURLUcode,                                                      \
      (CURLU * url, CURLUPart part, const char *text, unsigned flags))         \
    X(free, void, (void *block))

typedef struct ab_curl {
#define AB_CURL_FIELD(name, result, arguments) result(*name) arguments;
    AB_CURL_FUNCTIONS(AB_CURL_FIELD)
#undef AB_CURL_FIELD
    const char *encodings; /* a header line, "Accept-Encoding: ...": what it can
                              decompress; NULL: nothing */
} ab_curl;

/* The table, or NULL when libcurl cannot be opened.  Any thread. */
const ab_curl *ab_curl_open(void);

#endif
