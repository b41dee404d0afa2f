/* transfer_body.c - the body: its buffer, its bounds, who waits for it.
 *
 * What curl gives is kept until somebody takes it.  When AB_TRANSFER_BUFFER
 * bytes are there that nobody waits for, curl is paused, and goes on when a
 * task wants more than there is.  While a task reads, the bound is higher: to
 * pause and go on costs calls into the kernel.  Curl keeps what the piece that
 * it has read last (64 KiB) still comes to, compressed perhaps very much, up to
 * 64 MiB, and gives it when it goes on: then all of it is taken, up to
 * max_whole, as curl would copy what is left at each further pause. */
#include "transfer_client.h"
#include <string.h>

/* ---- bytes ---- */

/* The first piece gets just the room that it needs: most bodies are one
 * piece. */
int ab_bytes_add(ab_box *box, ab_bytes *bytes, const char *data, size_t n)
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

void ab_bytes_free(ab_box *box, ab_bytes *bytes)
{
    if (bytes->data)
        ab_box_free(box, bytes->data, bytes->capacity);
    memset(bytes, 0, sizeof *bytes);
}

/* Room for n more: where it is, by moving what is unread, or by growing. */
static int make_room(ab_transfer *t, size_t n)
{
    ab_bytes *body = &t->body;
    if (n <= body->capacity - body->length)
        return 0;
    size_t unread = body->length - t->body_at;
    if (t->body_at && n <= body->capacity - unread &&
        unread <= body->capacity / 2) {
        memmove(body->data, body->data + t->body_at, unread);
        body->length = unread;
        t->body_at = 0;
        return 0;
    }
    /* All of it will be wanted: a body of known length gets its room once. */
    size_t capacity = body->length + n;
    int64_t length = t->want == SIZE_MAX ? ab_transfer_length(t) : -1;
    if (length > 0 && (uint64_t)length <= t->bounds.max_whole &&
        (size_t)length > capacity)
        capacity = (size_t)length;
    else if (capacity < 2 * body->capacity)
        capacity = 2 * body->capacity;
    char *grown = ab_box_realloc(t->box, body->data, body->capacity, capacity);
    if (!grown)
        return UV_ENOMEM;
    body->data = grown;
    body->capacity = capacity;
    return 0;
}

/* ---- who waits ---- */

static int is_waiting(const ab_transfer *t)
{
    return t->waiter && !t->waiter->finished;
}

void ab_transfer_tell(ab_transfer *t)
{
    if (!is_waiting(t))
        return;
    int over = t->headed ? ab_transfer_ready(t, t->want) : t->done;
    if (!over)
        return;
    if (t->client)
        t->client->woken = 1;
    ab_op_finish(t->waiter, t->headed ? 0 : t->failure);
}

static int is_full(const ab_transfer *t)
{
    size_t unread = ab_transfer_unread(t);
    int is_read = t->waiter && t->want > 0; /* not the wait for the head */
    size_t bound = is_read ? AB_TRANSFER_AHEAD : AB_TRANSFER_BUFFER;
    return unread + CURL_MAX_WRITE_SIZE > bound &&
           !(is_waiting(t) && t->want > unread);
}

CURLcode ab_transfer_pause(ab_transfer *t, int receiving, int sending)
{
    if ((t->paused == receiving && t->send_paused == sending) || !t->running)
        return CURLE_OK;
    t->paused = (unsigned char)receiving;
    t->send_paused = (unsigned char)sending;
    return t->client->curl->easy_pause(t->easy->curl,
                                       (receiving ? CURLPAUSE_RECV : 0) |
                                           (sending ? CURLPAUSE_SEND : 0));
}

static void pause_if_full(ab_transfer *t)
{
    if (!t->paused && !t->resuming && is_full(t))
        ab_transfer_pause(t, 1, t->send_paused);
}

static void resume(ab_transfer *t)
{
    t->resuming = 1;
    CURLcode code = ab_transfer_pause(t, 0, t->send_paused);
    t->resuming = 0;
    if (!t->running)
        return;
    /* What curl has kept comes from inside that call.  If it is refused there,
     * curl drops it and goes on as if nothing were missing. */
    if (t->refused)
        ab_transfer_abort(t, t->failure, t->limit);
    else if (code && code != CURLE_BAD_FUNCTION_ARGUMENT) /* at its end */
        ab_transfer_abort(t, ab_transfer_translate(t, code), NULL);
}

void ab_transfer_await(ab_transfer *t, ab_transfer_wait *w, size_t want)
{
    t->refs++;
    w->transfer = t;
    t->waiter = &w->op;
    t->want = want;
    ab_transfer_watch_stall(t);
    resume(t);
    ab_transfer_tell(t);
    pause_if_full(t);
}

void ab_transfer_swap(ab_transfer *t, ab_bytes *bytes, size_t *at)
{
    ab_bytes full = t->body;
    *at = t->body_at;
    t->body = *bytes;
    t->body.length = t->body_at = 0;
    *bytes = full;
    resume(t);
    pause_if_full(t);
}

void ab_transfer_waited(ab_transfer_wait *w)
{
    if (w->transfer && w->transfer->waiter == &w->op)
        w->transfer->waiter = NULL;
}

void ab_transfer_take(ab_transfer *t, size_t n)
{
    t->body_at += n;
    if (t->body_at < t->body.length)
        return;
    t->body_at = t->body.length = 0;
    if (t->done || t->body.capacity > 2 * AB_TRANSFER_AHEAD)
        ab_bytes_free(t->box, &t->body);
}

int64_t ab_transfer_length(const ab_transfer *t)
{
    curl_off_t length = -1;
    if (t->done && !t->failure)
        return (int64_t)t->received;
    if (t->easy)
        t->client->curl->easy_getinfo(
            t->easy->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return length;
}

/* ---- what comes ---- */

static size_t skip(ab_transfer *t, size_t n)
{
    t->received += n;
    return t->received <= AB_TRANSFER_SKIP
               ? n
               : ab_transfer_refuse(t, ASYNCBOX_ELIMIT, "max_body");
}

size_t ab_transfer_on_body(char *data, size_t one, size_t n, void *arg)
{
    (void)one;
    ab_transfer *t = ((ab_easy *)arg)->transfer;
    t->in_body = 1;
    t->active_ms = uv_now(&t->box->loop.uv);
    if (t->redirect)
        return skip(t, n);
    if (n > t->bounds.max_body - t->received ||
        n > t->bounds.max_whole - ab_transfer_unread(t))
        return ab_transfer_refuse(t, ASYNCBOX_ELIMIT, "max_body");
    if ((!t->headed && ab_transfer_head_ends(t) < 0) || make_room(t, n) < 0)
        return ab_transfer_refuse(t, UV_ENOMEM, NULL);
    memcpy(t->body.data + t->body.length, data, n);
    t->body.length += n;
    t->received += n;
    ab_transfer_tell(t);
    pause_if_full(t);
    return n;
}
