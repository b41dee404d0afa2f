/* stream_read.c - reading, and the methods that take from the read buffer.
 *
 * Reading starts when a task first waits for bytes and goes on by itself until
 * BUFFER bytes are there that nobody has asked for; so a fast other side costs
 * no more memory than that.  A method that needs more to be satisfied (a long
 * line, read_all) lets the buffer grow as far as its own limit says. */
#include "stream.h"
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BUFFER ((size_t)AB_STREAM_BUFFER)
#define SPACE_MIN ((size_t)4 << 10)
enum { STRAIGHT_MAX = 8 };
#define LINE_MAX_BYTES ((lua_Integer)1 << 20)
enum { SEPARATOR_MAX = 64 };

typedef enum want { WANT_SOME, WANT_EXACT, WANT_UNTIL, WANT_ALL } want;

/* What a call asks for, and how it came out. */
typedef struct stream_scan {
    want want;
    int line;         /* WANT_UNTIL: gives the line only */
    size_t bytes;     /* SOME, EXACT: how many; UNTIL, ALL: at most */
    size_t seen;      /* UNTIL: looked through already */
    size_t take, cut; /* result: bytes to give, and to leave out after them */
    int nothing;      /* result: nil */
    size_t separator_bytes;
    char separator[SEPARATOR_MAX];
} stream_scan;

typedef struct read_op {
    ab_op op;
    ab_stream *stream;
    stream_scan scan;
} read_op;

/* ---- is there enough? ---- */

static const char *find(const char *from, size_t len, const stream_scan *scan)
{
    size_t n = scan->separator_bytes;
    const char *end = from + len;
    while ((size_t)(end - from) >= n) {
        from = memchr(from, scan->separator[0], (size_t)(end - from) - n + 1);
        if (!from || memcmp(from, scan->separator, n) == 0)
            return from;
        from++;
    }
    return NULL;
}

static int scan_until(stream_scan *scan, const char *from, size_t have,
                      int over)
{
    size_t n = scan->separator_bytes;
    const char *at =
        have ? find(from + scan->seen, have - scan->seen, scan) : NULL;
    if (at) {
        scan->take = (size_t)(at - from);
        scan->cut = n;
        return scan->take <= scan->bytes ? 1 : ASYNCBOX_ELIMIT;
    }
    if (have >= n)
        scan->seen = have - n + 1;
    /* Even a separator that begins at the last byte would be too late. */
    if (have > scan->bytes && have - scan->bytes >= n)
        return ASYNCBOX_ELIMIT;
    if (!over)
        return 0;
    scan->take = have;
    scan->nothing = have == 0;
    return have <= scan->bytes ? 1 : ASYNCBOX_ELIMIT;
}

/* 1: settled; 0: more is needed; or a code, and then no byte is taken. */
static int scan_run(const ab_stream *s, stream_scan *scan)
{
    size_t have = s->in_len - s->in_pos;
    int over = s->ended || s->read_error, result = 0;
    scan->nothing = 0;
    switch (scan->want) {
    case WANT_SOME:
        scan->take = have < scan->bytes ? have : scan->bytes;
        scan->nothing = have == 0;
        result = have > 0 || over;
        break;
    case WANT_EXACT:
        scan->take = scan->bytes;
        if (have >= scan->bytes)
            return 1;
        scan->take = 0;
        scan->nothing = have == 0;
        result = !over ? 0 : have ? UV_EOF : 1;
        break;
    case WANT_UNTIL:
        result = scan_until(scan, s->in ? s->in + s->in_pos : NULL, have, over);
        break;
    case WANT_ALL:
        scan->take = have;
        if (have > scan->bytes)
            return ASYNCBOX_ELIMIT;
        result = over;
        break;
    }
    /* What came before an error is given first, as far as it is asked for. */
    if (s->read_error && result && !scan->cut &&
        !(scan->want == WANT_SOME && have))
        return s->read_error;
    return result;
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    ab_stream *s = handle->data;
    size_t gap = s->tls ? AB_STREAM_TLS_GAP : 0, space = 0;
    char *room = ab_stream_place(s, gap + SPACE_MIN, &space);
    if (room) {
        room += gap;
        space -= gap;
    }
    if (space > INT32_MAX)
        space = INT32_MAX;
    *buf = uv_buf_init(room, (unsigned)space);
}

