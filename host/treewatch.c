/* treewatch.c - the life of a tree that is watched; see treewatch.h. */
#include "treewatch_parts.h"

#ifdef __linux__
#include "asyncbox.h"
#include "compat.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
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
            ab_grants_open_parent(t->hub->grants, AB_GRANT_READ, real, leaf);
        if (folder < 0)
            return folder;
        close(*fd);
        *fd = folder;
        t->leaf = ab_tree_join(t, leaf, "");
        t->only = t->leaf;
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
        t->hub->grants->trusted ? AB_O_PATH : O_RDONLY | O_NONBLOCK | O_NOCTTY;
    int fd = ab_grants_open(t->hub->grants, path, flags, 0);
    if (fd < 0)
        return fd;
    int err = find_folder(t, &fd);
    if (!err)
        err = ab_tree_enter_hub(t);
    if (!err)
        err = ab_tree_place_root(t, fd);
    close(fd);
    return err || !t->recursive ? err : ab_tree_watch_below(t, "", 0, 1);
}

int ab_tree_open(ab_tree_hub *hub, const char *path, int recursive,
                 const atomic_int *stop, ab_tree **out)
{
    ab_tree *t = ab_tree_hub_alloc(hub, NULL, 0, sizeof *t);
    if (!t)
        return UV_ENOMEM;
    memset(t, 0, sizeof *t);
    t->hub = hub;
    t->recursive = recursive;
    t->stop = stop;
    ab_list_init(&t->nodes);
    ab_list_init(&t->strays);
    int err = start(t, path);
    if (!err && atomic_load(stop))
        err = UV_ECANCELED;
    if (err)
        ab_tree_close(t);
    else
        *out = t;
    return err;
}

int ab_tree_drain(ab_tree *t, const atomic_int *stop)
{
    t->stop = stop;
    int err = ab_tree_read(t);
    if (!err && t->missed && !t->gone)
        err = ab_tree_recover(t);
    if (err)
        return err;
    return ab_tree_first(t) || t->gone ? 0 : UV_EAGAIN;
}

int ab_tree_gone(const ab_tree *t) { return t->gone; }

void ab_tree_close(ab_tree *t)
{
    if (!t)
        return;
    ab_tree_hub *hub = t->hub;
    ab_tree_leave_hub(t); /* nothing is handed to it any more */
    ab_tree_forget_strays(t, "");
    ab_tree_alloc(t, t->words.data, t->words.cap, 0);
    for (size_t i = t->first; i < t->count; i++)
        ab_tree_drop(t, &t->events[i]);
    ab_tree_alloc(t, t->events, t->cap * sizeof *t->events, 0);
    ab_tree_alloc(t, t->todo, t->todo_cap * sizeof *t->todo, 0);
    ab_tree_give_text(t, t->path);
    ab_tree_give_text(t, t->folder);
    ab_tree_give_text(t, t->leaf);
    ab_tree_hub_alloc(hub, t, sizeof *t, 0);
}

#endif
