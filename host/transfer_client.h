/* transfer_client.h - what the files of the transfer unit share. */
#ifndef AB_TRANSFER_CLIENT_H
#define AB_TRANSFER_CLIENT_H

#include "box.h"
#include "resolver.h"
#include "transfer.h"
#include "transfer_curl.h"

/* Header lines as curl wants them, in one block of the box's memory. */
typedef struct ab_lines {
    size_t bytes;            /* of the whole block */
    struct curl_slist *list; /* NULL: no lines */
    const char *text;        /* lines, each ended by a NUL */
    size_t text_bytes;
    int flags; /* those it was made with */
} ab_lines;

enum {
    AB_LINES_NO_CREDENTIALS = 1, /* leave out Authorization, Cookie */
    AB_LINES_NO_CONTENT = 2,     /* leave out Content-* */
    AB_LINES_BODY = 4,           /* for a request with a body: add what keeps
                                    curl from inventing headers */
    AB_LINES_AGENT = 8,          /* add the client's User-Agent, */
    AB_LINES_ENCODINGS = 16      /* and what we can decompress, where the text
                                    says nothing of them */
};

/* NULL: no memory. */
ab_lines *ab_lines_new(const ab_client *client, const char *text, size_t bytes,
                       int flags);
/* Those of all requests that bring none of their own; NULL: no memory. */
const ab_lines *ab_client_lines(ab_client *client);
void ab_lines_free(ab_box *box, ab_lines *lines);

#define AB_AGENT "User-Agent: "

/* A curl handle with its fixed options set; used over and over. */
struct ab_easy {
    CURL *curl;
    ab_client *client;
    ab_transfer *transfer;     /* who uses it, or NULL */
    ab_link link;              /* in client->idle */
    const ab_lines *lines;     /* as they are set, or NULL */
    CURLU *parts;              /* of the URL that it has */
    ab_bytes url;              /* which, with a NUL; no data: none */
    char *written;             /* as curl writes it; NULL: just so */
    int bent;                  /* has options that only a reset takes off */
    long total_ms, connect_ms; /* as they are set; 0: curl's default */
    int denied_port, proxy_port;
    int unix_file; /* of a sandbox's Unix socket while it is connected, or -1 */
    char proxy[AB_TRANSFER_HOST_MAX]; /* the host that it goes through, or "" */
    char denied[AB_TRANSFER_HOST_MAX];
    char error[CURL_ERROR_SIZE];
};

typedef struct ab_sock ab_sock;

typedef struct ab_naming ab_naming;

/* A name that curl has been told the addresses of. */
typedef struct ab_known_name {
    uint64_t key;
    int64_t until_ns;
} ab_known_name;
enum { AB_KNOWN_NAMES = 64 };

struct ab_client {
    ab_closer closer; /* first of all: box->closers */
    ab_box *box;
    const ab_curl *curl;
    ab_client **slot;
    CURLM *multi;
    uv_timer_t timer;
    uv_timer_t stall_timer; /* runs while a transfer with stall_ns is waited
                               for: transfer_stall.c */
    ab_link transfers;      /* not yet dropped */
    ab_link idle;           /* curl handles to be used again */
    unsigned idle_count;
    ab_sock **socks; /* by descriptor */
    size_t socks_size;
    size_t handles;   /* of libuv's, not yet closed: they keep it in memory */
    ab_bytes headers; /* what ab_client_headers was given */
    ab_lines *lines;  /* see ab_client_lines; NULL: not yet made */
    ab_settings *settings; /* or NULL */
    CURLSH *share;         /* with the cookies, or NULL */
    int cookies_seen;      /* how many came since they were counted */
    char *agent;           /* AB_AGENT and the user agent, or NULL */
    unsigned held; /* transfers that scripts hold and that are not done */
    int woken;     /* a task can go on */
    int closing;
    ab_known_name known[AB_KNOWN_NAMES]; /* by their key's last bits */
    int nudge;                           /* see ab_feed_nudge */
    unsigned feeds;                      /* transfers that have one */
};

/* A handle from the idle ones or a new one; NULL: no memory. */
ab_easy *ab_easy_take(ab_client *client, ab_transfer *t);
/* Not in the multi handle any more. */
void ab_easy_give(ab_easy *easy);

/* transfer_socket.c: curl's sockets as poll handles of the loop. */
int ab_sock_on_change(CURL *curl, curl_socket_t fd, int what, void *client,
                      void *unused);
curl_socket_t ab_sock_on_open(void *easy, curlsocktype purpose,
                              struct curl_sockaddr *address);
int ab_sock_on_close(void *client, curl_socket_t fd);
/* Closes the file of a Unix socket that was connected. */
void ab_sock_forget_file(ab_easy *easy);
/* Closes what curl has left. */
void ab_sock_sweep(ab_client *client);

/* The client's memory goes with the last handle of libuv's. */
void ab_client_release(ab_client *client);
/* After each call into curl: finishes what it has done. */
void ab_client_drain(ab_client *client);

/* transfer_name.c: 1: the name is being looked up, and then the transfer goes
 * on with ab_transfer_launch or is aborted; 0: no need to; or a code. */
