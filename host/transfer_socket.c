/* transfer_socket.c - curl's sockets as poll handles of the box's loop.
 *
 * A socket that we opened for curl keeps its poll handle armed from one
 * transfer to the next, until curl closes it: arming anew for each would cost
 * six epoll_ctl calls a request.  Other descriptors that curl asks to watch
 * (the pipe of its name look-ups) are closed behind our back, so theirs goes
 * as soon as curl says that it has lost interest. */
#include "transfer_client.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct ab_sock {
    uv_poll_t poll;
    ab_client *client;
    curl_socket_t fd;
    int armed;  /* events that the loop looks for */
    int wanted; /* events that curl asked for; 0: the connection is idle */
    int ours;
    int heard; /* curl has waited for bytes here: it is connected */
};

static void on_closed(uv_handle_t *handle)
{
    ab_sock *sock = (ab_sock *)(void *)handle;
    ab_client *client = sock->client;
    ab_box_free(client->box, sock, sizeof *sock);
    ab_client_release(client);
}

static void close_sock(ab_sock *sock)
{
    sock->client->socks[sock->fd] = NULL;
    uv_close((uv_handle_t *)&sock->poll, on_closed);
}

static ab_sock *find(const ab_client *client, curl_socket_t fd)
{
    return fd >= 0 && (size_t)fd < client->socks_size ? client->socks[fd]
                                                      : NULL;
}

static int make_room(ab_client *client, curl_socket_t fd)
{
    size_t size = client->socks_size ? client->socks_size : 64;
    while (size <= (size_t)fd)
        size *= 2;
    if (size == client->socks_size)
        return 1;
    size_t old_bytes = client->socks_size * sizeof *client->socks;
    ab_sock **socks = ab_box_realloc(client->box, client->socks, old_bytes,
                                     size * sizeof *socks);
    if (!socks)
        return 0;
    for (size_t i = client->socks_size; i < size; i++)
        socks[i] = NULL;
    client->socks = socks;
    client->socks_size = size;
    return 1;
}

