/* net_udp.c - UDP sockets: made, bound, closed; their options; the class. */
#include "net_udp.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/sock_diag.h>
#endif

static const char udp_name[] = "net.udp";

static const ab_class udp_class; /* its object: one ab_udp pointer */

/* ---- life ---- */

void ab_udp_unref(ab_udp *u)
{
    if (--u->refs > 0)
        return;
    ab_udp_free_packets(u);
    ab_box_free(u->box, u->known,
                u->known ? AB_UDP_KNOWN_MAX * sizeof *u->known : 0);
    ab_box_free(u->box, u, sizeof *u);
}

static void on_closed(uv_handle_t *handle)
{
    ab_udp *u = ab_container(handle, ab_udp, uv);
    u->box->live_handles--;
    ab_udp_unref(u);
}

static void udp_close(ab_udp *u)
{
    if (u->closed)
        return;
    u->closed = 1;
    ab_list_remove(&u->closer.link);
    ab_udp_end_targets(u);
    if (u->reader && !u->reader->finished)
        ab_op_finish(u->reader, ASYNCBOX_ECLOSED);
    uv_close((uv_handle_t *)&u->uv, on_closed);
}

static void on_box_close(ab_closer *closer)
{
    udp_close(ab_container(closer, ab_udp, closer));
}

static ab_udp *object_of(lua_State *L)
{
    return *(ab_udp **)ab_self(L, &udp_class);
}

ab_udp *ab_udp_self(lua_State *L, const char *op)
{
    ab_udp *u = object_of(L);
    if (!u || u->closed)
        ab_error_raise(L, ASYNCBOX_ECLOSED,
                       &(ab_detail){op, "the socket is closed", NULL, NULL});
    return u;
}

/* The address that the system knows: 1, or 0 when it has none. */
static int own_address(const ab_udp *u, ab_sockaddr *out)
{
    struct sockaddr_storage at = {0};
    int bytes = sizeof at;
    return !u->closed && (u->bound || u->sent || u->connected) &&
           uv_udp_getsockname(&u->uv, (struct sockaddr *)&at, &bytes) == 0 &&
           ab_sockaddr_set(out, (struct sockaddr *)&at);
}

int ab_udp_fail(lua_State *L, const ab_udp *u, int code, const char *op,
                const char *message)
{
    ab_sockaddr at;
    char text[AB_ADDR_TEXT] = "";
    if (u->connected)
        ab_sockaddr_format(&u->peer.any, text);
    else if (own_address(u, &at))
        ab_sockaddr_format(&at.any, text);
    return ab_error_raise(
        L, code,
        &(ab_detail){op, message, *text ? "host" : NULL, *text ? text : NULL});
}

/* ---- options ---- */

static const char *text_option(lua_State *L, int idx, const char *what,
                               const char *key)
{
    size_t len;
    int type = lua_getfield(L, idx, key);
    if (type != LUA_TNIL && type != LUA_TSTRING)
        ab_misuse(L, "%s: option '%s' must be a string, got %s", what, key,
                  luaL_typename(L, -1));
    const char *text = lua_tolstring(L, -1, &len);
    if (text && strlen(text) != len)
        ab_misuse(L, "%s: option '%s' must not hold a zero byte", what, key);
    return text;
}

/* -1: not given. */
static int flag_option(lua_State *L, int idx, const char *key)
{
    int given = lua_getfield(L, idx, key) != LUA_TNIL;
    lua_pop(L, 1);
    return given ? ab_option_boolean(L, idx, key, 0) : -1;
}

static int set_size(ab_udp *u, lua_State *L, int idx, const char *key,
                    int (*set)(uv_handle_t *handle, int *value))
{
    int bytes = (int)ab_option_integer(L, idx, key, 0, 1, 1 << 30);
    return bytes ? set((uv_handle_t *)&u->uv, &bytes) : 0;
}

static void check(lua_State *L, const ab_udp *u, const char *what,
                  const char *key, int err)
{
    char message[120];
    if (!err)
        return;
    snprintf(message, sizeof message, "option '%s' cannot be set: %s", key,
             asyncbox_err_text(err));
    ab_udp_fail(L, u, err, what, message);
}

#define SETTINGS                                                               \
    "broadcast", "ttl", "multicast_ttl", "multicast_loop",                     \
        "multicast_interface", "receive_buffer", "send_buffer"