void ab_stream_stop_reading(ab_stream *s)
{
    if (s->reading)
        uv_read_stop(&s->uv.stream);
    s->reading = 0;
}

static void serve_reader(ab_stream *s, int failure)
{
    read_op *r = (read_op *)s->reader;
    if (!r || r->op.finished)
        return;
    int result = failure ? failure : scan_run(s, &r->scan);
    if (result)
        ab_op_finish(&r->op, result < 0 ? result : 0);
}

static void end_if_idle(ab_stream *s)
{
    int bytes = 0, fd = -1;
    if (!s->idling || s->ended || s->read_error)
        return;
    if (uv_fileno(&s->uv.handle, &fd) == 0 &&
        ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0)
        return;
    s->ended = 1;
    ab_stream_stop_reading(s);
}

static void end(ab_stream *s)
{
    if (s->tls)
        s->read_error = ab_tls_input_end(s->tls);
    else if (s->source)
        s->read_error = s->source->end(s);
    s->ended = s->read_error == 0;
}

/* Is there enough for the time when nobody waits? */
static int is_full(const ab_stream *s)
{
    return s->source || s->in_len - s->in_pos >= BUFFER;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    ab_stream *s = stream->data;
    int failure = 0;
    if (n == 0)
        return;
    if (s->discarding) {
        if (n < 0)
            ab_stream_end(s);
        return; /* the next bytes come to the same place */
    }
    if (n > 0 && s->tls) {
        ab_stream_tls_input(s, buf->base, (size_t)n);
    } else if (n > 0) {
        s->more = (size_t)n == buf->len;
        s->straight = 0;
        ab_stream_received(s, (size_t)n);
        end_if_idle(s);
    } else {
        ab_stream_stop_reading(s);
        if (n == UV_ENOBUFS)
            failure = UV_ENOMEM;
        else if (n == UV_EOF)
            end(s);
        else
            s->read_error = (int)n;
        if (s->shaker)
            ab_stream_tls_broken(s, failure ? failure : s->read_error);
    }
    serve_reader(s, failure);
    const ab_op *op = s->reader;
    if (is_full(s) && (!op || op->finished))
        ab_stream_stop_reading(s);
}

int ab_stream_start_reading(ab_stream *s)
{
    if (s->reading)
        return 0;
    int err = uv_read_start(&s->uv.stream, on_alloc, on_read);
    s->reading = err == 0;
    return err;
}

void ab_stream_end_when_idle(ab_stream *s)
{
    if (s->closed)
        return;
    s->idling = 1;
    end_if_idle(s);
    serve_reader(s, 0);
}

/* ---- giving ---- */

static int give(lua_State *L, ab_stream *s, const stream_scan *scan)
{
    if (scan->nothing && scan->want != WANT_ALL) {
        lua_pushnil(L);
        return 1;
    }
    const char *from = s->in ? s->in + s->in_pos : "";
    lua_pushlstring(L, from, scan->take); /* may raise: nothing is lost */
    s->in_pos += scan->take + scan->cut;
    if (s->in_pos == s->in_len) {
        s->in_pos = s->in_len = 0;
        ab_stream_release(s);
    }
    if (scan->want != WANT_UNTIL || scan->line)
        return 1;
    lua_pushboolean(L, scan->cut > 0);
    return 2;
}

static int fail(lua_State *L, const ab_stream *s, const stream_scan *scan,
                int code, const char *op)
{
    const char *message = NULL;
    if (code == ASYNCBOX_ELIMIT)
        message = lua_pushfstring(L,
                                  scan->want == WANT_ALL
                                      ? "there are more than %I bytes"
                                      : "no end within %I bytes",
                                  (LUAI_UACINT)scan->bytes);
    else if (code == UV_EOF)
        message = lua_pushfstring(L, "the stream ended after %I of %I bytes",
                                  (LUAI_UACINT)(s->in_len - s->in_pos),
                                  (LUAI_UACINT)scan->bytes);
    else if (code == ASYNCBOX_ECLOSED)
        message = "the stream was closed meanwhile";
    return ab_stream_fail(L, s, code, op, message);
}

