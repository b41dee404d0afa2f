/* fs_file.c - open files: buffers, the jobs that fill and empty them, and the
 * end of it all.  See fs.h; the methods are in fs_method.c. */
#include "fs.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Read-ahead begins with AHEAD_MIN, so that a file that is looked into costs
 * little, and doubles while it is read on: a pool round trip costs what copying
 * 100 KB costs.  Once it was in vain, it begins with AHEAD_AGAIN. */
#define AHEAD_AGAIN ((size_t)4 << 10)
#define AHEAD_MIN ((size_t)64 << 10)
#define AHEAD_MAX ((size_t)1 << 20)
/* Without the pool no more than this at a time: 10 us, and the buffer stays in
 * the processor's cache. */
#define STRAIGHT_MAX ((size_t)128 << 10)
#define OUT_MIN ((size_t)16 << 10)
#define OUT_KEEP ((size_t)512 << 10)

/* ---- life ---- */

static void set_mode(ab_fs_file *file, const char *mode)
{
    int both = strchr(mode, '+') != NULL;
    file->readable = mode[0] == 'r' || both;
    file->writable = mode[0] != 'r' || both;
    file->append = mode[0] == 'a';
}

void ab_fs_file_push(lua_State *L, int *fd, const ab_fs_opened *opened,
                     const char *mode, const char *path)
{
    ab_fs_file **object = ab_object_new(L, &ab_fs_class, sizeof *object, 0);
    ab_fs_file *file = ab_box_alloc_or_raise(L, sizeof *file);
    memset(file, 0, sizeof *file);
    file->box = file->job.box = ab_box_of(L);
    file->refs = 1;
    file->fd = -1;
    *object = file; /* from here on the collector looks after it */
    size_t bytes = strlen(path) + 1;
    file->path = ab_box_alloc_or_raise(L, bytes);
    file->path_bytes = bytes;
    memcpy(file->path, path, bytes);
    set_mode(file, mode);
    file->regular = opened->regular;
    file->offset = opened->offset;
    file->size = opened->size;
    file->ahead = AHEAD_MIN;
    file->fd = *fd;
    *fd = -1;
    file->box->live_handles++;
}

void ab_fs_file_unref(ab_fs_file *file)
{
    ab_box *box = file->box;
    if (--file->refs > 0)
        return;
    ab_box_free(box, file->in, file->in_cap);
    ab_box_free(box, file->out, file->out_cap);
    ab_box_free(box, file->path, file->path_bytes);
    ab_box_free(box, file, sizeof *file);
}

static void closed(ab_fs_file *file)
{
    file->fd = -1;
    file->box->live_handles--;
}

/* Where write calls go: -1 is wherever the kernel says. */
static int64_t write_offset(const ab_fs_file *file)
{
    return file->append || !file->regular ? -1 : file->offset;
}

/* Closes if that has been asked for and nobody uses the file any more. */
static void close_if_idle(ab_fs_file *file)
{
    if (!file->closing || file->running || file->waiter)
        return;
    if (file->fd >= 0) {
        size_t done = 0;
        atomic_store(&file->job.stop, 0);
        if (file->out_len)
            ab_fs_write_all(&file->job, file->fd, file->out, file->out_len,
                            &done, write_offset(file));
        close(file->fd);
        closed(file);
    }
    ab_box_free(file->box, file->in, file->in_cap);
    ab_box_free(file->box, file->out, file->out_cap);
    file->in = file->out = NULL;
    file->in_cap = file->in_pos = file->in_len = 0;
    file->out_cap = file->out_len = 0;
}

void ab_fs_file_release(ab_fs_file *file)
{
    file->closing = 1;
    if (file->running && !file->regular)
        ab_fs_stop(&file->job);
    close_if_idle(file);
}

/* ---- buffers ---- */

