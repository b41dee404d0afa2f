/* stream_socket.c - what only sockets have: connecting, addresses, options,
 * shutting one of the two ways, breaking off. */
#include "stream.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- opening ---- */

/* Names the stream after the other side. */
static int name_after_peer(ab_stream *s)
{
    struct sockaddr_storage peer;
    int len = sizeof peer;
    char text[AB_ADDR_TEXT] = "";
    /* Who has broken off already has no address any more. */
    if (uv_tcp_getpeername(&s->uv.tcp, (struct sockaddr *)&peer, &len) == 0)
        ab_sockaddr_format((struct sockaddr *)&peer, text);
    return *text ? ab_stream_set_name(s, text) : 0;
}

static int family_of(int fd)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
        return AF_UNSPEC;
    return own.ss_family;
}

int ab_stream_open_socket(ab_stream *s, int fd, const char *peer)
{
    s->socket = 1;
    int err = peer ? ab_stream_set_name(s, peer) : 0;
    if (err)
        return err;
    if (family_of(fd) == AF_UNIX)
        return ab_stream_open_pipe(s, fd);
    err = uv_tcp_init(&s->box->loop.uv, &s->uv.tcp);
    if (err)
        return err;
    ab_stream_opened(s);
    err = uv_tcp_open(&s->uv.tcp, fd);
    if (err)
        ab_stream_end(s);
    return err;
}

int ab_stream_connect(ab_stream *s, uv_connect_t *req,
                      const struct sockaddr *to, uv_connect_cb done)
{
    s->socket = 1;
    int err = uv_tcp_init(&s->box->loop.uv, &s->uv.tcp);
    if (err)
        return err;
    ab_stream_opened(s);
    err = uv_tcp_connect(req, &s->uv.tcp, to, done);
    if (err)
        ab_stream_end(s);
    return err;
}

int ab_stream_connected(ab_stream *s) { return name_after_peer(s); }

/* ---- methods ---- */

static ab_stream *self_open(lua_State *L, const char *op)
{
    ab_stream *s = ab_stream_self(L);
    if (s->closed)
        ab_stream_fail(L, s, ASYNCBOX_ECLOSED, op, "the stream is closed");
    if (!s->socket)
        ab_stream_fail(L, s, UV_ENOTSOCK, op, NULL);
    return s;
}

static ab_stream *self_tcp(lua_State *L, const char *op)
{
    ab_stream *s = self_open(L, op);
    if (s->uv.handle.type != UV_TCP)
        ab_stream_fail(L, s, UV_ENOTSUP, op, "this is no TCP connection");
    return s;
}

int ab_stream_l_peer(lua_State *L)
{
    const ab_stream *s = ab_stream_self(L);
    if (!s->socket)
        ab_stream_fail(L, s, UV_ENOTSOCK, "stream:peer", NULL);
    if (s->name_bytes)
        ab_address_push_text(L, s->name);
    else
        lua_pushnil(L);
    return 1;
}

int ab_stream_l_local_address(lua_State *L)
{
    static const char op[] = "stream:local_address";
    const ab_stream *s = self_open(L, op);
    struct sockaddr_storage own = {0};
    socklen_t len = sizeof own;
    int fd = -1, err = uv_fileno(&s->uv.handle, &fd);
    if (!err && getsockname(fd, (struct sockaddr *)&own, &len) < 0)
        err = uv_translate_sys_error(errno);
    if (err)
        return ab_stream_fail(L, s, err, op, NULL);
    if (own.ss_family == AF_UNIX) {
        struct sockaddr_un un;
        char text[sizeof "unix:" + sizeof un.sun_path] = "unix:";
        size_t head = offsetof(struct sockaddr_un, sun_path);
        memcpy(&un, &own, sizeof un);
        if (len > head && len <= sizeof un)
            memcpy(text + 5, un.sun_path, len - head);
        ab_address_push_text(L, text);
    } else {
        ab_address_push(L, (struct sockaddr *)&own);
    }
    return 1;
}

