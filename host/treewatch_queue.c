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

static void *take(ab_tree *t, void *block, size_t old_bytes, size_t new_bytes)
{
    size_t more = new_bytes - old_bytes;
    if (t->bytes + more > t->budget)
        return NULL;
    block = realloc(block, new_bytes);
    if (block)
        t->bytes += more;
    return block;
}

static void give_back(ab_tree *t, void *block, size_t bytes)
{
    if (block)
        t->bytes -= bytes;
    free(block);
}

void ab_tree_give_text(ab_tree *t, char *text)
{
    give_back(t, text, text ? strlen(text) + 1 : 0);
}

char *ab_tree_join(ab_tree *t, const char *a, const char *b)
{
    size_t len = strlen(a), size = len + strlen(b) + 2;
    int slash = len > 0 && *b && a[len - 1] != '/';
    size -= slash ? 0 : 1;
    char *text = take(t, NULL, 0, size);
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
    void *more = take(t, *list, *cap * size, want * size);
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
