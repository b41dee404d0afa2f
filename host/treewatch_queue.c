/* treewatch_queue.c - memory of a tree that is watched, and its events. */
#include "treewatch_parts.h"

#ifdef __linux__
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* How far identical events are looked for. */
enum { LOOK_BACK = 1024 };

/* ---- memory: malloc's, since the box's is for another thread ---- */

void *ab_tree_hub_alloc(ab_tree_hub *hub, void *block, size_t old_bytes,
                        size_t new_bytes)
{
    if (new_bytes <= old_bytes) { /* all of it is given back */
        if (block)
            atomic_fetch_sub(&hub->bytes, old_bytes);
        free(block);
        return NULL;
    }
    size_t more = new_bytes - old_bytes;
    size_t held = atomic_fetch_add(&hub->bytes, more) + more;
    block = held > atomic_load(&hub->budget) ? NULL : realloc(block, new_bytes);
    if (!block)
        atomic_fetch_sub(&hub->bytes, more);
    return block;
}

size_t ab_tree_hub_bytes(const ab_tree_hub *hub)
{
    return atomic_load(&hub->bytes);
}

void ab_tree_hub_set_budget(ab_tree_hub *hub, size_t bytes, size_t inboxes)
{
    atomic_store(&hub->budget, bytes);
    atomic_store(&hub->inbox_max, inboxes);
}

void *ab_tree_alloc(ab_tree *t, void *block, size_t old_bytes, size_t new_bytes)
{
    void *got = ab_tree_hub_alloc(t->hub, block, old_bytes, new_bytes);
    if (got)
        t->bytes += new_bytes - old_bytes;
    else if (new_bytes == 0 && block)
        t->bytes -= old_bytes;
    return got;
}

void ab_tree_give_text(ab_tree *t, char *text)
{
    ab_tree_alloc(t, text, text ? strlen(text) + 1 : 0, 0);
}

char *ab_tree_join(ab_tree *t, const char *a, const char *b)
{
    size_t len = strlen(a), size = len + strlen(b) + 2;
    int slash = len > 0 && *b && a[len - 1] != '/';
    size -= slash ? 0 : 1;
    char *text = ab_tree_alloc(t, NULL, 0, size);
    if (text)
        snprintf(text, size, "%s%s%s", a, slash ? "/" : "", b);
    return text;
}

int ab_tree_make_room(ab_tree *t, void **list, size_t count, size_t *cap,
                      size_t size)
{
    if (count < *cap)
        return 0;
    size_t want = *cap ? *cap * 2 : 16;
    void *more = ab_tree_alloc(t, *list, *cap * size, want * size);
    if (!more)
        return UV_ENOMEM;
    *list = more;
    *cap = want;
    return 0;
}

uint32_t ab_tree_hash(const char *text)
{
    uint32_t h = 2166136261u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 16777619u;
    return h;
}

/* ---- events ---- */

void ab_tree_drop(ab_tree *t, ab_tree_event *e)
{
    ab_tree_give_text(t, e->path);
    ab_tree_give_text(t, e->from);
}

/* The latest event about a path, or NULL. */
static ab_tree_event *latest(ab_tree *t, const char *path, uint32_t hash)
{
    size_t end =
        t->count > t->first + LOOK_BACK ? t->count - LOOK_BACK : t->first;
    for (size_t i = t->count; i-- > end;) {
        ab_tree_event *e = &t->events[i];
        if (e->hash == hash && strcmp(e->path, path) == 0)
            return e;
        if (e->from && strcmp(e->from, path) == 0)
            return NULL;
    }
    return NULL;
}

int ab_tree_add(ab_tree *t, ab_tree_kind kind, const char *below, int directory,
                uint32_t cookie)
{
    char *path = ab_tree_join(t, t->path, t->leaf ? "" : below);
    if (!path)
        return UV_ENOMEM;
    uint32_t hash = ab_tree_hash(path);
    ab_tree_event *same = latest(t, path, hash);
    if (same && same->kind == kind) {
        t->halves += cookie && !same->cookie;
        same->cookie = cookie ? cookie : same->cookie;
        ab_tree_give_text(t, path);
        return 0;
    }
    if (t->count - t->first >= AB_TREE_QUEUE_MAX && kind != AB_TREE_OVERFLOW) {
        t->missed = 1;
        ab_tree_give_text(t, path);
        return 0;
    }
    if (t->first && t->count == t->cap) {
        memmove(t->events, t->events + t->first,
                (t->count - t->first) * sizeof *t->events);
        t->count -= t->first;
        t->first = 0;
    }
    int err = ab_tree_make_room(t, (void **)&t->events, t->count, &t->cap,
                                sizeof *t->events);
    if (err) {
        ab_tree_give_text(t, path);
        return err;
    }
    t->halves += cookie != 0;
    t->events[t->count++] = (ab_tree_event){.kind = kind,
                                            .directory = directory,
                                            .cookie = cookie,
                                            .hash = hash,
                                            .path = path};
    return 0;
}

const ab_tree_event *ab_tree_first(const ab_tree *t)
{
    return t->first < t->count ? &t->events[t->first] : NULL;
}

void ab_tree_shift(ab_tree *t)
{
    ab_tree_drop(t, &t->events[t->first++]);
    if (t->first == t->count)
        t->first = t->count = 0;
}

#endif
