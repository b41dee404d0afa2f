/* signum.h - the names of signals: "SIGTERM" and 15. */
#ifndef AB_SIGNUM_H
#define AB_SIGNUM_H

/* "SIGTERM" or "TERM" -> 15; 0 when this system has no such signal. */
int ab_signum_of(const char *name);

/* 15 -> "SIGTERM": a static string, NULL when it has no name. */
const char *ab_signum_name(int number);

#endif
