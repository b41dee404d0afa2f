/* W5 with libcurl's multi interface.
 *   fetch MODE URL COUNT INFLIGHT BYTES_EACH [BUFFERSIZE]
 * MODE  uv       multi_socket + libuv, one uv_poll_t opened and closed per POLL/REMOVE
 *       uvlazy   the same, a socket's uv_poll_t stays armed until the socket is closed
 *       uvreset  uvlazy + curl_easy_reset and all options set anew for every request
 *       uvnew    uvlazy + a new easy handle for every request
 *       epoll    multi_socket straight on epoll, armed until closed
 *       poll     curl_multi_perform + curl_multi_poll */
#define _GNU_SOURCE
#include "util.h"
#include <curl/curl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

static CURLM *multi;
static uv_loop_t *loop;
static uv_timer_t timeout;
static const char *url;
static long count, started, done;
static double bytes_each, bytes_total;
static long bufsize;
static int lazy, reset, fresh, ep = -1;
static long ep_timeout = -1;

static size_t on_body(char *p, size_t s, size_t n, void *u) {
  (void)p;
  *(double *)u += (double)(s * n);
  return s * n;
}

struct req { double got; };
static void drain(void);

/* ---- sockets ---- */
struct sock {
  uv_poll_t poll;
  curl_socket_t fd;
  int events;
};
#define MAXFD 65536
static struct sock *socks[MAXFD];

static void on_free(uv_handle_t *h) { free(h); }
static void on_poll(uv_poll_t *p, int status, int events) {
  struct sock *s = (struct sock *)p;
  int flags = 0, running;
  if (status < 0) flags = CURL_CSELECT_ERR;
  if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
  curl_multi_socket_action(multi, s->fd, flags, &running);
  drain();
}
static int on_socket(CURL *e, curl_socket_t fd, int what, void *up, void *sp) {
  (void)e; (void)up;
  struct sock *s = lazy ? socks[fd] : sp;
  if (what == CURL_POLL_REMOVE) {
    if (!s || lazy) return 0;
    uv_poll_stop(&s->poll);
    uv_close((uv_handle_t *)&s->poll, on_free);
    curl_multi_assign(multi, fd, NULL);
    return 0;
  }
  int ev = 0;
  if (what & CURL_POLL_IN) ev |= UV_READABLE;
  if (what & CURL_POLL_OUT) ev |= UV_WRITABLE;
  if (ep >= 0) {
    int x = (ev & UV_READABLE ? EPOLLIN : 0) | (ev & UV_WRITABLE ? EPOLLOUT : 0);
    struct epoll_event v = {.events = (uint32_t)x, .data.fd = fd};
    if (!s) {
      s = socks[fd] = calloc(1, sizeof *s);
      s->fd = fd;
      CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &v) == 0);
    } else if (s->events != ev) {
      CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &v) == 0);
    }
    s->events = ev;
    return 0;
  }
  if (!s) {
    s = calloc(1, sizeof *s);
    s->fd = fd;
    CHECK(uv_poll_init_socket(loop, &s->poll, fd) == 0);
    if (lazy) socks[fd] = s;
    else curl_multi_assign(multi, fd, s);
  }
  if (s->events != ev) {
    s->events = ev;
    uv_poll_start(&s->poll, ev, on_poll);
  }
  return 0;
}
static int on_close_socket(void *u, curl_socket_t fd) {
  (void)u;
  if (lazy && socks[fd]) {
    struct sock *s = socks[fd];
    socks[fd] = NULL;
    if (ep >= 0) free(s);
    else {
      uv_poll_stop(&s->poll);
      uv_close((uv_handle_t *)&s->poll, on_free);
    }
  }
  return close(fd);
}

