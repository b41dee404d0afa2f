/* fs_copy.c - fs.copy: a file, or a tree, in one job.
 *
 * Every name is opened relative to the descriptor of its folder and through no
 * link, on both sides; links in a tree are copied as links.  A file is made
 * under its name, or, to replace one, beside it and renamed: what is not
 * whole never stays. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct copy_op {
    ab_fs_op base; /* path, to */
    int recursive, overwrite, times;
    int no_clone; /* the file systems can't */
    int bad_link; /* a sandbox may not copy the link `failed` */
    const char *why;
    char *failed; /* malloc's: which entry; NULL: path itself */
    dev_t made_dev;
    ino_t made_ino; /* the outermost folder that was made */
} copy_op;

static int code(void) { return uv_translate_sys_error(errno); }

static void keep_times(int out, const struct stat *st)
{
#ifdef __APPLE__
    struct timespec times[2] = {st->st_atimespec, st->st_mtimespec};
#else
    struct timespec times[2] = {st->st_atim, st->st_mtim};
#endif
    futimens(out, times);
}

static int fill(copy_op *c, int in, int out, const struct stat *st)
{
    int err = ab_fs_copy_bytes(&c->base.job, in, out, st, &c->no_clone);
    if (!err && fchmod(out, st->st_mode & 0777) < 0)
        err = code();
    if (!err && c->times)
        keep_times(out, st);
    if (close(out) < 0 && !err && errno != EINTR)
        err = code();
    return err;
}

/* As for fs.symlink: a sandbox makes no link that may lead other programs out,
 * and elsewhere a relative one leads elsewhere. */
static int may_lead_out(const char *target)
{
    if (target[0] == '/')
        return 1;
    for (const char *p = target; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            return 1;
        p += len + strspn(p + len, "/");
    }
    return 0;
}

/* ---- one entry, into the folder dir under a name ---- */

static int may_replace(copy_op *c, const struct stat *st, int dir,
                       const char *name)
{
    struct stat old;
    if (fstatat(dir, name, &old, AT_SYMLINK_NOFOLLOW) < 0)
        return code();
    if (old.st_dev == st->st_dev && old.st_ino == st->st_ino) {
        c->why = "source and target are the same file";
        return UV_EINVAL;
    }
    if (!c->overwrite)
        return UV_EEXIST;
    return S_ISDIR(old.st_mode) ? UV_EISDIR : 0;
}

static void temporary_name(char name[AB_LEAF_MAX])
{
    unsigned long long id = 0;
    if (uv_random(NULL, NULL, &id, sizeof id, 0, NULL))
        id = uv_hrtime();
    snprintf(name, AB_LEAF_MAX, ".asyncbox-%016llx", id);
}

static int copy_file(copy_op *c, int in, const struct stat *st, int dir,
                     const char *name)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    char temporary[AB_LEAF_MAX];
    const char *made = name;
    int out = openat(dir, name, flags, 0600);
    if (out < 0 && errno == EEXIST) {
        int err = may_replace(c, st, dir, name);
        if (err)
            return err;
        temporary_name(temporary);
        made = temporary;
        out = openat(dir, made, flags, 0600);
    }
    if (out < 0)
        return code();
    int err = fill(c, in, out, st);
    if (!err && made != name && renameat(dir, made, dir, name) < 0)
        err = code();
    if (err)
        unlinkat(dir, made, 0);
    return err;
}

static int copy_link(copy_op *c, int from, const char *name, int dir)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(from, name, target, sizeof target - 1);
    if (n < 0)
        return code();
    target[n] = '\0';
    if (!c->base.op.box->grants.trusted && may_lead_out(target)) {
        c->bad_link = 1;
        return ASYNCBOX_EDENIED;
    }
    if (symlinkat(target, dir, name) == 0)
        return 0;
    struct stat st;
    if (errno != EEXIST || fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return code();
    int err = may_replace(c, &st, dir, name);
    if (err)
        return err;
    char temporary[AB_LEAF_MAX];
    temporary_name(temporary);
    if (symlinkat(target, dir, temporary) < 0)
        return code();
    if (renameat(dir, temporary, dir, name) == 0)
        return 0;
    err = code();
    unlinkat(dir, temporary, 0);
    return err;
}

