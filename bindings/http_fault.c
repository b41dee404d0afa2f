/* http_fault.c - what a failed transfer raises. */
#include "http.h"
#include <stdio.h>
#include <string.h>

static const char *describe_limit(const ab_transfer *t, char *buf, size_t bytes)
{
    if (strcmp(t->limit, "redirects") == 0)
        return "too many redirects";
    if (strcmp(t->limit, "max_headers") == 0)
        snprintf(buf, bytes, "headers of more than %d bytes or %d lines",
                 AB_TRANSFER_HEADER_MAX, AB_TRANSFER_HEADER_COUNT);
    else if (t->redirect)
        snprintf(buf, bytes, "redirect with a body of more than %d bytes",
                 AB_TRANSFER_SKIP);
    else
        snprintf(buf, bytes, "body of more than %zu bytes",
                 t->bounds.max_body < t->bounds.max_whole
                     ? t->bounds.max_body
                     : t->bounds.max_whole);
    return buf;
}

/* libcurl counts in whole milliseconds. */
enum { EARLY_NS = 2000000 };

/* Which of its times was over. */
static const char *timed_out(const ab_transfer *t)
{
    if (t->limit)
        return t->limit; /* "stall" */
    int64_t spent_ns = t->failed_ns - t->started_ns, total = t->bounds.total_ns;
    return t->bounds.connect_ns < total && spent_ns < total - EARLY_NS
               ? "connect"
               : "total";
}

static void describe_timeout(const ab_transfer *t, char *buf, size_t bytes)
{
    const char *which = timed_out(t);
    if (*which == 's')
        snprintf(buf, bytes, "nothing came for %.3g s",
                 (double)t->bounds.stall_ns / 1e9);
    else if (*which == 'c')
        snprintf(buf, bytes, "no connection within %.3g s",
                 (double)t->bounds.connect_ns / 1e9);
    else
        snprintf(buf, bytes, "timed out after %.3g s",
                 (double)(t->failed_ns - t->started_ns) / 1e9);
}

/* What a code means, and over which proxy or socket: "text (proxy a:80)". */
static const char *add_way(const ab_transfer *t, const char *text, char *buf,
                           size_t bytes)
{
    char way[AB_TRANSFER_HOST_MAX + 16];
    if (!ab_transfer_way(t, way, sizeof way))
        return text;
    snprintf(buf, bytes, "%s (%s)", text, way);
    return buf;
}

static const char *describe(const ab_transfer *t, int code, char *buf,
                            size_t bytes)
{
    const char *words = ab_transfer_trouble(t);
    switch (code) {
    case UV_EAI_NONAME:
    case UV_EAI_NODATA:
    case UV_EAI_AGAIN:
    case UV_EAI_FAIL:
        return add_way(t, ab_lookup_explain(code), buf, bytes);
    case UV_ETIMEDOUT:
        describe_timeout(t, buf, bytes);
        return buf;
    case UV_EOF:
        if (!t->status)
            return "the server closed the connection without an answer";
        snprintf(buf, bytes, "the answer is cut off%s%s",
                 *words && t->headed ? ": " : "", t->headed ? words : "");
        return buf;
    case ASYNCBOX_EURL:
        return t->redirect ? "redirect to what is no http or https URL" : NULL;
    case ASYNCBOX_ELIMIT:
        return describe_limit(t, buf, bytes);
    case ASYNCBOX_ECLOSED:
        return t->limit ? "closed, as a wait for its body was cancelled"
                        : "the session was closed";
    case ASYNCBOX_EHTTP:
        if (t->limit)
            return "two lengths that differ";
        return *words ? words : NULL;
    case ASYNCBOX_ETLS:
        return *words ? words : NULL;
    default:
        return code > ASYNCBOX_EDENIED
                   ? add_way(t, asyncbox_err_text(code), buf, bytes)
                   : NULL;
    }
}

int ab_http_raise(lua_State *L, const ab_transfer *t, const char *op, int code)
{
    char buf[400];
    int port;
    const char *denied = ab_transfer_denied(t, &port);
    if (code == ASYNCBOX_EDENIED && *denied)
        ab_grants_check_host(L, op, denied, port); /* knows the words */
    const char *url = ab_transfer_url(t);
    ab_error_push(L, code,
                  &(ab_detail){op, describe(t, code, buf, sizeof buf),
                               *url ? "url" : NULL, url});
    if (code == UV_ETIMEDOUT || (t->limit && code == ASYNCBOX_ELIMIT)) {
        lua_pushstring(L, code == UV_ETIMEDOUT ? timed_out(t) : t->limit);
        lua_setfield(L, -2, "limit");
    }
    return lua_error(L);
}
