/* sigkeep.h - what the process did with a signal before libuv took it.
 *
 * libuv leaves SIG_DFL behind when its last handle for a signal stops, which
 * would undo the program's own handling; so it is put back.  All boxes of the
 * process share this; any thread. */
#ifndef AB_SIGKEEP_H
#define AB_SIGKEEP_H

/* Before libuv is made to listen for this signal (uv_signal_start, uv_spawn:
 * SIGCHLD).  Each call needs one of ab_sigkeep_end. */
void ab_sigkeep_begin(int number);
/* After it has been told to stop. */
void ab_sigkeep_end(int number);

/* From now on the process ignores this signal if that was to end it; a handler
 * that it has stays. */
void ab_sigkeep_ignore(int number);

#endif
