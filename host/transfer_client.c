/* transfer_client.c - a set of connections: curl's multi handle, its timer,
 * the handles for single transfers. Owns them; knows nothing of requests. */
#include "transfer_client.h"
#include <string.h>

/* More idle handles than this are not kept: each has 20 KB of buffers. */
enum { IDLE_MAX = 64 };

/* By number: the headers that we are compiled with may be older than the
 * libcurl that is opened. */
#define OPTION_QUICK_EXIT ((CURLoption)(CURLOPTTYPE_LONG + 322))
#define OPTION_PROTOCOLS_STR ((CURLoption)(CURLOPTTYPE_STRINGPOINT + 318))
#define OPTION_REDIR_PROTOCOLS_STR ((CURLoption)(CURLOPTTYPE_STRINGPOINT + 319))

/* ---- single handles ---- */

/* Options of every transfer.  0, or UV_ENOMEM. */
static int set_fixed_options(ab_easy *easy)
{
    const ab_client *client = easy->client;
    const ab_curl *curl = client->curl;
    CURL *c = easy->curl;
    unsigned bad = 0;
    easy->bent = 0;
    easy->lines = NULL;
    easy->total_ms = easy->connect_ms = 0;
    bad |= curl->easy_setopt(c, CURLOPT_PRIVATE, easy);
    bad |= curl->easy_setopt(c, CURLOPT_CURLU, easy->parts);
    bad |= curl->easy_setopt(c, CURLOPT_WRITEDATA, easy);
    bad |= curl->easy_setopt(c, CURLOPT_WRITEFUNCTION, ab_transfer_on_body);
    bad |= curl->easy_setopt(c, CURLOPT_HEADERDATA, easy);
    bad |= curl->easy_setopt(c, CURLOPT_HEADERFUNCTION, ab_transfer_on_header);
    bad |= curl->easy_setopt(c, CURLOPT_ERRORBUFFER, easy->error);
    bad |= curl->easy_setopt(c, CURLOPT_OPENSOCKETDATA, easy);
    bad |= curl->easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, ab_sock_on_open);
    bad |= curl->easy_setopt(c, CURLOPT_CLOSESOCKETDATA, client);
    bad |= curl->easy_setopt(c, CURLOPT_CLOSESOCKETFUNCTION, ab_sock_on_close);
    bad |= curl->easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    bad |= curl->easy_setopt(c, CURLOPT_BUFFERSIZE, 65536L);
    bad |= curl->easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    /* None from the environment; whom it excepts is ab_settings_route's
     * matter. Its answer to CONNECT is no response of the server's. */
    bad |= curl->easy_setopt(c, CURLOPT_PROXY, "");
    bad |= curl->easy_setopt(c, CURLOPT_NOPROXY, "");
    bad |= curl->easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    bad |= curl->easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    /* The header is one of the lines. */
    bad |= curl->easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "");
    /* Older libcurls than 7.85 know these two not; they are a second line of
     * defence, the URL was checked. */
    curl->easy_setopt(c, OPTION_PROTOCOLS_STR, "http,https");
    curl->easy_setopt(c, OPTION_REDIR_PROTOCOLS_STR, "http,https");
    /* Or taking a transfer out while its name is looked up would wait for the
     * look-up; the look-up's thread ends by itself (7.87 and later). */
    curl->easy_setopt(c, OPTION_QUICK_EXIT, 1L);
    if (ab_cookies_set(easy) < 0)
        return UV_ENOMEM;
    if (client->settings && ab_settings_apply(client->settings, easy) < 0)
        return UV_ENOMEM;
    return bad ? UV_ENOMEM : 0;
}

static void free_easy(ab_easy *easy)
{
    ab_client *client = easy->client;
    ab_cookies_unset(easy);
    ab_easy_forget_url(easy);
    client->curl->easy_cleanup(easy->curl);
    client->curl->url_cleanup(easy->parts);
    ab_box_free(client->box, easy, sizeof *easy);
}

