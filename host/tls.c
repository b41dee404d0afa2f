/* tls.c - one TLS connection over OpenSSL, with a BIO of our own instead of
 * OpenSSL's memory BIOs: input is read where the caller has it, output lies in
 * the box's memory and is counted there. */
#include "tls.h"
#include "asyncbox.h"
#include "tls_state.h"
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

/* The longest record's plain text, and the most that a record adds to it:
 * header, nonce, padding, authentication code (RFC 5246, 6.2.3). */
#define RECORD ((size_t)16384)
#define RECORD_EXTRA ((size_t)128)
/* What OpenSSL may write besides: alerts, answers to key updates. */
#define CHATTER ((size_t)512)
#define OUT_STEP ((size_t)256)
#define OUT_MAX ((size_t)4 << 20)

/* What one connection has OpenSSL allocate, as measured (spec/c/tls_spec.c
 * prints it).  OpenSSL's allocator is the process's, so it is an estimate. */
#define CONNECTION_BYTES ((size_t)24 << 10)

/* ---- output ---- */

/* Room for so many more bytes. */
static int reserve(ab_tls *tls, size_t bytes)
{
    if (tls->out_pos == tls->out_len)
        tls->out_pos = tls->out_len = 0;
    size_t need = tls->out_len + bytes, cap = tls->out_cap;
    if (need <= cap)
        return 1;
    if (need > OUT_MAX)
        return 0;
    cap += cap / 2; /* in a handshake it grows by and by */
    if (cap < need)
        cap = (need + OUT_STEP - 1) / OUT_STEP * OUT_STEP;
    char *out =
        ab_limits_alloc(tls->context->limits, tls->out, tls->out_cap, cap);
    if (!out)
        return 0;
    tls->out = out;
    tls->out_cap = cap;
    return 1;
}

static void free_output(ab_tls *tls)
{
    if (tls->out)
        ab_limits_alloc(tls->context->limits, tls->out, tls->out_cap, 0);
    tls->out = NULL;
    tls->out_cap = tls->out_pos = tls->out_len = 0;
}

const char *ab_tls_output(const ab_tls *tls, size_t *bytes)
{
    *bytes = tls->out_len - tls->out_pos;
    return *bytes ? tls->out + tls->out_pos : NULL;
}

/* A connection that is idle keeps no buffer. */
void ab_tls_output_done(ab_tls *tls, size_t bytes)
{
    tls->out_pos += bytes;
    if (tls->out_pos == tls->out_len)
        free_output(tls);
}

/* ---- the BIO ---- */

static int bio_read(BIO *bio, char *into, int bytes)
{
    const ab_openssl *o = ab_openssl_open();
    ab_tls *tls = o->BIO_get_data(bio);
    o->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (bytes <= 0)
        return 0;
    if (!tls->in_left) {
        o->BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
        return -1;
    }
    size_t n = (size_t)bytes < tls->in_left ? (size_t)bytes : tls->in_left;
    memcpy(into, tls->in, n);
    tls->in += n;
    tls->in_left -= n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *data, int bytes)
{
    const ab_openssl *o = ab_openssl_open();
    ab_tls *tls = o->BIO_get_data(bio);
    o->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (bytes <= 0)
        return 0;
    if (!reserve(tls, (size_t)bytes)) {
        tls->no_memory = 1;
        return -1;
    }
    memcpy(tls->out + tls->out_len, data, (size_t)bytes);
    tls->out_len += (size_t)bytes;
    return bytes;
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void make_method(void)
{
    const ab_openssl *o = ab_openssl_open();
    BIO_METHOD *made = o->BIO_meth_new(
        o->BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "asyncbox");
    if (!made)
        return;
    o->BIO_meth_set_read(made, bio_read);
    o->BIO_meth_set_write(made, bio_write);
    o->BIO_meth_set_ctrl(made, bio_ctrl);
    method = made;
}

/* The BIO of a connection: its input and output.  NULL: no memory. */
static BIO *bio_new(ab_tls *tls)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    const ab_openssl *o = tls->context->o;
    BIO *bio = method ? o->BIO_new(method) : NULL;
    if (!bio)
        return NULL;
    o->BIO_set_data(bio, tls);
    o->BIO_set_init(bio, 1);
    return bio;
}

/* ---- life ---- */

