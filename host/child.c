/* child.c - see child.h. */
#include "child.h"
#include "list.h"
#include "sigkeep.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#include <sys/syscall.h>
#endif

extern char **environ;

enum { STATUS_UNKNOWN = 255 };

/* ---- by uv_spawn ---- */

static void on_process_exit(uv_process_t *process, int64_t status, int number)
{
    ab_child *child = ab_container(process, ab_child, handle);
    child->on_end(child, status, number);
}

static int start_process(ab_child *child, uv_loop_t *loop,
                         const ab_child_plan *plan)
{
    uv_stdio_container_t stdio[3];
    uv_process_options_t options = {
        .exit_cb = on_process_exit,
        .file = plan->path,
        .args = plan->argv,
        .env = plan->env,
        .cwd = plan->cwd,
        .flags = plan->session ? UV_PROCESS_DETACHED : 0,
        .stdio_count = 3,
        .stdio = stdio,
    };
    for (int i = 0; i < 3; i++) {
        stdio[i].flags = plan->fds[i] < 0 ? UV_IGNORE : UV_INHERIT_FD;
        stdio[i].data.fd = plan->fds[i];
    }
    ab_sigkeep_begin(SIGCHLD);
    child->open = 1;
    int err = uv_spawn(loop, &child->handle.process, &options);
    child->pid = child->handle.process.pid;
    return err;
}

/* ---- by posix_spawn ---- */

#if defined(__linux__) && defined(SYS_pidfd_open)

static int open_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

/* Ignored, children would be reaped by the kernel and their status lost. */
static int children_are_kept(void)
{
    struct sigaction action;
    return sigaction(SIGCHLD, NULL, &action) == 0 &&
           action.sa_handler != SIG_IGN && !(action.sa_flags & SA_NOCLDWAIT);
}

/* `spare`, a descriptor, if a pidfd will be had for a child; else a code:
 * UV_ENOSYS, not here; UV_EMFILE and the like. */
static int reserve_pidfd(void)
{
    if (!children_are_kept())
        return UV_ENOSYS;
    int spare = open_pidfd(getpid());
    return spare == UV_EPERM ? UV_ENOSYS : spare; /* by a filter of calls */
}

static pid_t reap(pid_t pid, int *status, int flags)
{
    pid_t reaped;
    do
        reaped = waitpid(pid, status, flags);
    while (reaped < 0 && errno == EINTR);
    return reaped;
}

static void on_pidfd(uv_poll_t *poll, int err, int events)
{
    (void)err, (void)events;
    ab_child *child = ab_container(poll, ab_child, handle);
    int how = 0;
    pid_t reaped = reap(child->pid, &how, WNOHANG);
    if (reaped == 0)
        return;
    if (reaped < 0)
        child->on_end(child, STATUS_UNKNOWN, 0);
    else if (WIFSIGNALED(how))
        child->on_end(child, 0, WTERMSIG(how));
    else
        child->on_end(child, WEXITSTATUS(how), 0);
}

/* A descriptor that is 0, 1 or 2 and to become another one of them would be
 * overwritten before its turn: moves it out of the way.  `moved` is closed
 * later. */
static int move_up(int *fd, int target, int *moved)
{
    if (*fd < 0 || *fd > 2 || *fd == target)
        return 0;
    *moved = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    if (*moved < 0)
        return -errno;
    *fd = *moved;
    return 0;
}

/* Programs expect to block on what they are given. */
static void make_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

static int set_actions(posix_spawn_file_actions_t *actions,
                       const ab_child_plan *plan, int moved[3])
{
    int err = 0;
    for (int i = 0; i < 3 && !err; i++) {
        int fd = plan->fds[i];
        err = -move_up(&fd, i, &moved[i]);
        if (err)
            break;
        if (fd < 0) {
            err = posix_spawn_file_actions_addopen(
                actions, i, "/dev/null", i == 0 ? O_RDONLY : O_RDWR, 0);
        } else {
            if (plan->fds[i] <= 2)
                make_blocking(fd);
            err = posix_spawn_file_actions_adddup2(actions, fd, i);
        }
    }
    if (!err && plan->cwd)
        err = posix_spawn_file_actions_addchdir_np(actions, plan->cwd);
    return err;
}

