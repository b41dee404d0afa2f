/* fs.c - opening files; the module. */
#include "fs.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* ---- open ---- */

typedef struct open_op {
    ab_fs_op base;
    char mode[4];
    int perm; /* of a file that is made */
    int last; /* no descriptor left is an error */
    ab_fs_opened opened;
} open_op;

/* "r", "w+bx", ...: copies it without the b, "w+x"; 0 when it is none. */
static int read_mode(const char *text, char mode[4])
{
    size_t n = 0;
    int plus = 0, b = 0, x = 0;
    if (*text == '\0' || !strchr("rwa", *text))
        return 0;
    mode[n++] = *text++;
    for (; *text; text++)
        if ((*text != '+' || plus++ || x) && (*text != 'b' || b++ || x) &&
            (*text != 'x' || x++ || mode[0] != 'w'))
            return 0;
    if (plus)
        mode[n++] = '+';
    if (x)
        mode[n++] = 'x';
    mode[n] = '\0';
    return 1;
}

static int open_flags(const char *mode)
{
    int flags = mode[1] == '+' ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    if (mode[0] == 'w')
        flags |= O_CREAT | (strchr(mode, 'x') ? O_EXCL : O_TRUNC);
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

/* Nothing at all when descriptors ran out the first time: see go_on. */
static int push_open(lua_State *L, ab_op *op)
{
    open_op *o = (open_op *)op;
    if (!o->last && (op->status == UV_EMFILE || op->status == UV_ENFILE))
        return 0;
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

static const ab_op_type lines_type = {
    .name = "fs.lines",
    .size = sizeof(open_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_open,
    .cancel = ab_fs_op_cancel,
    .drop = ab_fs_op_drop,
};

/* Steps 3 to 5; the path is argument 1. */
static int start_open(lua_State *L, const ab_op_type *type, const char *mode,
                      int perm, int last, lua_KFunction k)
{
    ab_grant_kind kind =
        mode[0] == 'r' && mode[1] != '+' ? AB_GRANT_READ : AB_GRANT_WRITE;
    open_op *o =
        (open_op *)ab_fs_op_new(L, type, lua_tostring(L, 1), kind, run_open);
    memcpy(o->mode, mode, sizeof o->mode);
    o->perm = perm;
    o->last = last;
    ab_fs_turns **turns = lua_touserdata(L, lua_upvalueindex(1));
    int err = ab_fs_turn_start(&o->base, *turns);
    if (err)
        return ab_op_fail(L, &o->base.op, err, "path", o->base.path);
    return ab_task_parkk(L, &o->base.op, last, k);
}

/* Is there a file now?  If not, the descriptors of files that were dropped are
 * given back, for a second try; but not for each of many tasks that are refused
 * one after the other. */
static int go_on(lua_State *L)
{
    static const char key = 0; /* registry: how many handles that left */
    const ab_box *box = ab_box_of(L);
    if (ab_object_test(L, -1, &ab_fs_class))
        return 1;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TNIL ||
        box->live_handles > (size_t)lua_tointeger(L, -1)) {
        lua_gc(L, LUA_GCCOLLECT);
        lua_pushinteger(L, (lua_Integer)box->live_handles);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
    }
    lua_pop(L, 1);
    return 0;
}

static int open_opened(lua_State *L, int status, lua_KContext ctx)
{
    char mode[4] = "";
    (void)status, (void)ctx;
    if (go_on(L))
        return 1;
    ab_task_check(L, open_type.name);
    read_mode(lua_tostring(L, 2), mode);
    return start_open(L, &open_type, mode, (int)lua_tointeger(L, 3), 1,
                      open_opened);
}

static int l_open(lua_State *L)
{
    char mode[4] = "";
    ab_task_check(L, "fs.open");
    const char *path = ab_fs_check_path(L, 1);
    size_t len;
    const char *wanted = luaL_optlstring(L, 2, "r", &len);
    luaL_argcheck(L, strlen(wanted) == len && read_mode(wanted, mode), 2,
                  "invalid mode (want r, w, a, r+, w+, a+, wx or w+x)");
    lua_Integer perm = luaL_optinteger(L, 3, AB_FS_PERMISSIONS);
    luaL_argcheck(L, perm >= 0 && perm <= 07777, 3,
                  "perm must be from 0 to 4095 (octal 7777)");
    ab_fs_check_mode(L, "fs.open", path, (int)perm);
    int writes = mode[0] != 'r' || mode[1] == '+';
    if (mode[0] == 'r' || mode[1] == '+')
        ab_grants_check_path(L, AB_GRANT_READ, "fs.open", path);
    if (writes)
        ab_grants_check_path(L, AB_GRANT_WRITE, "fs.open", path);

    lua_settop(L, 1);
    lua_pushstring(L, mode);
    lua_pushinteger(L, perm);
    return start_open(L, &open_type, mode, (int)perm, 0, open_opened);
}

/* ---- lines ---- */

/* On the stack: the path, the formats, the file.  The file is the fourth value
 * too, which `for` closes. */
static int lines_opened(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    if (!go_on(L)) {
        ab_task_check(L, lines_type.name);
        return start_open(L, &lines_type, "r\0\0", 0, 1, lines_opened);
    }
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
    return start_open(L, &lines_type, "r\0\0", 0, 0, lines_opened);
}

/* ---- the module ---- */

void *ab_fs_keep(lua_State *L, lua_CFunction gc)
{
    void *place = lua_newuserdatauv(L, sizeof(void *), 0);
    memset(place, 0, sizeof(void *));
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return place;
}

static const luaL_Reg functions[] = {{"write", ab_fs_write}, {NULL, NULL}};

/* Upvalue: their turns. */
static const luaL_Reg opening[] = {
    {"open", l_open}, {"lines", l_lines}, {NULL, NULL}};

int ab_open_fs(lua_State *L)
{
    ab_sigkeep_ignore(SIGXFSZ); /* past ulimit -f: an error of that write */
    luaL_newlib(L, functions);
    ab_fs_turns_push(L);
    luaL_setfuncs(L, opening, 1);
    ab_fs_read_open(L);
    ab_fs_watch_open(L);
    luaL_setfuncs(L, ab_fs_meta_functions, 0);
    luaL_setfuncs(L, ab_fs_link_functions, 0);
    luaL_setfuncs(L, ab_fs_mkdir_functions, 0);
    ab_fs_tree_open(L);
    return 1;
}
