/* child_spec.c - how a program is started and heard of, whatever the host does
 * with SIGCHLD, signals and its own descriptors 0 to 2. */
#include "check.h"
#include "child.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- one child ---- */

typedef struct run {
    ab_child child;
    uv_loop_t loop;
    int ended, closed, signal;
    int64_t status;
} run;

static void on_closed(uv_handle_t *handle) { ((run *)handle->data)->closed++; }

static void on_end(ab_child *child, int64_t status, int number)
{
    run *r = child->handle.any.data;
    r->ended++;
    r->status = status;
    r->signal = number;
    ab_child_close(child, on_closed);
}

/* Starts it, waits for its end.  What ab_child_start gave. */
static int run_plan(run *r, const ab_child_plan *plan)
{
    memset(r, 0, sizeof *r);
    uv_loop_init(&r->loop);
    r->child.handle.any.data = r;
    int err = ab_child_start(&r->child, &r->loop, plan, on_end);
    int owed = err ? ab_child_close(&r->child, on_closed) : 1;
    uv_run(&r->loop, UV_RUN_DEFAULT);
    CHECK_EQUAL(r->ended, err ? 0 : 1);
    CHECK_EQUAL(r->closed, owed);
    CHECK_EQUAL(uv_loop_close(&r->loop), 0);
    return err;
}

static int run_shell(run *r, const char *code)
{
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)code, NULL};
    return run_plan(
        r,
        &(ab_child_plan){.path = "/bin/sh", .argv = argv, .fds = {-1, -1, -1}});
}

