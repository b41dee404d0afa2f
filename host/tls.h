/* tls.h - TLS as an engine without input or output: cipher text in, cipher text
 * out, plain text in, plain text out.  Who has a connection moves the bytes.
 *
 *   tls.c           one connection
 *   tls_context.c   what many connections share: certificates, trust, sessions
 *   tls_trouble.c   what a failure means, in words for people
 *   tls_peer.c      what is to be told of a connection and of a certificate
 *   tls_openssl.c   OpenSSL, opened when the first context is made
 *
 * Nothing here knows Lua.  One thread at a time for a context and all its
 * connections.  Texts are PEM with a NUL at the end. */
#ifndef AB_TLS_H
#define AB_TLS_H

#include "limit.h"
#include <stddef.h>
#include <stdint.h>

enum { AB_TLS_TEXT = 384 }; /* bytes of a text for people */

typedef enum ab_tls_side { AB_TLS_CLIENT, AB_TLS_SERVER } ab_tls_side;

/* Must the other side prove who it is? */
typedef enum ab_tls_verify {
    AB_TLS_VERIFY_NONE,
    AB_TLS_VERIFY_OPTIONAL, /* server: a client without a certificate is fine */
    AB_TLS_VERIFY_REQUIRED
} ab_tls_verify;

typedef struct ab_tls_settings {
    ab_tls_side side;
    ab_tls_verify verify;
    const char *ca;       /* who is trusted; NULL: whom the system trusts */
    const char *cert;     /* own certificate and its chain; NULL: none */
    const char *key;      /* NULL: stands in cert */
    const char *password; /* of the key; NULL: it has none */
    const char *alpn;     /* as on the wire: a length byte, a name, ... */
    size_t alpn_bytes;
    int min_version, max_version; /* 12, 13; 0: what there is from 1.2 on */
} ab_tls_settings;

typedef struct ab_tls_context ab_tls_context;
typedef struct ab_tls ab_tls;

/* Makes a context with one reference.  0; UV_EINVAL: something in the settings
 * is wrong; ASYNCBOX_ENOTSUP: no OpenSSL; UV_ENOMEM; and `trouble` says what.
 * Memory is counted in `limits`, which must outlive it. */
int ab_tls_context_new(const ab_tls_settings *settings, ab_limits *limits,
                       ab_tls_context **out, char trouble[AB_TLS_TEXT]);
void ab_tls_context_ref(ab_tls_context *context);
void ab_tls_context_unref(ab_tls_context *context);

/* Makes one connection, which holds a reference to the context.
 *   name         whom to reach: a host name or an address as text.  A client
 *                tells it to the server (a name only) and, if it verifies,
 *                accepts a certificate for it only.  NULL: nobody by name.
 *   session_key  sessions are resumed among connections with the same key; to
 *                be made of the name and what else tells servers apart.  NULL:
 *                never.
 * 0, UV_EINVAL (a name that cannot be one), UV_ENOMEM. */
int ab_tls_new(ab_tls_context *context, const char *name,
               const char *session_key, ab_tls **out);
void ab_tls_free(ab_tls *tls);

/* Cipher text from the other side.  The bytes stay the caller's and must stay
 * where they are until the engine has taken all of them, which it has when
 * handshake or read says that it wants more. */
void ab_tls_input(ab_tls *tls, const char *data, size_t bytes);
size_t ab_tls_input_left(const ab_tls *tls);
/* No more will come.  0: the other side had said so itself, all has arrived;
 * ASYNCBOX_ETRUNCATED: it had not; ASYNCBOX_ETLS: in the handshake. */
int ab_tls_input_end(ab_tls *tls);

/* Cipher text for the other side: after each call below some may be there, and
 * also (an alert) when it failed.  NULL and 0: none. */
const char *ab_tls_output(const ab_tls *tls, size_t *bytes);
void ab_tls_output_done(ab_tls *tls, size_t bytes); /* that many are sent */

/* Goes on with the handshake.  1: done, 0: wants more input, or a code. */
int ab_tls_handshake(ab_tls *tls);

/* Plain text from the other side, at most `room` bytes.  0 and *got: some, or
 * (0) more input is wanted; UV_EOF: the other side has ended its direction;
 * or a code, which stays. */
int ab_tls_read(ab_tls *tls, char *into, size_t room, size_t *got);

/* Plain text for the other side, all of it: the output grows by a little more.
 * 0 or a code; UV_ENOMEM leaves everything as it was. */
int ab_tls_write(ab_tls *tls, const char *data, size_t bytes);

/* Ends the own direction: the output has the notice (close_notify). */
void ab_tls_shutdown(ab_tls *tls);

/* What the last failure means; "" when there was none. */
const char *ab_tls_trouble(const ab_tls *tls);

/* ---- what is to be told (tls_peer.c) ---- */

typedef struct ab_tls_info {
    const char *version; /* "TLSv1.3" */
    const char *cipher;
    const char *alpn; /* not ended by NUL; NULL: none was agreed on */
    size_t alpn_bytes;
    const char *server_name; /* NULL: none was told */
    int resumed;
} ab_tls_info;

/* Good until the next call of the engine. */
void ab_tls_describe(const ab_tls *tls, ab_tls_info *info);

typedef struct ab_tls_certificate {
    char subject[AB_TLS_TEXT], issuer[AB_TLS_TEXT]; /* "CN=a,O=b" */
    char names[1024];                               /* one a line, may be cut */
    char valid_from[24], valid_until[24];           /* "2026-11-21T16:00:00Z" */
    char fingerprint[65]; /* SHA-256 in hexadecimal digits */
} ab_tls_certificate;

/* The other side's own certificate.  0: it gave none. */
int ab_tls_peer(const ab_tls *tls, ab_tls_certificate *out);

#endif
