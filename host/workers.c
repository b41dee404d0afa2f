/* workers.c - see workers.h. */
#include "workers.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int checked;

/* As libuv reads it. */
int ab_workers_count(void)
{
    const char *text = getenv("UV_THREADPOOL_SIZE");
    int n = text ? atoi(text) : 4;
    return n < 1 ? 1 : n > 1024 ? 1024 : n;
}

static void wait_for(void *semaphore) { uv_sem_wait(semaphore); }

/* The only way to know: as many at once, which go again at once. */
static int try_threads(void)
{
    sigset_t all, old;
    uv_sem_t go;
    int n = ab_workers_count(), started = 0;
    uv_thread_t *threads = calloc((size_t)n, sizeof *threads);
    if (!threads || uv_sem_init(&go, 0)) {
        free(threads);
        return UV_EAGAIN;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all,
                    &old); /* not for the process's signals */
    while (started < n && !uv_thread_create(&threads[started], wait_for, &go))
        started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    for (int i = 0; i < started; i++)
        uv_sem_post(&go);
    for (int i = 0; i < started; i++)
        uv_thread_join(&threads[i]);
    uv_sem_destroy(&go);
    free(threads);
    return started < n ? UV_EAGAIN : 0;
}

int ab_workers_check(void)
{
    if (atomic_load_explicit(&checked, memory_order_acquire))
        return 0;
    pthread_mutex_lock(&lock);
    int err = atomic_load(&checked) ? 0 : try_threads();
    if (!err)
        atomic_store(&checked, 1);
    pthread_mutex_unlock(&lock);
    return err;
}

int ab_workers_queue(uv_loop_t *loop, uv_work_t *work, uv_work_cb run,
                     uv_after_work_cb done)
{
    int err = ab_workers_check();
    return err ? err : uv_queue_work(loop, work, run, done);
}
