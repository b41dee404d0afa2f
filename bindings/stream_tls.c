/* stream_tls.c - TLS on a stream: a filter between what libuv reads and writes
 * and the buffers that all methods work on.  The engine is host/tls.h. */
#include "stream.h"
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

extern const char ab_lua_stream_tls[];
extern const size_t ab_lua_stream_tls_len;

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

/* ---- contexts ---- */

static int context_gc(lua_State *L);
static const luaL_Reg context_metas[] = {{"__gc", context_gc}, {NULL, NULL}};
static const ab_class context_class = {"TlsContext", NULL, context_metas};

static int context_gc(lua_State *L)
{
    ab_tls_context **object = ab_self(L, &context_class);
    if (*object)
        ab_tls_context_unref(*object);
    *object = NULL;
    return 0;
}

/* A string of the table at 1 or NULL; it stays there. */
static const char *setting(lua_State *L, const char *key, size_t *bytes)
{
    lua_getfield(L, 1, key);
    const char *text = lua_tolstring(L, -1, bytes);
    lua_pop(L, 1);
    return text;
}

static int setting_number(lua_State *L, const char *key)
{
    lua_getfield(L, 1, key);
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

/* context{is_server=, verify=, ca=, ...} -> context, or nil, code, trouble */
static int core_context(lua_State *L)
{
    char trouble[AB_TLS_TEXT];
    luaL_checktype(L, 1, LUA_TTABLE);
    ab_tls_settings settings = {
        .side = setting_number(L, "is_server") ? AB_TLS_SERVER : AB_TLS_CLIENT,
        .verify = (ab_tls_verify)setting_number(L, "verify"),
        .ca = setting(L, "ca", NULL),
        .cert = setting(L, "cert", NULL),
        .key = setting(L, "key", NULL),
        .password = setting(L, "key_password", NULL),
        .min_version = setting_number(L, "min_version"),
        .max_version = setting_number(L, "max_version"),
    };
    settings.alpn = setting(L, "alpn", &settings.alpn_bytes);
    ab_tls_context **object =
        ab_object_new(L, &context_class, sizeof(ab_tls_context *), 0);
    int err =
        ab_tls_context_new(&settings, &ab_box_of(L)->limits, object, trouble);
    if (err == UV_ENOMEM) {
        lua_gc(L, LUA_GCCOLLECT);
        err = ab_tls_context_new(&settings, &ab_box_of(L)->limits, object,
                                 trouble);
    }
    if (!err)
        return 1;
    lua_pushnil(L);
    lua_pushinteger(L, err);
    if (*trouble)
        lua_pushstring(L, trouble);
    else
        lua_pushnil(L);
    return 3;
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

static ab_stream *check_startable(lua_State *L)
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

/* shake(stream, context, name or nil, session key or nil, is_server) */
static int core_shake(lua_State *L)
{
    ab_stream *s = check_startable(L);
    ab_tls_context **context = ab_object_test(L, 2, &context_class);
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

/* ---- primitives for stream_tls.lua ---- */

/* options(table, what, known...) */
static int core_options(lua_State *L)
{
    const char *known[16] = {NULL};
    int n = lua_gettop(L) - 2;
    for (int i = 0; i < n && i < 15; i++)
        known[i] = lua_tostring(L, 3 + i);
    ab_options_check(L, 1, lua_tostring(L, 2), known);
    return 0;
}

/* seconds(table, key, otherwise) */
static int core_seconds(lua_State *L)
{
    int64_t ns = ab_option_seconds(L, 1, luaL_checkstring(L, 2),
                                   (int64_t)(luaL_checknumber(L, 3) * 1e9));
    lua_pushnumber(L, (lua_Number)ns / 1e9);
    return 1;
}

static int core_misuse(lua_State *L)
{
    return ab_misuse(L, "%s", luaL_checkstring(L, 1));
}

/* check(stream): may start_tls begin? */
static int core_check(lua_State *L)
{
    check_startable(L);
    return 0;
}

/* timed_out(stream, message) */
static int core_timed_out(lua_State *L)
{
    return ab_stream_fail(L, ab_stream_self(L), UV_ETIMEDOUT, shake_type.name,
                          luaL_checkstring(L, 2));
}

/* fail(code, op, message or nil, key, value) */
static int core_fail(lua_State *L)
{
    return ab_error_raise(
        L, (int)luaL_checkinteger(L, 1),
        &(ab_detail){luaL_checkstring(L, 2), luaL_optstring(L, 3, NULL),
                     luaL_optstring(L, 4, NULL), luaL_optstring(L, 5, NULL)});
}

static const luaL_Reg core[] = {
    {"check", core_check},
    {"context", core_context},
    {"fail", core_fail},
    {"misuse", core_misuse},
    {"options", core_options},
    {"seconds", core_seconds},
    {"shake", core_shake},
    {"timed_out", core_timed_out},
    {NULL, NULL},
};

void ab_stream_push_tls(lua_State *L)
{
    static const char key = 0;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    /* Methods take the class as their upvalue: see ab_self. */
    ab_class_push(L, &ab_stream_class);
    lua_newtable(L);
    lua_insert(L, -2);
    luaL_setfuncs(L, core, 1);
    luaL_requiref(L, "asyncbox", ab_open_async, 0);
    luaL_requiref(L, "asyncbox.fs", ab_open_fs, 0);
    ab_lua_part(L, "stream_tls", ab_lua_stream_tls, ab_lua_stream_tls_len, 3,
                1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}

static int started(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    lua_settop(L, 1);
    return 1;
}

int ab_stream_l_start_tls(lua_State *L)
{
    ab_task_check(L, shake_type.name);
    ab_stream_self(L);
    lua_settop(L, 2);
    ab_stream_push_tls(L);
    lua_getfield(L, -1, "upgrade");
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_callk(L, 2, 0, 0, started);
    return started(L, LUA_OK, 0);
}

/* ---- what is to be told ---- */

static void set_text(lua_State *L, const char *key, const char *text)
{
    if (text && *text) {
        lua_pushstring(L, text);
        lua_setfield(L, -2, key);
    }
}

static void push_names(lua_State *L, const char *names)
{
    lua_newtable(L);
    for (lua_Integer i = 1; *names; i++) {
        size_t len = strcspn(names, "\n");
        lua_pushlstring(L, names, len);
        lua_rawseti(L, -2, i);
        names += len + (names[len] == '\n');
    }
}

int ab_stream_l_tls(lua_State *L)
{
    const ab_stream *s = ab_stream_self(L);
    if (!s->tls || s->shaker) {
        lua_pushnil(L);
        return 1;
    }
    ab_tls_info info;
    ab_tls_certificate peer;
    ab_tls_describe(s->tls, &info);
    lua_createtable(L, 0, 6);
    set_text(L, "version", info.version);
    set_text(L, "cipher", info.cipher);
    set_text(L, "server_name", info.server_name);
    if (info.alpn) {
        lua_pushlstring(L, info.alpn, info.alpn_bytes);
        lua_setfield(L, -2, "alpn");
    }
    lua_pushboolean(L, info.resumed);
    lua_setfield(L, -2, "resumed");
    if (!ab_tls_peer(s->tls, &peer))
        return 1;
    lua_createtable(L, 0, 6);
    set_text(L, "subject", peer.subject);
    set_text(L, "issuer", peer.issuer);
    set_text(L, "valid_from", peer.valid_from);
    set_text(L, "valid_until", peer.valid_until);
    set_text(L, "fingerprint", peer.fingerprint);
    push_names(L, peer.names);
    lua_setfield(L, -2, "names");
    lua_setfield(L, -2, "peer");
    return 1;
}
