/* W14 floor: stream BYTES: from one end of a TCP connection to the other in
 * pieces of 64 KiB, both on one libuv loop. */
#include "util.h"
#include <uv.h>

enum { PIECE = 65536 };
static uv_loop_t *loop;
static uv_tcp_t server, from, to;
static uv_connect_t connecting;
static uv_write_t writing;
static char piece[PIECE], taken[PIECE];
static double bytes, sent, got;

static void send_more(void);

static void on_written(uv_write_t *req, int status) {
  (void)req;
  CHECK(status == 0);
  send_more();
}

static void send_more(void) {
  while (sent < bytes) {
    uv_buf_t buf = uv_buf_init(piece, PIECE);
    int n = uv_try_write((uv_stream_t *)&from, &buf, 1);
    if (n < 0) n = 0;
    sent += PIECE;
    if (n == PIECE) continue;
    buf = uv_buf_init(piece + n, (unsigned)(PIECE - n));
    CHECK(uv_write(&writing, (uv_stream_t *)&from, &buf, 1, on_written) == 0);
    return;
  }
  uv_close((uv_handle_t *)&from, NULL);
}

static void on_connected(uv_connect_t *req, int status) {
  (void)req;
  CHECK(status == 0);
  send_more();
}

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *buf) {
  (void)h;
  (void)n;
  *buf = uv_buf_init(taken, PIECE);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
  (void)buf;
  if (n == 0) return;
  if (n > 0) { got += (double)n; return; }
  uv_close((uv_handle_t *)s, NULL);
  uv_close((uv_handle_t *)&server, NULL);
}

static void on_connection(uv_stream_t *s, int status) {
  CHECK(status == 0);
  uv_tcp_init(loop, &to);
  CHECK(uv_accept(s, (uv_stream_t *)&to) == 0);
  uv_read_start((uv_stream_t *)&to, on_alloc, on_read);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  struct sockaddr_in at;
  int len = sizeof at;
  double t0 = now();
  bytes = atof(argv[1]);
  loop = uv_default_loop();
  uv_ip4_addr("127.0.0.1", 0, &at);
  uv_tcp_init(loop, &server);
  CHECK(uv_tcp_bind(&server, (struct sockaddr *)&at, 0) == 0);
  CHECK(uv_listen((uv_stream_t *)&server, 16, on_connection) == 0);
  uv_tcp_getsockname(&server, (struct sockaddr *)&at, &len);
  uv_tcp_init(loop, &from);
  uv_tcp_connect(&connecting, &from, (struct sockaddr *)&at, on_connected);
  uv_run(loop, UV_RUN_DEFAULT);
  CHECK(got == bytes);
  printf("ok n=%.0f t=%.6f\n", bytes, now() - t0);
  return 0;
}
