/* resolver_spec.c - host/resolver.h against a name server of its own: every
 * kind of answer, cancelling and closing at any moment, memory that runs out,
 * thousands of look-ups at once. */
#include "box.h"
#include "check_life.h"
#include "name_server.h"
#include "resolver.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/resource.h>

/* ---- what the thread pool calls without libcares ----
 * The program's own getaddrinfo is found before libc's. */

__attribute__((visibility("default"))) int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
            struct addrinfo **out)
{
    (void)service;
    usleep(2000);
    if (strcmp(name, "plain.test.") != 0)
        return EAI_NONAME;
    struct addrinfo *one = calloc(1, sizeof *one + sizeof(struct sockaddr_in));
    struct sockaddr_in *at = (void *)(one + 1);
    at->sin_family = AF_INET;
    at->sin_addr.s_addr = inet_addr("192.0.2.9");
    one->ai_family = AF_INET;
    one->ai_socktype = hints->ai_socktype;
    one->ai_addrlen = sizeof *at;
    one->ai_addr = (void *)at;
    *out = one;
    return 0;
}

/* ---- asking ---- */

typedef struct result {
    ab_lookup *lookup;
    int ended, status, count;
    char text[512]; /* addresses, with spaces between */
} result;

static void on_done(void *data, int status, const ab_answer *answer)
{
    result *r = data;
    r->ended++;
    r->status = status;
    CHECK((answer != NULL) == (status == 0));
    if (!answer)
        return;
    r->count = answer->count;
    for (int i = 0; i < answer->count && answer->addresses; i++) {
        char text[AB_ADDR_TEXT];
        ab_sockaddr_text(&answer->addresses[i], text);
        size_t len = strlen(r->text);
        snprintf(r->text + len, sizeof r->text - len, "%s%s", len ? " " : "",
                 text);
    }
}

static ab_box *new_box(counter *c, int timeout_ms, int tries)
{
    asyncbox *box = NULL;
    asyncbox_config config = check_config(c);
    config.virtual_time = 0;
    if (asyncbox_new(&config, &box) < 0)
        return NULL;
    ab_resolver_config servers = {.count = 1};
    ab_sockaddr_parse("127.0.0.1", server_port, &servers.servers[0]);
    servers.timeout_ms = timeout_ms;
    servers.tries = tries;
    ab_box *b = (ab_box *)box;
    if (ab_resolver_configure(b, &servers) < 0) {
        asyncbox_free(box);
        return NULL;
    }
    return b;
}

static void free_box(ab_box *box, const counter *c)
{
    CHECK_EQUAL(asyncbox_free((asyncbox *)box), 0);
    if (c)
        counter_check(c);
}

static int start(ab_box *box, const char *name, int family, result *r)
{
    memset(r, 0, sizeof *r);
    int err = ab_lookup_start(box, name, family, on_done, r, &r->lookup);
    CHECK_EQUAL(r->ended, 0);
    return err;
}

static void wait_for(ab_box *box, const result *r)
{
    int64_t until = ab_loop_real_now() + (int64_t)30 * 1000000000;
    while (!r->ended && ab_loop_real_now() < until)
        uv_run(&box->loop.uv, UV_RUN_ONCE);
    CHECK_EQUAL(r->ended, 1);
}

static result look_up(ab_box *box, const char *name, int family)
{
    result r;
    check_in("%s", name);
    if (CHECK_EQUAL(start(box, name, family, &r), 0))
        wait_for(box, &r);
    return r;
}

static void check_text(ab_box *box, const char *name, int family,
                       const char *want)
{
    result r = look_up(box, name, family);
    CHECK_EQUAL(r.status, 0);
    if (!CHECK(strcmp(r.text, want) == 0))
        printf("  %s: '%s', not '%s'\n", name, r.text, want);
}

static void check_status(ab_box *box, const char *name, int want)
{
    result r = look_up(box, name, AF_UNSPEC);
    CHECK_EQUAL(r.status, want);
    CHECK(ab_lookup_explain(want) != NULL);
}

/* ---- the cases ---- */

static void answers_by_the_server(void)
{
    counter c = {0};
    ab_box *box = new_box(&c, 2000, 2);
    check_text(box, "plain.test.", AF_INET, "192.0.2.1");
    check_text(box, "plain.test.", AF_INET6, "2001:db8::1");
    check_text(box, "six.test.", AF_UNSPEC, "2001:db8::1");
    check_text(box, "forged.test.", AF_INET, "192.0.2.1");
    check_text(box, "big.test.", AF_INET, "192.0.2.1");
    CHECK(asked_by_tcp > 0);
    CHECK_EQUAL(look_up(box, "plain.test.", AF_UNSPEC).count, 2);
    CHECK_EQUAL(look_up(box, "many.test.", AF_UNSPEC).count, 3);
    check_status(box, "none.test.", UV_EAI_NONAME);
    check_status(box, "empty.test.", UV_EAI_NODATA);
    check_status(box, "fail.test.", UV_EAI_FAIL);
    check_status(box, "refuse.test.", UV_EAI_FAIL);
    free_box(box, &c);
    box = new_box(&c, 30, 2);
    check_status(box, "silent.test.", UV_EAI_AGAIN);
    check_status(box, "garbage.test.", UV_EAI_AGAIN);
    result r = look_up(box, "hangup.test.", AF_INET);
    CHECK(r.status == UV_ECONNREFUSED || r.status == UV_EAI_AGAIN);
    free_box(box, &c);
    check_out();
}

