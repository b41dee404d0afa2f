/* tls_spec.c - the TLS engine: handshakes, resumption, ends, memory. */
#include "check_tls_pair.h"
#include <malloc.h>

static void check_whole(int version, size_t step)
{
    static pair p;
    char rest[16];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    check_in("TLS 1.%d, step %zu", version - 10, step);
    client.max_version = version;
    client.alpn = "\3foo\3bar";
    client.alpn_bytes = 8;
    server.alpn = "\3bar\3baz";
    server.alpn_bytes = 8;
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    p.step = step;
    shake(&p);
    CHECK_EQUAL(p.result[0], 1);
    CHECK_EQUAL(p.result[1], 1);
    ab_tls_info info;
    for (int side = 0; side < 2; side++) {
        ab_tls_describe(p.ends[side], &info);
        CHECK(strcmp(info.version, version == 12 ? "TLSv1.2" : "TLSv1.3") == 0);
        CHECK(info.alpn_bytes == 3 && memcmp(info.alpn, "bar", 3) == 0);
        CHECK(info.server_name && strcmp(info.server_name, "example.org") == 0);
        CHECK(!info.resumed);
    }
    ab_tls_certificate peer;
    CHECK(ab_tls_peer(p.ends[0], &peer));
    CHECK(strcmp(peer.subject, "CN=example.org") == 0);
    CHECK(strcmp(peer.names, "example.org\n*.example.net\n127.0.0.1") == 0);
    CHECK_EQUAL(strlen(peer.fingerprint), 64);
    CHECK(!ab_tls_peer(p.ends[1], &peer));
    size_t bytes = step ? 40000 : (size_t)1 << 20;
    transmit(&p, 0, bytes);
    transmit(&p, 1, bytes);
    /* One direction ends, the other goes on. */
    ab_tls_shutdown(p.ends[0]);
    send_out(&p, 0);
    p.step = 0;
    CHECK_EQUAL(receive(&p, 1, rest, sizeof rest), UV_EOF);
    transmit(&p, 1, 100);
    ab_tls_shutdown(p.ends[1]);
    ab_tls_shutdown(p.ends[1]);
    send_out(&p, 1);
    CHECK_EQUAL(receive(&p, 0, rest, sizeof rest), UV_EOF);
    CHECK_EQUAL(receive(&p, 0, rest, sizeof rest), UV_EOF);
    close_pair(&p);
}

static void check_resumption(int version, int verify)
{
    static pair p;
    char buffer[64];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    check_in("resuming TLS 1.%d", version - 10);
    client.max_version = version;
    if (verify) {
        client.cert = cert;
        client.key = key;
        server.verify = AB_TLS_VERIFY_REQUIRED;
    }
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    for (int round = 0; round < 4; round++) {
        if (round)
            CHECK_EQUAL(connect_pair(&p, "example.org"), 0);
        shake(&p);
        CHECK_EQUAL(p.result[0], 1);
        transmit(&p, 1, 10);
        ab_tls_info info;
        for (int side = 0; side < 2; side++) {
            ab_tls_describe(p.ends[side], &info);
            CHECK_EQUAL(info.resumed, round > 0);
        }
        ab_tls_certificate peer;
        CHECK(ab_tls_peer(p.ends[0], &peer));
        CHECK_EQUAL(ab_tls_peer(p.ends[1], &peer), verify);
        /* Cut off or ended properly: what was agreed on stays good. */
        if (round == 1)
            CHECK_EQUAL(ab_tls_input_end(p.ends[0]), ASYNCBOX_ETRUNCATED);
        else
            ab_tls_shutdown(p.ends[1]), send_out(&p, 1),
                CHECK_EQUAL(receive(&p, 0, buffer, sizeof buffer), UV_EOF);
        disconnect_pair(&p);
    }
    close_pair(&p);
}

