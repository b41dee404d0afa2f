/* fs_job.c - blocking calls in libuv's thread pool; see fs.h. */
#include "fs.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* One write(2) takes no more than 2 GB, and a stopped job should notice. */
#define PIECE ((size_t)16 << 20)

static void end(ab_fs_job *job, int status)
{
    job->state = AB_FS_IDLE;
    job->done(job, status);
}

static void on_work(uv_work_t *work)
{
    ab_fs_job *job = work->data;
    job->status = job->run(job);
}

static void on_worked(uv_work_t *work, int status);

static int queue(ab_fs_job *job)
{
    job->uv.work.data = job;
    job->state = AB_FS_WORKING;
    return ab_workers_queue(&job->box->loop.uv, &job->uv.work, on_work,
                            on_worked);
}

static void on_poll_closed(uv_handle_t *handle)
{
    ab_fs_job *job = handle->data;
    int err = atomic_load(&job->stop) ? UV_ECANCELED : queue(job);
    if (err)
        end(job, err);
}

static void close_poll(ab_fs_job *job)
{
    job->state = AB_FS_CLOSING;
    uv_close((uv_handle_t *)&job->uv.poll, on_poll_closed);
}

static void on_ready(uv_poll_t *handle, int status, int events)
{
    (void)status; /* an error shows in the call that is tried again */
    (void)events;
    close_poll(handle->data);
}

static int start_poll(ab_fs_job *job)
{
    int err = uv_poll_init(&job->box->loop.uv, &job->uv.poll, job->fd);
    if (err)
        return err;
    job->uv.poll.data = job;
    job->state = AB_FS_POLLING;
    if (job->on_poll)
        job->on_poll(job);
    err = uv_poll_start(&job->uv.poll, job->events | UV_DISCONNECT, on_ready);
    if (err) /* try again at once: the call itself will tell */
        close_poll(job);
    return 0;
}

static void on_worked(uv_work_t *work, int status)
{
    ab_fs_job *job = work->data;
    if (status == 0)
        status = job->status;
    if (status == UV_EAGAIN && job->fd >= 0) {
        status = atomic_load(&job->stop) ? UV_ECANCELED : start_poll(job);
        if (status == 0)
            return;
    }
    end(job, status);
}

int ab_fs_start(ab_fs_job *job)
{
    atomic_store(&job->stop, 0);
    int err = queue(job);
    if (err)
        job->state = AB_FS_IDLE;
    return err;
}

void ab_fs_stop(ab_fs_job *job)
{
    atomic_store(&job->stop, 1);
    if (job->state == AB_FS_WORKING)
        uv_cancel((uv_req_t *)&job->uv.work); /* if no thread has it yet */
    else if (job->state == AB_FS_POLLING)
        close_poll(job);
}

int ab_fs_ready(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 0 ? UV_EAGAIN : 0;
}

int ab_fs_write_all(ab_fs_job *job, int fd, const char *data, size_t bytes,
                    size_t *done, int64_t at)
{
    while (*done < bytes) {
        size_t piece = bytes - *done < PIECE ? bytes - *done : PIECE;
        ssize_t n = at < 0 ? write(fd, data + *done, piece)
                           : pwrite(fd, data + *done, piece,
                                    (off_t)(at + (int64_t)*done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return uv_translate_sys_error(errno);
        *done += (size_t)n;
        if (*done < bytes && atomic_load(&job->stop))
            return UV_ECANCELED;
    }
    return 0;
}