static void nobody_is_asked(void)
{
    counter c = {0};
    ab_box *box = new_box(&c, 2000, 2);
    int before = asked;
    check_text(box, "localhost", AF_UNSPEC, "127.0.0.1 ::1");
    check_text(box, "LocalHost.", AF_INET6, "::1");
    check_text(box, "a.b.localhost", AF_INET, "127.0.0.1");
    check_text(box, "192.0.2.7", AF_UNSPEC, "192.0.2.7");
    check_text(box, "127.1", AF_INET, "127.0.0.1");
    check_text(box, "0x7f000001", AF_INET, "127.0.0.1");
    check_text(box, "[2001:db8::2]", AF_UNSPEC, "2001:db8::2");
    check_text(box, "::ffff:127.0.0.1", AF_UNSPEC, "127.0.0.1");
    check_text(box, "fe80::1%lo", AF_UNSPEC, "fe80::1%lo");
    check_status(box, "fe80::1%nosuch", UV_EAI_NONAME);
    CHECK_EQUAL(look_up(box, "127.0.0.1", AF_INET6).status, UV_EAI_ADDRFAMILY);
    CHECK_EQUAL(look_up(box, "x.onion", AF_INET).status, UV_EAI_NONAME);
    CHECK_EQUAL(asked, before);
    check_out();
    static const char *const bad[] = {"", ".", "a b", "a\tb", "a\nb", " a"};
    result r;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQUAL(start(box, bad[i], AF_UNSPEC, &r), UV_EINVAL);
    char longest[300];
    memset(longest, 'a', sizeof longest);
    longest[254] = '\0';
    CHECK_EQUAL(start(box, longest, AF_UNSPEC, &r), UV_EINVAL);
    free_box(box, &c);
}

static void no_server(void)
{
    counter c = {0};
    asyncbox_config config = check_config(&c);
    asyncbox *box = NULL;
    config.virtual_time = 0;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    ab_resolver_config servers = {.count = 1};
    int fd = bind_to(SOCK_DGRAM, 0); /* a port where nobody will listen */
    struct sockaddr_in at;
    socklen_t bytes = sizeof at;
    getsockname(fd, (void *)&at, &bytes);
    close(fd);
    ab_sockaddr_set(&servers.servers[0], (void *)&at);
    CHECK_EQUAL(ab_resolver_configure((ab_box *)box, &servers), 0);
    check_status((ab_box *)box, "plain.test.", UV_ECONNREFUSED);
    /* No descriptor for a socket is not the server's fault. */
    struct rlimit limit, less;
    getrlimit(RLIMIT_NOFILE, &limit);
    less = limit;
    less.rlim_cur = 1;
    setrlimit(RLIMIT_NOFILE, &less);
    result r = look_up((ab_box *)box, "plain.test.", AF_INET);
    setrlimit(RLIMIT_NOFILE, &limit);
    CHECK_EQUAL(r.status, UV_EMFILE);
    free_box((ab_box *)box, &c);
    check_out();
}

/* The fifth of them is cancelled by the callback of the first. */
typedef struct crowd {
    result results[5];
} crowd;

static void on_first(void *data, int status, const ab_answer *answer)
{
    crowd *all = data;
    on_done(&all->results[0], status, answer);
    ab_lookup_cancel(all->results[4].lookup);
}

static void cancelled(void)
{
    counter c = {0};
    ab_box *box = new_box(&c, 2000, 2);
    crowd all = {0};
    static const char *const names[] = {"plain.test.", "silent.test.",
                                        "localhost", "192.0.2.1",
                                        "silent.test."};
    for (int turns = 0; turns < 3; turns++) {
        for (int i = 0; i < 5; i++)
            CHECK_EQUAL(start(box, names[i], AF_INET, &all.results[i]), 0);
        for (int i = 0; i < turns; i++)
            uv_run(&box->loop.uv, UV_RUN_NOWAIT);
        for (int i = 0; i < 5; i++)
            if (!all.results[i].ended)
                ab_lookup_cancel(all.results[i].lookup);
        uv_run(&box->loop.uv, UV_RUN_NOWAIT);
        CHECK_EQUAL(all.results[1].ended, 0);
        CHECK_EQUAL(all.results[4].ended, 0);
    }
    /* One goes on while others on the same socket are given up. */
    for (int i = 1; i < 5; i++)
        CHECK_EQUAL(start(box, "silent.test.", AF_INET, &all.results[i]), 0);
    memset(&all.results[0], 0, sizeof all.results[0]);
    CHECK_EQUAL(ab_lookup_start(box, "plain.test.", AF_INET, on_first, &all,
                                &all.results[0].lookup),
                0);
    ab_lookup_cancel(all.results[2].lookup);
    wait_for(box, &all.results[0]);
    CHECK_EQUAL(all.results[0].status, 0);
    ab_lookup_cancel(all.results[1].lookup);
    ab_lookup_cancel(all.results[3].lookup);
    for (int i = 1; i < 5; i++)
        CHECK_EQUAL(all.results[i].ended, 0);
    free_box(box, &c);
}

