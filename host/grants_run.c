/* grants_run.c - which programs a box may start.
 *
 * A program is named by its folder, links resolved, and its own name, which is
 * not resolved: on a system where /bin/ls leads to busybox, granting ls grants
 * no other name of that file.  What is allowed is started by exactly this path.
 */
#include "asyncbox.h"
#include "grants.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static int is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           access(path, X_OK) == 0;
}

/* The real folder and the plain name: 0 or a code. */
static int settle(char *path, char *out, size_t bytes)
{
    char folder[PATH_MAX];
    char *slash = strrchr(path, '/');
    const char *leaf = slash + 1;
    if (!*leaf || strcmp(leaf, ".") == 0 || strcmp(leaf, "..") == 0)
        return UV_EACCES;
    *slash = '\0';
    if (!realpath(slash == path ? "/" : path, folder))
        return uv_translate_sys_error(errno);
    int n =
        snprintf(out, bytes, "%s/%s", strcmp(folder, "/") ? folder : "", leaf);
    return n < 0 || (size_t)n >= bytes ? UV_ENAMETOOLONG : 0;
}

int ab_program_find(const char *name, char *out, size_t bytes)
{
    char path[PATH_MAX];
    if (!*name)
        return UV_ENOENT;
    if (strchr(name, '/')) {
        int n =
            snprintf(path, sizeof path, "%s%s", *name == '/' ? "" : "./", name);
        if (n < 0 || (size_t)n >= sizeof path)
            return UV_ENAMETOOLONG;
        struct stat st;
        if (stat(path, &st) < 0)
            return uv_translate_sys_error(errno);
        return is_program(path) ? settle(path, out, bytes) : UV_EACCES;
    }
    const char *folders = getenv("PATH");
    if (!folders || !*folders)
        folders = "/usr/bin:/bin";
    for (;;) {
        int length = (int)strcspn(folders, ":");
        int n = snprintf(path, sizeof path, "%.*s/%s", length ? length : 1,
                         length ? folders : ".", name);
        if (n > 0 && (size_t)n < sizeof path && is_program(path))
            return settle(path, out, bytes);
        if (!folders[length])
            return UV_ENOENT;
        folders += length + 1;
    }
}

int ab_grants_program_rule(ab_grant_rule *rule, const char *text)
{
    char path[PATH_MAX];
    if (strcmp(text, "*") == 0)
        return 0;
    int err = ab_program_find(text, path, sizeof path);
    if (err)
        return err;
    rule->path = strdup(path);
    return rule->path ? 0 : UV_ENOMEM;
}

int ab_grants_program_allowed(const ab_grants *grants, const char *path)
{
    if (grants->trusted)
        return 1;
    const ab_grant_rule *rule = grants->rules[AB_GRANT_RUN];
    for (; rule; rule = rule->next)
        if (!rule->path || strcmp(rule->path, path) == 0)
            return 1;
    return 0;
}
