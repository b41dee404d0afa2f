/* modules.c - which modules there are. */
#include "modules.h"
#include "binding.h"

static const ab_module modules[] = {
    {"asyncbox.base", ab_open_base, 1},
    {"asyncbox.print", ab_open_stdout_print, 1},
    {"asyncbox.coroutine", ab_open_coroutine, 1},
    {"asyncbox.require", ab_open_require, 1},
    {"asyncbox", ab_open_async, 0},
    {"asyncbox.dns", ab_open_dns, 0},
    {"asyncbox.fs", ab_open_fs, 0},
    {"asyncbox.html", ab_open_html, 0},
    {"asyncbox.http", ab_open_http, 0},
    {"asyncbox.json", ab_open_json, 0},
    {"asyncbox.net", ab_open_net, 0},
    {"asyncbox.process", ab_open_process, 0},
    {"asyncbox.progress", ab_open_progress, 0},
    {"asyncbox.signal", ab_open_signal, 0},
    {"asyncbox.stderr", ab_open_stderr, 0},
    {"asyncbox.stdin", ab_open_stdin, 0},
    {"asyncbox.stdout", ab_open_stdout, 0},
    {"asyncbox.url", ab_open_url, 0},
    {NULL, NULL, 0},
};

const ab_module *ab_modules_all(void) { return modules; }
