/* transfer_option.c - settings of clients and requests, put into curl. */
#include "transfer_option.h"
#include "transfer_client.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* One block of the box's memory: this, the settings, a list node for each, and
 * their text. */
struct ab_settings {
    size_t bytes; /* of the whole block */
    unsigned count;
    struct curl_slist *connect_to;
    ab_setting list[];
};

ab_settings *ab_settings_new(ab_box *box, const ab_setting *from,
                             unsigned count)
{
    size_t room = sizeof(ab_settings) + count * sizeof(ab_setting);
    size_t nodes_at = room;
    room += count * sizeof(struct curl_slist);
    size_t text_at = room;
    for (unsigned i = 0; i < count; i++)
        room += from[i].text ? from[i].bytes + 1 : 0;
    ab_settings *s = ab_box_alloc(box, room);
    if (!s)
        return NULL;
    memset(s, 0, text_at);
    s->bytes = room;
    s->count = count;
    struct curl_slist *node = (void *)((char *)s + nodes_at);
    char *text = (char *)s + text_at;
    for (unsigned i = 0; i < count; i++) {
        s->list[i] = from[i];
        if (!from[i].text)
            continue;
        memcpy(text, from[i].text, from[i].bytes);
        text[from[i].bytes] = '\0';
        s->list[i].text = text;
        if (from[i].key == AB_SET_CONNECT_TO) {
            node->data = text;
            node->next = s->connect_to;
            s->connect_to = node++;
        }
        text += from[i].bytes + 1;
    }
    return s;
}

void ab_settings_free(ab_box *box, ab_settings *settings)
{
    if (settings)
        ab_box_free(box, settings, settings->bytes);
}

/* ---- into curl ---- */

static CURLcode set_blob(const ab_curl *curl, CURL *c, CURLoption option,
                         const ab_setting *s)
{
    struct curl_blob blob = {(void *)(uintptr_t)s->text, s->bytes,
                             CURL_BLOB_NOCOPY};
    return curl->easy_setopt(c, option, s->bytes ? &blob : NULL);
}

static CURLcode set_http2(const ab_curl *curl, CURL *c, long how)
{
    long version = how == AB_HTTP2_NEVER   ? CURL_HTTP_VERSION_1_1
                   : how == AB_HTTP2_PRIOR ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
                                           : CURL_HTTP_VERSION_2TLS;
    curl->easy_setopt(c, CURLOPT_PIPEWAIT, (long)(how == AB_HTTP2_SHARE));
    /* curl 7.88 fails ("Error in the HTTP2 framing layer") with the second
     * request on a connection that it began without asking. */
    curl->easy_setopt(c, CURLOPT_FRESH_CONNECT, (long)(how == AB_HTTP2_PRIOR));
    curl->easy_setopt(c, CURLOPT_FORBID_REUSE, (long)(how == AB_HTTP2_PRIOR));
    return curl->easy_setopt(c, CURLOPT_HTTP_VERSION, version);
}

static CURLcode set_verify(const ab_curl *curl, CURL *c, long on)
{
    curl->easy_setopt(c, CURLOPT_SSL_VERIFYHOST, on ? 2L : 0L);
    return curl->easy_setopt(c, CURLOPT_SSL_VERIFYPEER, on);
}

static CURLcode put(const ab_client *client, CURL *c, const ab_setting *s)
{
    const ab_curl *curl = client->curl;
    switch (s->key) {
    case AB_SET_UNIX_SOCKET:
        return curl->easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH,
                                 s->bytes ? s->text : NULL);
    case AB_SET_USER:
        curl->easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_DIGEST);
        return curl->easy_setopt(c, CURLOPT_USERNAME,
                                 s->bytes ? s->text : NULL);
    case AB_SET_PASSWORD:
        return curl->easy_setopt(c, CURLOPT_PASSWORD, s->text);
    case AB_SET_COOKIE:
        return curl->easy_setopt(c, CURLOPT_COOKIE, s->text);
    case AB_SET_CA:
        return set_blob(curl, c, CURLOPT_CAINFO_BLOB, s);
    case AB_SET_CERT:
        return set_blob(curl, c, CURLOPT_SSLCERT_BLOB, s);
    case AB_SET_KEY:
        return set_blob(curl, c, CURLOPT_SSLKEY_BLOB, s);
    case AB_SET_KEY_PASSWORD:
        return curl->easy_setopt(c, CURLOPT_KEYPASSWD, s->text);
    case AB_SET_VERIFY:
        return set_verify(curl, c, s->number);
    case AB_SET_HTTP2:
        return set_http2(curl, c, s->number);
    case AB_SET_DECOMPRESS:
        return curl->easy_setopt(c, CURLOPT_ACCEPT_ENCODING,
                                 s->number ? "" : NULL);
    case AB_SET_JAR:
        return s->number ? CURLE_OK : curl->easy_setopt(c, CURLOPT_SHARE, NULL);
    case AB_SET_PROXY: /* see ab_settings_route */
    case AB_SET_PROXY_TLS:
    case AB_SET_NO_PROXY:
    case AB_SET_CONNECT_TO: /* see ab_settings_apply */
    case AB_SET_KEYS:
        break;
    }
    return CURLE_OK;
}

