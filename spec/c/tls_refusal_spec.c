/* tls_refusal_spec.c - what the TLS engine refuses, and how it says so: peers
 * with wrong certificates, garbage, renegotiation, settings that make no sense.
 */
#include "check_tls_pair.h"
#include "tls_state.h"
#include <dlfcn.h>

static int refused(const ab_tls_settings *client, const ab_tls_settings *server,
                   const char *name, const char *here, const char *there)
{
    static pair p;
    int before = check_failures;
    CHECK_EQUAL(open_pair(&p, client, server, name, NULL), 0);
    shake(&p);
    CHECK_EQUAL(p.result[0], ASYNCBOX_ETLS);
    CHECK_EQUAL(p.result[1], ASYNCBOX_ETLS);
    if (!CHECK(strstr(ab_tls_trouble(p.ends[0]), here)))
        printf("  %s\n", ab_tls_trouble(p.ends[0]));
    if (!CHECK(strstr(ab_tls_trouble(p.ends[1]), there)))
        printf("  %s\n", ab_tls_trouble(p.ends[1]));
    /* It stays so. */
    size_t got;
    char byte;
    CHECK_EQUAL(ab_tls_handshake(p.ends[0]), ASYNCBOX_ETLS);
    CHECK_EQUAL(ab_tls_read(p.ends[0], &byte, 1, &got), ASYNCBOX_ETLS);
    CHECK_EQUAL(ab_tls_write(p.ends[0], "x", 1), ASYNCBOX_ETLS);
    CHECK_EQUAL(ab_tls_input_end(p.ends[0]), ASYNCBOX_ETLS);
    close_pair(&p);
    return check_failures == before;
}

static void check_refusals(void)
{
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    check_in("wrong name");
    refused(&client, &server, "example.com",
            "not for example.com but for example.org, *.example.net",
            "bad certificate");
    refused(&client, &server, "a.b.example.net", "not for a.b.example.net", "");
    refused(&client, &server, "127.0.0.2", "not for 127.0.0.2", "");
    check_in("self-signed");
    client.ca = NULL;
    refused(&client, &server, "example.org",
            "CN=example.org is self-signed; pass it as ca=", "unknown ca");
    check_in("somebody else's");
    client.ca = other_cert;
    refused(&client, &server, "example.org", "self-signed", "unknown ca");
    check_in("expired");
    client.ca = server.cert = expired;
    refused(&client, &server, "example.org",
            "the certificate of CN=example.org has expired on 20",
            "certificate expired");
    check_in("no version in common");
    client = defaults(AB_TLS_CLIENT), server = defaults(AB_TLS_SERVER);
    client.min_version = 13;
    server.max_version = 12;
    refused(&client, &server, "example.org", "protocol version",
            "no version of TLS in common");
    check_in("no protocol in common");
    client = defaults(AB_TLS_CLIENT), server = defaults(AB_TLS_SERVER);
    client.alpn = "\3foo";
    server.alpn = "\3bar";
    client.alpn_bytes = server.alpn_bytes = 4;
    refused(&client, &server, "example.org", "no application protocol",
            "no protocol (alpn) in common");
}

static void check_client_certificates(void)
{
    static pair p;
    char buffer[64];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    server.verify = AB_TLS_VERIFY_REQUIRED;
    client.cert = cert;
    client.key = key;
    check_in("client certificate");
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    shake(&p);
    CHECK_EQUAL(p.result[1], 1);
    ab_tls_certificate peer;
    CHECK(ab_tls_peer(p.ends[1], &peer));
    CHECK(strcmp(peer.subject, "CN=example.org") == 0);
    close_pair(&p);

    check_in("no client certificate");
    client.cert = client.key = NULL;
    for (int version = 12; version <= 13; version++) {
        client.max_version = version;
        CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
        shake(&p);
        CHECK_EQUAL(p.result[1], ASYNCBOX_ETLS);
        CHECK(strstr(ab_tls_trouble(p.ends[1]), "given no certificate"));
        /* With 1.3 the client is done before the server has looked. */
        if (p.result[0] == 1)
            CHECK_EQUAL(receive(&p, 0, buffer, sizeof buffer), ASYNCBOX_ETLS);
        CHECK(strstr(ab_tls_trouble(p.ends[0]), "the other side refuses: "));
        close_pair(&p);
    }
    server.verify = AB_TLS_VERIFY_OPTIONAL;
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    shake(&p);
    CHECK_EQUAL(p.result[1], 1);
    close_pair(&p);
}

/* Anything at all instead of TLS, to either side; and a byte changed anywhere
 * in what is TLS. */
