/* signum.c - see signum.h. */
#include "signum.h"
#include <signal.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    int number;
} names[] = {
#define ROW(signal)                                                            \
    {                                                                          \
#signal, signal                                                        \
    }
    ROW(SIGHUP),   ROW(SIGINT),  ROW(SIGQUIT), ROW(SIGILL),  ROW(SIGTRAP),
    ROW(SIGABRT),  ROW(SIGBUS),  ROW(SIGFPE),  ROW(SIGKILL), ROW(SIGUSR1),
    ROW(SIGSEGV),  ROW(SIGUSR2), ROW(SIGPIPE), ROW(SIGALRM), ROW(SIGTERM),
    ROW(SIGCHLD),  ROW(SIGCONT), ROW(SIGSTOP), ROW(SIGTSTP), ROW(SIGTTIN),
    ROW(SIGTTOU),  ROW(SIGURG),  ROW(SIGXCPU), ROW(SIGXFSZ), ROW(SIGVTALRM),
    ROW(SIGPROF),  ROW(SIGSYS),
#ifdef SIGWINCH
    ROW(SIGWINCH),
#endif
#ifdef SIGIO
    ROW(SIGIO),
#endif
#ifdef SIGPWR
    ROW(SIGPWR),
#endif
#undef ROW
};

enum { COUNT = sizeof names / sizeof *names };

int ab_signum_of(const char *name)
{
    int prefixed = strncmp(name, "SIG", 3) == 0;
    for (int i = 0; i < COUNT; i++)
        if (strcmp(names[i].name + (prefixed ? 0 : 3), name) == 0)
            return names[i].number;
    return 0;
}

const char *ab_signum_name(int number)
{
    for (int i = 0; i < COUNT; i++)
        if (names[i].number == number)
            return names[i].name;
    return NULL;
}