static void check_shell(const char *code, int status, int number)
{
    run r;
    CHECK_EQUAL(run_shell(&r, code), 0);
    CHECK_EQUAL(r.status, status);
    CHECK_EQUAL(r.signal, number);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

static void ends(void)
{
    int fds = check_count_fds();
    check_shell("exit 3", 3, 0);
    check_shell("kill -KILL $$", 0, SIGKILL);
    check_shell("cat && test ! -t 0 && echo x && echo y >&2", 0, 0);
    CHECK_EQUAL(check_count_fds(), fds);
}

static void cannot_start(void)
{
    int fds = check_count_fds();
    char *argv[] = {(char *)"x", NULL};
    run r;
    ab_child_plan plan = {.argv = argv, .fds = {-1, -1, -1}};
    plan.path = "/no/such/program";
    CHECK_EQUAL(run_plan(&r, &plan), UV_ENOENT);
    plan.path = "/";
    CHECK_EQUAL(run_plan(&r, &plan), UV_EACCES);
    plan.path = "/bin/sh";
    plan.cwd = "/no/such/folder";
    CHECK_EQUAL(run_plan(&r, &plan), UV_ENOENT);
    plan.cwd = NULL;
    plan.fds[0] = 999;
    CHECK_EQUAL(run_plan(&r, &plan), UV_EBADF);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    CHECK_EQUAL(check_count_fds(), fds);
}

static void has_cwd_env_and_session(void)
{
    char *argv[] = {(char *)"sh", (char *)"-c",
                    (char *)"test \"$(pwd)\" = / && test \"$A\" = b && "
                            "test -z \"$HOME\" && kill -TERM 0",
                    NULL};
    char *env[] = {(char *)"A=b", NULL};
    run r;
    CHECK_EQUAL(run_plan(&r, &(ab_child_plan){.path = "/bin/sh",
                                              .argv = argv,
                                              .env = env,
                                              .cwd = "/",
                                              .fds = {-1, -1, -1},
                                              .session = 1}),
                0);
    CHECK_EQUAL(r.signal, SIGTERM); /* and we live */
}

/* Without #!, as execvp does it. */
static void shell_script_without_a_line(void)
{
    char path[] = "/tmp/asyncbox-child-XXXXXX";
    int fd = mkstemp(path);
    static const char code[] = "test \"$1\" = 'a b' && exit 4\n";
    CHECK(write(fd, code, sizeof code - 1) == sizeof code - 1);
    CHECK_EQUAL(fchmod(fd, 0700), 0);
    close(fd);
    char *argv[] = {path, (char *)"a b", NULL};
    run r;
    CHECK_EQUAL(run_plan(&r, &(ab_child_plan){.path = path,
                                              .argv = argv,
                                              .fds = {-1, -1, -1}}),
                0);
    CHECK_EQUAL(r.status, 4);
    unlink(path);
}

/* ---- what the host does with its signals ---- */

static atomic_int heard;

static void hear(int number)
{
    (void)number;
    heard++;
}

static void hear_and_reap(int number)
{
    int saved = errno;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        hear(number);
    errno = saved;
}

static void with_handler(void (*handler)(int), void (*body)(void))
{
    struct sigaction mine = {.sa_handler = handler}, old, now;
    heard = 0;
    sigaction(SIGCHLD, &mine, &old);
    body();
    sigaction(SIGCHLD, NULL, &now);
    CHECK(now.sa_handler == handler);
    sigaction(SIGCHLD, &old, NULL);
}

static void reaped_by_the_host(void)
{
    for (int i = 0; i < 50; i++) { /* sometimes before there is a pidfd */
        run r;
        heard = 0;
        CHECK_EQUAL(run_shell(&r, "exit 3"), 0);
        CHECK(r.status == (heard ? 255 : 3));
    }
}

static void two_boxes(void)
{
    static const char code[] = "local process = require 'asyncbox.process'\n"
                               "for i = 1, 3 do pcall(process.run, i == 2 and "
                               "'no-such' or 'true') end\n"
                               "process.pipe {{'echo', 'x'}, {'cat'}}\n";
    for (int i = 0; i < 2; i++) {
        asyncbox *box = check_box(NULL, code, 0);
        if (CHECK(box != NULL))
            CHECK_EQUAL(asyncbox_run(box), 0);
        asyncbox_free(box);
    }
}

/* The host's own child is there for its waitpid, and its handler hears. */
static void own_child(void)
{
    heard = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(3);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    CHECK(WEXITSTATUS(status) == 3);
    for (int i = 0; i < 5000 && !heard; i++) /* another thread may hear it */
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK(heard > 0);
}

static void host_hears_its_children(void)
{
    two_boxes();
    own_child();
}

static void sigchld(void)
{
    with_handler(hear, ends);
    CHECK(heard > 0);
    with_handler(hear, host_hears_its_children);
    with_handler(hear_and_reap, reaped_by_the_host);
    with_handler(SIG_IGN, ends); /* by uv_spawn */
    with_handler(SIG_IGN, cannot_start);
    with_handler(SIG_IGN, two_boxes);
}

static void child_has_default_signals(void)
{
    sigset_t blocked, old;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGUSR1, &ignore, &before);
    pthread_sigmask(SIG_BLOCK, &blocked, &old);
    check_shell("kill -USR1 $$", 0, SIGUSR1);
    check_shell("kill -TERM $$", 0, SIGTERM);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    sigaction(SIGUSR1, &before, NULL);
}

/* ---- descriptors ---- */

static void move(int fd, int to)
{
    if (fd == to)
        return;
    dup2(fd, to);
    close(fd);
}

/* In a process that had 0 and 1 closed and got its pipes there.  (libuv aborts
 * if an epoll or pipe of its own becomes 2.)  0, or the step that failed. */
static int low_descriptors(void)
{
    int in[2], out[2];
    char text[8] = "";
    if (pipe(in) < 0 || pipe(out) < 0)
        return 1;
    for (int i = 0; i < 2; i++) {
        move(in[i], 40 + i);
        move(out[i], 50 + i);
    }
    move(51, 0); /* what the child writes to */
    move(40, 1); /* what it reads from */
    fcntl(41, F_SETFD, FD_CLOEXEC);
    char *argv[] = {(char *)"cat", NULL};
    run r;
    if (write(41, "abc", 3) != 3 || close(41) < 0)
        return 2;
    if (run_plan(&r, &(ab_child_plan){.path = "/bin/cat",
                                      .argv = argv,
                                      .fds = {1, 0, -1}}) < 0)
        return 3;
    if (r.status || fcntl(0, F_GETFD) < 0 || fcntl(1, F_GETFD) < 0)
        return 4;
    return read(50, text, sizeof text) == 3 && strcmp(text, "abc") == 0 ? 0 : 5;
}

