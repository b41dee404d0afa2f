/* workers.h - the threads of libuv's pool.
 *
 * libuv starts them with its first job and ends the process if one cannot be
 * started (a container's limit of processes, ulimit -u or -v).  So whoever has
 * work for them comes here. */
#ifndef AB_WORKERS_H
#define AB_WORKERS_H

#include <uv.h>

/* How many there are, or will be. */
int ab_workers_count(void);

/* As uv_queue_work, or UV_EAGAIN while there can't be so many threads. */
int ab_workers_queue(uv_loop_t *loop, uv_work_t *work, uv_work_cb run,
                     uv_after_work_cb done);

/* Before any other call that makes libuv use its pool (uv_getaddrinfo): 0 or
 * UV_EAGAIN.  Blocks for some 0.1 ms until it has given 0 once.  Any thread. */
int ab_workers_check(void);

#endif
