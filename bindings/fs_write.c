/* fs_write.c - fs.write: whole files, in place or replaced at one stroke. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct write_op {
    ab_fs_op base;
    char *data; /* a copy: the op may outlive the Lua string */
    size_t len, done;
    int append;
    int mode; /* -1: not given */
    int sync;
} write_op;

int ab_fs_sync(int fd)
{
    /* Not every file system can, and not every folder may be. */
    if (fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP && errno != EBADF)
        return uv_translate_sys_error(errno);
    return 0;
}

/* In the pool.  The error of close(2) counts: a full disk or quota may show
 * only here. */
static int close_file(ab_fs_job *job)
{
    int err = close(job->fd) < 0 && errno != EINTR
                  ? uv_translate_sys_error(errno)
                  : 0;
    job->fd = -1;
    return err;
}

static int run_write(ab_fs_job *job)
{
    write_op *w = (write_op *)ab_fs_op_of(job);
    if (job->fd < 0) {
        struct stat st;
        int err = ab_fs_op_open(
            &w->base, O_WRONLY | O_CREAT | (w->append ? O_APPEND : O_TRUNC),
            w->mode < 0 ? AB_FS_PERMISSIONS : w->mode, &st);
        if (err)
            return err;
    }
    int err = ab_fs_write_all(job, job->fd, w->data, w->len, &w->done, -1);
    if (err)
        return err; /* the fd: ab_fs_op_drop's, or the next turn's */
    if (w->sync)
        err = ab_fs_sync(job->fd);
    int close_err = close_file(job);
    return err ? err : close_err;
}

/* The folder and the name to replace.  A symlink is written through, as an
 * ordinary write does: the file that it names is replaced, not the link.  What
 * is neither file nor link (a device, say) is not replaced at all. */
static int open_target(write_op *w, char leaf[AB_LEAF_MAX], int *mode)
{
    const ab_grants *grants = &w->base.op.box->grants;
    struct stat st;
    int dir = ab_grants_open_parent(grants, AB_GRANT_WRITE, w->base.path, leaf);
    if (dir < 0)
        return dir;
    int there = fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && S_ISLNK(st.st_mode)) {
        /* In a sandbox the roots decide first: whether something outside is
         * there is not for the script to learn. */
        int place = 0;
        if (!grants->trusted)
            place = ab_grants_open_place(grants, AB_GRANT_WRITE, w->base.path,
                                         1, leaf);
        if (place < 0) {
            close(dir);
            return place;
        }
        if (!grants->trusted)
            close(place);
        char *real = realpath(w->base.path, NULL);
        int err = real ? 0 : uv_translate_sys_error(errno);
        close(dir);
        dir = real ? ab_grants_open_parent(grants, AB_GRANT_WRITE, real, leaf)
                   : err;
        free(real);
        if (dir < 0)
            return dir;
        there = fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
    }
    if (there && !S_ISREG(st.st_mode)) {
        close(dir);
        return S_ISDIR(st.st_mode) ? UV_EISDIR : UV_EINVAL;
    }
    /* As with any write, set-ID bits do not outlive the old bytes. */
    *mode = there ? (int)(st.st_mode & 01777) : -1;
    return dir;
}

/* ---- the temporary file ----
 *
 * Where the system can, it has no name until it is whole and on the disk, so
 * that a process that is killed leaves nothing behind; else, and for the
 * moment before it takes the target's name, it is called .asyncbox- and 16
 * digits. */

static int make_name(char name[AB_LEAF_MAX])
{
    unsigned char id[8];
    int err = uv_random(NULL, NULL, id, sizeof id, 0, NULL);
    if (err)
        return err;
    int n = snprintf(name, AB_LEAF_MAX, ".asyncbox-");
    for (size_t k = 0; k < sizeof id; k++)
        n += snprintf(name + n, AB_LEAF_MAX - (size_t)n, "%02x", id[k]);
    return 0;
}

/* linkat(2) of a file without a name goes by /proc. */
#ifdef O_TMPFILE
#define LINK_PATH "/proc/self/fd/%d"

static int open_unnamed(int dir, int mode)
{
    return access("/proc/self/fd", X_OK) < 0
               ? -1
               : openat(dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
}

static int link_unnamed(int fd, int dir, const char *name)
{
    char path[sizeof LINK_PATH + 12];
    snprintf(path, sizeof path, LINK_PATH, fd);
    return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW);
}
#else
static int open_unnamed(int dir, int mode) { return (void)dir, (void)mode, -1; }
static int link_unnamed(int fd, int dir, const char *name)
{
    return (void)fd, (void)dir, (void)name, -1;
}
#endif