static int set_attributes(posix_spawnattr_t *attributes, int session)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                (session ? POSIX_SPAWN_SETSID : 0);
    int err = posix_spawnattr_setsigmask(attributes, &none);
    if (!err)
        err = posix_spawnattr_setsigdefault(attributes, &all);
    return err ? err : posix_spawnattr_setflags(attributes, (short)flags);
}

/* 0 and *pid, or a code. */
static int spawn(const ab_child_plan *plan, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int moved[3] = {-1, -1, -1};
    int err = posix_spawn_file_actions_init(&actions);
    if (err)
        return -err;
    err = posix_spawnattr_init(&attributes);
    if (!err) {
        err = set_actions(&actions, plan, moved);
        if (!err)
            err = set_attributes(&attributes, plan->session);
        if (!err)
            err = posix_spawn(pid, plan->path, &actions, &attributes,
                              plan->argv, plan->env ? plan->env : environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    for (int i = 0; i < 3; i++)
        if (moved[i] >= 0)
            close(moved[i]);
    return -err;
}

static int open_readable(void)
{
    int fd = eventfd(1, EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int poll_pidfd(ab_child *child, uv_loop_t *loop)
{
    child->pidfd = open_pidfd(child->pid);
    if (child->pidfd ==
        UV_ESRCH) /* the host has reaped it: tell that at once */
        child->pidfd = open_readable();
    if (child->pidfd < 0)
        return child->pidfd;
    int err = uv_poll_init(loop, &child->handle.poll, child->pidfd);
    if (err)
        return err;
    child->open = 1;
    return uv_poll_start(&child->handle.poll, UV_READABLE, on_pidfd);
}

/* `spare` is closed for the child's pidfd: without descriptors it fails before
 * the program has run, unless another thread takes this one in between. */
static int start_spawned(ab_child *child, uv_loop_t *loop,
                         const ab_child_plan *plan, int spare)
{
    int err = spawn(plan, &child->pid);
    close(spare);
    if (err)
        return err;
    err = poll_pidfd(child, loop);
    if (err) { /* nobody would ever hear of it */
        kill(child->pid, SIGKILL);
        reap(child->pid, NULL, 0);
    }
    return err;
}

#else

static int reserve_pidfd(void) { return UV_ENOSYS; }

static int start_spawned(ab_child *child, uv_loop_t *loop,
                         const ab_child_plan *plan, int spare)
{
    (void)child, (void)loop, (void)plan, (void)spare;
    return UV_ENOSYS;
}

#endif

/* ---- either ---- */

int ab_child_start(ab_child *child, uv_loop_t *loop, const ab_child_plan *plan,
                   ab_child_end *on_end)
{
    child->on_end = on_end;
    child->pidfd = -1;
    child->open = 0;
    int spare = reserve_pidfd();
    int err = spare < 0 ? spare : start_spawned(child, loop, plan, spare);
    /* ENOEXEC: a script without #!; execvp, which libuv calls, gives it to
     * /bin/sh. */
    if (err == UV_ENOSYS || err == -ENOEXEC)
        err = start_process(child, loop, plan);
    return err;
}

int ab_child_close(ab_child *child, uv_close_cb on_closed)
{
    int open = child->open;
    if (open)
        uv_close(&child->handle.any, on_closed);
    if (open && child->pidfd < 0)
        ab_sigkeep_end(SIGCHLD); /* of the last child: libuv listens no more */
    if (child->pidfd >= 0)
        close(child->pidfd);
    child->pidfd = -1;
    return open;
}
