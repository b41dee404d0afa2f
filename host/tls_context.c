/* tls_context.c - what the connections of one configuration share: an SSL_CTX
 * and, for clients, the sessions that can be resumed. */
#include "asyncbox.h"
#include "tls_state.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

/* What an SSL_CTX takes, as measured; the certificates come on top. */
#define CONTEXT_BYTES ((size_t)24 << 10)
#define SESSION_BYTES ((size_t)4 << 10)
enum { SESSIONS_MAX = 32 };

/* ---- sessions ---- */

static void free_session(ab_tls_context *c, ab_tls_session *s)
{
    c->o->SSL_SESSION_free(s->session);
    ab_limits_alloc(c->limits, s, sizeof *s + s->key_bytes, 0);
    ab_limits_discharge(c->limits, SESSION_BYTES);
}

static ab_tls_session *unlink_session(ab_tls_context *c, const char *key)
{
    for (ab_tls_session **at = &c->sessions; *at; at = &(*at)->next) {
        ab_tls_session *s = *at;
        if (strcmp(s->key, key) == 0) {
            *at = s->next;
            return s;
        }
    }
    return NULL;
}

static void drop_oldest(ab_tls_context *c)
{
    unsigned count = 0;
    for (ab_tls_session **at = &c->sessions; *at; at = &(*at)->next) {
        if (++count < SESSIONS_MAX)
            continue;
        ab_tls_session *s = *at;
        *at = NULL; /* there is never more than one too many */
        free_session(c, s);
        return;
    }
}

/* 1: the reference to the session is ours now. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    const ab_openssl *o = ab_openssl_open();
    ab_tls *tls = o->SSL_get_ex_data(ssl, 0);
    if (!tls || !tls->session_key)
        return 0;
    ab_tls_context *c = tls->context;
    ab_tls_session *old = unlink_session(c, tls->session_key);
    if (old)
        free_session(c, old);
    drop_oldest(c);
    size_t key_bytes = strlen(tls->session_key) + 1;
    if (!ab_limits_charge(c->limits, SESSION_BYTES))
        return 0;
    ab_tls_session *s =
        ab_limits_alloc(c->limits, NULL, 0, sizeof *s + key_bytes);
    if (!s) {
        ab_limits_discharge(c->limits, SESSION_BYTES);
        return 0;
    }
    s->session = session;
    s->key_bytes = key_bytes;
    memcpy(s->key, tls->session_key, key_bytes);
    s->next = c->sessions;
    c->sessions = s;
    return 1;
}

/* A ticket of TLS 1.3 should serve once (RFC 8446, C.4); the connection that
 * gets it brings a new one.  A session of 1.2 serves until it is too old. */
SSL_SESSION *ab_tls_session_take(ab_tls_context *c, const char *key)
{
    const ab_openssl *o = c->o;
    ab_tls_session *s = unlink_session(c, key);
    if (!s)
        return NULL;
    SSL_SESSION *session = s->session;
    if (!o->SSL_SESSION_is_resumable(session)) {
        free_session(c, s);
        return NULL;
    }
    o->SSL_SESSION_up_ref(session);
    if (o->SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION) {
        free_session(c, s);
    } else {
        s->next = c->sessions;
        c->sessions = s;
    }
    return session;
}

/* ---- whom to trust ---- */

static X509_STORE *system_store;

static void load_system_store(void)
{
    const ab_openssl *o = ab_openssl_open();
    X509_STORE *store = o->X509_STORE_new();
    if (store)
        o->X509_STORE_set_default_paths(store);
    o->ERR_clear_error();
    system_store = store;
}