static void closed_while_pending(void)
{
    static const char *const names[] = {"silent.test.", "plain.test.",
                                        "localhost", "big.test."};
    int fds = check_count_fds();
    for (int turns = 0; turns < 6; turns++) {
        counter c = {0};
        result results[100];
        ab_box *box = new_box(&c, 2000, 2);
        for (int i = 0; i < 100; i++)
            CHECK_EQUAL(start(box, names[i % 4], AF_UNSPEC, &results[i]), 0);
        for (int i = 0; i < turns; i++)
            uv_run(&box->loop.uv, UV_RUN_NOWAIT);
        free_box(box, &c);
        for (int i = 0; i < 100; i++)
            CHECK_EQUAL(results[i].ended, 1);
        CHECK_EQUAL(results[0].status, ASYNCBOX_ECLOSED);
        check_fds_at_most(fds);
    }
}

static void thousands_at_once(void)
{
    enum { COUNT = 5000 };
    counter c = {0};
    ab_box *box = new_box(&c, 2000, 4);
    result *results = calloc(COUNT, sizeof *results);
    int64_t before = ab_loop_real_now();
    int good = 0;
    for (int i = 0; i < COUNT; i++) {
        char name[40];
        snprintf(name, sizeof name, "n%d.test.", i);
        CHECK_EQUAL(start(box, name, AF_UNSPEC, &results[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        wait_for(box, &results[i]);
        good += results[i].status == 0 && results[i].count == 2;
    }
    CHECK_EQUAL(good, COUNT);
    printf("resolver_spec: %d look-ups at once in %.0f ms\n", (int)COUNT,
           (double)(ab_loop_real_now() - before) / 1e6);
    free(results);
    free_box(box, &c);
}

static void look_up_once(counter *c, const void *name)
{
    ab_box *box = new_box(c, 20, 2);
    if (!box)
        return;
    result r;
    int err = start(box, name, AF_UNSPEC, &r);
    if (!err)
        wait_for(box, &r);
    else
        CHECK_EQUAL(err, UV_ENOMEM);
    CHECK(err || r.status == 0 || r.status == UV_ENOMEM ||
          r.status == UV_EAI_AGAIN);
    free_box(box, c);
    CHECK_EQUAL(r.ended, !err);
}

static void counted_against_the_box(void)
{
    asyncbox *box = NULL;
    asyncbox_config config = check_config(NULL);
    config.memory_bytes = 2 << 20;
    config.virtual_time = 0;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    ab_box *b = (ab_box *)box;
    result *results = calloc(2000, sizeof *results);
    int started = 0;
    size_t before = b->limits.used_bytes;
    while (started < 2000 &&
           start(b, "silent.test.", AF_INET, &results[started]) == 0)
        started++;
    CHECK(started > 50 && started < 2000);
    for (int i = 0; i < started; i++)
        ab_lookup_cancel(results[i].lookup);
    CHECK(b->limits.used_bytes < before + 4096);
    free(results);
    free_box(b, NULL);
}

static void without_libcares(void)
{
    counter c = {0};
    ab_box *box = new_box(&c, 0, 0);
    ab_resolver_config config = {.threads = 1};
    CHECK_EQUAL(ab_resolver_configure(box, &config), 0);
    check_text(box, "localhost", AF_INET, "127.0.0.1");
    check_text(box, "plain.test.", AF_UNSPEC, "192.0.2.9");
    check_status(box, "none.test.", UV_EAI_NONAME);
    result r, many[20];
    for (int i = 0; i < 20; i++)
        CHECK_EQUAL(start(box, "plain.test.", AF_INET, &many[i]), 0);
    ab_lookup_cancel(many[0].lookup);
    ab_lookup_cancel(many[19].lookup);
    ab_lookup *lookup;
    ab_sockaddr loopback;
    ab_sockaddr_parse("127.0.0.1", 0, &loopback);
    CHECK_EQUAL(ab_lookup_reverse(box, &loopback, on_done, &r, &lookup),
                UV_ENOTSUP);
    free_box(box, &c);
    CHECK_EQUAL(many[0].ended, 0);
    CHECK_EQUAL(many[1].ended, 1);
    check_out();
}

int main(void)
{
    asyncbox_free((asyncbox *)check_box(NULL, "", 0)); /* libuv's own */
    start_name_server();
    answers_by_the_server();
    nobody_is_asked();
    no_server();
    cancelled();
    closed_while_pending();
    thousands_at_once();
    check_refused("a server", look_up_once, "plain.test.", 1);
    check_refused("no server", look_up_once, "127.0.0.1", 1);
    counted_against_the_box();
    without_libcares();
    stop_name_server();
    return check_done("resolver_spec");
}
