/* treewatch_folder.c - which folders of a tree are watched. */
#include "treewatch_parts.h"

#ifdef __linux__
#include "asyncbox.h"
#include "compat.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

enum {
    MASK = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM |
           IN_MOVED_TO | IN_ONLYDIR | IN_EXCL_UNLINK,
    ROOT_MASK = MASK | IN_DELETE_SELF | IN_MOVE_SELF
};

/* ---- which there are ---- */

/* Where a wd is in the list, or would be. */
static size_t find(const ab_tree *t, int wd)
{
    size_t low = 0, high = t->node_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->nodes[mid].wd < wd)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

ab_tree_node *ab_tree_node_of(ab_tree *t, int wd)
{
    size_t i = find(t, wd);
    int known = i < t->node_count && t->nodes[i].wd == wd;
    return known && t->nodes[i].path ? &t->nodes[i] : NULL;
}

void ab_tree_forget(ab_tree *t, ab_tree_node *n)
{
    ab_tree_give_text(t, n->path);
    n->path = NULL;
    t->dead++;
}

/* Takes the dead ones out once they are many. */
static void pack(ab_tree *t)
{
    size_t kept = 0;
    if (t->dead * 2 <= t->node_count)
        return;
    for (size_t i = 0; i < t->node_count; i++)
        if (t->nodes[i].path)
            t->nodes[kept++] = t->nodes[i];
    t->node_count = kept;
    t->dead = 0;
}

int ab_tree_know(ab_tree *t, int wd, const char *path)
{
    ab_tree_node *n = ab_tree_node_of(t, wd);
    if (n && strcmp(n->path, path) == 0) {
        n->seen = 1;
        return 1;
    }
    char *copy = ab_tree_join(t, path, "");
    if (!copy)
        return UV_ENOMEM;
    if (n) {
        ab_tree_give_text(t, n->path);
        n->path = copy;
        n->seen = 1;
        return 0;
    }
    pack(t);
    size_t i = find(t, wd);
    if (i < t->node_count && t->nodes[i].wd == wd) { /* a dead one's place */
        t->dead--;
    } else {
        int err = ab_tree_make_room(t, (void **)&t->nodes, t->node_count,
                                    &t->node_cap, sizeof *t->nodes);
        if (err) {
            ab_tree_give_text(t, copy);
            return err;
        }
        memmove(t->nodes + i + 1, t->nodes + i,
                (t->node_count - i) * sizeof *t->nodes);
        t->node_count++;
    }
    t->nodes[i] = (ab_tree_node){wd, 1, copy};
    return 0;
}

/* What of `path` comes after `folder` ("", or "/..."), or NULL. */
static const char *rest_of(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    if (strncmp(path, folder, len) != 0 || (path[len] && path[len] != '/'))
        return NULL;
    return path + len;
}

int ab_tree_move_nodes(ab_tree *t, const char *from, const char *to)
{
    for (size_t i = 0; i < t->node_count; i++) {
        ab_tree_node *n = &t->nodes[i];
        const char *rest = n->path ? rest_of(n->path, from) : NULL;
        if (!rest)
            continue;
        char *path = ab_tree_join(t, to, *rest ? rest + 1 : "");
        if (!path)
            return UV_ENOMEM;
        ab_tree_give_text(t, n->path);
        n->path = path;
    }
    return 0;
}

static void unwatch(ab_tree *t, ab_tree_node *n)
{
    inotify_rm_watch(t->fd, n->wd);
    ab_tree_forget(t, n);
}

void ab_tree_unwatch_below(ab_tree *t, const char *folder)
{
    for (size_t i = 0; i < t->node_count; i++)
        if (t->nodes[i].path && rest_of(t->nodes[i].path, folder))
            unwatch(t, &t->nodes[i]);
}

/* ---- placing watches ---- */

/* The folder at `path` below the root, without following any symlink: a
 * descriptor or a code. */
static int open_folder(ab_tree *t, const char *path)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOCTTY;
    int root = ab_grants_open(t->grants, t->folder, flags, 0);
    if (root < 0)
        return root;
    struct stat st;
    int same =
        fstat(root, &st) == 0 && st.st_dev == t->dev && st.st_ino == t->ino;
    int fd = !same    ? UV_ENOENT
             : !*path ? root
                      : ab_compat_open_beneath(
                            root, path, flags, 0,
                            AB_BENEATH_NO_SYMLINKS |
                                (t->grants->walk ? AB_BENEATH_WALK : 0));
    if (fd != root)
        close(root);
    if (fd >= 0 && !t->root_proc && ab_compat_is_proc(fd)) {
        close(fd);
        return UV_ENOENT;
    }
    return fd;
}

