/* fs_copy_bytes.c - what is in a file, for fs.copy: shared where the file
 * system can, else by the kernel, else by hand.  Holes stay holes: a file of
 * 6 GiB that takes 12 kB on the disk is copied in no time, to 12 kB. */
#include "fs.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/fs.h>
#endif

enum { BUFFER = 65536, PIECE = 8 << 20 };

static int code(void) { return uv_translate_sys_error(errno); }

/* From where both descriptors stand to the end. */
static int copy_by_buffer(ab_fs_job *job, int in, int out)
{
    char buffer[BUFFER];
    for (;;) {
        if (atomic_load(&job->stop))
            return UV_ECANCELED;
        ssize_t n = read(in, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return code();
        if (n == 0)
            return 0;
        size_t done = 0;
        int err = ab_fs_write_all(job, out, buffer, (size_t)n, &done, -1);
        if (err)
            return err;
    }
}

#ifdef __linux__

/* From where both descriptors stand, at most `left` bytes, in the kernel.  How
 * many were copied, or a code of what no other way would do better. */
static off_t copy_in_kernel(ab_fs_job *job, int in, int out, off_t left)
{
    off_t done = 0;
    while (done < left) {
        if (atomic_load(&job->stop))
            return UV_ECANCELED;
        off_t piece = left - done < PIECE ? left - done : PIECE;
        ssize_t n = copy_file_range(in, NULL, out, NULL, (size_t)piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == ENOSPC || errno == EIO || errno == EDQUOT))
            return code();
        if (n <= 0)
            break;
        done += n;
    }
    return done;
}

/* The bytes from `at` to `end`, which are no hole; less if the file was cut
 * meanwhile. */
static int copy_extent(ab_fs_job *job, int in, int out, off_t at, off_t end)
{
    char buffer[BUFFER];
    if (lseek(in, at, SEEK_SET) < 0 || lseek(out, at, SEEK_SET) < 0)
        return code();
    off_t done = copy_in_kernel(job, in, out, end - at);
    if (done < 0)
        return (int)done;
    for (at += done; at < end;) {
        if (atomic_load(&job->stop))
            return UV_ECANCELED;
        size_t piece = end - at < BUFFER ? (size_t)(end - at) : BUFFER;
        ssize_t n = pread(in, buffer, piece, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? code() : 0;
        size_t written = 0;
        int err =
            ab_fs_write_all(job, out, buffer, (size_t)n, &written, (int64_t)at);
        if (err)
            return err;
        at += n;
    }
    return 0;
}

/* A file with holes: its data only, at the same places. */
static int copy_extents(ab_fs_job *job, int in, int out, off_t known)
{
    off_t at = 0;
    for (;;) {
        off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return code();
        if (data < 0)
            break; /* nothing but a hole up to the end */
        off_t end = lseek(in, data, SEEK_HOLE);
        if (end < 0)
            return errno == ENXIO ? 0 : code(); /* cut meanwhile */
        int err = copy_extent(job, in, out, data, end);
        if (err)
            return err;
        at = end;
    }
    off_t size = lseek(in, 0, SEEK_END);
    if (size > known) /* it grows, by what has not been looked at */
        size = known > at ? known : at;
    return size < 0 || ftruncate(out, size) < 0 ? code() : 0;
}

static int has_holes(int in, const struct stat *st)
{
    if ((off_t)st->st_blocks * 512 >= st->st_size)
        return 0;
    off_t hole = lseek(in, 0, SEEK_HOLE);
    int some = hole >= 0 && hole < st->st_size;
    return lseek(in, 0, SEEK_SET) == 0 && some;
}

int ab_fs_copy_bytes(ab_fs_job *job, int in, int out, const struct stat *st,
                     int *no_clone)
{
    /* A small file isn't worth the questions, and files of /proc know no
     * size. */
    if (st->st_size > BUFFER) {
        if (!*no_clone && ioctl(out, FICLONE, in) == 0)
            return 0;
        *no_clone = 1;
        if (has_holes(in, st))
            return copy_extents(job, in, out, st->st_size);
        off_t done = copy_in_kernel(job, in, out, INT64_MAX);
        if (done < 0)
            return (int)done;
    }
    return copy_by_buffer(job, in, out);
}

#else

int ab_fs_copy_bytes(ab_fs_job *job, int in, int out, const struct stat *st,
                     int *no_clone)
{
    (void)st, (void)no_clone;
    return copy_by_buffer(job, in, out);
}

#endif
