/* transfer_head.c - status line and headers as they come in.
 *
 * Curl gives them line by line: those of "100 Continue" and the like, those of
 * redirects, those of the response, and after the body the trailers.  All of
 * them count against one bound, so that no server can go on for ever. */
#include "transfer_client.h"
#include <string.h>
#include <strings.h>

/* The 200 of "HTTP/1.1 200 OK"; 0 when it is not there. */
static int parse_status(const char *line, size_t n)
{
    const char *space = memchr(line, ' ', n);
    if (!space || line + n - space < 4)
        return 0;
    int status = 0;
    for (int i = 1; i <= 3; i++) {
        if (space[i] < '0' || space[i] > '9')
            return 0;
        status = status * 10 + (space[i] - '0');
    }
    return status;
}

static int is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 ||
           status == 308;
}

size_t ab_transfer_refuse(ab_transfer *t, int code, const char *limit)
{
    t->failure = code;
    t->limit = limit;
    t->refused = 1;
    return 0; /* never what curl expects: it ends the transfer */
}

int ab_transfer_head_ends(ab_transfer *t)
{
    if (ab_transfer_keep_url(t) < 0)
        return UV_ENOMEM;
    t->headed = 1;
    t->headed_ns = ab_loop_real_now();
    ab_transfer_tell(t);
    return 0;
}

/* 0, or a code: the empty line after the headers. */
static int end_of_lines(ab_transfer *t)
{
    t->head_whole = t->status >= 200;
    if (t->feed)
        ab_feed_answered(t);
    /* Curl may answer a challenge itself: such a head is the last one only when
     * its body begins. */
    if (t->status < 200 || t->redirect ||
        (t->status == 401 && ab_settings_is_digest(t)))
        return 0;
    return ab_transfer_head_ends(t);
}

static int keep_line(ab_transfer *t, const char *data, size_t n)
{
    if (!t->headers.data) {
        /* Room for common headers at once: they come line by line. */
        t->headers.data = ab_box_alloc(t->box, 512);
        if (!t->headers.data)
            return UV_ENOMEM;
        t->headers.capacity = 512;
    }
    return ab_bytes_add(t->box, &t->headers, data, n);
}

/* Two lengths that differ are an attempt to have the rest of a body taken for
 * the answer to another request (RFC 9110, 8.6); curl takes the last one. */
static int same_length(ab_transfer *t, const char *text, size_t n)
{
    int64_t length = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] >= '0' && text[i] <= '9' && length < INT64_MAX / 10 - 9)
            length = 10 * length + (text[i] - '0');
    int64_t before = t->length;
    t->length = length;
    return before < 0 || before == length;
}

static int is_named(const char *line, size_t n, const char *name, size_t bytes)
{
    return n > bytes && strncasecmp(line, name, bytes) == 0;
}
#define IS_NAMED(line, n, name) is_named(line, n, name, sizeof(name) - 1)

/* Does curl decode it, or would it, built with all that it can have? */
static int is_coding(const char *name, size_t n)
{
    static const char *const known[] = {"gzip", "x-gzip",   "deflate", "br",
                                        "zstd", "identity", "none",    NULL};
    for (int i = 0; known[i]; i++)
        if (strlen(known[i]) == n && strncasecmp(known[i], name, n) == 0)
            return 1;
    return 0;
}

static void decode(ab_transfer *t, int on)
{
    t->easy->bent = 1;
    t->undecoded = !on;
    t->client->curl->easy_setopt(t->easy->curl, CURLOPT_HTTP_CONTENT_DECODING,
                                 (long)on);
}

/* Servers put other things there, "UTF-8" for one. Curl would have such a
 * response fail; it is given as it is, as browsers do. */
static void see_coding(ab_transfer *t, const char *value, size_t n)
{
    static const char between[] = ", \t\r\n";
    for (size_t at = 0; at < n;) {
        size_t from = at;
        while (at < n && !strchr(between, value[at]))
            at++;
        if (at > from && !is_coding(value + from, at - from))
            decode(t, 0);
        at++;
    }
}

/* What a line means.  0: it is an attack. */
static int look_at(ab_transfer *t, const char *line, size_t n)
{
    if (n < 5)
        return 1;
    switch (*line | 32) { /* most lines mean nothing: this is asked of each */
    case 'h':
        if (n > 5 && memcmp(line, "HTTP/", 5) == 0) {
            t->headers.length = 0; /* before it: 100 Continue and the like */
            t->status = parse_status(line, n);
            t->redirect = t->head_whole = 0;
            t->length = -1;
            if (t->undecoded)
                decode(t, 1);
        }
        return 1;
    case 'l':
        if (t->bounds.redirects >= 0 && is_redirect(t->status) &&
            IS_NAMED(line, n, "location:"))
            t->redirect = 1;
        return 1;
    case 's':
        if (line[3] == '-' && t->client->share &&
            IS_NAMED(line, n, "set-cookie:"))
            t->client->cookies_seen++;
        return 1;
    case 'c':
        if (n < 9 || line[7] != '-')
            return 1;
        if (IS_NAMED(line, n, "content-encoding:"))
            see_coding(t, line + 17, n - 17);
        return !IS_NAMED(line, n, "content-length:") ||
               same_length(t, line + 15, n - 15);
    }
    return 1;
}

size_t ab_transfer_on_header(char *data, size_t one, size_t n, void *arg)
{
    (void)one;
    ab_transfer *t = ((ab_easy *)arg)->transfer;
    if (n > AB_TRANSFER_HEADER_MAX - t->header_bytes ||
        ++t->header_count > AB_TRANSFER_HEADER_COUNT)
        return ab_transfer_refuse(t, ASYNCBOX_ELIMIT, "max_headers");
    t->header_bytes += n;
    t->active_ms = uv_now(&t->box->loop.uv);
    if (t->in_body || t->headed)
        return n; /* trailers */
    if (!look_at(t, data, n))
        return ab_transfer_refuse(t, ASYNCBOX_EHTTP, "lengths");
    int err = keep_line(t, data, n);
    if (!err && (*data == '\r' || *data == '\n'))
        err = end_of_lines(t);
    return err ? ab_transfer_refuse(t, err, NULL) : n;
}

/* ---- responses on the way ---- */

int ab_transfer_keep_hop(ab_transfer *t)
{
    const char *url = ab_transfer_url(t);
    size_t url_bytes = strlen(url), header_bytes = t->headers.length;
    ab_hop *hop = ab_box_alloc(t->box, sizeof *hop + url_bytes + header_bytes);
    if (!hop)
        return UV_ENOMEM;
    *hop = (ab_hop){NULL, t->status, url_bytes, header_bytes};
    memcpy(hop->text, url, url_bytes);
    if (header_bytes)
        memcpy(hop->text + url_bytes, t->headers.data, header_bytes);
    if (t->last_hop)
        t->last_hop->next = hop;
    else
        t->hops = hop;
    t->last_hop = hop;
    return 0;
}

void ab_transfer_free_hops(ab_transfer *t)
{
    for (ab_hop *hop = t->hops, *next; hop; hop = next) {
        next = hop->next;
        ab_box_free(t->box, hop,
                    sizeof *hop + hop->url_bytes + hop->header_bytes);
    }
    t->hops = t->last_hop = NULL;
}
