/* resolver.h - names to addresses, on a box's loop.
 *
 * By c-ares, opened on the first look-up that needs a server: no thread of the
 * pool waits, and a look-up that nobody wants any more is over at once.  It
 * reads /etc/hosts, /etc/resolv.conf (servers, search domains, ndots) and the
 * order in /etc/nsswitch.conf.  Addresses as text are read, and localhost and
 * *.localhost are loopback, without asking anybody (RFC 6761).  Where libcares
 * cannot be opened getaddrinfo does it, in the thread pool.
 *
 * Nothing is kept from one look-up to the next, nothing is shared between
 * boxes.  Nothing raises; nothing touches Lua.  The box's thread only. */
#ifndef AB_RESOLVER_H
#define AB_RESOLVER_H

#include "addr.h"
#include <stddef.h>

typedef struct ab_box ab_box;
typedef struct ab_lookup ab_lookup;

enum {
    AB_ANSWER_MAX = 64, /* addresses; more are left out */
    AB_SERVERS_MAX = 8
};

/* What came of a look-up. */
typedef struct ab_answer {
    int count; /* of addresses or of names */
    /* The best first, without duplicates, port 0. */
    const ab_sockaddr *addresses;
    /* ab_lookup_reverse: the names, each ended by a NUL.  ab_lookup_records:
     * the message of the server (RFC 1035). */
    const char *text;
    size_t bytes; /* of text */
} ab_answer;

/* The look-up is over.  Never called from inside ab_lookup_start or
 * ab_lookup_cancel, at most once, and not after ab_lookup_cancel.  `answer` is
 * valid during the call, and NULL unless status is 0.  The lookup is gone.  May
 * start and cancel look-ups; also called (ASYNCBOX_ECLOSED) while the box
 * closes.
 *   UV_EAI_NONAME     there is no such name
 *   UV_EAI_NODATA     there is, but it has no address (record) of this kind
 *   UV_EAI_AGAIN      no server answered in time
 *   UV_EAI_FAIL       the servers answered that they cannot tell, or nonsense
 *   UV_ECONNREFUSED   no server can be reached
 *   UV_EAI_ADDRFAMILY an address as text, of the other family
 *   UV_ENOMEM, UV_ENOTSUP (needs libcares), ... */
typedef void (*ab_lookup_fn)(void *data, int status, const ab_answer *answer);

/* Looks up the addresses of a name, or reads an address as text in any
 * spelling that ab_addr_parse knows.  `family` is AF_UNSPEC, AF_INET or
 * AF_INET6.  The name is copied.  0, and *out is set before `done` can be
 * called; or a code, and `done` is never called: UV_EINVAL (no name of a host
 * can look like this), UV_ENOMEM, ASYNCBOX_ECLOSED (the box is closing).  Says
 * nothing about grants: ask before, and about each address before it is
 * connected.  Who waits for it has the flag AB_OP_EXTERNAL. */
int ab_lookup_start(ab_box *box, const char *name, int family,
                    ab_lookup_fn done, void *data, ab_lookup **out);

/* The same for the names of an address. */
int ab_lookup_reverse(ab_box *box, const ab_sockaddr *address,
                      ab_lookup_fn done, void *data, ab_lookup **out);

/* The same for the records of a name, of a type by its number (RFC 1035: 15 is
 * MX).  The name is taken as it is: no hosts file, no search domains. */
int ab_lookup_records(ab_box *box, const char *name, int type,
                      ab_lookup_fn done, void *data, ab_lookup **out);

/* Nobody wants it any more: `done` is not called.  The pointer is gone. */
void ab_lookup_cancel(ab_lookup *lookup);

/* What can be answered without asking anybody: an address as text, localhost,
 * and names below "invalid", which there are never (RFC 6761).  Gives how many
 * addresses (at most 2) it put into out; 0: it must be looked up;
 * UV_EAI_ADDRFAMILY, UV_EAI_NONAME. */
int ab_lookup_literal(const char *name, int family, ab_sockaddr out[2]);

/* Can this be the name of a host, or an address as text?  At most 253 bytes,
 * no space or control character. */
int ab_lookup_name_fits(const char *name);

/* What a status means here, for people; NULL: what it means everywhere.
 * Static. */
const char *ab_lookup_explain(int status);

/* ---- how a box looks up ---- */

typedef struct ab_resolver_config {
    int count;                           /* of servers; 0: the system's */
    ab_sockaddr servers[AB_SERVERS_MAX]; /* with port; 0 is 53 */
    int timeout_ms; /* of the first try, doubled for each round after; 0: 2 s */
    int tries;      /* of each server; 0: 3 */
    int threads;    /* do without libcares: for specs */
} ab_resolver_config;

/* For look-ups that start from now on.  0, UV_ENOMEM, ASYNCBOX_ECLOSED. */
int ab_resolver_configure(ab_box *box, const ab_resolver_config *config);

/* A number that changes with each ab_resolver_configure. */
unsigned ab_resolver_serial(const ab_box *box);

/* The servers that are asked: how many were put into out, or a code. */
int ab_resolver_servers(ab_box *box, ab_sockaddr out[AB_SERVERS_MAX]);

#endif
