/* resolver.c - the look-ups of a box: started, queued, delivered, cancelled. */
#include "resolver_parts.h"
#include <string.h>

/* ---- one look-up ---- */

static void lookup_free(ab_lookup *l)
{
    ab_box *box = l->resolver->box;
    ab_list_remove(&l->link);
    ab_box_free(box, (void *)l->answer.addresses,
                l->answer.addresses ? AB_ANSWER_MAX * sizeof(ab_sockaddr) : 0);
    ab_box_free(box, (void *)l->answer.text, l->answer.bytes);
    ab_box_free(box, l, l->bytes);
}

int ab_lookup_add_address(ab_lookup *l, const ab_sockaddr *address)
{
    ab_answer *answer = &l->answer;
    if (!answer->addresses)
        answer->addresses =
            ab_box_alloc(l->resolver->box, AB_ANSWER_MAX * sizeof(ab_sockaddr));
    if (!answer->addresses)
        return UV_ENOMEM;
    for (int i = 0; i < answer->count; i++)
        if (ab_sockaddr_equal(&answer->addresses[i], address))
            return 0;
    if (answer->count < AB_ANSWER_MAX)
        ((ab_sockaddr *)answer->addresses)[answer->count++] = *address;
    return 0;
}

int ab_lookup_add_text(ab_lookup *l, const char *text, size_t bytes)
{
    ab_answer *answer = &l->answer;
    char *room = ab_box_realloc(l->resolver->box, (void *)answer->text,
                                answer->bytes, answer->bytes + bytes);
    if (!room)
        return UV_ENOMEM;
    memcpy(room + answer->bytes, text, bytes);
    answer->text = room;
    answer->bytes += bytes;
    answer->count++;
    return 0;
}

void ab_lookup_finish(ab_lookup *l, int status)
{
    ab_list_remove(&l->link);
    l->channel = NULL;
    if (!l->done) {
        lookup_free(l);
        return;
    }
    l->status = status;
    ab_list_append(&l->resolver->done, &l->link);
}

/* ---- the resolver ---- */

void ab_resolver_unref(ab_resolver *r)
{
    if (r->handles == 0 && r->threads_pending == 0)
        ab_box_free(r->box, r, sizeof *r);
}

static void on_timer_closed(uv_handle_t *handle)
{
    ab_resolver *r = ab_container(handle, ab_resolver, timer);
    r->handles--;
    ab_resolver_unref(r);
}

static void on_timer(uv_timer_t *timer)
{
    ab_resolver *r = ab_container(timer, ab_resolver, timer);
    ab_channels_tick(r);
    /* libuv runs timers that are due before it asks the kernel, where it would
     * wait although a task can go on now. */
    if (ab_resolver_deliver(r))
        uv_stop(timer->loop);
}

/* Sets the timer for the next timeout. */
static void rearm(ab_resolver *r)
{
    if (r->closing)
        return;
    int64_t ms = ab_list_empty(&r->done) ? ab_channels_timeout(r) : 0;
    if (ms < 0) {
        uv_timer_stop(&r->timer);
        return;
    }
    if (ms > 0) /* the loop's idea of now may be a turn old */
        uv_update_time(&r->box->loop.uv);
    uv_timer_start(&r->timer, on_timer, (uint64_t)ms, 0);
}

static void end_list(ab_link *list)
{
    for (ab_link *link; (link = ab_list_first(list));)
        ab_lookup_finish(ab_container(link, ab_lookup, link), ASYNCBOX_ECLOSED);
}

/* Those in threads stay there, with memory of their own. */
static void leave_threads(ab_resolver *r)
{
    for (ab_link *link; (link = ab_list_first(&r->threads));) {
        ab_lookup *l = ab_container(link, ab_lookup, link);
        l->request->data = NULL;
        uv_cancel((uv_req_t *)l->request);
        ab_lookup_finish(l, ASYNCBOX_ECLOSED);
    }
}