static void apply(lua_State *L, ab_udp *u, int idx, const char *what)
{
    uv_udp_t *uv = &u->uv;
    int flag, n;
    if ((flag = flag_option(L, idx, "broadcast")) >= 0)
        check(L, u, what, "broadcast", uv_udp_set_broadcast(uv, flag));
    if ((n = (int)ab_option_integer(L, idx, "ttl", 0, 1, 255)))
        check(L, u, what, "ttl", uv_udp_set_ttl(uv, n));
    if ((n = (int)ab_option_integer(L, idx, "multicast_ttl", -1, 0, 255)) >= 0)
        check(L, u, what, "multicast_ttl", uv_udp_set_multicast_ttl(uv, n));
    if ((flag = flag_option(L, idx, "multicast_loop")) >= 0)
        check(L, u, what, "multicast_loop",
              uv_udp_set_multicast_loop(uv, flag));
    const char *name = text_option(L, idx, what, "multicast_interface");
    if (name)
        check(L, u, what, "multicast_interface",
              uv_udp_set_multicast_interface(uv, name));
    check(L, u, what, "receive_buffer",
          set_size(u, L, idx, "receive_buffer", uv_recv_buffer_size));
    check(L, u, what, "send_buffer",
          set_size(u, L, idx, "send_buffer", uv_send_buffer_size));
    lua_pop(L, 1);
}

static int l_set(lua_State *L)
{
    static const char *const known[] = {SETTINGS, NULL};
    static const char what[] = "udp:set";
    ab_udp *u = ab_udp_self(L, what);
    luaL_checktype(L, 2, LUA_TTABLE);
    ab_options_check(L, 2, what, known);
    apply(L, u, 2, what);
    return 0;
}

/* ---- making ---- */

typedef struct binding {
    int bind; /* to an address that was given */
    ab_sockaddr at;
    int family;
    int reuse_address, reuse_port;
} binding;

static int check_family(lua_State *L, int idx)
{
    const char *family = text_option(L, idx, udp_name, "family");
    if (!family || strcmp(family, "ipv4") == 0)
        return AF_INET;
    if (strcmp(family, "ipv6") != 0)
        ab_misuse(L,
                  "%s: option 'family' must be \"ipv4\" or \"ipv6\", got "
                  "\"%s\"",
                  udp_name, family);
    return AF_INET6;
}

/* Where to bind, from the options at idx. */
static void check_binding(lua_State *L, int idx, binding *b)
{
    int port = 0, family = check_family(L, idx);
    const char *host = text_option(L, idx, udp_name, "host");
    int has_port = lua_getfield(L, idx, "port") != LUA_TNIL;
    if (has_port)
        port = ab_check_port(L, lua_gettop(L), udp_name, 0);
    b->reuse_address = ab_option_boolean(L, idx, "reuse_address", 0);
    b->reuse_port = ab_option_boolean(L, idx, "reuse_port", 0);
    b->family = family;
    b->bind = host || has_port;
    if (!b->bind)
        return;
    if (!host)
        host = family == AF_INET6 ? "::" : "0.0.0.0";
    else if (ab_host_is_localhost(host))
        host = family == AF_INET6 ? "::1" : "127.0.0.1";
    if (!ab_sockaddr_parse(host, port, &b->at))
        ab_misuse(L,
                  "%s: option 'host' must be an IP address or localhost, "
                  "got \"%s\"",
                  udp_name, host);
    b->family = b->at.any.sa_family;
    ab_grants_check_listen(L, udp_name, &b->at.any);
}

static int bind_it(ab_udp *u, const binding *b)
{
    int one = 1, fd = -1;
    int err = b->reuse_port ? uv_fileno((uv_handle_t *)&u->uv, &fd) : 0;
    if (err)
        return err;
#ifdef SO_REUSEPORT
    if (b->reuse_port &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0)
        return uv_translate_sys_error(errno);
#else
    (void)one;
    if (b->reuse_port)
        return UV_ENOTSUP;
#endif
    if (!b->bind)
        return 0;
    err = uv_udp_bind(&u->uv, &b->at.any,
                      b->reuse_address ? UV_UDP_REUSEADDR : 0);
    u->bound = err == 0;
    return err;
}

int ab_net_l_udp(lua_State *L)
{
    static const char *const known[] = {
        "host",       "port",   "family", "reuse_address",
        "reuse_port", SETTINGS, NULL};
    ab_box *box = ab_box_of(L);
    binding b = {.family = AF_INET};
    if (box->closing)
        ab_error_raise(L, ASYNCBOX_ECLOSED,
                       &(ab_detail){udp_name, "the box is closing", 0, 0});
    lua_settop(L, 1);
    ab_options_check(L, 1, udp_name, known);
    if (lua_istable(L, 1))
        check_binding(L, 1, &b);
    lua_settop(L, 1);
    ab_udp **object = ab_object_new(L, &udp_class, sizeof(ab_udp *), 0);
    ab_udp *u = ab_box_alloc_or_raise(L, sizeof *u);
    memset(u, 0, sizeof *u);
    u->box = box;
    u->refs = 1;
    u->closed = 1; /* until it is open */
    u->family = b.family;
    ab_list_init(&u->targets);
    ab_list_init(&u->packets);
    *object = u;
    int err = uv_udp_init_ex(&box->loop.uv, &u->uv, (unsigned)b.family);
    if (err)
        ab_udp_fail(L, u, err, udp_name, NULL);
    u->closed = 0;
    u->refs++;
    box->live_handles++;
    u->closer.close = on_box_close;
    ab_list_append(&box->closers, &u->closer.link);
    err = bind_it(u, &b);
    if (err) {
        char text[AB_ADDR_TEXT];
        ab_sockaddr_format(&b.at.any, text);
        udp_close(u);
        ab_error_raise(L, err, &(ab_detail){udp_name, NULL, "host", text});
    }
    if (lua_istable(L, 1))
        apply(L, u, 1, udp_name);
    lua_settop(L, 2);
    return 1;
}

