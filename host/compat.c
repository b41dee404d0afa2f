/* compat.c - see compat.h. */
#include "compat.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The longest name of a file on any system of ours. */
#define NAME_BYTES 255

#ifdef __linux__
#include <sys/syscall.h>
#include <sys/vfs.h>
#endif

#if defined(__linux__) && defined(SYS_openat2)
#include <linux/openat2.h>

/* A rename that races with a path through `..` makes the kernel give up with
 * EAGAIN; it asks to be called again. */
#define TRIES 32

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
    for (int i = 0; i < TRIES; i++) {
        long fd = syscall(SYS_openat2, dir, path, &ask, sizeof ask);
        if (fd >= 0)
            return (int)fd;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
    return -EAGAIN;
}
#else
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
        if (fd != -ENOSYS && fd != -EPERM)
            return fd;
    }
    return open_beneath_walk(dir, path, flags, mode);
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
