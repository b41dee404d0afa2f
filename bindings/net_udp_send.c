/* net_udp_send.c - a UDP socket's sends and connects: the target is found
 * (perhaps by looking up a name), its very address is checked, then it is sent
 * to. */
#include "net_udp.h"
#include <string.h>

enum { HOST_MAX = 256 };

static const char send_name[] = "udp:send", connect_name[] = "udp:connect";

typedef struct target_op {
    ab_op op;
    ab_udp *udp;
    ab_link link; /* in udp->targets while the name is looked up */
    ab_lookup *lookup;
    uv_udp_send_t request;
    int connects;
    int port;
    ab_sockaddr to; /* the address, if it was refused */
    char *data;
    size_t bytes;
    char host[HOST_MAX];
} target_op;

/* ---- what both do with an address ---- */

/* Makes an address one that the socket can take: 0 when it cannot. */
static int fit(const ab_udp *u, ab_sockaddr *address)
{
    if (address->any.sa_family == u->family)
        return 1;
    if (u->family != AF_INET6)
        return 0;
    ab_sockaddr mapped;
    memset(&mapped, 0, sizeof mapped);
    mapped.v6.sin6_family = AF_INET6;
    mapped.v6.sin6_port = address->v4.sin_port;
    mapped.v6.sin6_addr.s6_addr[10] = mapped.v6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(mapped.v6.sin6_addr.s6_addr + 12, &address->v4.sin_addr, 4);
    *address = mapped;
    return 1;
}

/* The first of them that fits and is granted: 0 and *out, or a code. */
static int choose(const ab_udp *u, const char *host, int port,
                  const ab_sockaddr *list, int count, ab_sockaddr *out)
{
    int err = UV_EAFNOSUPPORT;
    for (int i = 0; i < count; i++) {
        ab_sockaddr at = list[i];
        if (!fit(u, &at))
            continue;
        ab_sockaddr_set_port(&at, port);
        *out = at;
        if (ab_grants_address_allowed(&u->box->grants, host, &at.any))
            return 0;
        err = ASYNCBOX_EDENIED;
    }
    return err;
}

int ab_udp_knows(const ab_udp *u, const ab_sockaddr *address)
{
    unsigned count =
        u->known_next < AB_UDP_KNOWN_MAX ? u->known_next : AB_UDP_KNOWN_MAX;
    for (unsigned i = 0; i < count; i++)
        if (ab_sockaddr_equal(&u->known[i], address))
            return 1;
    return 0;
}

/* 0, UV_ENOMEM. */
static int get_to_know(ab_udp *u, const ab_sockaddr *address)
{
    if (u->box->grants.trusted || u->bound || ab_udp_knows(u, address))
        return 0;
    if (!u->known) {
        size_t bytes = AB_UDP_KNOWN_MAX * sizeof *u->known;
        u->known = ab_box_alloc(u->box, bytes);
        if (!u->known)
            return UV_ENOMEM;
    }
    u->known[u->known_next++ % AB_UDP_KNOWN_MAX] = *address;
    if (u->known_next == 2 * AB_UDP_KNOWN_MAX)
        u->known_next = AB_UDP_KNOWN_MAX;
    return 0;
}

static const char *explain(int code)
{
    switch (code) {
    case UV_EMSGSIZE:
        return "too long for one packet";
    case UV_EACCES:
        return "not permitted: broadcasting needs the option broadcast";
    case UV_EAFNOSUPPORT:
        return "an IPv6 address, and the socket is an IPv4 one";
    default:
        return ab_lookup_explain(code);
    }
}

/* `to` NULL: it is connected.  0, UV_EAGAIN (the system has no room), a code.
 */
static int try_send(ab_udp *u, const char *data, size_t bytes,
                    const ab_sockaddr *to)
{
    uv_buf_t buf = uv_buf_init((char *)data, (unsigned)bytes);
    int n = to ? get_to_know(u, to) : 0;
    if (n == 0)
        n = uv_udp_try_send(&u->uv, &buf, 1, to ? &to->any : NULL);
    u->sent = 1;
    return n < 0 ? n : 0;
}

