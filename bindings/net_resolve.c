/* net_resolve.c - the addresses of a name, to connect to or to listen on. */
#include "net.h"
#include <string.h>

typedef struct resolve_op {
    ab_op op;
    ab_lookup *lookup; /* NULL: not begun, or over */
    int port;
    int count; /* of found */
    ab_sockaddr *found;
    char host[]; /* HOST_MAX: as it was asked for */
} resolve_op;

/* Pushes a list of the addresses with the port.  IPv4 in the clothes of IPv6
 * becomes IPv4 before anybody judges it. */
static void push_list(lua_State *L, const ab_sockaddr *found, int count,
                      int port)
{
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        ab_sockaddr plain = found[i];
        ab_sockaddr_unmap(&plain);
        ab_sockaddr_set_port(&plain, port);
        ab_net_push_address(L, &plain);
        lua_rawseti(L, -2, i + 1);
    }
}

static int resolve_push(lua_State *L, ab_op *op)
{
    resolve_op *r = (resolve_op *)op;
    if (op->status < 0)
        return ab_net_fail(L, op->status, op->type->name,
                           ab_lookup_explain(op->status), r->host, r->port);
    push_list(L, r->found, r->count, r->port);
    return 1;
}

static void resolve_cancel(ab_op *op)
{
    resolve_op *r = (resolve_op *)op;
    if (r->lookup)
        ab_lookup_cancel(r->lookup);
    r->lookup = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

static void resolve_drop(ab_op *op)
{
    resolve_op *r = (resolve_op *)op;
    if (r->found)
        ab_box_free(op->box, r->found, (size_t)r->count * sizeof *r->found);
}

static void on_resolved(void *data, int status, const ab_answer *answer)
{
    resolve_op *r = data;
    r->lookup = NULL;
    if (!status && answer->count > 0) {
        size_t bytes = (size_t)answer->count * sizeof *r->found;
        r->found = ab_box_alloc(r->op.box, bytes);
        if (r->found) {
            memcpy(r->found, answer->addresses, bytes);
            r->count = answer->count;
        } else {
            status = UV_ENOMEM;
        }
    }
    ab_op_finish(&r->op, status);
}

enum { HOST_MAX = 254 };

#define RESOLVE_TYPE(text)                                                     \
    {                                                                          \
        .name = (text), .size = sizeof(resolve_op) + HOST_MAX,                 \
        .flags = AB_OP_EXTERNAL, .push = resolve_push,                         \
        .cancel = resolve_cancel, .drop = resolve_drop                         \
    }

static const ab_op_type resolve_connect = RESOLVE_TYPE("net.connect"),
                        resolve_listen = RESOLVE_TYPE("net.listen");

int ab_net_resolve(lua_State *L)
{
    int listening = lua_toboolean(L, 3);
    const ab_op_type *type = listening ? &resolve_listen : &resolve_connect;
    ab_task_check(L, type->name);
    size_t len;
    const char *host = luaL_checklstring(L, 1, &len);
    int port = (int)luaL_checkinteger(L, 2);
    ab_sockaddr known[2];
    int count = ab_lookup_literal(host, AF_UNSPEC, known);
    if (count > 0) {
        push_list(L, known, count, port);
        return 1;
    }
    if (listening && !ab_box_of(L)->grants.trusted)
        return ab_grants_deny(L, type->name, "host", host,
                              "a sandbox listens on addresses and localhost");
    if (!ab_lookup_name_fits(host) || len >= HOST_MAX)
        return ab_net_fail(L, UV_EINVAL, type->name,
                           "this is no name of a host", host, port);
    resolve_op *r = (resolve_op *)ab_op_new(L, type);
    r->port = port;
    memcpy(r->host, host, len + 1);
    int err =
        ab_lookup_start(r->op.box, host, AF_UNSPEC, on_resolved, r, &r->lookup);
    if (err) /* push tells, with host and port */
        ab_op_finish(&r->op, err);
    return ab_task_park(L, &r->op);
}
