/* fs_link.c - calls on two names: rename, link, symlink.
 *
 * A file reached by another name is under other grants.  So that none of these
 * gives what a grant didn't: rename and link need write on both sides, link
 * needs read of what it links, rename too where the new name may be read; and a
 * symlink's target must be below a root, for whoever else follows it. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens both places for writing; on an error neither. */
static int open_both(ab_fs_op *o, unsigned how, ab_fs_place *from,
                     ab_fs_place *to)
{
    int err = ab_fs_place_open(o, AB_GRANT_WRITE, o->path, how, from);
    if (err)
        return err;
    err = ab_fs_place_open(o, AB_GRANT_WRITE, o->to, how, to);
    if (err)
        ab_fs_place_close(from, 0);
    return err;
}

static int close_both(ab_fs_place *from, ab_fs_place *to, int result)
{
    int err = ab_fs_place_close(from, result);
    ab_fs_place_close(to, 0);
    return err;
}

/* Is a place that was opened for writing the same one when it is opened for
 * reading?  0 or a code. */
static int check_readable(ab_fs_op *o, const char *path, unsigned how,
                          const ab_fs_place *place)
{
    ab_fs_place readable;
    struct stat st[2];
    int err = ab_fs_place_open(o, AB_GRANT_READ, path, how, &readable);
    if (err || readable.dir < 0)
        return err;
    int same = fstat(place->dir, &st[0]) == 0 &&
               fstat(readable.dir, &st[1]) == 0 &&
               st[0].st_dev == st[1].st_dev && st[0].st_ino == st[1].st_ino &&
               strcmp(place->name, readable.name) == 0;
    ab_fs_place_close(&readable, 0);
    if (same)
        return 0;
    o->refused = path == o->to ? o->to : o->path;
    o->refused_kind = AB_GRANT_READ;
    return ASYNCBOX_EDENIED;
}

/* ---- rename ---- */

static int ends_in_slash(const char *path)
{
    size_t len = strlen(path);
    return len > 1 && path[len - 1] == '/';
}

/* As the kernel has it, which doesn't see the slashes of a place: they say that
 * it is a folder, and a link to one is none.  0 or a code. */