static ab_easy *new_easy(ab_client *client)
{
    ab_easy *easy = ab_box_alloc(client->box, sizeof *easy);
    if (!easy)
        return NULL;
    memset(easy, 0, sizeof *easy);
    easy->client = client;
    easy->unix_file = -1;
    easy->curl = client->curl->easy_init();
    easy->parts = client->curl->url();
    if (easy->curl && easy->parts && set_fixed_options(easy) == 0)
        return easy;
    free_easy(easy);
    return NULL;
}

ab_easy *ab_easy_take(ab_client *client, ab_transfer *t)
{
    ab_easy *easy;
    ab_link *first = ab_list_first(&client->idle);
    if (first) {
        easy = ab_container(first, ab_easy, link);
        ab_list_remove(first);
        client->idle_count--;
    } else {
        easy = new_easy(client);
        if (!easy)
            return NULL;
    }
    easy->error[0] = easy->denied[0] = easy->proxy[0] = '\0';
    easy->transfer = t;
    return easy;
}

void ab_easy_give(ab_easy *easy)
{
    ab_client *client = easy->client;
    easy->transfer = NULL;
    ab_sock_forget_file(easy);
    if (client->closing || client->idle_count >= IDLE_MAX) {
        free_easy(easy);
        return;
    }
    if (easy->bent) {
        ab_cookies_unset(easy);
        client->curl->easy_reset(easy->curl);
        if (set_fixed_options(easy) < 0) {
            free_easy(easy);
            return;
        }
    }
    /* The last one used comes first: its memory is in the cache. */
    ab_list_append(client->idle.next, &easy->link);
    client->idle_count++;
}

/* ---- the multi handle ---- */

