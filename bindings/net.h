/* net.h - what the files of the net module share.
 *
 *   net.c          the module
 *   net_resolve.c  the addresses of a name
 *   net_connect.c  one attempt to connect: TCP to an address, or a Unix socket
 *   net_listen.c   listeners: sockets that are listened on, and accept
 *   net_unix.c     the files of Unix sockets
 *   net_udp*.c     UDP sockets
 *   net.lua        what composes these: the race of addresses, servers */
#ifndef AB_NET_H
#define AB_NET_H

#include "binding.h"
#include <uv.h>

/* resolve(host, port, listening) -> list of addresses (strings that hold an
 * ab_sockaddr), in the order of the system.  Waits.  In a sandbox no name is
 * looked up to listen on. */
int ab_net_resolve(lua_State *L);
/* attempt(address, host, port) -> stream.  Waits. */
int ab_net_attempt(lua_State *L);
/* connect_path(path) -> stream, or nil: not now, too many are queued. */
int ab_net_connect_path(lua_State *L);

/* listen(addresses, {backlog, reuse_port}, both) -> Listener, or nil and the
 * code */
int ab_net_listen(lua_State *L);
/* listen_path(path, mode or -1, backlog) -> Listener */
int ab_net_listen_path(lua_State *L);

/* net.udp([options]) -> UDP socket */
int ab_net_l_udp(lua_State *L);

/* The socket address in the string at `arg`, made by ab_net_push_address. */
const ab_sockaddr *ab_net_check_address(lua_State *L, int arg);
void ab_net_push_address(lua_State *L, const ab_sockaddr *address);

/* Raises with the fields host and port. */
int ab_net_fail(lua_State *L, int code, const char *op, const char *message,
                const char *host, int port);

/* ---- Unix sockets: net_unix.c.  No Lua. ---- */

/* Where a socket's file is: a folder and a name in it. */
typedef struct ab_net_place {
    int dir; /* -1: none */
    char leaf[AB_LEAF_MAX];
    dev_t dev; /* of the file that was made; 0 and 0: none was */
    ino_t ino;
} ab_net_place;

/* A connected, non-blocking descriptor or a code.  Both grants are needed. */
int ab_net_unix_connect(const ab_grants *grants, const char *path);
/* A listening, non-blocking descriptor or a code; fills in where its file is.
 * A file that a dead server left behind is replaced.  mode < 0: as the umask
 * says. */
int ab_net_unix_listen(const ab_grants *grants, const char *path, int mode,
                       int backlog, ab_net_place *place);
/* Removes the file, if it is still the one that was made, and lets go. */
void ab_net_unix_remove(ab_net_place *place);

#endif
