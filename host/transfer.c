/* transfer.c - one transfer: what is asked, what comes back, redirects.
 *
 * Redirects are followed here, not by curl, because each is a new decision:
 * may this box talk to that host, and may that host see these headers? */
#include "transfer.h"
#include "idna.h"
#include "transfer_client.h"
#include <limits.h>
#include <string.h>
#include <strings.h>

/* ---- what is asked ---- */

static long to_ms(int64_t ns)
{
    if (ns == INT64_MAX)
        return 0; /* curl's "no bound" for the whole */
    int64_t ms = ns / 1000000 + (ns % 1000000 != 0);
    if (ms < 1)
        ms = 1;
    return ms > INT_MAX ? INT_MAX : (long)ms;
}

/* Reading the clock costs as much as 300 instructions: not at the beginning. */
static int64_t time_left(const ab_transfer *t)
{
    if (t->bounds.total_ns == INT64_MAX || !t->delayed)
        return t->bounds.total_ns;
    return t->bounds.total_ns - (ab_loop_real_now() - t->started_ns);
}

static int set_timeouts(ab_transfer *t)
{
    ab_easy *easy = t->easy;
    const ab_curl *curl = t->client->curl;
    int64_t total_ns = time_left(t);
    if (total_ns <= 0)
        return UV_ETIMEDOUT;
    long total = to_ms(total_ns);
    long connect = t->bounds.connect_ns == INT64_MAX
                       ? INT_MAX
                       : to_ms(t->bounds.connect_ns);
    if (total != easy->total_ms)
        curl->easy_setopt(easy->curl, CURLOPT_TIMEOUT_MS, total);
    if (connect != easy->connect_ms)
        curl->easy_setopt(easy->curl, CURLOPT_CONNECTTIMEOUT_MS, connect);
    easy->total_ms = total;
    easy->connect_ms = connect;
    return 0;
}

static int has_body(const ab_transfer *t)
{
    return t->upload.data || t->feed || strcmp(t->method, "POST") == 0 ||
           strcmp(t->method, "PUT") == 0 || strcmp(t->method, "PATCH") == 0;
}

/* A plain GET, as most are, sets nothing that a handle has not got already. */
static int set_method(ab_transfer *t)
{
    ab_easy *easy = t->easy;
    const ab_curl *curl = t->client->curl;
    unsigned bad = 0;
    if (strcmp(t->method, "GET") == 0 && !t->upload.data && !t->feed &&
        !easy->bent)
        return 0;
    int was_bent = easy->bent;
    easy->bent = 1;
    if (was_bent) {
        bad |= curl->easy_setopt(easy->curl, CURLOPT_HTTPGET, 1L);
        bad |= curl->easy_setopt(easy->curl, CURLOPT_CUSTOMREQUEST, NULL);
    }
    if (t->feed)
        return bad || ab_feed_set(t) ? UV_ENOMEM : 0;
    if (strcmp(t->method, "HEAD") == 0 && !t->upload.data) {
        bad |= curl->easy_setopt(easy->curl, CURLOPT_NOBODY, 1L);
    } else if (has_body(t)) {
        curl_off_t bytes = (curl_off_t)t->upload.length;
        const char *data = t->upload.data ? t->upload.data : "";
        bad |= curl->easy_setopt(easy->curl, CURLOPT_POST, 1L);
        bad |=
            curl->easy_setopt(easy->curl, CURLOPT_POSTFIELDSIZE_LARGE, bytes);
        bad |= curl->easy_setopt(easy->curl, CURLOPT_POSTFIELDS, data);
        bad |= curl->easy_setopt(easy->curl, CURLOPT_CUSTOMREQUEST, t->method);
    } else {
        bad |= curl->easy_setopt(easy->curl, CURLOPT_CUSTOMREQUEST, t->method);
    }
    return bad ? UV_ENOMEM : 0;
}