int ab_stream_l_nodelay(lua_State *L)
{
    static const char op[] = "stream:nodelay";
    ab_stream *s = self_tcp(L, op);
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    int err = uv_tcp_nodelay(&s->uv.tcp, lua_toboolean(L, 2));
    if (err)
        return ab_stream_fail(L, s, err, op, NULL);
    lua_settop(L, 1);
    return 1;
}

/* keepalive(false), keepalive(true), keepalive(seconds) */
int ab_stream_l_keepalive(lua_State *L)
{
    static const char op[] = "stream:keepalive";
    enum { DEFAULT_S = 60, MAX_S = 32767 };
    ab_stream *s = self_tcp(L, op);
    lua_Integer seconds = 0;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        seconds = luaL_checkinteger(L, 2);
        luaL_argcheck(L, seconds >= 1 && seconds <= MAX_S, 2,
                      "whole seconds from 1 to 32767 expected");
    } else {
        luaL_argexpected(L, lua_isboolean(L, 2), 2, "boolean or number");
        seconds = lua_toboolean(L, 2) ? DEFAULT_S : 0;
    }
    int err = uv_tcp_keepalive(&s->uv.tcp, seconds > 0, (unsigned)seconds);
    if (err)
        return ab_stream_fail(L, s, err, op, NULL);
    lua_settop(L, 1);
    return 1;
}

static int64_t check_timeout(lua_State *L, int arg, const char *name)
{
    if (lua_isnoneornil(L, arg) ||
        (lua_isboolean(L, arg) && !lua_toboolean(L, arg)))
        return 0;
    int64_t ns = ab_check_seconds(L, arg, name);
    luaL_argcheck(L, ns > 0, arg, "must be more than 0 (nil: no limit)");
    return ns;
}

/* timeout(read, write) */
int ab_stream_l_timeout(lua_State *L)
{
    ab_stream *s = ab_stream_self(L);
    int64_t read_ns = check_timeout(L, 2, "read");
    int64_t write_ns = check_timeout(L, 3, "write");
    s->read_ns = read_ns;
    s->write_ns = write_ns;
    lua_settop(L, 1);
    return 1;
}

/* With nothing to linger for, closing sends RST. */
int ab_stream_l_reset(lua_State *L)
{
    ab_stream *s = ab_stream_self(L);
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    int fd;
    if (!s->closed && !s->socket)
        ab_stream_fail(L, s, UV_ENOTSOCK, "stream:reset", NULL);
    if (!s->closed && uv_fileno(&s->uv.handle, &fd) == 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    ab_stream_end(s);
    return 0;
}

/* ---- shutdown ---- */

static const ab_op_type shutdown_type = {
    .name = "stream:shutdown",
    .size = sizeof(ab_stream_wait),
    .flags = AB_OP_EXTERNAL,
    .push = ab_stream_wait_push,
    .cancel = ab_stream_wait_cancel,
    .drop = ab_stream_wait_drop,
};

static int shut(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    ab_stream *s = ab_stream_self(L);
    int fd = -1, err = s->write_error;
    if (!err && !s->closed)
        err = uv_fileno(&s->uv.handle, &fd);
    s->shut = 1;
    /* Who has gone already needs not be told. */
    if (!err && fd >= 0 && shutdown(fd, SHUT_WR) < 0 && errno != ENOTCONN)
        err = uv_translate_sys_error(errno);
    if (err && err == s->write_error)
        return ab_stream_write_fail(L, s, shutdown_type.name);
    if (err)
        return ab_stream_fail(L, s, err, shutdown_type.name, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

int ab_stream_l_shutdown(lua_State *L)
{
    ab_stream *s = ab_stream_self(L);
    lua_settop(L, 1);
    if (s->shut) {
        lua_pushboolean(L, 1);
        return 1;
    }
    ab_stream_tls_notify(s);
    return ab_stream_drain(L, s, &shutdown_type, shut);
}
