/* tls_peer.c - what is to be told of a connection and of a certificate. */
#include "tls_state.h"
#include <openssl/obj_mac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <uv.h>

void ab_tls_describe(const ab_tls *tls, ab_tls_info *info)
{
    const ab_openssl *o = tls->context->o;
    const unsigned char *alpn = NULL;
    unsigned alpn_bytes = 0;
    o->SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_bytes);
    const SSL_CIPHER *cipher = o->SSL_get_current_cipher(tls->ssl);
    *info = (ab_tls_info){
        .version = o->SSL_get_version(tls->ssl),
        .cipher = cipher ? o->SSL_CIPHER_get_name(cipher) : "none",
        .alpn = alpn_bytes ? (const char *)alpn : NULL,
        .alpn_bytes = alpn_bytes,
        .server_name =
            o->SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name),
        .resumed = o->SSL_session_reused(tls->ssl) == 1,
    };
}

void ab_tls_name_text(const ab_openssl *o, const X509_NAME *name, char *out,
                      size_t bytes)
{
    *out = '\0';
    BIO *bio = o->BIO_new(o->BIO_s_mem());
    if (!bio)
        return;
    /* Bytes from 128 on are UTF-8 and stay as they are. */
    unsigned long how = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    if (o->X509_NAME_print_ex(bio, name, 0, how) >= 0) {
        int n = o->BIO_read(bio, out, (int)bytes - 1);
        out[n > 0 ? n : 0] = '\0';
    }
    o->BIO_free(bio);
    o->ERR_clear_error();
}

void ab_tls_time_text(const ab_openssl *o, const ASN1_TIME *time, char out[24])
{
    struct tm tm;
    *out = '\0';
    if (o->ASN1_TIME_to_tm(time, &tm) == 1)
        strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm);
    o->ERR_clear_error();
}

/* One name of a certificate as text: 0 when it is of another kind, too long,
 * or has bytes in it that a name has not. */
static int name_text(const ab_openssl *o, const GENERAL_NAME *name, char *out,
                     size_t bytes)
{
    int is_dns = name->type == GEN_DNS;
    if (!is_dns && name->type != GEN_IPADD)
        return 0;
    const ASN1_STRING *string = is_dns ? name->d.dNSName : name->d.iPAddress;
    const unsigned char *data = o->ASN1_STRING_get0_data(string);
    int n = o->ASN1_STRING_length(string);
    if (n <= 0 || (size_t)n >= bytes)
        return 0;
    if (!is_dns)
        return (n == 4 || n == 16) &&
               uv_inet_ntop(n == 4 ? AF_INET : AF_INET6, data, out, bytes) == 0;
    for (int i = 0; i < n; i++)
        if (data[i] <= ' ' || data[i] >= 127)
            return 0;
    memcpy(out, data, (size_t)n);
    out[n] = '\0';
    return 1;
}

void ab_tls_names_text(const ab_openssl *o, const X509 *cert,
                       const char *between, char *out, size_t bytes)
{
    size_t used = 0;
    *out = '\0';
    GENERAL_NAMES *names =
        o->X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int count = names ? o->OPENSSL_sk_num((const OPENSSL_STACK *)names) : 0;
    for (int i = 0; i < count; i++) {
        char text[256];
        if (!name_text(o, o->OPENSSL_sk_value((const OPENSSL_STACK *)names, i),
                       text, sizeof text))
            continue;
        int n = snprintf(out + used, bytes - used, "%s%s", used ? between : "",
                         text);
        if (n < 0 || (size_t)n >= bytes - used) {
            out[used] = '\0';
            break;
        }
        used += (size_t)n;
    }
    if (names)
        o->GENERAL_NAMES_free(names);
    o->ERR_clear_error();
}

int ab_tls_peer(const ab_tls *tls, ab_tls_certificate *out)
{
    const ab_openssl *o = tls->context->o;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    memset(out, 0, sizeof *out);
    X509 *cert = o->SSL_get1_peer_certificate(tls->ssl);
    if (!cert)
        return 0;
    ab_tls_name_text(o, o->X509_get_subject_name(cert), out->subject,
                     sizeof out->subject);
    ab_tls_name_text(o, o->X509_get_issuer_name(cert), out->issuer,
                     sizeof out->issuer);
    ab_tls_names_text(o, cert, "\n", out->names, sizeof out->names);
    ab_tls_time_text(o, o->X509_get0_notBefore(cert), out->valid_from);
    ab_tls_time_text(o, o->X509_get0_notAfter(cert), out->valid_until);
    if (o->X509_digest(cert, o->EVP_sha256(), digest, &n) && n == 32)
        for (unsigned i = 0; i < n; i++)
            snprintf(out->fingerprint + 2 * i, 3, "%02x", digest[i]);
    o->X509_free(cert);
    o->ERR_clear_error();
    return 1;
}
