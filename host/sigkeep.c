/* sigkeep.c - see sigkeep.h. */
#include "sigkeep.h"
#include <pthread.h>
#include <signal.h>

enum { NUMBER_MAX = 65 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int users;
    struct sigaction action;
} before[NUMBER_MAX];

void ab_sigkeep_begin(int number)
{
    pthread_mutex_lock(&lock);
    if (before[number].users++ == 0)
        sigaction(number, NULL, &before[number].action);
    pthread_mutex_unlock(&lock);
}

void ab_sigkeep_end(int number)
{
    struct sigaction now;
    pthread_mutex_lock(&lock);
    /* Who has installed another meanwhile, or uses libuv beside us and still
     * listens, keeps it. */
    if (--before[number].users == 0 && sigaction(number, NULL, &now) == 0 &&
        !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL)
        sigaction(number, &before[number].action, NULL);
    pthread_mutex_unlock(&lock);
}

void ab_sigkeep_ignore(int number)
{
    struct sigaction old;
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_DFL &&
        !(old.sa_flags & SA_SIGINFO))
        signal(number, SIG_IGN);
}
