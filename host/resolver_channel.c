/* resolver_channel.c - libcares on the box's loop: its channels, their look-ups
 * and timeouts.
 *
 * libcares cannot take back a single look-up, only all of a channel.  So one
 * that is cancelled stays in its channel until its servers answer or its
 * timeouts are over, unless it was the last one that somebody wanted: then the
 * channel goes, with all of them. */
#include "resolver_parts.h"
#include <netdb.h>
#include <stdio.h>
#include <string.h>

/* What libcares allocates by itself, measured with 1.18 and rounded up. */
enum { CHANNEL_BYTES = 80 << 10, LOOKUP_BYTES = 2 << 10 };

/* As later versions of libcares have it; 1.18 would try for 75 s. */
enum { TIMEOUT_MS = 2000, TRIES = 3 };

/* A channel has read the system's files when it was made.  One without
 * look-ups is used again, but not for longer than this. */
#define FRESH_NS ((int64_t)5 * 1000000000)

enum { CLASS_IN = 1, TYPE_PTR = 12 };

/* ---- answers ---- */

static int translate(const ab_channel *c, const ab_lookup *l, int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
    case ARES_ENONAME:
        return UV_EAI_NONAME;
    case ARES_ENODATA:
        return UV_EAI_NODATA;
    case ARES_ETIMEOUT:
        return UV_EAI_AGAIN;
    case ARES_ECONNREFUSED:
        if (c->failures != l->failures)
            return UV_EAI_FAIL;
        return c->trouble ? c->trouble : UV_ECONNREFUSED;
    case ARES_ENOMEM:
        return UV_ENOMEM;
    case ARES_EFILE:
        return UV_EIO;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED:
        return ASYNCBOX_ECLOSED;
    default:
        return UV_EAI_FAIL;
    }
}

static void finish(ab_lookup *l, int status)
{
    ab_channel *c = l->channel;
    c->count--;
    if (l->done)
        c->wanted--;
    ab_limits_discharge(&c->resolver->box->limits, LOOKUP_BYTES);
    ab_lookup_finish(l, status);
}

static void on_addresses(void *arg, int status, int timeouts,
                         struct ares_addrinfo *result)
{
    (void)timeouts;
    ab_lookup *l = arg;
    int code = translate(l->channel, l, status);
    struct ares_addrinfo_node *at = result ? result->nodes : NULL;
    for (; at && code == 0 && l->done; at = at->ai_next) {
        ab_sockaddr address;
        if (ab_sockaddr_set(&address, at->ai_addr))
            code = ab_lookup_add_address(l, &address);
    }
    if (result)
        l->channel->resolver->cares->freeaddrinfo(result);
    if (code == 0 && l->answer.count == 0)
        code = UV_EAI_NODATA;
    finish(l, code);
}

static int add_name(ab_lookup *l, const char *name)
{
    const char *at = l->answer.text;
    for (int i = 0; i < l->answer.count; i++, at += strlen(at) + 1)
        if (strcmp(at, name) == 0)
            return 0;
    if (l->answer.count >= AB_ANSWER_MAX)
        return 0;
    return ab_lookup_add_text(l, name, strlen(name) + 1);
}

static int add_names(ab_lookup *l, const struct hostent *host)
{
    int code = host->h_name ? add_name(l, host->h_name) : 0;
    for (char **at = host->h_aliases; at && *at && code == 0; at++)
        code = add_name(l, *at);
    return code;
}

static void on_hosts_file(void *arg, int status, int timeouts,
                          struct hostent *host)
{
    (void)timeouts;
    ab_lookup *l = arg;
    if (status == ARES_SUCCESS && host)
        l->status = add_names(l, host);
}

static void on_pointers(void *arg, int status, int timeouts,
                        unsigned char *message, int bytes)
{
    (void)timeouts;
    ab_lookup *l = arg;
    const ab_cares *cares = l->channel->resolver->cares;
    struct hostent *host = NULL;
    if (status == ARES_SUCCESS)
        status =
            cares->parse_ptr_reply(message, bytes, NULL, 0, AF_INET, &host);
    int code = translate(l->channel, l, status);
    if (host && l->done)
        code = add_names(l, host);
    if (host)
        cares->free_hostent(host);
    if (code == 0 && l->answer.count == 0)
        code = UV_EAI_NODATA;
    finish(l, code);
}

static void on_message(void *arg, int status, int timeouts,
                       unsigned char *message, int bytes)
{
    (void)timeouts;
    ab_lookup *l = arg;
    int code = translate(l->channel, l, status);
    if (code == 0 && (!message || bytes < AB_MESSAGE_HEADER_BYTES))
        code = UV_EAI_FAIL;
    if (code == 0 && l->done)
        code = ab_lookup_add_text(l, (const char *)message, (size_t)bytes);
    finish(l, code);
}

