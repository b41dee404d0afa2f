/* output.c - see output.h. */
#include "output.h"
#include "box.h"
#include "compat.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    KIND_DIRECT, /* does not block for long: a file, a device */
    KIND_OWN,    /* a non-blocking description of our own */
    KIND_SOCKET, /* MSG_DONTWAIT */
    KIND_CAREFUL /* poll, then at most PIPE_BUF bytes */
};

/* How soon a thread that blocks hears of an interrupt from another one. */
enum { LOOK_MS = 100 };

/* How long a box that was asked to stop waits for a reader that takes nothing.
 */
#define PATIENCE_NS ((uint64_t)5 * 1000000000)

/* ---- made ---- */

static void look_at(ab_output *o)
{
    struct stat st;
    int flags = fcntl(o->fd, F_GETFL);
    o->write_fd = o->fd;
    o->watch_fd = -1;
    o->kind = KIND_DIRECT;
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || fstat(o->fd, &st))
        return; /* each write will say why it fails */
    if (S_ISSOCK(st.st_mode)) {
        o->kind = KIND_SOCKET;
        o->watch_fd = ab_compat_watch_write(o->fd);
    } else if (S_ISFIFO(st.st_mode) || isatty(o->fd)) {
        int own = ab_compat_reopen(o->fd, O_WRONLY);
        o->kind = own >= 0 ? KIND_OWN : KIND_CAREFUL;
        if (own >= 0)
            o->write_fd = own;
        o->watch_fd = own >= 0 ? own : ab_compat_watch_write(o->fd);
    }
}

static ab_output *output_new(ab_box *box, int fd)
{
    ab_output *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->box = box;
    o->fd = fd;
    o->data = o->first;
    o->cap = sizeof o->first;
    o->full = box->limits.cap_bytes / 8;
    if (o->full > AB_OUTPUT_FULL)
        o->full = AB_OUTPUT_FULL;
    if (o->full < AB_OUTPUT_GATHER)
        o->full = AB_OUTPUT_GATHER;
    ab_list_init(&o->waiters);
    look_at(o);
    return o;
}

/* Files are written at once, so order needs no common queue there. */
static int same_place(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino && !S_ISREG(x.st_mode);
}

int ab_outputs_init(ab_outputs *outputs, ab_box *box)
{
    fflush(stdout); /* what the program has printed so far */
    outputs->out = output_new(box, STDOUT_FILENO);
    outputs->err = outputs->out;
    if (outputs->out && !same_place(STDOUT_FILENO, STDERR_FILENO))
        outputs->err = output_new(box, STDERR_FILENO);
    if (!outputs->out || !outputs->err)
        return UV_ENOMEM;
    outputs->files[0] = (ab_output_file){
        .output = outputs->out,
        .mode = isatty(STDOUT_FILENO) ? AB_OUTPUT_AT_ONCE : AB_OUTPUT_GATHERS,
        .gather = AB_OUTPUT_GATHER};
    outputs->files[1] = (ab_output_file){.output = outputs->err,
                                         .mode = AB_OUTPUT_AT_ONCE,
                                         .gather = AB_OUTPUT_GATHER};
    return 0;
}

static void output_free(ab_output *o)
{
    if (!o)
        return;
    if (o->watch_fd >= 0 && o->watch_fd != o->write_fd)
        close(o->watch_fd);
    if (o->write_fd != o->fd)
        close(o->write_fd);
    if (o->data != o->first)
        ab_box_free(o->box, o->data, o->cap);
    free(o);
}

void ab_outputs_deinit(ab_outputs *outputs)
{
    if (outputs->err != outputs->out)
        output_free(outputs->err);
    output_free(outputs->out);
    outputs->out = outputs->err = NULL;
}

/* ---- writing ---- */

/* A reader of the FIFO has gone, which SIGPIPE was about, and the next one has
 * come since. */
static int has_reader_again(const ab_output *o)
{
    struct pollfd p = {.fd = o->write_fd, .events = POLLOUT};
    return o->kind == KIND_OWN && poll(&p, 1, 0) >= 0 &&
           !(p.revents & (POLLERR | POLLHUP));
}