static int set_lines(ab_transfer *t)
{
    const ab_lines *lines = t->lines ? t->lines : t->client->lines;
    if (lines == t->easy->lines)
        return 0;
    t->easy->lines = lines;
    t->easy->bent |= t->lines != NULL;
    return t->client->curl->easy_setopt(t->easy->curl, CURLOPT_HTTPHEADER,
                                        lines->list)
               ? UV_ENOMEM
               : 0;
}

int ab_transfer_launch(ab_transfer *t)
{
    const ab_curl *curl = t->client->curl;
    int err = set_timeouts(t);
    if (err)
        return err;
    if (curl->multi_add_handle(t->client->multi, t->easy->curl))
        return UV_ENOMEM;
    t->running = 1;
    return 0;
}

/* Sends what is set, perhaps after looking up the name; 0 or a code. */
static int go(ab_transfer *t, const char *url)
{
    int err = ab_easy_aim(t->easy, url);
    if (!err)
        err = set_method(t);
    if (!err)
        err = ab_settings_route(t, url);
    if (!err)
        err = set_lines(t);
    int is_looked_up = err ? 0 : ab_naming_start(t, url);
    if (err || is_looked_up < 0)
        return err ? err : is_looked_up;
    if (!is_looked_up)
        return ab_transfer_launch(t);
    t->running = t->delayed = 1;
    return 0;
}

/* The client's, if those say all. */
static int choose_lines(ab_transfer *t, const ab_request *r)
{
    ab_client *client = t->client;
    const ab_bytes *text = &client->headers;
    const ab_lines *shared = ab_client_lines(client);
    int flags = AB_LINES_AGENT | (has_body(t) ? AB_LINES_BODY : 0);
    if (!shared)
        return UV_ENOMEM;
    if (ab_settings_decompress(t->settings, client->settings))
        flags |= AB_LINES_ENCODINGS;
    if (!r->lines && flags == shared->flags)
        return 0;
    t->lines = r->lines ? ab_lines_new(client, r->lines, r->lines_bytes, flags)
                        : ab_lines_new(client, text->data, text->length, flags);
    return t->lines ? 0 : UV_ENOMEM;
}

static int ask(ab_transfer *t, const ab_request *r)
{
    ab_box *box = t->box;
    ab_client *client = t->client;
    if (r->body &&
        ab_bytes_add(box, &t->upload, r->body, r->body_bytes + 1) < 0)
        return UV_ENOMEM; /* with its NUL: an empty body is a body */
    if (r->body)
        t->upload.length--;
    if (r->setting_count) {
        t->settings = ab_settings_new(box, r->settings, r->setting_count);
        if (!t->settings)
            return UV_ENOMEM;
    }
    if (choose_lines(t, r) < 0)
        return UV_ENOMEM;
    t->easy = ab_easy_take(client, t);
    if (!t->easy)
        return UV_ENOMEM;
    if (t->settings) {
        t->easy->bent = 1;
        if (ab_settings_apply(t->settings, t->easy) < 0)
            return UV_ENOMEM;
    }
    return go(t, r->url);
}

int ab_transfer_start(ab_transfer_wait *w, ab_client *client,
                      const ab_request *r)
{
    ab_box *box = w->op.box;
    ab_transfer *t = ab_box_alloc(box, sizeof *t);
    if (!t)
        return UV_ENOMEM;
    memset(t, 0, sizeof *t);
    t->box = box;
    t->refs = 1;
    t->client = client;
    ab_list_append(&client->transfers, &t->link);
    t->started_ns = ab_loop_real_now();
    t->bounds = r->bounds;
    strncpy(t->method, r->method, sizeof t->method - 1);
    if (r->feed)
        ab_feed_attach(t, r->feed);
    w->transfer = t;
    int err = ask(t, r);
    if (err)
        return err;
    t->waiter = &w->op;
    ab_transfer_watch_stall(t);
    return 0;
}

/* ---- redirects ---- */

/* What the next host may not see, as AB_LINES flags. */
static int withheld(const ab_transfer *t, const char *to_host, int to_port,
                    int to_tls)
{
    char host[AB_TRANSFER_HOST_MAX];
    int port, is_tls;
    if (ab_transfer_parse(ab_transfer_url(t), host, &port, &is_tls) == 0 &&
        strcasecmp(host, to_host) == 0 && port == to_port && is_tls == to_tls)
        return 0;
    return AB_LINES_NO_CREDENTIALS;
}

