/* child.h - starts a program as a child of this process and hears of its end.
 *
 * On Linux by posix_spawn, which copies nothing of this process (fork copies
 * its page tables), and a pidfd that the loop polls: SIGCHLD is not touched.
 * Where a pidfd is not to be had, by uv_spawn, which takes SIGCHLD while the
 * child runs (sigkeep.h).  Knows nothing of Lua nor of the box. */
#ifndef AB_CHILD_H
#define AB_CHILD_H

#include <stdint.h>
#include <uv.h>

typedef struct ab_child ab_child;

/* It has ended and is reaped: its status, and the signal that ended it or 0.
 * Status 255: somebody else in this process has reaped it and knows. */
typedef void ab_child_end(ab_child *child, int64_t status, int signal);

struct ab_child {
    union {
        uv_handle_t any;
        uv_process_t process;
        uv_poll_t poll;
    } handle; /* handle.any.data belongs to the caller */
    ab_child_end *on_end;
    int pid;
    int pidfd; /* -1: uv_spawn has started it */
    unsigned open : 1;
};

typedef struct ab_child_plan {
    const char *path; /* of the program; relative to cwd */
    char **argv;
    char **env;      /* NULL: ours */
    const char *cwd; /* NULL: ours */
    int fds[3];      /* what becomes its 0, 1 and 2; -1: /dev/null.  They stay
                        the caller's; nothing else is inherited but what lacks
                        close-on-exec */
    int session;     /* it leads a session and a process group of its own */
} ab_child_plan;

/* Starts it; blocks until it has executed the program.  Its signals are at
 * their defaults, none blocked.  0 or a code: of what kept the program from
 * being executed, too, then it never ran.  on_end is not called before the loop
 * runs.  Whatever the result, ab_child_close is owed. */
int ab_child_start(ab_child *child, uv_loop_t *loop, const ab_child_plan *plan,
                   ab_child_end *on_end);

/* Hears of it no more; from on_end, or after it could not be started.  1:
 * on_closed is called with handle.any when the memory may go; 0: it may go now,
 * on_closed is not called. */
int ab_child_close(ab_child *child, uv_close_cb on_closed);

#endif
