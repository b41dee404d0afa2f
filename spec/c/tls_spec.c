/* tls_spec.c - the TLS engine: two of them coupled in memory.  Their
 * certificates are made by the openssl program. */
#include "check_tls.h"
#include "tls.h"
#include "tls_state.h"
#include <dlfcn.h>
#include <malloc.h>
#include <uv.h>

/* ---- certificates ---- */

static char *cert, *key, *other_cert, *expired;

static char *slurp(const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", check_tls_folder, name);
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 16384);
    if (CHECK(file && text))
        CHECK(fread(text, 1, 16383, file) > 0);
    if (file)
        fclose(file);
    return text;
}

static void make_certificates(void)
{
    if (!check_tls_make())
        exit(check_done("tls_spec"));
    cert = slurp("cert");
    key = slurp("key");
    other_cert = slurp("other");
    expired = slurp("expired");
}

static void remove_certificates(void)
{
    check_tls_remove();
    free(cert);
    free(key);
    free(other_cert);
    free(expired);
}

/* ---- a pair ---- */

typedef struct pair {
    ab_limits limits;
    ab_tls_context *contexts[2]; /* by side */
    ab_tls *ends[2];
    char wire[2][1 << 16]; /* on the way to that side */
    size_t on_wire[2];
    size_t step; /* at most so many bytes at a time; 0: all */
    int result[2];
} pair;

static ab_tls_settings defaults(ab_tls_side side)
{
    ab_tls_settings s = {.side = side, .verify = AB_TLS_VERIFY_REQUIRED};
    s.ca = cert;
    if (side == AB_TLS_SERVER) {
        s.verify = AB_TLS_VERIFY_NONE;
        s.cert = cert;
        s.key = key;
    }
    return s;
}

static int connect_pair(pair *p, const char *name)
{
    int err = ab_tls_new(p->contexts[AB_TLS_CLIENT], name, "key",
                         &p->ends[AB_TLS_CLIENT]);
    if (!err)
        err = ab_tls_new(p->contexts[AB_TLS_SERVER], NULL, NULL,
                         &p->ends[AB_TLS_SERVER]);
    p->on_wire[0] = p->on_wire[1] = 0;
    p->result[0] = p->result[1] = 0;
    return err;
}

static void disconnect_pair(pair *p)
{
    for (int i = 0; i < 2; i++) {
        if (p->ends[i])
            ab_tls_free(p->ends[i]);
        p->ends[i] = NULL;
    }
}

static int open_pair(pair *p, const ab_tls_settings *client,
                     const ab_tls_settings *server, const char *name,
                     counter *c)
{
    char trouble[AB_TLS_TEXT];
    memset(p, 0, sizeof *p);
    ab_limits_init(&p->limits, 0, c ? counter_alloc : NULL, c);
    int err = ab_tls_context_new(client, &p->limits, &p->contexts[0], trouble);
    if (!err)
        err = ab_tls_context_new(server, &p->limits, &p->contexts[1], trouble);
    if (err && !c)
        printf("%s\n", trouble);
    return err ? err : connect_pair(p, name);
}

static void close_pair(pair *p)
{
    disconnect_pair(p);
    for (int i = 0; i < 2; i++)
        if (p->contexts[i])
            ab_tls_context_unref(p->contexts[i]);
    CHECK_EQUAL(p->limits.used_bytes, 0);
    ab_limits_deinit(&p->limits);
}

/* Moves the output of one side onto the wire. */
static void send_out(pair *p, int from)
{
    size_t n;
    const char *data = ab_tls_output(p->ends[from], &n);
    int to = !from;
    if (n > sizeof p->wire[to] - p->on_wire[to])
        n = sizeof p->wire[to] - p->on_wire[to];
    if (!n)
        return;
    memcpy(p->wire[to] + p->on_wire[to], data, n);
    p->on_wire[to] += n;
    ab_tls_output_done(p->ends[from], n);
}

/* Gives one side what is on the wire, as much as a step allows. */
static size_t take_in(pair *p, int to)
{
    size_t n = p->on_wire[to];
    if (p->step && n > p->step)
        n = p->step;
    ab_tls_input(p->ends[to], p->wire[to], n);
    return n;
}

static void taken(pair *p, int to, size_t n)
{
    n -= ab_tls_input_left(p->ends[to]);
    p->on_wire[to] -= n;
    memmove(p->wire[to], p->wire[to] + n, p->on_wire[to]);
}

/* Until both are done, one has failed, or nothing moves any more. */
static void shake(pair *p)
{
    int moves = 1;
    while (moves) {
        moves = 0;
        for (int side = 0; side < 2; side++) {
            if (p->result[side])
                continue;
            size_t n = take_in(p, side);
            p->result[side] = ab_tls_handshake(p->ends[side]);
            if (!p->result[side])
                CHECK_EQUAL(ab_tls_input_left(p->ends[side]), 0);
            taken(p, side, n);
            size_t before = p->on_wire[!side];
            send_out(p, side);
            moves |= n || p->on_wire[!side] > before || p->result[side] > 0;
        }
    }
}

