/* fs_remove.c - fs.remove: a file, a link, an empty folder, or a tree.
 *
 * A tree goes in one job.  Every name is removed relative to the descriptor of
 * the folder that it was read from, and no folder is entered through a link:
 * whatever is swapped meanwhile, nothing outside of the tree is touched. */
#include "fs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct remove_op {
    ab_fs_op base;
    int recursive;
    char *failed; /* malloc's: what could not be removed; NULL: path itself */
} remove_op;

static int is_there_folder(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(st.st_mode);
}

static int remove_folder(int dir, const char *name)
{
    return unlinkat(dir, name, AT_REMOVEDIR) < 0 ? uv_translate_sys_error(errno)
                                                 : 0;
}

/* 0, a code, or UV_EISDIR for a folder. */
static int remove_file(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0)
        return 0;
    int err = errno;
    if (err == EPERM && is_there_folder(dir, name)) /* POSIX, not Linux */
        return UV_EISDIR;
    return uv_translate_sys_error(err);
}

static int enter(ab_fs_levels *levels, int dir, const char *name)
{
    int fd =
        openat(dir, name,
               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return uv_translate_sys_error(errno);
    return ab_fs_levels_enter(levels, name, fd, -1);
}

/* Removes an entry of the folder on top or enters it. */
static int take(ab_fs_levels *levels, const struct dirent *e)
{
    ab_fs_level *top = ab_fs_levels_top(levels);
    int dir = dirfd(top->dir);
    top->count++;
    int err = e->d_type == DT_DIR ? UV_EISDIR : remove_file(dir, e->d_name);
    if (err != UV_EISDIR)
        return err == UV_ENOENT ? 0 : err;
    err = enter(levels, dir, e->d_name);
    if (err == UV_ENOTDIR || err == UV_ELOOP) /* it was one a moment ago */
        err = remove_file(dir, e->d_name);
    return err == UV_ENOENT ? 0 : err;
}

/* The folder on top has no more entries: back to the one above. */
static int finish(remove_op *r, ab_fs_levels *levels, const ab_fs_place *place)
{
    ab_fs_level *top = ab_fs_levels_top(levels);
    int removed = top->count > 0;
    char *name = strdup(top->name);
    if (!name)
        return UV_ENOMEM;
    int err = ab_fs_levels_leave(levels);
    if (err < 0) {
        free(name);
        return err;
    }
    const ab_fs_level *above = ab_fs_levels_top(levels);
    int dir = above ? dirfd(above->dir) : place->dir;
    err = remove_folder(dir, name);
    /* Some systems skip entries while others are removed, and somebody may
     * have made new ones. */
    if ((err == UV_ENOTEMPTY || err == UV_EEXIST) && removed)
        err = enter(levels, dir, name);
    if (err == UV_ENOENT)
        err = 0;
    if (err && above)
        r->failed = ab_fs_levels_path(levels, r->base.path, name);
    free(name);
    return err;
}

/* 0, or a code and r->failed where it is not r->base.path. */
static int remove_tree(remove_op *r, ab_fs_levels *levels,
                       const ab_fs_place *place)
{
    int err = enter(levels, place->dir, place->name);
    while (!err && levels->depth) {
        if (atomic_load(&r->base.job.stop))
            return UV_ECANCELED;
        errno = 0;
        struct dirent *e = readdir(ab_fs_levels_top(levels)->dir);
        if (!e && errno) {
            err = uv_translate_sys_error(errno);
        } else if (!e) {
            err = finish(r, levels, place);
        } else if (strcmp(e->d_name, ".") != 0 &&
                   strcmp(e->d_name, "..") != 0) {
            err = take(levels, e);
            if (err)
                r->failed = ab_fs_levels_path(levels, r->base.path, e->d_name);
        }
    }
    if (err && !r->failed && levels->depth)
        r->failed = ab_fs_levels_path(levels, r->base.path, NULL);
    return err;
}

/* Where the name lies.  A granted folder itself is not the script's, and what
 * "/", "." and ".." name is nobody's to remove. */
static int open_place(remove_op *r, ab_fs_place *place)
{
    const ab_grants *grants = &r->base.op.box->grants;
    const char *slash = strrchr(r->base.path, '/');
    const char *name = slash ? slash + 1 : r->base.path;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (slash && !*name))
        return UV_EINVAL;
    if (grants->trusted)
        return ab_fs_place_open(&r->base, AB_GRANT_WRITE, r->base.path, 0,
                                place);
    place->dir = ab_grants_open_parent(grants, AB_GRANT_WRITE, r->base.path,
                                       place->leaf);
    place->name = place->leaf;
    return place->dir < 0 ? place->dir : 0;
}

