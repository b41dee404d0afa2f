/* transfer.h - HTTP transfers: libcurl's multi interface on a box's loop.
 *
 * A client is a set of connections with the options that its transfers share
 * (what scripts know as a session).  A transfer goes from the request to the
 * last byte of the body; ops wait for its head and for pieces of its body, one
 * at a time.  libcurl is opened by the first client of the process and never
 * linked.  No function here raises or touches a lua_State.
 *
 *   transfer.c         what is asked, redirects, the end
 *   transfer_head.c    status line and headers as they come in
 *   transfer_body.c    the body: its buffer, its bounds, who waits for it
 *   transfer_fault.c   what went wrong
 *   transfer_client.c  the connections, curl's timer
 *   transfer_socket.c  its sockets
 *   transfer_lines.c   header lines
 *   transfer_url.c     URLs */
#ifndef AB_TRANSFER_H
#define AB_TRANSFER_H

#include "list.h"
#include "op.h"
#include "transfer_feed.h"
#include "transfer_option.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ab_client ab_client;
typedef struct ab_easy ab_easy;
typedef struct ab_settings ab_settings;

/* Bounds that no option changes. */
enum {
    AB_TRANSFER_HEADER_MAX = 64 * 1024, /* bytes of headers, with those of
                                           "100 Continue" and trailers */
    AB_TRANSFER_HEADER_COUNT = 1000,    /* and how many */
    AB_TRANSFER_BUFFER = 256 * 1024,    /* unread bytes of a body: curl is
                                           paused when there are more */
    AB_TRANSFER_AHEAD = 1024 * 1024,    /* the same while a task reads it */
    AB_TRANSFER_SKIP = 1024 * 1024,     /* bytes of a redirect's body */
    AB_TRANSFER_HOST_MAX = 256          /* with the final NUL */
};

typedef struct ab_client_config {
    long max_connections; /* open at once, also idle ones; 0: no bound */
    long max_per_host;    /* 0: no bound */
    const char *user_agent;
} ab_client_config;

/* Makes a client.  It is closed with its box at the latest, so *slot, which
 * must live until then or until ab_client_free, is set to NULL whenever the
 * client goes.  0, UV_ENOMEM, ASYNCBOX_ECLOSED (the box is closing), or
 * UV_ENOTSUP when libcurl cannot be opened (ab_client_trouble says why). */
int ab_client_new(ab_box *box, const ab_client_config *config,
                  ab_client **slot);

/* Why libcurl could not be opened: static text, "" when it could. */
const char *ab_client_trouble(void);

/* Closes it: transfers that still run finish with ASYNCBOX_ECLOSED, its
 * connections are closed.  Never waits, not for name look-ups either. */
void ab_client_free(ab_client *client);

/* Headers sent with every request that brings none of its own: lines of the
 * form "Name: value", each ended by a NUL.  Once, before the first.  Copied.
 * 0 or UV_ENOMEM. */
int ab_client_headers(ab_client *client, const char *lines, size_t bytes);

/* Options of all its transfers, once, before the first.  Copied.  0 or
 * UV_ENOMEM. */
int ab_client_settings(ab_client *client, const ab_setting *list,
                       unsigned count);

/* From now on its transfers keep the cookies that they are given.  Before the
 * first of them.  0 or UV_ENOMEM. */
int ab_client_open_jar(ab_client *client);

/* Writes the cookies to `out`, lines as in a Netscape cookie file, each ended
 * by a NUL, as many as `room` holds; gives how many bytes there are (with out
 * NULL: would be). */
size_t ab_client_cookies(ab_client *client, char *out, size_t room);

/* Puts one in: such a line, or "Set-Cookie: ..."; "ALL" forgets all.  0 or
 * UV_ENOMEM; one that cannot be read is left out. */
int ab_client_cookie(ab_client *client, const char *line);