static ab_sock *new_sock(ab_client *client, curl_socket_t fd, int ours)
{
    if (client->closing || !make_room(client, fd))
        return NULL;
    ab_sock *sock = ab_box_alloc(client->box, sizeof *sock);
    if (!sock)
        return NULL;
    memset(sock, 0, sizeof *sock);
    if (uv_poll_init_socket(&client->box->loop.uv, &sock->poll, fd) < 0) {
        ab_box_free(client->box, sock, sizeof *sock);
        return NULL;
    }
    sock->client = client;
    sock->fd = fd;
    sock->ours = ours;
    client->handles++;
    client->socks[fd] = sock;
    return sock;
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void arm(ab_sock *sock)
{
    if (sock->wanted == sock->armed)
        return;
    sock->armed = sock->wanted;
    uv_poll_start(&sock->poll, sock->wanted, on_ready);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    ab_sock *sock = (ab_sock *)(void *)poll;
    ab_client *client = sock->client;
    if (!sock->wanted) {
        /* An idle connection that the server closes. Curl finds that out when
         * it wants to use it again; until then it would be ready for ever. */
        uv_poll_stop(poll);
        sock->armed = 0;
        return;
    }
    int flags = 0;
    curl_socket_t fd = sock->fd;
    if (status < 0) {
        /* The socket has an error, and perhaps bytes that came before it. Curl
         * reads those and finds out; told of an error it would look for none of
         * it.  libuv has stopped looking. */
        events = sock->wanted;
        sock->armed = 0;
    }
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    int running;
    client->curl->multi_socket_action(client->multi, fd, flags, &running);
    ab_client_drain(client);
    if (status < 0 && find(client, fd) == sock && sock->wanted)
        arm(sock);
}

int ab_sock_on_change(CURL *curl, curl_socket_t fd, int what, void *arg,
                      void *unused)
{
    (void)unused;
    ab_client *client = arg;
    ab_sock *sock = find(client, fd);
    if (what == CURL_POLL_REMOVE) {
        if (client->feeds)
            ab_feed_unheard(client, curl);
        /* A socket that is given up while it connects is closed by curl itself
         * (7.88), without our callback. */
        if (sock && sock->ours && sock->heard)
            sock->wanted = 0;
        else if (sock)
            close_sock(sock);
        return 0;
    }
    if (!sock) {
        /* Never a failure for curl, which would give up the whole client:
         * what it watches besides sockets it also looks at by the clock. */
        sock = new_sock(client, fd, 0);
        if (!sock)
            return 0;
    }
    sock->heard |= what & CURL_POLL_IN;
    sock->wanted = (what & CURL_POLL_IN ? UV_READABLE : 0) |
                   (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    arm(sock);
    return 0;
}

static void write_address(const struct sockaddr *address, char *text,
                          size_t bytes)
{
    text[0] = '\0';
    if (address->sa_family == AF_INET)
        uv_ip4_name((const void *)address, text, bytes);
    else if (address->sa_family == AF_INET6)
        uv_ip6_name((const void *)address, text, bytes);
}

/* Is this connection granted?  The URL was checked before, but what counts is
 * the address that its host resolved to. */
static int allowed(ab_easy *easy, const struct sockaddr *address)
{
    ab_transfer *t = easy->transfer;
    const ab_grants *grants = &easy->client->box->grants;
    if (grants->trusted)
        return 1;
    char host[AB_TRANSFER_HOST_MAX];
    int is_tls;
    if (*easy->proxy) {
        strcpy(host, easy->proxy);
        easy->denied_port = easy->proxy_port;
    } else {
        t->failure = ab_transfer_parse(ab_transfer_url(t), host,
                                       &easy->denied_port, &is_tls);
    }
    if (t->failure)
        return 0;
    if (ab_grants_address_allowed(grants, host, address))
        return 1;
    write_address(address, easy->denied, sizeof easy->denied);
    t->failure = ASYNCBOX_EDENIED;
    return 0;
}

void ab_sock_forget_file(ab_easy *easy)
{
    if (easy->unix_file >= 0)
        close(easy->unix_file);
    easy->unix_file = -1;
}

/* A sandbox connects the file that was granted, not what its name may mean by
 * then.  0 and a code in the transfer's failure, or 1. */
static int set_unix_file(ab_easy *easy, struct curl_sockaddr *address)
{
    struct sockaddr_un un;
    ab_transfer *t = easy->transfer;
    const ab_grants *grants = &easy->client->box->grants;
    if (grants->trusted)
        return 1;
    ab_sock_forget_file(easy);
    int file = ab_grants_open_socket(grants, ab_settings_unix(t));
    if (file < 0) {
        t->failure = file;
        return 0;
    }
    easy->unix_file = file;
    memset(&un, 0, sizeof un);
    un.sun_family = AF_UNIX;
    int n = snprintf(un.sun_path, sizeof un.sun_path, "/proc/self/fd/%d", file);
    address->addrlen =
        (unsigned)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
    /* Curl has room for any address there. */
    memcpy((char *)address + offsetof(struct curl_sockaddr, addr), &un,
           address->addrlen);
    return 1;
}

static int may_open(ab_easy *easy, struct curl_sockaddr *address)
{
    if (address->family == AF_UNIX)
        return set_unix_file(easy, address);
    return allowed(easy, &address->addr);
}

curl_socket_t ab_sock_on_open(void *arg, curlsocktype purpose,
                              struct curl_sockaddr *address)
{
    (void)purpose;
    ab_easy *easy = arg;
    if (!may_open(easy, address))
        return CURL_SOCKET_BAD;
    int type = address->socktype;
#ifdef SOCK_CLOEXEC
    type |= SOCK_CLOEXEC;
#endif
    int fd = socket(address->family, type, address->protocol);
    if (fd < 0) {
        if (errno != EAFNOSUPPORT) /* no IPv6 here: curl tries IPv4 */
            easy->transfer->failure = uv_translate_sys_error(errno);
        return CURL_SOCKET_BAD;
    }
    ab_sock *stale = find(easy->client, fd); /* see ab_sock_on_change */
    if (stale)
        close_sock(stale);
    if (!new_sock(easy->client, fd, 1)) {
        easy->transfer->failure = UV_ENOMEM;
        close(fd);
        return CURL_SOCKET_BAD;
    }
    easy->transfer->failure = 0; /* of another address of the same name */
    return fd;
}

int ab_sock_on_close(void *arg, curl_socket_t fd)
{
    ab_sock *sock = find(arg, fd);
    if (sock)
        close_sock(sock);
    return close(fd);
}

void ab_sock_sweep(ab_client *client)
{
    for (size_t i = 0; i < client->socks_size; i++)
        if (client->socks[i])
            close_sock(client->socks[i]);
}
