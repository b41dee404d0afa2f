/* http_save.c - response:save: a body on its way to the disk.
 *
 * What the transfer has received is handed to the thread pool as it lies there
 * while the next bytes come into another buffer: nothing is copied, and neither
 * waits for the other.  http_save.lua takes the steps. */
#include "http.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static const char op_name[] = "response:save";

/* A file that is being made.  The object and the op that works on it have a
 * reference each. */
typedef struct saver {
    ab_box *box;
    int refs;
    int dir, fd; /* -1: none.  dir: where the name is */
    int closed;
    char temporary[AB_LEAF_MAX]; /* "": written in place, or renamed */
    char leaf[AB_LEAF_MAX];
    ab_bytes spare; /* the buffer to be filled while the other is written */
    size_t path_bytes;
    char path[];
} saver;

typedef struct save_op {
    ab_op op;
    uv_work_t work;
    int (*run)(struct save_op *s); /* in the pool: 0 or a code */
    int result;
    saver *file;
    ab_bytes data; /* from `at` on to be written */
    size_t at;
    uint64_t received; /* of the body, with these */
} save_op;

/* ---- the file ---- */

static void unref(saver *f)
{
    if (--f->refs > 0)
        return;
    if (*f->temporary)
        unlinkat(f->dir, f->temporary, 0);
    if (f->fd >= 0)
        close(f->fd);
    if (f->dir >= 0)
        close(f->dir);
    if (f->spare.data)
        ab_box_free(f->box, f->spare.data, f->spare.capacity);
    ab_box_free(f->box, f, sizeof *f + f->path_bytes);
}

static int l_close(lua_State *L);

static const luaL_Reg metas[] = {
    {"__gc", l_close}, {"__close", l_close}, {NULL, NULL}};
static const luaL_Reg no_methods[] = {{NULL, NULL}};
static const ab_class file_class = {"download", no_methods, metas};

/* Its object is one pointer. */
static int l_close(lua_State *L)
{
    saver **f = ab_self(L, &file_class);
    if (*f) {
        (*f)->closed = 1;
        (*f)->box->live_handles--;
        unref(*f);
    }
    *f = NULL;
    return 0;
}

static saver *check_file(lua_State *L, int arg)
{
    saver **f = ab_object_test(L, arg, &file_class);
    luaL_argcheck(L, f && *f, arg, "an open download expected");
    return *f;
}

/* ---- in the pool ---- */

static int os_code(void) { return uv_translate_sys_error(errno); }

