/* fs_scan.c - reading folders: list, scan, and what walk and glob read with.
 *
 * A folder that is scanned stays open and gives its entries batch by batch.
 * For the others it is read, sorted and closed in the thread pool.  What is
 * read lies in memory of the box, which only the loop's thread may take: a job
 * that finds no room says how much it needs and is started again. */
#include "fs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH_BYTES = 32768, FIRST_BYTES = 4096, ENTRY_MAX = 1 + 1024 + 1 };

typedef struct scan {
    ab_fs_job job;
    ab_box *box;
    ab_op *waiter;
    int refs;               /* the Lua object, the op that waits, the job */
    unsigned whole : 1;     /* all entries at once, sorted */
    unsigned no_follow : 1; /* a path that is a link is no folder */
    unsigned running : 1;
    unsigned closed : 1;
    unsigned failed : 1; /* job.status is still to be told */
    /* of the job while it runs */
    DIR *dir;
    int ended; /* dir has no more */
    int kept;  /* `held` is read and not yet stored */
    char held[ENTRY_MAX];
    size_t want; /* > cap: run again with so much room */
    char *bytes; /* for each entry: kind, name, zero */
    size_t cap, len, count;
    char **sorted; /* in bytes, behind the entries */
    dev_t dev;
    ino_t ino;
    /* */
    size_t at, given; /* byte of the next entry, number of it */
    char *path;
    size_t path_bytes;
} scan;

typedef struct scan_op {
    ab_op op;
    scan *scan;
} scan_op;

static const ab_class scan_class;

/* ---- in the pool ---- */

static char kind_of_mode(mode_t mode)
{
    return S_ISREG(mode)    ? 'f'
           : S_ISDIR(mode)  ? 'd'
           : S_ISLNK(mode)  ? 'l'
           : S_ISFIFO(mode) ? 'p'
           : S_ISSOCK(mode) ? 's'
           : S_ISCHR(mode)  ? 'c'
           : S_ISBLK(mode)  ? 'b'
                            : '?';
}

/* Some file systems don't say in the folder what an entry is. */
static char kind_of(DIR *dir, const struct dirent *e)
{
    struct stat st;
    switch (e->d_type) {
    case DT_REG:
        return 'f';
    case DT_DIR:
        return 'd';
    case DT_LNK:
        return 'l';
    case DT_UNKNOWN:
        break;
    default:
        return kind_of_mode((mode_t)DTTOIF(e->d_type));
    }
    if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return '?';
    return kind_of_mode(st.st_mode);
}

static int open_dir(scan *s)
{
    struct stat st;
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;
    int fd = ab_grants_open(&s->box->grants, s->path,
                            flags | (s->no_follow ? O_NOFOLLOW : 0), 0);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || !(s->dir = fdopendir(fd))) {
        int err = uv_translate_sys_error(errno);
        close(fd);
        return err;
    }
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    return 0;
}

/* 0: the entry is stored; 1: there is no room. */
static int store(scan *s)
{
    size_t bytes = strlen(s->held) + 1;
    if (s->cap - s->len < bytes)
        return 1;
    memcpy(s->bytes + s->len, s->held, bytes);
    s->len += bytes;
    s->count++;
    s->kept = 0;
    return 0;
}

