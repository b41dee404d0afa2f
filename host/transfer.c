/* transfer.c - one transfer: what is asked, what comes back, redirects.
 *
 * Redirects are followed here, not by curl, because each is a new decision:
 * may this box talk to that host, and may that host see these headers? */
#include "transfer.h"
#include "transfer_client.h"
#include <limits.h>
#include <string.h>
#include <strings.h>

/* ---- bytes that come in ---- */

/* 0 or UV_ENOMEM.  The first piece gets just the room that it needs: most
 * bodies are one piece. */
static int add_bytes(ab_box *box, ab_bytes *bytes, const char *data, size_t n)
{
    if (n > bytes->capacity - bytes->length) {
        size_t capacity = bytes->length + n;
        if (capacity < 2 * bytes->capacity)
            capacity = 2 * bytes->capacity;
        char *grown =
            ab_box_realloc(box, bytes->data, bytes->capacity, capacity);
        if (!grown)
            return UV_ENOMEM;
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    memcpy(bytes->data + bytes->length, data, n);
    bytes->length += n;
    return 0;
}

static void free_bytes(ab_box *box, ab_bytes *bytes)
{
    if (bytes->data)
        ab_box_free(box, bytes->data, bytes->capacity);
    memset(bytes, 0, sizeof *bytes);
}

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

static size_t refuse(ab_transfer *t, int code, const char *limit)
{
    t->failure = code;
    t->limit = limit;
    return 0; /* never what curl expects: it ends the transfer */
}

size_t ab_transfer_on_header(char *data, size_t one, size_t n, void *arg)
{
    (void)one;
    ab_transfer *t = ((ab_easy *)arg)->transfer;
    if (t->in_body)
        return n; /* trailers */
    if (n > 5 && memcmp(data, "HTTP/", 5) == 0) {
        t->headers.length = 0; /* before it: 100 Continue and the like */
        t->status = parse_status(data, n);
        t->redirect = 0;
    } else if (t->redirects >= 0 && is_redirect(t->status) && n > 9 &&
               strncasecmp(data, "location:", 9) == 0) {
        t->redirect = 1;
    }
    if (t->feed && n <= 2)
        ab_feed_answered(t);
    if (t->client->share && n > 11 && strncasecmp(data, "set-cookie:", 11) == 0)
        t->client->cookies_seen++;
    if (n > AB_TRANSFER_HEADER_MAX - t->headers.length)
        return refuse(t, ASYNCBOX_ELIMIT, "max_headers");
    if (!t->headers.data) {
        /* Room for common headers at once: they come line by line. */
        t->headers.data = ab_box_alloc(t->op.box, 512);
        if (!t->headers.data)
            return refuse(t, UV_ENOMEM, NULL);
        t->headers.capacity = 512;
    }
    if (add_bytes(t->op.box, &t->headers, data, n) < 0)
        return refuse(t, UV_ENOMEM, NULL);
    return n;
}

size_t ab_transfer_on_body(char *data, size_t one, size_t n, void *arg)
{
    (void)one;
    ab_transfer *t = ((ab_easy *)arg)->transfer;
    t->in_body = 1;
    if (n > t->max_body - t->body.length)
        return refuse(t, ASYNCBOX_ELIMIT, "max_body");
    if (t->redirect) {
        if (n > t->max_body - t->skipped)
            return refuse(t, ASYNCBOX_ELIMIT, "max_body");
        t->skipped += n;
        return n;
    }
    if (add_bytes(t->op.box, &t->body, data, n) < 0)
        return refuse(t, UV_ENOMEM, NULL);
    return n;
}

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

static int set_timeouts(ab_transfer *t)
{
    ab_easy *easy = t->easy;
    const ab_curl *curl = t->client->curl;
    int64_t total_ns = t->total_ns;
    if (total_ns != INT64_MAX)
        total_ns -= ab_loop_real_now() - t->started_ns;
    if (total_ns <= 0)
        return UV_ETIMEDOUT;
    long total = to_ms(total_ns);
    long connect = t->connect_ns == INT64_MAX ? INT_MAX : to_ms(t->connect_ns);
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
    if (!lines)
        return 0;
    t->easy->bent |= t->lines != NULL;
    return t->client->curl->easy_setopt(t->easy->curl, CURLOPT_HTTPHEADER,
                                        lines->list)
               ? UV_ENOMEM
               : 0;
}

/* Sends what is set; 0 or a code. */
static int go(ab_transfer *t, const char *url)
{
    const ab_curl *curl = t->client->curl;
    if (curl->easy_setopt(t->easy->curl, CURLOPT_URL, url))
        return UV_ENOMEM;
    int err = set_method(t);
    if (!err)
        err = ab_settings_route(t, url);
    if (!err)
        err = set_lines(t);
    if (!err)
        err = set_timeouts(t);
    if (err)
        return err;
    if (curl->multi_add_handle(t->client->multi, t->easy->curl))
        return UV_ENOMEM;
    t->running = 1;
    return 0;
}

int ab_transfer_start(ab_transfer *t, ab_client *client, const ab_request *r)
{
    ab_box *box = t->op.box;
    t->client = client;
    ab_list_append(&client->transfers, &t->link);
    t->started_ns = ab_loop_real_now();
    t->total_ns = r->total_ns;
    t->connect_ns = r->connect_ns;
    t->max_body = r->max_body;
    t->redirects = r->redirects;
    if (r->feed)
        ab_feed_attach(t, r->feed);
    strncpy(t->method, r->method, sizeof t->method - 1);
    if (r->body && add_bytes(box, &t->upload, r->body, r->body_bytes + 1) < 0)
        return UV_ENOMEM; /* with its NUL: an empty body is a body */
    if (r->body)
        t->upload.length--;
    int flags = has_body(t) ? AB_LINES_BODY : 0;
    const ab_lines *shared = client->lines;
    const char *text = r->lines ? r->lines : shared ? shared->text : NULL;
    size_t bytes = r->lines ? r->lines_bytes : shared ? shared->text_bytes : 0;
    if (r->lines || flags) {
        t->lines = ab_lines_new(box, text, bytes, flags);
        if (!t->lines)
            return UV_ENOMEM;
    }
    t->easy = ab_easy_take(client, t);
    if (!t->easy)
        return UV_ENOMEM;
    if (r->setting_count) {
        t->settings = ab_settings_new(box, r->settings, r->setting_count);
        t->easy->bent = 1;
        if (!t->settings || ab_settings_apply(t->settings, t->easy) < 0)
            return UV_ENOMEM;
    }
    return go(t, r->url);
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
    ab_box *box = t->op.box;
    const ab_lines *from = t->lines ? t->lines : t->client->lines;
    if (!flags || !from)
        return 0;
    if (!(flags & AB_LINES_NO_CONTENT) && has_body(t))
        flags |= AB_LINES_BODY;
    ab_lines *lines = ab_lines_new(box, from->text, from->text_bytes, flags);
    if (!lines)
        return UV_ENOMEM;
    ab_lines_free(box, t->lines);
    t->lines = lines;
    return 0;
}

/* Goes where the response points to. 0, or a code. */
static int follow_to(ab_transfer *t, const char *url)
{
    ab_box *box = t->op.box;
    ab_easy *easy = t->easy;
    char host[AB_TRANSFER_HOST_MAX];
    int port, is_tls;
    if (t->redirects == 0) {
        t->limit = "redirects";
        return ASYNCBOX_ELIMIT;
    }
    int err = ab_transfer_parse(url, host, &port, &is_tls);
    if (err)
        return err;
    if (!ab_settings_is_unix(t) &&
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
        free_bytes(box, &t->upload);
        flags |= AB_LINES_NO_CONTENT;
    }
    if (t->feed) {
        strcpy(easy->error, "a redirect asks for the body again, which can be "
                            "read only once");
        return ASYNCBOX_EHTTP;
    }
    err = strip_lines(t, flags);
    if (err)
        return err;
    t->redirects--;
    t->status = 0;
    t->in_body = t->redirect = 0;
    t->headers.length = t->body.length = 0;
    return go(t, url);
}

/* A login in the URL that a server sends us to is not the script's. */
static int follow(ab_transfer *t, const char *url)
{
    if (!strchr(url, '@'))
        return follow_to(t, url);
    const ab_curl *curl = t->client->curl;
    char *plain = ab_url_without_login(curl, url);
    int err = plain ? follow_to(t, plain) : ASYNCBOX_EURL;
    curl->free(plain);
    return err;
}

/* ---- the end ---- */

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

/* The code for what curl reports. */
static int translate(const ab_transfer *t, CURLcode code)
{
    long os_errno = 0;
    switch ((int)code) {
    case CURLE_OPERATION_TIMEDOUT:
        return UV_ETIMEDOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
        return UV_EAI_NONAME;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ASYNCBOX_EURL;
    case CURLE_OUT_OF_MEMORY:
        return UV_ENOMEM;
    case CURLE_COULDNT_CONNECT:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        t->client->curl->easy_getinfo(t->easy->curl, CURLINFO_OS_ERRNO,
                                      &os_errno);
        if (os_errno > 0)
            return uv_translate_sys_error((int)os_errno);
        return ASYNCBOX_EHTTP;
    }
    return is_tls_failure(code) ? ASYNCBOX_ETLS : ASYNCBOX_EHTTP;
}

void ab_transfer_done(ab_transfer *t, CURLcode code)
{
    int status = 0;
    if (code != CURLE_OK) {
        status = t->failure ? t->failure : translate(t, code);
    } else if (t->redirect) {
        char *url = NULL;
        t->client->curl->easy_getinfo(t->easy->curl, CURLINFO_REDIRECT_URL,
                                      &url);
        status = url ? follow(t, url) : 0;
        if (t->running)
            return;
    }
    t->ended_ns = ab_loop_real_now();
    ab_feed_detach(t);
    ab_op_finish(&t->op, status);
}

void ab_transfer_cancel(ab_op *op)
{
    ab_transfer *t = (ab_transfer *)op;
    if (t->running)
        t->client->curl->multi_remove_handle(t->client->multi, t->easy->curl);
    t->running = 0;
    ab_feed_detach(t);
    ab_op_finish(op, UV_ECANCELED);
}

void ab_transfer_drop(ab_op *op)
{
    ab_transfer *t = (ab_transfer *)op;
    ab_list_remove(&t->link);
    if (t->easy)
        ab_easy_give(t->easy);
    t->easy = NULL;
    ab_feed_detach(t);
    ab_lines_free(op->box, t->lines);
    t->lines = NULL;
    ab_settings_free(op->box, t->settings);
    t->settings = NULL;
    free_bytes(op->box, &t->headers);
    free_bytes(op->box, &t->body);
    free_bytes(op->box, &t->upload);
}

const char *ab_transfer_url(const ab_transfer *t)
{
    char *url = NULL;
    if (t->easy)
        t->client->curl->easy_getinfo(t->easy->curl, CURLINFO_EFFECTIVE_URL,
                                      &url);
    return url ? url : "";
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
