/* transfer_feed.c - see transfer_feed.h; curl's read callback is here. */
#include "transfer_feed.h"
#include "transfer_client.h"
#include <string.h>

enum {
    FULL = 64 * 1024,  /* as much as curl takes at once */
    KEEP = 1024 * 1024 /* larger buffers are not kept once they are empty */
};

struct ab_feed {
    ab_box *box;
    ab_transfer *transfer; /* who sends it, or NULL */
    ab_op *waiter;         /* for room, or NULL */
    ab_op *end_waiter;     /* for all to be sent, or NULL */
    char *data;            /* data[from .. to) is not yet sent */
    size_t capacity, from, to;
    int64_t length;      /* -1: not known */
    int64_t taken;       /* put in so far */
    unsigned held : 1;   /* by the script's side */
    unsigned whole : 1;  /* ended as it should */
    unsigned paused : 1; /* curl waits to be told that there is more */
    unsigned over : 1;   /* nobody wants more */
    unsigned sent : 1;   /* curl knows that it was all */
    unsigned lost : 1;   /* the server has ended the connection */
};

static void free_if_alone(ab_feed *f)
{
    if (f->held || f->transfer)
        return;
    if (f->data)
        ab_box_free(f->box, f->data, f->capacity);
    ab_box_free(f->box, f, sizeof *f);
}

static void wake(ab_feed *f, ab_op **slot)
{
    ab_op *op = *slot;
    *slot = NULL;
    if (op && f->transfer && f->transfer->client)
        f->transfer->client->woken = 1;
    if (op)
        ab_op_finish(op, 0);
}

/* Curl asks again for what it was told to wait for. */
static void resume(ab_feed *f)
{
    ab_transfer *t = f->transfer;
    if (!f->paused || !t || !t->running)
        return;
    f->paused = 0;
    ab_transfer_pause(t, t->paused, 0);
}

/* ---- the script's side ---- */

ab_feed *ab_feed_new(ab_box *box, int64_t length)
{
    ab_feed *f = ab_box_alloc(box, sizeof *f);
    if (!f)
        return NULL;
    memset(f, 0, sizeof *f);
    f->box = box;
    f->length = length;
    f->held = 1;
    return f;
}

void ab_feed_free(ab_feed *f)
{
    f->held = 0;
    f->waiter = f->end_waiter = NULL;
    resume(f);
    free_if_alone(f);
}

int ab_feed_is_over(const ab_feed *f) { return f->over; }

static int make_room(ab_feed *f, size_t bytes)
{
    if (bytes <= f->capacity - f->to)
        return 0;
    size_t used = f->to - f->from;
    if (f->from > 0)
        memmove(f->data, f->data + f->from, used);
    f->from = 0;
    f->to = used;
    if (bytes <= f->capacity - used)
        return 0;
    size_t capacity = f->capacity ? 2 * f->capacity : 4096;
    if (capacity < used + bytes)
        capacity = used + bytes;
    char *data = ab_box_realloc(f->box, f->data, f->capacity, capacity);
    if (!data)
        return UV_ENOMEM;
    f->data = data;
    f->capacity = capacity;
    return 0;
}

int ab_feed_put(ab_feed *f, const char *data, size_t bytes)
{
    if (f->over || bytes == 0)
        return 0;
    if (f->length >= 0 && bytes > (uint64_t)(f->length - f->taken))
        return UV_E2BIG;
    int err = make_room(f, bytes);
    if (err)
        return err;
    memcpy(f->data + f->to, data, bytes);
    f->to += bytes;
    f->taken += (int64_t)bytes;
    resume(f);
    return 0;
}

int ab_feed_end(ab_feed *f)
{
    if (f->length >= 0 && f->taken < f->length && !f->over)
        return UV_EINVAL;
    f->whole = 1;
    resume(f);
    return 0;
}

int ab_feed_is_full(const ab_feed *f)
{
    return !f->over && f->to - f->from >= FULL;
}

void ab_feed_wait(ab_feed *f, ab_op *op) { f->waiter = op; }

void ab_feed_unwait(ab_feed *f) { f->waiter = NULL; }

int ab_feed_is_sent(const ab_feed *f) { return f->over || f->sent; }

