/* resolver_parts.h - what the files of the resolver share; nobody else includes
 * it.
 *
 *   resolver.c          the look-ups of a box: started, queued, delivered
 *   resolver_channel.c  libcares: channels, their look-ups and timeouts
 *   resolver_socket.c   libcares: its sockets
 *   resolver_plain.c    what needs no libcares
 *
 * A look-up is in one list at a time: `waiting` (all channels are full), a
 * channel's `running`, or `done`, until it is delivered or cancelled. */
#ifndef AB_RESOLVER_PARTS_H
#define AB_RESOLVER_PARTS_H

#include "box.h"
#include "resolver.h"
#include "resolver_cares.h"

typedef struct ab_channel ab_channel;
typedef struct ab_resolver ab_resolver;

typedef enum ab_lookup_kind {
    AB_LOOKUP_ADDRESSES,
    AB_LOOKUP_NAMES,
    AB_LOOKUP_RECORDS
} ab_lookup_kind;

struct ab_lookup {
    ab_link link;
    ab_resolver *resolver;
    ab_channel *channel; /* while libcares has it */
    ab_lookup_fn done;   /* NULL: cancelled, but not gone yet */
    void *data;
    ab_lookup_kind kind;
    int family, type;
    ab_sockaddr address; /* AB_LOOKUP_NAMES: whose */
    unsigned failures;   /* channel->failures when it began */
    int status;
    ab_answer answer; /* blocks of the box's memory */
    size_t bytes;     /* of this block */
    uv_getaddrinfo_t *request;
    char name[];
};

/* Look-ups that share sockets.  Few enough that walking them costs nothing, and
 * that their answers fit into the receive buffer of one socket. */
enum { AB_CHANNEL_LOOKUPS = 64, AB_CHANNELS_MAX = 16 };

struct ab_resolver {
    ab_closer closer; /* first of all: box->closers */
    ab_box *box;
    const ab_cares *cares; /* NULL: not opened, or there is none */
    int opened;            /* it was tried */
    ab_resolver_config config;
    unsigned serial;
    uv_timer_t
        timer; /* the next timeout of a channel, or `done` is not empty */
    ab_link channels;
    int channel_count; /* that take look-ups */
    ab_link waiting, done, threads;
    size_t threads_pending; /* requests, cancelled ones too */
    size_t handles;         /* of libuv's, not yet closed: they and the requests
                               keep it in memory */
    int closing;
};

struct ab_channel {
    ab_link link; /* in resolver->channels */
    ab_resolver *resolver;
    ares_channel ares;
    ab_link running, socks;
    int count;         /* look-ups in `running` */
    int wanted;        /* of these, not cancelled */
    int retired;       /* takes no more */
    int trouble;       /* why the last socket could not be had, or 0 */
    unsigned failures; /* answers of servers that they cannot tell */
    int64_t made_ns;
    int64_t deadline_ns; /* of the next timeout, -1: none */
};

/* ---- resolver.c ---- */

void ab_resolver_unref(ab_resolver *resolver);
/* Is over: to be delivered from the loop, or freed when it was cancelled. */
void ab_lookup_finish(ab_lookup *lookup, int status);
/* From a callback of the loop, when libcares is off the C stack: delivers what
 * is done, starts what waits.  Gives how many were delivered. */
int ab_resolver_deliver(ab_resolver *resolver);
/* Adds to the answer: 0, UV_ENOMEM.  Full and duplicate ones are left out. */
int ab_lookup_add_address(ab_lookup *lookup, const ab_sockaddr *address);
int ab_lookup_add_text(ab_lookup *lookup, const char *text, size_t bytes);

/* ---- resolver_channel.c ---- */

/* Hands a look-up to a channel: 1; 0: all are full; or a code. */
int ab_channel_take(ab_resolver *resolver, ab_lookup *lookup);
/* Nobody wants this one any more; it may be freed before this returns. */
void ab_channel_forget(ab_lookup *lookup);
/* After each call into libcares: when is its next timeout, is the channel still
 * of use?  It may be gone after. */
void ab_channel_settle(ab_channel *channel);
/* Looks for timeouts. */
void ab_channels_tick(ab_resolver *resolver);
/* Milliseconds until the next timeout, -1: none. */
int64_t ab_channels_timeout(const ab_resolver *resolver);
/* No new look-ups for the channels there are. */
void ab_channels_retire(ab_resolver *resolver);
/* Ends all of them, and the look-ups with them. */
void ab_channels_close(ab_resolver *resolver);
/* As ab_resolver_servers. */
int ab_channel_servers(ab_resolver *resolver, ab_sockaddr out[AB_SERVERS_MAX]);

/* ---- resolver_socket.c ---- */

enum { AB_MESSAGE_HEADER_BYTES = 12 };

/* As ares_sock_state_cb; arg is the channel. */
void ab_channel_on_interest(void *arg, ares_socket_t fd, int readable,
                            int writable);
extern const struct ares_socket_functions ab_channel_socket_functions;
void ab_channel_close_socks(ab_channel *channel);

/* ---- resolver_plain.c ---- */

/* By getaddrinfo in the thread pool: 0 or a code. */
int ab_lookup_by_thread(ab_lookup *lookup);

#endif