/* An inherited standard input that somebody made non-blocking. */
static int inherited_blocks(void)
{
    int fds[2];
    if (pipe(fds) < 0)
        return 1;
    dup2(fds[0], 0);
    fcntl(0, F_SETFL, O_NONBLOCK);
    fcntl(0, F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFD, FD_CLOEXEC);
    char *argv[] = {(char *)"sh", (char *)"-c",
                    (char *)"read x && test $x = abc", NULL};
    run r = {.status = 0};
    uv_loop_init(&r.loop);
    r.child.handle.any.data = &r;
    if (ab_child_start(
            &r.child, &r.loop,
            &(ab_child_plan){.path = "/bin/sh", .argv = argv, .fds = {0, 1, 2}},
            on_end))
        return 2;
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    if (write(fds[1], "abc\n", 4) != 4)
        return 3;
    uv_run(&r.loop, UV_RUN_DEFAULT);
    uv_loop_close(&r.loop);
    return r.ended == 1 && r.status == 0 ? 0 : 4;
}

/* Whether, without descriptors, the program is not run at all. */
static int no_descriptors(void)
{
    char path[] = "/tmp/asyncbox-child-XXXXXX", code[64];
    close(mkstemp(path));
    snprintf(code, sizeof code, "rm %s", path);
    run r;
    for (int more = 4; more >= 0; more--) {
        int spare[64], n = 0, err;
        memset(&r, 0, sizeof r);
        uv_loop_init(&r.loop);
        r.child.handle.any.data = &r;
        struct rlimit old, few = {(rlim_t)check_count_fds() + 3, 0};
        getrlimit(RLIMIT_NOFILE, &old);
        few.rlim_max = old.rlim_max;
        setrlimit(RLIMIT_NOFILE, &few);
        while (n < 64 && (spare[n] = dup(0)) >= 0)
            n++;
        for (int i = 0; i < more && n > 0; i++)
            close(spare[--n]);
        char *argv[] = {(char *)"sh", (char *)"-c", code, NULL};
        err = ab_child_start(&r.child, &r.loop,
                             &(ab_child_plan){.path = "/bin/sh",
                                              .argv = argv,
                                              .fds = {-1, -1, -1}},
                             on_end);
        while (n > 0)
            close(spare[--n]);
        setrlimit(RLIMIT_NOFILE, &old);
        if (err)
            ab_child_close(&r.child, on_closed);
        uv_run(&r.loop, UV_RUN_DEFAULT);
        uv_loop_close(&r.loop);
        if (err && err != UV_EMFILE)
            return 1;
        if (!err != (access(path, F_OK) < 0))
            return 2;
        if (!err) /* there again for the next */
            close(open(path, O_CREAT | O_WRONLY, 0600));
        else if (more > 1)
            return 3;
        if (more == 0)
            return unlink(path) < 0 || !err ? 4 : 0;
    }
    return 5;
}

static void in_a_process_of_its_own(const char *what, int (*body)(void))
{
    int status = 0;
    check_in("%s", what);
    pid_t pid = fork();
    if (pid == 0)
        _exit(body());
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK_EQUAL(WEXITSTATUS(status), 0);
    check_out();
}

int main(void)
{
    check_shell("exit 0", 0, 0); /* what libuv opens once */
    ends();
    cannot_start();
    has_cwd_env_and_session();
    shell_script_without_a_line();
    sigchld();
    child_has_default_signals();
    in_a_process_of_its_own("low descriptors", low_descriptors);
    in_a_process_of_its_own("inherited", inherited_blocks);
    in_a_process_of_its_own("no descriptors", no_descriptors);
    return check_done("child_spec");
}