static int check_slashes(const ab_fs_op *o, const ab_fs_place *from)
{
    struct stat st;
    if (from->dir < 0 || (!ends_in_slash(o->path) && !ends_in_slash(o->to)))
        return 0;
    if (fstatat(from->dir, from->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return uv_translate_sys_error(errno);
    return S_ISDIR(st.st_mode) ? 0 : UV_ENOTDIR;
}

static int run_rename(ab_fs_job *job)
{
    ab_fs_op *o = ab_fs_op_of(job);
    ab_fs_place from, to;
    int err = open_both(o, AB_FS_NO_SLASH, &from, &to);
    if (err)
        return err;
    if (!o->op.box->grants.trusted &&
        check_readable(o, o->to, AB_FS_NO_SLASH, &to) != ASYNCBOX_EDENIED)
        err = check_readable(o, o->path, AB_FS_NO_SLASH, &from);
    if (!err)
        err = check_slashes(o, &from);
    if (err) {
        close_both(&from, &to, 0);
        return err;
    }
    return close_both(&from, &to,
                      renameat(from.dir, from.name, to.dir, to.name));
}

static int push_rename(lua_State *L, ab_op *op)
{
    const ab_fs_op *o = (const ab_fs_op *)op;
    if (op->status == UV_EXDEV) {
        ab_error_push(L, UV_EXDEV,
                      &(ab_detail){op->type->name,
                                   "cannot rename from one file system to "
                                   "another; copy it and remove the old one",
                                   "path", o->path});
        lua_pushstring(L, o->to);
        lua_setfield(L, -2, "to");
        return lua_error(L);
    }
    return ab_fs_push_true(L, op);
}

/* ---- link ---- */

static int run_link(ab_fs_job *job)
{
    ab_fs_op *o = ab_fs_op_of(job);
    ab_fs_place from, to;
    int err = open_both(o, 0, &from, &to);
    if (err)
        return err;
    err = check_readable(o, o->path, 0, &from);
    if (err) {
        close_both(&from, &to, 0);
        return err;
    }
    return close_both(&from, &to,
                      linkat(from.dir, from.name, to.dir, to.name, 0));
}

/* ---- symlink: `path` is the link that is made, `to` its text ---- */

static int run_symlink(ab_fs_job *job)
{
    ab_fs_op *o = ab_fs_op_of(job);
    ab_fs_place place;
    int err = ab_fs_place_open(o, AB_GRANT_WRITE, o->path, 0, &place);
    if (err)
        return err;
    return ab_fs_place_close(&place, symlinkat(o->to, place.dir, place.name));
}

/* In a sandbox.  A relative target without ".." stays below the folder of the
 * link wherever that is moved; an absolute one must be below a root itself. */
static void check_target(lua_State *L, const char *op, const char *target)
{
    if (ab_box_of(L)->grants.trusted)
        return;
    if (ab_path_has_dotdot(target))
        ab_grants_deny(L, op, "path", target,
                       "in a sandbox the target of a link has no \"..\"");
    if (*target == '/')
        ab_grants_check_path(L, AB_GRANT_WRITE, op, target);
}

/* ---- the calls ---- */

#define LINK_TYPE(var, text, push_hook)                                        \
    static const ab_op_type var = {                                            \
        .name = text,                                                          \
        .size = sizeof(ab_fs_op),                                              \
        .flags = AB_OP_EXTERNAL,                                               \
        .push = push_hook,                                                     \
        .cancel = ab_fs_op_cancel,                                             \
        .drop = ab_fs_op_drop,                                                 \
    }

LINK_TYPE(rename_type, "fs.rename", push_rename);
LINK_TYPE(link_type, "fs.link", ab_fs_push_true);
LINK_TYPE(symlink_type, "fs.symlink", ab_fs_push_true);

static int start_two(lua_State *L, const ab_op_type *type, const char *path,
                     const char *to, int (*run)(ab_fs_job *))
{
    ab_fs_op *o = ab_fs_op_new(L, type, path, AB_GRANT_WRITE, run);
    ab_fs_op_set_to(L, o, to);
    return ab_fs_op_start(L, o);
}

static int l_rename(lua_State *L)
{
    ab_task_check(L, rename_type.name);
    const char *from = ab_fs_check_path(L, 1), *to = ab_fs_check_path(L, 2);
    ab_grants_check_path(L, AB_GRANT_WRITE, rename_type.name, from);
    ab_grants_check_path(L, AB_GRANT_WRITE, rename_type.name, to);
    return start_two(L, &rename_type, from, to, run_rename);
}

static int l_link(lua_State *L)
{
    ab_task_check(L, link_type.name);
    const char *from = ab_fs_check_path(L, 1), *to = ab_fs_check_path(L, 2);
    ab_grants_check_path(L, AB_GRANT_READ, link_type.name, from);
    ab_grants_check_path(L, AB_GRANT_WRITE, link_type.name, from);
    ab_grants_check_path(L, AB_GRANT_WRITE, link_type.name, to);
    return start_two(L, &link_type, from, to, run_link);
}

static int l_symlink(lua_State *L)
{
    ab_task_check(L, symlink_type.name);
    const char *target = ab_fs_check_path(L, 1), *path = ab_fs_check_path(L, 2);
    ab_grants_check_path(L, AB_GRANT_WRITE, symlink_type.name, path);
    check_target(L, symlink_type.name, target);
    return start_two(L, &symlink_type, path, target, run_symlink);
}

const luaL_Reg ab_fs_link_functions[] = {
    {"rename", l_rename},
    {"link", l_link},
    {"symlink", l_symlink},
    {NULL, NULL},
};
