/* compat.h - what only some systems have, with a fallback that is safe.
 *
 * Knows nothing of boxes.  Every function may be called on any thread. */
#ifndef AB_COMPAT_H
#define AB_COMPAT_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* A descriptor that only names a place, where there is such a thing.  (Linux
 * refuses O_PATH with O_NONBLOCK, others need it for FIFOs.) */
#ifdef O_PATH
#define AB_O_PATH O_PATH
#else
#define AB_O_PATH (O_RDONLY | O_NONBLOCK)
#endif

enum {
    AB_BENEATH_NO_SYMLINKS = 1, /* none at all on the way, nor at the end */
    AB_BENEATH_WALK = 2,        /* do not use openat2: for specs */
    AB_BENEATH_CACHED = 4       /* as ab_compat_open_cached */
};

/* openat(2) that cannot leave the folder `dir`: neither `..` nor a symlink
 * leads out, whatever is renamed meanwhile.  `path` is relative.  `flags` and
 * `mode` as openat(2); the descriptor is close-on-exec.  A descriptor, or a
 * negative errno:
 *   EXDEV  the path leads out (or, without openat2, contains `..`)
 *   ELOOP  a symlink that may not be followed (without openat2: any)
 * so a caller that gets one of these two may resolve the path by itself and
 * come again. */
int ab_compat_open_beneath(int dir, const char *path, int flags, int mode,
                           unsigned how);

/* Opens a folder as a place (see AB_O_PATH), no link itself, and never waits
 * for a disk or a network: what the kernel does not know by heart is EAGAIN, as
 * is everything where that cannot be asked for.  A descriptor (close-on-exec),
 * or a negative errno. */
int ab_compat_open_cached(const char *path);

/* Does a folder on this file system get another st_ctim with whatever is made,
 * renamed or removed in it, two seconds apart or more, and can fstat say so
 * without waiting?  Of local ones that are known to. */
int ab_compat_tells_changes(int fd);

/* Opens what `fd` is open on anew, O_RDONLY or O_WRONLY as `access` says and
 * without blocking: status flags are then the new descriptor's own, and whoever
 * shares `fd` does not notice.  Only for pipes and terminals.  A descriptor
 * (close-on-exec), or a negative errno: it cannot be done here. */
int ab_compat_reopen(int fd, int access);

/* A descriptor that becomes readable when `fd` becomes writable, for libuv,
 * which makes what it polls non-blocking.  -1 where there is no such thing. */
int ab_compat_watch_write(int fd);

/* How many bytes a FILE that is read from holds in its buffer; 0 where the
 * system does not tell. */
size_t ab_compat_read_ahead(FILE *file);

/* As pread(2), but never waits for a disk or a network: how many bytes were in
 * memory, more than 0; or a negative errno:
 *   EAGAIN      none were, or the file ends here
 *   EOPNOTSUPP  the system cannot tell, of this file or of any
 *   any other   what pread would say too */
ssize_t ab_compat_read_cached(int fd, void *to, size_t bytes, int64_t at);

/* Does the descriptor lie in /proc? */
int ab_compat_is_proc(int fd);

#endif
