/* treewatch.c - see treewatch.h. */
#include "treewatch.h"
#include "compat.h"
#include <uv.h>

#ifdef __linux__
#include "asyncbox.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    QUEUE_MAX = 16384, /* events that nobody took; more are an overflow */
    QUEUE_LOW = 1024,  /* with so many the rest is left to the kernel */
    LOOK_BACK = 1024,  /* how far identical events are looked for */
    PAIR_MS = 5,       /* how long the second half of a renaming may take */
    MASK = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM |
           IN_MOVED_TO | IN_ONLYDIR | IN_EXCL_UNLINK,
    ROOT_MASK = MASK | IN_DELETE_SELF | IN_MOVE_SELF
};

typedef struct node {
    int wd;
    int seen;   /* by the walk that looks which folders there still are */
    char *path; /* below the root, "" is the root; NULL: no longer watched */
} node;

struct ab_tree {
    const ab_grants *grants;
    const atomic_int *stop;
    size_t bytes, budget;
    int fd; /* of inotify */
    int recursive, gone, missed;
    int root_wd;
    int root_proc;
    char *path;   /* as the script gave it */
    char *folder; /* the real path of the folder that is watched */
    char *leaf;   /* one file: its name in there; else NULL */
    dev_t dev;    /* which folder that is */
    ino_t ino;
    node *nodes; /* by wd */
    size_t node_count, node_cap, dead;
    ab_tree_event *events; /* events[first .. count) */
    size_t first, count, cap;
    char **todo; /* folders that the walk has still to look at */
    size_t todo_count, todo_cap;
};

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

static void give_text(ab_tree *t, char *text)
{
    give_back(t, text, text ? strlen(text) + 1 : 0);
}

/* a/b, where an empty a or b leaves no slash. */
static char *join(ab_tree *t, const char *a, const char *b)
{
    size_t len = strlen(a), size = len + strlen(b) + 2;
    int slash = len > 0 && *b && a[len - 1] != '/';
    size -= slash ? 0 : 1;
    char *text = take(t, NULL, 0, size);
    if (text)
        snprintf(text, size, "%s%s%s", a, slash ? "/" : "", b);
    return text;
}

