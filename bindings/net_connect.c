/* net_connect.c - one attempt to connect. */
#include "net.h"
#include <netdb.h>
#include <string.h>
#include <unistd.h>

static const char what[] = "net.connect";

int ab_net_fail(lua_State *L, int code, const char *op, const char *message,
                const char *host, int port)
{
    ab_error_push(L, code, &(ab_detail){op, message, "host", host});
    if (port > 0) {
        lua_pushinteger(L, port);
        lua_setfield(L, -2, "port");
    }
    return lua_error(L);
}

/* ---- addresses as strings ---- */

void ab_net_push_address(lua_State *L, const ab_sockaddr *address)
{
    lua_pushlstring(L, (const char *)address, sizeof *address);
}

const ab_sockaddr *ab_net_check_address(lua_State *L, int arg)
{
    size_t len;
    const char *text = luaL_checklstring(L, arg, &len);
    luaL_argcheck(L, len == sizeof(ab_sockaddr), arg, "address");
    return (const ab_sockaddr *)(const void *)text;
}

/* ---- one attempt ---- */

typedef struct attempt_op {
    ab_op op;
    uv_connect_t req;
    ab_stream *stream; /* its object is argument 4 of the call that waits */
    int port;
    char host[]; /* NI_MAXHOST: as it was asked for */
} attempt_op;

static int attempt_push(lua_State *L, ab_op *op)
{
    attempt_op *a = (attempt_op *)op;
    int err = op->status < 0 ? op->status : ab_stream_connected(a->stream);
    if (err) {
        ab_stream_end(a->stream);
        return ab_net_fail(L, err, what, NULL, a->host, a->port);
    }
    lua_settop(L, 4);
    return 1;
}

static void attempt_cancel(ab_op *op)
{
    ab_stream_end(((attempt_op *)op)->stream);
}

static void on_connected(uv_connect_t *req, int status)
{
    ab_op_finish(&ab_container(req, attempt_op, req)->op, status);
}

static const ab_op_type attempt_type = {
    .name = what,
    .size = sizeof(attempt_op) + NI_MAXHOST,
    .flags = AB_OP_EXTERNAL,
    .push = attempt_push,
    .cancel = attempt_cancel,
};

static void check_granted(lua_State *L, const struct sockaddr *to,
                          const char *host)
{
    if (!ab_grants_address_allowed(&ab_box_of(L)->grants, host, to))
        ab_grants_denied_address(L, what, to);
}

/* The string that was judged is the one that is connected to. */
int ab_net_attempt(lua_State *L)
{
    ab_task_check(L, what);
    const struct sockaddr *to = &ab_net_check_address(L, 1)->any;
    size_t len;
    const char *host = luaL_checklstring(L, 2, &len);
    int port = (int)luaL_checkinteger(L, 3);
    lua_settop(L, 3);
    check_granted(L, to, host);
    ab_stream *s = ab_stream_new(L, "socket", AB_STREAM_READ | AB_STREAM_WRITE);
    attempt_op *a = (attempt_op *)ab_op_new(L, &attempt_type);
    a->stream = s;
    a->port = port;
    memcpy(a->host, host, len < NI_MAXHOST ? len + 1 : 0);
    int err = ab_stream_connect(s, &a->req, to, on_connected);
    if (err) /* push tells, with host and port */
        ab_op_finish(&a->op, err);
    return ab_task_park(L, &a->op);
}

/* ---- Unix sockets ---- */

int ab_net_connect_path(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    const ab_grants *grants = &ab_box_of(L)->grants;
    lua_settop(L, 1);
    ab_grants_check_path(L, AB_GRANT_READ, what, path);
    ab_grants_check_path(L, AB_GRANT_WRITE, what, path);
    ab_stream *s = ab_stream_new(L, "socket", AB_STREAM_READ | AB_STREAM_WRITE);
    const char *name = lua_pushfstring(L, "unix:%s", path);
    int fd = ab_net_unix_connect(grants, path);
    if (fd == UV_EAGAIN)
        return 0;
    if (fd == ASYNCBOX_EDENIED)
        return ab_grants_denied_path(L, AB_GRANT_WRITE, what, path);
    if (fd < 0)
        return ab_error_path(L, fd, what, path);
    int err = ab_stream_open_socket(s, fd, name);
    if (err) {
        close(fd);
        return ab_error_path(L, err, what, path);
    }
    lua_settop(L, 2);
    return 1;
}
