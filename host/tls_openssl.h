/* tls_openssl.h - OpenSSL as one table of functions, opened on first use.
 *
 * Only host/tls*.c include this.  What OpenSSL's headers give as a macro over
 * a ..._ctrl function is called through that function. */
#ifndef AB_TLS_OPENSSL_H
#define AB_TLS_OPENSSL_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* name, result, arguments */
#define AB_OPENSSL_FUNCTIONS(X)                                                \
    X(ASN1_STRING_get0_data, const unsigned char *, (const ASN1_STRING *s))    \
    X(ASN1_STRING_length, int, (const ASN1_STRING *s))                         \
    X(ASN1_TIME_to_tm, int, (const ASN1_TIME *time, struct tm *out))           \
    X(BIO_clear_flags, void, (BIO * bio, int flags))                           \
    X(BIO_ctrl, long, (BIO * bio, int what, long number, void *pointer))       \
    X(BIO_free, int, (BIO * bio))                                              \
    X(BIO_get_data, void *, (BIO * bio))                                       \
    X(BIO_get_new_index, int, (void))                                          \
    X(BIO_meth_new, BIO_METHOD *, (int type, const char *name))                \
    X(BIO_meth_set_ctrl, int,                                                  \
      (BIO_METHOD * method, long (*f)(BIO *, int, long, void *)))              \
    X(BIO_meth_set_read, int,                                                  \
      (BIO_METHOD * method, int (*f)(BIO *, char *, int)))                     \
    X(BIO_meth_set_write, int,                                                 \
      (BIO_METHOD * method, int (*f)(BIO *, const char *, int)))               \
    X(BIO_new, BIO *, (const BIO_METHOD *method))                              \
    X(BIO_new_mem_buf, BIO *, (const void *data, int bytes))                   \
    X(BIO_read, int, (BIO * bio, void *into, int bytes))                       \
    X(BIO_s_mem, const BIO_METHOD *, (void))                                   \
    X(BIO_set_data, void, (BIO * bio, void *data))                             \
    X(BIO_set_flags, void, (BIO * bio, int flags))                             \
    X(BIO_set_init, void, (BIO * bio, int init))                               \
    X(ERR_clear_error, void, (void))                                           \
    X(ERR_get_error, unsigned long, (void))                                    \
    X(ERR_peek_last_error, unsigned long, (void))                              \
    X(ERR_reason_error_string, const char *, (unsigned long code))             \
    X(EVP_PKEY_free, void, (EVP_PKEY * key))                                   \
    X(EVP_sha256, const EVP_MD *, (void))                                      \
    X(GENERAL_NAMES_free, void, (GENERAL_NAMES * names))                       \
    X(OPENSSL_init_ssl, int,                                                   \
      (uint64_t options, const OPENSSL_INIT_SETTINGS *settings))               \
    X(OPENSSL_sk_new_null, OPENSSL_STACK *, (void))                            \
    X(OPENSSL_sk_num, int, (const OPENSSL_STACK *stack))                       \
    X(OPENSSL_sk_pop_free, void, (OPENSSL_STACK * stack, void (*f)(void *)))   \
    X(OPENSSL_sk_push, int, (OPENSSL_STACK * stack, const void *value))        \
    X(OPENSSL_sk_value, void *, (const OPENSSL_STACK *stack, int i))           \
    X(PEM_read_bio_PrivateKey, EVP_PKEY *,                                     \
      (BIO * bio, EVP_PKEY * *key, pem_password_cb * password, void *arg))     \
    X(PEM_read_bio_X509, X509 *,                                               \
      (BIO * bio, X509 * *cert, pem_password_cb * password, void *arg))        \
    X(SSL_CIPHER_get_name, const char *, (const SSL_CIPHER *cipher))           \
    X(SSL_CTX_check_private_key, int, (const SSL_CTX *ctx))                    \
    X(SSL_CTX_ctrl, long, (SSL_CTX * ctx, int what, long number, void *p))     \
    X(SSL_CTX_free, void, (SSL_CTX * ctx))                                     \
    X(SSL_CTX_new, SSL_CTX *, (const SSL_METHOD *method))                      \
    X(SSL_CTX_sess_set_new_cb, void,                                           \
      (SSL_CTX * ctx, int (*f)(SSL *, SSL_SESSION *)))                         \
    X(SSL_CTX_set1_cert_store, void, (SSL_CTX * ctx, X509_STORE * store))      \
    X(SSL_CTX_set_alpn_protos, int,                                            \
      (SSL_CTX * ctx, const unsigned char *list, unsigned bytes))              \
    X(SSL_CTX_set_alpn_select_cb, void,                                        \
      (SSL_CTX * ctx, SSL_CTX_alpn_select_cb_func f, void *arg))               \
    X(SSL_CTX_set_client_CA_list, void,                                        \
      (SSL_CTX * ctx, STACK_OF(X509_NAME) * names))                            \
    X(SSL_CTX_set_options, uint64_t, (SSL_CTX * ctx, uint64_t options))        \
    X(SSL_CTX_set_session_id_context, int,                                     \
      (SSL_CTX * ctx, const unsigned char *id, unsigned bytes))                \
    X(SSL_CTX_set_verify, void, (SSL_CTX * ctx, int mode, SSL_verify_cb f))    \
    X(SSL_CTX_use_PrivateKey, int, (SSL_CTX * ctx, EVP_PKEY * key))            \
    X(SSL_CTX_use_certificate, int, (SSL_CTX * ctx, X509 * cert))              \
    X(SSL_SESSION_free, void, (SSL_SESSION * session))                         \
    X(SSL_SESSION_get_protocol_version, int, (const SSL_SESSION *session))     \
    X(SSL_SESSION_is_resumable, int, (const SSL_SESSION *session))             \
    X(SSL_SESSION_up_ref, int, (SSL_SESSION * session))                        \
    X(SSL_ctrl, long, (SSL * ssl, int what, long number, void *pointer))       \
    X(SSL_do_handshake, int, (SSL * ssl))                                      \
    X(SSL_free, void, (SSL * ssl))                                             \
    X(SSL_get0_alpn_selected, void,                                            \
      (const SSL *ssl, const unsigned char **data, unsigned *bytes))           \
    X(SSL_get0_param, X509_VERIFY_PARAM *, (SSL * ssl))                        \
    X(SSL_get1_peer_certificate, X509 *, (const SSL *ssl))                     \
    X(SSL_get_current_cipher, const SSL_CIPHER *, (const SSL *ssl))            \
    X(SSL_get_error, int, (const SSL *ssl, int result))                        \
    X(SSL_get_ex_data, void *, (const SSL *ssl, int index))                    \
    X(SSL_get_ex_data_X509_STORE_CTX_idx, int, (void))                         \
    X(SSL_get_servername, const char *, (const SSL *ssl, int type))            \
    X(SSL_get_version, const char *, (const SSL *ssl))                         \
    X(SSL_new, SSL *, (SSL_CTX * ctx))                                         \
    X(SSL_read, int, (SSL * ssl, void *into, int bytes))                       \
    X(SSL_select_next_proto, int,                                              \
      (unsigned char **out, unsigned char *out_bytes,                          \
       const unsigned char *server, unsigned server_bytes,                     \
       const unsigned char *client, unsigned client_bytes))                    \
    X(SSL_session_reused, int, (const SSL *ssl))                               \
    X(SSL_set1_host, int, (SSL * ssl, const char *name))                       \
    X(SSL_set_accept_state, void, (SSL * ssl))                                 \
    X(SSL_set_bio, void, (SSL * ssl, BIO * in, BIO * out))                     \
    X(SSL_set_connect_state, void, (SSL * ssl))                                \
    X(SSL_set_ex_data, int, (SSL * ssl, int index, void *data))                \
    X(SSL_set_hostflags, void, (SSL * ssl, unsigned flags))                    \
    X(SSL_set_session, int, (SSL * ssl, SSL_SESSION * session))                \
    X(SSL_set_shutdown, void, (SSL * ssl, int how))                            \
    X(SSL_shutdown, int, (SSL * ssl))                                          \
    X(SSL_write, int, (SSL * ssl, const void *data, int bytes))                \
    X(TLS_client_method, const SSL_METHOD *, (void))                           \
    X(TLS_server_method, const SSL_METHOD *, (void))                           \
    X(X509_NAME_dup, X509_NAME *, (const X509_NAME *name))                     \
    X(X509_NAME_free, void, (X509_NAME * name))                                \
    X(X509_NAME_print_ex, int,                                                 \
      (BIO * bio, const X509_NAME *name, int indent, unsigned long flags))     \
    X(X509_STORE_CTX_get_current_cert, X509 *, (const X509_STORE_CTX *ctx))    \
    X(X509_STORE_CTX_get_error, int, (const X509_STORE_CTX *ctx))              \
    X(X509_STORE_CTX_get_error_depth, int, (const X509_STORE_CTX *ctx))        \
    X(X509_STORE_CTX_get_ex_data, void *,                                      \
      (const X509_STORE_CTX *ctx, int index))                                  \
    X(X509_STORE_add_cert, int, (X509_STORE * store, X509 * cert))             \
    X(X509_STORE_free, void, (X509_STORE * store))                             \
    X(X509_STORE_new, X509_STORE *, (void))                                    \
    X(X509_STORE_set_default_paths, int, (X509_STORE * store))                 \
    X(X509_STORE_set_flags, int, (X509_STORE * store, unsigned long flags))    \
    X(X509_VERIFY_PARAM_set1_ip_asc, int,                                      \
      (X509_VERIFY_PARAM * param, const char *address))                        \
    X(X509_digest, int,                                                        \
      (const X509 *cert, const EVP_MD *type, unsigned char *out,               \
       unsigned *bytes))                                                       \
    X(X509_free, void, (X509 * cert))                                          \
    X(X509_get0_notAfter, const ASN1_TIME *, (const X509 *cert))               \
    X(X509_get0_notBefore, const ASN1_TIME *, (const X509 *cert))              \
    X(X509_get_ext_d2i, void *,                                                \
      (const X509 *cert, int nid, int *critical, int *index))                  \
    X(X509_get_issuer_name, X509_NAME *, (const X509 *cert))                   \
    X(X509_get_subject_name, X509_NAME *, (const X509 *cert))                  \
    X(X509_verify_cert_error_string, const char *, (long code))

typedef struct ab_openssl {
#define AB_OPENSSL_FIELD(name, result, arguments) result(*name) arguments;
    AB_OPENSSL_FUNCTIONS(AB_OPENSSL_FIELD)
#undef AB_OPENSSL_FIELD
} ab_openssl;

/* The table, or NULL when OpenSSL cannot be opened.  Any thread. */
const ab_openssl *ab_openssl_open(void);

/* Why there is none. */
const char *ab_openssl_trouble(void);

#endif
