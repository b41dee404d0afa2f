/* fs_watch_loop.c - what the watches of a box share on its loop: the hub of
 * host/treewatch.h, polled as long as a watch waits; see fs.h. */
#include "fs.h"
#include <stdlib.h>

/* What all watches that are not asked may keep together: so much, and no more
 * than this part of the box's limit. */
enum { INBOXES_MAX = 64 << 20, INBOXES_PART = 8 };

/* ---- life ---- */

ab_fs_watches *ab_fs_watches_new(ab_box *box)
{
    ab_fs_watches *all = calloc(1, sizeof *all);
    if (!all)
        return NULL;
    all->hub = ab_tree_hub_new(&box->grants);
    if (!all->hub) {
        free(all);
        return NULL;
    }
    all->box = box;
    all->refs = 1;
    ab_list_init(&all->waiting);
    return all;
}

ab_fs_watches *ab_fs_watches_ref(ab_fs_watches *all)
{
    all->refs++;
    return all;
}

void ab_fs_watches_unref(ab_fs_watches *all)
{
    if (--all->refs > 0)
        return;
    ab_fs_watches_count(all);
    ab_tree_hub_free(all->hub);
    free(all);
}

/* ---- memory: taken from malloc in the pool, so it is booked here ---- */

void ab_fs_watches_count(ab_fs_watches *all)
{
    ab_limits *l = &all->box->limits;
    size_t held = ab_tree_hub_bytes(all->hub);
    l->used_bytes += held - all->charged;
    all->charged = held;
    size_t left = ab_fs_budget(l), inboxes = l->cap_bytes / INBOXES_PART;
    ab_tree_hub_set_budget(all->hub, left == SIZE_MAX ? SIZE_MAX : held + left,
                           inboxes < INBOXES_MAX ? inboxes : INBOXES_MAX);
}

/* ---- hearing ---- */

static void stop_poll(ab_fs_watches *all)
{
    if (all->state == AB_FS_POLL)
        uv_poll_stop(&all->poll);
}

static void tell(ab_fs_watches *all, int err)
{
    for (ab_link *l = all->waiting.next, *next; l != &all->waiting; l = next) {
        ab_fs_listener *listener = ab_container(l, ab_fs_listener, link);
        next = l->next;
        if (!err && !ab_tree_heard(listener->tree))
            continue;
        ab_list_remove(l);
        listener->heard(listener, err);
    }
    if (ab_list_empty(&all->waiting))
        stop_poll(all);
}

void ab_fs_watches_look(ab_fs_watches *all)
{
    ab_fs_watches_count(all);
    if (ab_tree_hub_news(all->hub))
        tell(all, 0);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    (void)status; /* an error shows in reading */
    (void)events;
    ab_fs_watches *all = handle->data;
    ab_fs_watches_count(all);
    int err = ab_tree_hub_read(all->hub);
    if (err)
        tell(all, err);
    else
        ab_fs_watches_look(all);
}

static int start_poll(ab_fs_watches *all)
{
    if (all->state == AB_FS_POLL_CLOSES) /* on_poll_closed goes on */
        return 0;
    if (all->state == AB_FS_NO_POLL) {
        int err = uv_poll_init(&all->box->loop.uv, &all->poll,
                               ab_tree_hub_fd(all->hub));
        if (err)
            return err;
        all->poll.data = ab_fs_watches_ref(all);
        all->state = AB_FS_POLL;
    }
    return uv_is_active((uv_handle_t *)&all->poll)
               ? 0
               : uv_poll_start(&all->poll, UV_READABLE, on_readable);
}

static void on_poll_closed(uv_handle_t *handle)
{
    ab_fs_watches *all = handle->data;
    all->state = AB_FS_NO_POLL;
    int err = ab_list_empty(&all->waiting) ? 0 : start_poll(all);
    if (err)
        tell(all, err);
    ab_fs_watches_unref(all);
}

int ab_fs_watches_wait(ab_fs_watches *all, ab_fs_listener *listener)
{
    int err = start_poll(all);
    if (!err)
        ab_list_append(&all->waiting, &listener->link);
    return err;
}

void ab_fs_watches_unwait(ab_fs_watches *all, ab_fs_listener *listener)
{
    ab_list_remove(&listener->link);
    if (ab_list_empty(&all->waiting))
        stop_poll(all);
}

void ab_fs_watches_open(ab_fs_watches *all)
{
    all->open++;
    all->box->live_handles++;
}

void ab_fs_watches_leave(ab_fs_watches *all)
{
    if (--all->open > 0 || all->state != AB_FS_POLL)
        return;
    all->state = AB_FS_POLL_CLOSES;
    uv_close((uv_handle_t *)&all->poll, on_poll_closed);
}

void ab_fs_watches_closed(ab_fs_watches *all)
{
    all->box->live_handles--;
    ab_fs_watches_look(all);
}