/* Reads certificates one after the other: how many, or -1. */
static int each_cert(const ab_openssl *o, const char *pem,
                     int (*take)(const ab_openssl *, X509 *, int, void *),
                     void *arg)
{
    BIO *bio = o->BIO_new_mem_buf(pem, -1);
    if (!bio)
        return -1;
    int count = 0;
    X509 *cert;
    while ((cert = o->PEM_read_bio_X509(bio, NULL, NULL, (void *)""))) {
        int fine = take(o, cert, count, arg);
        o->X509_free(cert);
        if (!fine) {
            count = -1;
            break;
        }
        count++;
    }
    /* No further certificate is the end; anything else is a broken one. */
    unsigned long error = o->ERR_peek_last_error();
    if (count >= 0 && ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
        count = -1;
    o->ERR_clear_error();
    o->BIO_free(bio);
    return count;
}

typedef struct trust {
    X509_STORE *store;
    OPENSSL_STACK *names; /* NULL: not wanted */
} trust;

static int trust_cert(const ab_openssl *o, X509 *cert, int i, void *arg)
{
    (void)i;
    trust *t = arg;
    if (!o->X509_STORE_add_cert(t->store, cert))
        return 0;
    if (!t->names)
        return 1;
    X509_NAME *name = o->X509_NAME_dup(o->X509_get_subject_name(cert));
    if (name && o->OPENSSL_sk_push(t->names, name) > 0)
        return 1;
    o->X509_NAME_free(name);
    return 0;
}

static void free_name(void *name) { ab_openssl_open()->X509_NAME_free(name); }

/* A server tells its clients the names of whom it trusts, so that they find
 * the right certificate. */
static int set_trust(ab_tls_context *c, const char *ca,
                     char trouble[AB_TLS_TEXT])
{
    const ab_openssl *o = c->o;
    if (!ca) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, load_system_store);
        if (!system_store)
            return UV_ENOMEM;
        o->SSL_CTX_set1_cert_store(c->ctx, system_store);
        return 0;
    }
    trust t = {o->X509_STORE_new(), NULL};
    if (c->side == AB_TLS_SERVER)
        t.names = o->OPENSSL_sk_new_null();
    int count = -1;
    if (t.store && (t.names || c->side == AB_TLS_CLIENT)) {
        /* Whoever is named is trusted, also one that is no authority. */
        o->X509_STORE_set_flags(t.store, X509_V_FLAG_PARTIAL_CHAIN);
        count = each_cert(o, ca, trust_cert, &t);
    }
    if (count > 0) {
        o->SSL_CTX_set1_cert_store(c->ctx, t.store);
        if (t.names)
            o->SSL_CTX_set_client_CA_list(c->ctx,
                                          (STACK_OF(X509_NAME) *)t.names);
    } else if (t.names) {
        o->OPENSSL_sk_pop_free(t.names, free_name);
    }
    o->X509_STORE_free(t.store);
    if (count > 0)
        return 0;
    snprintf(trouble, AB_TLS_TEXT,
             count ? "ca: cannot read a certificate in it"
                   : "ca: there is no certificate in it (in PEM form)");
    return UV_EINVAL;
}

/* ---- the own certificate ---- */

static int own_cert(const ab_openssl *o, X509 *cert, int i, void *arg)
{
    ab_tls_context *c = arg;
    if (i == 0)
        return o->SSL_CTX_use_certificate(c->ctx, cert) == 1;
    return o->SSL_CTX_ctrl(c->ctx, SSL_CTRL_CHAIN_CERT, 1, cert) == 1;
}

/* Without this OpenSSL would ask for it at the terminal. */
static int on_password(char *into, int room, int writing, void *arg)
{
    (void)writing;
    const char *password = arg;
    size_t len = password ? strlen(password) : 0;
    if (!password || room < 0 || len > (size_t)room)
        return -1;
    memcpy(into, password, len);
    return (int)len;
}

static int set_key(ab_tls_context *c, const ab_tls_settings *settings,
                   char trouble[AB_TLS_TEXT])
{
    const ab_openssl *o = c->o;
    const char *pem = settings->key ? settings->key : settings->cert;
    BIO *bio = o->BIO_new_mem_buf(pem, -1);
    if (!bio)
        return UV_ENOMEM;
    EVP_PKEY *key = o->PEM_read_bio_PrivateKey(bio, NULL, on_password,
                                               (void *)settings->password);
    o->BIO_free(bio);
    const char *what = NULL;
    if (!key && strstr(pem, "ENCRYPTED"))
        what = settings->password
                   ? "key: it does not open with this key_password"
                   : "key: it is encrypted, and there is no key_password";
    else if (!key)
        what = "key: there is no private key in it (in PEM form)";
    else if (o->SSL_CTX_use_PrivateKey(c->ctx, key) != 1 ||
             o->SSL_CTX_check_private_key(c->ctx) != 1)
        what = "key: it does not belong to the certificate";
    o->EVP_PKEY_free(key);
    o->ERR_clear_error();
    if (!what)
        return 0;
    snprintf(trouble, AB_TLS_TEXT, "%s", what);
    return UV_EINVAL;
}

static int set_own(ab_tls_context *c, const ab_tls_settings *settings,
                   char trouble[AB_TLS_TEXT])
{
    if (!settings->cert) {
        if (c->side == AB_TLS_CLIENT && !settings->key)
            return 0;
        snprintf(trouble, AB_TLS_TEXT,
                 c->side == AB_TLS_CLIENT
                     ? "key: there is no certificate (cert) with it"
                     : "cert: a server needs a certificate");
        return UV_EINVAL;
    }
    int count = each_cert(c->o, settings->cert, own_cert, c);
    if (count > 0)
        return set_key(c, settings, trouble);
    snprintf(trouble, AB_TLS_TEXT,
             count ? "cert: cannot use the certificate in it (broken, or too "
                     "weak a key)"
                   : "cert: there is no certificate in it (in PEM form)");
    return UV_EINVAL;
}

/* ---- the rest ---- */

