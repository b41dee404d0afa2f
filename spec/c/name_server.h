/* name_server.h - a name server on a thread, for C specs. */
#ifndef NAME_SERVER_H
#define NAME_SERVER_H

#include "check.h"
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* What it does follows from the first label of the name:
 *   many     three addresses        none      NXDOMAIN
 *   six      an IPv6 address only   empty     no record at all
 *   fail     SERVFAIL               refuse    REFUSED
 *   silent   nothing                garbage   random bytes after the id
 *   forged   another id first       big       truncated; whole by TCP
 *   hangup   truncated; by TCP it hangs up
 *   else     192.0.2.1 and 2001:db8::1 */

static int udp_fd, tcp_fd, server_port;
static atomic_int asked, asked_by_tcp, stop_serving;

static int bind_to(int type, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), room = 8 << 20, one = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (void *)&at, sizeof at) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* One port for both. */
static inline void open_server(void)
{
    for (int i = 0; i < 50; i++) {
        struct sockaddr_in at;
        socklen_t bytes = sizeof at;
        udp_fd = bind_to(SOCK_DGRAM, 0);
        getsockname(udp_fd, (void *)&at, &bytes);
        server_port = ntohs(at.sin_port);
        tcp_fd = bind_to(SOCK_STREAM, server_port);
        if (tcp_fd >= 0) {
            CHECK_EQUAL(listen(tcp_fd, 64), 0);
            return;
        }
        close(udp_fd);
    }
    CHECK(!"no port");
}

static size_t question_end(const unsigned char *m)
{
    size_t at = 12;
    while (m[at])
        at += m[at] + 1u;
    return at + 5;
}

static size_t add_record(unsigned char *m, size_t at, int type,
                         const void *data, size_t bytes)
{
    const unsigned char head[] = {0xc0, 12, 0, (unsigned char)type, 0, 1, 0, 0,
                                  0,    60, 0, (unsigned char)bytes};
    memcpy(m + at, head, sizeof head);
    memcpy(m + at + sizeof head, data, bytes);
    m[7]++;
    return at + sizeof head + bytes;
}

static int begins(const unsigned char *m, const char *label)
{
    return m[12] >= strlen(label) && memcmp(m + 13, label, strlen(label)) == 0;
}

/* Makes the answer in place of the question; 0: none. */
static size_t make_answer(unsigned char *m, size_t n, int by_tcp)
{
    static const unsigned char v6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 1};
    unsigned char v4[4] = {192, 0, 2, 1};
    size_t at = question_end(m);
    int type = m[at - 3];
    if (begins(m, "silent"))
        return 0;
    if (begins(m, "garbage")) {
        for (size_t i = 2; i < n; i++)
            m[i] = (unsigned char)(i * 37);
        return n;
    }
    m[2] = 0x81;
    m[3] = 0x80;
    m[10] = m[11] = 0;
    if (begins(m, "none"))
        m[3] |= 3;
    else if (begins(m, "fail"))
        m[3] |= 2;
    else if (begins(m, "refuse"))
        m[3] |= 5;
    else if (!by_tcp && (begins(m, "big") || begins(m, "hangup")))
        m[2] |= 2;
    else if (begins(m, "empty"))
        return at;
    else if (type == 28 && !begins(m, "many"))
        at = add_record(m, at, 28, v6, 16);
    else if (type == 1 && !begins(m, "six"))
        for (int i = 0; i < (begins(m, "many") ? 3 : 1); i++, v4[3]++)
            at = add_record(m, at, 1, v4, 4);
    return at;
}

static void serve_udp(void)
{
    unsigned char m[600];
    struct sockaddr_in from;
    socklen_t bytes = sizeof from;
    ssize_t n = recvfrom(udp_fd, m, 512, 0, (void *)&from, &bytes);
    if (n < 17)
        return;
    asked++;
    if (begins(m, "forged")) {
        unsigned char other[600];
        memcpy(other, m, (size_t)n);
        other[1] ^= 1;
        size_t len = make_answer(other, (size_t)n, 0);
        other[len - 1] = 66;
        sendto(udp_fd, other, len, 0, (void *)&from, bytes);
    }
    size_t len = make_answer(m, (size_t)n, 0);
    if (len)
        sendto(udp_fd, m, len, 0, (void *)&from, bytes);
}

static void serve_tcp(void)
{
    unsigned char m[602];
    int fd = accept(tcp_fd, NULL, NULL);
    asked_by_tcp++;
    size_t have = 0, want = 2;
    while (have < want) {
        ssize_t n = recv(fd, m + have, sizeof m - have, 0);
        if (n <= 0)
            break;
        have += (size_t)n;
        if (have >= 2)
            want = 2 + (size_t)(m[0] << 8 | m[1]);
    }
    if (have >= want && want > 17 && !begins(m + 2, "hangup")) {
        size_t len = make_answer(m + 2, want - 2, 1);
        m[0] = (unsigned char)(len >> 8);
        m[1] = (unsigned char)len;
        send(fd, m, len + 2, MSG_NOSIGNAL);
    }
    close(fd);
}

static inline void *serve_names(void *arg)
{
    (void)arg;
    struct pollfd at[2] = {{udp_fd, POLLIN, 0}, {tcp_fd, POLLIN, 0}};
    while (!stop_serving) {
        if (poll(at, 2, 50) <= 0)
            continue;
        if (at[0].revents)
            serve_udp();
        if (at[1].revents)
            serve_tcp();
    }
    return NULL;
}

static pthread_t server_thread;

static inline void start_name_server(void)
{
    open_server();
    CHECK_EQUAL(pthread_create(&server_thread, NULL, serve_names, NULL), 0);
}

static inline void stop_name_server(void)
{
    stop_serving = 1;
    pthread_join(server_thread, NULL);
}

#endif
