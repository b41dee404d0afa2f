/* net_udp_recv.c - what a UDP socket hears.
 *
 * Packets are taken from the system only while there is room for them here;
 * those that find no room there are dropped by it, and counted. */
#include "net_udp.h"
#include <string.h>

/* Room for what comes between two turns of a task. */
enum { QUEUE_PACKETS = 128, QUEUE_BYTES = 128 << 10, PACKET_MAX = 65536 };

typedef struct packet {
    ab_link link;
    ab_sockaddr from;
    size_t bytes;
    char data[];
} packet;

typedef struct recv_op {
    ab_op op;
    ab_udp *udp;
    int ends; /* closed: nil, not an error */
} recv_op;

/* ---- the queue ---- */

static void free_packet(ab_udp *u, packet *p)
{
    ab_list_remove(&p->link);
    u->packet_count--;
    u->packet_bytes -= p->bytes;
    ab_box_free(u->box, p, sizeof *p + p->bytes);
}

void ab_udp_free_packets(ab_udp *u)
{
    for (ab_link *link; (link = ab_list_first(&u->packets));)
        free_packet(u, ab_container(link, packet, link));
}

static int is_full(const ab_udp *u)
{
    return u->packet_count >= QUEUE_PACKETS || u->packet_bytes >= QUEUE_BYTES;
}

static int is_roomy(const ab_udp *u)
{
    return u->packet_count <= QUEUE_PACKETS / 2 &&
           u->packet_bytes <= QUEUE_BYTES / 2;
}

/* Does this socket listen to that address? */
static int is_welcome(const ab_udp *u, const ab_sockaddr *from)
{
    if (u->connected)
        return ab_sockaddr_equal(from, &u->peer);
    return u->bound || u->box->grants.trusted || ab_udp_knows(u, from);
}

static void add_packet(ab_udp *u, const char *data, size_t bytes,
                       const ab_sockaddr *from)
{
    packet *p = ab_box_alloc(u->box, sizeof *p + bytes);
    if (!p) {
        u->lost++;
        return;
    }
    memset(p, 0, sizeof *p);
    memcpy(p->data, data, bytes);
    p->bytes = bytes;
    p->from = *from;
    ab_list_append(&u->packets, &p->link);
    u->packet_count++;
    u->packet_bytes += bytes;
}

/* One buffer for all: libuv gives it back before it asks again. */
static void on_room(uv_handle_t *handle, size_t hint, uv_buf_t *out)
{
    static _Thread_local char room[PACKET_MAX];
    (void)handle;
    (void)hint;
    *out = uv_buf_init(room, sizeof room);
}

static void stop(ab_udp *u)
{
    u->receiving = 0;
    uv_udp_recv_stop(&u->uv);
}

static void on_packet(uv_udp_t *handle, ssize_t n, const uv_buf_t *data,
                      const struct sockaddr *from, unsigned flags)
{
    (void)flags;
    ab_udp *u = ab_container(handle, ab_udp, uv);
    ab_sockaddr address;
    if (n < 0) {
        u->read_error = (int)n;
    } else {
        if (!from || !ab_sockaddr_set(&address, from) ||
            !is_welcome(u, &address))
            return;
        add_packet(u, data->base, (size_t)n, &address);
        if (is_full(u))
            stop(u);
    }
    if (u->reader && !u->reader->finished)
        ab_op_finish(u->reader, 0);
}

static int start(ab_udp *u)
{
    if (u->receiving || !is_roomy(u))
        return 0;
    int err = uv_udp_recv_start(&u->uv, on_room, on_packet);
    u->receiving = err == 0;
    return err;
}

/* ---- recv, packets ---- */

/* Pushes the oldest packet and where it is from. */
static int give(lua_State *L, ab_udp *u)
{
    packet *p = ab_container(ab_list_first(&u->packets), packet, link);
    lua_pushlstring(L, p->data, p->bytes);
    ab_address_push(L, &p->from.any);
    free_packet(u, p);
    if (!u->closed)
        start(u);
    return 2;
}

static int give_error(lua_State *L, ab_udp *u, const char *op)
{
    int code = u->read_error;
    u->read_error = 0;
    const char *message =
        code == UV_ECONNREFUSED ? "nobody listens at its peer's port" : NULL;
    return ab_udp_fail(L, u, code, op, message);
}

static int recv_push(lua_State *L, ab_op *op)
{
    ab_udp *u = ((recv_op *)op)->udp;
    if (!ab_list_empty(&u->packets))
        return give(L, u);
    if (op->status < 0 && ((recv_op *)op)->ends) {
        lua_pushnil(L);
        return 1;
    }
    if (op->status < 0)
        return ab_udp_fail(L, u, op->status, op->type->name, NULL);
    return give_error(L, u, op->type->name);
}

static void recv_cancel(ab_op *op)
{
    ((recv_op *)op)->udp->reader = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

static void recv_drop(ab_op *op)
{
    ab_udp *u = ((recv_op *)op)->udp;
    if (!u)
        return;
    if (u->reader == op)
        u->reader = NULL;
    ab_udp_unref(u);
}

static const ab_op_type recv_type = {
    "udp:recv", sizeof(recv_op), AB_OP_EXTERNAL,
    recv_push,  recv_cancel,     recv_drop,
    NULL};

static int receive(lua_State *L, ab_udp *u, int ends)
{
    const char *what = recv_type.name;
    if (u->reader)
        return ab_udp_fail(L, u, UV_EBUSY, what,
                           "another task is waiting for it");
    if (!ab_list_empty(&u->packets))
        return give(L, u);
    if (u->read_error)
        return give_error(L, u, what);
    if (!u->bound && !u->sent && !u->connected)
        return ab_udp_fail(L, u, UV_EINVAL, what,
                           "it has no address yet: nobody can send to it");
    int err = start(u);
    if (err)
        return ab_udp_fail(L, u, err, what, NULL);
    recv_op *op = (recv_op *)ab_op_new(L, &recv_type);
    op->udp = u;
    op->ends = ends;
    u->refs++;
    u->reader = &op->op;
    return ab_task_park(L, &op->op);
}

int ab_udp_l_recv(lua_State *L)
{
    ab_task_check(L, recv_type.name);
    return receive(L, ab_udp_self(L, recv_type.name), 0);
}

/* Upvalue 1: the socket's object. */
static int next_packet(lua_State *L)
{
    ab_task_check(L, recv_type.name);
    ab_udp *u = *(ab_udp **)lua_touserdata(L, lua_upvalueindex(1));
    if (!u || u->closed) {
        lua_pushnil(L);
        return 1;
    }
    return receive(L, u, 1);
}

int ab_udp_l_packets(lua_State *L)
{
    ab_udp_self(L, "udp:packets");
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, next_packet, 1);
    return 1;
}
