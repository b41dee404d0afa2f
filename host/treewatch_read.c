/* treewatch_read.c - what the kernel says of the folders of a tree. */
#include "treewatch_parts.h"

#ifdef __linux__
#include <string.h>
#include <sys/inotify.h>

enum {
    QUEUE_LOW = 1024, /* with so many the rest is left in the inbox */
    /* how late the second half of a renaming may come */
    PAIR_MS = 5,
    PAIR_WORDS = 256, /* of other things in between */
    PAIR_HALVES = 64  /* of other renamings */
};

/* The first half of a renaming that is still waiting for its second. */
static ab_tree_event *half_of(ab_tree *t, uint32_t cookie)
{
    size_t i = t->count;
    for (size_t left = t->halves; left; left -= t->events[i].cookie != 0)
        if (t->events[--i].cookie == cookie)
            return &t->events[i];
    return NULL;
}

/* What of an event's path is below the root. */
static const char *below_root(const ab_tree *t, const char *path)
{
    path += strlen(t->path);
    return *path == '/' ? path + 1 : path;
}

/* The second half of this one does not come: it went out of the tree. */
static void settle(ab_tree *t, ab_tree_event *half)
{
    half->cookie = 0;
    t->halves--;
    if (t->recursive && half->directory)
        ab_tree_unwatch_below(t, below_root(t, half->path));
}

static void settle_halves(ab_tree *t)
{
    for (size_t i = t->count; t->halves;)
        if (t->events[--i].cookie)
            settle(t, &t->events[i]);
}

/* The half that is `path` or a folder above it. */
static ab_tree_event *half_above(ab_tree *t, const char *path)
{
    size_t i = t->count;
    for (size_t left = t->halves; left; left -= t->events[i].cookie != 0) {
        ab_tree_event *e = &t->events[--i];
        if (e->cookie && ab_tree_rest_of(path, below_root(t, e->path)))
            return e;
    }
    return NULL;
}

static int moved_from(ab_tree *t, const struct inotify_event *in,
                      const char *below, int directory)
{
    if (t->halves >= PAIR_HALVES)
        settle_halves(t);
    t->since_half = 0;
    return ab_tree_add(t, AB_TREE_REMOVED, below, directory,
                       t->leaf ? 0 : in->cookie);
}

static int moved_to(ab_tree *t, const struct inotify_event *in,
                    const char *below, int directory)
{
    ab_tree_event *half = t->leaf ? NULL : half_of(t, in->cookie);
    int err = 0;
    if (!half) {
        err = ab_tree_add(t, AB_TREE_CREATED, below, directory, 0);
    } else {
        char *to = ab_tree_join(t, t->path, below);
        if (!to)
            return UV_ENOMEM;
        half->kind = AB_TREE_RENAMED;
        half->cookie = 0;
        t->halves--;
        half->from = half->path;
        half->path = to;
        half->hash = ab_tree_hash(to);
        if (t->recursive && directory)
            err = ab_tree_move_nodes(t, below_root(t, half->from), below);
    }
    if (!err && t->recursive && directory)
        err = ab_tree_watch_below(t, below, 1, 0);
    return err ? err : ab_tree_find_strays(t);
}

static int take_named(ab_tree *t, const struct inotify_event *in,
                      const char *below)
{
    int directory = (in->mask & IN_ISDIR) != 0;
    int comes = directory && in->mask & (IN_CREATE | IN_MOVED_TO);
    ab_tree_event *half;
    while (comes && (half = half_above(t, below)))
        settle(t, half); /* it takes the place of one that left */
    if (in->mask & IN_MOVED_TO)
        return moved_to(t, in, below, directory);
    if (in->mask & IN_MOVED_FROM)
        return moved_from(t, in, below, directory);
    if (in->mask & IN_DELETE && directory)
        ab_tree_forget_strays(t, below);
    if (in->mask & IN_DELETE)
        return ab_tree_add(t, AB_TREE_REMOVED, below, directory, 0);
    if (in->mask & IN_CREATE) {
        int err = ab_tree_add(t, AB_TREE_CREATED, below, directory, 0);
        return err || !directory || !t->recursive
                   ? err
                   : ab_tree_watch_below(t, below, 1, 0);
    }
    if (in->mask & (IN_MODIFY | IN_ATTRIB) && !directory)
        return ab_tree_add(t, AB_TREE_MODIFIED, below, 0, 0);
    return 0;
}

static int take_word(ab_tree *t, const struct inotify_event *in)
{
    if (++t->since_half > PAIR_WORDS)
        settle_halves(t);
    ab_tree_node *n = ab_tree_node_of(t, in->wd);
    ab_tree_event *half;
    while (n && (half = half_above(t, n->path))) {
        settle(t, half); /* its folder has left: this is not ours */
        n = ab_tree_node_of(t, in->wd);
    }
    if (!n)
        return 0;
    if (in->mask & IN_IGNORED) { /* the folder is gone */
        ab_tree_forget(t, n);
        return 0;
    }
    char *below = ab_tree_join(t, n->path, in->name);
    if (!below)
        return UV_ENOMEM;
    int err = take_named(t, in, below);
    ab_tree_give_text(t, below);
    if (err == UV_ECANCELED) { /* stopped in the middle of a new folder */
        t->missed = 1;
        err = 0;
    }
    return err;
}

/* The second half of a renaming is waited for. */
static int has_words(ab_tree *t)
{
    if (t->words.at < t->words.len || ab_tree_take(t))
        return 1;
    for (int ms = 0; ms < PAIR_MS && t->halves && !t->ending; ms++)
        if (ab_tree_listen(t, 1))
            return 1;
    return 0;
}

/* Nothing is left to look at.  0, 1: go on; or a code. */
static int finish(ab_tree *t)
{
    settle_halves(t);
    if (t->ending)
        return ab_tree_end(t);
    if (!t->stray_count)
        return 0;
    if (ab_tree_listen(t, 0))
        return 1;
    ab_tree_forget_strays(t, ""); /* no renaming explains them: they are gone */
    return 0;
}

static int read_all(ab_tree *t)
{
    int err = 1;
    while (err >= 0 && !t->gone && !atomic_load(t->stop)) {
        if (t->count - t->first >= QUEUE_LOW && !t->halves)
            return 0;
        if (!has_words(t)) {
            err = finish(t);
            if (err == 0)
                return 0;
            continue;
        }
        const void *word = t->words.data + t->words.at;
        const struct inotify_event *in = word;
        t->words.at += sizeof *in + in->len;
        err = take_word(t, in);
    }
    return err < 0 ? err : 0;
}

int ab_tree_end(ab_tree *t)
{
    int err = t->missed ? ab_tree_add(t, AB_TREE_OVERFLOW, "", 1, 0) : 0;
    t->missed = 0;
    if (!err)
        err = ab_tree_add(t, AB_TREE_REMOVED, "", !t->leaf, 0);
    t->gone = !err;
    return err;
}

int ab_tree_read(ab_tree *t)
{
    int err = read_all(t);
    settle_halves(t);
    return err;
}

#endif
