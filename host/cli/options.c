/* options.c - the command line of `asyncbox run` and of the short form.
 *
 * Both take the options of the `lua` program; the long ones are run's. */
#include "cli.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How an option takes its value. */
typedef enum value_form {
    VALUE_NONE,
    VALUE_INLINE, /* --name=VALUE */
    VALUE_MAYBE,  /* --name: `*`, or --name=VALUE */
    VALUE_ANY     /* --name=VALUE or --name VALUE */
} value_form;

typedef struct long_option {
    const char *name;
    value_form form;
    const char *usage; /* how the option is written, for messages */
    int (*take)(cli_options *options, const char *name, const char *value);
} long_option;

int cli_usage_error(const char *command, const char *format, ...)
{
    va_list args;
    fputs("asyncbox: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "; see asyncbox %s%s--help\n", command ? command : "",
            command ? " " : "");
    return CLI_USAGE;
}

static void add_item(cli_options *options, cli_item_kind kind,
                     const char *grant, const char *value)
{
    cli_item *item = &options->items[options->items_count++];
    item->kind = kind;
    item->grant = grant;
    item->value = value;
}

/* ---- long options ---- */

/* "32M" -> 33554432; 0 when it is not a size. */
static size_t size_of(const char *text)
{
    size_t bytes = 0;
    int shift = 0;
    if (*text < '0' || *text > '9')
        return 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        size_t digit = (size_t)(*text - '0');
        if (bytes > (SIZE_MAX - digit) / 10)
            return 0;
        bytes = bytes * 10 + digit;
    }
    switch (*text) {
    case 'k':
    case 'K':
        shift = 10;
        break;
    case 'm':
    case 'M':
        shift = 20;
        break;
    case 'g':
    case 'G':
        shift = 30;
        break;
    case '\0':
        return bytes;
    default:
        return 0;
    }
    if (text[1] || bytes > SIZE_MAX >> shift)
        return 0;
    return bytes << shift;
}

static int take_memory(cli_options *options, const char *name,
                       const char *value)
{
    (void)name;
    options->memory = value;
    options->config.memory_bytes = size_of(value);
    if (options->config.memory_bytes)
        return 0;
    return cli_usage_error(options->command,
                           "--memory: '%s' is not a size such as 64K, 32M, 1G "
                           "or 1000000",
                           value);
}

static int take_allow(cli_options *options, const char *name, const char *value)
{
    size_t length = strlen(value);
    if (!length || value[0] == ',' || value[length - 1] == ',' ||
        strstr(value, ",,"))
        return cli_usage_error(options->command, "--%s=%s: an empty rule", name,
                               value);
    options->config.sandbox = 1;
    add_item(options, CLI_ALLOW, name + strlen("allow-"), value);
    return 0;
}

static int take_allow_stdin(cli_options *options, const char *name,
                            const char *value)
{
    (void)value;
    return take_allow(options, name, "*");
}

static int take_sandbox(cli_options *options, const char *name,
                        const char *value)
{
    (void)name;
    (void)value;
    options->config.sandbox = 1;
    return 0;
}

static int take_virtual_time(cli_options *options, const char *name,
                             const char *value)
{
    (void)name;
    (void)value;
    options->config.virtual_time = 1;
    return 0;
}

static const long_option long_options[] = {
    {"sandbox", VALUE_NONE, "--sandbox", take_sandbox},
    {"allow-read", VALUE_INLINE, "--allow-read=PATH[,PATH]", take_allow},
    {"allow-write", VALUE_INLINE, "--allow-write=PATH[,PATH]", take_allow},
    {"allow-net", VALUE_INLINE, "--allow-net=HOST[:PORT][,...]", take_allow},
    {"allow-listen", VALUE_INLINE, "--allow-listen=ADDRESS[:PORT][,...]",
     take_allow},
    {"allow-run", VALUE_INLINE, "--allow-run=PROGRAM[,PROGRAM]", take_allow},
    {"allow-env", VALUE_MAYBE, "--allow-env[=NAME,...]", take_allow},
    {"allow-stdin", VALUE_NONE, "--allow-stdin", take_allow_stdin},
    {"memory", VALUE_ANY, "--memory SIZE", take_memory},
    {"virtual-time", VALUE_NONE, "--virtual-time", take_virtual_time},
};

