/* tls_trouble.c - what a failure of TLS means, in words for people. */
#include "tls_state.h"
#include <stdio.h>
#include <string.h>

/* ---- certificates that are refused ---- */

static void explain_name(const ab_tls *tls, const X509 *cert, char *trouble)
{
    char names[120];
    ab_tls_names_text(tls->context->o, cert, ", ", names, sizeof names);
    snprintf(trouble, AB_TLS_TEXT,
             "the certificate is not for %.80s but for %s",
             tls->name ? tls->name : "this name", *names ? names : "no name");
}

static void explain_cert(const ab_tls *tls, int error, const X509 *cert,
                         char *trouble)
{
    const ab_openssl *o = tls->context->o;
    char subject[100], issuer[100], when[24];
    ab_tls_name_text(o, o->X509_get_subject_name(cert), subject,
                     sizeof subject);
    ab_tls_name_text(o, o->X509_get_issuer_name(cert), issuer, sizeof issuer);
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        ab_tls_time_text(o, o->X509_get0_notAfter(cert), when);
        snprintf(trouble, AB_TLS_TEXT,
                 "the certificate of %s has expired on %s", subject, when);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        ab_tls_time_text(o, o->X509_get0_notBefore(cert), when);
        snprintf(trouble, AB_TLS_TEXT,
                 "the certificate of %s is not valid before %s", subject, when);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        snprintf(trouble, AB_TLS_TEXT,
                 "the certificate of %s is self-signed; pass it as ca= if it "
                 "is to be trusted",
                 subject);
        break;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        snprintf(trouble, AB_TLS_TEXT,
                 "the certificate comes from %s, who is not trusted; pass its "
                 "certificate as ca= if it is",
                 subject);
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        snprintf(trouble, AB_TLS_TEXT,
                 "the certificate of %s comes from %s, who is not known; pass "
                 "its certificate as ca= if it is to be trusted",
                 subject, issuer);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        explain_name(tls, cert, trouble);
        break;
    default:
        snprintf(trouble, AB_TLS_TEXT, "the certificate of %s: %s", subject,
                 o->X509_verify_cert_error_string(error));
    }
}

int ab_tls_on_verify(int ok, X509_STORE_CTX *chain)
{
    const ab_openssl *o = ab_openssl_open();
    if (ok)
        return 1;
    const SSL *ssl = o->X509_STORE_CTX_get_ex_data(
        chain, o->SSL_get_ex_data_X509_STORE_CTX_idx());
    ab_tls *tls = ssl ? o->SSL_get_ex_data(ssl, 0) : NULL;
    if (!tls)
        return 0;
    int error = o->X509_STORE_CTX_get_error(chain);
    const X509 *cert = o->X509_STORE_CTX_get_current_cert(chain);
    if (cert)
        explain_cert(tls, error, cert, tls->trouble);
    else
        snprintf(tls->trouble, sizeof tls->trouble, "the certificate: %s",
                 o->X509_verify_cert_error_string(error));
    return 0;
}

/* ---- everything else ---- */

static const struct {
    int reason;
    const char *text;
} reasons[] = {
    {SSL_R_WRONG_VERSION_NUMBER, "the other side does not speak TLS here"},
    {SSL_R_HTTP_REQUEST, "the other side speaks HTTP without TLS"},
    {SSL_R_HTTPS_PROXY_REQUEST, "the other side speaks HTTP without TLS"},
    {SSL_R_PACKET_LENGTH_TOO_LONG, "the other side does not speak TLS here"},
    {SSL_R_UNSUPPORTED_PROTOCOL,
     "no version of TLS in common (1.2 is the least)"},
    {SSL_R_NO_PROTOCOLS_AVAILABLE, "there is no such version of TLS"},
    {SSL_R_VERSION_TOO_LOW, "no version of TLS in common (1.2 is the least)"},
    {SSL_R_NO_SHARED_CIPHER, "no cipher in common"},
    {SSL_R_NO_APPLICATION_PROTOCOL, "no protocol (alpn) in common"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
     "the client has given no certificate"},
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, "the connection was cut off"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
     "what came was changed on its way"},
};

/* Alerts have reasons from 1000 on, and texts such as "tlsv1 alert unknown
 * ca". */
static void explain_alert(const char *text, char *trouble)
{
    const char *alert = text ? strstr(text, " alert ") : NULL;
    if (alert)
        text = alert + strlen(" alert ");
    snprintf(trouble, AB_TLS_TEXT, "the other side refuses: %s",
             text ? text : "unknown alert");
}

void ab_tls_explain(const ab_openssl *o, char trouble[AB_TLS_TEXT])
{
    unsigned long code = o->ERR_get_error();
    int reason = ERR_GET_REASON(code);
    const char *text = code ? o->ERR_reason_error_string(code) : NULL;
    o->ERR_clear_error();
    if (code && reason > SSL_AD_REASON_OFFSET &&
        reason < SSL_AD_REASON_OFFSET + 256) {
        explain_alert(text, trouble);
        return;
    }
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (code && reasons[i].reason == reason)
            text = reasons[i].text;
    snprintf(trouble, AB_TLS_TEXT, "%s", text ? text : "failed");
}
