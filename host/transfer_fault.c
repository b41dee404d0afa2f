/* transfer_fault.c - what went wrong: curl's codes as ours. */
#include "transfer_client.h"
#include <stdlib.h>
#include <string.h>

static int is_tls_failure(CURLcode code)
{
    switch ((int)code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_USE_SSL_FAILED:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
        return 1;
    }
    return 0;
}

/* Whether there ever was a connection to somebody. */
static int has_connected(const ab_transfer *t)
{
    curl_off_t us = 0;
    t->client->curl->easy_getinfo(t->easy->curl, CURLINFO_PRETRANSFER_TIME_T,
                                  &us);
    return us > 0;
}

/* The system's code, or EHTTP when it had no part in it.  What curl calls the
 * OS's errno may be that of an address it tried before; below TLS it is only
 * in the words. */
static int system_code(const ab_transfer *t, CURLcode code)
{
    const char *words = t->easy->error;
    const char *number = strstr(words, "errno ");
    long os_errno = 0;
    if (number)
        os_errno = strtol(number + 6, NULL, 10);
    else if (code == CURLE_COULDNT_CONNECT || strstr(words, " failure: "))
        t->client->curl->easy_getinfo(t->easy->curl, CURLINFO_OS_ERRNO,
                                      &os_errno);
    return os_errno > 0 ? uv_translate_sys_error((int)os_errno)
                        : ASYNCBOX_EHTTP;
}

int ab_transfer_translate(const ab_transfer *t, CURLcode code)
{
    switch ((int)code) {
    case CURLE_OPERATION_TIMEDOUT:
        return UV_ETIMEDOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return UV_EAI_NONAME;
    case CURLE_URL_MALFORMAT:
        return ASYNCBOX_EURL;
    case CURLE_UNSUPPORTED_PROTOCOL: /* also what answers without a head */
        return has_connected(t) ? ASYNCBOX_EHTTP : ASYNCBOX_EURL;
    case CURLE_OUT_OF_MEMORY: /* also a line of 100 KB, or a body that grew
                                 beyond 64 MiB while it was paused */
        return has_connected(t) ? ASYNCBOX_ELIMIT : UV_ENOMEM;
    case CURLE_WRITE_ERROR: /* not ours: those that refuse have a failure */
        strcpy(t->easy->error, "the compressed body goes on after its end");
        return ASYNCBOX_EHTTP;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
        return UV_EOF;
    case CURLE_SEND_FAIL_REWIND: /* a connection that was kept is lost, and for
                                    another one the body is sent already */
        return strstr(t->easy->error, " failure: ")
                   ? system_code(t, CURLE_RECV_ERROR)
                   : UV_EOF;
    case CURLE_COULDNT_CONNECT:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return system_code(t, code);
    }
    return is_tls_failure(code) ? ASYNCBOX_ETLS : ASYNCBOX_EHTTP;
}

const char *ab_transfer_url(const ab_transfer *t)
{
    if (t->url.data)
        return t->url.data;
    return t->easy ? ab_easy_url(t->easy) : "";
}

const char *ab_transfer_trouble(const ab_transfer *t)
{
    return t->easy ? t->easy->error : "";
}

const char *ab_transfer_denied(const ab_transfer *t, int *port)
{
    *port = t->easy ? t->easy->denied_port : 0;
    return t->easy ? t->easy->denied : "";
}
