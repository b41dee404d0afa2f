/* tls_state.h - what host/tls*.c know of each other; nobody else includes it.
 */
#ifndef AB_TLS_STATE_H
#define AB_TLS_STATE_H

#include "tls.h"
#include "tls_openssl.h"

typedef struct ab_tls_session {
    struct ab_tls_session *next;
    SSL_SESSION *session;
    size_t key_bytes; /* with the NUL */
    char key[];
} ab_tls_session;

struct ab_tls_context {
    const ab_openssl *o;
    ab_limits *limits;
    SSL_CTX *ctx;
    int refs; /* the maker, each connection */
    ab_tls_side side;
    ab_tls_verify verify;
    ab_tls_session *sessions; /* newest first */
    size_t alpn_bytes;
    unsigned char alpn[]; /* server: what it speaks, best first */
};

struct ab_tls {
    ab_tls_context *context;
    SSL *ssl;
    const char *in; /* the caller's; what is left of it */
    size_t in_left;
    char *out; /* out[out_pos .. out_len) is to be sent */
    size_t out_cap, out_pos, out_len;
    char *session_key; /* NULL: none */
    char *name;        /* NULL: none */
    int failed;        /* the code, which stays */
    unsigned shaken : 1;
    unsigned no_memory : 1; /* for the output */
    unsigned shut : 1;      /* close_notify was written */
    char trouble[AB_TLS_TEXT];
};

/* ---- tls_context.c ---- */

/* The newest session for this key, taken out if it may serve only once; the
 * caller frees its reference.  NULL: none. */
SSL_SESSION *ab_tls_session_take(ab_tls_context *context, const char *key);

/* ---- tls_trouble.c ---- */

/* Keeps in words why the verification failed.  For SSL_CTX_set_verify. */
int ab_tls_on_verify(int ok, X509_STORE_CTX *chain);
/* Empties OpenSSL's queue of errors and gives words for it. */
void ab_tls_explain(const ab_openssl *o, char trouble[AB_TLS_TEXT]);

/* ---- tls_peer.c ---- */

void ab_tls_name_text(const ab_openssl *o, const X509_NAME *name, char *out,
                      size_t bytes);
/* "2026-11-21T16:00:00Z", "" for a time that cannot be read. */
void ab_tls_time_text(const ab_openssl *o, const ASN1_TIME *time, char out[24]);
/* The names and addresses that a certificate is for, `between` them. */
void ab_tls_names_text(const ab_openssl *o, const X509 *cert,
                       const char *between, char *out, size_t bytes);

#endif
