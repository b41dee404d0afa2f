/* signals.c - Ctrl-C, SIGTERM and SIGPIPE.
 *
 * The first SIGINT or SIGTERM asks the box to stop; a second one ends the
 * program at once.  Some programs deliver a signal twice (coreutils' timeout
 * to the child and to its group, npm, a shell and a terminal): what comes
 * within a tenth of a second counts as the same one. */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SAME_SIGNAL_MS 100

static asyncbox *volatile watched;
static volatile sig_atomic_t caught;
static struct timespec caught_at;
static pthread_t main_thread;

static long since_caught_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)(now.tv_sec - caught_at.tv_sec) * 1000 +
           (now.tv_nsec - caught_at.tv_nsec) / 1000000;
}

static void on_stop(int sig)
{
    int saved = errno;
    if (!pthread_equal(pthread_self(), main_thread)) {
        /* Only the box's own thread may break its Lua code. */
        pthread_kill(main_thread, sig);
    } else if (caught) {
        if (since_caught_ms() >= SAME_SIGNAL_MS)
            _exit(128 + sig);
    } else if (!watched) {
        _exit(128 + sig);
    } else {
        clock_gettime(CLOCK_MONOTONIC, &caught_at);
        caught = sig;
        asyncbox_interrupt(watched);
    }
    errno = saved;
}

void cli_signals_watch(asyncbox *box)
{
    struct sigaction action;
    if (!box) {
        watched = NULL;
        return;
    }
    main_thread = pthread_self();
    watched = box;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_stop;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    /* No SA_RESTART: a read of standard input must not go on. */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int cli_signals_caught(void) { return caught; }

static int is_broken(int fd)
{
    struct pollfd place = {.fd = fd, .events = POLLOUT};
    return poll(&place, 1, 0) == 1 && (place.revents & (POLLERR | POLLHUP));
}

static void on_pipe(int sig)
{
    int saved = errno;
    if (is_broken(STDOUT_FILENO) || is_broken(STDERR_FILENO)) {
        signal(sig, SIG_DFL);
        raise(sig); /* ends the program when this handler returns */
    }
    errno = saved;
}

void cli_signals_pipe(void)
{
    struct sigaction action, old;
    if (sigaction(SIGXFSZ, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        signal(SIGXFSZ, SIG_IGN); /* past ulimit -f: an error of that write */
    if (sigaction(SIGPIPE, NULL, &old) || old.sa_handler == SIG_IGN)
        return; /* whoever started us wants errors, not an end */
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_pipe;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGPIPE, &action, NULL);
}