void ab_feed_wait_sent(ab_feed *f, ab_op *op) { f->end_waiter = op; }

void ab_feed_unwait_sent(ab_feed *f) { f->end_waiter = NULL; }

/* ---- the transfer's side ---- */

static void let_buffer_go(ab_feed *f)
{
    f->from = f->to = 0;
    if (f->capacity <= KEEP)
        return;
    ab_box_free(f->box, f->data, f->capacity);
    f->data = NULL;
    f->capacity = 0;
}

static size_t on_read(char *out, size_t one, size_t n, void *arg)
{
    ab_transfer *t = ((ab_easy *)arg)->transfer;
    ab_feed *f = t->feed;
    size_t bytes = f->to - f->from;
    /* The script stops when the server has refused, curl goes on when that was
     * with "Connection: close".  And who has answered may go. */
    int refused = (!f->held && t->status >= 300) || (f->lost && t->status);
    if (bytes == 0 && (f->whole || refused)) {
        /* What was promised is not sent: nothing else may follow it. */
        if (!f->whole)
            t->client->curl->easy_setopt(t->easy->curl, CURLOPT_FORBID_REUSE,
                                         1L);
        f->sent = 1;
        wake(f, &f->end_waiter);
        return 0;
    }
    if (f->lost || (bytes == 0 && !f->held)) {
        t->failure = f->lost ? UV_EOF : UV_ECANCELED;
        return CURL_READFUNC_ABORT;
    }
    if (bytes == 0) {
        f->paused = 1;
        t->send_paused = 1;
        return CURL_READFUNC_PAUSE;
    }
    if (bytes > one * n)
        bytes = one * n;
    memcpy(out, f->data + f->from, bytes);
    f->from += bytes;
    if (f->from == f->to)
        let_buffer_go(f);
    if (!ab_feed_is_full(f))
        wake(f, &f->waiter);
    return bytes;
}

void ab_feed_attach(ab_transfer *t, ab_feed *f)
{
    t->feed = f;
    t->client->feeds++;
    f->transfer = t;
}

void ab_feed_detach(ab_transfer *t)
{
    ab_feed *f = t->feed;
    if (!f)
        return;
    t->feed = NULL;
    f->over = 1;
    f->paused = 0;
    wake(f, &f->waiter);
    wake(f, &f->end_waiter);
    f->transfer = NULL;
    if (t->client)
        t->client->feeds--;
    free_if_alone(f);
}

int ab_feed_set(ab_transfer *t)
{
    ab_easy *easy = t->easy;
    const ab_curl *curl = t->client->curl;
    CURL *c = easy->curl;
    unsigned bad = 0;
    bad |= curl->easy_setopt(c, CURLOPT_UPLOAD, 1L);
    bad |= curl->easy_setopt(c, CURLOPT_INFILESIZE_LARGE,
                             (curl_off_t)t->feed->length);
    bad |= curl->easy_setopt(c, CURLOPT_READDATA, easy);
    bad |= curl->easy_setopt(c, CURLOPT_READFUNCTION, on_read);
    bad |= curl->easy_setopt(c, CURLOPT_CUSTOMREQUEST, t->method);
    return bad ? UV_ENOMEM : 0;
}

void ab_feed_answered(ab_transfer *t)
{
    if (t->feed && t->feed->paused)
        t->client->nudge = 1;
}

void ab_feed_unheard(ab_client *client, CURL *curl)
{
    char *private = NULL;
    client->curl->easy_getinfo(curl, CURLINFO_PRIVATE, &private);
    const ab_easy *easy = (ab_easy *)(void *)private;
    ab_transfer *t = easy ? easy->transfer : NULL;
    if (!t || !t->feed || !t->feed->paused || t->paused)
        return;
    t->feed->lost = 1;
    client->nudge = 1;
}

void ab_feed_nudge(ab_client *client)
{
    client->nudge = 0;
    for (ab_link *l = client->transfers.next; l != &client->transfers;
         l = l->next) {
        ab_transfer *t = ab_container(l, ab_transfer, link);
        if (t->feed && (t->status >= 300 || t->feed->lost))
            resume(t->feed);
    }
}
