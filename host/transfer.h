/* transfer.h - HTTP transfers: libcurl's multi interface on a box's loop.
 *
 * A client is a set of connections with the options that its transfers share
 * (what scripts know as a session); a transfer is an op.  libcurl is opened by
 * the first client of the process and never linked.  No function here raises,
 * and nothing here but the binding's own push touches a lua_State. */
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
    AB_TRANSFER_HEADER_MAX = 64 * 1024, /* bytes of one response's headers */
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
 * form "Name: value", each ended by a NUL.  Copied.  0 or UV_ENOMEM. */
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
    int64_t total_ns;   /* for the whole transfer; INT64_MAX: for ever */
    int64_t connect_ns; /* until there is a connection */
    size_t max_body;    /* bytes after decompression */
    int redirects;      /* how many to follow; -1: a redirect is a response */
} ab_request;

typedef struct ab_bytes {
    char *data; /* counted against the box; NULL: none */
    size_t length, capacity;
} ab_bytes;

typedef struct ab_transfer {
    ab_op op; /* first: a transfer is an op */

    /* the response; valid once finished with status 0 */
    int status;       /* 200 */
    ab_bytes headers; /* raw, from the status line on */
    ab_bytes body;    /* decompressed */
    int64_t started_ns, ended_ns;

    /* the failure */
    const char *limit; /* with ASYNCBOX_ELIMIT: which */

    /* transfer.c's own */
    ab_client *client; /* NULL: not started, or the client is gone */
    ab_easy *easy;     /* its curl handle, until the op is dropped */
    ab_link link;      /* in client->transfers */
    struct ab_lines *lines;
    ab_bytes upload;
    ab_feed *feed;         /* instead of upload, or NULL */
    ab_settings *settings; /* or NULL */
    int64_t total_ns, connect_ns;
    size_t max_body;
    size_t skipped; /* body bytes of redirects */
    int redirects;
    int failure; /* found in a callback: comes before curl's own code */
    char method[16];
    unsigned char running;  /* added to the multi handle */
    unsigned char redirect; /* this response is one that will be followed */
    unsigned char in_body;  /* headers from here on are trailers */
} ab_transfer;

/* Step 4: `t` is fresh from ab_op_new.  0, UV_ENOMEM, or ASYNCBOX_EDENIED (the
 * proxy). */
int ab_transfer_start(ab_transfer *t, ab_client *client,
                      const ab_request *request);

/* The hooks of every op type whose op is an ab_transfer. */
void ab_transfer_cancel(ab_op *op);
void ab_transfer_drop(ab_op *op);

/* For push: where it ended after redirects ("" when that is not known any
 * more), and curl's own words about a failure ("" when it had none).  Valid
 * until the op is dropped. */
const char *ab_transfer_url(const ab_transfer *t);
const char *ab_transfer_trouble(const ab_transfer *t);

/* With ASYNCBOX_EDENIED, also of ab_transfer_start: the host or address that is
 * not granted. */
const char *ab_transfer_denied(const ab_transfer *t, int *port);

/* Step 2: takes a URL apart.  host gets AB_TRANSFER_HOST_MAX bytes at most,
 * without the brackets of an IPv6 address and without a final dot. 0, or
 * ASYNCBOX_EURL: not a URL, not http or https. UV_ENOMEM, UV_ENOTSUP. */
int ab_transfer_parse(const char *url, char *host, int *port, int *is_tls);

#endif