static void check_cut_off(void)
{
    static pair p;
    char buffer[64];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    check_in("cut off");
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    shake(&p);
    CHECK_EQUAL(ab_tls_write(p.ends[1], "all", 3), 0);
    send_out(&p, 1);
    CHECK_EQUAL(receive(&p, 0, buffer, sizeof buffer), 3);
    CHECK_EQUAL(ab_tls_input_end(p.ends[0]), ASYNCBOX_ETRUNCATED);
    CHECK(strstr(ab_tls_trouble(p.ends[0]), "something may be missing"));
    close_pair(&p);

    check_in("cut off in the handshake");
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    CHECK_EQUAL(ab_tls_handshake(p.ends[0]), 0);
    CHECK_EQUAL(ab_tls_input_end(p.ends[0]), ASYNCBOX_ETLS);
    CHECK(strstr(ab_tls_trouble(p.ends[0]), "in the middle of the TLS hand"));
    close_pair(&p);
}

/* Every allocation of ours fails once, and from there on. */
static void check_no_memory(void)
{
    static pair p;
    char buffer[64];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    for (int stays = 0; stays < 2; stays++) {
        for (size_t at = 1, refused_once = 1; refused_once; at++) {
            counter c = {.fail_at = at, .fail_on = stays};
            check_in("no memory at call %zu", at);
            int err = open_pair(&p, &client, &server, "example.org", &c);
            if (err) {
                CHECK_EQUAL(err, UV_ENOMEM);
            } else {
                shake(&p);
                if (p.result[0] == 1 && p.result[1] == 1) {
                    err = ab_tls_write(p.ends[0], "hello", 5);
                    CHECK(err == 0 || err == UV_ENOMEM);
                    send_out(&p, 0);
                    long n = receive(&p, 1, buffer, sizeof buffer);
                    CHECK(err ? n <= 0 : n == 5 || n == UV_ENOMEM);
                } else {
                    CHECK(p.result[0] == UV_ENOMEM || p.result[1] == UV_ENOMEM);
                }
                ab_tls_shutdown(p.ends[0]);
            }
            refused_once = (size_t)c.refused;
            close_pair(&p);
            counter_check(&c);
            if (!CHECK(at < 1000))
                break;
        }
    }
    check_in("the cap");
    ab_limits limits;
    ab_tls_context *context = NULL;
    char trouble[AB_TLS_TEXT];
    ab_limits_init(&limits, 1000, NULL, NULL);
    CHECK_EQUAL(ab_tls_context_new(&client, &limits, &context, trouble),
                UV_ENOMEM);
    CHECK_EQUAL(limits.used_bytes, 0);
    ab_limits_deinit(&limits);
}

static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* What is charged has to be about what OpenSSL takes. */
static void measure(void)
{
    enum { COUNT = 200 };
    static pair p;
    static ab_tls *ends[2 * COUNT];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    check_out();
    size_t empty = allocated();
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    size_t contexts = allocated() - empty;
    disconnect_pair(&p);
    size_t before = allocated();
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQUAL(connect_pair(&p, "example.org"), 0);
        shake(&p);
        transmit(&p, 0, 100);
        transmit(&p, 1, 100);
        ends[2 * i] = p.ends[0];
        ends[2 * i + 1] = p.ends[1];
    }
    p.ends[0] = p.ends[1] = NULL;
    size_t each = (allocated() - before) / (2 * COUNT);
    printf("two contexts: %zu bytes; a connection: %zu bytes, charged %zu\n",
           contexts, each, p.limits.used_bytes / (2 * COUNT));
    for (int i = 0; i < 2 * COUNT; i++)
        ab_tls_free(ends[i]);
    close_pair(&p);
}

int main(void)
{
    make_certificates("tls_spec");
    for (int version = 12; version <= 13; version++) {
        check_whole(version, 0);
        check_whole(version, 1);
        check_whole(version, 7);
        check_resumption(version, 0);
        check_resumption(version, 1);
    }
    check_cut_off();
    check_no_memory();
    measure();
    remove_certificates();
    return check_done("tls_spec");
}
