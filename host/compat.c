/* compat.c - see compat.h. */
#include "compat.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The longest name of a file on any system of ours. */
#define NAME_BYTES 255

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#endif

#if defined(__linux__) && defined(SYS_openat2)
#include <linux/openat2.h>

/* A rename that races with a path through `..` makes the kernel give up with
 * EAGAIN; it asks to be called again. */
#define TRIES 32

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

static int open_beneath_kernel(int dir, const char *path, int flags, int mode,
                               unsigned how)
{
    struct open_how ask = {0};
    ask.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC);
    if (flags & O_CREAT)
        ask.mode = (uint64_t)(unsigned)mode & 07777;
    ask.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    if (how & AB_BENEATH_NO_SYMLINKS)
        ask.resolve |= RESOLVE_NO_SYMLINKS;
    if (how & AB_BENEATH_CACHED)
        ask.resolve |= RESOLVE_CACHED;
    for (int i = 0; i < TRIES; i++) {
        long fd = syscall(SYS_openat2, dir, path, &ask, sizeof ask);
        if (fd >= 0)
            return (int)fd;
        if ((errno != EAGAIN && errno != EINTR) || how & AB_BENEATH_CACHED)
            return -errno;
    }
    return -EAGAIN;
}

int ab_compat_open_cached(const char *path)
{
    struct open_how ask = {0};
    ask.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    ask.resolve = RESOLVE_CACHED;
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &ask, sizeof ask);
    return fd >= 0 ? (int)fd : -errno;
}
#else
int ab_compat_open_cached(const char *path)
{
    (void)path;
    return -EAGAIN;
}

static int open_beneath_kernel(int dir, const char *path, int flags, int mode,
                               unsigned how)
{
    (void)dir, (void)path, (void)flags, (void)mode, (void)how;
    return -ENOSYS;
}
#endif

/* One component; a symlink is ELOOP whatever the system calls it. */
static int open_step(int dir, const char *name, int flags, int mode)
{
    int fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd >= 0) {
        /* O_PATH with O_NOFOLLOW opens the link itself. */
        struct stat st;
        if (fstat(fd, &st) == 0 && S_ISLNK(st.st_mode)) {
            close(fd);
            return -ELOOP;
        }
        return fd;
    }
    int err = errno;
    struct stat st;
    if ((err == ENOTDIR || err == EMLINK) &&
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(st.st_mode))
        err = ELOOP;
    return -err;
}

/* The walk: every folder on the way is opened by itself, without following a
 * link, so at no moment is the kernel given a path that could mean another
 * place than the one that was looked at. */
static int open_beneath_walk(int dir, const char *path, int flags, int mode)
{
    int at = dir, result = -ENOENT;
    if (*path == '/')
        return -EXDEV;
    while (*path) {
        char name[NAME_BYTES + 1];
        size_t len = strcspn(path, "/");
        if (len > NAME_BYTES) {
            result = -ENAMETOOLONG;
            break;
        }
        memcpy(name, path, len);
        name[len] = '\0';
        const char *rest = path + len;
        rest += strspn(rest, "/");
        if (strcmp(name, "..") == 0) {
            result = -EXDEV;
            break;
        }
        /* A slash at the end asks for a folder. */
        int last = *rest == '\0', folder = !last || path[len] == '/';
        int step = last ? flags : AB_O_PATH;
        if (folder)
            step |= O_DIRECTORY;
        result = open_step(at, name, step, mode);
        if (result < 0 || last)
            break;
        if (at != dir)
            close(at);
        at = result;
        path = rest;
    }
    if (at != dir)
        close(at);
    return result;
}

int ab_compat_open_beneath(int dir, const char *path, int flags, int mode,
                           unsigned how)
{
    if (!(how & AB_BENEATH_WALK)) {
        int fd = open_beneath_kernel(dir, path, flags, mode, how);
        /* EPERM: a seccomp filter that is older than the call. */
        if ((fd != -ENOSYS && fd != -EPERM) || how & AB_BENEATH_CACHED)
            return fd;
    }
    return open_beneath_walk(dir, path, flags, mode);
}

ssize_t ab_compat_read_cached(int fd, void *to, size_t bytes, int64_t at)
{
#ifdef RWF_NOWAIT
    struct iovec space = {to, bytes};
    ssize_t n;
    do
        n = preadv2(fd, &space, 1, (off_t)at, RWF_NOWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ENOSYS ? -EOPNOTSUPP : -errno;
    /* Linux 5.9 and 5.10 say 0 elsewhere than at the end, too. */
    return n > 0 ? n : -EAGAIN;
#else
    (void)fd, (void)to, (void)bytes, (void)at;
    return -EOPNOTSUPP;
#endif
}

int ab_compat_is_proc(int fd)
{
#ifdef __linux__
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == 0x9fa0; /* PROC_SUPER_MAGIC */
#else
    (void)fd;
    return 0;
#endif
}

int ab_compat_tells_changes(int fd)
{
#ifdef __linux__
    static const unsigned known[] = {
        0xef53,     /* ext2 to ext4 */
        0x58465342, /* xfs */
        0x9123683e, /* btrfs */
        0xf2f52010, /* f2fs */
        0x01021994, /* tmpfs */
        0x794c7630, /* overlayfs */
    };
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((unsigned)fs.f_type == known[i])
            return 1;
#else
    (void)fd;
#endif
    return 0;
}

static int is_reopenable(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return 0;
#ifdef TIOCGPTN
    /* Opening the controlling side of a terminal makes a new terminal. */
    int number;
    if (ioctl(fd, TIOCGPTN, &number) == 0)
        return 0;
#endif
    return S_ISFIFO(st.st_mode) || isatty(fd);
}

int ab_compat_reopen(int fd, int access)
{
    char path[256];
    if (!is_reopenable(fd))
        return -EINVAL;
#ifdef __linux__
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
#else
    int err = ttyname_r(fd, path, sizeof path);
    if (err)
        return -err;
#endif
    int made = open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return made < 0 ? -errno : made;
}

int ab_compat_watch_write(int fd)
{
#ifdef __linux__
    struct epoll_event event = {.events = EPOLLOUT};
    int watch = epoll_create1(EPOLL_CLOEXEC);
    if (watch >= 0 && epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event)) {
        close(watch);
        return -1;
    }
    return watch;
#else
    (void)fd;
    return -1;
#endif
}

size_t ab_compat_read_ahead(FILE *file)
{
#ifdef __GLIBC__
    return (size_t)(file->_IO_read_end - file->_IO_read_ptr);
#else
    (void)file;
    return 0;
#endif
}
