/* fs_glob_tree.c - the way of glob's patterns through a tree; see fs_glob.h.
 *
 * Each folder is read once for all patterns, and no pattern costs more than its
 * length for each name. */
#include "fs_glob.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Then other jobs of the pool have their turn. */
enum { SLICE_NS = 5000000 };

/* A folder that is to be looked into, or one that such a folder lies in. */
struct ab_fs_glob_node {
    ab_fs_glob_node *next;  /* in g->todo */
    ab_fs_glob_node *outer; /* the folder that it lies in; holds a reference */
    size_t refs, bytes;
    int identified; /* dev and ino are known */
    dev_t dev;
    ino_t ino;
    char *path;     /* "" or with a slash at its end */
    uint32_t count; /* of states */
    uint32_t states[];
};

/* An entry of a folder, and the states that its name leads to. */
typedef struct entry {
    const char *name;
    int type; /* DT_... */
    const uint32_t *states;
    uint32_t count;
} entry;

/* ---- memory ---- */

static void *take(ab_fs_glob *g, size_t bytes)
{
    void *block = g->budget - g->used < bytes ? NULL : malloc(bytes);
    if (block)
        g->used += bytes;
    return block;
}

static void give_back(ab_fs_glob *g, void *block, size_t bytes)
{
    if (block)
        g->used -= bytes;
    free(block);
}

static void unref(ab_fs_glob *g, ab_fs_glob_node *node)
{
    while (node && --node->refs == 0) {
        ab_fs_glob_node *outer = node->outer;
        give_back(g, node, node->bytes);
        node = outer;
    }
}

static int push_node(ab_fs_glob *g, ab_fs_glob_node *outer, const char *name,
                     const uint32_t *states, uint32_t count)
{
    size_t head = sizeof(ab_fs_glob_node) + count * sizeof *states;
    size_t path_len = outer ? strlen(outer->path) : 0, len = strlen(name);
    size_t bytes = head + path_len + len + 2;
    ab_fs_glob_node *node = take(g, bytes);
    if (!node)
        return UV_ENOMEM;
    memset(node, 0, sizeof *node);
    node->refs = 1;
    node->bytes = bytes;
    node->count = count;
    memcpy(node->states, states, count * sizeof *states);
    node->path = (char *)node + head;
    if (outer) {
        memcpy(node->path, outer->path, path_len);
        outer->refs++;
        node->outer = outer;
    }
    memcpy(node->path + path_len, name, len);
    strcpy(node->path + path_len + len, outer ? "/" : "");
    node->next = g->todo;
    g->todo = node;
    return 0;
}

/* base, path and name in one; the caller's to free. */
static char *join(const ab_fs_glob *g, const char *path, const char *name)
{
    size_t a = strlen(g->base), b = strlen(path), c = strlen(name);
    char *all = malloc(a + b + c + 2);
    if (!all)
        return NULL;
    memcpy(all, g->base, a);
    memcpy(all + a, path, b);
    memcpy(all + a + b, name, c + 1);
    if (a + b + c == 0)
        strcpy(all, ".");
    return all;
}

/* ---- what is found ---- */

static int found_room(ab_fs_glob *g, size_t bytes)
{
    ab_fs_found *f = &g->found;
    if (f->cap - f->len >= bytes)
        return 0;
    size_t cap = f->cap ? 2 * f->cap : 4096;
    while (cap - f->len < bytes)
        cap *= 2;
    size_t more = cap - f->cap;
    char *all = g->budget - g->used < more ? NULL : realloc(f->bytes, cap);
    if (!all)
        return UV_ENOMEM;
    g->used += more;
    f->bytes = all;
    f->cap = cap;
    return 0;
}