/* ---- methods ---- */

static int l_address(lua_State *L)
{
    const ab_udp *u = ab_udp_self(L, "udp:address");
    ab_sockaddr at;
    if (own_address(u, &at))
        ab_address_push(L, &at.any);
    else
        lua_pushnil(L);
    return 1;
}

static int l_peer(lua_State *L)
{
    const ab_udp *u = ab_udp_self(L, "udp:peer");
    if (u->connected)
        ab_address_push(L, &u->peer.any);
    else
        lua_pushnil(L);
    return 1;
}

/* The kernel counts what it dropped for want of room. */
static int l_dropped(lua_State *L)
{
    const ab_udp *u = ab_udp_self(L, "udp:dropped");
    lua_Integer lost = u->lost;
#ifdef SO_MEMINFO
    uint32_t numbers[SK_MEMINFO_VARS];
    socklen_t bytes = sizeof numbers;
    int fd = -1;
    if (uv_fileno((const uv_handle_t *)&u->uv, &fd) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_MEMINFO, numbers, &bytes) == 0 &&
        bytes > SK_MEMINFO_DROPS * sizeof *numbers)
        lost += numbers[SK_MEMINFO_DROPS];
#endif
    lua_pushinteger(L, lost);
    return 1;
}

static int membership(lua_State *L, const char *what, uv_membership how)
{
    static const char *const known[] = {"interface", "source", NULL};
    ab_udp *u = ab_udp_self(L, what);
    ab_sockaddr group;
    const char *text = luaL_checkstring(L, 2), *interface = NULL,
               *source = NULL;
    luaL_argcheck(L, ab_sockaddr_parse(text, 0, &group), 2,
                  "the address of a multicast group expected");
    ab_options_check(L, 3, what, known);
    if (lua_istable(L, 3)) {
        interface = text_option(L, 3, what, "interface");
        source = text_option(L, 3, what, "source");
    }
    if (!u->bound)
        return ab_udp_fail(L, u, UV_EINVAL, what,
                           "bind it first: give it a port");
    char plain[AB_ADDR_TEXT];
    ab_sockaddr_text(&group, plain);
    int err = source ? uv_udp_set_source_membership(&u->uv, plain, interface,
                                                    source, how)
                     : uv_udp_set_membership(&u->uv, plain, interface, how);
    if (err)
        return ab_error_raise(L, err, &(ab_detail){what, NULL, "host", plain});
    return 0;
}

static int l_join(lua_State *L)
{
    return membership(L, "udp:join", UV_JOIN_GROUP);
}

static int l_leave(lua_State *L)
{
    return membership(L, "udp:leave", UV_LEAVE_GROUP);
}

static int l_close(lua_State *L)
{
    ab_udp *u = object_of(L);
    if (u)
        udp_close(u);
    return 0;
}

static int l_gc(lua_State *L)
{
    ab_udp *u = ab_object_take(L, &udp_class);
    if (u) {
        udp_close(u);
        ab_udp_unref(u);
    }
    return 0;
}

static int l_tostring(lua_State *L)
{
    const ab_udp *u = object_of(L);
    ab_sockaddr at;
    char text[AB_ADDR_TEXT] = "no address";
    if (!u || u->closed)
        strcpy(text, "closed");
    else if (own_address(u, &at))
        ab_sockaddr_format(&at.any, text);
    lua_pushfstring(L, "udp socket (%s)", text);
    return 1;
}

static const luaL_Reg methods[] = {{"address", l_address},
                                   {"close", l_close},
                                   {"connect", ab_udp_l_connect},
                                   {"dropped", l_dropped},
                                   {"join", l_join},
                                   {"leave", l_leave},
                                   {"packets", ab_udp_l_packets},
                                   {"peer", l_peer},
                                   {"recv", ab_udp_l_recv},
                                   {"send", ab_udp_l_send},
                                   {"set", l_set},
                                   {NULL, NULL}};
static const luaL_Reg metas[] = {{"__close", l_close},
                                 {"__gc", l_gc},
                                 {"__tostring", l_tostring},
                                 {NULL, NULL}};
static const ab_class udp_class = {"UDP socket", methods, metas};
