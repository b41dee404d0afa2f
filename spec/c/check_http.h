/* check_http.h - for C specs of asyncbox.http: a server on loopback that
 * answers one connection after the other, and boxes that talk to it.  Who
 * includes it says what an answer is, and first how long a case may take. */
#ifndef CHECK_HTTP_H
#define CHECK_HTTP_H

#include "check_life.h"
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

/* Reads a request, answers it and closes. */
static void answer(int fd);

static inline int listen_on(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQUAL(bind(fd, (void *)&address, bytes), 0);
    CHECK_EQUAL(listen(fd, 128), 0);
    CHECK_EQUAL(getsockname(fd, (void *)&address, &bytes), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* A thread; arg: the listening descriptor. */
static inline void *serve(void *arg)
{
    for (;;) {
        int fd = accept(*(int *)arg, NULL, NULL);
        if (fd < 0)
            return NULL;
        answer(fd);
    }
}

static inline asyncbox *new_box(counter *c)
{
    asyncbox_config config = check_config(c);
    config.sandbox = 0;
    config.virtual_time = 0;
    asyncbox *box = NULL;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    return box;
}

/* Spawns the code with the port in the place of %d; 0 or a code. */
static inline int spawn_with_port(asyncbox *box, const char *code, int port)
{
    char text[2048];
    const char *at = strstr(code, "%d");
    snprintf(text, sizeof text, "%.*s%d%s", (int)(at - code), code, port,
             at + 2);
    return check_spawn(box, text);
}

/* Whatever has not answered never will: this must not wait for it. */
static inline void free_at_once(asyncbox *box, const counter *c)
{
    check_within(CASE_SECONDS);
    CHECK_EQUAL(asyncbox_free(box), 0);
    check_within(0);
    counter_check(c);
}

/* Runs `load`, if it is not NULL, and then `code`, of which allocation number n
 * is refused, with `on` all after it too; 0 when it has fewer. */
static inline int refused_once(const char *load, const char *code, int port,
                               size_t n, int on)
{
    counter c = {0};
    asyncbox *box = new_box(&c);
    check_in("no memory, n=%zu%s", n, on ? "+" : "");
    check_within(CASE_SECONDS);
    if (load) {
        CHECK_EQUAL(spawn_with_port(box, load, port), 0);
        CHECK_EQUAL(asyncbox_run(box), 0);
    }
    c.calls = 0;
    c.fail_at = n;
    c.fail_on = on;
    int status = spawn_with_port(box, code, port);
    if (!status)
        status = asyncbox_run(box);
    CHECK(status == 0 || status == UV_ENOMEM || status == ASYNCBOX_ESCRIPT);
    asyncbox_stats stats = check_stats(box);
    CHECK_EQUAL(stats.tasks, 0);
    CHECK_EQUAL(stats.ops, 0);
    int refused = c.refused;
    free_at_once(box, &c);
    return refused;
}

#endif
