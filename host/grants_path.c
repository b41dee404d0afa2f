/* grants_path.c - opens what is below the roots (grants_root.c) of a box.
 *
 * Never decides on the text of a path alone.  The text only chooses which root
 * to try first; the kernel then opens below that root's descriptor and refuses
 * whatever leads out.  A path that it refuses may still mean a granted place (a
 * symlink from one root to another, an absolute link inside of one): it is then
 * resolved, and what came out is opened below a root without following
 * any symlink, so a link that is swapped meanwhile is refused again. */
#include "asyncbox.h"
#include "compat.h"
#include "grants.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* ---- opening ---- */

static unsigned how_of(const ab_grants *grants, unsigned how)
{
    return grants->walk ? how | AB_BENEATH_WALK : how;
}

/* Opens `rest` below the root; "" is the root itself. */
static int open_below(const ab_grants *grants, const ab_grant_rule *rule,
                      const char *rest, int flags, int mode, unsigned how)
{
    unsigned strict = how_of(grants, AB_BENEATH_NO_SYMLINKS);
    how = how_of(grants, how);
    if (!rule->leaf)
        return ab_compat_open_beneath(rule->dir, *rest ? rest : ".", flags,
                                      mode, how);
    if (!*rest)
        return ab_compat_open_beneath(rule->dir, rule->leaf, flags, mode,
                                      strict);
    /* Was not there when it was granted, and is a folder now. */
    int root = ab_compat_open_beneath(rule->dir, rule->leaf,
                                      AB_O_PATH | O_DIRECTORY, 0, strict);
    if (root < 0)
        return root;
    int fd = ab_compat_open_beneath(root, rest, flags, mode, how);
    close(root);
    return fd;
}

/* A folder of files was granted, not the devices, FIFOs and sockets that may
 * lie in it, nor the processes that /proc shows. */
static int check_sort(const ab_grant_rule *rule, const char *rest, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return uv_translate_sys_error(errno);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) &&
        !(rule->special && !*rest))
        return ASYNCBOX_EDENIED;
    if (!rule->proc && ab_compat_is_proc(fd))
        return ASYNCBOX_EDENIED;
    return 0;
}

/* To open a FIFO or a device does something to it: a writer that waits for the
 * FIFO goes on, a tape winds back.  So what is to be refused is not opened;
 * that it is swapped between this and that, check_sort sees. */
static int look_first(const ab_grants *grants, const ab_grant_rule *rule,
                      const char *rest, int flags, unsigned how)
{
#ifdef O_PATH
    if (flags & O_PATH)
        return 0;
    int kept = flags & (O_DIRECTORY | O_NOFOLLOW);
    int fd = open_below(grants, rule, rest, O_PATH | kept, 0, how);
    if (fd < 0)
        return 0; /* the real one tells why */
    int err = check_sort(rule, rest, fd);
    close(fd);
    return err;
#else
    (void)grants, (void)rule, (void)rest, (void)flags, (void)how;
    return 0;
#endif
}

static int is_refusal(int code)
{
    return code == -EXDEV || code == -ELOOP || code == ASYNCBOX_EDENIED;
}

/* Tries every root that the text of `abs` is below.  EDENIED when none lets it
 * through. */
static int open_by_rules(const ab_grants *grants, ab_grant_kind kind,
                         const char *abs, int flags, int mode, unsigned how)
{
    const ab_grant_rule *rule = grants->rules[kind];
    for (; rule; rule = rule->next) {
        const char *rest = ab_grant_below(rule, abs);
        if (!rest)
            continue;
        int fd = look_first(grants, rule, rest, flags, how);
        if (fd == 0)
            fd = open_below(grants, rule, rest, flags, mode, how);
        if (fd == -ENXIO) /* a socket, or a FIFO that nobody reads */
            fd = rule->special && !*rest ? UV_ENXIO : ASYNCBOX_EDENIED;
        if (fd >= 0) {
            int err = check_sort(rule, rest, fd);
            if (!err)
                return fd;
            close(fd);
            fd = err;
        }
        if (!is_refusal(fd))
            return fd; /* a negated errno is libuv's code */
    }
    return ASYNCBOX_EDENIED;
}

static int open_granted(const ab_grants *grants, ab_grant_kind kind,
                        const char *path, int flags, int mode)
{
    char *abs = ab_path_absolute(path);
    if (!abs)
        return uv_translate_sys_error(errno);
    /* Here the kernel may refuse a fine path too: see the head. */
    int fd = open_by_rules(grants, kind, abs, flags, mode, 0);
    if (fd == ASYNCBOX_EDENIED) {
        char *real = ab_path_real(abs);
        if (real)
            fd = open_by_rules(grants, kind, real, flags, mode,
                               AB_BENEATH_NO_SYMLINKS);
        free(real);
    }
    free(abs);
    return fd;
}

/* Is the open file one that may be read, too? */
static int check_readable(const ab_grants *grants, const char *path, int fd)
{
    struct stat mine, other;
    int same = open_granted(grants, AB_GRANT_READ, path, AB_O_PATH, 0);
    if (same < 0)
        return same;
    int ok = fstat(fd, &mine) == 0 && fstat(same, &other) == 0 &&
             mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
    close(same);
    return ok ? 0 : ASYNCBOX_EDENIED;
}

