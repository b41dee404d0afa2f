/* stream.c - streams of bytes over libuv's pipes and sockets: made, opened,
 * closed.  See stream.h. */
#include "stream.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { HIGH_WATER = 64 << 10 };

/* ---- life ---- */

/* A write to a pipe that nobody reads must be an error of that write.  libuv
 * writes with write(2), which cannot be told to leave the signal out. */
static void ignore_sigpipe(void) { ab_sigkeep_ignore(SIGPIPE); }

ab_stream *ab_stream_new(lua_State *L, const char *name, unsigned flags)
{
    ab_stream **object = ab_object_new(L, &ab_stream_class, sizeof *object, 0);
    ab_stream *s = ab_box_alloc_or_raise(L, sizeof *s);
    memset(s, 0, sizeof *s);
    s->box = ab_box_of(L);
    s->refs = 1;
    s->flags = flags;
    s->name = name;
    s->high_water = HIGH_WATER;
    *object = s;
    return s;
}

void ab_stream_set_source(ab_stream *s, const ab_stream_source *source)
{
    s->source = source;
}

void ab_stream_set_high_water(ab_stream *s, size_t bytes)
{
    s->high_water = bytes;
}

static void on_box_close(ab_closer *closer)
{
    ab_stream_end(ab_container(closer, ab_stream, closer));
}

void ab_stream_opened(ab_stream *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, ignore_sigpipe);
    s->uv.handle.data = s;
    s->open = 1;
    s->refs++;
    s->box->live_handles++;
    s->closer.close = on_box_close;
    ab_list_append(&s->box->closers, &s->closer.link);
}

int ab_stream_open_pipe(ab_stream *s, int fd)
{
    int err = uv_pipe_init(&s->box->loop.uv, &s->uv.pipe, 0);
    if (err)
        return err;
    ab_stream_opened(s);
    err = uv_pipe_open(&s->uv.pipe, fd);
    if (err)
        ab_stream_end(s);
    return err;
}

void ab_stream_unref(ab_stream *s)
{
    if (--s->refs > 0)
        return;
    ab_stream_free_buffer(s);
    ab_stream_tls_free(s);
    if (s->name_bytes)
        ab_box_free(s->box, (char *)s->name, s->name_bytes);
    ab_box_free(s->box, s, sizeof *s);
}

int ab_stream_set_name(ab_stream *s, const char *name)
{
    size_t bytes = strlen(name) + 1;
    char *copy = ab_box_alloc(s->box, bytes);
    if (!copy)
        return UV_ENOMEM;
    memcpy(copy, name, bytes);
    if (s->name_bytes)
        ab_box_free(s->box, (char *)s->name, s->name_bytes);
    s->name = copy;
    s->name_bytes = bytes;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    ab_stream *s = handle->data;
    s->open = 0;
    s->box->live_handles--;
    if (s->source)
        s->source->closed(s->box);
    if (!s->reader) {
        ab_stream_free_buffer(s);
        ab_stream_tls_free(s);
    }
    ab_stream_unref(s);
}

static void end_wait(ab_op *op, int status)
{
    if (op && !op->finished)
        ab_op_finish(op, status);
}

void ab_stream_end(ab_stream *s)
{
    s->closed = 1;
    if (!s->open || s->closing)
        return;
    s->closing = 1;
    s->reading = 0;
    ab_list_remove(&s->closer.link);
    end_wait(s->reader, ASYNCBOX_ECLOSED);
    end_wait(s->writer, ASYNCBOX_ECLOSED);
    end_wait(s->shaker, ASYNCBOX_ECLOSED);
    uv_close(&s->uv.handle, on_closed);
}

void ab_stream_discard(ab_stream *s)
{
    if (!s->open || s->closing)
        return;
    s->closed = s->discarding = 1;
    end_wait(s->reader, ASYNCBOX_ECLOSED);
    end_wait(s->writer, ASYNCBOX_ECLOSED);
    if (ab_stream_start_reading(s))
        ab_stream_end(s);
}

/* ---- what all methods begin with ---- */

ab_stream *ab_stream_self(lua_State *L)
{
    ab_stream *s = *(ab_stream **)ab_self(L, &ab_stream_class);
    if (!s) /* a finalizer of the script got hold of it */
        luaL_error(L, "attempt to use a stream that was collected");
    return s;
}

ab_stream *ab_stream_test(lua_State *L, int idx)
{
    ab_stream **object = ab_object_test(L, idx, &ab_stream_class);
    return object ? *object : NULL;
}

int ab_stream_fail(lua_State *L, const ab_stream *s, int code, const char *op,
                   const char *message)
{
    if (!message && s->tls)
        message = ab_stream_tls_explain(s, code);
    else if (!message && s->source)
        message = s->source->explain(code);
    return ab_error_raise(L, code,
                          &(ab_detail){op, message, "stream", s->name});
}