/* By its descriptor, so that it is this folder and no other. */
static int place(ab_tree *t, int fd, uint32_t mask)
{
    char name[40];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int wd = inotify_add_watch(t->fd, name, mask);
    return wd >= 0 ? wd : uv_translate_sys_error(errno);
}

int ab_tree_place_root(ab_tree *t, int fd)
{
    t->root_wd = place(t, fd, ROOT_MASK);
    return t->root_wd;
}

static int is_folder(int fd, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_DIR;
    struct stat st;
    return fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(st.st_mode);
}

static int push_todo(ab_tree *t, char *path)
{
    int err = path ? ab_tree_make_room(t, (void **)&t->todo, t->todo_count,
                                       &t->todo_cap, sizeof *t->todo)
                   : UV_ENOMEM;
    if (err)
        ab_tree_give_text(t, path);
    else
        t->todo[t->todo_count++] = path;
    return err;
}

/* Looks at what is in a folder: its folders are to be watched, and with
 * `report` all of it is told as new.  Takes fd over. */
static int look_into(ab_tree *t, int fd, const char *path, int report)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return UV_ENOMEM;
    }
    int err = 0;
    for (struct dirent *e; !err && (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int directory = is_folder(fd, e);
        if (!report && !directory)
            continue;
        char *below = ab_tree_join(t, path, e->d_name);
        if (!below)
            err = UV_ENOMEM;
        else if (report)
            err = ab_tree_add(t, AB_TREE_CREATED, below, directory, 0);
        if (!err && directory)
            err = push_todo(t, below);
        else
            ab_tree_give_text(t, below);
    }
    closedir(dir);
    return err;
}

/* Vanished meanwhile, or not ours to read. */
static int is_passed_over(int code)
{
    return code == UV_ENOENT || code == UV_ENOTDIR || code == UV_ELOOP ||
           code == UV_EACCES || code == UV_EPERM || code == -EXDEV ||
           code == ASYNCBOX_EDENIED;
}

static int watch_one(ab_tree *t, const char *path, int report, int again)
{
    int fd = open_folder(t, path);
    if (fd == UV_ENAMETOOLONG)
        t->missed = 1;
    if (fd < 0)
        return is_passed_over(fd) || fd == UV_ENAMETOOLONG ? 0 : fd;
    /* First the watch, then the look: what is made in between is seen twice
     * rather than never. */
    int wd = place(t, fd, *path ? MASK : ROOT_MASK);
    int known = wd < 0 ? wd : ab_tree_know(t, wd, path);
    if (known < 0 || (known && !again)) {
        close(fd);
        return known < 0 && !is_passed_over(known) ? known : 0;
    }
    return look_into(t, fd, path, report);
}

int ab_tree_watch_below(ab_tree *t, const char *path, int report, int again)
{
    int err = push_todo(t, ab_tree_join(t, path, ""));
    while (!err && t->todo_count) {
        char *folder = t->todo[--t->todo_count];
        err = atomic_load(t->stop) ? UV_ECANCELED
                                   : watch_one(t, folder, report, again);
        ab_tree_give_text(t, folder);
    }
    while (t->todo_count)
        ab_tree_give_text(t, t->todo[--t->todo_count]);
    return err;
}

int ab_tree_recover(ab_tree *t)
{
    t->missed = 0;
    int err = ab_tree_add(t, AB_TREE_OVERFLOW, "", 1, 0);
    if (err || !t->recursive)
        return err;
    for (size_t i = 0; i < t->node_count; i++)
        t->nodes[i].seen = t->nodes[i].wd == t->root_wd;
    err = ab_tree_watch_below(t, "", 0, 1);
    t->missed = err == UV_ECANCELED;
    if (err)
        return t->missed ? 0 : err;
    t->missed = 0; /* the same folder is too deep again */
    for (size_t i = 0; i < t->node_count; i++)
        if (t->nodes[i].path && !t->nodes[i].seen)
            unwatch(t, &t->nodes[i]);
    return 0;
}

#endif
