/* stream_write.c - write: first what the system takes at once, then pieces
 * handed to libuv, as many as the high-water mark lets be queued. */
#include "stream.h"
#include <stddef.h>
#include <string.h>

/* libuv takes lengths as unsigned int; one call should not keep the loop. */
#define TRY_MAX ((size_t)1 << 20)
#define PIECE ((size_t)64 << 10)

/* A copy that libuv writes; owned by libuv until on_written. */
typedef struct piece {
    uv_write_t req;
    ab_stream *stream;
    size_t bytes; /* of data */
    char data[];
} piece;

/* ---- waiting for room ---- */

int ab_stream_wait_push(lua_State *L, ab_op *op)
{
    ab_stream *s = ((ab_stream_wait *)op)->stream;
    if (s->writer == op)
        s->writer = NULL;
    /* close tells of a failed write itself, once it has closed. */
    if (op->status == ASYNCBOX_ECLOSED)
        return ab_stream_fail(L, s, op->status, op->type->name,
                              "the stream was closed meanwhile");
    return 0;
}

void ab_stream_wait_cancel(ab_op *op)
{
    ab_stream *s = ((ab_stream_wait *)op)->stream;
    if (s->writer == op)
        s->writer = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

void ab_stream_wait_drop(ab_op *op)
{
    ab_stream *s = ((ab_stream_wait *)op)->stream;
    if (!s)
        return;
    if (s->writer == op)
        s->writer = NULL;
    ab_stream_unref(s);
}

int ab_stream_wait_room(lua_State *L, ab_stream *s, const ab_op_type *type,
                        size_t until, lua_KContext ctx, lua_KFunction k)
{
    ab_stream_wait *wait = (ab_stream_wait *)ab_op_new(L, type);
    wait->stream = s;
    wait->until = until;
    s->refs++;
    s->writer = &wait->op;
    int err = s->write_ns ? ab_op_deadline(&wait->op, s->write_ns) : 0;
    if (err)
        return ab_op_fail(L, &wait->op, err, "stream", s->name);
    return ab_task_parkk(L, &wait->op, ctx, k);
}

int ab_stream_drain(lua_State *L, ab_stream *s, const ab_op_type *type,
                    lua_KFunction k)
{
    if (!s->queued || s->write_error)
        return k(L, LUA_OK, 0);
    return ab_stream_wait_room(L, s, type, 0, 0, k);
}

static void on_written(uv_write_t *req, int status)
{
    piece *p = ab_container(req, piece, req);
    ab_stream *s = p->stream;
    s->queued -= p->bytes;
    ab_box_free(s->box, p, sizeof *p + p->bytes);
    if (s->closing)
        return; /* what was queued is given up: status is ECANCELED */
    if (status < 0 && !s->write_error)
        s->write_error = status;
    ab_stream_wait *wait = (ab_stream_wait *)s->writer;
    if (wait && !wait->op.finished &&
        (s->write_error || s->queued <= wait->until))
        ab_op_finish(&wait->op, 0);
}

int ab_stream_queue(ab_stream *s, const char *data, size_t bytes)
{
    piece *p = ab_box_alloc(s->box, sizeof *p + bytes);
    if (!p)
        return UV_ENOMEM;
    p->stream = s;
    p->bytes = bytes;
    memcpy(p->data, data, bytes);
    uv_buf_t buf = uv_buf_init(p->data, (unsigned)bytes);
    int err = uv_write(&p->req, &s->uv.stream, &buf, 1, on_written);
    if (err) {
        ab_box_free(s->box, p, sizeof *p + bytes);
        return err;
    }
    s->queued += bytes;
    return 0;
}

/* ---- write ---- */

static const ab_op_type write_type = {
    .name = "stream:write",
    .size = sizeof(ab_stream_wait),
    .flags = AB_OP_EXTERNAL,
    .push = ab_stream_wait_push,
    .cancel = ab_stream_wait_cancel,
    .drop = ab_stream_wait_drop,
};

static int write_rest(lua_State *L, int status, lua_KContext done);

/* Gets rid of what it can of data[*done ..]: 1 all is handed over, 0 it has to
 * wait, or a code. */
static int hand_over(ab_stream *s, const char *data, size_t len, size_t *done)
{
    if (s->tls)
        return ab_stream_tls_hand_over(s, data, len, done);
    while (*done < len) {
        size_t left = len - *done;
        if (s->write_error)
            return s->write_error;
        if (!s->queued) {
            size_t now = left < TRY_MAX ? left : TRY_MAX;
            uv_buf_t buf = uv_buf_init((char *)data + *done, (unsigned)now);
            int n = uv_try_write(&s->uv.stream, &buf, 1);
            if (n < 0 && n != UV_EAGAIN)
                return s->write_error = n;
            if (n > 0) {
                *done += (size_t)n;
                continue;
            }
        }
        size_t room = s->high_water > s->queued ? s->high_water - s->queued : 0;
        if (!s->queued && room < PIECE)
            room = PIECE; /* something has to be under way to be waited for */
        if (!room)
            return 0;
        if (room > TRY_MAX)
            room = TRY_MAX;
        size_t bytes = left < room ? left : room;
        int err = ab_stream_queue(s, data + *done, bytes);
        if (err)
            return err;
        *done += bytes;
    }
    if (s->write_error)
        return s->write_error;
    return s->queued <= s->high_water;
}

/* Stack: 1 the stream, 2 the data. */
static int write_rest(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    ab_stream *s = ab_stream_self(L);
    size_t len, done = (size_t)ctx;
    const char *data = lua_tolstring(L, 2, &len);
    if (s->closed)
        return ab_stream_fail(L, s, ASYNCBOX_ECLOSED, write_type.name,
                              "the stream was closed meanwhile");
    int result = hand_over(s, data, len, &done);
    if (result < 0 && result == s->write_error)
        return ab_stream_write_fail(L, s, write_type.name);
    if (result < 0)
        return ab_stream_fail(L, s, result, write_type.name, NULL);
    if (!result)
        return ab_stream_wait_room(L, s, &write_type, s->high_water / 2,
                                   (lua_KContext)done, write_rest);
    lua_pushvalue(L, 1);
    return 1;
}

int ab_stream_l_write(lua_State *L)
{
    ab_stream *s = ab_stream_enter(L, write_type.name, AB_STREAM_WRITE);
    ab_check_bytes(L, 2);
    if (s->shut)
        return ab_stream_fail(L, s, UV_EPIPE, write_type.name,
                              "the stream was shut down");
    /* It may have called __index and __len of a script: look again. */
    if (s->closed || s->writer)
        ab_stream_enter(L, write_type.name, AB_STREAM_WRITE);
    return write_rest(L, LUA_OK, 0);
}