typedef struct ab_bounds {
    int64_t total_ns;   /* for the whole transfer; INT64_MAX: for ever */
    int64_t connect_ns; /* until there is a connection */
    int64_t stall_ns; /* that a wait may last without a byte coming or going */
    size_t max_body;  /* bytes after decompression, all together */
    size_t max_whole; /* the same, of what is held at one time */
    int redirects;    /* how many to follow; -1: a redirect is a response */
} ab_bounds;

/* What to ask for.  Everything is copied by ab_transfer_start. */
typedef struct ab_request {
    const char *method; /* "GET" */
    const char *url;
    const char *lines; /* headers as above, instead of the client's; NULL: the
                          client's */
    size_t lines_bytes;
    const char *body; /* NULL: none */
    size_t body_bytes;
    ab_feed
        *feed; /* instead of body, or NULL: taken over, see transfer_feed.h */
    const ab_setting *settings;
    unsigned setting_count;
    ab_bounds bounds;
} ab_request;

typedef struct ab_bytes {
    char *data; /* counted against the box; NULL: none */
    size_t length, capacity;
} ab_bytes;

/* A response on the way to the last one. */
typedef struct ab_hop {
    struct ab_hop *next;
    int status;
    size_t url_bytes, header_bytes;
    char text[]; /* the URL, the raw headers */
} ab_hop;

typedef struct ab_transfer {
    ab_box *box;

    /* the response; valid once `headed` */
    int status;       /* 200 */
    ab_bytes headers; /* raw, from the status line on */
    ab_bytes url;     /* with a NUL: where it came from */
    ab_hop *hops;     /* the first; NULL: it came at once */
    int64_t started_ns, headed_ns, failed_ns;
    uint64_t received; /* bytes of the body so far */

    /* how it stands */
    unsigned char headed; /* status and headers of the response are there */
    unsigned char done;   /* no more will come */
    int failure;          /* once done: 0 or a code */
    const char *limit;    /* with ASYNCBOX_ELIMIT and UV_ETIMEDOUT: which;
                             with ASYNCBOX_ECLOSED "cancelled", or NULL: the
                             client was closed */

    /* the files of the transfer unit only */
    int refs;
    ab_client *client;  /* NULL: it has let go of it */
    ab_easy *easy;      /* its curl handle; kept while its words are needed */
    ab_link link;       /* in client->transfers, while there is an easy */
    ab_op *waiter;      /* until it is pushed or gone */
    size_t want;        /* unread bytes that it waits for */
    uint64_t active_ms; /* the wait began, a byte came or went: for stall_ns */
    uint64_t sent;      /* bytes of the request then */
    struct ab_lines *lines;
    ab_bytes upload;
    ab_feed *feed;                /* instead of upload, or NULL */
    ab_settings *settings;        /* or NULL */
    struct ab_naming *naming;     /* while its name is looked up */
    struct ab_naming_list *names; /* what came of that, for curl */
    ab_bytes body;
    size_t body_at; /* before it: taken */
    ab_hop *last_hop;
    int64_t length;                    /* of Content-Length; -1: none */
    ab_bounds bounds;                  /* redirects: those that are left */
    size_t header_bytes, header_count; /* of all there were */
    char method[16];
    unsigned char running;     /* added to the multi handle, or about to be */
    unsigned char delayed;     /* some of its time went by before curl's part */
    unsigned char head_whole;  /* the empty line after it has come */
    unsigned char refused;     /* a callback did not want what came */
    unsigned char undecoded;   /* its Content-Encoding is none: kept as it is */
    unsigned char redirect;    /* this response is one that will be followed */
    unsigned char in_body;     /* headers from here on are trailers */
    unsigned char paused;      /* curl does not receive */
    unsigned char resuming;    /* and is being told to go on */
    unsigned char send_paused; /* nor send */
    unsigned char held; /* counted: the script has it, and it is not done */
} ab_transfer;