static int connect_now(ab_udp *u, const ab_sockaddr *to)
{
    int err = uv_udp_connect(&u->uv, &to->any);
    if (err)
        return err;
    u->connected = 1;
    u->peer = *to;
    ab_udp_free_packets(u); /* perhaps of others */
    return 0;
}

/* ---- the op ---- */

static void on_sent(uv_udp_send_t *request, int status)
{
    target_op *t = ab_container(request, target_op, request);
    ab_op_finish(&t->op, status == UV_ECANCELED ? ASYNCBOX_ECLOSED : status);
}

/* The system has no room: libuv sends it as soon as it has. */
static int send_later(target_op *t, const ab_sockaddr *to)
{
    uv_buf_t buf = uv_buf_init(t->data, (unsigned)t->bytes);
    return uv_udp_send(&t->request, &t->udp->uv, &buf, 1, to ? &to->any : NULL,
                       on_sent);
}

static void on_found(void *data, int status, const ab_answer *answer)
{
    target_op *t = data;
    ab_udp *u = t->udp;
    t->lookup = NULL;
    ab_list_remove(&t->link);
    if (answer)
        status = choose(u, t->host, t->port, answer->addresses, answer->count,
                        &t->to);
    if (status == 0 && t->connects)
        status = connect_now(u, &t->to);
    else if (status == 0)
        status = try_send(u, t->data, t->bytes, &t->to);
    if (status == UV_EAGAIN) {
        status = send_later(t, &t->to);
        if (status == 0)
            return;
    }
    ab_op_finish(&t->op, status);
}

static int fail(lua_State *L, const ab_udp *u, int code, const char *op,
                const char *host, int port, const ab_sockaddr *to)
{
    if (code == ASYNCBOX_EDENIED)
        return ab_grants_denied_address(L, op, &to->any);
    if (!host)
        return ab_udp_fail(L, u, code, op, explain(code));
    return ab_net_fail(L, code, op, explain(code), host, port);
}

static int target_push(lua_State *L, ab_op *op)
{
    const target_op *t = (target_op *)op;
    if (op->status < 0)
        return fail(L, t->udp, op->status, op->type->name,
                    t->host[0] ? t->host : NULL, t->port, &t->to);
    return 0;
}

static void target_cancel(ab_op *op)
{
    target_op *t = (target_op *)op;
    if (!t->lookup)
        return; /* libuv has it, and will send it or close */
    ab_lookup_cancel(t->lookup);
    t->lookup = NULL;
    ab_list_remove(&t->link);
    ab_op_finish(op, UV_ECANCELED);
}

static void target_drop(ab_op *op)
{
    target_op *t = (target_op *)op;
    ab_list_remove(&t->link);
    ab_box_free(op->box, t->data, t->bytes);
    if (t->udp)
        ab_udp_unref(t->udp);
}

void ab_udp_end_targets(ab_udp *u)
{
    for (ab_link *link; (link = ab_list_first(&u->targets));) {
        target_op *t = ab_container(link, target_op, link);
        ab_list_remove(link);
        ab_lookup_cancel(t->lookup);
        t->lookup = NULL;
        ab_op_finish(&t->op, ASYNCBOX_ECLOSED);
    }
}

#define TARGET_TYPE(text)                                                      \
    {                                                                          \
        .name = (text), .size = sizeof(target_op), .flags = AB_OP_EXTERNAL,    \
        .push = target_push, .cancel = target_cancel, .drop = target_drop      \
    }
static const ab_op_type send_type = TARGET_TYPE(send_name),
                        connect_type = TARGET_TYPE(connect_name);

/* host NULL: it is connected. */
static target_op *op_new(lua_State *L, const ab_op_type *type, ab_udp *u,
                         const char *data, size_t bytes, const char *host,
                         int port)
{
    target_op *t = (target_op *)ab_op_new(L, type);
    t->udp = u;
    u->refs++;
    t->port = port;
    if (host)
        memcpy(t->host, host, strlen(host) + 1);
    if (bytes) {
        t->data = ab_box_alloc(u->box, bytes);
        if (!t->data)
            ab_op_fail(L, &t->op, UV_ENOMEM, NULL, NULL);
        t->bytes = bytes;
        memcpy(t->data, data, bytes);
    }
    return t;
}