/* The name that has the names of an address (RFC 1035, 3.5; RFC 3596). */
static void write_pointer_name(const ab_sockaddr *address, char out[80])
{
    if (address->any.sa_family == AF_INET) {
        const unsigned char *at = (const void *)&address->v4.sin_addr;
        snprintf(out, 80, "%d.%d.%d.%d.in-addr.arpa", at[3], at[2], at[1],
                 at[0]);
        return;
    }
    const unsigned char *at = address->v6.sin6_addr.s6_addr;
    for (int i = 15; i >= 0; i--, out += 4)
        snprintf(out, 5, "%x.%x.", at[i] & 15, at[i] >> 4);
    memcpy(out, "ip6.arpa", sizeof "ip6.arpa");
}

/* ares_gethostbyaddr takes every failure for a name that is not there, so it is
 * only used for the hosts file. */
static void ask_for_names(ab_channel *c, ab_lookup *l)
{
    const ab_cares *cares = c->resolver->cares;
    struct ares_options options;
    ares_channel files;
    char name[80];
    memset(&options, 0, sizeof options);
    options.lookups = (char[]){"f"};
    if (cares->init_options(&files, &options, ARES_OPT_LOOKUPS) ==
        ARES_SUCCESS) {
        int is_v4 = l->address.any.sa_family == AF_INET;
        cares->gethostbyaddr(files,
                             is_v4 ? (void *)&l->address.v4.sin_addr
                                   : (void *)&l->address.v6.sin6_addr,
                             is_v4 ? 4 : 16, l->address.any.sa_family,
                             on_hosts_file, l);
        cares->destroy(files);
    }
    if (l->status || l->answer.count) {
        finish(l, l->status);
        return;
    }
    write_pointer_name(&l->address, name);
    cares->query(c->ares, name, CLASS_IN, TYPE_PTR, on_pointers, l);
}

static void ask(ab_channel *c, ab_lookup *l)
{
    const ab_cares *cares = c->resolver->cares;
    struct ares_addrinfo_hints hints;
    switch (l->kind) {
    case AB_LOOKUP_ADDRESSES:
        memset(&hints, 0, sizeof hints);
        hints.ai_family = l->family;
        cares->getaddrinfo(c->ares, l->name, NULL, &hints, on_addresses, l);
        break;
    case AB_LOOKUP_NAMES:
        ask_for_names(c, l);
        break;
    case AB_LOOKUP_RECORDS:
        cares->query(c->ares, l->name, CLASS_IN, l->type, on_message, l);
        break;
    }
}

/* ---- channels ---- */

static void destroy(ab_channel *c)
{
    ab_resolver *r = c->resolver;
    ab_list_remove(&c->link);
    r->channel_count--;
    if (c->ares)
        r->cares->destroy(c->ares); /* ends its look-ups */
    ab_channel_close_socks(c);
    ab_limits_discharge(&r->box->limits, CHANNEL_BYTES);
    ab_box_free(r->box, c, sizeof *c);
}

static int set_servers(const ab_channel *c)
{
    const ab_resolver_config *config = &c->resolver->config;
    struct ares_addr_port_node nodes[AB_SERVERS_MAX];
    memset(nodes, 0, sizeof nodes);
    for (int i = 0; i < config->count; i++) {
        const ab_sockaddr *from = &config->servers[i];
        struct ares_addr_port_node *to = &nodes[i];
        to->family = from->any.sa_family;
        if (to->family == AF_INET)
            to->addr.addr4 = from->v4.sin_addr;
        else
            memcpy(&to->addr.addr6, &from->v6.sin6_addr, 16);
        to->udp_port = to->tcp_port = ab_sockaddr_port(from);
        to->next = i + 1 < config->count ? to + 1 : NULL;
    }
    return c->resolver->cares->set_servers_ports(c->ares, nodes);
}

static int start_ares(ab_channel *c)
{
    const ab_resolver_config *config = &c->resolver->config;
    struct ares_options options;
    memset(&options, 0, sizeof options);
    options.timeout = config->timeout_ms ? config->timeout_ms : TIMEOUT_MS;
    options.tries = config->tries ? config->tries : TRIES;
    options.sock_state_cb = ab_channel_on_interest;
    options.sock_state_cb_data = c;
    int status = c->resolver->cares->init_options(
        &c->ares, &options,
        ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) {
        c->ares = NULL;
        return status;
    }
    c->resolver->cares->set_socket_functions(c->ares,
                                             &ab_channel_socket_functions, c);
    return config->count ? set_servers(c) : ARES_SUCCESS;
}