static int add_found(ab_fs_glob *g, const char *path, const char *name,
                     int slash)
{
    ab_fs_found *f = &g->found;
    size_t a = strlen(path), b = strlen(name);
    int err = found_room(g, a + b + 2);
    if (err)
        return err;
    memcpy(f->bytes + f->len, path, a);
    memcpy(f->bytes + f->len + a, name, b);
    f->len += a + b;
    if (slash)
        f->bytes[f->len++] = '/';
    f->bytes[f->len++] = '\0';
    f->count++;
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted; each once: "{a/b,a/?}" meets a/b on two ways. */
static int sort_found(ab_fs_glob *g)
{
    ab_fs_found *f = &g->found;
    if (f->count == 0)
        return 0;
    f->sorted = take(g, f->count * sizeof *f->sorted);
    if (!f->sorted)
        return UV_ENOMEM;
    char *p = f->bytes;
    for (size_t i = 0; i < f->count; i++, p += strlen(p) + 1)
        f->sorted[i] = p;
    qsort(f->sorted, f->count, sizeof *f->sorted, compare);
    size_t kept = 1;
    for (size_t i = 1; i < f->count; i++)
        if (strcmp(f->sorted[i], f->sorted[kept - 1]) != 0)
            f->sorted[kept++] = f->sorted[i];
    f->count = kept;
    return 0;
}

void ab_fs_found_free(ab_fs_found *found)
{
    free(found->bytes);
    free(found->sorted);
    memset(found, 0, sizeof *found);
}

/* ---- states ---- */

static void new_list(ab_fs_glob *g)
{
    if (++g->list == 0) { /* it has gone round */
        memset(g->marks, 0, g->count * sizeof *g->marks);
        g->list = 1;
    }
}

/* Adds the state and what follows from it without a name: ** may be nothing.
 * A pattern has no two of them in a row. */
static uint32_t add(ab_fs_glob *g, uint32_t *list, uint32_t count,
                    uint32_t state)
{
    for (;; state++) {
        if (g->marks[state] == g->list)
            return count;
        g->marks[state] = g->list;
        list[count++] = state;
        if (g->segments[state].kind != AB_FS_ANY)
            return count;
    }
}

static int is_name(const ab_fs_segment *s, const char *name, size_t len)
{
    return s->kind == AB_FS_NAME && s->bytes == len &&
           memcmp(s->text, name, len) == 0;
}

/* What the name of an entry leads to.  `link`: ** stops there. */
static uint32_t step(ab_fs_glob *g, const ab_fs_glob_node *node,
                     const char *name, int link, uint32_t *list)
{
    size_t len = strlen(name);
    int shown = g->hidden || name[0] != '.';
    uint32_t count = 0;
    new_list(g);
    for (uint32_t i = 0; i < node->count; i++) {
        uint32_t state = node->states[i];
        const ab_fs_segment *s = &g->segments[state];
        if (s->kind == AB_FS_ANY) {
            if (!link && shown)
                count = add(g, list, count, state);
        } else if (s->kind == AB_FS_WILD
                       ? (shown || s->flag) && !atomic_load(g->stop) &&
                             ab_fs_glob_matches(s, name, len)
                       : is_name(s, name, len)) {
            count = add(g, list, count, state + 1);
        }
    }
    return count;
}

/* ---- looking ---- */

/* What a pattern passes by: all that is the folder's own affair, as EINVAL is
 * of a process in /proc that has ended, ENOTCONN of a mount whose server has.
 */
static int is_closed(const ab_fs_glob *g, int code)
{
    switch (code) {
    case UV_ENOMEM:
    case UV_EMFILE:
    case UV_ENFILE:
    case UV_EIO:
    case UV_ECANCELED:
        return 0;
    case ASYNCBOX_EDENIED:
        return g->looked;
    default:
        return 1;
    }
}

/* Takes the path over that a call gave the code for.  An error is the whole
 * call's, unless it is passed by: then it is 0. */
static int judge(ab_fs_glob *g, int code, char *path)
{
    if (code >= 0 || is_closed(g, code)) {
        free(path);
        return code > 0 ? code : 0;
    }
    g->failed = path;
    return code;
}

/* Is there something, and what?  1, 0 or a code. */
static int look(ab_fs_glob *g, const char *path, const char *name, int follow,
                int *type)
{
    mode_t mode = 0;
    char *all = join(g, path, name);
    if (!all)
        return UV_ENOMEM;
    int err = ab_fs_probe(g->grants, all, follow, &mode);
    *type = (int)IFTODT(mode);
    return judge(g, err ? err : 1, all);
}

/* An entry with its states: a result, a folder to look into, both or neither.
 */
static int settle(ab_fs_glob *g, ab_fs_glob_node *node, const entry *e,
                  int is_read)
{
    int found = 0, slash = 1, deeper = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        const ab_fs_segment *s = &g->segments[e->states[i]];
        if (s->kind == AB_FS_END) {
            found = 1;
            slash = slash && s->flag;
        } else {
            deeper = 1;
        }
    }
    int link = e->type == DT_LNK, folder = e->type == DT_DIR, err = 0;
    if (link && (deeper || (found && slash))) {
        int type = DT_UNKNOWN;
        int there = look(g, node->path, e->name, 1, &type);
        if (there < 0)
            return there;
        folder = there && type == DT_DIR;
    }
    if (found && (folder || !slash))
        err = add_found(g, node->path, e->name, slash);
    if (err || !folder || !deeper)
        return err;
    if (!link || g->follow || !is_read)
        return push_node(g, node, e->name, e->states, e->count);
    uint32_t *list = g->marks + 2 * (size_t)g->count;
    uint32_t count = step(g, node, e->name, 1, list);
    return count ? push_node(g, node, e->name, list, count) : 0;
}

/* ---- a folder ---- */

