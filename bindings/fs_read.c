/* fs_read.c - fs.read.
 *
 * A call is one job in the thread pool: open, look, read and close together,
 * because a round trip through the pool costs more than reading 100 KB does. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Of a box; the loop's thread only. */
typedef struct fs_reads {
    int refs; /* the module, each read */
    ab_fs_buffers buffers;
} fs_reads;

typedef struct read_op {
    ab_fs_op base;
    fs_reads *reads;
    ab_fs_buffer in;
    size_t len;       /* of in */
    size_t max_bytes; /* a larger file is an error */
    int regular;
    int last;        /* of two tries */
    size_t expected; /* its size when it was opened; 0: not known */
} read_op;

static void reads_unref(fs_reads *reads)
{
    if (--reads->refs <= 1)
        ab_fs_buffers_drain(&reads->buffers); /* no read is left */
    if (reads->refs > 0)
        return;
    ab_fs_buffers_deinit(&reads->buffers);
    free(reads);
}

/* A FIFO without a writer holds up nobody. */
static void on_poll(ab_fs_job *job) { ab_fs_turn_give(ab_fs_op_of(job)); }

/* ---- the job ----
 *
 * The size is known in the pool only, and the box's allocator is for the loop's
 * thread only.  A second round trip to allocate in between would cost small
 * files twice the time, so the pool takes a buffer of fs_buffer.c, which counts
 * them: together they may not pass what the box had left when the call began.
 * It goes back when the Lua string, which the box counts, is made. */

/* One byte more than is expected, so that the end shows without growing. */
static size_t first_size(const read_op *r)
{
    size_t size = r->expected ? r->expected + 1 : 4096;
    if (r->max_bytes < SIZE_MAX - 1 && size > r->max_bytes + 1)
        size = r->max_bytes + 1;
    return size;
}

static int read_on(ab_fs_job *job, read_op *r)
{
    for (;;) {
        if (r->len > r->max_bytes)
            return ASYNCBOX_ELIMIT;
        if (r->len == r->in.cap) {
            size_t more = r->in.cap < 65536 ? 131072 : 2 * r->in.cap;
            int err = ab_fs_buffer_grow(&r->reads->buffers, &r->in, more);
            if (err)
                return err;
        }
        if (!r->regular && ab_fs_ready(job->fd))
            return UV_EAGAIN;
        size_t room = r->in.cap - r->len;
        ssize_t n = read(job->fd, r->in.data + r->len,
                         room < (1 << 24) ? room : (1 << 24));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return uv_translate_sys_error(errno);
        if (n == 0)
            return 0;
        r->len += (size_t)n;
        /* As long as it said and less than was asked for: that was the end. */
        if (r->len == r->expected && (size_t)n < room)
            return 0;
        if (atomic_load(&job->stop))
            return UV_ECANCELED;
    }
}

static int run_read(ab_fs_job *job)
{
    read_op *r = (read_op *)ab_fs_op_of(job);
    if (job->fd < 0) {
        struct stat st;
        int err = ab_fs_op_open(&r->base, O_RDONLY, 0, &st);
        if (err)
            return err;
        r->regular = S_ISREG(st.st_mode);
        if (r->regular && st.st_size > 0)
            r->expected = (size_t)st.st_size;
        if (r->expected > r->max_bytes)
            return ASYNCBOX_ELIMIT; /* need not be read to know */
        err = ab_fs_buffer_grow(&r->reads->buffers, &r->in, first_size(r));
        if (err)
            return err;
    }
    int err = read_on(job, r);
    if (err == UV_EAGAIN)
        return err;
    close(job->fd);
    job->fd = -1;
    return err;
}

static int push_read(lua_State *L, ab_op *op)
{
    read_op *r = (read_op *)op;
    if (op->status == ASYNCBOX_ELIMIT) {
        char message[96];
        snprintf(message, sizeof message,
                 "larger than the limit max = %zu bytes", r->max_bytes);
        return ab_error_raise(
            L, ASYNCBOX_ELIMIT,
            &(ab_detail){op->type->name, message, "path", r->base.path});
    }
    /* What was read from a pipe cannot be read again. */
    if (op->status == UV_ENOMEM && r->regular && !r->last)
        return 0;
    ab_fs_op_check(L, op);
    lua_pushlstring(L, r->in.data ? r->in.data : "", r->len);
    return 1;
}

static void drop_read(ab_op *op)
{
    read_op *r = (read_op *)op;
    if (r->reads)
        ab_fs_buffer_free(&r->reads->buffers, &r->in);
    ab_fs_op_drop(op);
    if (r->reads)
        reads_unref(r->reads);
}

static const ab_op_type read_type = {
    .name = "fs.read",
    .size = sizeof(read_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_read,
    .cancel = ab_fs_op_cancel,
    .drop = drop_read,
};

enum { PATH = 1, OPTIONS, ARGUMENTS = OPTIONS };

static int read_file(lua_State *L, int last);

/* Buffers are not Lua's and so collect nothing: garbage may have the room that
 * they need. */
static int read_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    if (lua_gettop(L) > ARGUMENTS)
        return 1;
    lua_gc(L, LUA_GCCOLLECT);
    return read_file(L, 1);
}

static int read_file(lua_State *L, int last)
{
    static const char *const known[] = {"max", NULL};
    const char *path = ab_fs_check_path(L, PATH);
    ab_options_check(L, OPTIONS, "fs.read", known);
    lua_Integer max =
        ab_option_integer(L, OPTIONS, "max", LUA_MAXINTEGER, 0, LUA_MAXINTEGER);
    ab_grants_check_path(L, AB_GRANT_READ, "fs.read", path);

    fs_reads **reads = lua_touserdata(L, lua_upvalueindex(1));
    ab_fs_turns **turns = lua_touserdata(L, lua_upvalueindex(2));
    read_op *r =
        (read_op *)ab_fs_op_new(L, &read_type, path, AB_GRANT_READ, run_read);
    r->reads = *reads;
    r->reads->refs++;
    r->in.budget = ab_fs_budget(&r->base.op.box->limits);
    r->max_bytes = max == LUA_MAXINTEGER ? SIZE_MAX : (size_t)max;
    r->last = last;
    r->base.job.events = UV_READABLE;
    r->base.job.on_poll = on_poll;
    int err = ab_fs_turn_start(&r->base, *turns);
    if (err)
        return ab_op_fail(L, &r->base.op, err, "path", r->base.path);
    return ab_task_parkk(L, &r->base.op, 0, read_done);
}

static int l_read(lua_State *L)
{
    ab_task_check(L, "fs.read");
    lua_settop(L, ARGUMENTS);
    return read_file(L, 0);
}

static int reads_gc(lua_State *L)
{
    fs_reads **reads = lua_touserdata(L, 1);
    if (*reads)
        reads_unref(*reads);
    *reads = NULL;
    return 0;
}

static fs_reads *reads_new(void)
{
    fs_reads *reads = calloc(1, sizeof *reads);
    if (!reads)
        return NULL;
    if (ab_fs_buffers_init(&reads->buffers)) {
        free(reads);
        return NULL;
    }
    reads->refs = 1;
    return reads;
}

void ab_fs_read_open(lua_State *L)
{
    fs_reads **reads = ab_fs_keep(L, reads_gc);
    *reads = reads_new();
    if (!*reads)
        luaL_error(L, "not enough memory");
    ab_fs_turns_push(L);
    lua_pushcclosure(L, l_read, 2);
    lua_setfield(L, -2, "read");
}
