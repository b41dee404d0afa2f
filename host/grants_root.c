/* grants_root.c - roots, and what the text of a path says about them.  Nothing
 * here decides: what may be opened does grants_path.c. */
#include "compat.h"
#include "grants.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

/* ---- paths as text ---- */

char *ab_path_absolute(const char *path)
{
    char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);
    if (path[0] != '/' && !cwd)
        return NULL;
    size_t cwd_len = cwd ? strlen(cwd) : 0;
    char *out = malloc(cwd_len + strlen(path) + 3);
    if (!out) {
        free(cwd);
        return NULL;
    }
    if (cwd)
        memcpy(out, cwd, cwd_len);
    free(cwd);
    char *end = out + cwd_len;
    if (end == out || end[-1] != '/')
        *end++ = '/';
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");
        size_t slashes = strspn(p + len, "/");
        if (len > 0 && !(len == 1 && p[0] == '.')) {
            memcpy(end, p, len);
            end += len;
            if (slashes)
                *end++ = '/';
        }
        p += len + slashes;
    }
    *end = '\0';
    return out;
}

/* The last component of an absolute path, cut off: *abs keeps the folder. */
static char *cut_leaf(char *abs)
{
    char *slash = strrchr(abs, '/');
    if (!slash)
        return abs + strlen(abs);
    *slash = '\0';
    return slash + 1;
}

int ab_path_has_dotdot(const char *path)
{
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            return 1;
        p += len + strspn(p + len, "/");
    }
    return 0;
}

const char *ab_grant_below(const ab_grant_rule *rule, const char *abs)
{
    size_t len = strlen(rule->path);
    if (len == 1) /* "/" */
        return abs + 1;
    if (strncmp(abs, rule->path, len) != 0)
        return NULL;
    if (abs[len] == '\0')
        return abs + len;
    return abs[len] == '/' ? abs + len + 1 : NULL;
}

static int is_below_any(const ab_grants *grants, ab_grant_kind kind,
                        const char *abs)
{
    const ab_grant_rule *rule = grants->rules[kind];
    for (; rule; rule = rule->next)
        if (ab_grant_below(rule, abs))
            return 1;
    return 0;
}

char *ab_path_real(const char *abs)
{
    char *real = realpath(abs, NULL);
    if (real)
        return real;
    char *head = strdup(abs);
    if (!head)
        return NULL;
    while (errno == ENOENT && strrchr(head, '/') && head[0]) {
        *strrchr(head, '/') = '\0';
        real = realpath(head[0] ? head : "/", NULL);
        if (real)
            break;
    }
    const char *rest = abs + strlen(head);
    char *out = NULL;
    if (real && !ab_path_has_dotdot(rest)) {
        size_t real_len = strcmp(real, "/") == 0 ? 0 : strlen(real);
        out = malloc(real_len + strlen(rest) + 1);
        if (out) {
            memcpy(out, real, real_len);
            strcpy(out + real_len, rest);
        }
    }
    free(real);
    free(head);
    return out;
}

/* ---- roots ---- */

static int open_root(ab_grant_rule *rule)
{
    struct stat st;
    int there = stat(rule->path, &st) == 0;
    if (there && S_ISDIR(st.st_mode)) {
        rule->dir = open(rule->path, AB_O_PATH | O_DIRECTORY | O_CLOEXEC);
    } else {
        rule->special = there && !S_ISREG(st.st_mode);
        char *folder = strdup(rule->path);
        if (!folder)
            return UV_ENOMEM;
        rule->leaf = strdup(cut_leaf(folder));
        rule->dir =
            open(folder[0] ? folder : "/", AB_O_PATH | O_DIRECTORY | O_CLOEXEC);
        free(folder);
        if (!rule->leaf)
            return UV_ENOMEM;
    }
    if (rule->dir < 0)
        return uv_translate_sys_error(errno);
    rule->proc = ab_compat_is_proc(rule->dir);
    return 0;
}

int ab_grants_root(ab_grant_rule *rule, const char *path)
{
    char *abs = ab_path_absolute(path);
    if (!abs)
        return uv_translate_sys_error(errno);
    size_t len = strlen(abs);
    if (len > 1 && abs[len - 1] == '/')
        abs[len - 1] = '\0';
    int err = 0;
    rule->path = realpath(abs, NULL);
    if (!rule->path && errno == ENOENT) {
        /* Not there yet: its folder has to be. */
        char *leaf = cut_leaf(abs);
        char *folder = realpath(abs[0] ? abs : "/", NULL);
        size_t size = folder ? strlen(folder) + strlen(leaf) + 2 : 0;
        if (folder && strcmp(leaf, "..") != 0)
            rule->path = malloc(size);
        if (rule->path)
            snprintf(rule->path, size, "%s/%s",
                     strcmp(folder, "/") == 0 ? "" : folder, leaf);
        free(folder);
    }
    if (!rule->path)
        err = uv_translate_sys_error(errno);
    free(abs);
    return err ? err : open_root(rule);
}

/* ---- asking beforehand ---- */

int ab_grants_path_below(const ab_grants *grants, ab_grant_kind kind,
                         const char *path)
{
    char *abs = ab_path_absolute(path);
    int is_below =
        abs && is_below_any(grants, kind, abs) && !ab_path_has_dotdot(abs);
    free(abs);
    return is_below;
}

int ab_grants_path_possible(const ab_grants *grants, ab_grant_kind kind,
                            const char *path)
{
    if (ab_grants_path_below(grants, kind, path))
        return 1;
    if (!grants->rules[kind])
        return 0;
    char *abs = ab_path_absolute(path);
    char *real = abs ? ab_path_real(abs) : NULL;
    int is_below = real && is_below_any(grants, kind, real);
    free(real);
    free(abs);
    return is_below;
}
