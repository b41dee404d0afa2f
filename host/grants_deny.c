/* grants_deny.c - EDENIED: what was refused, and which flag would allow it. */
#include "box.h"
#include "error.h"
#include "grants.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

int ab_grants_deny(lua_State *L, const char *op, const char *key,
                   const char *value, const char *hint)
{
    ab_error_push(L, ASYNCBOX_EDENIED, &(ab_detail){op, NULL, key, value});
    lua_pushstring(L, hint);
    lua_setfield(L, -2, "hint");
    return lua_error(L);
}

/* ---- hosts and addresses ---- */

void ab_grants_check_host(lua_State *L, const char *op, const char *host,
                          int port)
{
    const ab_grants *grants = &ab_box_of(L)->grants;
    if (ab_grants_host_allowed(grants, host, port))
        return;
    const char *open = "", *close = "";
    if (strchr(host, ':') && host[0] != '[') {
        open = "[";
        close = "]";
    }
    char hint[320];
    if (port > 0)
        snprintf(hint, sizeof hint, "allow it with --allow-net=%s%.255s%s:%d",
                 open, host, close, port);
    else
        snprintf(hint, sizeof hint, "allow it with --allow-net=%s%.255s%s",
                 open, host, close);
    ab_grants_deny(L, op, "host", host, hint);
}

int ab_grants_denied_address(lua_State *L, const char *op,
                             const struct sockaddr *addr)
{
    char text[AB_ADDR_TEXT], hint[AB_ADDR_TEXT + 40];
    ab_sockaddr_format(addr, text);
    snprintf(hint, sizeof hint, "allow it with --allow-net=%s", text);
    return ab_grants_deny(L, op, "host", text, hint);
}

void ab_grants_check_listen(lua_State *L, const char *op,
                            const struct sockaddr *addr)
{
    char text[AB_ADDR_TEXT], hint[AB_ADDR_TEXT + 40];
    if (ab_grants_listen_allowed(&ab_box_of(L)->grants, addr))
        return;
    ab_sockaddr_format(addr, text);
    size_t len = strlen(text);
    int any_port = len > 2 && strcmp(text + len - 2, ":0") == 0;
    snprintf(hint, sizeof hint, "allow it with --allow-listen=%.*s",
             (int)(any_port ? len - 2 : len), text);
    ab_grants_deny(L, op, "host", text, hint);
}

/* ---- programs and variables ---- */

int ab_grants_denied_program(lua_State *L, const char *op, const char *program)
{
    char hint[320];
    snprintf(hint, sizeof hint, "allow it with --allow-run=%.255s", program);
    return ab_grants_deny(L, op, "path", program, hint);
}

void ab_grants_check_env(lua_State *L, const char *op, const char *name)
{
    if (ab_grants_env_allowed(&ab_box_of(L)->grants, name, strlen(name)))
        return;
    char hint[320];
    snprintf(hint, sizeof hint, "allow it with --allow-env=%.255s", name);
    ab_grants_deny(L, op, "name", name, hint);
}

/* ---- paths ---- */

/* Do these look into the folder that they are given? */
static int takes_folder(const char *op)
{
    static const char *const ops[] = {"fs.list", "fs.scan", "fs.walk",
                                      "fs.glob", NULL};
    for (const char *const *known = ops; *known; known++)
        if (strcmp(op, *known) == 0)
            return 1;
    return strncmp(op, "process.", 8) == 0; /* its cwd */
}

/* The flag that would allow it: for a file it names the folder, as the script
 * wrote it, since another one is likely to follow; but never all there is, nor
 * what lies above. */
static void propose_rule(const char *op, const char *path, char *out,
                         size_t bytes)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t folder = len;
    while (folder > 0 && path[folder - 1] != '/')
        folder--;
    size_t name = len - folder;
    int is_dots = (name == 1 && path[folder] == '.') ||
                  (name == 2 && strncmp(path + folder, "..", 2) == 0);
    while (folder > 0 && path[folder - 1] == '/')
        folder--;
    int above = folder >= 2 && strncmp(path + folder - 2, "..", 2) == 0 &&
                (folder == 2 || path[folder - 3] == '/');
    if (is_dots || above || takes_folder(op) || (!folder && path[0] == '/'))
        snprintf(out, bytes, "%.*s", (int)len, path);
    else
        snprintf(out, bytes, "%.*s", folder ? (int)folder : 1,
                 folder ? path : ".");
}

int ab_grants_denied_path(lua_State *L, ab_grant_kind kind, const char *op,
                          const char *path)
{
    const ab_grants *grants = &ab_box_of(L)->grants;
    const char *flag = kind == AB_GRANT_READ ? "--allow-read" : "--allow-write";
    char hint[PATH_MAX + 64];
    if (ab_grants_path_below(grants, kind, path)) {
        /* Under a root and yet refused.  Where a link leads to is not for the
         * script to learn. */
        snprintf(hint, sizeof hint,
                 "it leads out of what %s allows, or is no plain file", flag);
    } else {
        char rule[PATH_MAX];
        propose_rule(op, path, rule, sizeof rule);
        snprintf(hint, sizeof hint, "allow it with %s=%s", flag, rule);
    }
    return ab_grants_deny(L, op, "path", path, hint);
}

void ab_grants_check_path(lua_State *L, ab_grant_kind kind, const char *op,
                          const char *path)
{
    const ab_grants *grants = &ab_box_of(L)->grants;
    if (grants->trusted || *path == '\0')
        return;
    if (!ab_grants_path_possible(grants, kind, path))
        ab_grants_denied_path(L, kind, op, path);
}
