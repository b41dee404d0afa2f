/* treewatch_read.c - what the kernel says of the folders of a tree. */
#include "treewatch_parts.h"

#ifdef __linux__
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include <uv.h>

enum {
    QUEUE_LOW = 1024, /* with so many the rest is left to the kernel */
    PAIR_MS = 5       /* how long the second half of a renaming may take */
};

/* The first half of a renaming that is still waiting for its second. */
static ab_tree_event *half_of(ab_tree *t, uint32_t cookie)
{
    for (size_t i = t->count; i-- > t->first;)
        if (t->events[i].cookie && (!cookie || t->events[i].cookie == cookie))
            return &t->events[i];
    return NULL;
}

/* What of an event's path is below the root. */
static const char *below_root(const ab_tree *t, const char *path)
{
    path += strlen(t->path);
    return *path == '/' ? path + 1 : path;
}

/* The second halves that never came went out of the tree. */
static void settle_halves(ab_tree *t)
{
    for (ab_tree_event *e; (e = half_of(t, 0));) {
        e->cookie = 0;
        if (t->recursive && e->directory)
            ab_tree_unwatch_below(t, below_root(t, e->path));
    }
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
        half->from = half->path;
        half->path = to;
        half->hash = ab_tree_hash(to);
        if (t->recursive && directory)
            err = ab_tree_move_nodes(t, below_root(t, half->from), below);
    }
    if (!err && t->recursive && directory)
        err = ab_tree_watch_below(t, below, 1, 0);
    return err;
}

static int take_named(ab_tree *t, const struct inotify_event *in,
                      const char *below)
{
    int directory = (in->mask & IN_ISDIR) != 0;
    if (in->mask & IN_MOVED_TO)
        return moved_to(t, in, below, directory);
    if (in->mask & IN_MOVED_FROM)
        return ab_tree_add(t, AB_TREE_REMOVED, below, directory,
                           t->leaf ? 0 : in->cookie);
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

static int take_event(ab_tree *t, const struct inotify_event *in)
{
    if (in->mask & IN_Q_OVERFLOW) {
        t->missed = 1;
        return 0;
    }
    ab_tree_node *n = ab_tree_node_of(t, in->wd);
    if (!n || t->gone)
        return 0;
    if (in->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) {
        if (in->wd == t->root_wd) {
            t->gone = 1;
            return ab_tree_add(t, AB_TREE_REMOVED, "", !t->leaf, 0);
        }
        if (in->mask & IN_IGNORED)
            ab_tree_forget(t, n);
        return 0;
    }
    if (in->len == 0 || (t->leaf && strcmp(in->name, t->leaf) != 0))
        return 0;
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

/* Is there more to read?  The second half of a renaming is waited for. */
static int has_more(ab_tree *t)
{
    struct pollfd p = {t->fd, POLLIN, 0};
    return poll(&p, 1, half_of(t, 0) ? PAIR_MS : 0) > 0;
}

static int read_all(ab_tree *t)
{
    _Alignas(struct inotify_event) char buffer[16384];
    while (!t->gone && !atomic_load(t->stop)) {
        if (t->count - t->first >= QUEUE_LOW && !half_of(t, 0))
            return 0;
        if (!has_more(t))
            return 0;
        ssize_t n = read(t->fd, buffer, sizeof buffer);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return uv_translate_sys_error(errno);
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *in =
                (const struct inotify_event *)(const void *)(buffer + at);
            int err = take_event(t, in);
            if (err)
                return err;
            at += (ssize_t)(sizeof *in + in->len);
        }
    }
    return 0;
}

int ab_tree_read(ab_tree *t)
{
    int err = read_all(t);
    settle_halves(t);
    return err;
}

#endif
