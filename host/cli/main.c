/* main.c - the program's commands: which one, its help, the end. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char help_main[] =
    "usage: asyncbox run [OPTIONS] FILE [ARGS]   run a script\n"
    "       asyncbox FILE [ARGS]                 the same, as lua would\n"
    "       asyncbox -e CODE                     run a line of code\n"
    "       asyncbox test [BUSTED OPTIONS]       run the specs of a project\n"
    "       asyncbox help [COMMAND]              say more: run, test\n"
    "\n"
    "FILE may be - for standard input. Options of the short form, as of lua:\n"
    "  -e CODE    run this code before the script, or alone\n"
    "  -l MODULE  require a module into a global; -l NAME=MODULE names it\n"
    "  -W         turn warnings on\n"
    "  -E         take no notice of LUA_PATH, LUA_CPATH and LUA_INIT\n"
    "  -v         say the version, then go on\n"
    "  --         end of the options\n"
    "  --help, --version\n";

static const char help_run[] =
    "usage: asyncbox run [OPTIONS] FILE [ARGS]\n"
    "\n"
    "Runs a Lua script until its last task has ended. FILE may be - for\n"
    "standard input. The script is trusted, as lua would trust it, unless one\n"
    "of the options says otherwise.\n"
    "\n"
    "  --sandbox               allow nothing but what is allowed below\n"
    "  --allow-read=PATH,...   allow reading these files and folders\n"
    "  --allow-write=PATH,...  allow writing to them\n"
    "  --allow-net=HOST,...    allow connecting to HOST, HOST:PORT, * is any\n"
    "  --allow-listen=ADDR,... allow listening on ADDR, ADDR:PORT, PORT, *\n"
    "  --allow-run=PROGRAM,... allow starting these programs, * is any; what\n"
    "                          they do is not limited any more\n"
    "  --allow-env[=NAME,...]  allow these variables of the environment: to\n"
    "                          read, and to hand to programs; NAME may end in\n"
    "                          *, without a NAME it is all of them\n"
    "  --allow-stdin           allow reading standard input\n"
    "                          (each --allow option implies --sandbox)\n"
    "  --memory SIZE           the most memory it may use: 64K, 32M, 1G\n"
    "  --virtual-time          sleeps take no time: the clock jumps\n"
    "  --                      end of the options\n"
    "\n"
    "and those of the short form: -e CODE, -l MODULE, -W, -E, -v.\n"
    "\n"
    "Exit status: 0; 1 an error in the script; 2 a wrong command line; what\n"
    "os.exit was given; 130 after Ctrl-C, 143 after SIGTERM.\n";

static const char help_test[] =
    "usage: asyncbox test [BUSTED OPTIONS] [FILE OR FOLDER ...]\n"
    "\n"
    "Runs busted on asyncbox, so that a spec may wait: every *_spec.lua of\n"
    "the folder spec, or of what is named. Needs busted: apt install\n"
    "lua-busted. Some of busted's options (busted --help has them all):\n"
    "\n"
    "  --filter=PATTERN    only the specs whose name matches the Lua pattern\n"
    "  -t, --tags=TAGS     only the specs with these #tags\n"
    "  -l, --list          the names of the specs, without running them\n"
    "  -o, --output=NAME   plainTerminal, utfTerminal, TAP, junit, json\n"
    "  --no-keep-going     stop at the first failure\n"
    "  --shuffle           in random order\n";

static int print_help(const char *command)
{
    if (!command)
        fputs(help_main, stdout);
    else if (!strcmp(command, "run"))
        fputs(help_run, stdout);
    else if (!strcmp(command, "test"))
        fputs(help_test, stdout);
    else
        return cli_usage_error(NULL, "no command '%s' to help with", command);
    return 0;
}

static void print_version(void)
{
    printf("asyncbox %s, %s, libuv %s\n", asyncbox_version(),
           asyncbox_lua_version(), asyncbox_uv_version());
}

/* `asyncbox run ...` (command "run") and the short form (NULL). */
static int run_command(const char *command, int argc, char **argv, int first)
{
    cli_options options;
    int status = cli_options_init(&options, command, argc, argv, first);
    if (status)
        goto done;
    if (options.help) {
        status = print_help(command);
        goto done;
    }
    if (options.version || options.exiting)
        print_version();
    if (options.exiting)
        goto done;
    if (!options.script && !options.code && !options.version) {
        if (command) {
            status = cli_usage_error(command, "run needs a FILE (or - for "
                                              "standard input)");
            goto done;
        }
        options.is_stdin = 1;
        if (isatty(STDIN_FILENO)) {
            fputs(help_main, stderr);
            status = CLI_USAGE;
            goto done;
        }
    }
    status = cli_run(&options);
done:
    cli_options_deinit(&options);
    return status;
}

static int dispatch(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (!strcmp(word, "run"))
        return run_command("run", argc, argv, 2);
    if (!strcmp(word, "test")) {
        const char *next = argc > 2 ? argv[2] : "";
        if (!strcmp(next, "--help") || !strcmp(next, "-h"))
            return print_help("test"); /* busted's own is an error */
        return cli_test(argc, argv, 2);
    }
    if (!strcmp(word, "help"))
        return print_help(argc > 2 ? argv[2] : NULL);
    return run_command(NULL, argc, argv, 1);
}

/* A program started without one of the standard descriptors must not get a
 * file or a socket in its place. */
static void fill_descriptors(void)
{
    int fd;
    for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

/* What was printed must have arrived. */
static int flush_output(int status)
{
    errno = 0;
    if (!fflush(stdout) && !ferror(stdout))
        return status;
    fprintf(stderr, "asyncbox: cannot write to standard output%s%s\n",
            errno ? ": " : "", errno ? strerror(errno) : "");
    return status ? status : CLI_FAILED;
}

int main(int argc, char **argv)
{
    fill_descriptors();
    cli_signals_pipe();
    return flush_output(dispatch(argc, argv));
}
