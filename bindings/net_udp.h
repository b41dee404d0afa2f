/* net_udp.h - what the files of UDP sockets share.
 *
 *   net_udp.c       their life: made, bound, closed; options; the class
 *   net_udp_send.c  send and connect, which may have to look up a name first
 *   net_udp_recv.c  the queue of what has come, recv and packets
 *
 * A socket is C memory of the box with a libuv handle in it.  The Lua object is
 * one pointer to it and may be collected at any moment. */
#ifndef AB_NET_UDP_H
#define AB_NET_UDP_H

#include "net.h"

/* A sandboxed socket that listens by no grant hears only those that it has
 * written to lately: so many. */
enum { AB_UDP_KNOWN_MAX = 64 };

typedef struct ab_udp {
    uv_udp_t uv;
    ab_box *box;
    ab_closer closer;
    int refs;            /* the Lua object, the open handle, each op */
    int family;          /* of the socket */
    unsigned closed : 1; /* nothing works any more */
    unsigned bound : 1;  /* to an address that the script gave */
    unsigned sent : 1;   /* the system has given it an address */
    unsigned connected : 1;
    unsigned receiving : 1; /* uv_udp_recv_start */
    ab_sockaddr peer;       /* if connected */
    int read_error;         /* the next recv raises it; 0: none */
    ab_op *reader;          /* at most one */
    ab_link targets;        /* sends and connects that look up a name */
    ab_link packets;        /* the oldest first */
    int packet_count;
    size_t packet_bytes;
    lua_Integer lost;    /* packets that there was no memory for */
    ab_sockaddr *known;  /* AB_UDP_KNOWN_MAX of them, or NULL */
    unsigned known_next; /* how many there ever were */
} ab_udp;

/* In a method: the socket of argument 1, which must be open. */
ab_udp *ab_udp_self(lua_State *L, const char *op);
void ab_udp_unref(ab_udp *u);
/* Raises an error object that names the socket's address. */
int ab_udp_fail(lua_State *L, const ab_udp *u, int code, const char *op,
                const char *message);

int ab_udp_l_send(lua_State *L);
int ab_udp_l_connect(lua_State *L);
/* Ends the sends that are not under way yet. */
void ab_udp_end_targets(ab_udp *u);
/* Has this socket written to the address? */
int ab_udp_knows(const ab_udp *u, const ab_sockaddr *address);

int ab_udp_l_recv(lua_State *L);
int ab_udp_l_packets(lua_State *L);
/* Throws away what has come but not been taken. */
void ab_udp_free_packets(ab_udp *u);

#endif
