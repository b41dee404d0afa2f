/* fs_disk.c - methods of open files that ask or tell the disk: sync, stat,
 * truncate.  What is gathered is written first. */
#include "fs.h"
#include <errno.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

static ab_fs_file *file_of(ab_fs_job *job)
{
    return ab_container(job, ab_fs_file, job);
}

static int run_sync(ab_fs_job *job) { return ab_fs_sync(file_of(job)->fd); }

static int run_stat(ab_fs_job *job)
{
    ab_fs_file *f = file_of(job);
    if (fstat(f->fd, &f->job_stat) < 0)
        return uv_translate_sys_error(errno);
    f->job_size = (int64_t)f->job_stat.st_size;
    return 0;
}

static int run_truncate(ab_fs_job *job)
{
    ab_fs_file *f = file_of(job);
    int n;
    do
        n = ftruncate(f->fd, (off_t)f->job_want);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return uv_translate_sys_error(errno);
    f->job_size = (int64_t)f->job_want;
    return 0;
}

static int push_self(lua_State *L, ab_op *op)
{
    ab_fs_wait *wait = (ab_fs_wait *)op;
    ab_fs_take(L, op);
    if (wait->want != AB_FS_WANT_CALL)
        return 0; /* starts over */
    lua_pushvalue(L, 1);
    return 1;
}

static int push_stat(lua_State *L, ab_op *op)
{
    ab_fs_wait *wait = (ab_fs_wait *)op;
    ab_fs_file *file = ab_fs_take(L, op);
    if (wait->want != AB_FS_WANT_CALL)
        return 0;
    ab_fs_push_stat(L, &file->job_stat);
    return 1;
}

#define DISK_TYPE(var, text, push_hook)                                        \
    static const ab_op_type var = {                                            \
        .name = text,                                                          \
        .size = sizeof(ab_fs_wait),                                            \
        .flags = AB_OP_EXTERNAL,                                               \
        .push = push_hook,                                                     \
        .cancel = ab_fs_wait_cancel,                                           \
        .drop = ab_fs_wait_drop,                                               \
    }

DISK_TYPE(sync_type, "file:sync", push_self);
DISK_TYPE(stat_type, "file:stat", push_stat);
DISK_TYPE(truncate_type, "file:truncate", push_self);

/* Steps 3 to 5. */
static int call(lua_State *L, ab_fs_file *file, const ab_op_type *type,
                int (*run)(ab_fs_job *), size_t bytes)
{
    ab_fs_wait *wait = (ab_fs_wait *)ab_op_new(L, type);
    wait->call = run;
    wait->call_bytes = bytes;
    int err = ab_fs_file_wait(file, wait, AB_FS_WANT_CALL);
    if (err)
        return ab_op_fail(L, &wait->op, err, "path", file->path);
    return ab_task_park(L, &wait->op);
}

static int sync_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return ab_fs_method_sync(L);
}

int ab_fs_method_sync(lua_State *L)
{
    ab_fs_file *file = ab_fs_self(L);
    ab_fs_enter(L, file, sync_type.name);
    lua_settop(L, 1);
    if (file->running)
        return ab_fs_wait_for(L, file, &sync_type, AB_FS_WANT_IDLE, NULL,
                              sync_again);
    return call(L, file, &sync_type, run_sync, 0);
}

static int stat_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return ab_fs_method_stat(L);
}

int ab_fs_method_stat(lua_State *L)
{
    ab_fs_file *file = ab_fs_self(L);
    ab_fs_enter(L, file, stat_type.name);
    lua_settop(L, 1);
    if (file->running)
        return ab_fs_wait_for(L, file, &stat_type, AB_FS_WANT_IDLE, NULL,
                              stat_again);
    return call(L, file, &stat_type, run_stat, 0);
}

static int truncate_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return ab_fs_method_truncate(L);
}

int ab_fs_method_truncate(lua_State *L)
{
    ab_fs_file *file = ab_fs_self(L);
    ab_fs_enter(L, file, truncate_type.name);
    lua_Integer size = luaL_optinteger(L, 2, -1);
    luaL_argcheck(L, lua_isnoneornil(L, 2) || size >= 0, 2,
                  "size must not be negative");
    lua_settop(L, 2);
    if (!file->writable)
        return ab_fs_fail(L, file, UV_EBADF, truncate_type.name,
                          "the file is not open for writing");
    if (file->running)
        return ab_fs_wait_for(L, file, &truncate_type, AB_FS_WANT_IDLE, NULL,
                              truncate_again);
    if (file->out_len)
        return ab_fs_wait_for(L, file, &truncate_type, AB_FS_WANT_FLUSH, NULL,
                              truncate_again);
    ab_fs_file_rewind(file); /* what was read ahead may be cut off */
    if (size < 0)
        size = (lua_Integer)file->offset;
    return call(L, file, &truncate_type, run_truncate, (size_t)size);
}