static void on_box_close(ab_closer *closer)
{
    ab_resolver *r = (ab_resolver *)(void *)closer;
    r->closing = 1;
    end_list(&r->waiting);
    ab_channels_close(r);
    leave_threads(r);
    ab_resolver_deliver(r);
    r->box->resolver = NULL;
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

/* The box's resolver, made when there is none. */
static int obtain(ab_box *box, ab_resolver **out)
{
    if (box->closing)
        return ASYNCBOX_ECLOSED;
    ab_resolver *r = *out = box->resolver;
    if (r)
        return 0;
    r = ab_box_alloc(box, sizeof *r);
    if (!r)
        return UV_ENOMEM;
    memset(r, 0, sizeof *r);
    r->box = box;
    r->closer.close = on_box_close;
    ab_list_init(&r->channels);
    ab_list_init(&r->waiting);
    ab_list_init(&r->done);
    ab_list_init(&r->threads);
    uv_timer_init(&box->loop.uv, &r->timer);
    r->handles = 1;
    ab_list_append(&box->closers, &r->closer.link);
    *out = box->resolver = r;
    return 0;
}

static const ab_cares *cares_of(ab_resolver *r)
{
    if (!r->opened) {
        r->opened = 1;
        r->cares = ab_cares_open();
    }
    return r->config.threads ? NULL : r->cares;
}

/* 1: it is on its way; 0: it has to wait for another one's end; or a code. */
static int begin(ab_lookup *l)
{
    ab_resolver *r = l->resolver;
    if (cares_of(r))
        return ab_channel_take(r, l);
    if (l->kind != AB_LOOKUP_ADDRESSES || r->config.count)
        return UV_ENOTSUP;
    int err = ab_lookup_by_thread(l);
    return err ? err : 1;
}

static void start_waiting(ab_resolver *r)
{
    for (ab_link *link; !r->closing && (link = ab_list_first(&r->waiting));) {
        ab_lookup *l = ab_container(link, ab_lookup, link);
        int began = begin(l);
        if (began == 0)
            return;
        if (began < 0)
            ab_lookup_finish(l, began);
    }
}

int ab_resolver_deliver(ab_resolver *r)
{
    int delivered = 0;
    for (ab_link *link; (link = ab_list_first(&r->done)); delivered++) {
        ab_lookup *l = ab_container(link, ab_lookup, link);
        ab_list_remove(link);
        int status = r->closing ? ASYNCBOX_ECLOSED : l->status;
        ab_lookup_fn done = l->done;
        l->done = NULL;
        done(l->data, status, status < 0 ? NULL : &l->answer);
        lookup_free(l);
    }
    start_waiting(r);
    rearm(r);
    return delivered;
}

/* ---- starting ---- */

static int lookup_new(ab_box *box, ab_lookup_kind kind, const char *name,
                      ab_lookup_fn done, void *data, ab_lookup **out)
{
    ab_resolver *r;
    int err = obtain(box, &r);
    if (err)
        return err;
    size_t name_bytes = strlen(name) + 1, bytes = sizeof **out + name_bytes;
    ab_lookup *l = ab_box_alloc(box, bytes);
    if (!l)
        return UV_ENOMEM;
    memset(l, 0, sizeof *l);
    memcpy(l->name, name, name_bytes);
    l->bytes = bytes;
    l->resolver = r;
    l->kind = kind;
    l->done = done;
    l->data = data;
    *out = l;
    return 0;
}

/* The end of each ab_lookup_...: 0, or the code, and then the lookup is gone.
 */
static int launch(ab_lookup *l)
{
    ab_resolver *r = l->resolver;
    int began = ab_list_empty(&r->waiting) ? begin(l) : 0;
    if (began < 0) {
        lookup_free(l);
        return began;
    }
    if (began == 0)
        ab_list_append(&r->waiting, &l->link);
    rearm(r);
    return 0;
}

int ab_lookup_start(ab_box *box, const char *name, int family,
                    ab_lookup_fn done, void *data, ab_lookup **out)
{
    ab_sockaddr plain[2];
    ab_lookup *l;
    if (!ab_lookup_name_fits(name))
        return UV_EINVAL;
    int err = lookup_new(box, AB_LOOKUP_ADDRESSES, name, done, data, &l);
    if (err)
        return err;
    l->family = family;
    int count = ab_lookup_literal(name, family, plain);
    for (int i = 0; i < count; i++)
        err = err ? err : ab_lookup_add_address(l, &plain[i]);
    if (err) {
        lookup_free(l);
    } else if (count) {
        ab_lookup_finish(l, count < 0 ? count : 0);
        rearm(l->resolver);
    } else {
        err = launch(l);
    }
    if (!err)
        *out = l;
    return err;
}

int ab_lookup_reverse(ab_box *box, const ab_sockaddr *address,
                      ab_lookup_fn done, void *data, ab_lookup **out)
{
    ab_lookup *l;
    int err = lookup_new(box, AB_LOOKUP_NAMES, "", done, data, &l);
    if (err)
        return err;
    l->address = *address;
    err = launch(l);
    if (!err)
        *out = l;
    return err;
}

int ab_lookup_records(ab_box *box, const char *name, int type,
                      ab_lookup_fn done, void *data, ab_lookup **out)
{
    ab_lookup *l;
    if (!ab_lookup_name_fits(name))
        return UV_EINVAL;
    int err = lookup_new(box, AB_LOOKUP_RECORDS, name, done, data, &l);
    if (err)
        return err;
    l->type = type;
    err = launch(l);
    if (!err)
        *out = l;
    return err;
}

void ab_lookup_cancel(ab_lookup *l)
{
    ab_resolver *r = l->resolver;
    if (l->channel) {
        ab_channel_forget(l);
        start_waiting(r);
    } else {
        if (l->request) {
            l->request->data = NULL;
            uv_cancel((uv_req_t *)l->request);
        }
        lookup_free(l);
    }
    rearm(r);
}

/* ---- configuring ---- */

int ab_resolver_configure(ab_box *box, const ab_resolver_config *config)
{
    ab_resolver *r;
    int err = obtain(box, &r);
    if (err)
        return err;
    r->config = *config;
    r->serial++;
    ab_channels_retire(r);
    rearm(r);
    return 0;
}

unsigned ab_resolver_serial(const ab_box *box)
{
    return box->resolver ? box->resolver->serial : 0;
}

int ab_resolver_servers(ab_box *box, ab_sockaddr out[AB_SERVERS_MAX])
{
    ab_resolver *r;
    int err = obtain(box, &r);
    if (err)
        return err;
    return cares_of(r) ? ab_channel_servers(r, out) : UV_ENOTSUP;
}