/* As browsers do: 303 asks for a GET, and after a POST so do 301 and 302. */
static int becomes_get(const ab_transfer *t)
{
    if (strcmp(t->method, "HEAD") == 0 || strcmp(t->method, "GET") == 0)
        return 0;
    return t->status == 303 || ((t->status == 301 || t->status == 302) &&
                                strcmp(t->method, "POST") == 0);
}

static int strip_lines(ab_transfer *t, int flags)
{
    ab_box *box = t->box;
    const ab_lines *from = t->lines ? t->lines : t->client->lines;
    if (!flags || !from)
        return 0;
    if (!(flags & AB_LINES_NO_CONTENT) && has_body(t))
        flags |= AB_LINES_BODY;
    ab_lines *lines =
        ab_lines_new(t->client, from->text, from->text_bytes, flags);
    if (!lines)
        return UV_ENOMEM;
    ab_lines_free(box, t->lines);
    t->lines = lines;
    return 0;
}

/* Goes where the response points to. 0, or a code. */
static int follow_to(ab_transfer *t, const char *url)
{
    ab_box *box = t->box;
    ab_easy *easy = t->easy;
    char host[AB_TRANSFER_HOST_MAX];
    int port, is_tls;
    if (t->bounds.redirects == 0) {
        t->limit = "redirects";
        return ASYNCBOX_ELIMIT;
    }
    int err = ab_transfer_parse(url, host, &port, &is_tls);
    if (err)
        return err;
    if (!ab_settings_unix(t) &&
        !ab_grants_host_allowed(&box->grants, host, port)) {
        strcpy(easy->denied, host);
        easy->denied_port = port;
        return ASYNCBOX_EDENIED;
    }
    int flags = withheld(t, host, port, is_tls);
    if (flags & AB_LINES_NO_CREDENTIALS)
        ab_settings_withhold(easy);
    if (becomes_get(t)) {
        strcpy(t->method, "GET");
        ab_feed_detach(t);
        ab_bytes_free(box, &t->upload);
        flags |= AB_LINES_NO_CONTENT;
    }
    if (t->feed) {
        strcpy(easy->error, "a redirect asks for the body again, which can be "
                            "read only once");
        return ASYNCBOX_EHTTP;
    }
    err = strip_lines(t, flags);
    if (!err)
        err = ab_transfer_keep_hop(t);
    if (err)
        return err;
    t->bounds.redirects--;
    t->delayed = 1;
    t->status = 0;
    t->in_body = t->redirect = t->head_whole = 0;
    t->headers.length = t->header_bytes = t->header_count = 0;
    t->received = 0;
    return go(t, url);
}

static int follow_ascii(ab_transfer *t, const char *url)
{
    if (!ab_idna_url_is_needed(url))
        return follow_to(t, url);
    const char *why;
    size_t room = AB_IDNA_URL_FACTOR * strlen(url) + AB_IDNA_MAX;
    char *ascii = ab_box_alloc(t->box, room);
    if (!ascii)
        return UV_ENOMEM;
    int err = ab_idna_url(url, ascii, &why);
    err = err == UV_EINVAL ? ASYNCBOX_EURL : err ? err : follow_to(t, ascii);
    ab_box_free(t->box, ascii, room);
    return err;
}

/* A login in the URL that a server sends us to is not the script's. */
static int follow(ab_transfer *t, const char *url)
{
    if (!strchr(url, '@'))
        return follow_ascii(t, url);
    const ab_curl *curl = t->client->curl;
    char *plain = ab_url_without_login(curl, url);
    int err = plain ? follow_ascii(t, plain) : ASYNCBOX_EURL;
    curl->free(plain);
    return err;
}

/* ---- the end ---- */

int ab_transfer_keep_url(ab_transfer *t)
{
    ab_bytes_free(t->box, &t->url);
    const char *url = ab_transfer_url(t);
    return ab_bytes_add(t->box, &t->url, url, strlen(url) + 1);
}

