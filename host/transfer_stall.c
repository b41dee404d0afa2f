/* transfer_stall.c - ends transfers from which nothing comes any more.
 *
 * Only the time counts in which a task waits: what a script leaves unread does
 * not stall.  Curl's own bound for slow transfers knows whole seconds and
 * averages only. */
#include "transfer_client.h"

static uint64_t bound_ms(const ab_transfer *t)
{
    uint64_t ms = (uint64_t)(t->bounds.stall_ns / 1000000);
    return ms + (t->bounds.stall_ns % 1000000 != 0);
}

static void on_stall_timer(uv_timer_t *timer);

static void look_again(ab_client *client, uint64_t after_ms)
{
    uv_timer_t *timer = &client->stall_timer;
    if (uv_is_active((uv_handle_t *)timer) &&
        uv_timer_get_due_in(timer) <= after_ms)
        return;
    uv_timer_start(timer, on_stall_timer, after_ms, 0);
}

void ab_transfer_watch_stall(ab_transfer *t)
{
    if (t->bounds.stall_ns == INT64_MAX || !t->running)
        return;
    uv_loop_t *loop = &t->box->loop.uv;
    uv_update_time(loop);
    t->active_ms = uv_now(loop);
    look_again(t->client, bound_ms(t));
}

/* What goes out counts too, and connecting has a bound of its own. */
static int has_moved(ab_transfer *t)
{
    const ab_curl *curl = t->client->curl;
    curl_off_t sent = 0, connected_us = 0;
    curl->easy_getinfo(t->easy->curl, CURLINFO_SIZE_UPLOAD_T, &sent);
    curl->easy_getinfo(t->easy->curl, CURLINFO_PRETRANSFER_TIME_T,
                       &connected_us);
    int moved = (uint64_t)sent != t->sent || connected_us == 0;
    t->sent = (uint64_t)sent;
    return moved;
}

/* How long it may still be silent; 0: it is over. */
static uint64_t left_ms(ab_transfer *t, uint64_t now)
{
    uint64_t over = t->active_ms + bound_ms(t);
    if (now < over)
        return over - now;
    if (!has_moved(t))
        return 0;
    t->active_ms = now;
    return bound_ms(t) + 1;
}

static void on_stall_timer(uv_timer_t *timer)
{
    ab_client *client = timer->data;
    uint64_t now = uv_now(timer->loop), next = UINT64_MAX;
    for (ab_link *link = client->transfers.next, *after;
         link != &client->transfers; link = after) {
        ab_transfer *t = ab_container(link, ab_transfer, link);
        after = link->next;
        if (t->bounds.stall_ns == INT64_MAX || !t->running || !t->waiter ||
            t->waiter->finished)
            continue;
        uint64_t left = left_ms(t, now);
        if (!left)
            ab_transfer_abort(t, UV_ETIMEDOUT, "stall");
        else if (left < next)
            next = left;
    }
    if (next != UINT64_MAX)
        look_again(client, next);
    if (client->woken)
        uv_stop(timer->loop);
    client->woken = 0;
}
