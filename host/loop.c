/* loop.c - see loop.h. */
#include "loop.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static void on_timer(uv_timer_t *timer)
{
    /* Only ends the wait: the scheduler looks at the heap.  libuv runs timers
     * that are due before it asks the kernel, and would then wait for ever. */
    uv_stop(timer->loop);
}

static void on_wake(uv_async_t *wake) { (void)wake; /* only ends the wait */ }

/* The first loop of the process makes libuv open a pipe after its epoll, and if
 * it cannot, libuv ends the process. */
static int check_descriptors(void)
{
    static atomic_int checked;
    uv_file fds[2];
    if (atomic_load(&checked))
        return 0;
    int err = uv_pipe(fds, 0, 0);
    if (err)
        return err;
    int third = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
    err = third < 0 ? uv_translate_sys_error(errno) : 0;
    if (third >= 0)
        close(third);
    close(fds[0]);
    close(fds[1]);
    atomic_store(&checked, !err);
    return err;
}

int ab_loop_init(ab_loop *loop, int is_virtual)
{
    int err = check_descriptors();
    if (!err)
        err = uv_loop_init(&loop->uv);
    if (err)
        return err;
    uv_timer_init(&loop->uv, &loop->timer);
    err = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (err) {
        uv_close((uv_handle_t *)&loop->timer, NULL);
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        uv_loop_close(&loop->uv);
        return err;
    }
    uv_unref((uv_handle_t *)&loop->wake);
    loop->is_virtual = is_virtual;
    loop->virtual_ns = 0;
    loop->polled_ns = ab_loop_real_now();
    loop->open = 1;
    return 0;
}

void ab_loop_deinit(ab_loop *loop)
{
    if (!loop->open)
        return;
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    while (uv_loop_close(&loop->uv) == UV_EBUSY)
        uv_run(&loop->uv, UV_RUN_ONCE);
    loop->open = 0;
}

int64_t ab_loop_real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t ab_loop_now(const ab_loop *loop)
{
    return loop->is_virtual ? loop->virtual_ns : ab_loop_real_now();
}

void ab_loop_block(ab_loop *loop, int64_t ns)
{
    if (loop->is_virtual) {
        loop->virtual_ns += ns;
        return;
    }
    struct timespec left = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (nanosleep(&left, &left) < 0)
        continue;
}

void ab_loop_poll(ab_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    loop->polled_ns = ab_loop_real_now();
}

void ab_loop_wait(ab_loop *loop, int64_t deadline_ns, int external)
{
    if (loop->is_virtual && deadline_ns >= 0 && !external) {
        if (deadline_ns > loop->virtual_ns)
            loop->virtual_ns = deadline_ns;
        return;
    }
    int64_t left = -1;
    if (deadline_ns >= 0 && !loop->is_virtual) {
        left = deadline_ns - ab_loop_real_now();
        if (left <= 0) {
            ab_loop_poll(loop);
            return;
        }
    }
    uv_ref((uv_handle_t *)&loop->wake); /* or uv_run would not wait */
    if (left > 0) {
        uv_update_time(&loop->uv);
        /* uv counts in milliseconds: rounded up, never too early */
        uint64_t ms = (uint64_t)(left + 999999) / 1000000;
        uv_timer_start(&loop->timer, on_timer, ms, 0);
    }
    uv_run(&loop->uv, UV_RUN_ONCE);
    uv_timer_stop(&loop->timer);
    uv_unref((uv_handle_t *)&loop->wake);
    loop->polled_ns = ab_loop_real_now();
}