static const long_option *find_long(const char *name, size_t length)
{
    size_t i;
    for (i = 0; i < sizeof(long_options) / sizeof(long_options[0]); i++) {
        if (strlen(long_options[i].name) == length &&
            !memcmp(long_options[i].name, name, length))
            return &long_options[i];
    }
    return NULL;
}

/* Understands argv[*at], which begins with "--" and is longer than that. */
static int parse_long(cli_options *options, int *at)
{
    const char *word = options->argv[*at];
    const char *value = strchr(word, '=');
    size_t length = value ? (size_t)(value - word) : strlen(word);
    const long_option *option = find_long(word + 2, length - 2);
    if (!strcmp(word, "--help"))
        return options->help = 1, 0;
    if (!strcmp(word, "--version"))
        return options->exiting = 1, 0;
    if (!option)
        return cli_usage_error(options->command, "unknown option '%.*s'",
                               (int)length, word);
    if (!options->command)
        return cli_usage_error("run",
                               "%.*s is an option of run: asyncbox run %s FILE",
                               (int)length, word, option->usage);
    if (option->form == VALUE_NONE) {
        if (value)
            return cli_usage_error(options->command, "%.*s takes no value",
                                   (int)length, word);
        return option->take(options, option->name, NULL);
    }
    if (value)
        return option->take(options, option->name, value + 1);
    if (option->form == VALUE_MAYBE)
        return option->take(options, option->name, "*");
    if (option->form == VALUE_ANY && *at + 1 < options->argc)
        return option->take(options, option->name, options->argv[++*at]);
    return cli_usage_error(options->command, "--%s needs a value: %s",
                           option->name, option->usage);
}

/* ---- the options of lua ---- */

/* -e CODE, -eCODE, -l MOD, -lMOD */
static int parse_code(cli_options *options, int *at)
{
    const char *word = options->argv[*at];
    const char *value = word[2]                   ? word + 2
                        : *at + 1 < options->argc ? options->argv[++*at]
                                                  : NULL;
    if (!value)
        return cli_usage_error(options->command, "%s needs %s", word,
                               word[1] == 'e' ? "code: -e CODE"
                                              : "a module: -l MODULE");
    if (word[1] == 'e')
        options->code = 1;
    add_item(options, word[1] == 'e' ? CLI_CODE : CLI_REQUIRE, NULL, value);
    return 0;
}

/* Understands argv[*at], which is "-x..." and not "--...". */
static int parse_short(cli_options *options, int *at)
{
    const char *word = options->argv[*at];
    if (word[1] == 'e' || word[1] == 'l')
        return parse_code(options, at);
    if (!word[2]) {
        switch (word[1]) {
        case 'v':
            return options->version = 1, 0;
        case 'E':
            return options->no_env = 1, 0;
        case 'h':
            return options->help = 1, 0;
        case 'W':
            add_item(options, CLI_WARN, NULL, NULL);
            return 0;
        case 'i':
            return cli_usage_error(options->command,
                                   "-i: there is no interactive mode yet");
        default:
            break;
        }
    }
    return cli_usage_error(options->command, "unknown option '%s'", word);
}

static int parse(cli_options *options, int first)
{
    int at, status = 0;
    for (at = first; at < options->argc && !status; at++) {
        const char *word = options->argv[at];
        if (!strcmp(word, "--")) {
            if (at + 1 < options->argc)
                options->script = at + 1;
            return 0;
        }
        if (word[0] != '-' || !word[1]) {
            options->script = at;
            options->is_stdin = word[0] == '-';
            return 0;
        }
        if (word[1] == '-')
            status = parse_long(options, &at);
        else
            status = parse_short(options, &at);
        if (options->help || options->exiting)
            return 0;
    }
    return status;
}

int cli_options_init(cli_options *options, const char *command, int argc,
                     char **argv, int first)
{
    memset(options, 0, sizeof(*options));
    asyncbox_config_init(&options->config);
    options->config.sandbox = 0;
    options->command = command;
    options->argc = argc;
    options->argv = argv;
    options->items = calloc((size_t)argc + 1, sizeof(*options->items));
    if (!options->items) {
        fputs("asyncbox: not enough memory\n", stderr);
        return CLI_FAILED;
    }
    return parse(options, first);
}

void cli_options_deinit(cli_options *options)
{
    free(options->items);
    options->items = NULL;
}