/* write(2) that does not block: a count, or a code. */
static ssize_t write_some(const ab_output *o, const char *data, size_t bytes)
{
    ssize_t n;
    if (o->kind == KIND_CAREFUL) {
        struct pollfd p = {.fd = o->fd, .events = POLLOUT};
        if (poll(&p, 1, 0) == 0)
            return UV_EAGAIN;
        if (bytes > PIPE_BUF)
            bytes = PIPE_BUF;
    }
    do {
        n = o->kind == KIND_SOCKET ? send(o->fd, data, bytes, MSG_DONTWAIT)
                                   : write(o->write_fd, data, bytes);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    if (errno == EWOULDBLOCK || (errno == EPIPE && has_reader_again(o)))
        return UV_EAGAIN;
    return uv_translate_sys_error(errno);
}

static void wake_waiters(ab_output *o)
{
    for (ab_link *link = o->waiters.next; link != &o->waiters;) {
        ab_output_wait *w = ab_container(link, ab_output_wait, link);
        link = link->next;
        if (o->gone >= w->until) {
            ab_list_remove(&w->link);
            ab_op_finish(&w->op, 0);
        }
    }
}

static void forget_queue(ab_output *o)
{
    o->start = o->len = 0;
    if (o->data == o->first)
        return;
    ab_box_free(o->box, o->data, o->cap);
    o->data = o->first;
    o->cap = sizeof o->first;
}

static void fail(ab_output *o, int err)
{
    o->untold = err;
    if (!o->error)
        o->error = err;
    o->gone += o->len;
    forget_queue(o);
}

/* Writes the queue as far as the system takes it: is it empty now? */
static int write_queue(ab_output *o)
{
    while (o->len) {
        ssize_t n = write_some(o, o->data + o->start, o->len);
        if (n == UV_EAGAIN)
            return 0;
        if (n < 0) {
            fail(o, (int)n);
            return 1;
        }
        o->start += (size_t)n;
        o->len -= (size_t)n;
        o->gone += (size_t)n;
    }
    forget_queue(o); /* it is large only while somebody is slow */
    return 1;
}

static void on_writable(uv_poll_t *handle, int status, int events)
{
    (void)events; /* the write itself will tell */
    ab_output *o = handle->data;
    int empty = write_queue(o);
    if (empty || status < 0) {
        uv_poll_stop(&o->poll);
        o->polled = 0;
    }
    wake_waiters(o);
    if (!empty && !o->polled)
        ab_output_drain(o); /* libuv stops when there is nobody any more */
}

/* Nothing can be done when this fails: the next drain tries again. */
static void watch(ab_output *o)
{
    if (o->polled || o->watch_fd < 0)
        return;
    if (!o->polling) {
        if (uv_poll_init(&o->box->loop.uv, &o->poll, o->watch_fd))
            return;
        o->poll.data = o;
        o->polling = 1;
    }
    int events = o->watch_fd == o->write_fd ? UV_WRITABLE : UV_READABLE;
    o->polled = uv_poll_start(&o->poll, events, on_writable) == 0;
}

void ab_output_drain(ab_output *o)
{
    if (!o->polled && !write_queue(o))
        watch(o);
}

/* Waits, blocking, until it can be written: 0 or UV_ECANCELED. */
static int block_once(const ab_output *o)
{
    const ab_box *box = o->box;
    if (!box->closing && atomic_load(&box->interrupted))
        return UV_ECANCELED;
    struct pollfd p = {.fd = o->write_fd, .events = POLLOUT};
    poll(&p, 1, LOOK_MS);
    return 0;
}

int ab_output_block(ab_output *o, size_t left)
{
    int err = 0;
    while (!write_queue(o) && o->len > left && !err)
        err = block_once(o);
    wake_waiters(o);
    return err;
}

/* ---- the queue ---- */

/* Makes room for `bytes` behind what is queued: 0 or UV_ENOMEM. */
static int make_room(ab_output *o, size_t bytes)
{
    size_t need = o->len + bytes, cap = o->cap;
    if (o->start + need <= cap)
        return 0;
    if (need <= cap && o->start >= o->len / 2) {
        memmove(o->data, o->data + o->start, o->len);
        o->start = 0;
        return 0;
    }
    do { /* so that what is moved was paid for by what had gone */
        cap *= 2;
    } while (cap < need);
    char *data = ab_box_alloc(o->box, cap);
    if (!data)
        return UV_ENOMEM;
    size_t len = o->len;
    memcpy(data, o->data + o->start, len);
    forget_queue(o);
    o->data = data;
    o->cap = cap;
    o->len = len;
    return 0;
}

/* Writes past the queue: how much the system took, or a code. */
static ssize_t write_direct(ab_output *o, const char *data, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = write_some(o, data + done, bytes - done);
        if (n == UV_EAGAIN)
            break;
        if (n < 0) {
            fail(o, (int)n);
            return n;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* No memory to queue it in: the other side has to take it now. */
static void write_blocking(ab_output *o, const char *data, size_t bytes)
{
    if (ab_output_block(o, 0))
        return;
    while (bytes) {
        ssize_t n = write_direct(o, data, bytes);
        if (n < 0)
            return;
        data += n;
        bytes -= (size_t)n;
        if (bytes && block_once(o))
            return;
    }
}

void ab_output_put(ab_output *o, const char *data, size_t bytes)
{
    if (bytes >= AB_OUTPUT_GATHER) { /* goes out from where it is */
        ab_output_drain(o);
        if (!o->len) {
            ssize_t n = write_direct(o, data, bytes);
            if (n < 0)
                return;
            data += n;
            bytes -= (size_t)n;
        }
    }
    if (!bytes)
        return;
    if (make_room(o, bytes)) {
        write_blocking(o, data, bytes);
        return;
    }
    memcpy(o->data + o->start + o->len, data, bytes);
    o->len += bytes;
}

/* ---- both ---- */

void ab_outputs_turn(ab_outputs *outputs)
{
    if (!outputs->out)
        return;
    if (outputs->out->len)
        ab_output_drain(outputs->out);
    if (outputs->err->len)
        ab_output_drain(outputs->err);
}

void ab_outputs_say(ab_outputs *outputs, const char *text, size_t bytes,
                    const char *end)
{
    ab_output *o = outputs->err;
    ab_outputs_turn(outputs);
    if (o->len >= 2 * o->full)
        ab_output_block(o, o->full);
    ab_output_put(o, text, bytes);
    ab_output_put(o, end, strlen(end));
    ab_output_drain(o);
}

/* Told here, or by whoever has o->error: not by the next io.write. */
static int take_error(ab_output *o)
{
    int err = o->untold;
    o->untold = 0;
    return err;
}

int ab_outputs_flush(ab_outputs *outputs)
{
    if (!outputs->out)
        return 0;
    int err = ab_output_block(outputs->out, 0);
    int err2 = ab_output_block(outputs->err, 0);
    if (!err)
        err = err2;
    err2 = take_error(outputs->out);
    return err ? err : err2;
}

/* Of a box that was asked to stop: as long as somebody reads. */
static void block_while_read(ab_output *o)
{
    uint64_t gone = o->gone, since = uv_hrtime();
    while (!write_queue(o)) {
        if (o->gone != gone) {
            gone = o->gone;
            since = uv_hrtime();
        } else if (uv_hrtime() - since > PATIENCE_NS) {
            fail(o, UV_ETIMEDOUT);
            return;
        }
        block_once(o);
    }
}

static int finish(ab_output *o)
{
    if (o->box->stopped)
        block_while_read(o);
    else
        ab_output_block(o, 0);
    if (o->polling) {
        uv_close((uv_handle_t *)&o->poll, NULL);
        o->polling = o->polled = 0;
    }
    return o->error;
}

int ab_outputs_finish(ab_outputs *outputs)
{
    if (!outputs->out || !outputs->err)
        return 0;
    int err = finish(outputs->out);
    if (outputs->err != outputs->out)
        finish(outputs->err);
    return err;
}

/* ---- waiting ---- */

ab_op *ab_output_wait_new(lua_State *L, const ab_op_type *type, ab_output *o,
                          size_t left)
{
    ab_output_wait *w = (ab_output_wait *)ab_op_new(L, type);
    w->until = o->gone + o->len - left;
    ab_list_append(&o->waiters, &w->link);
    return &w->op;
}

int ab_output_wait_push(lua_State *L, ab_op *op)
{
    (void)L, (void)op; /* who waited looks at the output itself */
    return 0;
}

void ab_output_wait_cancel(ab_op *op)
{
    ab_list_remove(&((ab_output_wait *)op)->link);
    ab_op_finish(op, UV_ECANCELED);
}

void ab_output_wait_drop(ab_op *op)
{
    ab_list_remove(&((ab_output_wait *)op)->link);
}
