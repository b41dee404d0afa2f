/* check_tls_pair.h - for C specs of the TLS engine: two of them, coupled in
 * memory. */
#ifndef CHECK_TLS_PAIR_H
#define CHECK_TLS_PAIR_H

#include "check_tls.h"
#include "tls.h"
#include <uv.h>

/* ---- certificates ---- */

static char *cert, *key, *other_cert, *expired;

static inline char *slurp(const char *name)
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

static inline void make_certificates(const char *spec)
{
    if (!check_tls_make())
        exit(check_done(spec));
    cert = slurp("cert");
    key = slurp("key");
    other_cert = slurp("other");
    expired = slurp("expired");
}

static inline void remove_certificates(void)
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

static inline ab_tls_settings defaults(ab_tls_side side)
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

static inline int connect_pair(pair *p, const char *name)
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

static inline void disconnect_pair(pair *p)
{
    for (int i = 0; i < 2; i++) {
        if (p->ends[i])
            ab_tls_free(p->ends[i]);
        p->ends[i] = NULL;
    }
}

static inline int open_pair(pair *p, const ab_tls_settings *client,
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

static inline void close_pair(pair *p)
{
    disconnect_pair(p);
    for (int i = 0; i < 2; i++)
        if (p->contexts[i])
            ab_tls_context_unref(p->contexts[i]);
    CHECK_EQUAL(p->limits.used_bytes, 0);
    ab_limits_deinit(&p->limits);
}

/* Moves the output of one side onto the wire. */
static inline void send_out(pair *p, int from)
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
static inline size_t take_in(pair *p, int to)
{
    size_t n = p->on_wire[to];
    if (p->step && n > p->step)
        n = p->step;
    ab_tls_input(p->ends[to], p->wire[to], n);
    return n;
}

static inline void taken(pair *p, int to, size_t n)
{
    n -= ab_tls_input_left(p->ends[to]);
    p->on_wire[to] -= n;
    memmove(p->wire[to], p->wire[to] + n, p->on_wire[to]);
}

/* Until both are done, one has failed, or nothing moves any more. */
static inline void shake(pair *p)
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
static inline long receive(pair *p, int to, char *into, size_t room)
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
static inline void transmit(pair *p, int from, size_t bytes)
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

#endif
