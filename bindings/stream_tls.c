/* stream_tls.c - TLS on a stream: a filter between what libuv reads and writes
 * and the buffers that all methods work on.  The engine is host/tls.h. */
#include "stream.h"
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* Encrypted and written at once. */
#define PIECE ((size_t)64 << 10)
/* How much may wait to be sent beyond what the script writes: answers that the
 * other side asks for and does not read. */
#define CHATTER_MAX ((size_t)1 << 20)

/* ---- output ---- */

/* Writes what the engine has for the other side: 0 or a code, which stays. */
static int flush(ab_stream *s)
{
    size_t n, sent = 0;
    int err = 0;
    const char *data = ab_tls_output(s->tls, &n);
    if (!n)
        return 0;
    if (!s->queued) {
        uv_buf_t buf = uv_buf_init((char *)data, (unsigned)n);
        int result = uv_try_write(&s->uv.stream, &buf, 1);
        if (result > 0)
            sent = (size_t)result;
        else if (result != UV_EAGAIN)
            err = result;
    }
    if (!err && sent < n)
        err = ab_stream_queue(s, data + sent, n - sent);
    ab_tls_output_done(s->tls, n);
    if (err && !s->write_error)
        s->write_error = err;
    return err;
}

int ab_stream_tls_hand_over(ab_stream *s, const char *data, size_t len,
                            size_t *done)
{
    while (*done < len) {
        size_t left = len - *done, now = left < PIECE ? left : PIECE;
        if (s->write_error)
            return s->write_error;
        if (s->queued && s->queued >= s->high_water)
            return 0;
        int err = ab_tls_write(s->tls, data + *done, now);
        if (err == UV_ENOMEM)
            return err;
        if (err)
            return s->write_error = err;
        *done += now;
        flush(s);
    }
    if (s->write_error)
        return s->write_error;
    return s->queued <= s->high_water;
}

void ab_stream_tls_notify(ab_stream *s)
{
    if (!s->tls || !s->open || s->closing || s->closed || s->writer ||
        s->shaker || s->write_error)
        return;
    /* Once closed, what still comes makes the system break the connection off,
     * and what it holds back until then would be lost. */
    if (s->uv.handle.type == UV_TCP)
        uv_tcp_nodelay(&s->uv.tcp, 1);
    ab_tls_shutdown(s->tls);
    flush(s);
    s->write_error = 0; /* who has gone already needs not be told */
}

/* A client that only writes has the server's tickets unread.  Closing with
 * something unread would break off what is on its way to the other side. */
void ab_stream_tls_read_away(ab_stream *s)
{
    enum { PIECES = 64 };
    char piece[4096];
    int fd;
    if (!s->tls || !s->open || s->closing || uv_fileno(&s->uv.handle, &fd) < 0)
        return;
    for (int i = 0; i < PIECES; i++)
        if (recv(fd, piece, sizeof piece, MSG_DONTWAIT) <= 0)
            return;
}

/* ---- the handshake ---- */

typedef struct shake_op {
    ab_op op;
    ab_stream *stream;
    char trouble[AB_TLS_TEXT]; /* the engine may be gone by then */
} shake_op;

static int shake_push(lua_State *L, ab_op *op)
{
    const shake_op *shake = (shake_op *)op;
    ab_stream *s = shake->stream;
    const char *message = *shake->trouble ? shake->trouble : NULL;
    if (s->shaker == op)
        s->shaker = NULL;
    if (op->status == ASYNCBOX_ECLOSED)
        message = "the stream was closed meanwhile";
    if (op->status < 0)
        return ab_stream_fail(L, s, op->status, op->type->name, message);
    return 0;
}

/* Half a handshake is good for nothing. */
static void shake_cancel(ab_op *op)
{
    ab_stream *s = ((shake_op *)op)->stream;
    s->shaker = NULL;
    ab_stream_end(s);
    ab_op_finish(op, UV_ECANCELED);
}

static void shake_drop(ab_op *op)
{
    ab_stream *s = ((shake_op *)op)->stream;
    if (!s)
        return;
    if (s->shaker == op)
        s->shaker = NULL;
    ab_stream_unref(s);
}

static const ab_op_type shake_type = {
    .name = "stream:start_tls",
    .size = sizeof(shake_op),
    .flags = AB_OP_EXTERNAL,
    .push = shake_push,
    .cancel = shake_cancel,
    .drop = shake_drop,
};

void ab_stream_tls_broken(ab_stream *s, int code)
{
    shake_op *shake = (shake_op *)s->shaker;
    if (!shake || shake->op.finished)
        return;
    if (code == ASYNCBOX_ETLS)
        memcpy(shake->trouble, ab_tls_trouble(s->tls), AB_TLS_TEXT);
    ab_op_finish(&shake->op, code);
    ab_stream_tls_read_away(s); /* or the alert might not arrive */
    ab_stream_end(s);
}

/* ---- input ---- */

/* Gives the engine n bytes, and takes what becomes of them: 0, UV_EOF, or a
 * code.  There is room for AB_STREAM_TLS_GAP + n bytes of plain text. */
static int decode(ab_stream *s, const char *cipher, size_t n, char *plain,
                  size_t *plain_bytes)
{
    size_t got, room = AB_STREAM_TLS_GAP + n;
    *plain_bytes = 0;
    ab_tls_input(s->tls, cipher, n);
    int result = ab_tls_handshake(s->tls);
    if (result <= 0)
        return result;
    if (s->shaker && !s->shaker->finished)
        ab_op_finish(s->shaker, 0);
    do {
        result = ab_tls_read(s->tls, plain + *plain_bytes, room, &got);
        *plain_bytes += got;
        room -= got;
    } while (!result && got);
    return result;
}

