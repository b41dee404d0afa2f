/* W7 in C.
 *   files sync|uv write DIR    300 files, 10 writes of 11,000 bytes each
 *   files sync|uv read  DIR    read them back whole
 *   files sync|uv big   FILE   1 GiB in 64 KiB chunks
 *   files job     write|read   the same
 * uv: libuv's thread pool, all 300 files at once, each call a round trip of its own.
 * job: libuv's thread pool, all that is done to a file in one round trip. */
#define _GNU_SOURCE
#include "util.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define FILES 300
#define WRITES 10
#define CHUNK 11000
#define BIGCHUNK 65536
static char chunk[CHUNK];
static double total;
static int finished;
static uv_loop_t *loop;

static void path_of(char *p, size_t n, const char *dir, int i) { snprintf(p, n, "%s/f%03d.txt", dir, i); }

struct job {
  uv_fs_t req;
  char path[512];
  char *buf;
  int fd, left, reading;
  int64_t off, size;
};
static void step(struct job *j);
static void on_closed(uv_fs_t *r) {
  uv_fs_req_cleanup(r);
  free(((struct job *)r)->buf);
  finished++;
}
static void on_io(uv_fs_t *r) {
  struct job *j = (struct job *)r;
  ssize_t n = r->result;
  uv_fs_req_cleanup(r);
  CHECK(n >= 0);
  total += (double)n;
  if (j->reading == 0) { CHECK(n == CHUNK); j->left--; }
  else if (j->reading == 1) { j->off += n; j->left = j->off < j->size; CHECK(n > 0); }
  else { j->off += n; j->left = n > 0; }
  step(j);
}
static void step(struct job *j) {
  if (j->left == 0) { uv_fs_close(loop, &j->req, j->fd, on_closed); return; }
  if (j->reading == 0) {
    uv_buf_t b = uv_buf_init(chunk, CHUNK);
    uv_fs_write(loop, &j->req, j->fd, &b, 1, -1, on_io);
  } else if (j->reading == 1) {
    uv_buf_t b = uv_buf_init(j->buf + j->off, (unsigned)(j->size - j->off));
    uv_fs_read(loop, &j->req, j->fd, &b, 1, -1, on_io);
  } else {
    uv_buf_t b = uv_buf_init(j->buf, BIGCHUNK);
    uv_fs_read(loop, &j->req, j->fd, &b, 1, -1, on_io);
  }
}
static void on_stat(uv_fs_t *r) {
  struct job *j = (struct job *)r;
  CHECK(r->result == 0);
  j->size = (int64_t)r->statbuf.st_size;
  uv_fs_req_cleanup(r);
  j->buf = malloc((size_t)j->size);
  j->left = 1;
  step(j);
}
static void on_open(uv_fs_t *r) {
  struct job *j = (struct job *)r;
  j->fd = (int)r->result;
  uv_fs_req_cleanup(r);
  CHECK(j->fd >= 0);
  if (j->reading == 0) { j->left = WRITES; step(j); }
  else if (j->reading == 1) uv_fs_fstat(loop, &j->req, j->fd, on_stat);
  else { j->buf = malloc(BIGCHUNK); j->left = 1; step(j); }
}

static double write_file(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  CHECK(fd >= 0);
  for (int k = 0; k < WRITES; k++) CHECK(write(fd, chunk, CHUNK) == CHUNK);
  close(fd);
  return (double)CHUNK * WRITES;
}
/* As a caller gets them, all 300 are there at the end in the pool; one after the other, one at a time. */
static double read_file(const char *path, char **buf) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  CHECK(fd >= 0 && fstat(fd, &st) == 0);
  *buf = malloc((size_t)st.st_size);
  CHECK(read(fd, *buf, (size_t)st.st_size) == st.st_size);
  close(fd);
  return (double)st.st_size;
}
struct whole {
  uv_work_t work;
  char path[512];
  char *buf;
  double got;
};
static void work_write(uv_work_t *w) { ((struct whole *)w)->got = write_file(((struct whole *)w)->path); }
static void work_read(uv_work_t *w) { ((struct whole *)w)->got = read_file(((struct whole *)w)->path, &((struct whole *)w)->buf); }
static void on_worked(uv_work_t *w, int status) {
  CHECK(status == 0);
  total += ((struct whole *)w)->got;
  free(((struct whole *)w)->buf);
  finished++;
}

int main(int argc, char **argv) {
  CHECK(argc == 4);
  int uv = !strcmp(argv[1], "uv");
  const char *what = argv[2], *dir = argv[3];
  int kind = !strcmp(what, "write") ? 0 : !strcmp(what, "read") ? 1 : 2;
  memset(chunk, 'x', CHUNK);
  char p[512];
  double t0 = now();
  int ops = kind == 2 ? 1 : FILES;
  if (uv) {
    loop = uv_default_loop();
    struct job *js = calloc((size_t)ops, sizeof *js);
    for (int i = 0; i < ops; i++) {
      js[i].reading = kind;
      if (kind == 2) snprintf(js[i].path, sizeof js[i].path, "%s", dir);
      else path_of(js[i].path, sizeof js[i].path, dir, i);
      uv_fs_open(loop, &js[i].req, js[i].path, kind ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC, 0644, on_open);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    CHECK(finished == ops);
  } else if (!strcmp(argv[1], "job") && kind != 2) {
    loop = uv_default_loop();
    struct whole *ws = calloc(FILES, sizeof *ws);
    for (int i = 0; i < FILES; i++) {
      path_of(ws[i].path, sizeof ws[i].path, dir, i);
      CHECK(uv_queue_work(loop, &ws[i].work, kind ? work_read : work_write, on_worked) == 0);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    CHECK(finished == FILES);
  } else if (kind != 2) {
    for (int i = 0; i < FILES; i++) {
      char *buf = NULL;
      path_of(p, sizeof p, dir, i);
      total += kind ? read_file(p, &buf) : write_file(p);
      free(buf);
    }
  } else {
    int fd = open(dir, O_RDONLY | O_CLOEXEC);
    static char b[BIGCHUNK];
    ssize_t r;
    while ((r = read(fd, b, sizeof b)) > 0) total += (double)r;
    CHECK(r == 0);
  }
  double t = now() - t0;
  CHECK(total == (kind == 2 ? 1073741824.0 : (double)FILES * WRITES * CHUNK));
  result(kind == 2 ? total : FILES, t);
  return 0;
}