int ab_grants_open(const ab_grants *grants, const char *path, int flags,
                   int mode)
{
    if (grants->trusted) {
        int fd = open(path, flags | O_CLOEXEC, mode);
        return fd >= 0 ? fd : uv_translate_sys_error(errno);
    }
    if (*path == '\0')
        return UV_ENOENT;
    int access = flags & O_ACCMODE;
    int writes = access != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    /* What turns out to be a device must not hold us, nor become our
     * terminal. */
    int fd = open_granted(grants, writes ? AB_GRANT_WRITE : AB_GRANT_READ, path,
                          flags | O_NONBLOCK | O_NOCTTY, mode);
    if (fd >= 0 && writes && access != O_WRONLY) {
        int err = check_readable(grants, path, fd);
        if (err) {
            close(fd);
            return err;
        }
    }
    return fd;
}

int ab_grants_open_cached(const ab_grants *grants, const char *path)
{
    if (grants->trusted)
        return ab_compat_open_cached(path);
    if (grants->walk || *path == '\0')
        return UV_EAGAIN;
    char *abs = ab_path_absolute(path);
    if (!abs)
        return UV_ENOMEM;
    int fd = open_by_rules(grants, AB_GRANT_READ, abs,
                           AB_O_PATH | O_DIRECTORY | O_NOFOLLOW, 0,
                           AB_BENEATH_CACHED);
    free(abs);
    return fd;
}

/* ---- folders ---- */

/* Splits `path` (changed) into its folder and the name in it. */
static int split_leaf(char *path, char leaf[AB_LEAF_MAX], const char **folder)
{
    char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t len = strlen(name);
    if (len == 0)
        return *path ? UV_EISDIR : UV_ENOENT;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return UV_EISDIR;
    if (len >= AB_LEAF_MAX)
        return UV_ENAMETOOLONG;
    memcpy(leaf, name, len + 1);
    if (!slash)
        *folder = ".";
    else if (slash == path)
        *folder = "/";
    else
        *folder = path;
    if (slash)
        *slash = '\0';
    return 0;
}

/* A file that was granted by its own name: its folder, which the descriptor of
 * the rule has held since. */
static int open_folder_of_rule(const ab_grants *grants, ab_grant_kind kind,
                               const char *folder, const char *leaf, int flags)
{
    const ab_grant_rule *rule = grants->rules[kind];
    for (; rule; rule = rule->next) {
        if (!rule->leaf || strcmp(rule->leaf, leaf) != 0)
            continue;
        size_t len = strlen(rule->path) - strlen(leaf) - 1;
        if (strlen(folder) != (len ? len : 1) ||
            strncmp(folder, rule->path, len) != 0)
            continue;
        int fd = openat(rule->dir, ".", flags | O_CLOEXEC);
        return fd >= 0 ? fd : uv_translate_sys_error(errno);
    }
    return ASYNCBOX_EDENIED;
}

static int open_parent(const ab_grants *grants, ab_grant_kind kind,
                       const char *path, int flags, char leaf[AB_LEAF_MAX])
{
    const char *folder = NULL;
    char *copy = strdup(path);
    if (!copy)
        return UV_ENOMEM;
    int fd = split_leaf(copy, leaf, &folder);
    if (fd == 0 && grants->trusted) {
        fd = open(folder, flags | O_CLOEXEC);
        if (fd < 0)
            fd = uv_translate_sys_error(errno);
    } else if (fd == 0) {
        fd = open_granted(grants, kind, folder, flags, 0);
        char *abs = fd == ASYNCBOX_EDENIED ? ab_path_absolute(folder) : NULL;
        char *real = abs ? realpath(abs, NULL) : NULL;
        if (real)
            fd = open_folder_of_rule(grants, kind, real, leaf, flags);
        free(real);
        free(abs);
    }
    free(copy);
    return fd;
}

int ab_grants_open_parent(const ab_grants *grants, ab_grant_kind kind,
                          const char *path, char leaf[AB_LEAF_MAX])
{
    return open_parent(grants, kind, path, O_RDONLY | O_DIRECTORY, leaf);
}

/* A folder as a place of its own: a root, or what ends in a slash or dots. */
static int open_as_folder(const ab_grants *grants, ab_grant_kind kind,
                          const char *path, char leaf[AB_LEAF_MAX])
{
    strcpy(leaf, ".");
    return open_granted(grants, kind, path, AB_O_PATH | O_DIRECTORY, 0);
}

static int open_entry(const ab_grants *grants, ab_grant_kind kind,
                      const char *path, char leaf[AB_LEAF_MAX])
{
    int fd = open_parent(grants, kind, path, AB_O_PATH | O_DIRECTORY, leaf);
    if (fd == UV_EISDIR)
        return open_as_folder(grants, kind, path, leaf);
    if (fd != ASYNCBOX_EDENIED)
        return fd;
    fd = open_as_folder(grants, kind, path, leaf);
    /* Whether it is there, and as what, is told below a root only. */
    return fd < 0 ? ASYNCBOX_EDENIED : fd;
}

int ab_grants_open_place(const ab_grants *grants, ab_grant_kind kind,
                         const char *path, int follow, char leaf[AB_LEAF_MAX])
{
    struct stat st;
    if (*path == '\0')
        return UV_ENOENT;
    int fd = open_entry(grants, kind, path, leaf);
    if (fd < 0 || !follow || fstatat(fd, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISLNK(st.st_mode))
        return fd;
    close(fd);
    /* May it be followed?  Then where it leads now; if that is a link by the
     * time it is used, the caller's call doesn't follow it. */
    fd = open_granted(grants, kind, path, AB_O_PATH, 0);
    if (fd < 0)
        return fd;
    close(fd);
    char *real = realpath(path, NULL);
    if (!real)
        return ASYNCBOX_EDENIED; /* swapped meanwhile */
    fd = open_entry(grants, kind, real, leaf);
    free(real);
    return fd;
}
