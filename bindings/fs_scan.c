/* fs_scan.c - folders: list, scan, and what walk reads with. */
#include "fs_scan.h"
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { BATCH_BYTES = 32768, FIRST_BYTES = 4096 };

typedef struct scan_op {
    ab_op op;
    ab_fs_folder *scan;
} scan_op;

static const ab_class scan_class;

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

static int push_scan(lua_State *L, ab_op *op)
{
    ab_fs_folder *s = ((scan_op *)op)->scan;
    s->waiter = NULL;
    if (op->status < 0)
        ab_error_path(L, op->status, op->type->name, s->path);
    if (s->failed)
        raise_failure(L, s, op->type->name);
    return 0;
}

/* The job goes on for the next who asks, or until the scan is closed. */
static void cancel_scan(ab_op *op)
{
    ab_fs_folder *s = ((scan_op *)op)->scan;
    s->waiter = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

static void drop_scan(ab_op *op)
{
    ab_fs_folder *s = ((scan_op *)op)->scan;
    if (!s)
        return;
    if (s->waiter == op)
        s->waiter = NULL;
    ab_fs_folder_unref(s);
}

#define SCAN_TYPE(text)                                                        \
    {                                                                          \
        .name = text, .size = sizeof(scan_op), .flags = AB_OP_EXTERNAL,        \
        .push = push_scan, .cancel = cancel_scan, .drop = drop_scan            \
    }
static const ab_op_type scan_type = SCAN_TYPE("fs.scan");
static const ab_op_type list_type = SCAN_TYPE("fs.list");
static const ab_op_type walk_type = SCAN_TYPE("fs.walk");

/* Waits until the job that runs, or a new one, is over; then k. */
static int wait_scan(lua_State *L, ab_fs_folder *s, const ab_op_type *type,
                     lua_KFunction k)
{
    scan_op *o = (scan_op *)ab_op_new(L, type);
    int err = s->running ? 0 : ab_fs_folder_start(s);
    if (err)
        return ab_op_fail(L, &o->op, err, "path", s->path);
    o->scan = s;
    s->refs++;
    s->waiter = &o->op;
    return ab_task_parkk(L, &o->op, 0, k);
}

/* Pushes a new object. */
static ab_fs_folder *new_scan(lua_State *L, const char *path, size_t cap)
{
    ab_fs_folder **object = ab_object_new(L, &scan_class, sizeof *object, 0);
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
    ab_fs_folder *s = *(ab_fs_folder **)ab_self(L, &scan_class);
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
        return wait_scan(L, s, &scan_type, next_done);
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
    return wait_scan(L, s, &scan_type, next_done);
}

static int l_close(lua_State *L)
{
    ab_fs_folder_release(self_of(L));
    return 0;
}

static int l_gc(lua_State *L)
{
    ab_fs_folder **object = ab_self(L, &scan_class);
    ab_fs_folder *s = *object;
    if (s) {
        *object = NULL;
        ab_fs_folder_release(s);
        ab_fs_folder_unref(s);
    }
    return 0;
}

static const luaL_Reg methods[] = {
    {"next", l_next}, {"close", l_close}, {NULL, NULL}};
static const luaL_Reg metas[] = {
    {"__call", l_next}, {"__close", l_close}, {"__gc", l_gc}, {NULL, NULL}};
static const ab_class scan_class = {"Scan", methods, metas};

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
    return wait_scan(L, s, &scan_type, scan_done);
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
    return wait_scan(L, s, &list_type, list_done);
}

static int entries_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 3);
    return 1;
}

/* For walk: (path, follow) gives a Scan that is read. */
int ab_fs_entries(lua_State *L)
{
    ab_task_check(L, walk_type.name);
    const char *path = ab_fs_check_path(L, 1);
    int follow = lua_toboolean(L, 2);
    ab_grants_check_path(L, AB_GRANT_READ, walk_type.name, path);
    lua_settop(L, 2);
    ab_fs_folder *s = new_scan(L, path, FIRST_BYTES);
    s->whole = 1;
    s->no_follow = !follow;
    return wait_scan(L, s, &walk_type, entries_done);
}

/* The next of a Scan that is read: name, kind; nothing at the end. */
int ab_fs_entries_next(lua_State *L)
{
    ab_fs_folder **object = ab_object_test(L, 1, &scan_class);
    return object && *object ? give(L, *object) : 0;
}

/* What tells its folder from others. */
int ab_fs_entries_id(lua_State *L)
{
    ab_fs_folder **object = ab_object_test(L, 1, &scan_class);
    if (!object || !*object)
        return 0;
    lua_pushfstring(L, "%I:%I", (LUAI_UACINT)(*object)->dev,
                    (LUAI_UACINT)(*object)->ino);
    return 1;
}

int ab_fs_entries_close(lua_State *L)
{
    ab_fs_folder **object = ab_object_test(L, 1, &scan_class);
    if (object && *object)
        ab_fs_folder_release(*object);
    return 0;
}
