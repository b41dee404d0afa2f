/* net_listen.c - listeners: sockets that are listened on, and accept.
 *
 * Not uv_listen: that accepts on its own account whether anybody wants another
 * connection or not, and when descriptors run out it accepts and closes.  Here
 * the kernel keeps a connection until a task asks for one. */
#include "net.h"
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

enum {
    SOCKETS_MAX = 16,
    BACKLOG = 511,
    TRIES_MAX = 64 /* connections in a row that are gone already */
};

typedef struct listener listener;

typedef struct listening {
    uv_poll_t poll;
    listener *owner;
    int fd; /* -1: closed */
} listening;

struct listener {
    ab_box *box;
    ab_closer closer;
    ab_link waiters; /* accept_op.link, first come first served */
    ab_net_place place;
    size_t bytes; /* of this block */
    int refs;     /* the Lua object, each open poll handle, each op */
    int polls;    /* open ones */
    int polling, closed;
    int count;  /* of sockets */
    char *path; /* of a Unix socket, as "unix:/run/x": in this block */
    listening sockets[];
};

typedef struct accept_op {
    ab_op op;
    ab_link link;
    listener *from;
    int fd; /* -1: none */
    struct sockaddr_storage peer;
} accept_op;

static const ab_class listener_class;

/* ---- life ---- */

static void unref(listener *l)
{
    if (--l->refs == 0)
        ab_box_free(l->box, l, l->bytes);
}

static void on_poll_closed(uv_handle_t *handle)
{
    listener *l = ((listening *)handle->data)->owner;
    if (--l->polls == 0)
        l->box->live_handles--;
    unref(l);
}

static void close_listener(listener *l)
{
    if (l->closed)
        return;
    l->closed = 1;
    ab_list_remove(&l->closer.link);
    for (int i = 0; i < l->count; i++) {
        listening *s = &l->sockets[i];
        if (s->fd < 0)
            continue;
        uv_close((uv_handle_t *)&s->poll, on_poll_closed);
        close(s->fd);
        s->fd = -1;
    }
    ab_net_unix_remove(&l->place);
    for (ab_link *link; (link = ab_list_first(&l->waiters));) {
        accept_op *a = ab_container(link, accept_op, link);
        ab_list_remove(link);
        ab_op_finish(&a->op, ASYNCBOX_ECLOSED);
    }
}

static void on_box_close(ab_closer *closer)
{
    close_listener(ab_container(closer, listener, closer));
}

static listener *listener_new(lua_State *L, int count, const char *path)
{
    listener **object = ab_object_new(L, &listener_class, sizeof *object, 0);
    size_t text = path ? strlen(path) + 1 : 0;
    size_t bytes = sizeof(listener) + (size_t)count * sizeof(listening) + text;
    listener *l = ab_box_alloc_or_raise(L, bytes);
    memset(l, 0, bytes);
    l->box = ab_box_of(L);
    l->bytes = bytes;
    l->refs = 1;
    l->place.dir = -1;
    l->closed = 1;
    ab_list_init(&l->waiters);
    if (path) {
        l->path = (char *)&l->sockets[count];
        memcpy(l->path, path, text);
    }
    *object = l;
    return l;
}

/* Takes a listening descriptor: 0, or a code and it is still the caller's. */
static int add_socket(listener *l, int fd)
{
    listening *s = &l->sockets[l->count];
    int err = uv_poll_init(&l->box->loop.uv, &s->poll, fd);
    if (err)
        return err;
    s->poll.data = s;
    s->owner = l;
    s->fd = fd;
    l->count++;
    l->refs++;
    if (l->polls++ == 0) {
        l->closed = 0;
        l->box->live_handles++;
        l->closer.close = on_box_close;
        ab_list_append(&l->box->closers, &l->closer.link);
    }
    return 0;
}

/* ---- accepting ---- */

static int should_retry(int err)
{
    /* accept(2): errors of the connection that was waiting, or of its way
     * here; the next one may be fine. */
    switch (err) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EOPNOTSUPP:
        return 1;
    default:
        return 0;
    }
}

