/* fs_scan.c - folders: list and scan. */
#include "fs_scan.h"
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { BATCH_BYTES = 32768, FIRST_BYTES = 4096 };

/* ---- waiting ---- */

static void raise_failure(lua_State *L, ab_fs_folder *s, const char *what)
{
    int code = s->job.status;
    s->failed = 0;
    ab_fs_folder_release(s);
    if (code == ASYNCBOX_EDENIED)
        ab_grants_denied_path(L, AB_GRANT_READ, what, s->path);
    ab_error_path(L, code, what, s->path);
}

int ab_fs_folder_push(lua_State *L, ab_op *op)
{
    ab_fs_folder *s = ((ab_fs_folder_op *)op)->scan;
    s->waiter = NULL;
    if (op->status < 0)
        ab_error_path(L, op->status, op->type->name, s->path);
    if (s->failed)
        raise_failure(L, s, op->type->name);
    return 0;
}

/* The job goes on for the next who asks, or until the scan is closed. */
void ab_fs_folder_cancel(ab_op *op)
{
    ab_fs_folder *s = ((ab_fs_folder_op *)op)->scan;
    s->waiter = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

void ab_fs_folder_drop(ab_op *op)
{
    ab_fs_folder *s = ((ab_fs_folder_op *)op)->scan;
    if (!s)
        return;
    if (s->waiter == op)
        s->waiter = NULL;
    ab_fs_folder_unref(s);
}

static const ab_op_type scan_type = AB_FS_FOLDER_TYPE("fs.scan");
static const ab_op_type list_type = AB_FS_FOLDER_TYPE("fs.list");

int ab_fs_folder_wait(lua_State *L, ab_fs_folder *s, const ab_op_type *type,
                      lua_KFunction k)
{
    ab_fs_folder_op *o = (ab_fs_folder_op *)ab_op_new(L, type);
    int err = s->running || s->early ? 0 : ab_fs_folder_start(s);
    if (err)
        return ab_op_fail(L, &o->op, err, "path", s->path);
    o->scan = s;
    s->refs++;
    s->waiter = &o->op;
    if (!s->running)
        ab_op_finish(&o->op, 0);
    return ab_task_parkk(L, &o->op, 0, k);
}

ab_fs_folder *ab_fs_folder_new(lua_State *L, ab_fs_folder **object,
                               const char *path, size_t cap)
{
    ab_fs_folder *s = ab_box_alloc_or_raise(L, sizeof *s);
    ab_fs_folder_init(s, ab_box_of(L));
    *object = s;
    size_t bytes = strlen(path) + 1;
    s->path = ab_box_alloc_or_raise(L, bytes);
    s->path_bytes = bytes;
    memcpy(s->path, path, bytes);
    s->bytes = ab_box_alloc_or_raise(L, cap);
    s->cap = cap;
    return s;
}

/* Pushes a new object. */
static ab_fs_folder *new_scan(lua_State *L, const char *path, size_t cap)
{
    ab_fs_folder **object =
        ab_object_new(L, &ab_fs_folder_class, sizeof *object, 0);
    return ab_fs_folder_new(L, object, path, cap);
}

/* ---- giving ---- */

/* Pushes name and kind of the next entry that is there: 2, or 0. */
static int give(lua_State *L, ab_fs_folder *s)
{
    if (s->given == s->count)
        return 0;
    const char *entry = s->sorted ? s->sorted[s->given] : s->bytes + s->at;
    size_t len = strlen(entry + 1);
    s->given++;
    s->at += len + 2;
    lua_pushlstring(L, entry + 1, len);
    lua_pushstring(L, ab_fs_type_name((mode_t)DTTOIF(*entry - 1)));
    return 2;
}

static ab_fs_folder *self_of(lua_State *L)
{
    ab_fs_folder *s = *(ab_fs_folder **)ab_self(L, &ab_fs_folder_class);
    if (!s) /* a finalizer of the script got hold of it */
        luaL_error(L, "attempt to use a scan that was collected");
    return s;
}

static int l_next(lua_State *L);

static int next_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 1);
    return l_next(L);
}

static int l_next(lua_State *L)
{
    ab_task_check(L, scan_type.name);
    ab_fs_folder *s = self_of(L);
    if (s->waiter)
        return ab_error_raise(L, UV_EBUSY,
                              &(ab_detail){scan_type.name,
                                           "another task is waiting for it",
                                           "path", s->path});
    if (s->running)
        return ab_fs_folder_wait(L, s, &scan_type, next_done);
    if (s->failed)
        raise_failure(L, s, scan_type.name);
    if (give(L, s))
        return 2;
    if (s->ended) {
        ab_fs_folder_release(s);
        lua_pushnil(L);
        return 1;
    }
    s->at = s->len = s->count = s->given = 0;
    return ab_fs_folder_wait(L, s, &scan_type, next_done);
}

static int l_close(lua_State *L)
{
    ab_fs_folder_release(self_of(L));
    return 0;
}

static int l_gc(lua_State *L)
{
    ab_fs_folder *s = ab_object_take(L, &ab_fs_folder_class);
    if (s) {
        ab_fs_folder_release(s);
        ab_fs_folder_unref(s);
    }
    return 0;
}

static const luaL_Reg methods[] = {
    {"next", l_next}, {"close", l_close}, {NULL, NULL}};
static const luaL_Reg metas[] = {
    {"__call", l_next}, {"__close", l_close}, {"__gc", l_gc}, {NULL, NULL}};
const ab_class ab_fs_folder_class = {"Scan", methods, metas};

/* ---- functions ---- */

static int scan_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 2);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 2);
    return 4;
}

/* for name, kind in fs.scan(path) */
int ab_fs_scan_dir(lua_State *L)
{
    ab_task_check(L, scan_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_grants_check_path(L, AB_GRANT_READ, scan_type.name, path);
    lua_settop(L, 1);
    ab_fs_folder *s = new_scan(L, path, BATCH_BYTES);
    return ab_fs_folder_wait(L, s, &scan_type, scan_done);
}

static int list_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 2);
    ab_fs_folder *s = *(ab_fs_folder **)lua_touserdata(L, 2);
    lua_createtable(L, s->count < INT_MAX ? (int)s->count : INT_MAX, 0);
    for (lua_Integer i = 1; give(L, s); i++) {
        lua_pop(L, 1);
        lua_rawseti(L, 3, i);
    }
    ab_fs_folder_release(s);
    return 1;
}

int ab_fs_list_dir(lua_State *L)
{
    ab_task_check(L, list_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_grants_check_path(L, AB_GRANT_READ, list_type.name, path);
    lua_settop(L, 1);
    ab_fs_folder *s = new_scan(L, path, FIRST_BYTES);
    s->whole = 1;
    return ab_fs_folder_wait(L, s, &list_type, list_done);
}
