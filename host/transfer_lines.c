/* transfer_lines.c - header lines for curl. */
#include "transfer_client.h"
#include <string.h>
#include <strings.h>

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

/* What is added to the lines of a text, as far as it has none of that name.  As
 * options of curl's, the first two would cost twice as much: it formats those,
 * character by character, once alone and once more with the whole. */
typedef struct extra {
    int flag;
    const char *name, *line;
} extra;

enum { EXTRAS = 4 };

static void list_extras(const ab_client *client, extra *extras)
{
    extras[0] = (extra){AB_LINES_AGENT, "User-Agent", client->agent};
    extras[1] =
        (extra){AB_LINES_ENCODINGS, "Accept-Encoding", client->curl->encodings};
    extras[2] = (extra){AB_LINES_BODY, "Expect", no_expect};
    extras[3] = (extra){AB_LINES_BODY, "Content-Type", no_type};
}

ab_lines *ab_lines_new(const ab_client *client, const char *text, size_t bytes,
                       int flags)
{
    extra extras[EXTRAS];
    const char *end = text ? text + bytes : NULL;
    size_t count = EXTRAS, extra_bytes = 0;
    list_extras(client, extras);
    for (int i = 0; i < EXTRAS; i++)
        extra_bytes += extras[i].line ? strlen(extras[i].line) + 1 : 0;
    for (const char *line = text; line != end; line = next_line(line))
        count++;
    size_t text_at = sizeof(ab_lines) + count * sizeof(struct curl_slist);
    size_t room = text_at + bytes + extra_bytes;
    ab_lines *lines = ab_box_alloc(client->box, room);
    if (!lines)
        return NULL;
    lines->bytes = room;
    lines->flags = flags;
    lines->text = (char *)lines + text_at;
    maker m = {(void *)(lines + 1), &lines->list, (char *)lines + text_at};
    for (const char *line = text; line != end; line = next_line(line)) {
        if (is_left_out(line, flags))
            continue;
        for (int i = 0; i < EXTRAS; i++)
            if (is_named(line, extras[i].name))
                extras[i].line = NULL;
        add_line(&m, line);
    }
    for (int i = 0; i < EXTRAS; i++)
        if (extras[i].line && (flags & extras[i].flag))
            add_line(&m, extras[i].line);
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
    return bytes ? ab_bytes_add(client->box, &client->headers, text, bytes) : 0;
}

const ab_lines *ab_client_lines(ab_client *client)
{
    int flags = AB_LINES_AGENT;
    if (client->lines)
        return client->lines;
    if (ab_settings_decompress(NULL, client->settings))
        flags |= AB_LINES_ENCODINGS;
    client->lines = ab_lines_new(client, client->headers.data,
                                 client->headers.length, flags);
    return client->lines;
}
