/* grants_socket.c - Unix sockets that a box may connect to.
 *
 * A name can come to mean another file between the look and the use, and
 * connect(2) follows links.  So the socket is opened as a path first (O_PATH),
 * which decides on the file that is really there, and then connected through
 * its descriptor in /proc. */
#include "box.h"
#include "compat.h"
#include "grants.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* The socket at a path as a descriptor that stands for nothing but the file,
 * or a code. */
static int open_file(const ab_grants *grants, ab_grant_kind kind,
                     const char *path, struct stat *st)
{
    char leaf[AB_LEAF_MAX];
    int dir = ab_grants_open_place(grants, kind, path, 1, leaf);
    if (dir < 0)
        return dir;
    int fd = openat(dir, leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int err = fd < 0 ? uv_translate_sys_error(errno) : 0;
    close(dir);
    if (!err && fstat(fd, st) < 0)
        err = uv_translate_sys_error(errno);
    if (!err && !S_ISSOCK(st->st_mode))
        err = UV_ENOTSOCK;
    if (!err)
        return fd;
    if (fd >= 0)
        close(fd);
    return err;
}

/* The same for a trusted script: links are followed. */
static int open_trusted(const char *path)
{
    struct stat st;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return uv_translate_sys_error(errno);
    if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        return fd;
    close(fd);
    return UV_ENOTSOCK;
}

int ab_grants_open_socket(const ab_grants *grants, const char *path)
{
    struct stat to_read, to_write;
    if (grants->trusted)
        return open_trusted(path);
    int fd = open_file(grants, AB_GRANT_READ, path, &to_read);
    if (fd < 0)
        return fd;
    int other = open_file(grants, AB_GRANT_WRITE, path, &to_write);
    int same = other >= 0 && to_read.st_dev == to_write.st_dev &&
               to_read.st_ino == to_write.st_ino;
    if (other >= 0)
        close(other);
    if (same)
        return fd;
    close(fd);
    return other < 0 ? other : ASYNCBOX_EDENIED;
}