static int read_entries(scan *s)
{
    while (!s->ended) {
        if (s->kept && store(s))
            return 0;
        if (atomic_load(&s->job.stop))
            return UV_ECANCELED;
        errno = 0;
        struct dirent *e = readdir(s->dir);
        if (!e && errno)
            return uv_translate_sys_error(errno);
        if (!e) {
            s->ended = 1;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        size_t bytes = strlen(e->d_name) + 1;
        if (bytes >= ENTRY_MAX)
            return UV_ENAMETOOLONG;
        s->held[0] = kind_of(s->dir, e);
        memcpy(s->held + 1, e->d_name, bytes);
        s->kept = 1;
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a + 1, *(char *const *)b + 1);
}

/* The table of pointers lies behind the entries, aligned. */
static void sort_entries(scan *s)
{
    size_t from = (s->len + sizeof(char *) - 1) & ~(sizeof(char *) - 1);
    size_t want = from + s->count * sizeof(char *);
    if (want > s->cap) {
        s->want = want;
        return;
    }
    s->sorted = (char **)(void *)(s->bytes + from);
    char *p = s->bytes;
    for (size_t i = 0; i < s->count; i++, p += strlen(p) + 1)
        s->sorted[i] = p;
    qsort(s->sorted, s->count, sizeof *s->sorted, compare);
}

static int run_scan(ab_fs_job *job)
{
    scan *s = ab_container(job, scan, job);
    int err = s->dir || s->ended ? 0 : open_dir(s);
    if (!err && !s->ended)
        err = read_entries(s);
    if (s->dir && (err || s->ended)) {
        closedir(s->dir);
        s->dir = NULL;
    }
    if (!err && s->whole) {
        if (!s->ended)
            s->want = 2 * s->cap;
        else
            sort_entries(s);
    }
    return err;
}

/* ---- life, on the loop's thread ---- */

static void unref(scan *s)
{
    if (--s->refs)
        return;
    ab_box *box = s->box;
    if (s->dir)
        closedir(s->dir);
    box->live_handles--;
    ab_box_free(box, s->bytes, s->cap);
    ab_box_free(box, s->path, s->path_bytes);
    ab_box_free(box, s, sizeof *s);
}

static void release(scan *s)
{
    s->closed = 1;
    if (s->waiter && !s->waiter->finished)
        ab_op_finish(s->waiter, ASYNCBOX_ECLOSED);
    if (s->running) {
        ab_fs_stop(&s->job);
        return;
    }
    if (s->dir)
        closedir(s->dir);
    s->dir = NULL;
    ab_box_free(s->box, s->bytes, s->cap);
    s->bytes = NULL;
    s->sorted = NULL;
    s->cap = s->len = s->count = s->given = 0;
    s->ended = 1;
}

static int grow(scan *s, size_t cap)
{
    char *bytes = ab_box_realloc(s->box, s->bytes, s->cap, cap);
    if (!bytes)
        return UV_ENOMEM;
    s->bytes = bytes;
    s->cap = cap;
    return 0;
}

static int start(scan *s)
{
    s->want = 0;
    int err = ab_fs_start(&s->job);
    if (err)
        return err;
    s->running = 1;
    s->refs++;
    return 0;
}

static void on_done(ab_fs_job *job, int status)
{
    scan *s = ab_container(job, scan, job);
    s->running = 0;
    if (s->closed) {
        release(s);
    } else if (status == 0 && s->want > s->cap) {
        status = grow(s, s->want);
        if (!status)
            status = start(s);
        if (!status) {
            unref(s);
            return;
        }
    }
    if (status < 0 && !s->closed) {
        s->failed = 1;
        s->job.status = status;
    }
    if (s->waiter && !s->waiter->finished)
        ab_op_finish(s->waiter, 0);
    unref(s);
}

/* ---- waiting ---- */

static void raise_failure(lua_State *L, scan *s, const char *what)
{
    int code = s->job.status;
    s->failed = 0;
    release(s);
    if (code == ASYNCBOX_EDENIED)
        ab_grants_denied_path(L, AB_GRANT_READ, what, s->path);
    ab_error_path(L, code, what, s->path);
}

static int push_scan(lua_State *L, ab_op *op)
{
    scan *s = ((scan_op *)op)->scan;
    s->waiter = NULL;
    if (op->status < 0)
        ab_error_path(L, op->status, op->type->name, s->path);
    if (s->failed)
        raise_failure(L, s, op->type->name);
    return 0;
}

/* The job goes on for the next who asks, or until the scan is closed. */
static void cancel_scan(ab_op *op)
{
    scan *s = ((scan_op *)op)->scan;
    s->waiter = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

static void drop_scan(ab_op *op)
{
    scan *s = ((scan_op *)op)->scan;
    if (!s)
        return;
    if (s->waiter == op)
        s->waiter = NULL;
    unref(s);
}

#define SCAN_TYPE(text)                                                        \
    {                                                                          \
        .name = text, .size = sizeof(scan_op), .flags = AB_OP_EXTERNAL,        \
        .push = push_scan, .cancel = cancel_scan, .drop = drop_scan            \
    }
static const ab_op_type scan_type = SCAN_TYPE("fs.scan");
static const ab_op_type list_type = SCAN_TYPE("fs.list");
static const ab_op_type walk_type = SCAN_TYPE("fs.walk");
static const ab_op_type glob_type = SCAN_TYPE("fs.glob");

/* Waits until the job that runs, or a new one, is over; then k. */
static int wait_scan(lua_State *L, scan *s, const ab_op_type *type,
                     lua_KFunction k)
{
    scan_op *o = (scan_op *)ab_op_new(L, type);
    int err = s->running ? 0 : start(s);
    if (err)
        return ab_op_fail(L, &o->op, err, "path", s->path);
    o->scan = s;
    s->refs++;
    s->waiter = &o->op;
    return ab_task_parkk(L, &o->op, 0, k);
}

/* Pushes a new object. */
static scan *new_scan(lua_State *L, const char *path, size_t cap)
{
    ab_box *box = ab_box_of(L);
    scan **object = ab_object_new(L, &scan_class, sizeof *object, 0);
    scan *s = ab_box_alloc_or_raise(L, sizeof *s);
    memset(s, 0, sizeof *s);
    s->box = box;
    s->refs = 1;
    s->job.box = box;
    s->job.fd = -1;
    s->job.run = run_scan;
    s->job.done = on_done;
    box->live_handles++;
    *object = s;
    size_t bytes = strlen(path) + 1;
    s->path = ab_box_alloc_or_raise(L, bytes);
    s->path_bytes = bytes;
    memcpy(s->path, path, bytes);
    s->bytes = ab_box_alloc_or_raise(L, cap);
    s->cap = cap;
    return s;
}

/* ---- giving ---- */

static const char *name_of_kind(char kind)
{
    switch (kind) {
    case 'f':
        return "file";
    case 'd':
        return "directory";
    case 'l':
        return "link";
    case 'p':
        return "fifo";
    case 's':
        return "socket";
    case 'c':
        return "char";
    case 'b':
        return "block";
    default:
        return "unknown";
    }
}

/* Pushes name and kind of the next entry that is there: 2, or 0. */
static int give(lua_State *L, scan *s)
{
    if (s->given == s->count)
        return 0;
    const char *entry = s->sorted ? s->sorted[s->given] : s->bytes + s->at;
    size_t len = strlen(entry + 1);
    s->given++;
    s->at += len + 2;
    lua_pushlstring(L, entry + 1, len);
    lua_pushstring(L, name_of_kind(*entry));
    return 2;
}

static scan *self_of(lua_State *L)
{
    scan *s = *(scan **)ab_self(L, &scan_class);
    if (!s) /* a finalizer of the script got hold of it */
        luaL_error(L, "attempt to use a scan that was collected");
    return s;
}

static int l_next(lua_State *L);

static int next_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 1);
    return l_next(L);
}