static void check_garbage(void)
{
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "220 mail ESMTP ready\r\n",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "\x16\x03\x01\xff\xff\x01\x00\xff\xff\x03",
        "\x15\x03\x03\x00\x02\x02\x28",
        "\x80\x2e\x01\x00\x02\x00\x15",
    };
    static pair p;
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (int side = 0; side < 2; side++) {
            check_in("garbage %zu", i);
            CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL),
                        0);
            ab_tls_handshake(p.ends[side]);
            size_t n = i == 4 ? 7 : i == 3 || i == 5 ? 10 : strlen(texts[i]);
            char text[64] = "";
            memcpy(text, texts[i], strlen(texts[i]));
            ab_tls_input(p.ends[side], text, n);
            int result = ab_tls_handshake(p.ends[side]);
            CHECK(result == 0 || result == ASYNCBOX_ETLS);
            CHECK_EQUAL(ab_tls_input_end(p.ends[side]), ASYNCBOX_ETLS);
            CHECK(*ab_tls_trouble(p.ends[side]));
            if (i == 0)
                CHECK(strstr(ab_tls_trouble(p.ends[side]), "other side"));
            close_pair(&p);
        }
    }
    char buffer[256];
    for (size_t at = 0; at < 60; at++) {
        check_in("byte %zu changed", at);
        CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
        shake(&p);
        while (p.on_wire[0]) /* the tickets */
            CHECK_EQUAL(receive(&p, 0, buffer, sizeof buffer), 0);
        CHECK_EQUAL(ab_tls_write(p.ends[1], buffer, 60), 0);
        send_out(&p, 1);
        p.wire[0][at] ^= 0x55;
        long n = receive(&p, 0, buffer, sizeof buffer);
        CHECK(n == 0 || n == ASYNCBOX_ETLS);
        CHECK(ab_tls_input_end(p.ends[0]) < 0);
        close_pair(&p);
    }
}

/* A client that wants the handshake anew gets a refusal; what it and others
 * send goes on. */
static void check_renegotiation(void)
{
    static pair p;
    char buffer[64];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    check_in("renegotiation");
    void *library = dlopen(ASYNCBOX_OPENSSL_SONAME, RTLD_NOW);
    int (*renegotiate)(SSL *) = NULL;
    uint64_t (*clear)(SSL *, uint64_t) = NULL;
    *(void **)&renegotiate = dlsym(library, "SSL_renegotiate");
    *(void **)&clear = dlsym(library, "SSL_clear_options");
    client.max_version = 12;
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    shake(&p);
    clear(p.ends[0]->ssl, SSL_OP_NO_RENEGOTIATION);
    size_t answered = 0;
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(renegotiate(p.ends[0]->ssl), 1);
        p.ends[0]->context->o->SSL_do_handshake(p.ends[0]->ssl);
        send_out(&p, 0);
        long n = receive(&p, 1, buffer, sizeof buffer);
        CHECK(n == 0 || n == ASYNCBOX_ETLS);
        answered += p.on_wire[0];
        long back = receive(&p, 0, buffer, sizeof buffer);
        if (back < 0)
            break; /* the client takes the refusal for the end */
    }
    CHECK(answered > 0 && answered < 200); /* alerts and no handshake */
    close_pair(&p);
    dlclose(library);
}

static void check_contexts(void)
{
    static const struct {
        int side, cert, key;
        const char *ca, *says;
    } wrong[] = {
        {AB_TLS_SERVER, 0, 0, NULL, "cert: a server needs a certificate"},
        {AB_TLS_SERVER, 1, 0, NULL, "key: there is no private key"},
        {AB_TLS_SERVER, 2, 1, NULL, "cert: there is no certificate"},
        {AB_TLS_SERVER, 3, 1, NULL, "cert: cannot use"},
        {AB_TLS_CLIENT, 0, 1, NULL, "key: there is no certificate"},
        {AB_TLS_CLIENT, 0, 0, "", "ca: there is no certificate"},
        {AB_TLS_CLIENT, 0, 0, "-----BEGIN CERTIFICATE-----\nAAAA",
         "ca: cannot"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ab_limits limits;
        ab_tls_context *context = NULL;
        char trouble[AB_TLS_TEXT];
        check_in("settings %zu", i);
        ab_limits_init(&limits, 0, NULL, NULL);
        ab_tls_settings s = {.side = (ab_tls_side)wrong[i].side,
                             .verify = wrong[i].ca ? AB_TLS_VERIFY_REQUIRED
                                                   : AB_TLS_VERIFY_NONE,
                             .ca = wrong[i].ca};
        const char *certs[] = {NULL, cert, "no certificate",
                               "-----BEGIN CERTIFICATE-----\nAAAA\n"
                               "-----END CERTIFICATE-----\n"};
        s.cert = certs[wrong[i].cert];
        s.key = wrong[i].key ? key : NULL;
        CHECK_EQUAL(ab_tls_context_new(&s, &limits, &context, trouble),
                    UV_EINVAL);
        if (!CHECK(strstr(trouble, wrong[i].says)))
            printf("  %s\n", trouble);
        CHECK_EQUAL(limits.used_bytes, 0);
        ab_limits_deinit(&limits);
    }
}

int main(void)
{
    make_certificates("tls_refusal_spec");
    check_refusals();
    check_client_certificates();
    check_garbage();
    check_renegotiation();
    check_contexts();
    remove_certificates();
    return check_done("tls_refusal_spec");
}
