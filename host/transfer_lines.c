/* transfer_lines.c - header lines for curl, and URLs taken apart. */
#include "transfer_client.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- header lines ---- */

/* Curl asks for "Expect: 100-continue" before large bodies and would wait a
 * second for servers that don't know it; it calls every body a form. */
static const char no_expect[] = "Expect:";
static const char no_type[] = "Content-Type:";

static int is_named(const char *line, const char *name)
{
    size_t n = strlen(name);
    return strncasecmp(line, name, n) == 0 &&
           (line[n] == ':' || line[n] == ';');
}

static int is_left_out(const char *line, int flags)
{
    if ((flags & AB_LINES_NO_CREDENTIALS) &&
        (is_named(line, "Authorization") || is_named(line, "Cookie") ||
         is_named(line, "Proxy-Authorization") || is_named(line, "Host")))
        return 1;
    return (flags & AB_LINES_NO_CONTENT) &&
           (strncasecmp(line, "Content-", 8) == 0 ||
            is_named(line, "Transfer-Encoding") || is_named(line, "Expect"));
}

static const char *next_line(const char *line)
{
    return line + strlen(line) + 1;
}

typedef struct maker {
    struct curl_slist *node, **link; /* the next node, where it is put */
    char *out;                       /* where the next text is put */
} maker;

static void add_line(maker *m, const char *line)
{
    size_t n = strlen(line) + 1;
    memcpy(m->out, line, n);
    m->node->data = m->out;
    *m->link = m->node;
    m->link = &m->node->next;
    m->node++;
    m->out += n;
}

ab_lines *ab_lines_new(ab_box *box, const char *text, size_t bytes, int flags)
{
    const char *end = text ? text + bytes : NULL;
    size_t count = 2; /* the two that may be added */
    for (const char *line = text; line != end; line = next_line(line))
        count++;
    size_t text_at = sizeof(ab_lines) + count * sizeof(struct curl_slist);
    size_t room = text_at + bytes + sizeof no_expect + sizeof no_type;
    ab_lines *lines = ab_box_alloc(box, room);
    if (!lines)
        return NULL;
    lines->bytes = room;
    lines->text = (char *)lines + text_at;
    maker m = {(void *)(lines + 1), &lines->list, (char *)lines + text_at};
    int add_expect = flags & AB_LINES_BODY, add_type = add_expect;
    for (const char *line = text; line != end; line = next_line(line)) {
        if (is_left_out(line, flags))
            continue;
        if (is_named(line, "Expect"))
            add_expect = 0;
        if (is_named(line, "Content-Type"))
            add_type = 0;
        add_line(&m, line);
    }
    if (add_expect)
        add_line(&m, no_expect);
    if (add_type)
        add_line(&m, no_type);
    *m.link = NULL;
    lines->text_bytes = (size_t)(m.out - lines->text);
    return lines;
}

void ab_lines_free(ab_box *box, ab_lines *lines)
{
    if (lines)
        ab_box_free(box, lines, lines->bytes);
}

int ab_client_headers(ab_client *client, const char *text, size_t bytes)
{
    ab_lines *lines = ab_lines_new(client->box, text, bytes, 0);
    if (!lines)
        return UV_ENOMEM;
    ab_lines_free(client->box, client->lines);
    client->lines = lines;
    return 0;
}

/* ---- URLs ---- */

/* Without brackets and without the root's dot: as grants are written. */
static int copy_host(const char *from, char *host)
{
    size_t n = strlen(from);
    if (n > 1 && from[0] == '[' && from[n - 1] == ']') {
        from++;
        n -= 2;
    } else if (n > 1 && from[n - 1] == '.') {
        n--;
    }
    if (n == 0 || n >= AB_TRANSFER_HOST_MAX)
        return ASYNCBOX_EURL;
    memcpy(host, from, n);
    host[n] = '\0';
    return 0;
}

int ab_transfer_parse(const char *url, char *host, int *port, int *is_tls)
{
    const ab_curl *curl = ab_curl_open();
    if (!curl)
        return UV_ENOTSUP;
    CURLU *parts = curl->url();
    if (!parts)
        return UV_ENOMEM;
    char *scheme = NULL, *name = NULL, *number = NULL;
    int err = ASYNCBOX_EURL;
    if (curl->url_set(parts, CURLUPART_URL, url, 0) ||
        curl->url_get(parts, CURLUPART_SCHEME, &scheme, 0) ||
        curl->url_get(parts, CURLUPART_HOST, &name, 0) ||
        curl->url_get(parts, CURLUPART_PORT, &number, CURLU_DEFAULT_PORT))
        goto done;
    *is_tls = strcmp(scheme, "https") == 0;
    if (!*is_tls && strcmp(scheme, "http") != 0)
        goto done;
    *port = atoi(number);
    err = copy_host(name, host);
done:
    curl->free(scheme);
    curl->free(name);
    curl->free(number);
    curl->url_cleanup(parts);
    return err;
}
