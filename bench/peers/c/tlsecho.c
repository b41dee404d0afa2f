/* W8t, TLS echo in C.
 *   tlsecho serve PORT CERT KEY      libuv + OpenSSL with memory BIOs: the floor
 *   tlsecho gen HOST PORT CONNECTIONS SECONDS
 * gen is a load generator like echogen: every connection sends 64 bytes, waits
 * for the same 64 bytes, checks them, and sends the next. */
#define _GNU_SOURCE
#include "util.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define MSG 64

/* ---- the server ---- */

struct peer { uv_tcp_t tcp; SSL *ssl; BIO *in, *out; };
struct wr { uv_write_t w; char data[]; };
static SSL_CTX *ctx;

static void on_closed(uv_handle_t *h) {
  struct peer *p = (struct peer *)h;
  SSL_free(p->ssl);
  free(p);
}
static void on_alloc(uv_handle_t *h, size_t s, uv_buf_t *b) {
  static char buffer[65536];
  (void)h; (void)s;
  *b = uv_buf_init(buffer, sizeof buffer);
}
static void on_written(uv_write_t *w, int st) { (void)st; free(w); }
static void flush(struct peer *p) {
  char out[65536];
  int n;
  while ((n = BIO_read(p->out, out, sizeof out)) > 0) {
    uv_buf_t b = uv_buf_init(out, (unsigned)n);
    int k = uv_try_write((uv_stream_t *)p, &b, 1);
    if (k == n) continue;
    if (k < 0) k = 0;
    struct wr *w = malloc(sizeof *w + (size_t)(n - k));
    memcpy(w->data, out + k, (size_t)(n - k));
    b = uv_buf_init(w->data, (unsigned)(n - k));
    uv_write(&w->w, (uv_stream_t *)p, &b, 1, on_written);
  }
}
static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
  struct peer *p = (struct peer *)s;
  char plain[16384];
  int k = 0;
  if (n > 0) {
    CHECK(BIO_write(p->in, b->base, (int)n) == n);
    while ((k = SSL_read(p->ssl, plain, sizeof plain)) > 0) CHECK(SSL_write(p->ssl, plain, k) == k);
    flush(p);
  }
  if (n < 0 || (k <= 0 && SSL_get_error(p->ssl, k) != SSL_ERROR_WANT_READ)) {
    uv_read_stop(s);
    if (!uv_is_closing((uv_handle_t *)s)) uv_close((uv_handle_t *)s, on_closed);
  }
}
static void on_conn(uv_stream_t *srv, int st) {
  CHECK(st == 0);
  struct peer *p = calloc(1, sizeof *p);
  uv_tcp_init(srv->loop, &p->tcp);
  CHECK(uv_accept(srv, (uv_stream_t *)p) == 0);
  uv_tcp_nodelay(&p->tcp, 1);
  p->ssl = SSL_new(ctx);
  p->in = BIO_new(BIO_s_mem());
  p->out = BIO_new(BIO_s_mem());
  SSL_set_bio(p->ssl, p->in, p->out);
  SSL_set_accept_state(p->ssl);
  uv_read_start((uv_stream_t *)p, on_alloc, on_read);
}
static int serve(int port, const char *cert, const char *key) {
  ctx = SSL_CTX_new(TLS_server_method());
  CHECK(SSL_CTX_use_certificate_chain_file(ctx, cert) == 1);
  CHECK(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
  struct sockaddr_in a;
  uv_ip4_addr("127.0.0.1", port, &a);
  uv_loop_t *l = uv_default_loop();
  uv_tcp_t srv;
  uv_tcp_init(l, &srv);
  CHECK(uv_tcp_bind(&srv, (struct sockaddr *)&a, 0) == 0);
  CHECK(uv_listen((uv_stream_t *)&srv, 128, on_conn) == 0);
  return uv_run(l, UV_RUN_DEFAULT);
}

/* ---- the load ---- */

struct conn { int fd, got; uint32_t seq; SSL *ssl; char out[MSG], in[MSG]; };

static void fire(struct conn *c) {
  c->seq++;
  memset(c->out, 'a' + (int)(c->seq % 26), MSG);
  memcpy(c->out, &c->seq, sizeof c->seq);
  c->got = 0;
  CHECK(SSL_write(c->ssl, c->out, MSG) == MSG);
}
static void dial(struct conn *c, const struct sockaddr_in *a) {
  int one = 1;
  double give_up = now() + 10;
  for (;;) { /* the server may still be starting */
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(c->fd >= 0);
    if (connect(c->fd, (const struct sockaddr *)a, sizeof *a) == 0) break;
    close(c->fd);
    CHECK(now() < give_up);
    usleep(20000);
  }
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  c->ssl = SSL_new(ctx);
  SSL_set_fd(c->ssl, c->fd);
  CHECK(SSL_connect(c->ssl) == 1);
}
static int generate(const char *host, int port, int n, double secs) {
  ctx = SSL_CTX_new(TLS_client_method());
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  CHECK(inet_pton(AF_INET, host, &a.sin_addr) == 1);
  struct conn *cs = calloc((size_t)n, sizeof *cs);
  int ep = epoll_create1(0);
  for (int i = 0; i < n; i++) {
    dial(&cs[i], &a);
    /* Sockets stay blocking: only what is readable is read, and tickets come before the first echo. */
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &cs[i]};
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, cs[i].fd, &e) == 0);
  }
  uint64_t trips = 0, all = 0;
  double begin = now() + 0.3, start = 0, end = 0;
  int counting = 0;
  for (int i = 0; i < n; i++) fire(&cs[i]);
  for (;;) {
    struct epoll_event ev[64];
    int k = epoll_wait(ep, ev, 64, 2000);
    CHECK(k > 0); /* a stalled server is a failure */
    double t = now();
    if (!counting && t >= begin) counting = 1, start = t, end = t + secs, trips = 0;
    if (counting && t >= end) { end = t; break; }
    for (int i = 0; i < k; i++) {
      struct conn *c = ev[i].data.ptr;
      int r = SSL_read(c->ssl, c->in + c->got, MSG - c->got);
      CHECK(r > 0);
      c->got += r;
      if (c->got < MSG) continue;
      CHECK(memcmp(c->in, c->out, MSG) == 0);
      trips++, all++;
      fire(c);
    }
  }
  printf("ok n=%llu t=%.6f all=%llu\n", (unsigned long long)trips, end - start, (unsigned long long)all);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 5 && !strcmp(argv[1], "serve")) return serve(atoi(argv[2]), argv[3], argv[4]);
  CHECK(argc == 6 && !strcmp(argv[1], "gen"));
  return generate(argv[2], atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
}