int ab_stream_write_fail(lua_State *L, ab_stream *s, const char *op)
{
    s->write_told = 1;
    return ab_stream_fail(L, s, s->write_error, op, NULL);
}

ab_stream *ab_stream_enter(lua_State *L, const char *op, unsigned flag)
{
    int reads = flag == AB_STREAM_READ;
    ab_task_check(L, op);
    ab_stream *s = ab_stream_self(L);
    if (s->closed)
        ab_stream_fail(L, s, ASYNCBOX_ECLOSED, op, "the stream is closed");
    if (!(s->flags & flag))
        ab_stream_fail(L, s, UV_EBADF, op,
                       reads ? "this stream is for writing only"
                             : "this stream is for reading only");
    if (reads ? s->reader != NULL : s->writer != NULL)
        ab_stream_fail(L, s, UV_EBUSY, op,
                       reads ? "another task is reading from this stream"
                             : "another task is writing to this stream");
    if (s->shaker)
        ab_stream_fail(L, s, UV_EBUSY, op,
                       "the TLS handshake is still going on");
    if (s->source && !s->open)
        s->source->open(L, s, op);
    return s;
}

/* ---- close, shutdown ---- */

static const ab_op_type close_type = {
    .name = "stream:close",
    .size = sizeof(ab_stream_wait),
    .flags = AB_OP_EXTERNAL,
    .push = ab_stream_wait_push,
    .cancel = ab_stream_wait_cancel,
    .drop = ab_stream_wait_drop,
};

/* What was queued and could not be written is told here if it has not been. */
static int end_now(lua_State *L, ab_stream *s)
{
    int untold = s->write_error && !s->write_told && !s->closed;
    ab_stream_tls_read_away(s);
    ab_stream_end(s);
    if (untold)
        return ab_stream_write_fail(L, s, close_type.name);
    lua_pushboolean(L, 1);
    return 1;
}

static int close_drained(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return end_now(L, ab_stream_self(L));
}

static int needs_drain(const ab_stream *s)
{
    return !s->closed && s->queued && !s->write_error && !s->writer;
}

/* What is queued goes out first, unless a task that still writes is cut short:
 * closing is how one ends somebody else's wait. */
static int l_close(lua_State *L)
{
    ab_stream *s = ab_stream_self(L);
    lua_settop(L, 1);
    ab_stream_tls_notify(s);
    if (needs_drain(s)) {
        ab_task_check(L, close_type.name);
        return ab_stream_wait_room(L, s, &close_type, 0, 0, close_drained);
    }
    return end_now(L, s);
}

/* A pipe goes one way: no more writing is the same as closed. */
static int l_shutdown(lua_State *L)
{
    const ab_stream *s = ab_stream_enter(L, "stream:shutdown", AB_STREAM_WRITE);
    return s->socket ? ab_stream_l_shutdown(L) : l_close(L);
}

static int l_close_variable(lua_State *L)
{
    ab_stream *s = ab_stream_self(L);
    int failing = !lua_isnoneornil(L, 2);
    if (!failing)
        ab_stream_tls_notify(s);
    if (!failing && (!needs_drain(s) || ab_may_wait(L)))
        return l_close(L);
    if (!failing)
        ab_stream_tls_read_away(s);
    ab_stream_end(s);
    return 0;
}

static int l_gc(lua_State *L)
{
    ab_stream *s = ab_object_take(L, &ab_stream_class);
    if (s) {
        ab_stream_end(s);
        ab_stream_unref(s);
    }
    return 0;
}

static int l_tostring(lua_State *L)
{
    const ab_stream *s = ab_stream_self(L);
    lua_pushfstring(L, s->closed ? "stream (%s, closed)" : "stream (%s)",
                    s->name);
    return 1;
}

static const luaL_Reg methods[] = {
    {"chunks", ab_stream_l_chunks},
    {"close", l_close},
    {"keepalive", ab_stream_l_keepalive},
    {"lines", ab_stream_l_lines},
    {"local_address", ab_stream_l_local_address},
    {"nodelay", ab_stream_l_nodelay},
    {"peer", ab_stream_l_peer},
    {"read", ab_stream_l_read},
    {"read_all", ab_stream_l_read_all},
    {"read_exactly", ab_stream_l_read_exactly},
    {"read_line", ab_stream_l_read_line},
    {"read_until", ab_stream_l_read_until},
    {"reset", ab_stream_l_reset},
    {"shutdown", l_shutdown},
    {"start_tls", ab_stream_l_start_tls},
    {"timeout", ab_stream_l_timeout},
    {"tls", ab_stream_l_tls},
    {"write", ab_stream_l_write},
    {NULL, NULL},
};

static const luaL_Reg metas[] = {
    {"__gc", l_gc},
    {"__close", l_close_variable},
    {"__tostring", l_tostring},
    {NULL, NULL},
};

const ab_class ab_stream_class = {"Stream", methods, metas};