int ab_settings_apply(const ab_settings *settings, ab_easy *easy)
{
    const ab_client *client = easy->client;
    unsigned bad = 0;
    for (unsigned i = 0; i < settings->count; i++)
        bad |= put(client, easy->curl, &settings->list[i]);
    if (settings->connect_to)
        bad |= client->curl->easy_setopt(easy->curl, CURLOPT_CONNECT_TO,
                                         settings->connect_to);
    return bad ? UV_ENOMEM : 0;
}

void ab_settings_withhold(ab_easy *easy)
{
    const ab_curl *curl = easy->client->curl;
    CURL *c = easy->curl;
    easy->bent = 1;
    curl->easy_setopt(c, CURLOPT_USERNAME, NULL);
    curl->easy_setopt(c, CURLOPT_PASSWORD, NULL);
    curl->easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl->easy_setopt(c, CURLOPT_COOKIE, NULL);
    curl->easy_setopt(c, CURLOPT_SSLCERT_BLOB, NULL);
    curl->easy_setopt(c, CURLOPT_SSLKEY_BLOB, NULL);
}

/* ---- which way ---- */

static const ab_setting *find(const ab_settings *settings, ab_setting_key key)
{
    for (unsigned i = 0; settings && i < settings->count; i++)
        if (settings->list[i].key == key)
            return &settings->list[i];
    return NULL;
}

/* The request's, else the client's; NULL: none, or an empty one. */
static const char *text_of(const ab_transfer *t, ab_setting_key key)
{
    const ab_setting *s = find(t->settings, key);
    if (!s)
        s = find(t->client->settings, key);
    return s && s->bytes ? s->text : NULL;
}

/* Does "10.0.0.0/8" or "::1" of a no_proxy list hold the address? */
static int covers(const char *item, const ab_addr *address)
{
    char text[64];
    ab_addr net;
    int bits = 128;
    size_t n = strcspn(item, "/");
    if (n >= sizeof text)
        return 0;
    memcpy(text, item, n);
    text[n] = '\0';
    if (!ab_addr_parse(text, &net))
        return 0;
    if (item[n] == '/')
        bits = atoi(item + n + 1) + (ab_addr_is_v4(&net) ? 96 : 0);
    return bits >= 0 && bits <= 128 && ab_addr_within(address, &net, bits);
}

/* "example.org" and ".example.org" mean that host and all below it. */
static int is_below(const char *host, const char *item)
{
    size_t n = strlen(host), m;
    item += *item == '.';
    m = strlen(item);
    return m > 0 && n >= m && strcasecmp(host + n - m, item) == 0 &&
           (n == m || host[n - m - 1] == '.');
}

static int is_excepted(const char *list, const char *host)
{
    char item[AB_TRANSFER_HOST_MAX + 8];
    ab_addr address;
    int is_address = ab_addr_parse(host, &address);
    while (*(list += strspn(list, ", \t"))) {
        size_t n = strcspn(list, ", \t");
        if (n < sizeof item) {
            memcpy(item, list, n);
            item[n] = '\0';
            if (strcmp(item, "*") == 0 ||
                (is_address ? covers(item, &address) : is_below(host, item)))
                return 1;
        }
        list += n;
    }
    return 0;
}