/* ---- requests ---- */
static void setup(CURL *e, struct req *r) {
  r->got = 0;
  curl_easy_setopt(e, CURLOPT_URL, url);
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, &r->got);
  curl_easy_setopt(e, CURLOPT_PRIVATE, r);
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  if (bufsize) curl_easy_setopt(e, CURLOPT_BUFFERSIZE, bufsize);
  if (lazy) curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
}
static void drain(void) {
  CURLMsg *m;
  int left;
  while ((m = curl_multi_info_read(multi, &left))) {
    CHECK(m->msg == CURLMSG_DONE);
    CURL *e = m->easy_handle;
    if (m->data.result != CURLE_OK) fprintf(stderr, "%s\n", curl_easy_strerror(m->data.result));
    CHECK(m->data.result == CURLE_OK);
    struct req *r;
    long code;
    curl_easy_getinfo(e, CURLINFO_PRIVATE, (char **)&r);
    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &code);
    CHECK(code == 200 && r->got == bytes_each);
    bytes_total += r->got;
    done++;
    curl_multi_remove_handle(multi, e);
    if (started < count) {
      started++;
      if (fresh) {
        curl_easy_cleanup(e);
        e = curl_easy_init();
        setup(e, r);
      } else if (reset) {
        curl_easy_reset(e);
        setup(e, r);
      }
      r->got = 0;
      curl_multi_add_handle(multi, e);
    } else {
      curl_easy_cleanup(e);
      free(r);
      if (done == count && loop) uv_close((uv_handle_t *)&timeout, NULL);
    }
  }
}
static void on_timeout(uv_timer_t *t) {
  (void)t;
  int running;
  curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
  drain(); /* a transfer may well end in the timer's callback */
}
static int set_timer(CURLM *m, long ms, void *u) {
  (void)m; (void)u;
  if (ep >= 0) { ep_timeout = ms; return 0; }
  if (done == count) return 0;
  if (ms < 0) uv_timer_stop(&timeout);
  else uv_timer_start(&timeout, on_timeout, (uint64_t)ms, 0);
  return 0;
}

int main(int argc, char **argv) {
  CHECK(argc >= 6);
  const char *mode = argv[1];
  url = argv[2];
  count = atol(argv[3]);
  long inflight = atol(argv[4]);
  bytes_each = atof(argv[5]);
  if (argc > 6) bufsize = atol(argv[6]);
  if (inflight > count) inflight = count;
  reset = !strcmp(mode, "uvreset");
  fresh = !strcmp(mode, "uvnew");
  lazy = strcmp(mode, "uv") && strcmp(mode, "poll");
  if (!strcmp(mode, "epoll")) ep = epoll_create1(0);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  multi = curl_multi_init();
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, inflight + 8);
  curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
  double t0 = now();
  int use_uv = !strncmp(mode, "uv", 2);
  if (use_uv || ep >= 0) {
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
  }
  if (use_uv) {
    loop = uv_default_loop();
    uv_timer_init(loop, &timeout);
  }
  for (long i = 0; i < inflight; i++) {
    struct req *r = calloc(1, sizeof *r);
    CURL *e = curl_easy_init();
    setup(e, r);
    started++;
    curl_multi_add_handle(multi, e);
  }
  int running;
  if (use_uv) {
    while (done < count) uv_run(loop, UV_RUN_ONCE);
  } else if (ep >= 0) {
    while (done < count) {
      struct epoll_event ev[128];
      int k = ep_timeout == 0 ? 0 : epoll_wait(ep, ev, 128, (int)ep_timeout);
      if (k == 0) {
        ep_timeout = -1;
        curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
      }
      for (int i = 0; i < k; i++) {
        int f = (ev[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                (ev[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                (ev[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(multi, ev[i].data.fd, f, &running);
      }
      drain();
    }
  } else {
    while (done < count) {
      curl_multi_perform(multi, &running);
      drain();
      if (done < count) curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
  }
  double t = now() - t0;
  CHECK(done == count && bytes_total == bytes_each * (double)count);
  printf("ok n=%ld t=%.6f bytes=%.0f\n", count, t, bytes_total);
  return 0;
}