/* Reads what has come for a side into `into`: how much, or a code. */
static long receive(pair *p, int to, char *into, size_t room)
{
    size_t sum = 0, got = 0;
    size_t n = take_in(p, to);
    int err;
    do {
        err = ab_tls_read(p->ends[to], into + sum, room - sum, &got);
        sum += got;
    } while (!err && got && sum < room);
    taken(p, to, n);
    send_out(p, to);
    return err && !sum ? err : (long)sum;
}

/* Sends `bytes` bytes from one side and checks that the other gets them. */
static void transmit(pair *p, int from, size_t bytes)
{
    char *sent = malloc(bytes), *got = malloc(bytes + 1);
    size_t given = 0, have = 0;
    if (!CHECK(sent && got))
        return;
    for (size_t i = 0; i < bytes; i++)
        sent[i] = (char)(i * 31 + i / 251);
    for (int turn = 0; have < bytes && turn < 20000000; turn++) {
        size_t now = bytes - given < 20000 ? bytes - given : 20000;
        if (now && p->on_wire[!from] < 10000) {
            if (!CHECK_EQUAL(ab_tls_write(p->ends[from], sent + given, now), 0))
                break;
            given += now;
        }
        send_out(p, from);
        long n = receive(p, !from, got + have, bytes + 1 - have);
        if (!CHECK(n >= 0))
            break;
        have += (size_t)n;
    }
    CHECK_EQUAL(have, bytes);
    CHECK(memcmp(sent, got, bytes) == 0);
    free(sent);
    free(got);
}

/* ---- the cases ---- */

static void check_whole(int version, size_t step)
{
    static pair p;
    char rest[16];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    snprintf(check_context, sizeof check_context, "TLS 1.%d, step %zu",
             version - 10, step);
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
    strcpy(check_context, "wrong name");
    refused(&client, &server, "example.com",
            "not for example.com but for example.org, *.example.net",
            "bad certificate");
    refused(&client, &server, "a.b.example.net", "not for a.b.example.net", "");
    refused(&client, &server, "127.0.0.2", "not for 127.0.0.2", "");
    strcpy(check_context, "self-signed");
    client.ca = NULL;
    refused(&client, &server, "example.org",
            "CN=example.org is self-signed; pass it as ca=", "unknown ca");
    strcpy(check_context, "somebody else's");
    client.ca = other_cert;
    refused(&client, &server, "example.org", "self-signed", "unknown ca");
    strcpy(check_context, "expired");
    client.ca = server.cert = expired;
    refused(&client, &server, "example.org",
            "the certificate of CN=example.org has expired on 20",
            "certificate expired");
    strcpy(check_context, "no version in common");
    client = defaults(AB_TLS_CLIENT), server = defaults(AB_TLS_SERVER);
    client.min_version = 13;
    server.max_version = 12;
    refused(&client, &server, "example.org", "protocol version",
            "no version of TLS in common");
    strcpy(check_context, "no protocol in common");
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
    strcpy(check_context, "client certificate");
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    shake(&p);
    CHECK_EQUAL(p.result[1], 1);
    ab_tls_certificate peer;
    CHECK(ab_tls_peer(p.ends[1], &peer));
    CHECK(strcmp(peer.subject, "CN=example.org") == 0);
    close_pair(&p);

    strcpy(check_context, "no client certificate");
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

static void check_resumption(int version, int verify)
{
    static pair p;
    char buffer[64];
    ab_tls_settings client = defaults(AB_TLS_CLIENT),
                    server = defaults(AB_TLS_SERVER);
    snprintf(check_context, sizeof check_context, "resuming TLS 1.%d",
             version - 10);
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
    strcpy(check_context, "cut off");
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    shake(&p);
    CHECK_EQUAL(ab_tls_write(p.ends[1], "all", 3), 0);
    send_out(&p, 1);
    CHECK_EQUAL(receive(&p, 0, buffer, sizeof buffer), 3);
    CHECK_EQUAL(ab_tls_input_end(p.ends[0]), ASYNCBOX_ETRUNCATED);
    CHECK(strstr(ab_tls_trouble(p.ends[0]), "something may be missing"));
    close_pair(&p);

    strcpy(check_context, "cut off in the handshake");
    CHECK_EQUAL(open_pair(&p, &client, &server, "example.org", NULL), 0);
    CHECK_EQUAL(ab_tls_handshake(p.ends[0]), 0);
    CHECK_EQUAL(ab_tls_input_end(p.ends[0]), ASYNCBOX_ETLS);
    CHECK(strstr(ab_tls_trouble(p.ends[0]), "in the middle of the TLS hand"));
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
            snprintf(check_context, sizeof check_context, "garbage %zu", i);
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
        snprintf(check_context, sizeof check_context, "byte %zu changed", at);
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
    strcpy(check_context, "renegotiation");
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
        snprintf(check_context, sizeof check_context, "settings %zu", i);
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
            snprintf(check_context, sizeof check_context,
                     "no memory at call %zu", at);
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
    strcpy(check_context, "the cap");
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
    *check_context = '\0';
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
    make_certificates();
    for (int version = 12; version <= 13; version++) {
        check_whole(version, 0);
        check_whole(version, 1);
        check_whole(version, 7);
        check_resumption(version, 0);
        check_resumption(version, 1);
    }
    check_refusals();
    check_client_certificates();
    check_cut_off();
    check_garbage();
    check_renegotiation();
    check_contexts();
    check_no_memory();
    measure();
    remove_certificates();
    return check_done("tls_spec");
}