void ab_stream_tls_input(ab_stream *s, const char *cipher, size_t n)
{
    size_t got;
    int result = decode(s, cipher, n, (char *)cipher - AB_STREAM_TLS_GAP, &got);
    if (got)
        ab_stream_received(s, got);
    if (flush(s))
        s->write_told = 1; /* nothing of the script's was lost with it */
    if (!result && s->queued > s->high_water &&
        s->queued - s->high_water > CHATTER_MAX)
        result = UV_ENOBUFS;
    if (!result)
        return;
    ab_stream_stop_reading(s);
    if (result == UV_EOF) {
        s->ended = 1;
        return;
    }
    s->read_error = result;
    if (!s->write_error) {
        s->write_error = result;
        s->write_told = 1; /* by reading, not by close again */
    }
    ab_stream_tls_broken(s, result);
}

const char *ab_stream_tls_explain(const ab_stream *s, int code)
{
    if (code == ASYNCBOX_ETLS || code == ASYNCBOX_ETRUNCATED)
        return *ab_tls_trouble(s->tls) ? ab_tls_trouble(s->tls) : NULL;
    if (code == UV_ENOBUFS)
        return "the other side asks for answers and does not read them";
    return NULL;
}

void ab_stream_tls_free(ab_stream *s)
{
    if (s->tls)
        ab_tls_free(s->tls);
    s->tls = NULL;
}

/* ---- starting ---- */

/* What is unread came in plain text. A client has asked for nothing yet; to a
 * server it may be the beginning of the handshake. */
static void check_unread(lua_State *L, ab_stream *s, int is_server)
{
    enum { HANDSHAKE = 22 }; /* the type of a record, RFC 8446, 5.1 */
    size_t unread = s->in_len - s->in_pos;
    if (!unread || (is_server && s->in[s->in_pos] == HANDSHAKE))
        return;
    lua_pushfstring(L,
                    "%I bytes came in plain text before TLS was started: "
                    "somebody in between may have put them there (STARTTLS "
                    "injection)",
                    (LUAI_UACINT)unread);
    ab_stream_end(s);
    ab_stream_fail(L, s, ASYNCBOX_ETLS, shake_type.name, lua_tostring(L, -1));
}

ab_stream *ab_stream_tls_startable(lua_State *L)
{
    ab_stream *s = ab_stream_enter(L, shake_type.name, AB_STREAM_READ);
    ab_stream_enter(L, shake_type.name, AB_STREAM_WRITE);
    if (s->tls)
        ab_stream_fail(L, s, UV_EALREADY, shake_type.name,
                       "TLS was started already");
    if (s->shut || s->ended)
        ab_stream_fail(L, s, UV_EPIPE, shake_type.name,
                       s->shut ? "the stream was shut down"
                               : "the stream has ended");
    int err = s->read_error ? s->read_error : s->write_error;
    if (err)
        ab_stream_fail(L, s, err, shake_type.name, NULL);
    return s;
}

/* The first bytes of a hasty client: 0 or a code.  No plain text can come of
 * them, since the keys depend on our answer. */
static int decode_unread(ab_stream *s)
{
    size_t n = s->in_len - s->in_pos, got;
    if (!n)
        return 0;
    size_t bytes = AB_STREAM_TLS_GAP + n;
    char *room = ab_box_alloc(s->box, bytes);
    if (!room)
        return UV_ENOMEM;
    char *cipher = room + AB_STREAM_TLS_GAP;
    memcpy(cipher, s->in + s->in_pos, n);
    ab_stream_free_buffer(s);
    int err = decode(s, cipher, n, room, &got);
    ab_box_free(s->box, room, bytes);
    return err;
}

static int begin(ab_stream *s)
{
    int err = ab_tls_handshake(s->tls);
    if (err >= 0)
        err = decode_unread(s);
    int unsent = flush(s);
    if (err < 0 || unsent)
        return err < 0 ? err : unsent;
    return ab_stream_start_reading(s);
}

int ab_stream_tls_shake(lua_State *L)
{
    ab_stream *s = ab_stream_tls_startable(L);
    ab_tls_context **context =
        ab_object_test(L, 2, &ab_stream_tls_context_class);
    luaL_argexpected(L, context, 2, "TlsContext");
    const char *name = luaL_optstring(L, 3, NULL);
    const char *key = luaL_optstring(L, 4, NULL);
    check_unread(L, s, lua_toboolean(L, 5));
    shake_op *shake = (shake_op *)ab_op_new(L, &shake_type);
    shake->stream = s;
    s->refs++;
    int err = ab_tls_new(*context, name, key, &s->tls);
    if (err)
        return ab_op_fail(L, &shake->op, err, "stream", s->name);
    s->shaker = &shake->op;
    err = begin(s);
    if (!err || shake->op.finished)
        return ab_task_park(L, &shake->op);
    char trouble[AB_TLS_TEXT];
    memcpy(trouble, ab_tls_trouble(s->tls), sizeof trouble);
    s->shaker = NULL;
    ab_stream_end(s);
    ab_op_free(&shake->op);
    return ab_stream_fail(L, s, err, shake_type.name,
                          err == ASYNCBOX_ETLS ? trouble : NULL);
}