/* A descriptor, UV_EAGAIN when nobody waits, or another code. */
static int accept_one(const listener *l, struct sockaddr_storage *peer)
{
    int result = UV_EAGAIN;
    for (int i = 0; i < l->count; i++) {
        int fd, tries = 0;
        do {
            socklen_t len = sizeof *peer;
            memset(peer, 0, sizeof *peer);
            fd = accept4(l->sockets[i].fd, (struct sockaddr *)peer, &len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        } while (fd < 0 && should_retry(errno) && ++tries < TRIES_MAX);
        if (fd >= 0)
            return fd;
        if (errno != EAGAIN && !should_retry(errno))
            result = uv_translate_sys_error(errno);
    }
    return result;
}

static void stop_polling(listener *l)
{
    for (int i = 0; i < l->count; i++)
        if (l->sockets[i].fd >= 0)
            uv_poll_stop(&l->sockets[i].poll);
    l->polling = 0;
}

/* Polling goes on after the last waiter is served: as a rule it is back before
 * the kernel is asked again. */
static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    listener *l = ((listening *)poll->data)->owner;
    if (ab_list_empty(&l->waiters)) {
        stop_polling(l);
        return;
    }
    accept_op *a = ab_container(ab_list_first(&l->waiters), accept_op, link);
    int fd = accept_one(l, &a->peer);
    if (fd == UV_EAGAIN)
        return;
    a->fd = fd < 0 ? -1 : fd;
    ab_list_remove(&a->link);
    ab_op_finish(&a->op, fd < 0 ? fd : 0);
}

static int start_polling(listener *l)
{
    int err = 0;
    for (int i = 0; i < l->count && !err && !l->polling; i++)
        err = uv_poll_start(&l->sockets[i].poll, UV_READABLE, on_readable);
    l->polling = !err;
    return err;
}

/* Pushes the stream of an accepted connection.  Takes *fd when it works. */
static int push_stream(lua_State *L, const listener *l, int *fd,
                       const struct sockaddr_storage *peer)
{
    char text[AB_ADDR_TEXT];
    const char *name = l->path;
    int on = 1;
    if (!name) {
        ab_sockaddr_format((const struct sockaddr *)peer, text);
        name = text;
        (void)setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    ab_stream *s = ab_stream_new(L, "socket", AB_STREAM_READ | AB_STREAM_WRITE);
    int err = ab_stream_open_socket(s, *fd, name);
    if (err)
        return ab_error_raise(L, err, &(ab_detail){"server:accept", 0, 0, 0});
    *fd = -1;
    return 1;
}

/* Is there nothing left to make a connection of? */
static int is_short(int code)
{
    return code == UV_EMFILE || code == UV_ENFILE || code == UV_ENOBUFS ||
           code == UV_ENOMEM;
}

static int accept_push(lua_State *L, ab_op *op)
{
    accept_op *a = (accept_op *)op;
    if (is_short(op->status)) {
        lua_pushnil(L);
        lua_pushstring(L, asyncbox_err_name(op->status));
        return 2;
    }
    if (op->status == ASYNCBOX_ECLOSED)
        return lua_pushnil(L), 1;
    if (op->status < 0)
        return ab_error_raise(L, op->status,
                              &(ab_detail){op->type->name, 0, 0, 0});
    return push_stream(L, a->from, &a->fd, &a->peer);
}

static void accept_cancel(ab_op *op)
{
    accept_op *a = (accept_op *)op;
    ab_list_remove(&a->link);
    ab_op_finish(op, UV_ECANCELED);
}

static void accept_drop(ab_op *op)
{
    accept_op *a = (accept_op *)op;
    if (!a->from)
        return;
    if (a->fd >= 0)
        close(a->fd);
    unref(a->from);
}

static const ab_op_type accept_type = {
    .name = "server:accept",
    .size = sizeof(accept_op),
    .flags = AB_OP_EXTERNAL,
    .push = accept_push,
    .cancel = accept_cancel,
    .drop = accept_drop,
};

static listener *self_of(lua_State *L)
{
    listener *l = *(listener **)ab_self(L, &listener_class);
    if (!l)
        luaL_error(L, "attempt to use a listener that was collected");
    return l;
}

/* accept() -> stream; nil when the listener is closed; nil and "EMFILE" (or the
 * like) when another one cannot be had now.  One that waits already is taken at
 * once, but other tasks have their turn first. */
static int l_accept(lua_State *L)
{
    ab_task_check(L, accept_type.name);
    listener *l = self_of(L);
    if (l->closed)
        return lua_pushnil(L), 1;
    accept_op *a = (accept_op *)ab_op_new(L, &accept_type);
    a->fd = -1;
    a->from = l;
    l->refs++;
    int fd = UV_EAGAIN;
    if (ab_list_empty(&l->waiters))
        fd = accept_one(l, &a->peer);
    if (fd == UV_EAGAIN) {
        int err = start_polling(l);
        if (err)
            return ab_op_fail(L, &a->op, err, NULL, NULL);
        ab_list_append(&l->waiters, &a->link);
    } else {
        a->fd = fd < 0 ? -1 : fd;
        ab_op_finish(&a->op, fd < 0 ? fd : 0);
    }
    return ab_task_park(L, &a->op);
}

/* close() */
static int l_close(lua_State *L)
{
    close_listener(self_of(L));
    return 0;
}

/* addresses() -> list */
static int l_addresses(lua_State *L)
{
    const listener *l = self_of(L);
    lua_createtable(L, l->count, 0);
    for (int i = 0; i < l->count; i++) {
        struct sockaddr_storage own = {0};
        socklen_t len = sizeof own;
        if (l->path)
            ab_address_push_text(L, l->path);
        else if (getsockname(l->sockets[i].fd, (struct sockaddr *)&own, &len) ==
                 0)
            ab_address_push(L, (struct sockaddr *)&own);
        else
            break;
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int l_gc(lua_State *L)
{
    listener *l = ab_object_take(L, &listener_class);
    if (l) {
        close_listener(l);
        unref(l);
    }
    return 0;
}

static const luaL_Reg methods[] = {
    {"accept", l_accept},
    {"addresses", l_addresses},
    {"close", l_close},
    {NULL, NULL},
};
static const luaL_Reg metas[] = {{"__gc", l_gc}, {NULL, NULL}};
static const ab_class listener_class = {"Listener", methods, metas};

/* ---- listening ---- */

static int set_flag(int fd, int level, int name, int on)
{
    return setsockopt(fd, level, name, &on, sizeof on) < 0
               ? uv_translate_sys_error(errno)
               : 0;
}

typedef struct plan {
    int backlog, reuse_port, both;
} plan;

/* A listening descriptor or a code. */
static int listen_tcp(const ab_sockaddr *at, const plan *p)
{
    int family = at->any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return uv_translate_sys_error(errno);
    int err = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!err && p->reuse_port)
        err = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!err && family == AF_INET6)
        err = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, !p->both);
    if (!err && (bind(fd, &at->any, ab_sockaddr_length(at)) < 0 ||
                 listen(fd, p->backlog) < 0))
        err = uv_translate_sys_error(errno);
    if (!err)
        return fd;
    close(fd);
    return err;
}