/* Room for one more in a list of things of this size. */
static int make_room(ab_tree *t, void **list, size_t count, size_t *cap,
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

static uint32_t hash_of(const char *text)
{
    uint32_t h = 2166136261u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 16777619u;
    return h;
}

/* ---- events ---- */

static void drop_event(ab_tree *t, ab_tree_event *e)
{
    give_text(t, e->path);
    give_text(t, e->from);
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

/* Takes `path` (below the root) over as a new event, unless the latest about it
 * says the same.  0 or UV_ENOMEM. */
static int add_event(ab_tree *t, ab_tree_kind kind, const char *below,
                     int directory, uint32_t cookie)
{
    char *path = join(t, t->path, t->leaf ? "" : below);
    if (!path)
        return UV_ENOMEM;
    uint32_t hash = hash_of(path);
    ab_tree_event *same = latest(t, path, hash);
    if (same && same->kind == kind) {
        same->cookie = cookie ? cookie : same->cookie;
        give_text(t, path);
        return 0;
    }
    if (t->count - t->first >= QUEUE_MAX && kind != AB_TREE_OVERFLOW) {
        t->missed = 1;
        give_text(t, path);
        return 0;
    }
    if (t->first && t->count == t->cap) {
        memmove(t->events, t->events + t->first,
                (t->count - t->first) * sizeof *t->events);
        t->count -= t->first;
        t->first = 0;
    }
    int err =
        make_room(t, (void **)&t->events, t->count, &t->cap, sizeof *t->events);
    if (err) {
        give_text(t, path);
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
    drop_event(t, &t->events[t->first++]);
    if (t->first == t->count)
        t->first = t->count = 0;
}

/* ---- folders that are watched ---- */

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

static node *node_of(ab_tree *t, int wd)
{
    size_t i = find(t, wd);
    int known = i < t->node_count && t->nodes[i].wd == wd;
    return known && t->nodes[i].path ? &t->nodes[i] : NULL;
}

static void forget(ab_tree *t, node *n)
{
    give_text(t, n->path);
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

/* Notes that wd is the folder `path`.  1: it was known as just that, 0: it is
 * new; or UV_ENOMEM. */
static int know(ab_tree *t, int wd, const char *path)
{
    node *n = node_of(t, wd);
    if (n && strcmp(n->path, path) == 0) {
        n->seen = 1;
        return 1;
    }
    char *copy = join(t, path, "");
    if (!copy)
        return UV_ENOMEM;
    if (n) {
        give_text(t, n->path);
        n->path = copy;
        n->seen = 1;
        return 0;
    }
    pack(t);
    size_t i = find(t, wd);
    if (i < t->node_count && t->nodes[i].wd == wd) { /* a dead one's place */
        t->dead--;
    } else {
        int err = make_room(t, (void **)&t->nodes, t->node_count, &t->node_cap,
                            sizeof *t->nodes);
        if (err) {
            give_text(t, copy);
            return err;
        }
        memmove(t->nodes + i + 1, t->nodes + i,
                (t->node_count - i) * sizeof *t->nodes);
        t->node_count++;
    }
    t->nodes[i] = (node){wd, 1, copy};
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

/* A folder was renamed inside of the tree. */
static int move_nodes(ab_tree *t, const char *from, const char *to)
{
    for (size_t i = 0; i < t->node_count; i++) {
        node *n = &t->nodes[i];
        const char *rest = n->path ? rest_of(n->path, from) : NULL;
        if (!rest)
            continue;
        char *path = join(t, to, *rest ? rest + 1 : "");
        if (!path)
            return UV_ENOMEM;
        give_text(t, n->path);
        n->path = path;
    }
    return 0;
}

static void unwatch(ab_tree *t, node *n)
{
    inotify_rm_watch(t->fd, n->wd);
    forget(t, n);
}

/* A folder was moved out of the tree: what happens there is not ours. */
static void unwatch_below(ab_tree *t, const char *folder)
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
    int err = path ? make_room(t, (void **)&t->todo, t->todo_count,
                               &t->todo_cap, sizeof *t->todo)
                   : UV_ENOMEM;
    if (err)
        give_text(t, path);
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
        char *below = join(t, path, e->d_name);
        if (!below)
            err = UV_ENOMEM;
        else if (report)
            err = add_event(t, AB_TREE_CREATED, below, directory, 0);
        if (!err && directory)
            err = push_todo(t, below);
        else
            give_text(t, below);
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
    int known = wd < 0 ? wd : know(t, wd, path);
    if (known < 0 || (known && !again)) {
        close(fd);
        return known < 0 && !is_passed_over(known) ? known : 0;
    }
    return look_into(t, fd, path, report);
}

/* Watches a folder and all below.  again: also looks into those it knows. */
static int watch_below(ab_tree *t, const char *path, int report, int again)
{
    int err = push_todo(t, join(t, path, ""));
    while (!err && t->todo_count) {
        char *folder = t->todo[--t->todo_count];
        err = atomic_load(t->stop) ? UV_ECANCELED
                                   : watch_one(t, folder, report, again);
        give_text(t, folder);
    }
    while (t->todo_count)
        give_text(t, t->todo[--t->todo_count]);
    return err;
}

/* After something was missed: tells it, and finds out which folders there
 * are. */
static int recover(ab_tree *t)
{
    t->missed = 0;
    int err = add_event(t, AB_TREE_OVERFLOW, "", 1, 0);
    if (err || !t->recursive)
        return err;
    for (size_t i = 0; i < t->node_count; i++)
        t->nodes[i].seen = t->nodes[i].wd == t->root_wd;
    err = watch_below(t, "", 0, 1);
    t->missed = err == UV_ECANCELED;
    if (err)
        return t->missed ? 0 : err;
    t->missed = 0; /* the same folder is too deep again */
    for (size_t i = 0; i < t->node_count; i++)
        if (t->nodes[i].path && !t->nodes[i].seen)
            unwatch(t, &t->nodes[i]);
    return 0;
}

/* ---- what the kernel says ---- */

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
            unwatch_below(t, below_root(t, e->path));
    }
}

static int moved_to(ab_tree *t, const struct inotify_event *in,
                    const char *below, int directory)
{
    ab_tree_event *half = t->leaf ? NULL : half_of(t, in->cookie);
    int err = 0;
    if (!half) {
        err = add_event(t, AB_TREE_CREATED, below, directory, 0);
    } else {
        char *to = join(t, t->path, below);
        if (!to)
            return UV_ENOMEM;
        half->kind = AB_TREE_RENAMED;
        half->cookie = 0;
        half->from = half->path;
        half->path = to;
        half->hash = hash_of(to);
        if (t->recursive && directory)
            err = move_nodes(t, below_root(t, half->from), below);
    }
    if (!err && t->recursive && directory)
        err = watch_below(t, below, 1, 0);
    return err;
}

static int take_named(ab_tree *t, const struct inotify_event *in,
                      const char *below)
{
    int directory = (in->mask & IN_ISDIR) != 0;
    if (in->mask & IN_MOVED_TO)
        return moved_to(t, in, below, directory);
    if (in->mask & IN_MOVED_FROM)
        return add_event(t, AB_TREE_REMOVED, below, directory,
                         t->leaf ? 0 : in->cookie);
    if (in->mask & IN_DELETE)
        return add_event(t, AB_TREE_REMOVED, below, directory, 0);
    if (in->mask & IN_CREATE) {
        int err = add_event(t, AB_TREE_CREATED, below, directory, 0);
        return err || !directory || !t->recursive ? err
                                                  : watch_below(t, below, 1, 0);
    }
    if (in->mask & (IN_MODIFY | IN_ATTRIB) && !directory)
        return add_event(t, AB_TREE_MODIFIED, below, 0, 0);
    return 0;
}

static int take_event(ab_tree *t, const struct inotify_event *in)
{
    if (in->mask & IN_Q_OVERFLOW) {
        t->missed = 1;
        return 0;
    }
    node *n = node_of(t, in->wd);
    if (!n || t->gone)
        return 0;
    if (in->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) {
        if (in->wd == t->root_wd) {
            t->gone = 1;
            return add_event(t, AB_TREE_REMOVED, "", !t->leaf, 0);
        }
        if (in->mask & IN_IGNORED)
            forget(t, n);
        return 0;
    }
    if (in->len == 0 || (t->leaf && strcmp(in->name, t->leaf) != 0))
        return 0;
    char *below = join(t, n->path, in->name);
    if (!below)
        return UV_ENOMEM;
    int err = take_named(t, in, below);
    give_text(t, below);
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

static int take_all(ab_tree *t)
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

int ab_tree_drain(ab_tree *t, size_t budget_bytes, const atomic_int *stop)
{
    t->budget = budget_bytes;
    t->stop = stop;
    int err = take_all(t);
    settle_halves(t);
    if (!err && t->missed && !t->gone)
        err = recover(t);
    if (err)
        return err;
    return ab_tree_first(t) || t->gone ? 0 : UV_EAGAIN;
}

/* ---- life ---- */

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
        t->leaf = join(t, leaf, "");
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
    t->folder = join(t, real, "");
    return t->folder ? 0 : UV_ENOMEM;
}

static int start(ab_tree *t, const char *path)
{
    t->path = join(t, path, "");
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
        t->root_wd = place(t, fd, ROOT_MASK);
        err = t->root_wd < 0 ? t->root_wd : know(t, t->root_wd, "");
    }
    close(fd);
    return err || !t->recursive ? err : watch_below(t, "", 0, 1);
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
        drop_event(t, &t->events[i]);
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