/* Parks until the name is found, and what follows is done. */
static int look_up(lua_State *L, target_op *t)
{
    int family = t->udp->family == AF_INET ? AF_INET : AF_UNSPEC;
    int err =
        ab_lookup_start(t->op.box, t->host, family, on_found, t, &t->lookup);
    if (err)
        return ab_op_fail(L, &t->op, err, "host", t->host);
    ab_list_append(&t->udp->targets, &t->link);
    return ab_task_park(L, &t->op);
}

/* ---- arguments ---- */

/* Host and port at `arg`, or a table with both; the host is on the stack. */
static const char *check_target(lua_State *L, int arg, const char *what,
                                int *port)
{
    lua_settop(L, arg + 1);
    if (lua_istable(L, arg)) {
        if (!lua_isnil(L, arg + 1))
            ab_misuse(L, "%s: an address and a port", what);
        lua_getfield(L, arg, "port");
        lua_replace(L, arg + 1);
        lua_getfield(L, arg, "host");
        lua_replace(L, arg);
    }
    size_t len;
    if (lua_type(L, arg) != LUA_TSTRING)
        ab_misuse(L, "%s: the host must be a string, got %s", what,
                  luaL_typename(L, arg));
    const char *host = lua_tolstring(L, arg, &len);
    if (strlen(host) != len || !ab_lookup_name_fits(host))
        ab_misuse(L, "%s: not the name of a host or an address", what);
    host = ab_check_host(L, arg, what);
    *port = ab_check_port(L, arg + 1, what, 1);
    return host;
}

/* The target where it needs no looking up: 1, 0: it does.  Raises. */
static int find_target(lua_State *L, const ab_udp *u, const char *what,
                       const char *host, int port, ab_sockaddr *to)
{
    ab_sockaddr plain[2];
    ab_grants_check_host(L, what, host, port);
    int count = ab_lookup_literal(host, AF_UNSPEC, plain);
    int err = count > 0 ? choose(u, host, port, plain, count, to) : count;
    if (err)
        fail(L, u, err, what, host, port, to);
    return count > 0;
}

/* ---- methods ---- */

int ab_udp_l_send(lua_State *L)
{
    ab_task_check(L, send_name);
    ab_udp *u = ab_udp_self(L, send_name);
    ab_sockaddr address, *to = &address;
    size_t bytes;
    int port = 0;
    const char *data = luaL_checklstring(L, 2, &bytes), *host = NULL;
    if (u->connected && !lua_isnoneornil(L, 3))
        return ab_udp_fail(L, u, UV_EISCONN, send_name,
                           "it is connected: its packets go to its peer");
    if (bytes > 65535)
        return ab_udp_fail(L, u, UV_EMSGSIZE, send_name, explain(UV_EMSGSIZE));
    if (u->connected) {
        to = NULL;
    } else {
        if (lua_isnoneornil(L, 3))
            return ab_udp_fail(L, u, UV_EDESTADDRREQ, send_name,
                               "give a host and a port, or connect it");
        host = check_target(L, 3, send_name, &port);
        if (!find_target(L, u, send_name, host, port, to))
            return look_up(L,
                           op_new(L, &send_type, u, data, bytes, host, port));
    }
    int err = try_send(u, data, bytes, to);
    if (err && err != UV_EAGAIN)
        return fail(L, u, err, send_name, host, port, to);
    if (err == 0)
        return 0;
    target_op *t = op_new(L, &send_type, u, data, bytes, host, port);
    err = send_later(t, to);
    if (err)
        return ab_op_fail(L, &t->op, err, NULL, NULL);
    return ab_task_park(L, &t->op);
}

int ab_udp_l_connect(lua_State *L)
{
    ab_task_check(L, connect_name);
    ab_udp *u = ab_udp_self(L, connect_name);
    ab_sockaddr to;
    int port;
    if (u->connected)
        return ab_udp_fail(L, u, UV_EISCONN, connect_name,
                           "it is connected already");
    const char *host = check_target(L, 2, connect_name, &port);
    if (!find_target(L, u, connect_name, host, port, &to)) {
        target_op *t = op_new(L, &connect_type, u, NULL, 0, host, port);
        t->connects = 1;
        return look_up(L, t);
    }
    int err = connect_now(u, &to);
    return err ? fail(L, u, err, connect_name, host, port, &to) : 0;
}