int ab_fs_file_reserve(ab_fs_file *file, size_t bytes)
{
    size_t need = file->out_len + bytes, cap = file->out_cap;
    if (need < bytes)
        return UV_ENOMEM;
    if (need <= cap)
        return 0;
    cap = cap * 2 > OUT_MIN ? cap * 2 : OUT_MIN;
    if (cap < need || cap > OUT_KEEP)
        cap = need;
    char *out = ab_box_realloc(file->box, file->out, file->out_cap, cap);
    if (!out)
        return UV_ENOMEM;
    file->out = out;
    file->out_cap = cap;
    return 0;
}

void ab_fs_file_rewind(ab_fs_file *file)
{
    if (!file->regular)
        return;
    if (file->in_pos < file->in_len)
        file->ahead = AHEAD_AGAIN;
    file->offset -= (int64_t)(file->in_len - file->in_pos);
    file->in_pos = file->in_len = 0;
    file->ended = 0;
}

int ab_fs_file_scan(ab_fs_file *file, ab_fs_scan *scan, size_t *want)
{
    const char *from = file->in ? file->in + file->in_pos : "";
    size_t len = file->in_len - file->in_pos;
    if (ab_fs_scan_run(scan, from, len, 0, want))
        return 1;
    if (!file->ended)
        return 0;
    ab_fs_scan_run(scan, from, len, 1, want);
    /* The end is told once: a file that grows is looked at again. */
    if (scan->pos == 0)
        file->ended = 0;
    return 1;
}

/* How much to fetch for a scan that wants so much more.  What the file is known
 * to hold bounds it: read(1e9) of a small file is no reason for a large
 * buffer; one byte more shows the end in the same round trip. */
static size_t fetch_size(const ab_fs_file *file, size_t want)
{
    int64_t left = file->size - file->offset;
    if (!file->regular || left <= 0)
        return file->ahead;
    size_t bound = (size_t)left + 1;
    size_t fetch = want > file->ahead ? want : file->ahead;
    return fetch < bound ? fetch : bound;
}

static int make_room(ab_fs_file *file, size_t bytes)
{
    size_t unread = file->in_len - file->in_pos;
    if (file->in_cap - file->in_len >= bytes)
        return 0;
    if (unread)
        memmove(file->in, file->in + file->in_pos, unread);
    file->in_pos = 0;
    file->in_len = unread;
    if (file->in_cap - unread >= bytes)
        return 0;
    char *in =
        ab_box_realloc(file->box, file->in, file->in_cap, unread + bytes);
    if (!in)
        return UV_ENOMEM;
    file->in = in;
    file->in_cap = unread + bytes;
    return 0;
}

void ab_fs_file_shrink(ab_fs_file *file)
{
    if (file->in_pos == file->in_len && file->in_cap > 2 * AHEAD_MAX) {
        ab_box_free(file->box, file->in, file->in_cap);
        file->in = NULL;
        file->in_cap = file->in_pos = file->in_len = 0;
    }
    if (file->out_len == 0 && file->out_cap > OUT_KEEP) {
        ab_box_free(file->box, file->out, file->out_cap);
        file->out = NULL;
        file->out_cap = 0;
    }
}

/* ---- what runs in the pool ---- */

static ab_fs_file *file_of(ab_fs_job *job)
{
    return ab_container(job, ab_fs_file, job);
}