/* Finds a name that nobody has, for a new file (fd is -1) or for one without a
 * name.  Gives the file's descriptor or a code, and then no name. */
static int take_name(int fd, int dir, char name[AB_LEAF_MAX], int mode)
{
    for (int i = 0; i < 100; i++) {
        int err = make_name(name);
        int found = fd;
        if (!err && fd < 0)
            found = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                           mode);
        else if (!err && link_unnamed(fd, dir, name) < 0)
            found = -1;
        if (!err && found >= 0)
            return found;
        if (!err && errno == EEXIST)
            continue;
        *name = '\0';
        return err ? err : uv_translate_sys_error(errno);
    }
    *name = '\0';
    return UV_EEXIST;
}

static int make_temporary(int dir, char name[AB_LEAF_MAX], int mode)
{
    *name = '\0';
    int fd = open_unnamed(dir, mode);
    return fd >= 0 ? fd : take_name(-1, dir, name, mode);
}

static int fill_temporary(write_op *w, int keep_mode, int dir,
                          char name[AB_LEAF_MAX])
{
    int fd = w->base.job.fd;
    int err = ab_fs_write_all(&w->base.job, fd, w->data, w->len, &w->done, -1);
    if (!err && w->mode < 0 && keep_mode >= 0 &&
        fchmod(fd, (mode_t)keep_mode) < 0)
        err = uv_translate_sys_error(errno);
    if (!err)
        err = ab_fs_sync(fd);
    if (!err && !*name) {
        int named = take_name(fd, dir, name, 0);
        err = named < 0 ? named : 0;
    }
    int close_err = close_file(&w->base.job);
    return err ? err : close_err;
}

/* At any moment, also if the machine stops, the name means the old bytes or the
 * new ones. */
static int run_write_atomic(ab_fs_job *job)
{
    write_op *w = (write_op *)ab_fs_op_of(job);
    char leaf[AB_LEAF_MAX], temporary[AB_LEAF_MAX];
    int keep_mode = -1;
    int dir = open_target(w, leaf, &keep_mode);
    if (dir < 0)
        return dir;
    int fd = make_temporary(dir, temporary,
                            w->mode < 0 ? AB_FS_PERMISSIONS : w->mode);
    int err = fd < 0 ? fd : 0;
    if (!err) {
        job->fd = fd;
        err = fill_temporary(w, keep_mode, dir, temporary);
        if (!err && atomic_load(&job->stop))
            err = UV_ECANCELED;
        if (!err && renameat(dir, temporary, dir, leaf) < 0)
            err = uv_translate_sys_error(errno);
        if (!err)
            err = ab_fs_sync(dir);
        else if (*temporary)
            unlinkat(dir, temporary, 0);
    }
    close(dir);
    return err;
}

static void drop_write(ab_op *op)
{
    write_op *w = (write_op *)op;
    ab_fs_op_drop(op);
    ab_box_free(op->box, w->data, w->len);
}

static const ab_op_type write_type = {
    .name = "fs.write",
    .size = sizeof(write_op),
    .flags = AB_OP_EXTERNAL,
    .push = ab_fs_push_true,
    .cancel = ab_fs_op_cancel,
    .drop = drop_write,
};

int ab_fs_write(lua_State *L)
{
    static const char *const known[] = {"append", "atomic", "mode", "sync",
                                        NULL};
    ab_task_check(L, "fs.write");
    const char *path = ab_fs_check_path(L, 1);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    ab_options_check(L, 3, "fs.write", known);
    int append = ab_option_boolean(L, 3, "append", 0);
    int atomic = ab_option_boolean(L, 3, "atomic", 0);
    int mode = (int)ab_option_integer(L, 3, "mode", -1, 0, 07777);
    if (append && atomic)
        return luaL_error(L, "fs.write: append and atomic exclude each other");
    int sync = ab_option_boolean(L, 3, "sync", 0);
    ab_fs_check_mode(L, "fs.write", path, mode);
    ab_grants_check_path(L, AB_GRANT_WRITE, "fs.write", path);

    write_op *w =
        (write_op *)ab_fs_op_new(L, &write_type, path, AB_GRANT_WRITE,
                                 atomic ? run_write_atomic : run_write);
    if (len) {
        w->data = ab_box_alloc(w->base.op.box, len);
        if (!w->data)
            return ab_op_fail(L, &w->base.op, UV_ENOMEM, "path", path);
        w->len = len;
        memcpy(w->data, data, len);
    }
    w->append = append;
    w->mode = mode;
    w->sync = sync;
    w->base.job.events = UV_WRITABLE;
    return ab_fs_op_start(L, &w->base);
}
