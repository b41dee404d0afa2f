/* treewatch.c - the life of a tree that is watched; see treewatch.h. */
#include "treewatch_parts.h"
#include <uv.h>

#ifdef __linux__
#include "asyncbox.h"
#include "compat.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* The real path of what a descriptor is open on. */
static int real_path(int fd, char *out, size_t bytes)
{
    char name[40];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, out, bytes);
    if (n < 0)
        return uv_translate_sys_error(errno);
    if ((size_t)n >= bytes)
        return UV_ENAMETOOLONG;
    out[n] = '\0';
    return 0;
}

/* Of a file the folder is watched that it lies in: editors save by renaming a
 * new file over the old one.  Takes *fd, open on the path, and makes it the
 * folder's. */
static int find_folder(ab_tree *t, int *fd)
{
    char real[PATH_MAX], leaf[AB_LEAF_MAX];
    struct stat st;
    int err = real_path(*fd, real, sizeof real);
    if (err)
        return err;
    if (fstat(*fd, &st) < 0)
        return uv_translate_sys_error(errno);
    if (!S_ISDIR(st.st_mode)) {
        int folder =
            ab_grants_open_parent(t->grants, AB_GRANT_READ, real, leaf);
        if (folder < 0)
            return folder;
        close(*fd);
        *fd = folder;
        t->leaf = ab_tree_join(t, leaf, "");
        t->recursive = 0;
        char *slash = strrchr(real, '/');
        if (slash)
            slash[slash == real] = '\0';
        if (!t->leaf)
            return UV_ENOMEM;
        if (fstat(*fd, &st) < 0)
            return uv_translate_sys_error(errno);
    }
    t->dev = st.st_dev;
    t->ino = st.st_ino;
    t->root_proc = ab_compat_is_proc(*fd);
    t->folder = ab_tree_join(t, real, "");
    return t->folder ? 0 : UV_ENOMEM;
}

static int start(ab_tree *t, const char *path)
{
    t->path = ab_tree_join(t, path, "");
    if (!t->path)
        return UV_ENOMEM;
    /* openat2 knows no O_PATH together with what a sandbox adds */
    int flags =
        t->grants->trusted ? AB_O_PATH : O_RDONLY | O_NONBLOCK | O_NOCTTY;
    int fd = ab_grants_open(t->grants, path, flags, 0);
    if (fd < 0)
        return fd;
    int err = find_folder(t, &fd);
    if (!err) {
        t->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        err = t->fd < 0 ? uv_translate_sys_error(errno) : 0;
    }
    if (!err) {
        int wd = ab_tree_place_root(t, fd);
        err = wd < 0 ? wd : ab_tree_know(t, wd, "");
    }
    close(fd);
    return err || !t->recursive ? err : ab_tree_watch_below(t, "", 0, 1);
}

int ab_tree_open(const ab_grants *grants, const char *path, int recursive,
                 size_t budget_bytes, const atomic_int *stop, ab_tree **out)
{
    ab_tree *t = calloc(1, sizeof *t);
    if (!t)
        return UV_ENOMEM;
    t->grants = grants;
    t->recursive = recursive;
    t->budget = budget_bytes;
    t->stop = stop;
    t->fd = -1;
    t->bytes = sizeof *t;
    int err = start(t, path);
    if (err)
        ab_tree_close(t);
    else
        *out = t;
    return err;
}

int ab_tree_drain(ab_tree *t, size_t budget_bytes, const atomic_int *stop)
{
    t->budget = budget_bytes;
    t->stop = stop;
    int err = ab_tree_read(t);
    if (!err && t->missed && !t->gone)
        err = ab_tree_recover(t);
    if (err)
        return err;
    return ab_tree_first(t) || t->gone ? 0 : UV_EAGAIN;
}

int ab_tree_fd(const ab_tree *t) { return t->fd; }
int ab_tree_gone(const ab_tree *t) { return t->gone; }
size_t ab_tree_bytes(const ab_tree *t) { return t->bytes; }

void ab_tree_close(ab_tree *t)
{
    if (!t)
        return;
    if (t->fd >= 0)
        close(t->fd);
    for (size_t i = 0; i < t->node_count; i++)
        free(t->nodes[i].path);
    for (size_t i = t->first; i < t->count; i++)
        ab_tree_drop(t, &t->events[i]);
    free(t->nodes);
    free(t->events);
    free(t->todo);
    free(t->path);
    free(t->folder);
    free(t->leaf);
    free(t);
}

#else

int ab_tree_open(const ab_grants *grants, const char *path, int recursive,
                 size_t budget_bytes, const atomic_int *stop, ab_tree **out)
{
    (void)grants, (void)path, (void)recursive, (void)budget_bytes, (void)stop;
    *out = NULL;
    return UV_ENOSYS;
}

int ab_tree_drain(ab_tree *tree, size_t budget_bytes, const atomic_int *stop)
{
    (void)tree, (void)budget_bytes, (void)stop;
    return UV_ENOSYS;
}

int ab_tree_fd(const ab_tree *tree) { return tree ? 0 : -1; }
const ab_tree_event *ab_tree_first(const ab_tree *tree)
{
    (void)tree;
    return NULL;
}
void ab_tree_shift(ab_tree *tree) { (void)tree; }
int ab_tree_gone(const ab_tree *tree) { return tree == NULL; }
size_t ab_tree_bytes(const ab_tree *tree)
{
    (void)tree;
    return 0;
}
void ab_tree_close(ab_tree *tree) { (void)tree; }

#endif
