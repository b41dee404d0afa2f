/* treewatch_folder.c - which folders of a tree are watched. */
#include "treewatch_parts.h"

#ifdef __linux__
#include "asyncbox.h"
#include "compat.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOCTTY };

/* ---- which there are ---- */

const char *ab_tree_rest_of(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    if (strncmp(path, folder, len) != 0 || (path[len] && path[len] != '/'))
        return NULL;
    return path + len;
}

static int move_list(ab_tree *t, ab_link *list, const char *from,
                     const char *to)
{
    for (ab_link *l = list->next; l != list; l = l->next) {
        ab_tree_node *n = ab_container(l, ab_tree_node, link);
        const char *rest = n == t->root ? NULL : ab_tree_rest_of(n->path, from);
        if (!rest)
            continue;
        char *path = ab_tree_join(t, to, *rest ? rest + 1 : "");
        if (!path)
            return UV_ENOMEM;
        ab_tree_give_text(t, n->path);
        n->path = path;
        n->seen = 1;
    }
    return 0;
}

int ab_tree_move_nodes(ab_tree *t, const char *from, const char *to)
{
    int err = move_list(t, &t->nodes, from, to);
    return err ? err : move_list(t, &t->strays, from, to);
}

void ab_tree_unwatch_below(ab_tree *t, const char *folder)
{
    for (ab_link *l = t->nodes.next, *next; l != &t->nodes; l = next) {
        ab_tree_node *n = ab_container(l, ab_tree_node, link);
        next = l->next;
        if (n != t->root && ab_tree_rest_of(n->path, folder))
            ab_tree_forget(t, n);
    }
    ab_tree_forget_strays(t, folder);
}

/* ---- strays ---- */

static int add_stray(ab_tree *t, const char *path)
{
    ab_tree_node *n = ab_tree_alloc(t, NULL, 0, sizeof *n);
    char *copy = n ? ab_tree_join(t, path, "") : NULL;
    if (!copy) {
        ab_tree_alloc(t, n, sizeof *n, 0);
        return UV_ENOMEM;
    }
    *n = (ab_tree_node){.tree = t, .wd = -1, .path = copy};
    ab_list_append(&t->strays, &n->link);
    t->stray_count++;
    return 0;
}

static void forget_stray(ab_tree *t, ab_tree_node *n)
{
    ab_list_remove(&n->link);
    t->stray_count--;
    ab_tree_give_text(t, n->path);
    ab_tree_alloc(t, n, sizeof *n, 0);
}

void ab_tree_forget_strays(ab_tree *t, const char *folder)
{
    for (ab_link *l = t->strays.next, *next; l != &t->strays; l = next) {
        ab_tree_node *n = ab_container(l, ab_tree_node, link);
        next = l->next;
        if (!*folder || ab_tree_rest_of(n->path, folder))
            forget_stray(t, n);
    }
}

int ab_tree_find_strays(ab_tree *t)
{
    int err = 0;
    for (size_t left = t->stray_count; left && !err; left--) {
        ab_tree_node *n = ab_container(t->strays.next, ab_tree_node, link);
        if (n->seen) { /* may be astray anew, and is the last then */
            err = ab_tree_watch_below(t, n->path, 1, 0);
            forget_stray(t, n);
        } else {
            ab_list_remove(&n->link);
            ab_list_append(&t->strays, &n->link);
        }
    }
    return err;
}

/* ---- placing watches ---- */

/* The root, by its path: a descriptor or a code. */
static int open_root(ab_tree *t)
{
    struct stat st;
    int fd = ab_grants_open(t->hub->grants, t->folder, FOLDER_FLAGS, 0);
    if (fd < 0 ||
        (fstat(fd, &st) == 0 && st.st_dev == t->dev && st.st_ino == t->ino))
        return fd;
    close(fd); /* another one has its name */
    return UV_ENOENT;
}

static int is_no_longer_there(int code)
{
    return code == UV_ENOENT || code == UV_ENOTDIR || code == UV_ELOOP;
}

/* The folder at `path` below the root, without following any symlink: a
 * descriptor or a code. */
static int open_folder(ab_tree *t, const char *path)
{
    int root = open_root(t);
    if (is_no_longer_there(root))
        t->ending = 1; /* also when a folder above it was renamed */
    if (root < 0 || !*path)
        return root;
    int how =
        AB_BENEATH_NO_SYMLINKS | (t->hub->grants->walk ? AB_BENEATH_WALK : 0);
    int fd = ab_compat_open_beneath(root, path, FOLDER_FLAGS, 0, (unsigned)how);
    close(root);
    if (fd >= 0 && !t->root_proc && ab_compat_is_proc(fd)) {
        close(fd);
        return UV_ENOENT;
    }
    return fd;
}

/* Watches the folder that fd is open on, known as `path` from now on.  1: it
 * was known as just that, 0: it is new; or a code. */
static int know(ab_tree *t, int fd, const char *path)
{
    ab_tree_node *n;
    int err = ab_tree_place(t, fd, !*path, &n);
    if (err)
        return err;
    n->seen = 1;
    if (n->path && (n == t->root || strcmp(n->path, path) == 0))
        return 1;
    char *copy = ab_tree_join(t, path, "");
    if (!copy && !n->path)
        ab_tree_forget(t, n);
    if (!copy)
        return UV_ENOMEM;
    ab_tree_give_text(t, n->path);
    n->path = copy;
    return 0;
}

int ab_tree_place_root(ab_tree *t, int fd)
{
    int err = know(t, fd, "");
    return err < 0 ? err : 0;
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
    if (is_no_longer_there(fd))
        return add_stray(t, path);
    if (fd < 0)
        return is_passed_over(fd) || fd == UV_ENAMETOOLONG ? 0 : fd;
    /* First the watch, then the look: what is made in between is seen twice
     * rather than never. */
    int known = know(t, fd, path);
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
    if (err)
        return err;
    int root = open_root(t);
    if (root >= 0)
        close(root);
    if (is_no_longer_there(root)) /* that it went may be what was missed */
        return ab_tree_end(t);
    if (!t->recursive)
        return 0;
    ab_tree_forget_strays(t, "");
    for (ab_link *l = t->nodes.next; l != &t->nodes; l = l->next) {
        ab_tree_node *n = ab_container(l, ab_tree_node, link);
        n->seen = n == t->root;
    }
    err = ab_tree_watch_below(t, "", 0, 1);
    t->missed = err == UV_ECANCELED;
    if (err)
        return t->missed ? 0 : err;
    t->missed = 0; /* the same folder is too deep again */
    for (ab_link *l = t->nodes.next, *next; l != &t->nodes; l = next) {
        ab_tree_node *n = ab_container(l, ab_tree_node, link);
        next = l->next;
        if (!n->seen)
            ab_tree_forget(t, n);
    }
    return 0;
}

#endif