/* ---- folders ---- */

/* Makes the folder, or takes the one that is there; its descriptor or a code.
 */
static int make_folder(copy_op *c, int dir, const char *name, int *made)
{
    *made = mkdirat(dir, name, 0700) == 0;
    if (!*made && (errno != EEXIST || !c->overwrite))
        return code();
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? code() : fd;
}

/* Goes into the folder `in` (taken over), to be copied as dir/name. */
static int enter(copy_op *c, ab_fs_levels *levels, int in, int dir,
                 const char *name)
{
    int made;
    struct stat st;
    if (levels->depth && fstat(in, &st) == 0 && st.st_dev == c->made_dev &&
        st.st_ino == c->made_ino) { /* moved into itself meanwhile */
        c->why = "a folder cannot be copied into itself";
        close(in);
        return UV_EINVAL;
    }
    int out = make_folder(c, dir, name, &made);
    if (out < 0) {
        close(in);
        return out;
    }
    int first = levels->depth == 0;
    int err = ab_fs_levels_enter(levels, name, in, out);
    if (err)
        return err;
    ab_fs_level *top = ab_fs_levels_top(levels);
    top->made = made;
    if (first) {
        c->made_dev = top->out_dev;
        c->made_ino = top->out_ino;
    }
    return 0;
}