void ab_transfer_let_go(ab_transfer *t)
{
    ab_list_remove(&t->link);
    ab_feed_detach(t);
    if (t->easy)
        ab_easy_give(t->easy);
    t->easy = NULL;
    t->client = NULL;
    ab_naming_free(t);
    ab_lines_free(t->box, t->lines);
    t->lines = NULL;
    ab_settings_free(t->box, t->settings);
    t->settings = NULL;
    ab_bytes_free(t->box, &t->upload);
}

/* No more will come.  What curl said about a failure is kept, with its
 * handle. */
static void end(ab_transfer *t, int failure)
{
    ab_client *client = t->client;
    ab_naming_end(t);
    if (t->running)
        client->curl->multi_remove_handle(client->multi, t->easy->curl);
    t->running = 0;
    ab_feed_detach(t);
    t->done = 1;
    t->failure = failure;
    if (failure)
        t->failed_ns = ab_loop_real_now();
    if (t->held) {
        t->held = 0;
        t->box->live_handles--;
        client->held--;
    }
    ab_transfer_tell(t);
    if (!failure)
        ab_transfer_let_go(t);
}

/* What a redirect leads to: 0 when there is a new transfer or it leads to
 * nowhere, or a code. */
static int redirect(ab_transfer *t)
{
    char *url = NULL;
    t->client->curl->easy_getinfo(t->easy->curl, CURLINFO_REDIRECT_URL, &url);
    if (url)
        return follow(t, url);
    t->redirect = 0;
    return ab_transfer_head_ends(t);
}

void ab_transfer_done(ab_transfer *t, CURLcode code)
{
    int failure = 0;
    if (code != CURLE_OK || t->refused) {
        failure = t->failure ? t->failure : ab_transfer_translate(t, code);
        if (failure == ASYNCBOX_ELIMIT && !t->limit)
            t->limit = t->in_body ? "max_body" : "max_headers";
    } else if (!t->head_whole) {
        failure = UV_EOF; /* curl takes half a head for a whole one */
    } else if (t->redirect) {
        failure = redirect(t);
        if (t->running)
            return;
    } else if (!t->headed) {
        failure = ab_transfer_head_ends(t);
    }
    end(t, failure);
}

void ab_transfer_abort(ab_transfer *t, int code, const char *limit)
{
    t->limit = limit;
    end(t, code);
}

/* ---- life ---- */

void ab_transfer_close(ab_transfer *t)
{
    if (!t->done)
        end(t, ASYNCBOX_ECLOSED);
    if (t->client)
        ab_transfer_let_go(t);
    ab_bytes_free(t->box, &t->body);
    t->body_at = 0;
}

void ab_transfer_unref(ab_transfer *t)
{
    if (--t->refs > 0)
        return;
    ab_transfer_close(t);
    ab_transfer_free_hops(t);
    ab_bytes_free(t->box, &t->headers);
    ab_bytes_free(t->box, &t->url);
    ab_box_free(t->box, t, sizeof *t);
}

ab_transfer *ab_transfer_hold(ab_transfer_wait *w)
{
    ab_transfer *t = w->transfer;
    w->transfer = NULL;
    t->waiter = NULL;
    if (!t->done) {
        t->held = 1;
        t->box->live_handles++;
        t->client->held++;
    }
    return t;
}

unsigned ab_client_held(const ab_client *client) { return client->held; }

/* ---- who waits for it ---- */

void ab_transfer_wait_cancel(ab_op *op)
{
    ab_transfer *t = ((ab_transfer_wait *)op)->transfer;
    t->waiter = NULL;
    t->limit = "cancelled";
    ab_transfer_close(t);
    ab_op_finish(op, UV_ECANCELED);
}

void ab_transfer_wait_drop(ab_op *op)
{
    ab_transfer *t = ((ab_transfer_wait *)op)->transfer;
    if (!t)
        return;
    ab_transfer_waited((ab_transfer_wait *)op);
    ab_transfer_unref(t);
}
