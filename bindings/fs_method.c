/* fs_method.c - the methods of open files, as scripts call them.
 *
 * Each looks first whether the buffers will do; only then it waits.  A job that
 * a cancelled wait left behind is waited for, and the method starts over. */
#include "fs.h"
#include <string.h>

/* Up to here writes are only gathered. */
#define GATHER ((size_t)32 << 10)

ab_fs_file *ab_fs_self(lua_State *L)
{
    ab_fs_file *file = *(ab_fs_file **)ab_self(L, &ab_fs_class);
    if (!file) /* a finalizer of the script got hold of it */
        luaL_error(L, "attempt to use a file that was collected");
    return file;
}

int ab_fs_fail(lua_State *L, const ab_fs_file *file, int code, const char *op,
               const char *message)
{
    return ab_error_raise(L, code,
                          &(ab_detail){op, message, "path", file->path});
}

static int is_closed(const ab_fs_file *file)
{
    return file->closing || file->fd < 0;
}

/* Steps 1 and 2 of every method: may it wait, is the file free? */
void ab_fs_enter(lua_State *L, ab_fs_file *file, const char *op)
{
    ab_task_check(L, op);
    if (is_closed(file))
        ab_fs_fail(L, file, ASYNCBOX_ECLOSED, op, "the file is closed");
    if (file->waiter)
        ab_fs_fail(L, file, UV_EBUSY, op, "another task is using this file");
    if (file->error && !file->running) {
        int code = file->error;
        file->error = 0;
        ab_fs_fail(L, file, code, op, NULL);
    }
}

/* Steps 3 to 5.  k: goes on there. */
int ab_fs_wait_for(lua_State *L, ab_fs_file *file, const ab_op_type *type,
                   ab_fs_want want, const ab_fs_scan *scan, lua_KFunction k)
{
    ab_fs_wait *wait = (ab_fs_wait *)ab_op_new(L, type);
    if (scan)
        wait->scan = *scan;
    int err = ab_fs_file_wait(file, wait, want);
    if (err)
        return ab_op_fail(L, &wait->op, err, "path", file->path);
    return ab_task_parkk(L, &wait->op, 0, k);
}

/* The first thing any push does: the file is free again. */
ab_fs_file *ab_fs_take(lua_State *L, ab_op *op)
{
    ab_fs_wait *wait = (ab_fs_wait *)op;
    ab_fs_file *file = wait->file;
    if (file->waiter == op)
        file->waiter = NULL;
    if (op->status < 0)
        ab_fs_fail(L, file, op->status, op->type->name, NULL);
    return file;
}

/* ---- read, lines ---- */

static int take_scan(lua_State *L, ab_fs_file *file, ab_fs_scan *scan)
{
    const char *from = file->in ? file->in + file->in_pos : NULL;
    int n = ab_fs_scan_push(L, scan, from);
    file->in_pos += scan->pos;
    ab_fs_file_shrink(file);
    return n;
}

static int push_read(lua_State *L, ab_op *op)
{
    ab_fs_wait *wait = (ab_fs_wait *)op;
    ab_fs_file *file = ab_fs_take(L, op);
    if (wait->want == AB_FS_WANT_IDLE)
        return 0;
    return take_scan(L, file, &wait->scan);
}

/* Steps 3 and 4 of a read.  NULL: there was no memory, and garbage was
 * collected (files that were dropped may hold what this one needs); finalizers
 * may have used the file meanwhile, so all is to be looked at again. */
static ab_op *start_read(lua_State *L, ab_fs_file *file, const ab_op_type *type,
                         const ab_fs_scan *scan, int is_last)
{
    ab_fs_wait *wait = (ab_fs_wait *)ab_op_new(L, type);
    wait->scan = *scan;
    int err = ab_fs_file_wait(file, wait, AB_FS_WANT_READ);
    if (!err)
        return &wait->op;
    if (err != UV_ENOMEM || is_last)
        ab_op_fail(L, &wait->op, err, "path", file->path);
    ab_op_free(&wait->op);
    lua_gc(L, LUA_GCCOLLECT);
    return NULL;
}