/* The op of whatever waits for a transfer; it has a reference. */
typedef struct ab_transfer_wait {
    ab_op op;
    ab_transfer *transfer; /* NULL: not started */
} ab_transfer_wait;

/* Its hooks.  Whose wait is cancelled wants none of it any more: the transfer
 * is closed. */
void ab_transfer_wait_cancel(ab_op *op);
void ab_transfer_wait_drop(ab_op *op);

/* Step 4: `w` is fresh from ab_op_new and is finished, with status 0 or a code,
 * when the head is there.  0, UV_ENOMEM, or ASYNCBOX_EDENIED (the proxy). */
int ab_transfer_start(ab_transfer_wait *w, ab_client *client,
                      const ab_request *request);

/* ---- the body ---- */

/* What is there and not yet taken. */
static inline size_t ab_transfer_unread(const ab_transfer *t)
{
    return t->body.length - t->body_at;
}

/* Those bytes, valid until the next call or turn. */
static inline const char *ab_transfer_data(const ab_transfer *t)
{
    return t->body.data ? t->body.data + t->body_at : "";
}

/* Takes n of them. */
void ab_transfer_take(ab_transfer *t, size_t n);

/* Need nobody wait for `want` bytes, as they are there or never come? */
static inline int ab_transfer_ready(const ab_transfer *t, size_t want)
{
    return t->done || ab_transfer_unread(t) >= want;
}

/* Takes all there is by giving the buffer away: what is unread begins at *at.
 * The next bytes come into the one given, which may be none. */
void ab_transfer_swap(ab_transfer *t, ab_bytes *bytes, size_t *at);

/* Does a task wait already, or is about to go on? */
static inline int ab_transfer_busy(const ab_transfer *t)
{
    return t->waiter != NULL;
}

/* Step 4: makes `w` who waits until ab_transfer_ready.  It is finished with
 * status 0 whatever comes of it.  There is none yet. */
void ab_transfer_await(ab_transfer *t, ab_transfer_wait *w, size_t want);

/* The first thing in a push hook: others may wait from now on. */
void ab_transfer_waited(ab_transfer_wait *w);

/* How long the body will be as far as that is known: bytes, or -1. */
int64_t ab_transfer_length(const ab_transfer *t);

/* ---- life ---- */

/* The script holds the response now: counted as a handle of the box until it is
 * done.  `w` hands its reference over. */
ab_transfer *ab_transfer_hold(ab_transfer_wait *w);
/* Lets go of it; closed with the last reference. */
void ab_transfer_unref(ab_transfer *t);
/* At once: the connection is closed unless all has come, what is unread is
 * dropped, who waits is told; failure is ASYNCBOX_ECLOSED then. */
void ab_transfer_close(ab_transfer *t);

/* How many responses scripts hold that are not done: each has a connection. */
unsigned ab_client_held(const ab_client *client);

/* ---- for errors ---- */

/* Where it came from, or went to last; "" when that is not known. */
const char *ab_transfer_url(const ab_transfer *t);
/* Curl's own words about a failure, "" when it had none.  Valid until the
 * reference is given up. */
const char *ab_transfer_trouble(const ab_transfer *t);

/* Writes by what way it went there, for failures of connecting: "proxy
 * 127.0.0.1:3128", "socket /run/x"; 0: straight, or that is not known. */
int ab_transfer_way(const ab_transfer *t, char *buf, size_t bytes);

/* With ASYNCBOX_EDENIED, also of ab_transfer_start: the host or address that is
 * not granted. */
const char *ab_transfer_denied(const ab_transfer *t, int *port);

/* Step 2: takes a URL apart.  host gets AB_TRANSFER_HOST_MAX bytes at most,
 * without the brackets of an IPv6 address and without a final dot. 0, or
 * ASYNCBOX_EURL: not a URL, not http or https, a host that is not ASCII (see
 * idna.h). UV_ENOMEM, UV_ENOTSUP. */
int ab_transfer_parse(const char *url, char *host, int *port, int *is_tls);

#endif
