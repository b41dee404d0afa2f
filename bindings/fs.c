/* fs.c - files: read whole ones, open; fs.write is in fs_write.c.
 *
 * A call is one job in the thread pool: open, look, read and close together,
 * because a round trip through the pool costs more than reading 100 KB does. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- read ----
 *
 * The size is known in the pool only, and the box's allocator is for the
 * loop's thread only.  A second round trip to allocate in between would cost
 * small files twice the time, so the pool takes the buffer from malloc and
 * books it in an account that may not pass what the box had left when the call
 * began.  It is gone when the Lua string, which the box counts, is made. */

typedef struct fs_account {
    atomic_size_t bytes; /* held by buffers of fs.read */
    int refs;            /* the module, each op */
} fs_account;

typedef struct read_op {
    ab_fs_op base;
    fs_account *account;
    size_t budget;    /* account->bytes may not pass it */
    size_t max_bytes; /* a larger file is an error */
    char *data;       /* malloc's */
    size_t len, cap;
    int regular;
    size_t expected; /* its size when it was opened; 0: not known */
} read_op;

static void account_unref(fs_account *account)
{
    if (--account->refs == 0)
        free(account);
}

/* In the pool: room for at least one byte more. */
static int grow(read_op *r, size_t cap)
{
    size_t more = cap - r->cap;
    size_t held = atomic_fetch_add(&r->account->bytes, more);
    char *data = NULL;
    if (cap > r->cap && held <= r->budget && more <= r->budget - held)
        data = realloc(r->data, cap);
    if (!data) {
        atomic_fetch_sub(&r->account->bytes, more);
        return UV_ENOMEM;
    }
    r->data = data;
    r->cap = cap;
    return 0;
}

/* One byte more than is expected, so that the end shows without growing. */
static size_t first_size(const read_op *r)
{
    size_t size = r->expected ? r->expected + 1 : 4096;
    if (r->max_bytes < SIZE_MAX - 1 && size > r->max_bytes + 1)
        size = r->max_bytes + 1;
    return size;
}

static int read_on(ab_fs_job *job, read_op *r)
{
    for (;;) {
        if (r->len > r->max_bytes)
            return ASYNCBOX_ELIMIT;
        if (r->len == r->cap) {
            int err = grow(r, r->cap < 65536 ? 131072 : 2 * r->cap);
            if (err)
                return err;
        }
        if (!r->regular && ab_fs_ready(job->fd))
            return UV_EAGAIN;
        size_t room = r->cap - r->len;
        ssize_t n = read(job->fd, r->data + r->len,
                         room < (1 << 24) ? room : (1 << 24));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return uv_translate_sys_error(errno);
        if (n == 0)
            return 0;
        r->len += (size_t)n;
        /* As long as it said and less than was asked for: that was the end. */
        if (r->len == r->expected && (size_t)n < room)
            return 0;
        if (atomic_load(&job->stop))
            return UV_ECANCELED;
    }
}

static int run_read(ab_fs_job *job)
{
    read_op *r = (read_op *)ab_fs_op_of(job);
    if (job->fd < 0) {
        struct stat st;
        int err = ab_fs_op_open(&r->base, O_RDONLY, 0, &st);
        if (err)
            return err;
        r->regular = S_ISREG(st.st_mode);
        if (r->regular && st.st_size > 0)
            r->expected = (size_t)st.st_size;
        if (r->expected > r->max_bytes)
            return ASYNCBOX_ELIMIT; /* need not be read to know */
        err = grow(r, first_size(r));
        if (err)
            return err;
    }
    int err = read_on(job, r);
    if (err == UV_EAGAIN)
        return err;
    close(job->fd);
    job->fd = -1;
    return err;
}