/* "scheme://user:password@[::1]:80" -> "::1", 80 */
static int proxy_host(const char *proxy, char *host, int *port)
{
    const char *at = strrchr(proxy, '@');
    const char *from = at ? at + 1 : strstr(proxy, "://") + 3;
    const char *colon = strrchr(from, ':');
    size_t n = (size_t)(colon - from);
    if (n > 1 && *from == '[') {
        from++;
        n -= 2;
    }
    if (n >= AB_TRANSFER_HOST_MAX)
        return UV_EINVAL;
    memcpy(host, from, n);
    host[n] = '\0';
    *port = atoi(colon + 1);
    return 0;
}

static int set_proxy(ab_transfer *t, const char *proxy)
{
    ab_easy *easy = t->easy;
    const ab_curl *curl = t->client->curl;
    int err = proxy_host(proxy, easy->proxy, &easy->proxy_port);
    if (err)
        return err;
    easy->bent = 1;
    if (!ab_grants_host_allowed(&t->box->grants, easy->proxy,
                                easy->proxy_port)) {
        strcpy(easy->denied, easy->proxy);
        easy->denied_port = easy->proxy_port;
        return ASYNCBOX_EDENIED;
    }
    /* For its own ears, in CONNECT; to the server goes a line. */
    if (t->client->agent)
        curl->easy_setopt(easy->curl, CURLOPT_USERAGENT,
                          t->client->agent + sizeof AB_AGENT - 1);
    /* A proxy looks names up itself; told another address to connect, it would
     * reach for a sandbox what nobody has granted. */
    curl->easy_setopt(easy->curl, CURLOPT_CONNECT_TO, NULL);
    return curl->easy_setopt(easy->curl, CURLOPT_PROXY, proxy) ? UV_ENOMEM : 0;
}

/* The redirect before this one had a proxy, this one has not. */
static void unset_proxy(ab_transfer *t)
{
    ab_easy *easy = t->easy;
    const ab_curl *curl = t->client->curl;
    const ab_settings *own = t->settings, *shared = t->client->settings;
    struct curl_slist *to = own && own->connect_to ? own->connect_to
                            : shared               ? shared->connect_to
                                                   : NULL;
    curl->easy_setopt(easy->curl, CURLOPT_PROXY, "");
    curl->easy_setopt(easy->curl, CURLOPT_CONNECT_TO, to);
    *easy->proxy = '\0';
}

int ab_settings_route(ab_transfer *t, const char *url)
{
    if (!t->settings && !t->client->settings)
        return 0;
    char host[AB_TRANSFER_HOST_MAX];
    int port, is_tls;
    const char *plain = text_of(t, AB_SET_PROXY);
    const char *secure = text_of(t, AB_SET_PROXY_TLS);
    if ((!plain && !secure) || ab_settings_unix(t))
        return 0;
    int err = ab_transfer_parse(url, host, &port, &is_tls);
    if (err)
        return err;
    const char *proxy = is_tls ? secure : plain;
    const char *except = text_of(t, AB_SET_NO_PROXY);
    if (proxy && !(except && is_excepted(except, host)))
        return set_proxy(t, proxy);
    if (*t->easy->proxy)
        unset_proxy(t);
    return 0;
}

const char *ab_settings_unix(const ab_transfer *t)
{
    return t->client ? text_of(t, AB_SET_UNIX_SOCKET) : NULL;
}

int ab_transfer_way(const ab_transfer *t, char *buf, size_t bytes)
{
    const char *path = ab_settings_unix(t);
    if (path)
        return snprintf(buf, bytes, "socket %s", path) > 0;
    if (t->easy && *t->easy->proxy)
        return snprintf(buf, bytes, "proxy %s:%d", t->easy->proxy,
                        t->easy->proxy_port) > 0;
    return 0;
}

int ab_settings_leads(const ab_transfer *t)
{
    return (t->settings || t->client->settings) &&
           (text_of(t, AB_SET_UNIX_SOCKET) || text_of(t, AB_SET_CONNECT_TO));
}

int ab_settings_decompress(const ab_settings *own, const ab_settings *shared)
{
    const ab_setting *s = find(own, AB_SET_DECOMPRESS);
    if (!s)
        s = find(shared, AB_SET_DECOMPRESS);
    return !s || s->number;
}

int ab_settings_is_digest(const ab_transfer *t)
{
    return text_of(t, AB_SET_USER) != NULL;
}