static int read_with(lua_State *L, ab_fs_file *file, const ab_op_type *type,
                     int first, lua_KFunction again)
{
    ab_fs_scan scan;
    size_t want;
    for (int tries = 0;; tries++) {
        ab_fs_enter(L, file, type->name);
        ab_fs_scan_init(L, &scan, first);
        if (!file->readable)
            return ab_fs_fail(L, file, UV_EBADF, type->name,
                              "the file is not open for reading");
        if (file->running)
            return ab_fs_wait_for(L, file, type, AB_FS_WANT_IDLE, NULL, again);
        if (!file->out_len && ab_fs_file_scan(file, &scan, &want))
            return take_scan(L, file, &scan);
        ab_op *op = start_read(L, file, type, &scan, tries > 0);
        if (op)
            return ab_task_park(L, op);
    }
}

static const ab_op_type read_type = {
    .name = "file:read",
    .size = sizeof(ab_fs_wait),
    .flags = AB_OP_EXTERNAL,
    .push = push_read,
    .cancel = ab_fs_wait_cancel,
    .drop = ab_fs_wait_drop,
};

static int l_read(lua_State *L);

static int read_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return l_read(L);
}

static int l_read(lua_State *L)
{
    return read_with(L, ab_fs_self(L), &read_type, 2, read_again);
}

static const ab_op_type lines_type = {
    .name = "file:lines",
    .size = sizeof(ab_fs_wait),
    .flags = AB_OP_EXTERNAL,
    .push = push_read,
    .cancel = ab_fs_wait_cancel,
    .drop = ab_fs_wait_drop,
};

/* Upvalues: the file, how many formats, the formats. */
static int l_next_line(lua_State *L);

static int next_line_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return l_next_line(L);
}

static int l_next_line(lua_State *L)
{
    int n = (int)lua_tointeger(L, lua_upvalueindex(2));
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    for (int i = 1; i <= n; i++)
        lua_pushvalue(L, lua_upvalueindex(2 + i));
    ab_fs_file **object = ab_object_test(L, 1, &ab_fs_class);
    if (!object || !*object)
        return luaL_error(L, "attempt to use a file that was collected");
    return read_with(L, *object, &lines_type, 2, next_line_again);
}

static int l_lines(lua_State *L)
{
    ab_fs_file *file = ab_fs_self(L);
    ab_fs_scan scan;
    int n = lua_gettop(L) - 1;
    if (is_closed(file))
        return ab_fs_fail(L, file, ASYNCBOX_ECLOSED, "file:lines",
                          "the file is closed");
    ab_fs_scan_init(L, &scan, 2); /* bad formats are told here */
    lua_pushvalue(L, 1);
    lua_pushinteger(L, n);
    lua_rotate(L, 2, 2);
    lua_pushcclosure(L, l_next_line, 2 + n);
    return 1;
}

/* ---- write, flush ---- */

static int push_self(lua_State *L, ab_op *op)
{
    ab_fs_wait *wait = (ab_fs_wait *)op;
    ab_fs_take(L, op);
    if (wait->want == AB_FS_WANT_IDLE)
        return 0;
    lua_pushvalue(L, 1);
    return 1;
}

static const ab_op_type write_type = {
    .name = "file:write",
    .size = sizeof(ab_fs_wait),
    .flags = AB_OP_EXTERNAL,
    .push = push_self,
    .cancel = ab_fs_wait_cancel,
    .drop = ab_fs_wait_drop,
};

static int l_write(lua_State *L);

static int write_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return l_write(L);
}