static char *copy_text(ab_limits *limits, const char *text, size_t len)
{
    char *copy = ab_limits_alloc(limits, NULL, 0, len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

static void free_text(ab_limits *limits, char *text)
{
    if (text)
        ab_limits_alloc(limits, text, strlen(text) + 1, 0);
}

static int is_address(const char *name)
{
    unsigned char bytes[16];
    return uv_inet_pton(AF_INET, name, bytes) == 0 ||
           uv_inet_pton(AF_INET6, name, bytes) == 0;
}

/* Tells the server whom we want, and OpenSSL whom we accept. */
static int set_name(ab_tls *tls, const char *name)
{
    const ab_openssl *o = tls->context->o;
    int verify = tls->context->verify != AB_TLS_VERIFY_NONE;
    if (is_address(name)) {
        if (verify && !o->X509_VERIFY_PARAM_set1_ip_asc(
                          o->SSL_get0_param(tls->ssl), name))
            return UV_EINVAL;
    } else {
        if (!*name || strlen(name) > TLSEXT_MAXLEN_host_name)
            return UV_EINVAL;
        o->SSL_set_hostflags(tls->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (verify && !o->SSL_set1_host(tls->ssl, name))
            return UV_EINVAL;
        if (o->SSL_ctrl(tls->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME,
                        TLSEXT_NAMETYPE_host_name, (void *)name) != 1)
            return UV_EINVAL;
    }
    return 0;
}

static int prepare_client(ab_tls *tls, const char *name,
                          const char *session_key)
{
    ab_tls_context *context = tls->context;
    const ab_openssl *o = context->o;
    o->SSL_set_connect_state(tls->ssl);
    if (name) {
        /* Servers and certificates don't write the dot of a full name. */
        size_t len = strlen(name);
        if (len > 1 && name[len - 1] == '.')
            len--;
        if (!(tls->name = copy_text(context->limits, name, len)))
            return UV_ENOMEM;
        int err = set_name(tls, tls->name);
        if (err)
            return err;
    }
    if (!session_key)
        return 0;
    if (!(tls->session_key =
              copy_text(context->limits, session_key, strlen(session_key))))
        return UV_ENOMEM;
    SSL_SESSION *session = ab_tls_session_take(context, session_key);
    if (session) {
        o->SSL_set_session(tls->ssl, session);
        o->SSL_SESSION_free(session);
    }
    return 0;
}

static int prepare(ab_tls *tls, const char *name, const char *session_key)
{
    const ab_openssl *o = tls->context->o;
    BIO *bio = NULL;
    tls->ssl = o->SSL_new(tls->context->ctx);
    if (tls->ssl)
        bio = bio_new(tls);
    if (!bio)
        return UV_ENOMEM;
    o->SSL_set_bio(tls->ssl, bio, bio);
    if (o->SSL_set_ex_data(tls->ssl, 0, tls) != 1)
        return UV_ENOMEM;
    if (tls->context->side == AB_TLS_CLIENT)
        return prepare_client(tls, name, session_key);
    o->SSL_set_accept_state(tls->ssl);
    return 0;
}

int ab_tls_new(ab_tls_context *context, const char *name,
               const char *session_key, ab_tls **out)
{
    ab_limits *limits = context->limits;
    if (!ab_limits_charge(limits, CONNECTION_BYTES))
        return UV_ENOMEM;
    ab_tls *tls = ab_limits_alloc(limits, NULL, 0, sizeof *tls);
    if (!tls) {
        ab_limits_discharge(limits, CONNECTION_BYTES);
        return UV_ENOMEM;
    }
    memset(tls, 0, sizeof *tls);
    tls->context = context;
    ab_tls_context_ref(context);
    context->o->ERR_clear_error();
    int err = prepare(tls, name, session_key);
    if (err) {
        ab_tls_free(tls);
        return err;
    }
    *out = tls;
    return 0;
}

void ab_tls_free(ab_tls *tls)
{
    ab_tls_context *context = tls->context;
    ab_limits *limits = context->limits;
    if (tls->ssl) {
        /* Else OpenSSL takes it for broken off and forgets the session. */
        if (tls->shaken && tls->failed != ASYNCBOX_ETLS)
            context->o->SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN |
                                                       SSL_RECEIVED_SHUTDOWN);
        context->o->SSL_free(tls->ssl); /* and the BIO */
    }
    context->o->ERR_clear_error();
    free_output(tls);
    free_text(limits, tls->session_key);
    free_text(limits, tls->name);
    ab_limits_alloc(limits, tls, sizeof *tls, 0);
    ab_limits_discharge(limits, CONNECTION_BYTES);
    ab_tls_context_unref(context);
}

/* ---- a failure ---- */

static int fail(ab_tls *tls, int code, const char *trouble)
{
    tls->failed = code;
    if (trouble)
        snprintf(tls->trouble, sizeof tls->trouble, "%s", trouble);
    return code;
}

/* What a call of OpenSSL that gave `result` means: 0 wants more input, UV_EOF,
 * or a code. */
static int settle(ab_tls *tls, int result)
{
    const ab_openssl *o = tls->context->o;
    int error = o->SSL_get_error(tls->ssl, result);
    if (tls->no_memory)
        return fail(tls, UV_ENOMEM, NULL);
    switch (error) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return UV_EOF;
    default:
        /* The verification has left better words than OpenSSL's. */
        if (!*tls->trouble)
            ab_tls_explain(o, tls->trouble);
        o->ERR_clear_error();
        return fail(tls, ASYNCBOX_ETLS, NULL);
    }
}

const char *ab_tls_trouble(const ab_tls *tls) { return tls->trouble; }

/* ---- input ---- */

void ab_tls_input(ab_tls *tls, const char *data, size_t bytes)
{
    tls->in = data;
    tls->in_left = bytes;
}

size_t ab_tls_input_left(const ab_tls *tls) { return tls->in_left; }

int ab_tls_input_end(ab_tls *tls)
{
    if (tls->failed)
        return tls->failed;
    if (!tls->shaken)
        return fail(tls, ASYNCBOX_ETLS,
                    "the connection ended in the middle of the TLS handshake");
    /* Not for good: what there is to say may still be heard. */
    snprintf(tls->trouble, sizeof tls->trouble,
             "the connection ended without TLS's notice that all was sent "
             "(close_notify): something may be missing");
    return ASYNCBOX_ETRUNCATED;
}

/* ---- the work ---- */

int ab_tls_handshake(ab_tls *tls)
{
    if (tls->failed)
        return tls->failed;
    if (tls->shaken)
        return 1;
    const ab_openssl *o = tls->context->o;
    o->ERR_clear_error();
    int result = o->SSL_do_handshake(tls->ssl);
    if (result == 1) {
        *tls->trouble = '\0';
        tls->shaken = 1;
        return 1;
    }
    int code = settle(tls, result);
    return code == UV_EOF ? fail(tls, ASYNCBOX_ETLS,
                                 "the other side broke off the TLS handshake")
                          : code;
}

int ab_tls_read(ab_tls *tls, char *into, size_t room, size_t *got)
{
    *got = 0;
    if (tls->failed)
        return tls->failed;
    const ab_openssl *o = tls->context->o;
    while (*got < room) {
        size_t now = room - *got < INT_MAX ? room - *got : INT_MAX;
        o->ERR_clear_error();
        int n = o->SSL_read(tls->ssl, into + *got, (int)now);
        if (n > 0) {
            *got += (size_t)n;
            continue;
        }
        int code = settle(tls, n);
        /* What came before the end or the failure is given first. */
        return *got && code ? 0 : code;
    }
    return 0;
}

int ab_tls_write(ab_tls *tls, const char *data, size_t bytes)
{
    if (tls->failed)
        return tls->failed;
    const ab_openssl *o = tls->context->o;
    /* OpenSSL must never be told to try again: it would insist on these very
     * bytes, and the task that writes them may be cancelled. */
    if (bytes > OUT_MAX / 2 ||
        !reserve(tls, bytes + (bytes / RECORD + 1) * RECORD_EXTRA + CHATTER))
        return UV_ENOMEM;
    while (bytes) {
        size_t now = bytes < RECORD ? bytes : RECORD;
        o->ERR_clear_error();
        int n = o->SSL_write(tls->ssl, data, (int)now);
        if (n <= 0) {
            int code = settle(tls, n);
            return code < 0 && code != UV_EOF
                       ? code
                       : fail(tls, ASYNCBOX_ETLS, "nothing can be written");
        }
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

void ab_tls_shutdown(ab_tls *tls)
{
    if (tls->failed || !tls->shaken || tls->shut)
        return;
    tls->shut = 1;
    tls->context->o->ERR_clear_error();
    tls->context->o->SSL_shutdown(tls->ssl);
    tls->context->o->ERR_clear_error();
    tls->no_memory = 0;
}