int ab_naming_start(ab_transfer *t, const char *url);
/* It is not wanted any more. */
void ab_naming_end(ab_transfer *t);
/* Frees what curl was told; it has let go of the handle. */
void ab_naming_free(ab_transfer *t);
/* transfer.c: hands it to curl, with the time that is left.  0 or a code. */
int ab_transfer_launch(ab_transfer *t);

/* transfer_option.c: settings.  A copy in one block; NULL: no memory. */
ab_settings *ab_settings_new(ab_box *box, const ab_setting *list,
                             unsigned count);
void ab_settings_free(ab_box *box, ab_settings *settings);
/* Those of a client or of a request, for a handle.  0 or UV_ENOMEM. */
int ab_settings_apply(const ab_settings *settings, ab_easy *easy);
/* Those that depend on where it goes: the proxy.  0 or a code. */
int ab_settings_route(ab_transfer *t, const char *url);
/* Takes logins, cookies of the request and certificates off again. */
void ab_settings_withhold(ab_easy *easy);
/* The Unix socket that it talks to, whatever its URL says; NULL: none, or the
 * client is gone. */
const char *ab_settings_unix(const ab_transfer *t);
/* Is it led elsewhere, by a socket or by AB_SET_CONNECT_TO? */
int ab_settings_leads(const ab_transfer *t);
/* Is a compressed body asked for, and decompressed? */
int ab_settings_decompress(const ab_settings *own, const ab_settings *shared);
/* Does curl answer a 401 by itself? */
int ab_settings_is_digest(const ab_transfer *t);

/* transfer_url.c: from now on the handle goes there.  0, ASYNCBOX_EURL or
 * UV_ENOMEM. */
int ab_easy_aim(ab_easy *easy, const char *url);
/* Where it goes, as curl writes it; "": nowhere. */
const char *ab_easy_url(const ab_easy *easy);
void ab_easy_forget_url(ab_easy *easy);
/* The URL without user and password, to be freed with curl's free; NULL: no
 * URL, or no memory. */
char *ab_url_without_login(const ab_curl *curl, const char *url);

/* transfer_cookie.c: for a handle that is set up, and before it is reset or
 * freed; for a client that closes, whose handles are gone. */
int ab_cookies_set(ab_easy *easy);
void ab_cookies_unset(ab_easy *easy);
void ab_client_close_jar(ab_client *client);
/* Bounds their number, when client->cookies_seen says that there may be many.
 * Outside of curl's callbacks. */
void ab_cookies_shrink(ab_client *client);

/* transfer_feed.c: the transfer's side of an upload.  Its options; it is over
 * (as often as wanted). */
void ab_feed_attach(ab_transfer *t, ab_feed *feed);
int ab_feed_set(ab_transfer *t);
void ab_feed_detach(ab_transfer *t);
/* The server has answered before it has heard all.  Curl then wants no more,
 * but notices only when it is told to go on, which must be outside of its
 * callbacks: ab_feed_nudge, when client->nudge is set. */
void ab_feed_answered(ab_transfer *t);
/* Curl has lost interest in its socket.  While an upload rests, that is the
 * server's end of the connection, which it would only notice when it sends. */
void ab_feed_unheard(ab_client *client, CURL *curl);
void ab_feed_nudge(ab_client *client);

/* transfer.c: the DONE message; an end that curl did not find. */
void ab_transfer_done(ab_transfer *t, CURLcode code);
void ab_transfer_abort(ab_transfer *t, int code, const char *limit);
/* Gives up what belongs to the client. */
void ab_transfer_let_go(ab_transfer *t);
/* Keeps where it came from.  0 or UV_ENOMEM. */
int ab_transfer_keep_url(ab_transfer *t);

/* transfer_head.c: curl's callback (arg: the ab_easy). */
size_t ab_transfer_on_header(char *data, size_t one, size_t n, void *arg);
/* The head is whole, and the last one.  0 or UV_ENOMEM. */
int ab_transfer_head_ends(ab_transfer *t);
/* For callbacks: gives what makes curl end the transfer. */
size_t ab_transfer_refuse(ab_transfer *t, int code, const char *limit);
/* Remembers a response that leads to another one.  0 or UV_ENOMEM. */
int ab_transfer_keep_hop(ab_transfer *t);
void ab_transfer_free_hops(ab_transfer *t);

/* transfer_body.c */
size_t ab_transfer_on_body(char *data, size_t one, size_t n, void *arg);
int ab_bytes_add(ab_box *box, ab_bytes *bytes, const char *data, size_t n);
void ab_bytes_free(ab_box *box, ab_bytes *bytes);
/* Finishes the wait if it is over. */
void ab_transfer_tell(ab_transfer *t);
/* Both directions, as they shall be; curl knows only both at once. */
CURLcode ab_transfer_pause(ab_transfer *t, int receiving, int sending);
/* transfer_fault.c: the code for what curl reports. */
int ab_transfer_translate(const ab_transfer *t, CURLcode code);

/* transfer_stall.c: called when a wait begins. */
void ab_transfer_watch_stall(ab_transfer *t);

#endif