static int l_write(lua_State *L)
{
    ab_fs_file *file = ab_fs_self(L);
    int top = lua_gettop(L);
    size_t total = 0, len;
    ab_fs_enter(L, file, write_type.name);
    for (int arg = 2; arg <= top; arg++) {
        luaL_checklstring(L, arg, &len);
        total += len;
    }
    if (!file->writable)
        return ab_fs_fail(L, file, UV_EBADF, write_type.name,
                          "the file is not open for writing");
    if (file->running)
        return ab_fs_wait_for(L, file, &write_type, AB_FS_WANT_IDLE, NULL,
                              write_again);
    ab_fs_file_rewind(file);
    if (ab_fs_file_reserve(file, total)) {
        lua_gc(L, LUA_GCCOLLECT); /* as start_read */
        ab_fs_enter(L, file, write_type.name);
        if (ab_fs_file_reserve(file, total))
            return ab_fs_fail(L, file, UV_ENOMEM, write_type.name, NULL);
    }
    for (int arg = 2; arg <= top; arg++) {
        const char *bytes = lua_tolstring(L, arg, &len);
        if (len) /* else there may be no buffer yet */
            memcpy(file->out + file->out_len, bytes, len);
        file->out_len += len;
    }
    /* Whoever reads a pipe or a terminal waits for what is written. */
    if (file->out_len == 0 || (file->regular && file->out_len < GATHER)) {
        lua_settop(L, 1);
        return 1;
    }
    return ab_fs_wait_for(L, file, &write_type, AB_FS_WANT_FLUSH, NULL, NULL);
}

static const ab_op_type flush_type = {
    .name = "file:flush",
    .size = sizeof(ab_fs_wait),
    .flags = AB_OP_EXTERNAL,
    .push = push_self,
    .cancel = ab_fs_wait_cancel,
    .drop = ab_fs_wait_drop,
};

static int l_flush(lua_State *L);

static int flush_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return l_flush(L);
}

static int l_flush(lua_State *L)
{
    ab_fs_file *file = ab_fs_self(L);
    ab_fs_enter(L, file, flush_type.name);
    lua_settop(L, 1);
    if (file->running)
        return ab_fs_wait_for(L, file, &flush_type, AB_FS_WANT_IDLE, NULL,
                              flush_again);
    if (file->out_len == 0)
        return 1;
    return ab_fs_wait_for(L, file, &flush_type, AB_FS_WANT_FLUSH, NULL, NULL);
}

/* ---- seek ---- */

static int seek_to(lua_State *L, ab_fs_file *file, int64_t base)
{
    lua_Integer by = lua_tointeger(L, 3);
    if ((by > 0 && base > INT64_MAX - by) || base + by < 0)
        return ab_fs_fail(L, file, UV_EINVAL, "file:seek",
                          "the position would be before the start or too far");
    int64_t to = base + by;
    int64_t here = file->offset - (int64_t)(file->in_len - file->in_pos);
    if (to != here || file->in_pos == file->in_len) {
        /* What was read ahead may have changed since. */
        ab_fs_file_rewind(file);
        file->offset = to;
    }
    lua_pushinteger(L, (lua_Integer)to);
    return 1;
}

static int push_seek(lua_State *L, ab_op *op)
{
    ab_fs_wait *wait = (ab_fs_wait *)op;
    ab_fs_file *file = ab_fs_take(L, op);
    if (wait->want != AB_FS_WANT_END)
        return 0; /* starts over */
    return seek_to(L, file, file->size);
}

static const ab_op_type seek_type = {
    .name = "file:seek",
    .size = sizeof(ab_fs_wait),
    .flags = AB_OP_EXTERNAL,
    .push = push_seek,
    .cancel = ab_fs_wait_cancel,
    .drop = ab_fs_wait_drop,
};

static int l_seek(lua_State *L);

static int seek_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return l_seek(L);
}