static int channel_new(ab_resolver *r, ab_channel **out)
{
    ab_box *box = r->box;
    ab_channel *c = ab_box_alloc(box, sizeof *c);
    if (!c || !ab_limits_charge(&box->limits, CHANNEL_BYTES)) {
        ab_box_free(box, c, sizeof *c);
        return UV_ENOMEM;
    }
    memset(c, 0, sizeof *c);
    c->resolver = r;
    c->made_ns = ab_loop_real_now();
    c->deadline_ns = -1;
    ab_list_init(&c->running);
    ab_list_init(&c->socks);
    ab_list_append(&r->channels, &c->link);
    r->channel_count++;
    int status = start_ares(c);
    if (status != ARES_SUCCESS) {
        destroy(c);
        return status == ARES_ENOMEM ? UV_ENOMEM : UV_EIO;
    }
    *out = c;
    return 0;
}

/* A channel with room: 1; 0: all are full; or a code. */
static int find_channel(ab_resolver *r, ab_channel **out)
{
    ab_link *next;
    int64_t now = ab_loop_real_now();
    for (ab_link *at = r->channels.next; at != &r->channels; at = next) {
        ab_channel *c = ab_container(at, ab_channel, link);
        next = at->next;
        if (c->count == 0 && now - c->made_ns > FRESH_NS) {
            destroy(c);
        } else if (!c->retired && c->count < AB_CHANNEL_LOOKUPS) {
            *out = c;
            return 1;
        }
    }
    if (r->channel_count >= AB_CHANNELS_MAX)
        return 0;
    int err = channel_new(r, out);
    return err ? err : 1;
}

void ab_channel_settle(ab_channel *c)
{
    struct timeval room,
        *left = c->resolver->cares->timeout(c->ares, NULL, &room);
    c->deadline_ns = -1;
    if (left)
        c->deadline_ns = ab_loop_real_now() +
                         (int64_t)left->tv_sec * 1000000000 +
                         (int64_t)left->tv_usec * 1000;
    if (c->count == 0 && (c->retired || c->resolver->channel_count > 1))
        destroy(c);
}

int ab_channel_take(ab_resolver *r, ab_lookup *l)
{
    ab_channel *c;
    int found = find_channel(r, &c);
    if (found <= 0)
        return found;
    if (!ab_limits_charge(&r->box->limits, LOOKUP_BYTES))
        return UV_ENOMEM;
    ab_list_remove(&l->link);
    ab_list_append(&c->running, &l->link);
    l->channel = c;
    l->failures = c->failures;
    c->count++;
    c->wanted++;
    ask(c, l);
    ab_channel_settle(c);
    return 1;
}

void ab_channel_forget(ab_lookup *l)
{
    ab_channel *c = l->channel;
    l->done = NULL;
    if (--c->wanted == 0)
        destroy(c);
}

void ab_channels_tick(ab_resolver *r)
{
    ab_link *next;
    int64_t now = ab_loop_real_now();
    for (ab_link *at = r->channels.next; at != &r->channels; at = next) {
        ab_channel *c = ab_container(at, ab_channel, link);
        next = at->next;
        if (c->deadline_ns < 0 || c->deadline_ns > now)
            continue;
        r->cares->process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        ab_channel_settle(c);
    }
}

int64_t ab_channels_timeout(const ab_resolver *r)
{
    int64_t first = -1;
    for (ab_link *at = r->channels.next; at != &r->channels; at = at->next) {
        int64_t deadline = ab_container(at, ab_channel, link)->deadline_ns;
        if (deadline >= 0 && (first < 0 || deadline < first))
            first = deadline;
    }
    if (first < 0)
        return -1;
    int64_t left = first - ab_loop_real_now();
    return left > 0 ? left / 1000000 + 1 : 1;
}

void ab_channels_retire(ab_resolver *r)
{
    ab_link *next;
    for (ab_link *at = r->channels.next; at != &r->channels; at = next) {
        ab_channel *c = ab_container(at, ab_channel, link);
        next = at->next;
        c->retired = 1;
        if (c->count == 0)
            destroy(c);
    }
}

void ab_channels_close(ab_resolver *r)
{
    for (ab_link *link; (link = ab_list_first(&r->channels));)
        destroy(ab_container(link, ab_channel, link));
}

int ab_channel_servers(ab_resolver *r, ab_sockaddr out[AB_SERVERS_MAX])
{
    ab_channel *c;
    struct ares_addr_port_node *first = NULL;
    int found = find_channel(r, &c), count = 0;
    if (found <= 0)
        return found < 0 ? found : UV_EAGAIN;
    if (r->cares->get_servers_ports(c->ares, &first) != ARES_SUCCESS)
        return UV_ENOMEM;
    for (const struct ares_addr_port_node *at = first;
         at && count < AB_SERVERS_MAX; at = at->next) {
        ab_sockaddr *to = &out[count++];
        memset(to, 0, sizeof *to);
        to->any.sa_family = (sa_family_t)at->family;
        if (at->family == AF_INET)
            to->v4.sin_addr = at->addr.addr4;
        else
            memcpy(&to->v6.sin6_addr, &at->addr.addr6, 16);
        ab_sockaddr_set_port(to, at->udp_port);
    }
    if (first)
        r->cares->free_data(first);
    return count;
}
