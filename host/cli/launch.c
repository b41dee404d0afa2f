/* launch.c - makes the box, runs what the command line says, gives the status.
 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The header's promise: on Unix libuv's codes are negated errno values. */
#define CODE_NOMEM (-ENOMEM)

/* After what the box has printed. */
static int fail(asyncbox *box, const char *text)
{
    asyncbox_flush(box);
    fprintf(stderr, "asyncbox: %s\n", text);
    return CLI_FAILED;
}

/* ---- one piece of code after the other ---- */

/* Runs what was spawned; the exit status. */
static int run_spawned(asyncbox *box)
{
    int code = asyncbox_run(box);
    if (code == ASYNCBOX_EEXIT)
        return asyncbox_exit_status(box);
    if (cli_signals_caught())
        return 128 + cli_signals_caught();
    switch (code) {
    case ASYNCBOX_OK:
        return 0;
    case ASYNCBOX_ESCRIPT: /* these were reported as they came up */
    case ASYNCBOX_EDEADLK:
        return CLI_FAILED;
    default:
        return fail(box, *asyncbox_error_text(box) ? asyncbox_error_text(box)
                                                   : asyncbox_err_text(code));
    }
}

static int run_string(asyncbox *box, const char *code, const char *name)
{
    if (asyncbox_spawn_string(box, code, strlen(code), name, 0, NULL) < 0)
        return fail(box, asyncbox_error_text(box));
    return run_spawned(box);
}

static int run_file(asyncbox *box, const char *path, int argc)
{
    if (asyncbox_spawn_file(box, path, argc, NULL) < 0)
        return fail(box, asyncbox_error_text(box));
    return run_spawned(box);
}

/* Appends a Lua string literal; \ddd needs no thought about what is in it. */
static char *append_quoted(char *to, const char *text, size_t length)
{
    size_t i;
    *to++ = '"';
    for (i = 0; i < length; i++)
        to += sprintf(to, "\\%03d", (unsigned char)text[i]);
    *to++ = '"';
    return to;
}

/* -l MOD, -l GLOBAL=MOD; of MOD-V the global's name is MOD, as in lua. */
static int run_require(asyncbox *box, const char *value)
{
    static const char before[] = "_G[", between[] = "]=require ";
    const char *equals = strchr(value, '=');
    const char *module = equals ? equals + 1 : value;
    size_t name_length =
        equals ? (size_t)(equals - value) : strcspn(value, "-");
    char *code = malloc(sizeof(before) + sizeof(between) + 4 +
                        4 * (name_length + strlen(module)));
    char *to = code;
    int status;
    if (!code)
        return fail(box, "not enough memory");
    to += sprintf(to, "%s", before);
    to = append_quoted(to, value, name_length);
    to += sprintf(to, "%s", between);
    to = append_quoted(to, module, strlen(module));
    *to = '\0';
    status = run_string(box, code, "=(command line)");
    free(code);
    return status;
}

/* LUA_INIT, as lua treats it: code, or @ and a file. */
static int run_init(asyncbox *box, const cli_options *options)
{
    const char *name = "=LUA_INIT_5_4";
    const char *init = getenv(name + 1);
    if (options->no_env || options->config.sandbox)
        return 0;
    if (!init) {
        name = "=LUA_INIT";
        init = getenv(name + 1);
    }
    if (!init)
        return 0;
    return init[0] == '@' ? run_file(box, init + 1, 0)
                          : run_string(box, init, name);
}

static int run_items(asyncbox *box, const cli_options *options)
{
    int i, status = run_init(box, options);
    for (i = 0; i < options->items_count && !status; i++) {
        const cli_item *item = &options->items[i];
        if (item->kind == CLI_CODE)
            status = run_string(box, item->value, "=(command line)");
        else if (item->kind == CLI_REQUIRE)
            status = run_require(box, item->value);
        else if (item->kind == CLI_WARN)
            status = run_string(box, "warn '@on'", "=(command line)");
    }
    if (status || !(options->script || options->is_stdin))
        return status;
    return run_file(box,
                    options->is_stdin ? NULL : options->argv[options->script],
                    ASYNCBOX_ARGS);
}

