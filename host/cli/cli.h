/* cli.h - the program: what its files share.
 *
 * The program is a host like any other: it includes <asyncbox.h> and the
 * system's headers, nothing else of asyncbox. */
#ifndef CLI_H
#define CLI_H

#include "asyncbox.h"

/* Exit statuses: 0, these, 128 + the signal, or what os.exit was given. */
enum { CLI_FAILED = 1, CLI_USAGE = 2 };

typedef enum cli_item_kind {
    CLI_CODE,    /* -e: run this code before the script */
    CLI_REQUIRE, /* -l: require this module before the script */
    CLI_WARN,    /* -W: turn warnings on */
    CLI_ALLOW    /* --allow-KIND: rules, separated by commas */
} cli_item_kind;

/* An option that may be given more than once, in the order given. */
typedef struct cli_item {
    cli_item_kind kind;
    const char *grant; /* CLI_ALLOW: "read", "net", ... */
    const char *value; /* lives in argv; NULL for CLI_WARN */
} cli_item;

/* A command line, understood. */
typedef struct cli_options {
    asyncbox_config config;
    const char *command; /* "run", or NULL for the short form */
    const char *memory;  /* as given, for messages; NULL: no limit */
    cli_item *items;     /* owned */
    int items_count;
    int code;     /* there was an -e */
    int help;     /* --help: nothing else counts */
    int version;  /* -v: say the version first */
    int exiting;  /* --version: say it and end */
    int no_env;   /* -E: LUA_PATH, LUA_CPATH and LUA_INIT do not count */
    int script;   /* its place in argv; 0: there is none */
    int is_stdin; /* the script is standard input */
    int argc;
    char **argv;
} cli_options;

/* Prints one line to standard error, "asyncbox: ...; see asyncbox run --help"
 * (command NULL: asyncbox --help), and returns CLI_USAGE. */
int cli_usage_error(const char *command, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* Understands argv[first..].  0 when all is well, else the exit status (the
 * error has been printed).  In both cases cli_options_deinit frees. */
int cli_options_init(cli_options *options, const char *command, int argc,
                     char **argv, int first);
void cli_options_deinit(cli_options *options);

/* Runs what the options say to its end; returns the exit status. */
int cli_run(const cli_options *options);

/* asyncbox test: argv[first - 1] is "test", the rest is busted's. */
int cli_test(int argc, char **argv, int first);

/* SIGINT and SIGTERM interrupt this box from now on; NULL ends that. */
void cli_signals_watch(asyncbox *box);
/* The signal that interrupted the box, 0 when there was none. */
int cli_signals_caught(void);
/* A write into a pipe that nobody reads ends the program when the pipe is
 * standard output or error, and is an error of that write when it is not.  One
 * past the size of files that ulimit -f allows is an error of that write. */
void cli_signals_pipe(void);

#endif