static int read_entries(ab_fs_glob *g, ab_fs_glob_node *node, DIR *dir)
{
    uint32_t *list = g->marks + g->count;
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d)
            return uv_translate_sys_error(errno);
        if (atomic_load(g->stop))
            return UV_ECANCELED;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        entry e = {.name = d->d_name, .states = list};
        e.count = step(g, node, e.name, 0, list);
        if (e.count == 0)
            continue;
        e.type = ab_fs_entry_type(dir, d);
        int err = settle(g, node, &e, 1);
        if (err)
            return err;
    }
}

/* With follow: does the folder lie in itself? */
static int is_loop(ab_fs_glob_node *node, const struct stat *st)
{
    node->identified = 1;
    node->dev = st->st_dev;
    node->ino = st->st_ino;
    const ab_fs_glob_node *outer = node->outer;
    for (; outer; outer = outer->outer)
        if (outer->identified && outer->dev == st->st_dev &&
            outer->ino == st->st_ino)
            return 1;
    return 0;
}

/* 1: it lies in itself; 0 or a code. */
static int read_folder(ab_fs_glob *g, ab_fs_glob_node *node, int any)
{
    struct stat st;
    DIR *dir = NULL;
    char *path = join(g, node->path, "");
    if (!path)
        return UV_ENOMEM;
    int fd =
        ab_grants_open(g->grants, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    int err = fd < 0 ? fd : 0;
    if (!err && (fstat(fd, &st) < 0 || !(dir = fdopendir(fd)))) {
        err = uv_translate_sys_error(errno);
        close(fd);
    }
    if (!err && any && g->follow && is_loop(node, &st))
        err = 1;
    err = judge(g, err, path);
    g->looked = 1;
    if (dir && err == 0) {
        err = read_entries(g, node, dir);
        if (err < 0 && is_closed(g, err))
            err = 0;
    }
    if (dir)
        closedir(dir);
    return err;
}

/* The names that a pattern just says: all states of the node with the text of
 * the i-th, unless an earlier one had it. */
static int visit_name(ab_fs_glob *g, ab_fs_glob_node *node, uint32_t i)
{
    const ab_fs_segment *s = &g->segments[node->states[i]];
    uint32_t *list = g->marks + g->count, count = 0;
    for (uint32_t k = 0; k < i; k++)
        if (is_name(&g->segments[node->states[k]], s->text, s->bytes))
            return 0;
    new_list(g);
    for (uint32_t k = i; k < node->count; k++)
        if (is_name(&g->segments[node->states[k]], s->text, s->bytes))
            count = add(g, list, count, node->states[k] + 1);
    entry e = {.states = list, .count = count};
    char *name = malloc(s->bytes + 1);
    if (!name)
        return UV_ENOMEM;
    memcpy(name, s->text, s->bytes);
    name[s->bytes] = '\0';
    e.name = name;
    int err = look(g, node->path, name, 0, &e.type);
    if (err > 0)
        err = settle(g, node, &e, 0);
    free(name);
    return err;
}

static int visit(ab_fs_glob *g, ab_fs_glob_node *node)
{
    int wild = 0, any = 0, err = 0;
    for (uint32_t i = 0; i < node->count; i++) {
        int kind = g->segments[node->states[i]].kind;
        wild |= kind == AB_FS_WILD || kind == AB_FS_ANY;
        any |= kind == AB_FS_ANY;
    }
    if (wild)
        err = read_folder(g, node, any);
    for (uint32_t i = 0; i < node->count && !err; i++) {
        const ab_fs_segment *s = &g->segments[node->states[i]];
        if (atomic_load(g->stop))
            err = UV_ECANCELED;
        else if (s->kind == AB_FS_NAME && (!wild || s->flag))
            err = visit_name(g, node, i);
    }
    return err < 0 ? err : 0;
}

/* ---- the whole ---- */

int ab_fs_glob_begin(ab_fs_glob *g, const char *path)
{
    uint32_t *list = g->marks + g->count, count = 0;
    new_list(g);
    for (uint32_t i = 0; i < g->count; i++)
        if (i == 0 || g->segments[i - 1].kind == AB_FS_END)
            count = add(g, list, count, i);
    return push_node(g, NULL, path, list, count);
}

static int64_t now(void) { return (int64_t)uv_hrtime(); }

int ab_fs_glob_run(ab_fs_glob *g)
{
    int64_t end = now() + SLICE_NS;
    int err = 0;
    while (g->todo && !err) {
        if (now() >= end)
            return 1;
        ab_fs_glob_node *node = g->todo;
        g->todo = node->next;
        err = visit(g, node);
        unref(g, node);
    }
    return err ? err : sort_found(g);
}

void ab_fs_glob_deinit(ab_fs_glob *g)
{
    while (g->todo) {
        ab_fs_glob_node *node = g->todo;
        g->todo = node->next;
        unref(g, node);
    }
    free(g->failed);
    g->failed = NULL;
    ab_fs_found_free(&g->found);
}
