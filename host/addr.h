/* addr.h - network addresses: reading, comparing, classifying, showing.
 *
 * Knows nothing of boxes or grants.  Every function may be called on any
 * thread. */
#ifndef AB_ADDR_H
#define AB_ADDR_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

/* ---- addresses as numbers ---- */

/* 16 bytes in network order; IPv4 is held as ::ffff:a.b.c.d, so that an
 * address and its IPv4-mapped spelling are the same thing. */
typedef struct ab_addr {
    unsigned char bytes[16];
} ab_addr;

/* Reads an address in any spelling that a connecting library may take for one:
 * 127.0.0.1, 127.1, 0x7f000001, 2130706433, ::1, [::1], fe80::1%eth0.  1, or
 * 0 when the text is not an address (so it is a name). */
int ab_addr_parse(const char *text, ab_addr *out);

/* The address and port of a socket address; 0 when it is neither IPv4 nor
 * IPv6. */
int ab_addr_of(const struct sockaddr *from, ab_addr *out, int *port);

int ab_addr_is_v4(const ab_addr *addr);
int ab_addr_is_loopback(const ab_addr *addr);

/* May an address be met on the public internet?  0 for loopback, private,
 * link-local, unspecified, multicast, reserved and documentation ranges, also
 * inside of IPv6 addresses that carry an IPv4 one. */
int ab_addr_is_public(const ab_addr *addr);

/* Do the first `bits` (0..128) of both agree? */
int ab_addr_within(const ab_addr *addr, const ab_addr *net, int bits);

/* ---- socket addresses: what is connected to and bound, with a port ---- */

/* IPv4 or IPv6; what else there is (Unix sockets) has no place in it. */
typedef union ab_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} ab_sockaddr;

/* Text in any of the spellings of ab_addr_parse, with its zone (fe80::1%eth0,
 * fe80::1%2).  IPv4 in the clothes of IPv6 becomes IPv4.  1, or 0 when it is
 * not an address or there is no such zone. */
int ab_sockaddr_parse(const char *text, int port, ab_sockaddr *out);
/* Copies one; 0 when it is neither IPv4 nor IPv6. */
int ab_sockaddr_set(ab_sockaddr *out, const struct sockaddr *from);

int ab_sockaddr_port(const ab_sockaddr *address);
void ab_sockaddr_set_port(ab_sockaddr *address, int port);
/* What connect and bind want to know. */
unsigned ab_sockaddr_length(const ab_sockaddr *address);
/* ::ffff:a.b.c.d becomes a.b.c.d. */
void ab_sockaddr_unmap(ab_sockaddr *address);
/* The same address and port? */
int ab_sockaddr_equal(const ab_sockaddr *a, const ab_sockaddr *b);

enum { AB_ADDR_TEXT = 64 + 16 };

/* "127.0.0.1:80", "[fe80::1%eth0]:80"; "" when it is neither.  IPv4 in the
 * clothes of IPv6 is shown as itself. */
void ab_sockaddr_format(const struct sockaddr *from, char out[AB_ADDR_TEXT]);
/* The same without port and brackets. */
void ab_sockaddr_text(const ab_sockaddr *address, char out[AB_ADDR_TEXT]);

#endif