static int push_read(lua_State *L, ab_op *op)
{
    read_op *r = (read_op *)op;
    if (op->status == ASYNCBOX_ELIMIT) {
        char message[96];
        snprintf(message, sizeof message,
                 "larger than the limit max = %zu bytes", r->max_bytes);
        return ab_error_raise(
            L, ASYNCBOX_ELIMIT,
            &(ab_detail){op->type->name, message, "path", r->base.path});
    }
    ab_fs_op_check(L, op);
    lua_pushlstring(L, r->data ? r->data : "", r->len);
    return 1;
}

static void drop_read(ab_op *op)
{
    read_op *r = (read_op *)op;
    ab_fs_op_drop(op);
    free(r->data);
    if (r->account) {
        atomic_fetch_sub(&r->account->bytes, r->cap);
        account_unref(r->account);
    }
}

static const ab_op_type read_type = {
    .name = "fs.read",
    .size = sizeof(read_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_read,
    .cancel = ab_fs_op_cancel,
    .drop = drop_read,
};

static int l_read(lua_State *L)
{
    static const char *const known[] = {"max", NULL};
    ab_task_check(L, "fs.read");
    const char *path = ab_fs_check_path(L, 1);
    ab_options_check(L, 2, "fs.read", known);
    lua_Integer max =
        ab_option_integer(L, 2, "max", LUA_MAXINTEGER, 0, LUA_MAXINTEGER);
    ab_grants_check_path(L, AB_GRANT_READ, "fs.read", path);

    fs_account **account = lua_touserdata(L, lua_upvalueindex(1));
    read_op *r =
        (read_op *)ab_fs_op_new(L, &read_type, path, AB_GRANT_READ, run_read);
    const ab_limits *limits = &r->base.op.box->limits;
    r->account = *account;
    r->account->refs++;
    r->budget = limits->cap_bytes == SIZE_MAX ? SIZE_MAX
                : limits->cap_bytes > limits->used_bytes
                    ? limits->cap_bytes - limits->used_bytes
                    : 0;
    r->max_bytes = max == LUA_MAXINTEGER ? SIZE_MAX : (size_t)max;
    r->base.job.events = UV_READABLE;
    return ab_fs_op_start(L, &r->base);
}

/* ---- open ---- */

typedef struct open_op {
    ab_fs_op base;
    char mode[4];
    int perm; /* of a file that is made */
    ab_fs_opened opened;
} open_op;

/* "r", "w+b", ...: copies it without the b; 0 when it is none. */
static int read_mode(const char *text, char mode[4])
{
    size_t n = 0;
    if (*text == '\0' || !strchr("rwa", *text))
        return 0;
    mode[n++] = *text++;
    for (int b = 0; *text; text++) {
        if (*text == '+' && n == 1)
            mode[n++] = '+';
        else if (*text != 'b' || b++)
            return 0;
    }
    mode[n] = '\0';
    return 1;
}

static int open_flags(const char *mode)
{
    int flags = mode[1] == '+' ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    if (mode[0] == 'w')
        flags |= O_CREAT | O_TRUNC;
    if (mode[0] == 'a')
        flags |= O_CREAT | O_APPEND;
    return flags;
}

static int run_open(ab_fs_job *job)
{
    open_op *o = (open_op *)ab_fs_op_of(job);
    struct stat st;
    int err = ab_fs_op_open(&o->base, open_flags(o->mode), o->perm, &st);
    if (err)
        return err;
    o->opened.regular = S_ISREG(st.st_mode);
    o->opened.size = (int64_t)st.st_size;
    if (o->mode[0] == 'a' && o->mode[1] != '+')
        o->opened.offset = o->opened.size;
    return 0;
}

static int push_open(lua_State *L, ab_op *op)
{
    open_op *o = (open_op *)op;
    ab_fs_op_check(L, op);
    ab_fs_file_push(L, &o->base.job.fd, &o->opened, o->mode, o->base.path);
    return 1;
}

static const ab_op_type open_type = {
    .name = "fs.open",
    .size = sizeof(open_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_open,
    .cancel = ab_fs_op_cancel,
    .drop = ab_fs_op_drop,
};

static int l_open(lua_State *L)
{
    char mode[4] = "";
    ab_task_check(L, "fs.open");
    const char *path = ab_fs_check_path(L, 1);
    size_t len;
    const char *wanted = luaL_optlstring(L, 2, "r", &len);
    luaL_argcheck(L, strlen(wanted) == len && read_mode(wanted, mode), 2,
                  "invalid mode (want r, w, a, r+, w+ or a+)");
    lua_Integer perm = luaL_optinteger(L, 3, AB_FS_PERMISSIONS);
    luaL_argcheck(L, perm >= 0 && perm <= 07777, 3,
                  "perm must be from 0 to 4095 (octal 7777)");
    ab_fs_check_mode(L, "fs.open", path, (int)perm);
    int writes = mode[0] != 'r' || mode[1] == '+';
    if (mode[0] == 'r' || mode[1] == '+')
        ab_grants_check_path(L, AB_GRANT_READ, "fs.open", path);
    if (writes)
        ab_grants_check_path(L, AB_GRANT_WRITE, "fs.open", path);

    open_op *o = (open_op *)ab_fs_op_new(
        L, &open_type, path, writes ? AB_GRANT_WRITE : AB_GRANT_READ, run_open);
    memcpy(o->mode, mode, sizeof mode);
    o->perm = (int)perm;
    return ab_fs_op_start(L, &o->base);
}

/* ---- lines ---- */

static const ab_op_type lines_type = {
    .name = "fs.lines",
    .size = sizeof(open_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_open,
    .cancel = ab_fs_op_cancel,
    .drop = ab_fs_op_drop,
};

/* On the stack: the path, the formats, the file.  The file is the fourth value
 * too, which `for` closes. */
static int lines_opened(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    int top = lua_gettop(L);
    lua_getfield(L, top, "lines");
    lua_pushvalue(L, top);
    for (int arg = 2; arg < top; arg++)
        lua_pushvalue(L, arg);
    lua_call(L, top - 1, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, top);
    return 4;
}

static int l_lines(lua_State *L)
{
    ab_fs_scan scan;
    ab_task_check(L, lines_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_fs_scan_init(L, &scan, 2); /* bad formats are told here */
    luaL_checkstack(L, AB_FS_FORMATS + 8, NULL);
    ab_grants_check_path(L, AB_GRANT_READ, lines_type.name, path);
    open_op *o =
        (open_op *)ab_fs_op_new(L, &lines_type, path, AB_GRANT_READ, run_open);
    o->mode[0] = 'r';
    int err = ab_fs_start(&o->base.job);
    if (err)
        return ab_op_fail(L, &o->base.op, err, "path", o->base.path);
    return ab_task_parkk(L, &o->base.op, 0, lines_opened);
}

/* ---- the module ---- */

static int account_gc(lua_State *L)
{
    fs_account **account = lua_touserdata(L, 1);
    if (*account)
        account_unref(*account);
    *account = NULL;
    return 0;
}

/* Pushes the account of this box; its closures keep it, scripts never see
 * it. */
static void push_account(lua_State *L)
{
    fs_account **account = lua_newuserdatauv(L, sizeof *account, 0);
    *account = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, account_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *account = calloc(1, sizeof **account);
    if (!*account)
        luaL_error(L, "not enough memory");
    (*account)->refs = 1;
}

static const luaL_Reg functions[] = {
    {"read", l_read},   {"write", ab_fs_write}, {"open", l_open},
    {"lines", l_lines}, {"watch", ab_fs_watch}, {NULL, NULL},
};

int ab_open_fs(lua_State *L)
{
    luaL_newlibtable(L, functions);
    push_account(L);
    luaL_setfuncs(L, functions, 1);
    luaL_setfuncs(L, ab_fs_meta_functions, 0);
    luaL_setfuncs(L, ab_fs_link_functions, 0);
    luaL_setfuncs(L, ab_fs_mkdir_functions, 0);
    ab_fs_tree_open(L);
    return 1;
}