static int run_fill(ab_fs_job *job)
{
    ab_fs_file *f = file_of(job);
    char *to = f->in + f->in_len;
    while (f->job_got < f->job_want) {
        size_t left = f->job_want - f->job_got;
        if (!f->regular && ab_fs_ready(f->fd))
            return UV_EAGAIN;
        ssize_t n = f->regular ? pread(f->fd, to + f->job_got, left,
                                       (off_t)(f->offset + (int64_t)f->job_got))
                               : read(f->fd, to, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return uv_translate_sys_error(errno);
        f->job_got += (size_t)n;
        f->job_ended = n == 0;
        if (n == 0 || !f->regular)
            break;
    }
    return 0;
}

static int run_flush(ab_fs_job *job)
{
    ab_fs_file *f = file_of(job);
    int err = ab_fs_write_all(job, f->fd, f->out, f->out_len, &f->job_got,
                              write_offset(f));
    f->job_offset = f->offset + (int64_t)f->job_got;
    if (f->append && f->regular)
        f->job_offset = (int64_t)lseek(f->fd, 0, SEEK_CUR);
    return err;
}

static int run_end(ab_fs_job *job)
{
    ab_fs_file *f = file_of(job);
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return uv_translate_sys_error(errno);
    f->job_size = (int64_t)st.st_size;
    return 0;
}

static int run_close(ab_fs_job *job)
{
    ab_fs_file *f = file_of(job);
    int err = f->job_got < f->out_len ? run_flush(job) : 0;
    if (err == UV_EAGAIN || err == UV_ECANCELED)
        return err; /* still open */
    if (close(f->fd) < 0 && errno != EINTR && !err)
        err = uv_translate_sys_error(errno);
    return err;
}

/* ---- jobs, on the loop's thread ---- */

static void advance(ab_fs_file *file);

static void fetched(ab_fs_file *file, size_t bytes, int ended)
{
    file->in_len += bytes;
    file->offset += (int64_t)bytes;
    file->ended = ended ? 1 : 0;
    file->ahead = file->ahead * 2 < AHEAD_MAX ? file->ahead * 2 : AHEAD_MAX;
}

static void flush_done(ab_fs_file *file, int status)
{
    file->written = 1;
    file->offset = file->job_offset;
    if (file->offset > file->size)
        file->size = file->offset;
    /* A stopped write to a pipe goes on with the rest; after an error the rest
     * is given up: the script has been told. */
    size_t left = status == UV_ECANCELED ? file->out_len - file->job_got : 0;
    if (left && file->job_got)
        memmove(file->out, file->out + file->job_got, left);
    file->out_len = left;
}

static void on_done(ab_fs_job *job, int status)
{
    ab_fs_file *file = file_of(job);
    file->running = 0;
    job->fd = -1;
    if (job->run == run_close) {
        /* Stopped before it ran, or while a pipe was full: still open. */
        if (status == UV_ECANCELED)
            file->closing = 1;
        else
            closed(file);
        file->out_len = 0;
    } else if (job->run == run_flush) {
        flush_done(file, status);
    } else if (status == 0 && job->run == run_fill) {
        fetched(file, file->job_got, file->job_ended);
    } else if (status == 0) {
        file->size = file->job_size;
    }
    if (status < 0 && status != UV_ECANCELED)
        file->error = status;
    ab_fs_file_shrink(file);
    advance(file);
    ab_fs_file_unref(file);
}

static int start(ab_fs_file *file, int (*run)(ab_fs_job *), size_t want)
{
    ab_fs_job *job = &file->job;
    job->run = run;
    job->done = on_done;
    job->fd = file->fd;
    job->events = run == run_fill ? UV_READABLE : UV_WRITABLE;
    file->job_want = want;
    file->job_got = 0;
    file->job_ended = 0;
    file->job_offset = file->offset;
    file->job_size = file->size;
    int err = ab_fs_start(job);
    if (err)
        return err;
    file->running = 1;
    file->refs++;
    return 1;
}

/* What is in the buffer can be read again. */
static void give_up_buffer(ab_fs_file *file)
{
    if (!file->regular)
        return;
    ab_fs_file_rewind(file);
    ab_box_free(file->box, file->in, file->in_cap);
    file->in = NULL;
    file->in_cap = 0;
}

/* What lies in the page cache is copied here and now: that takes less time than
 * a round trip through the pool, and the bytes are still in this core's cache
 * when Lua copies them.  Gives whether there was anything; all the rest, the
 * end and errors too, is left to the pool. */
static int fill_straight(ab_fs_file *file, size_t want)
{
    if (!file->regular || file->no_straight || want > STRAIGHT_MAX)
        return 0;
    size_t fetch = fetch_size(file, want);
    if (fetch > STRAIGHT_MAX)
        fetch = STRAIGHT_MAX;
    if (make_room(file, fetch))
        return 0;
    ssize_t n = ab_compat_read_cached(file->fd, file->in + file->in_len, fetch,
                                      file->offset);
    file->no_straight = n == -EOPNOTSUPP;
    if (n <= 0)
        return 0;
    fetched(file, (size_t)n, 0);
    return 1;
}

static int start_fill(ab_fs_file *file, size_t want)
{
    size_t fetch = fetch_size(file, want);
    int err = make_room(file, fetch);
    if (!err)
        return start(file, run_fill, fetch);
    give_up_buffer(file); /* what failed for memory is not to hold it */
    return err;
}

static int step_read(ab_fs_file *file, ab_fs_scan *scan)
{
    size_t want = 0;
    if (ab_fs_file_scan(file, scan, &want))
        return 0;
    if (fill_straight(file, want) && ab_fs_file_scan(file, scan, &want))
        return 0;
    return start_fill(file, want);
}

/* Does what the waiter needs next.  1: a job was started; 0: it has what it
 * waits for; or a code. */
static int step(ab_fs_file *file, ab_fs_wait *wait)
{
    int err = file->error;
    file->error = 0;
    if (wait->want == AB_FS_WANT_IDLE) {
        file->error = err;
        return 0;
    }
    if (wait->want == AB_FS_WANT_CLOSE && !wait->asked && !file->closing) {
        wait->asked = 1;
        file->error = err; /* told when it is closed all the same */
        return start(file, run_close, 0);
    }
    if (err || (wait->want == AB_FS_WANT_CLOSE && wait->asked))
        return err;
    if (file->closing || file->fd < 0)
        return ASYNCBOX_ECLOSED;
    if (file->out_len)
        return start(file, run_flush, 0);
    if (wait->want == AB_FS_WANT_READ)
        return step_read(file, &wait->scan);
    if (wait->want == AB_FS_WANT_END && !wait->asked) {
        wait->asked = 1;
        return start(file, run_end, 0);
    }
    if (wait->want == AB_FS_WANT_CALL && !wait->asked) {
        wait->asked = 1;
        return start(file, wait->call, wait->call_bytes);
    }
    return 0;
}

static void advance(ab_fs_file *file)
{
    if (file->running)
        return;
    ab_op *op = file->waiter;
    if (op && !op->finished) {
        int status = step(file, (ab_fs_wait *)op);
        if (status <= 0)
            ab_op_finish(op, status);
    }
    close_if_idle(file);
}

/* ---- waiting ---- */

int ab_fs_file_wait(ab_fs_file *file, ab_fs_wait *wait, ab_fs_want want)
{
    wait->file = file;
    wait->want = want;
    file->refs++;
    file->waiter = &wait->op;
    if (file->running)
        return 0; /* on_done goes on with it */
    int status = step(file, wait);
    if (status == 0) /* no job was needed: others run, and it goes on */
        ab_op_finish(&wait->op, 0);
    return status < 0 ? status : 0;
}

void ab_fs_wait_cancel(ab_op *op)
{
    ab_fs_file *file = ((ab_fs_wait *)op)->file;
    /* Of a plain file the job is over soon and goes on for the file's sake; a
     * pipe may keep it waiting for ever. */
    if (!file->regular && file->running)
        ab_fs_stop(&file->job);
    ab_op_finish(op, UV_ECANCELED);
}

void ab_fs_wait_drop(ab_op *op)
{
    ab_fs_file *file = ((ab_fs_wait *)op)->file;
    if (!file)
        return;
    if (file->waiter == op)
        file->waiter = NULL;
    close_if_idle(file);
    ab_fs_file_unref(file);
}
