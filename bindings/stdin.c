/* stdin.c - standard input as a stream.
 *
 * The descriptor is shared with whoever started the program: made not to block,
 * it would not block for the shell either.  So a pipe or a terminal is opened
 * anew (status flags belong to each opening), and everything else (files,
 * devices, sockets) is read by a thread, the pump, which writes into a pipe of
 * ours. */
#include "binding.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

enum { PUMP_BYTES = 64 << 10 };

/* The thread ends as soon as nobody reads from the pipe, unless another process
 * took from under its nose what poll had promised: then it sits in read. */
#define PUMP_GRACE_NS ((uint64_t)100 * 1000000)

typedef struct pump {
    int in, out; /* the thread's own */
    uv_mutex_t mutex;
    uv_cond_t over;
    int error; /* under the mutex, like the two below: why it ended, or 0 */
    int done;
    int abandoned; /* the thread frees */
} pump;

/* Which box has standard input; only that one touches `pumping`. */
static _Atomic(ab_box *) owner;
static pump *pumping;

/* ---- the pump ---- */

static void pump_free(pump *p)
{
    uv_cond_destroy(&p->over);
    uv_mutex_destroy(&p->mutex);
    free(p);
}

static int write_all(int fd, const char *data, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return 0;
        data += n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* Until there is no more, nobody listens, or it fails: 0 or a code. */
static int pump_all(const pump *p)
{
    char data[PUMP_BYTES];
    for (;;) {
        struct pollfd at[2] = {{.fd = p->in, .events = POLLIN}, {.fd = p->out}};
        if (poll(at, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return uv_translate_sys_error(errno);
        }
        if (at[1].revents)
            return 0;
        ssize_t n = read(p->in, data, sizeof data);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return uv_translate_sys_error(errno);
        if (n == 0 || !write_all(p->out, data, (size_t)n))
            return 0;
    }
}

static void *pump_run(void *arg)
{
    pump *p = arg;
    int error = pump_all(p);
    uv_mutex_lock(&p->mutex);
    p->error = error; /* before the end can be seen */
    uv_mutex_unlock(&p->mutex);
    close(p->in);
    close(p->out);
    uv_mutex_lock(&p->mutex);
    p->done = 1;
    int abandoned = p->abandoned;
    uv_cond_signal(&p->over);
    uv_mutex_unlock(&p->mutex);
    if (abandoned)
        pump_free(p);
    return NULL;
}

/* With all signals blocked: they are for the threads of the host, and a write
 * that nobody reads is an error here. */
static int pump_launch(pump *p)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    int err = pthread_attr_init(&attr);
    if (err)
        return err;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&thread, &attr, pump_run, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return err;
}

/* Gives the reading end of its pipe, or a code. */
static int pump_start(void)
{
    uv_file ends[2];
    int err;
    pump *p = calloc(1, sizeof *p);
    if (!p)
        return UV_ENOMEM;
    if ((err = uv_mutex_init(&p->mutex)))
        goto no_mutex;
    if ((err = uv_cond_init(&p->over)))
        goto no_cond;
    p->in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (p->in < 0) {
        err = uv_translate_sys_error(errno);
        goto no_input;
    }
    if ((err = uv_pipe(ends, UV_NONBLOCK_PIPE, 0)))
        goto no_pipe;
    p->out = ends[1];
    if ((err = uv_translate_sys_error(pump_launch(p))))
        goto no_thread;
    pumping = p;
    return ends[0];
no_thread:
    close(ends[0]);
    close(ends[1]);
no_pipe:
    close(p->in);
no_input:
    uv_cond_destroy(&p->over);
no_cond:
    uv_mutex_destroy(&p->mutex);
no_mutex:
    free(p);
    return err;
}

/* The reading end is closed. */
static void pump_end(void)
{
    pump *p = pumping;
    pumping = NULL;
    if (!p)
        return;
    uint64_t until = uv_hrtime() + PUMP_GRACE_NS, now;
    uv_mutex_lock(&p->mutex);
    while (!p->done && (now = uv_hrtime()) < until)
        uv_cond_timedwait(&p->over, &p->mutex, until - now);
    int done = p->done;
    p->abandoned = !done;
    uv_mutex_unlock(&p->mutex);
    if (done)
        pump_free(p);
}

/* ---- the source of the stream ---- */

/* A descriptor of our own that gives what standard input gives, or a code. */
static int open_input(void)
{
    struct stat st;
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    if (flags < 0 || fstat(STDIN_FILENO, &st) < 0)
        return uv_translate_sys_error(errno);
    if ((flags & O_ACCMODE) == O_WRONLY)
        return UV_EBADF;
    if (S_ISDIR(st.st_mode))
        return UV_EISDIR;
    int fd = ab_compat_reopen(STDIN_FILENO, O_RDONLY);
    return fd >= 0 ? fd : pump_start();
}

static void release(const ab_box *box)
{
    ab_box *expected = (ab_box *)box;
    if (atomic_load(&owner) == expected)
        pump_end();
    atomic_compare_exchange_strong(&owner, &expected, NULL);
}

/* Of one that has gone isatty says EIO itself. */
static int is_terminal(void)
{
    struct stat st;
    return fstat(STDIN_FILENO, &st) == 0 && S_ISCHR(st.st_mode) &&
           (isatty(STDIN_FILENO) || errno != ENOTTY);
}

static const char *source_explain(int code)
{
    switch (code) {
    case UV_EBADF:
        return "standard input is not open for reading";
    case UV_EISDIR:
        return "standard input is a folder";
    case UV_EIO:
        return is_terminal() ? "standard input cannot be read: the terminal "
                               "has gone, or belongs to another job"
                             : "standard input cannot be read";
    default:
        return NULL;
    }
}

static void source_open(lua_State *L, ab_stream *s, const char *op)
{
    ab_box *box = ab_box_of(L), *nobody = NULL;
    if (!box->grants.trusted && !box->grants.rules[AB_GRANT_STDIN])
        ab_grants_deny(L, op, "stream", "stdin", "allow it with --allow-stdin");
    if (!atomic_compare_exchange_strong(&owner, &nobody, box))
        ab_error_raise(
            L, UV_EBUSY,
            &(ab_detail){op, "another box of this program has standard input",
                         "stream", "stdin"});
    /* What io.read has taken from the system and not given yet. */
    int err = ab_stream_feed(s, stdin, ab_compat_read_ahead(stdin));
    int fd = err ? err : open_input();
    if (fd >= 0) {
        err = ab_stream_open_pipe(s, fd);
        if (!err)
            return;
        close(fd);
    } else {
        err = fd;
    }
    release(box);
    ab_error_raise(L, err,
                   &(ab_detail){op, source_explain(err), "stream", "stdin"});
}

static int source_end(ab_stream *s)
{
    (void)s;
    int error = 0;
    if (pumping) {
        uv_mutex_lock(&pumping->mutex);
        error = pumping->error;
        uv_mutex_unlock(&pumping->mutex);
    }
    return error;
}

static void source_closed(ab_box *box) { release(box); }

static const ab_stream_source source = {source_open, source_end, source_closed,
                                        source_explain};

int ab_open_stdin(lua_State *L)
{
    ab_stream *s = ab_stream_new(L, "stdin", AB_STREAM_READ);
    ab_stream_set_source(s, &source);
    return 1;
}