/* The port that the system has chosen. */
static int port_of(int fd)
{
    ab_sockaddr own;
    socklen_t len = sizeof own;
    return getsockname(fd, &own.any, &len) == 0 ? ab_sockaddr_port(&own) : 0;
}

/* listen(addresses, {backlog, reuse_port}, both) -> Listener, or nil and the
 * code.  both: an IPv6 address takes IPv4 connections too.  Addresses that this
 * machine does not have are left out, unless none is left. */
int ab_net_listen(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    int count = (int)luaL_len(L, 1), err = UV_EADDRNOTAVAIL, port = 0;
    if (count > SOCKETS_MAX)
        count = SOCKETS_MAX;
    plan p = {
        .backlog = (int)ab_option_integer(L, 2, "backlog", BACKLOG, 1, INT_MAX),
        .reuse_port = ab_option_boolean(L, 2, "reuse_port", 0),
        .both = lua_toboolean(L, 3),
    };
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        ab_grants_check_listen(L, "net.listen",
                               &ab_net_check_address(L, -1)->any);
        lua_pop(L, 1);
    }
    listener *l = listener_new(L, count, NULL);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        ab_sockaddr at = *ab_net_check_address(L, -1);
        lua_pop(L, 1);
        if (port)
            ab_sockaddr_set_port(&at, port);
        int fd = listen_tcp(&at, &p);
        if (fd == UV_EADDRNOTAVAIL || fd == UV_EAFNOSUPPORT)
            continue;
        err = fd < 0 ? fd : add_socket(l, fd);
        if (err && fd >= 0)
            close(fd);
        if (err)
            break;
        port = port_of(fd);
    }
    if (l->count && !err)
        return 1;
    close_listener(l);
    lua_pushnil(L);
    lua_pushinteger(L, err);
    return 2;
}

/* listen_path(path, mode or -1, backlog) -> Listener */
int ab_net_listen_path(lua_State *L)
{
    static const char what[] = "net.listen";
    const char *path = luaL_checkstring(L, 1);
    int mode = (int)luaL_checkinteger(L, 2);
    int backlog = (int)luaL_optinteger(L, 3, BACKLOG);
    lua_settop(L, 1);
    ab_grants_check_path(L, AB_GRANT_WRITE, what, path);
    ab_grants_check_path(L, AB_GRANT_READ, what, path);
    const char *name = lua_pushfstring(L, "unix:%s", path);
    listener *l = listener_new(L, 1, name);
    int fd =
        ab_net_unix_listen(&l->box->grants, path, mode, backlog, &l->place);
    if (fd == ASYNCBOX_EDENIED)
        return ab_grants_denied_path(L, AB_GRANT_WRITE, what, path);
    int err = fd < 0 ? fd : add_socket(l, fd);
    if (!err)
        return 1;
    if (fd >= 0)
        close(fd);
    ab_net_unix_remove(&l->place);
    return ab_error_path(L, err, what, path);
}
