/* transfer_name.c - looks up the host of a transfer before curl needs it.
 *
 * Curl's own look-ups are threads that nobody can stop and that know nothing of
 * the box's servers.  So the box's resolver does it, and curl is told the
 * addresses with CURLOPT_RESOLVE, which it keeps as long as its own: 60 s.  Who
 * asks for a name again before that is not kept waiting. */
#include "transfer_client.h"
#include <stdio.h>
#include <string.h>

/* Less than curl's 60 s, or it would look up by itself in between; then it
 * does, and nothing is wrong. */
#define FRESH_NS ((int64_t)50 * 1000000000)

struct ab_naming {
    uv_timer_t timer;
    ab_box *box; /* this block is the box's until the timer is closed */
    ab_transfer *transfer;
    ab_lookup *lookup;
    uint64_t key;
    int port;
    char host[AB_TRANSFER_HOST_MAX];
};

/* "+host:port:address,address" as curl wants it, in one block. */
struct ab_naming_list {
    struct curl_slist node;
    size_t bytes; /* of the whole */
    char text[];
};

/* ---- which names curl knows ---- */

/* FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/), over the servers that
 * were asked too.  Of two names with one number, the second is curl's. */
static uint64_t key_of(const ab_client *client, const char *host, int port)
{
    uint64_t hash = 14695981039346656037u;
    for (const char *at = host; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    hash = (hash ^ (unsigned)port) * 1099511628211u;
    return (hash ^ ab_resolver_serial(client->box)) * 1099511628211u;
}

static int is_known(const ab_client *client, uint64_t key)
{
    const ab_known_name *known = &client->known[key % AB_KNOWN_NAMES];
    return known->key == key && known->until_ns > ab_loop_real_now();
}

/* Cheap, for the many that are an address: those need nobody. */
static int may_be_name(const char *url)
{
    const char *host = strstr(url, "://");
    if (!host)
        return 0;
    host += 3;
    host += strspn(host, "0123456789.");
    return *host && !strchr("[:/?#", *host);
}

/* ---- the look-up ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    ab_naming *n = ab_container(handle, ab_naming, timer);
    ab_box_free(n->box, n, sizeof *n);
}

void ab_naming_end(ab_transfer *t)
{
    ab_naming *n = t->naming;
    if (!n)
        return;
    t->naming = NULL;
    if (n->lookup)
        ab_lookup_cancel(n->lookup);
    uv_close((uv_handle_t *)&n->timer, on_timer_closed);
}

void ab_naming_free(ab_transfer *t)
{
    if (t->names)
        ab_box_free(t->box, t->names, t->names->bytes);
    t->names = NULL;
}

static void on_time(uv_timer_t *timer)
{
    ab_transfer_abort(ab_container(timer, ab_naming, timer)->transfer,
                      UV_ETIMEDOUT, NULL);
    uv_stop(timer->loop);
}

/* Tells curl: 0, UV_ENOMEM. */
static int feed(ab_transfer *t, const ab_naming *n, const ab_answer *answer)
{
    size_t room =
        strlen(n->host) + 16 + (size_t)answer->count * (AB_ADDR_TEXT + 3);
    size_t bytes = sizeof *t->names + room, at;
    struct ab_naming_list *list = ab_box_alloc(t->box, bytes);
    if (!list)
        return UV_ENOMEM;
    memset(list, 0, sizeof *list);
    list->bytes = bytes;
    list->node.data = list->text;
    at = (size_t)snprintf(list->text, room, "+%s:%d:", n->host, n->port);
    for (int i = 0; i < answer->count; i++) {
        char text[AB_ADDR_TEXT];
        int is_v6 = answer->addresses[i].any.sa_family == AF_INET6;
        ab_sockaddr_text(&answer->addresses[i], text);
        at += (size_t)snprintf(list->text + at, room - at, "%s%s%s%s",
                               i ? "," : "", is_v6 ? "[" : "", text,
                               is_v6 ? "]" : "");
    }
    t->easy->bent = 1;
    if (t->client->curl->easy_setopt(t->easy->curl, CURLOPT_RESOLVE,
                                     &list->node)) {
        ab_box_free(t->box, list, bytes);
        return UV_ENOMEM;
    }
    ab_naming_free(t); /* of the redirect before this one */
    t->names = list;
    ab_known_name *known = &t->client->known[n->key % AB_KNOWN_NAMES];
    known->key = n->key;
    known->until_ns = ab_loop_real_now() + FRESH_NS;
    return 0;
}

static void on_found(void *data, int status, const ab_answer *answer)
{
    ab_naming *n = data;
    ab_transfer *t = n->transfer;
    n->lookup = NULL;
    if (status == 0)
        status = feed(t, n, answer);
    else if (status == UV_ECONNREFUSED) /* the servers did, not the host */
        status = UV_EAI_AGAIN;
    ab_naming_end(t);
    if (status == 0)
        status = ab_transfer_launch(t);
    if (status < 0)
        ab_transfer_abort(t, status, NULL);
}

static uint64_t bound_ms(const ab_transfer *t)
{
    int64_t ns = t->bounds.total_ns;
    if (ns != INT64_MAX)
        ns -= ab_loop_real_now() - t->started_ns;
    if (ns > t->bounds.connect_ns)
        ns = t->bounds.connect_ns;
    return ns > 0 ? (uint64_t)(ns / 1000000) + 1 : 1;
}

/* The dot at the end of a name says that it is whole, and curl keeps what it is
 * told about both spellings apart. */
static void keep_dot(const char *url, char *host)
{
    size_t len = strlen(host);
    const char *at = strstr(url, "://") + 3;
    if (strlen(at) > len && at[len] == '.' && len + 1 < AB_TRANSFER_HOST_MAX)
        strcpy(host + len, ".");
}

int ab_naming_start(ab_transfer *t, const char *url)
{
    int is_tls;
    if (!may_be_name(url) || *t->easy->proxy || ab_settings_leads(t))
        return 0;
    ab_naming *n = ab_box_alloc(t->box, sizeof *n);
    if (!n)
        return UV_ENOMEM;
    memset(n, 0, sizeof *n);
    n->box = t->box;
    n->transfer = t;
    ab_sockaddr plain[2];
    int err = ab_transfer_parse(url, n->host, &n->port, &is_tls);
    if (err || ab_lookup_literal(n->host, AF_UNSPEC, plain) > 0)
        goto none; /* curl knows what to do */
    keep_dot(url, n->host);
    n->key = key_of(t->client, n->host, n->port);
    if (is_known(t->client, n->key))
        goto none;
    err = ab_lookup_start(t->box, n->host, AF_UNSPEC, on_found, n, &n->lookup);
    if (err)
        goto none; /* no name of the kind that we look up: curl's */
    uv_timer_init(&t->box->loop.uv, &n->timer);
    if (t->bounds.total_ns != INT64_MAX || t->bounds.connect_ns != INT64_MAX) {
        uv_update_time(&t->box->loop.uv);
        uv_timer_start(&n->timer, on_time, bound_ms(t), 0);
    }
    t->naming = n;
    return 1;
none:
    ab_box_free(t->box, n, sizeof *n);
    return err == UV_ENOMEM ? err : 0;
}
