/* transfer_option.h - what most transfers have not set: proxies, logins,
 * cookies, TLS, other ways to connect.
 *
 * A setting is a key and a value.  Those of a client hold for all of its
 * transfers, those of a request come on top of them.  A transfer without any
 * costs nothing. */
#ifndef AB_TRANSFER_OPTION_H
#define AB_TRANSFER_OPTION_H

#include <stddef.h>

/* The value is text without NUL, or a number where it says so. */
typedef enum ab_setting_key {
    AB_SET_PROXY,       /* of http URLs: "scheme://[user:password@]host:port",
                           scheme http, https or socks5h; "": none */
    AB_SET_PROXY_TLS,   /* the same for https URLs */
    AB_SET_NO_PROXY,    /* who is reached without: "a.org,.b.org,10.0.0.0/8";
                           "*": everybody */
    AB_SET_UNIX_SOCKET, /* a path; "": none */
    AB_SET_CONNECT_TO,  /* "host:port:address:port"; may come repeatedly */
    AB_SET_USER,        /* with the next one, for digest authentication */
    AB_SET_PASSWORD,
    AB_SET_COOKIE, /* "a=b; c=d", sent besides those of the jar */
    AB_SET_CA,     /* PEM: who may sign certificates */
    AB_SET_CERT,   /* PEM: our own */
    AB_SET_KEY,    /* PEM: its key */
    AB_SET_KEY_PASSWORD,
    AB_SET_VERIFY,     /* number; 0: whatever certificate there is */
    AB_SET_HTTP2,      /* number; one of AB_HTTP2_ */
    AB_SET_DECOMPRESS, /* number; 0: the body as it is sent */
    AB_SET_JAR,        /* number; 0: not the client's cookies */
    AB_SET_KEYS
} ab_setting_key;

enum {
    AB_HTTP2_NEVER,
    AB_HTTP2_OFFER, /* to servers that speak TLS: what is done by default */
    AB_HTTP2_SHARE, /* the same, and fetches to one host wait for a connection
                       that they can share */
    AB_HTTP2_PRIOR  /* also without TLS: the server is known to speak it */
};

typedef struct ab_setting {
    ab_setting_key key;
    const char *text; /* NULL: a number */
    size_t bytes;     /* of text, without a NUL at its end */
    long number;
} ab_setting;

#endif