/* What the server likes best of what both speak; none is the end (RFC 7301,
 * 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *bytes,
                   const unsigned char *theirs, unsigned theirs_bytes,
                   void *arg)
{
    (void)ssl;
    const ab_tls_context *c = arg;
    unsigned char *chosen = NULL;
    if (c->o->SSL_select_next_proto(&chosen, bytes, c->alpn,
                                    (unsigned)c->alpn_bytes, theirs,
                                    theirs_bytes) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int version_number(int version, int otherwise)
{
    return version == 12   ? TLS1_2_VERSION
           : version == 13 ? TLS1_3_VERSION
                           : otherwise;
}

static int set_up(ab_tls_context *c, const ab_tls_settings *settings)
{
    static const unsigned char id[] = "asyncbox";
    const ab_openssl *o = c->o;
    SSL_CTX *ctx = c->ctx;
    o->SSL_CTX_set_options(ctx,
                           SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    o->SSL_CTX_ctrl(ctx, SSL_CTRL_MODE,
                    SSL_MODE_ENABLE_PARTIAL_WRITE |
                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                        SSL_MODE_RELEASE_BUFFERS,
                    NULL);
    o->SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION,
                    version_number(settings->min_version, TLS1_2_VERSION),
                    NULL);
    o->SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MAX_PROTO_VERSION,
                    version_number(settings->max_version, 0), NULL);
    /* A server keeps nothing: its clients keep tickets.  A client's sessions
     * are kept by on_new_session. */
    int client = c->side == AB_TLS_CLIENT;
    o->SSL_CTX_ctrl(ctx, SSL_CTRL_SET_SESS_CACHE_MODE,
                    client ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
                           : SSL_SESS_CACHE_OFF,
                    NULL);
    if (client)
        o->SSL_CTX_sess_set_new_cb(ctx, on_new_session);
    else
        o->SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1);
    if (settings->verify != AB_TLS_VERIFY_NONE) {
        int mode = SSL_VERIFY_PEER;
        if (!client && settings->verify == AB_TLS_VERIFY_REQUIRED)
            mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
        o->SSL_CTX_set_verify(ctx, mode, ab_tls_on_verify);
    }
    if (!settings->alpn_bytes)
        return 0;
    if (!client) {
        memcpy(c->alpn, settings->alpn, settings->alpn_bytes);
        o->SSL_CTX_set_alpn_select_cb(ctx, on_alpn, c);
        return 0;
    }
    /* The one function of OpenSSL that gives 0 when all is well. */
    return o->SSL_CTX_set_alpn_protos(ctx,
                                      (const unsigned char *)settings->alpn,
                                      (unsigned)settings->alpn_bytes)
               ? UV_EINVAL
               : 0;
}

/* ---- life ---- */

static int fill(ab_tls_context *c, const ab_tls_settings *settings,
                char trouble[AB_TLS_TEXT])
{
    const ab_openssl *o = c->o;
    int client = c->side == AB_TLS_CLIENT;
    c->ctx = o->SSL_CTX_new(client ? o->TLS_client_method()
                                   : o->TLS_server_method());
    if (!c->ctx)
        return UV_ENOMEM;
    int err = set_up(c, settings);
    if (!err && c->verify != AB_TLS_VERIFY_NONE)
        err = set_trust(c, settings->ca, trouble);
    if (!err)
        err = set_own(c, settings, trouble);
    return err;
}

int ab_tls_context_new(const ab_tls_settings *settings, ab_limits *limits,
                       ab_tls_context **out, char trouble[AB_TLS_TEXT])
{
    const ab_openssl *o = ab_openssl_open();
    *trouble = '\0';
    if (!o) {
        snprintf(trouble, AB_TLS_TEXT, "no OpenSSL: %s", ab_openssl_trouble());
        return UV_ENOTSUP;
    }
    if (!ab_limits_charge(limits, CONTEXT_BYTES))
        return UV_ENOMEM;
    size_t bytes = sizeof(ab_tls_context) + settings->alpn_bytes;
    ab_tls_context *c = ab_limits_alloc(limits, NULL, 0, bytes);
    if (!c) {
        ab_limits_discharge(limits, CONTEXT_BYTES);
        return UV_ENOMEM;
    }
    memset(c, 0, bytes);
    c->o = o;
    c->limits = limits;
    c->refs = 1;
    c->side = settings->side;
    c->verify = settings->verify;
    c->alpn_bytes = settings->alpn_bytes;
    o->ERR_clear_error();
    int err = fill(c, settings, trouble);
    if (err) {
        ab_tls_context_unref(c);
        return err;
    }
    *out = c;
    return 0;
}

void ab_tls_context_ref(ab_tls_context *c) { c->refs++; }

void ab_tls_context_unref(ab_tls_context *c)
{
    if (--c->refs)
        return;
    while (c->sessions) {
        ab_tls_session *s = c->sessions;
        c->sessions = s->next;
        free_session(c, s);
    }
    c->o->SSL_CTX_free(c->ctx);
    c->o->ERR_clear_error();
    ab_limits *limits = c->limits;
    ab_limits_alloc(limits, c, sizeof *c + c->alpn_bytes, 0);
    ab_limits_discharge(limits, CONTEXT_BYTES);
}