static int l_seek(lua_State *L)
{
    static const char *const names[] = {"set", "cur", "end", NULL};
    ab_fs_file *file = ab_fs_self(L);
    ab_fs_enter(L, file, seek_type.name);
    int whence = luaL_checkoption(L, 2, "cur", names);
    lua_Integer by = luaL_optinteger(L, 3, 0);
    lua_settop(L, 2);
    lua_pushinteger(L, by);
    if (!file->regular)
        return ab_fs_fail(L, file, UV_ESPIPE, seek_type.name, NULL);
    if (file->running)
        return ab_fs_wait_for(L, file, &seek_type, AB_FS_WANT_IDLE, NULL,
                              seek_again);
    if (whence == 2) /* what is gathered is written on the way */
        return ab_fs_wait_for(L, file, &seek_type, AB_FS_WANT_END, NULL, NULL);
    if (file->out_len)
        return ab_fs_wait_for(L, file, &seek_type, AB_FS_WANT_FLUSH, NULL,
                              seek_again);
    int64_t here = file->offset - (int64_t)(file->in_len - file->in_pos);
    return seek_to(L, file, whence == 0 ? 0 : here);
}

/* ---- close ---- */

static int push_close(lua_State *L, ab_op *op)
{
    ab_fs_wait *wait = (ab_fs_wait *)op;
    ab_fs_file *file = ab_fs_take(L, op);
    if (wait->want == AB_FS_WANT_IDLE)
        return 0;
    ab_fs_file_release(file); /* the buffers */
    lua_pushboolean(L, 1);
    return 1;
}

static const ab_op_type close_type = {
    .name = "file:close",
    .size = sizeof(ab_fs_wait),
    .flags = AB_OP_EXTERNAL,
    .push = push_close,
    .cancel = ab_fs_wait_cancel,
    .drop = ab_fs_wait_drop,
};

static int l_close(lua_State *L);

static int close_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return l_close(L);
}

static int l_close(lua_State *L)
{
    ab_fs_file *file = ab_fs_self(L);
    lua_settop(L, 1);
    if (!is_closed(file)) {
        if (file->waiter)
            return ab_fs_fail(L, file, UV_EBUSY, close_type.name,
                              "another task is using this file");
        /* Closing what was only read has nothing to say and takes no time. */
        if (file->running || file->out_len || file->written || file->error) {
            ab_task_check(L, close_type.name);
            if (file->running)
                return ab_fs_wait_for(L, file, &close_type, AB_FS_WANT_IDLE,
                                      NULL, close_again);
            return ab_fs_wait_for(L, file, &close_type, AB_FS_WANT_CLOSE, NULL,
                                  NULL);
        }
        ab_fs_file_release(file);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* The end of a `<close>` variable: waits as close does where it may.  In a
 * cancelled task or a closing box it may not; at most what GATHER holds is
 * written on the spot then, so nothing that was written is lost. */
static int l_close_variable(lua_State *L)
{
    ab_fs_file *file = ab_fs_self(L);
    if (is_closed(file))
        return 0;
    int failing = !lua_isnoneornil(L, 2);
    if (!failing && !file->waiter && ab_may_wait(L))
        return l_close(L);
    ab_fs_file_release(file);
    return 0;
}

static int l_gc(lua_State *L)
{
    ab_fs_file *file = ab_object_take(L, &ab_fs_class);
    if (file) {
        ab_fs_file_release(file);
        ab_fs_file_unref(file);
    }
    return 0;
}

static int l_tostring(lua_State *L)
{
    const ab_fs_file *file = ab_fs_self(L);
    if (is_closed(file))
        lua_pushliteral(L, "file (closed)");
    else
        lua_pushfstring(L, "file (%s)", file->path);
    return 1;
}

static const luaL_Reg methods[] = {
    {"read", l_read},
    {"write", l_write},
    {"lines", l_lines},
    {"seek", l_seek},
    {"flush", l_flush},
    {"close", l_close},
    {"sync", ab_fs_method_sync},
    {"stat", ab_fs_method_stat},
    {"truncate", ab_fs_method_truncate},
    {NULL, NULL},
};

static const luaL_Reg metas[] = {
    {"__gc", l_gc},
    {"__close", l_close_variable},
    {"__tostring", l_tostring},
    {NULL, NULL},
};

const ab_class ab_fs_class = {"File", methods, metas};