static int run_remove(ab_fs_job *job)
{
    remove_op *r = (remove_op *)ab_fs_op_of(job);
    ab_fs_levels levels = {0};
    ab_fs_place place;
    int err = open_place(r, &place);
    if (err)
        return err;
    err = remove_file(place.dir, place.name);
    if (err == UV_EISDIR && !r->recursive)
        err = remove_folder(place.dir, place.name);
    else if (err == UV_EISDIR)
        err = remove_tree(r, &levels, &place);
    ab_fs_levels_deinit(&levels);
    ab_fs_place_close(&place, 0);
    return err;
}

static int push_remove(lua_State *L, ab_op *op)
{
    remove_op *r = (remove_op *)op;
    if (op->status < 0 && r->failed && op->status != ASYNCBOX_EDENIED)
        return ab_error_path(L, op->status, op->type->name, r->failed);
    return ab_fs_push_true(L, op);
}

static void drop_remove(ab_op *op)
{
    free(((remove_op *)op)->failed);
    ab_fs_op_drop(op);
}

static const ab_op_type remove_type = {
    .name = "fs.remove",
    .size = sizeof(remove_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_remove,
    .cancel = ab_fs_op_cancel,
    .drop = drop_remove,
};

/* Slashes at the end of a folder's name mean nothing. */
const char *ab_fs_trim_path(lua_State *L, int arg)
{
    const char *path = ab_fs_check_path(L, arg);
    size_t len = strlen(path), all = len;
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len < all) {
        lua_pushlstring(L, path, len);
        lua_replace(L, arg);
        path = lua_tostring(L, arg);
    }
    return path;
}

static remove_op *new_remove(lua_State *L, const char *path, int recursive)
{
    remove_op *r = (remove_op *)ab_fs_op_new(L, &remove_type, path,
                                             AB_GRANT_WRITE, run_remove);
    r->recursive = recursive;
    return r;
}

int ab_fs_remove(lua_State *L)
{
    static const char *const known[] = {"recursive", NULL};
    ab_task_check(L, "fs.remove");
    const char *path = ab_fs_trim_path(L, 1);
    ab_options_check(L, 2, "fs.remove", known);
    int recursive = ab_option_boolean(L, 2, "recursive", 0);
    ab_grants_check_path(L, AB_GRANT_WRITE, "fs.remove", path);
    return ab_fs_op_start(L, &new_remove(L, path, recursive)->base);
}

/* remove_now(path): a tree, on the spot; what is gone already is fine.  For a
 * <close> that runs where nothing may wait. */
int ab_fs_remove_now(lua_State *L)
{
    remove_op r = {.recursive = 1};
    const char *path = ab_fs_trim_path(L, 1);
    ab_grants_check_path(L, AB_GRANT_WRITE, remove_type.name, path);
    r.base.op.box = ab_box_of(L);
    r.base.path = (char *)(uintptr_t)path; /* only looked at */
    int err = run_remove(&r.base.job);
    char failed[1024];
    snprintf(failed, sizeof failed, "%s", r.failed ? r.failed : path);
    free(r.failed);
    if (err == ASYNCBOX_EDENIED)
        return ab_grants_denied_path(L, AB_GRANT_WRITE, remove_type.name, path);
    if (err && err != UV_ENOENT)
        return ab_error_path(L, err, remove_type.name, failed);
    return 0;
}