static int copy_entry(copy_op *c, ab_fs_levels *levels, const struct dirent *e)
{
    ab_fs_level *top = ab_fs_levels_top(levels);
    int from = dirfd(top->dir);
    struct stat st;
    if (fstatat(from, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return code();
    if (S_ISLNK(st.st_mode))
        return copy_link(c, from, e->d_name, top->out);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        c->why = "is neither a file, a folder nor a link";
        return UV_EINVAL;
    }
    int in = openat(from, e->d_name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (in < 0)
        return code();
    int err = fstat(in, &st) < 0 ? code() : 0;
    if (!err && S_ISDIR(st.st_mode))
        return enter(c, levels, in, top->out, e->d_name);
    if (!err && !S_ISREG(st.st_mode))
        err = UV_EINVAL;
    if (!err)
        err = copy_file(c, in, &st, top->out, e->d_name);
    close(in);
    return err;
}

static int finish(copy_op *c, ab_fs_levels *levels)
{
    ab_fs_level *top = ab_fs_levels_top(levels);
    struct stat st;
    if (top->made) {
        if (fstat(dirfd(top->dir), &st) < 0 ||
            fchmod(top->out, st.st_mode & 0777) < 0)
            return code();
        if (c->times)
            keep_times(top->out, &st);
    }
    int anew = ab_fs_levels_leave(levels);
    if (anew > 0) {
        top = ab_fs_levels_top(levels);
        seekdir(top->dir, top->at);
    }
    return anew < 0 ? anew : 0;
}

static int copy_tree(copy_op *c, int in, const ab_fs_place *to)
{
    ab_fs_levels levels = {0};
    int err = enter(c, &levels, in, to->dir, to->name);
    while (!err && levels.depth) {
        struct dirent *e = NULL;
        errno = 0;
        if (atomic_load(&c->base.job.stop))
            err = UV_ECANCELED;
        else if (!(e = readdir(ab_fs_levels_top(&levels)->dir)))
            err = errno ? code() : finish(c, &levels);
        else if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            err = copy_entry(c, &levels, e);
        if (err && levels.depth)
            c->failed =
                ab_fs_levels_path(&levels, c->base.path, e ? e->d_name : NULL);
    }
    ab_fs_levels_deinit(&levels);
    return err;
}

/* Is the place the folder `in` itself, or does it lie in it? */
static int is_inside(int in, const ab_fs_place *place)
{
    struct stat folder, st, last = {0};
    if (fstat(in, &folder) < 0)
        return 0;
    if (fstatat(place->dir, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_dev == folder.st_dev && st.st_ino == folder.st_ino)
        return 1;
    int fd = openat(place->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int inside = 0;
    while (fd >= 0 && !inside && fstat(fd, &st) == 0) {
        inside = st.st_dev == folder.st_dev && st.st_ino == folder.st_ino;
        if (st.st_dev == last.st_dev && st.st_ino == last.st_ino)
            break; /* the root */
        last = st;
        int above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = above;
    }
    if (fd >= 0)
        close(fd);
    return inside;
}

/* ---- the call ---- */

static int copy_opened(copy_op *c, int in, const struct stat *st,
                       const ab_fs_place *to)
{
    if (S_ISREG(st->st_mode)) {
        int err = copy_file(c, in, st, to->dir, to->name);
        close(in);
        return err;
    }
    int err = 0;
    if (!S_ISDIR(st->st_mode)) {
        c->why = "is neither a file nor a folder";
        err = UV_EINVAL;
    } else if (!c->recursive) {
        c->why = "is a folder: copy it with {recursive = true}";
        err = UV_EISDIR;
    } else if (is_inside(in, to)) {
        c->why = "a folder cannot be copied into itself";
        err = UV_EINVAL;
    }
    if (!err)
        return copy_tree(c, in, to);
    close(in);
    return err;
}

static int run_copy(ab_fs_job *job)
{
    copy_op *c = (copy_op *)ab_fs_op_of(job);
    const ab_grants *grants = &c->base.op.box->grants;
    char leaf[AB_LEAF_MAX];
    struct stat st;
    int in = ab_grants_open(grants, c->base.path,
                            O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (in < 0)
        return in;
    if (fstat(in, &st) < 0) {
        int err = code();
        close(in);
        return err;
    }
    int dir = ab_grants_open_parent(grants, AB_GRANT_WRITE, c->base.to, leaf);
    if (dir < 0) {
        if (dir == ASYNCBOX_EDENIED) {
            c->base.refused = c->base.to;
            c->base.refused_kind = AB_GRANT_WRITE;
        }
        close(in);
        return dir;
    }
    ab_fs_place to = {.dir = dir, .name = leaf};
    int err = copy_opened(c, in, &st, &to);
    close(dir);
    return err;
}

static int push_copy(lua_State *L, ab_op *op)
{
    copy_op *c = (copy_op *)op;
    if (c->bad_link && c->failed)
        return ab_grants_deny(L, op->type->name, "path", c->failed,
                              "a sandbox copies no link whose text is absolute "
                              "or has '..'");
    if (op->status >= 0 || op->status == ASYNCBOX_EDENIED)
        return ab_fs_push_true(L, op);
    ab_error_push(L, op->status,
                  &(ab_detail){op->type->name, c->why, "path",
                               c->failed ? c->failed : c->base.path});
    size_t len = strlen(c->base.path);
    const char *rest = "";
    if (c->failed && strncmp(c->failed, c->base.path, len) == 0)
        rest = c->failed + len + strspn(c->failed + len, "/");
    lua_pushfstring(L, *rest ? "%s/%s" : "%s", c->base.to, rest);
    lua_setfield(L, -2, "to");
    return lua_error(L);
}

static void drop_copy(ab_op *op)
{
    free(((copy_op *)op)->failed);
    ab_fs_op_drop(op);
}

static const ab_op_type copy_type = {
    .name = "fs.copy",
    .size = sizeof(copy_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_copy,
    .cancel = ab_fs_op_cancel,
    .drop = drop_copy,
};

int ab_fs_copy(lua_State *L)
{
    static const char *const known[] = {"recursive", "overwrite", "times",
                                        NULL};
    ab_task_check(L, "fs.copy");
    const char *from = ab_fs_check_path(L, 1);
    const char *to = ab_fs_trim_path(L, 2);
    ab_options_check(L, 3, "fs.copy", known);
    int recursive = ab_option_boolean(L, 3, "recursive", 0);
    int overwrite = ab_option_boolean(L, 3, "overwrite", 0);
    int times = ab_option_boolean(L, 3, "times", 0);
    ab_grants_check_path(L, AB_GRANT_READ, "fs.copy", from);
    ab_grants_check_path(L, AB_GRANT_WRITE, "fs.copy", to);
    copy_op *c =
        (copy_op *)ab_fs_op_new(L, &copy_type, from, AB_GRANT_READ, run_copy);
    c->recursive = recursive;
    c->overwrite = overwrite;
    c->times = times;
    ab_fs_op_set_to(L, &c->base, to);
    return ab_fs_op_start(L, &c->base);
}
