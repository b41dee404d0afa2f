/* net_unix.c - the files of Unix sockets.
 *
 * They are connected through a descriptor in /proc (see ab_grants_open_socket);
 * the same way a folder's descriptor is bound in. That also does away with the
 * limit of 107 bytes for a path. */
#include "net.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int last_error(void) { return uv_translate_sys_error(errno); }

static int new_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? last_error() : fd;
}

/* "/proc/self/fd/DIR" and, unless NULL, "/LEAF". */
static int fill(struct sockaddr_un *un, int fd, const char *leaf)
{
    memset(un, 0, sizeof *un);
    un->sun_family = AF_UNIX;
    int n = snprintf(un->sun_path, sizeof un->sun_path, "/proc/self/fd/%d%s%s",
                     fd, leaf ? "/" : "", leaf ? leaf : "");
    return n < (int)sizeof un->sun_path ? 0 : UV_ENAMETOOLONG;
}

static int connect_file(int file)
{
    struct sockaddr_un un;
    int err = fill(&un, file, NULL), fd = err ? err : new_socket();
    if (fd < 0)
        return fd;
    while ((err = connect(fd, (struct sockaddr *)&un, sizeof un)) < 0 &&
           errno == EINTR)
        ;
    if (err == 0)
        return fd;
    err = last_error();
    close(fd);
    return err;
}

int ab_net_unix_connect(const ab_grants *grants, const char *path)
{
    int file = ab_grants_open_socket(grants, path);
    if (file < 0)
        return file;
    int fd = connect_file(file);
    close(file);
    return fd;
}

/* ---- listening ---- */

/* Is the file at the place a socket that nobody listens on any more?  Then it
 * is removed. */
static int remove_stale(const ab_net_place *place)
{
    int file = openat(place->dir, place->leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (file < 0)
        return errno == ENOENT;
    int stale = 0;
    if (fstat(file, &st) == 0 && S_ISSOCK(st.st_mode)) {
        int fd = connect_file(file);
        stale = fd == UV_ECONNREFUSED;
        if (fd >= 0)
            close(fd);
    }
    close(file);
    return stale && unlinkat(place->dir, place->leaf, 0) == 0;
}

static int bind_place(int fd, ab_net_place *place)
{
    struct sockaddr_un un;
    int err = fill(&un, place->dir, place->leaf);
    for (int again = 0; !err; again = 1) {
        if (bind(fd, (struct sockaddr *)&un, sizeof un) == 0)
            break;
        err = last_error();
        if (err == UV_EADDRINUSE && !again && remove_stale(place))
            err = 0;
    }
    return err;
}

/* Sets the mode of the file that was bound, and of no other that has taken its
 * name since. */
static int set_mode(const ab_net_place *place, int mode)
{
    char path[40];
    struct stat st;
    int file = openat(place->dir, place->leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
        return last_error();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int err = 0;
    if (fstat(file, &st) == 0 &&
        (st.st_dev != place->dev || st.st_ino != place->ino))
        err = UV_ENOENT;
    else if (chmod(path, (mode_t)mode) < 0)
        err = last_error();
    close(file);
    return err;
}

/* Nobody can connect before it listens: the mode is set in time. */
static int finish(int fd, int mode, int backlog, ab_net_place *place)
{
    struct stat st;
    if (fstatat(place->dir, place->leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return last_error();
    place->dev = st.st_dev;
    place->ino = st.st_ino;
    int err = mode >= 0 ? set_mode(place, mode) : 0;
    if (!err && listen(fd, backlog) < 0)
        err = last_error();
    return err;
}

/* Is the folder that was opened to write in one to read in, too? */
static int may_read(const ab_grants *grants, const char *path, int dir)
{
    char leaf[AB_LEAF_MAX];
    struct stat a, b;
    if (grants->trusted)
        return 0;
    int other = ab_grants_open_parent(grants, AB_GRANT_READ, path, leaf);
    if (other < 0)
        return other;
    int same = fstat(dir, &a) == 0 && fstat(other, &b) == 0 &&
               a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    close(other);
    return same ? 0 : ASYNCBOX_EDENIED;
}

int ab_net_unix_listen(const ab_grants *grants, const char *path, int mode,
                       int backlog, ab_net_place *place)
{
    memset(place, 0, sizeof *place);
    place->dir =
        ab_grants_open_parent(grants, AB_GRANT_WRITE, path, place->leaf);
    if (place->dir < 0)
        return place->dir;
    int fd = new_socket();
    int err = fd < 0 ? fd : may_read(grants, path, place->dir);
    if (!err)
        err = bind_place(fd, place);
    if (!err)
        err = finish(fd, mode, backlog, place);
    if (!err)
        return fd;
    if (fd >= 0)
        close(fd);
    ab_net_unix_remove(place);
    return err;
}

void ab_net_unix_remove(ab_net_place *place)
{
    struct stat st;
    if (place->dir < 0)
        return;
    if (place->ino &&
        fstatat(place->dir, place->leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_dev == place->dev && st.st_ino == place->ino)
        unlinkat(place->dir, place->leaf, 0);
    close(place->dir);
    place->dir = -1;
    place->ino = 0;
}