void ab_client_drain(ab_client *client)
{
    const ab_curl *curl = client->curl;
    CURLMsg *message;
    int left;
    while ((message = curl->multi_info_read(client->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        char *private = NULL;
        curl->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        ab_easy *easy = (ab_easy *)(void *)private;
        curl->multi_remove_handle(client->multi, easy->curl);
        easy->transfer->running = 0;
        ab_transfer_done(easy->transfer, code);
        client->woken = 1;
    }
    if (client->nudge)
        ab_feed_nudge(client);
    if (client->cookies_seen)
        ab_cookies_shrink(client);
}

static void on_timer(uv_timer_t *timer)
{
    ab_client *client = timer->data;
    int running;
    client->curl->multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0,
                                      &running);
    /* A transfer may well end here.  libuv runs timers that are due before it
     * asks the kernel, where it would wait although a task can go on now. */
    ab_client_drain(client);
    if (client->woken)
        uv_stop(timer->loop);
    client->woken = 0;
}

static int on_set_timer(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    ab_client *client = arg;
    if (client->closing)
        return 0;
    if (ms < 0) {
        uv_timer_stop(&client->timer);
        return 0;
    }
    /* The loop's idea of now may be a turn old.  Where that is little, a timer
     * may as well come early: it is set again. */
    if (ms > 0 && ms < 1000)
        uv_update_time(&client->box->loop.uv);
    uv_timer_start(&client->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

static int start_multi(ab_client *client, const ab_client_config *config)
{
    const ab_curl *curl = client->curl;
    client->multi = curl->multi_init();
    if (!client->multi)
        return UV_ENOMEM;
    CURLM *m = client->multi;
    int bad = 0;
    bad |= curl->multi_setopt(m, CURLMOPT_SOCKETDATA, client);
    bad |= curl->multi_setopt(m, CURLMOPT_SOCKETFUNCTION, ab_sock_on_change);
    bad |= curl->multi_setopt(m, CURLMOPT_TIMERDATA, client);
    bad |= curl->multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_set_timer);
    bad |= curl->multi_setopt(m, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                              config->max_connections);
    bad |= curl->multi_setopt(m, CURLMOPT_MAX_HOST_CONNECTIONS,
                              config->max_per_host);
    /* By default curl keeps four times as many connections as it has
     * transfers, and so closes most of them at every lull. */
    bad |= curl->multi_setopt(m, CURLMOPT_MAXCONNECTS,
                              config->max_connections ? config->max_connections
                                                      : 1024L);
    return bad ? UV_ENOMEM : 0;
}

/* ---- life ---- */

static void free_text(ab_box *box, char *text)
{
    if (text)
        ab_box_free(box, text, strlen(text) + 1);
}

void ab_client_release(ab_client *client)
{
    if (--client->handles > 0)
        return;
    ab_box *box = client->box;
    ab_box_free(box, client->socks, client->socks_size * sizeof *client->socks);
    ab_lines_free(box, client->lines);
    ab_bytes_free(box, &client->headers);
    ab_settings_free(box, client->settings);
    free_text(box, client->agent);
    ab_box_free(box, client, sizeof *client);
}

static void on_timer_closed(uv_handle_t *handle)
{
    ab_client_release(handle->data);
}

static void on_box_close(ab_closer *closer)
{
    ab_client_free((ab_client *)(void *)closer);
}

/* Whoever waits is told; what has been received and not taken stays. */
static void let_go_of_transfers(ab_client *client)
{
    ab_link *link;
    while ((link = ab_list_first(&client->transfers))) {
        ab_transfer *t = ab_container(link, ab_transfer, link);
        t->refs++; /* who waits may have the last other one */
        if (!t->done)
            ab_transfer_abort(t, ASYNCBOX_ECLOSED, NULL);
        ab_transfer_let_go(t);
        ab_transfer_unref(t);
    }
}

void ab_client_free(ab_client *client)
{
    client->closing = 1;
    ab_list_remove(&client->closer.link);
    if (client->slot)
        *client->slot = NULL;
    let_go_of_transfers(client);
    ab_link *link;
    while ((link = ab_list_first(&client->idle))) {
        ab_list_remove(link);
        free_easy(ab_container(link, ab_easy, link));
    }
    ab_client_close_jar(client);
    if (client->multi)
        client->curl->multi_cleanup(client->multi);
    ab_sock_sweep(client);
    uv_close((uv_handle_t *)&client->timer, on_timer_closed);
    uv_close((uv_handle_t *)&client->stall_timer, on_timer_closed);
}

int ab_client_settings(ab_client *client, const ab_setting *list,
                       unsigned count)
{
    client->settings = ab_settings_new(client->box, list, count);
    return client->settings ? 0 : UV_ENOMEM;
}

static int set_agent(ab_client *client, const char *agent)
{
    size_t bytes = sizeof AB_AGENT + strlen(agent);
    if (!*agent)
        return 0;
    client->agent = ab_box_alloc(client->box, bytes);
    if (!client->agent)
        return UV_ENOMEM;
    strcpy(client->agent, AB_AGENT);
    strcat(client->agent, agent);
    return 0;
}

int ab_client_new(ab_box *box, const ab_client_config *config, ab_client **slot)
{
    if (box->closing) /* a finalizer's idea: nobody would close it any more */
        return ASYNCBOX_ECLOSED;
    const ab_curl *curl = ab_curl_open();
    if (!curl)
        return UV_ENOTSUP;
    ab_client *client = ab_box_alloc(box, sizeof *client);
    if (!client)
        return UV_ENOMEM;
    memset(client, 0, sizeof *client);
    client->closer.close = on_box_close;
    client->box = box;
    client->curl = curl;
    ab_list_init(&client->transfers);
    ab_list_init(&client->idle);
    ab_list_append(&box->closers, &client->closer.link);
    uv_timer_init(&box->loop.uv, &client->timer);
    uv_timer_init(&box->loop.uv, &client->stall_timer);
    client->timer.data = client->stall_timer.data = client;
    client->handles = 2;
    if (set_agent(client, config->user_agent) < 0 ||
        start_multi(client, config) < 0) {
        ab_client_free(client);
        return UV_ENOMEM;
    }
    client->slot = slot;
    *slot = client;
    return 0;
}