static int read_push(lua_State *L, ab_op *op)
{
    read_op *r = (read_op *)op;
    ab_stream *s = r->stream;
    if (s->reader == op)
        s->reader = NULL;
    if (op->status < 0)
        return fail(L, s, &r->scan, op->status, op->type->name);
    return give(L, s, &r->scan);
}

/* What has come so far stays in the buffer. */
static void read_cancel(ab_op *op)
{
    ab_stream *s = ((read_op *)op)->stream;
    if (s->reader == op)
        s->reader = NULL;
    if (is_full(s))
        ab_stream_stop_reading(s);
    ab_op_finish(op, UV_ECANCELED);
}

static void read_drop(ab_op *op)
{
    ab_stream *s = ((read_op *)op)->stream;
    if (!s)
        return;
    if (s->reader == op)
        s->reader = NULL;
    ab_stream_unref(s);
}

#define READ_TYPE(variable, text)                                              \
    static const ab_op_type variable = {.name = (text),                        \
                                        .size = sizeof(read_op),               \
                                        .flags = AB_OP_EXTERNAL,               \
                                        .push = read_push,                     \
                                        .cancel = read_cancel,                 \
                                        .drop = read_drop}

READ_TYPE(read_type, "stream:read");
READ_TYPE(exactly_type, "stream:read_exactly");
READ_TYPE(until_type, "stream:read_until");
READ_TYPE(line_type, "stream:read_line");
READ_TYPE(all_type, "stream:read_all");
READ_TYPE(chunks_type, "stream:chunks");
READ_TYPE(lines_type, "stream:lines");

/* Streams that were dropped may hold what this one needs, and a callback of
 * libuv cannot collect: so the first room is made here.  A script's finalizer
 * that runs meanwhile may close the stream. */
static void make_first_room(lua_State *L, ab_stream *s)
{
    if (s->in_cap >= BUFFER || ab_stream_have_shared(s->box))
        return;
    lua_gc(L, LUA_GCCOLLECT);
    ab_stream_have_shared(s->box); /* or on_alloc tells of it */
}

/* The last read has filled its room, so there is likely more: asking costs less
 * than waiting to be told.  A few times in a row, then others have their turn.
 * 1: there is something new.  The end is left to libuv, which finds it, too; an
 * error is told only once. */
static int read_straight(ab_stream *s)
{
    size_t space = 0;
    int fd = -1;
    if (!s->more || s->straight == STRAIGHT_MAX || s->tls || s->source ||
        s->idling || uv_fileno(&s->uv.handle, &fd))
        return 0;
    char *room = ab_stream_place(s, SPACE_MIN, &space);
    if (!room)
        return 0;
    ssize_t n = read(fd, room, space);
    s->more = n > 0 && (size_t)n == space;
    s->straight++;
    if (n > 0) {
        ab_stream_received(s, (size_t)n);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        ab_stream_stop_reading(s);
        s->read_error = uv_translate_sys_error(errno);
        return 1;
    }
    return n > 0;
}

static int take(lua_State *L, ab_stream *s, const ab_op_type *type,
                const stream_scan *asked)
{
    stream_scan now = *asked;
    int result;
    while (!(result = scan_run(s, &now)) && read_straight(s))
        continue;
    if (result < 0)
        return fail(L, s, &now, result, type->name);
    if (result)
        return give(L, s, &now);
    ab_stream_release(s);
    make_first_room(L, s);
    if (s->closed)
        return fail(L, s, &now, ASYNCBOX_ECLOSED, type->name);
    read_op *r = (read_op *)ab_op_new(L, type);
    r->stream = s;
    r->scan = now;
    s->refs++;
    s->reader = &r->op;
    int err = ab_stream_start_reading(s);
    if (!err && s->read_ns)
        err = ab_op_deadline(&r->op, s->read_ns);
    if (err)
        return ab_op_fail(L, &r->op, err, "stream", s->name);
    return ab_task_park(L, &r->op);
}

/* ---- the methods ---- */

static size_t check_count(lua_State *L, int arg)
{
    lua_Integer n = luaL_checkinteger(L, arg);
    luaL_argcheck(L, n >= 1, arg, "a number of bytes from 1 expected");
    return (size_t)n;
}

