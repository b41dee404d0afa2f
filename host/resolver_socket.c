/* resolver_socket.c - the sockets of libcares: ours, so that they are watched
 * by the box's loop, raise no signals, and that we see what servers say. */
#include "resolver_parts.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

enum { RCODE_SERVFAIL = 2, RCODE_NOTIMP = 4, RCODE_REFUSED = 5 };

typedef struct sock {
    uv_poll_t poll;
    ab_link link; /* in channel->socks */
    ab_channel *channel;
    ab_resolver *resolver;
    ares_socket_t fd;
} sock;

/* ---- watching ---- */

static void on_sock_closed(uv_handle_t *handle)
{
    sock *s = ab_container(handle, sock, poll);
    ab_resolver *r = s->resolver;
    ab_box_free(r->box, s, sizeof *s);
    r->handles--;
    ab_resolver_unref(r);
}

static void close_sock(sock *s)
{
    ab_list_remove(&s->link);
    uv_close((uv_handle_t *)&s->poll, on_sock_closed);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    sock *s = ab_container(poll, sock, poll);
    ab_channel *c = s->channel;
    ab_resolver *r = s->resolver;
    ares_socket_t fd = s->fd;
    if (status < 0)
        events = UV_READABLE | UV_WRITABLE;
    r->cares->process_fd(c->ares, events & UV_READABLE ? fd : ARES_SOCKET_BAD,
                         events & UV_WRITABLE ? fd : ARES_SOCKET_BAD);
    ab_channel_settle(c);
    ab_resolver_deliver(r);
}

static sock *find_sock(const ab_channel *c, ares_socket_t fd)
{
    for (ab_link *at = c->socks.next; at != &c->socks; at = at->next) {
        sock *s = ab_container(at, sock, link);
        if (s->fd == fd)
            return s;
    }
    return NULL;
}

/* NULL: no memory; then the look-ups on it time out. */
static sock *new_sock(ab_channel *c, ares_socket_t fd)
{
    ab_resolver *r = c->resolver;
    sock *s = ab_box_alloc(r->box, sizeof *s);
    if (!s)
        return NULL;
    memset(s, 0, sizeof *s);
    if (uv_poll_init_socket(&r->box->loop.uv, &s->poll, fd) < 0) {
        ab_box_free(r->box, s, sizeof *s);
        return NULL;
    }
    s->channel = c;
    s->resolver = r;
    s->fd = fd;
    r->handles++;
    ab_list_append(&c->socks, &s->link);
    return s;
}

/* What libcares wants to hear of; nothing: it is about to close it. */
void ab_channel_on_interest(void *arg, ares_socket_t fd, int readable,
                            int writable)
{
    ab_channel *c = arg;
    sock *s = find_sock(c, fd);
    if (!readable && !writable) {
        if (s)
            close_sock(s);
        return;
    }
    if (!s)
        s = new_sock(c, fd);
    if (s)
        uv_poll_start(&s->poll,
                      (readable ? UV_READABLE : 0) |
                          (writable ? UV_WRITABLE : 0),
                      on_ready);
}

void ab_channel_close_socks(ab_channel *c)
{
    for (ab_link *link; (link = ab_list_first(&c->socks));)
        close_sock(ab_container(link, sock, link));
}

/* ---- making, reading, writing ---- */

static ares_socket_t make_socket(int family, int type, int protocol, void *arg)
{
    ab_channel *c = arg;
    int one = 1;
#ifdef SOCK_CLOEXEC
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
#else
    int fd = socket(family, type, protocol);
    if (fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, O_NONBLOCK);
    }
#endif
    c->trouble = fd < 0 ? uv_translate_sys_error(errno) : 0;
    if (fd >= 0 && type == SOCK_STREAM) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef SO_NOSIGPIPE
        setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
    }
    return fd;
}

static int close_socket(ares_socket_t fd, void *arg)
{
    (void)arg;
    return close(fd);
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *to,
                          ares_socklen_t bytes, void *arg)
{
    (void)arg;
    return connect(fd, to, bytes);
}

/* libcares goes on to the next server, and forgets, when one cannot tell. */
static ares_ssize_t receive(ares_socket_t fd, void *data, size_t bytes,
                            int flags, struct sockaddr *from,
                            ares_socklen_t *from_bytes, void *arg)
{
    ab_channel *c = arg;
    ssize_t n = recvfrom(fd, data, bytes, flags, from, from_bytes);
    if (from && n >= AB_MESSAGE_HEADER_BYTES) {
        int rcode = ((const unsigned char *)data)[3] & 15;
        if (rcode == RCODE_SERVFAIL || rcode == RCODE_NOTIMP ||
            rcode == RCODE_REFUSED)
            c->failures++;
    }
    return n;
}

/* A server that hangs up on us must not be a SIGPIPE for the whole process.
 * That nobody listens is reported once, to whoever sends next: tried again,
 * this packet is refused too, which ends all questions at once and not this
 * one. */
static ares_ssize_t transmit(ares_socket_t fd, const struct iovec *parts,
                             int count, void *arg)
{
    (void)arg;
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = (struct iovec *)parts;
    message.msg_iovlen = (size_t)count;
    ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (n < 0 && errno == ECONNREFUSED)
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
    return n;
}

const struct ares_socket_functions ab_channel_socket_functions = {
    make_socket, close_socket, connect_socket, receive, transmit};