/* A name beside the file's, so that it can take its place at one stroke. */
static int make_temporary(saver *f, int mode)
{
    unsigned char id[8];
    for (int tries = 0; tries < 100; tries++) {
        int err = uv_random(NULL, NULL, id, sizeof id, 0, NULL);
        if (err)
            return err;
        int n = snprintf(f->temporary, sizeof f->temporary, ".asyncbox-");
        for (size_t k = 0; k < sizeof id; k++)
            n += snprintf(f->temporary + n, sizeof f->temporary - (size_t)n,
                          "%02x", id[k]);
        f->fd = openat(f->dir, f->temporary,
                       O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (f->fd >= 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    int err = os_code();
    *f->temporary = '\0';
    return err;
}

/* What is neither a file nor new (a link, /dev/null) is written to as it
 * is. */
static int run_create(save_op *s)
{
    saver *f = s->file;
    const ab_grants *grants = &f->box->grants;
    struct stat st;
    int dir = ab_grants_open_parent(grants, AB_GRANT_WRITE, f->path, f->leaf);
    if (dir < 0)
        return dir;
    f->dir = dir;
    if (fstatat(dir, f->leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return make_temporary(f, 0666);
    if (S_ISREG(st.st_mode)) {
        int err = make_temporary(f, (int)(st.st_mode & 0777));
        if (!err && fchmod(f->fd, st.st_mode & 0777) < 0)
            err = os_code();
        return err;
    }
    if (!S_ISLNK(st.st_mode) && !S_ISCHR(st.st_mode))
        return S_ISDIR(st.st_mode) ? UV_EISDIR : UV_EINVAL;
    int fd = ab_grants_open(grants, f->path,
                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fd;
    f->fd = fd;
    return 0;
}

static int run_write(save_op *s)
{
    while (s->at < s->data.length) {
        ssize_t n =
            write(s->file->fd, s->data.data + s->at, s->data.length - s->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return os_code();
        s->at += (size_t)n;
    }
    return 0;
}

/* The error of close(2) counts: a full disk or quota may show only here. */
static int run_finish(save_op *s)
{
    saver *f = s->file;
    int err = close(f->fd) < 0 && errno != EINTR ? os_code() : 0;
    f->fd = -1;
    if (err || !*f->temporary)
        return err;
    if (renameat(f->dir, f->temporary, f->dir, f->leaf) < 0)
        return os_code();
    *f->temporary = '\0';
    return 0;
}

/* ---- ops ---- */

static void run_work(uv_work_t *work)
{
    save_op *s = work->data;
    s->result = s->run(s);
}

static void on_worked(uv_work_t *work, int status)
{
    save_op *s = work->data;
    ab_op_finish(&s->op, status ? status : s->result);
}

static int push(lua_State *L, ab_op *op)
{
    const save_op *s = (save_op *)op;
    const char *path = s->file->path;
    if (op->status == ASYNCBOX_EDENIED)
        return ab_grants_denied_path(L, AB_GRANT_WRITE, op_name, path);
    if (op->status < 0)
        return ab_error_path(L, op->status, op_name, path);
    lua_pushinteger(L, (lua_Integer)s->received);
    return 1;
}

/* One that runs already goes on by itself, with what belongs to the op. */
static void cancel(ab_op *op) { uv_cancel((uv_req_t *)&((save_op *)op)->work); }

static void drop(ab_op *op)
{
    save_op *s = (save_op *)op;
    saver *f = s->file;
    if (!f)
        return;
    if (s->data.data && !f->closed && !f->spare.data) {
        f->spare = s->data;
        f->spare.length = 0;
    } else if (s->data.data) {
        ab_box_free(op->box, s->data.data, s->data.capacity);
    }
    unref(f);
}

static const ab_op_type save_type = {.name = op_name,
                                     .size = sizeof(save_op),
                                     .flags = AB_OP_EXTERNAL,
                                     .push = push,
                                     .cancel = cancel,
                                     .drop = drop};

static save_op *new_op(lua_State *L, saver *f, int (*run)(save_op *))
{
    save_op *s = (save_op *)ab_op_new(L, &save_type);
    s->work.data = s;
    s->run = run;
    s->file = f;
    f->refs++;
    return s;
}

static int start(lua_State *L, save_op *s)
{
    int err =
        ab_workers_queue(&s->op.box->loop.uv, &s->work, run_work, on_worked);
    if (err)
        return ab_op_fail(L, &s->op, err, "path", s->file->path);
    return ab_task_park(L, &s->op);
}

/* ---- the steps ---- */

/* (path) -> a file that is not there yet */
static int l_create(lua_State *L)
{
    size_t n;
    ab_task_check(L, op_name);
    const char *path = lua_tolstring(L, 1, &n);
    if (!path)
        return ab_misuse(L, "%s: the path must be a string, got %s", op_name,
                         luaL_typename(L, 1));
    if (strlen(path) != n)
        return ab_misuse(L, "%s: the path has a zero byte in it", op_name);
    ab_grants_check_path(L, AB_GRANT_WRITE, op_name, path);
    ab_sigkeep_ignore(SIGXFSZ);
    saver **out = ab_object_new(L, &file_class, sizeof(saver *), 0);
    saver *f = ab_box_alloc_or_raise(L, sizeof *f + n + 1);
    memset(f, 0, sizeof *f);
    f->box = ab_box_of(L);
    f->refs = 1;
    f->dir = f->fd = -1;
    f->path_bytes = n + 1;
    memcpy(f->path, path, n + 1);
    f->box->live_handles++;
    *out = f;
    return 1;
}

/* (file): makes it, under another name */
static int l_open(lua_State *L)
{
    ab_task_check(L, op_name);
    return start(L, new_op(L, check_file(L, 1), run_create));
}

/* (response, file) -> bytes received, or nil: that was all */
static int l_write(lua_State *L)
{
    ab_task_check(L, op_name);
    ab_response *r = ab_response_self(L);
    saver *f = check_file(L, 2);
    size_t bytes;
    const char *text = ab_response_rest(L, r, op_name, &bytes);
    if (!bytes) {
        lua_pushnil(L);
        return 1;
    }
    save_op *s = new_op(L, f, run_write);
    if (r->closed) { /* by a finalizer that ran meanwhile */
        ab_op_free(&s->op);
        return ab_error_raise(
            L, ASYNCBOX_ECLOSED,
            &(ab_detail){op_name, "the response is closed", NULL, NULL});
    }
    r->taken = !r->whole;
    if (r->transfer) {
        s->received = r->transfer->received;
        ab_transfer_swap(r->transfer, &f->spare, &s->at);
        s->data = f->spare;
        f->spare = (ab_bytes){NULL, 0, 0};
    } else {
        s->data.data = ab_box_alloc(s->op.box, bytes);
        if (!s->data.data)
            return ab_op_fail(L, &s->op, UV_ENOMEM, "path", f->path);
        s->data.length = s->data.capacity = bytes;
        s->received = r->at + bytes;
        memcpy(s->data.data, text, bytes);
        r->at += bytes;
    }
    return start(L, s);
}

/* (file): gives it its name */
static int l_finish(lua_State *L)
{
    ab_task_check(L, op_name);
    return start(L, new_op(L, check_file(L, 1), run_finish));
}

static const luaL_Reg functions[] = {{"create", l_create},
                                     {"open", l_open},
                                     {"write", l_write},
                                     {"finish", l_finish},
                                     {"fill", ab_response_fill},
                                     {"begin", ab_response_begin},
                                     {"release", ab_response_release},
                                     {NULL, NULL}};

extern const char ab_lua_http_save[];
extern const size_t ab_lua_http_save_len;

/* The part is loaded by the first call. */
int ab_response_save(lua_State *L)
{
    ab_response_self(L);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, functions) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        luaL_newlib(L, functions);
        ab_lua_part(L, "http_save", ab_lua_http_save, ab_lua_http_save_len, 1,
                    1);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, functions);
    }
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, ab_response_saved);
    return ab_response_saved(L, LUA_OK, 0);
}