/* The option `max` of the table at idx. */
static size_t option_max(lua_State *L, int idx, const char *what,
                         lua_Integer otherwise)
{
    static const char *const known[] = {"max", NULL};
    ab_options_check(L, idx, what, known);
    return (size_t)ab_option_integer(L, idx, "max", otherwise, 0,
                                     LUA_MAXINTEGER);
}

int ab_stream_l_read(lua_State *L)
{
    ab_stream *s = ab_stream_enter(L, read_type.name, AB_STREAM_READ);
    stream_scan scan = {.want = WANT_SOME};
    scan.bytes = lua_isnoneornil(L, 2) ? BUFFER : check_count(L, 2);
    return take(L, s, &read_type, &scan);
}

int ab_stream_l_read_exactly(lua_State *L)
{
    ab_stream *s = ab_stream_enter(L, exactly_type.name, AB_STREAM_READ);
    stream_scan scan = {.want = WANT_EXACT, .bytes = check_count(L, 2)};
    return take(L, s, &exactly_type, &scan);
}

int ab_stream_l_read_until(lua_State *L)
{
    ab_stream *s = ab_stream_enter(L, until_type.name, AB_STREAM_READ);
    stream_scan scan = {.want = WANT_UNTIL};
    const char *separator = luaL_checklstring(L, 2, &scan.separator_bytes);
    luaL_argcheck(
        L, scan.separator_bytes >= 1 && scan.separator_bytes <= SEPARATOR_MAX,
        2, "a separator of 1 to 64 bytes expected");
    memcpy(scan.separator, separator, scan.separator_bytes);
    scan.bytes = option_max(L, 3, until_type.name, LINE_MAX_BYTES);
    return take(L, s, &until_type, &scan);
}

static stream_scan line_scan(size_t max)
{
    stream_scan scan = {.want = WANT_UNTIL, .line = 1, .bytes = max};
    scan.separator[0] = '\n';
    scan.separator_bytes = 1;
    return scan;
}

int ab_stream_l_read_line(lua_State *L)
{
    ab_stream *s = ab_stream_enter(L, line_type.name, AB_STREAM_READ);
    stream_scan scan =
        line_scan(option_max(L, 2, line_type.name, LINE_MAX_BYTES));
    return take(L, s, &line_type, &scan);
}

int ab_stream_l_read_all(lua_State *L)
{
    ab_stream *s = ab_stream_enter(L, all_type.name, AB_STREAM_READ);
    stream_scan scan = {.want = WANT_ALL};
    scan.bytes = option_max(L, 2, all_type.name, LUA_MAXINTEGER);
    return take(L, s, &all_type, &scan);
}

/* ---- iterators: closures over the class, the stream and a count ---- */

static ab_stream *iterated(lua_State *L, const char *op)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(2));
    return ab_stream_enter(L, op, AB_STREAM_READ);
}

static int l_next_chunk(lua_State *L)
{
    ab_stream *s = iterated(L, chunks_type.name);
    stream_scan scan = {.want = WANT_SOME};
    scan.bytes = (size_t)lua_tointeger(L, lua_upvalueindex(3));
    return take(L, s, &chunks_type, &scan);
}

static int l_next_line(lua_State *L)
{
    ab_stream *s = iterated(L, lines_type.name);
    stream_scan scan = line_scan((size_t)lua_tointeger(L, lua_upvalueindex(3)));
    return take(L, s, &lines_type, &scan);
}

static int push_iterator(lua_State *L, size_t count, lua_CFunction next)
{
    lua_pushvalue(L, lua_upvalueindex(1)); /* the class, for ab_self */
    lua_pushvalue(L, 1);
    lua_pushinteger(L, (lua_Integer)count);
    lua_pushcclosure(L, next, 3);
    return 1;
}

int ab_stream_l_chunks(lua_State *L)
{
    ab_stream_self(L);
    size_t n = lua_isnoneornil(L, 2) ? BUFFER : check_count(L, 2);
    return push_iterator(L, n, l_next_chunk);
}

int ab_stream_l_lines(lua_State *L)
{
    ab_stream_self(L);
    size_t max = option_max(L, 2, "stream:lines", LINE_MAX_BYTES);
    return push_iterator(L, max, l_next_line);
}