/* ---- the box ---- */

static const char *why_not(const char *grant, int code)
{
    if (strcmp(grant, "env") == 0 &&
        strcmp(asyncbox_err_name(code), "EINVAL") == 0)
        return "want NAME, PREFIX* or *, without a value";
    return asyncbox_err_text(code);
}

/* Grants "a,b,c". 0 or the exit status. */
static int allow(asyncbox *box, const cli_item *item)
{
    const char *rule = item->value;
    while (*rule) {
        size_t length = strcspn(rule, ",");
        char *copy = malloc(length + 1);
        int code;
        if (!copy)
            return fail(box, "not enough memory");
        memcpy(copy, rule, length);
        copy[length] = '\0';
        code = asyncbox_allow(box, item->grant, copy);
        if (code < 0)
            fprintf(stderr, "asyncbox: --allow-%s=%s: %s\n", item->grant, copy,
                    why_not(item->grant, code));
        free(copy);
        if (code < 0)
            return CLI_USAGE;
        rule += length + (rule[length] == ',');
    }
    return 0;
}

static int prepare(asyncbox *box, const cli_options *options)
{
    int i, status = 0;
    for (i = 0; i < options->items_count && !status; i++) {
        if (options->items[i].kind == CLI_ALLOW)
            status = allow(box, &options->items[i]);
    }
    if (!status && asyncbox_set_args(box, options->argc,
                                     (const char *const *)options->argv,
                                     options->script) < 0)
        status = fail(box, "not enough memory for the arguments");
    return status;
}

/* What was printed must have arrived. */
static int close_box(asyncbox *box, int status)
{
    int code = asyncbox_free(box);
    if (code < 0)
        fprintf(stderr, "asyncbox: cannot write to standard output: %s\n",
                asyncbox_err_text(code));
    return code < 0 && !status ? CLI_FAILED : status;
}

static asyncbox *new_box(const cli_options *options, int *status)
{
    asyncbox *box = NULL;
    asyncbox_config config = options->config;
    config.standard_output = 1;
    int code = asyncbox_new(&config, &box);
    if (code >= 0)
        return box;
    *status = CLI_FAILED;
    if (code == CODE_NOMEM && options->memory)
        fprintf(stderr, "asyncbox: --memory %s is too little to start\n",
                options->memory);
    else
        fprintf(stderr, "asyncbox: cannot start: %s\n",
                asyncbox_err_text(code));
    return NULL;
}

int cli_run(const cli_options *options)
{
    int status = 0;
    asyncbox *box;
    if (options->no_env) {
        unsetenv("LUA_PATH");
        unsetenv("LUA_PATH_5_4");
        unsetenv("LUA_CPATH");
        unsetenv("LUA_CPATH_5_4");
    }
    box = new_box(options, &status);
    if (!box)
        return status;
    status = prepare(box, options);
    if (!status) {
        cli_signals_watch(box);
        status = run_items(box, options);
        cli_signals_watch(NULL);
    }
    return close_box(box, status);
}

/* ---- asyncbox test ---- */

int cli_test(int argc, char **argv, int first)
{
    static const char code[] =
        "local ok, runner = pcall(require, 'busted.runner')\n"
        "if not ok then\n"
        "  if not tostring(runner):find(\"module 'busted%.?%w*' not found\")"
        " then error(runner, 0) end\n"
        "  io.stderr:write('asyncbox: test needs busted, which is not "
        "installed: apt install lua-busted\\n')\n"
        "  os.exit(1)\n"
        "end\n"
        "runner{standalone = false}\n";
    cli_options options;
    asyncbox *box;
    int status = 0;
    memset(&options, 0, sizeof(options));
    asyncbox_config_init(&options.config);
    options.config.sandbox = 0;
    options.argc = argc;
    options.argv = argv;
    options.script = first - 1;
    box = new_box(&options, &status);
    if (!box)
        return status;
    status = prepare(box, &options);
    if (!status) {
        cli_signals_watch(box);
        /* busted calls itself by the base name of this "file". */
        status = run_string(box, code, "@asyncbox test");
        cli_signals_watch(NULL);
    }
    return close_box(box, status);
}
