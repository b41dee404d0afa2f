/* fs_op.c - ops of one job in the pool, on a path or two. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* O_NONBLOCK: a FIFO must not hold a thread of the pool in open(2), and what
 * cannot be read yet is polled by the loop. */
enum { OPEN_FLAGS = O_NONBLOCK | O_NOCTTY };

ab_fs_op *ab_fs_op_of(ab_fs_job *job)
{
    return ab_container(job, ab_fs_op, job);
}

const char *ab_fs_check_path(lua_State *L, int arg)
{
    size_t len;
    const char *path = luaL_checklstring(L, arg, &len);
    luaL_argcheck(L, strlen(path) == len, arg, "path contains a zero byte");
    return path;
}

static void on_done(ab_fs_job *job, int status)
{
    ab_op_finish(&ab_fs_op_of(job)->op, status);
}

/* Step 3: the op with its copy of the path. */
ab_fs_op *ab_fs_op_new(lua_State *L, const ab_op_type *type, const char *path,
                       ab_grant_kind kind, int (*run)(ab_fs_job *))
{
    ab_fs_op *o = (ab_fs_op *)ab_op_new(L, type);
    o->job.box = o->op.box;
    o->job.fd = -1;
    o->job.run = run;
    o->job.done = on_done;
    o->kind = kind;
    size_t bytes = strlen(path) + 1;
    o->path = ab_box_alloc(o->op.box, bytes);
    if (!o->path)
        ab_op_fail(L, &o->op, UV_ENOMEM, "path", path);
    o->path_bytes = bytes;
    memcpy(o->path, path, bytes);
    return o;
}

size_t ab_fs_budget(const ab_limits *limits)
{
    if (limits->cap_bytes == SIZE_MAX)
        return SIZE_MAX;
    return limits->cap_bytes > limits->used_bytes
               ? limits->cap_bytes - limits->used_bytes
               : 0;
}

/* Steps 4 and 5. */
int ab_fs_op_start(lua_State *L, ab_fs_op *o)
{
    int err = ab_fs_start(&o->job);
    if (err)
        return ab_op_fail(L, &o->op, err, "path", o->path);
    return ab_task_park(L, &o->op);
}

void ab_fs_op_set_to(lua_State *L, ab_fs_op *o, const char *to)
{
    size_t bytes = strlen(to) + 1;
    o->to = ab_box_alloc(o->op.box, bytes);
    if (!o->to)
        ab_op_fail(L, &o->op, UV_ENOMEM, "path", o->path);
    o->to_bytes = bytes;
    memcpy(o->to, to, bytes);
}

void ab_fs_op_cancel(ab_op *op)
{
    ab_fs_op *o = (ab_fs_op *)op;
    if (!o->queued.next) {
        ab_fs_stop(&o->job);
        return;
    }
    ab_list_remove(&o->queued); /* it had no turn yet */
    ab_op_finish(op, UV_ECANCELED);
}

void ab_fs_op_drop(ab_op *op)
{
    ab_fs_op *o = (ab_fs_op *)op;
    if (o->job.fd >= 0)
        close(o->job.fd);
    o->job.fd = -1;
    ab_box_free(op->box, o->path, o->path_bytes);
    ab_box_free(op->box, o->to, o->to_bytes);
    if (!o->turns)
        return;
    ab_fs_turn_give(o);
    ab_fs_turns_unref(o->turns);
}

/* The first thing any push does. */
void ab_fs_op_check(lua_State *L, ab_op *op)
{
    ab_fs_op *o = (ab_fs_op *)op;
    if (op->status >= 0)
        return;
    if (op->status == ASYNCBOX_EDENIED)
        ab_grants_denied_path(L, o->refused ? o->refused_kind : o->kind,
                              op->type->name,
                              o->refused ? o->refused : o->path);
    const char *hint =
        op->status == UV_EMFILE
            ? "too many open files (close some, or raise the limit that ulimit "
              "-n shows)"
            : NULL;
    ab_error_push(L, op->status,
                  &(ab_detail){op->type->name, hint, "path", o->path});
    if (o->to) {
        lua_pushstring(L, o->to);
        lua_setfield(L, -2, "to");
    }
    lua_error(L);
}

/* In the pool: opens and looks at what it is. */
int ab_fs_op_open(ab_fs_op *o, int flags, int mode, struct stat *st)
{
    int fd =
        ab_grants_open(&o->op.box->grants, o->path, flags | OPEN_FLAGS, mode);
    if (fd < 0)
        return fd;
    o->job.fd = fd;
    if (fstat(fd, st) < 0)
        return uv_translate_sys_error(errno);
    return S_ISDIR(st->st_mode) ? UV_EISDIR : 0;
}

/* ---- places ---- */

/* Without the slashes at its end, but for "/".  Freed by the caller. */
static char *trim(const char *path)
{
    char *copy = strdup(path);
    size_t len = copy ? strlen(copy) : 0;
    while (len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    return copy;
}

int ab_fs_place_open(ab_fs_op *o, ab_grant_kind kind, const char *path,
                     unsigned how, ab_fs_place *place)
{
    const ab_grants *grants = &o->op.box->grants;
    int follow = (how & AB_FS_FOLLOW) != 0;
    place->dir = AT_FDCWD;
    place->name = path;
    place->flags = follow ? 0 : AT_SYMLINK_NOFOLLOW;
    if (grants->trusted)
        return 0;
    char *trimmed = how & AB_FS_NO_SLASH ? trim(path) : NULL;
    if (!trimmed && (how & AB_FS_NO_SLASH))
        return UV_ENOMEM;
    int dir = ab_grants_open_place(grants, kind, trimmed ? trimmed : path,
                                   follow, place->leaf);
    free(trimmed);
    if (dir == ASYNCBOX_EDENIED) {
        o->refused = path == o->to ? o->to : o->path;
        o->refused_kind = kind;
    }
    if (dir < 0)
        return dir;
    place->dir = dir;
    place->name = place->leaf;
    place->flags = AT_SYMLINK_NOFOLLOW;
    return 0;
}

int ab_fs_place_close(ab_fs_place *place, int result)
{
    int err = result < 0 ? uv_translate_sys_error(errno) : 0;
    if (place->dir >= 0) /* else AT_FDCWD */
        close(place->dir);
    place->dir = AT_FDCWD;
    return err;
}

int ab_fs_push_true(lua_State *L, ab_op *op)
{
    ab_fs_op_check(L, op);
    lua_pushboolean(L, 1);
    return 1;
}