static int l_next(lua_State *L)
{
    ab_task_check(L, scan_type.name);
    scan *s = self_of(L);
    if (s->waiter)
        return ab_error_raise(L, UV_EBUSY,
                              &(ab_detail){scan_type.name,
                                           "another task is waiting for it",
                                           "path", s->path});
    if (s->running)
        return wait_scan(L, s, &scan_type, next_done);
    if (s->failed)
        raise_failure(L, s, scan_type.name);
    if (give(L, s))
        return 2;
    if (s->ended) {
        release(s);
        lua_pushnil(L);
        return 1;
    }
    s->at = s->len = s->count = s->given = 0;
    return wait_scan(L, s, &scan_type, next_done);
}

static int l_close(lua_State *L)
{
    release(self_of(L));
    return 0;
}

static int l_gc(lua_State *L)
{
    scan **object = ab_self(L, &scan_class);
    scan *s = *object;
    if (s) {
        *object = NULL;
        release(s);
        unref(s);
    }
    return 0;
}

static const luaL_Reg methods[] = {
    {"next", l_next}, {"close", l_close}, {NULL, NULL}};
static const luaL_Reg metas[] = {
    {"__call", l_next}, {"__close", l_close}, {"__gc", l_gc}, {NULL, NULL}};
static const ab_class scan_class = {"Scan", methods, metas};

/* ---- functions ---- */

static int scan_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 2);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 2);
    return 4;
}

/* for name, kind in fs.scan(path) */
int ab_fs_scan_dir(lua_State *L)
{
    ab_task_check(L, scan_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_grants_check_path(L, AB_GRANT_READ, scan_type.name, path);
    lua_settop(L, 1);
    scan *s = new_scan(L, path, BATCH_BYTES);
    return wait_scan(L, s, &scan_type, scan_done);
}

static int list_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 2);
    scan *s = *(scan **)lua_touserdata(L, 2);
    lua_createtable(L, s->count < INT_MAX ? (int)s->count : INT_MAX, 0);
    for (lua_Integer i = 1; give(L, s); i++) {
        lua_pop(L, 1);
        lua_rawseti(L, 3, i);
    }
    release(s);
    return 1;
}

int ab_fs_list_dir(lua_State *L)
{
    ab_task_check(L, list_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_grants_check_path(L, AB_GRANT_READ, list_type.name, path);
    lua_settop(L, 1);
    scan *s = new_scan(L, path, FIRST_BYTES);
    s->whole = 1;
    return wait_scan(L, s, &list_type, list_done);
}

static int entries_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 3);
    return 1;
}

/* For walk and glob: (path, glob, follow) gives a Scan that is read. */
int ab_fs_entries(lua_State *L)
{
    const ab_op_type *type = lua_toboolean(L, 2) ? &glob_type : &walk_type;
    ab_task_check(L, type->name);
    const char *path = ab_fs_check_path(L, 1);
    int follow = lua_toboolean(L, 3);
    ab_grants_check_path(L, AB_GRANT_READ, type->name, path);
    lua_settop(L, 2);
    scan *s = new_scan(L, path, FIRST_BYTES);
    s->whole = 1;
    s->no_follow = !follow;
    return wait_scan(L, s, type, entries_done);
}

/* The next of a Scan that is read: name, kind; nothing at the end. */
int ab_fs_entries_next(lua_State *L)
{
    scan **object = ab_object_test(L, 1, &scan_class);
    return object && *object ? give(L, *object) : 0;
}

/* What tells its folder from others. */
int ab_fs_entries_id(lua_State *L)
{
    scan **object = ab_object_test(L, 1, &scan_class);
    if (!object || !*object)
        return 0;
    lua_pushfstring(L, "%I:%I", (LUAI_UACINT)(*object)->dev,
                    (LUAI_UACINT)(*object)->ino);
    return 1;
}

int ab_fs_entries_close(lua_State *L)
{
    scan **object = ab_object_test(L, 1, &scan_class);
    if (object && *object)
        release(*object);
    return 0;
}
