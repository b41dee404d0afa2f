/* fs_meta.c - calls on one name, a round trip through the pool each: stat,
 * lstat, exists, chmod, chown, utime, readlink, realpath.
 *
 * In a sandbox each works on a place (fs_op.c): it follows a link only to where
 * a root lets it, and what is swapped meanwhile is not followed at all. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct meta_op meta_op;

struct meta_op {
    ab_fs_op base;
    /* chmod, chown, utime: 0, or -1 and errno */
    int (*change)(const meta_op *m, const ab_fs_place *place);
    struct stat st;
    int follow;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    struct timespec times[2]; /* atime, mtime */
    char *text;               /* malloc's: the box's memory is not the pool's */
};

static meta_op *meta_of(ab_fs_job *job) { return (meta_op *)ab_fs_op_of(job); }

static void drop_meta(ab_op *op)
{
    meta_op *m = (meta_op *)op;
    ab_fs_op_drop(op);
    free(m->text);
}

#define META_TYPE(var, text, push_hook)                                        \
    static const ab_op_type var = {                                            \
        .name = text,                                                          \
        .size = sizeof(meta_op),                                               \
        .flags = AB_OP_EXTERNAL,                                               \
        .push = push_hook,                                                     \
        .cancel = ab_fs_op_cancel,                                             \
        .drop = drop_meta,                                                     \
    }

/* Steps 2 (the grant; argument 1 is the path) and 3. */
static meta_op *meta_new(lua_State *L, const ab_op_type *type,
                         ab_grant_kind kind, int (*run)(ab_fs_job *))
{
    const char *path = ab_fs_check_path(L, 1);
    ab_grants_check_path(L, kind, type->name, path);
    return (meta_op *)ab_fs_op_new(L, type, path, kind, run);
}

/* In the pool: opens the place of the op's own path. */
static int own_place(meta_op *m, unsigned how, ab_fs_place *place)
{
    return ab_fs_place_open(&m->base, m->base.kind, m->base.path, how, place);
}

/* ---- stat, lstat, exists ---- */

const char *ab_fs_type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "link";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    case S_IFCHR:
        return "char";
    case S_IFBLK:
        return "block";
    default:
        return "unknown";
    }
}

static void set_integer(lua_State *L, const char *key, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, key);
}

/* A double holds microseconds of today; "mtime_ns" holds all. */
static void set_time(lua_State *L, const char *key, const char *key_ns,
                     const struct timespec *t)
{
    lua_pushnumber(L, (lua_Number)t->tv_sec + (lua_Number)t->tv_nsec / 1e9);
    lua_setfield(L, -2, key);
    lua_Unsigned ns = (lua_Unsigned)t->tv_sec * 1000000000u;
    set_integer(L, key_ns, (lua_Integer)(ns + (lua_Unsigned)t->tv_nsec));
}

void ab_fs_push_stat(lua_State *L, const struct stat *st)
{
    lua_createtable(L, 0, 17);
    lua_pushstring(L, ab_fs_type_name(st->st_mode));
    lua_setfield(L, -2, "type");
    set_integer(L, "size", (lua_Integer)st->st_size);
    set_integer(L, "mode", (lua_Integer)(st->st_mode & 07777));
    set_integer(L, "nlink", (lua_Integer)st->st_nlink);
    set_integer(L, "uid", (lua_Integer)st->st_uid);
    set_integer(L, "gid", (lua_Integer)st->st_gid);
    set_integer(L, "ino", (lua_Integer)st->st_ino);
    set_integer(L, "dev", (lua_Integer)st->st_dev);
    set_integer(L, "rdev", (lua_Integer)st->st_rdev);
    set_integer(L, "blocks", (lua_Integer)st->st_blocks);
    set_integer(L, "blksize", (lua_Integer)st->st_blksize);
#ifdef __APPLE__
    set_time(L, "atime", "atime_ns", &st->st_atimespec);
    set_time(L, "mtime", "mtime_ns", &st->st_mtimespec);
    set_time(L, "ctime", "ctime_ns", &st->st_ctimespec);
#else
    set_time(L, "atime", "atime_ns", &st->st_atim);
    set_time(L, "mtime", "mtime_ns", &st->st_mtim);
    set_time(L, "ctime", "ctime_ns", &st->st_ctim);
#endif
}

static int run_stat(ab_fs_job *job)
{
    meta_op *m = meta_of(job);
    ab_fs_place place;
    int err = own_place(m, m->follow ? AB_FS_FOLLOW : 0, &place);
    if (err)
        return err;
    return ab_fs_place_close(
        &place, fstatat(place.dir, place.name, &m->st, place.flags));
}

static int push_stat(lua_State *L, ab_op *op)
{
    ab_fs_op_check(L, op);
    ab_fs_push_stat(L, &((meta_op *)op)->st);
    return 1;
}

static int push_exists(lua_State *L, ab_op *op)
{
    int missing = op->status == UV_ENOENT || op->status == UV_ENOTDIR;
    if (!missing)
        ab_fs_op_check(L, op);
    lua_pushboolean(L, !missing);
    return 1;
}

META_TYPE(stat_type, "fs.stat", push_stat);
META_TYPE(lstat_type, "fs.lstat", push_stat);
META_TYPE(exists_type, "fs.exists", push_exists);

static int look(lua_State *L, const ab_op_type *type, int follow)
{
    ab_task_check(L, type->name);
    meta_op *m = meta_new(L, type, AB_GRANT_READ, run_stat);
    m->follow = follow;
    return ab_fs_op_start(L, &m->base);
}

static int l_stat(lua_State *L) { return look(L, &stat_type, 1); }
static int l_lstat(lua_State *L) { return look(L, &lstat_type, 0); }
static int l_exists(lua_State *L) { return look(L, &exists_type, 1); }

/* ---- chmod, chown, utime ---- */

void ab_fs_check_mode(lua_State *L, const char *op, const char *path, int mode)
{
    if (mode > 0 && (mode & (S_ISUID | S_ISGID)) &&
        !ab_box_of(L)->grants.trusted)
        ab_grants_deny(L, op, "path", path,
                       "a sandbox sets no set-user-ID or set-group-ID bit");
}

static int run_change(ab_fs_job *job)
{
    const meta_op *m = meta_of(job);
    ab_fs_place place;
    int err = own_place(meta_of(job), AB_FS_FOLLOW, &place);
    return err ? err : ab_fs_place_close(&place, m->change(m, &place));
}

static meta_op *change_new(lua_State *L, const ab_op_type *type,
                           int (*change)(const meta_op *, const ab_fs_place *))
{
    meta_op *m = meta_new(L, type, AB_GRANT_WRITE, run_change);
    m->change = change;
    return m;
}

static int change_mode(const meta_op *m, const ab_fs_place *p)
{
    return fchmodat(p->dir, p->name, m->mode, p->flags);
}

META_TYPE(chmod_type, "fs.chmod", ab_fs_push_true);

static int l_chmod(lua_State *L)
{
    ab_task_check(L, chmod_type.name);
    const char *path = ab_fs_check_path(L, 1);
    lua_Integer mode = luaL_checkinteger(L, 2);
    luaL_argcheck(L, mode >= 0 && mode <= 07777, 2,
                  "mode must be from 0 to 4095 (octal 7777)");
    ab_fs_check_mode(L, chmod_type.name, path, (int)mode);
    meta_op *m = change_new(L, &chmod_type, change_mode);
    m->mode = (mode_t)mode;
    return ab_fs_op_start(L, &m->base);
}

static int change_owner(const meta_op *m, const ab_fs_place *p)
{
    return fchownat(p->dir, p->name, m->uid, m->gid, p->flags);
}

META_TYPE(chown_type, "fs.chown", ab_fs_push_true);

/* An id, or nil: as it is, which is -1 to the system. */
static lua_Integer check_id(lua_State *L, int arg)
{
    if (lua_isnoneornil(L, arg))
        return -1;
    lua_Integer id = luaL_checkinteger(L, arg);
    luaL_argcheck(L, id >= 0 && id < 0xffffffff, arg,
                  "id must be from 0 to 4294967294");
    return id;
}

static int l_chown(lua_State *L)
{
    ab_task_check(L, chown_type.name);
    ab_fs_check_path(L, 1);
    lua_Integer uid = check_id(L, 2), gid = check_id(L, 3);
    meta_op *m = change_new(L, &chown_type, change_owner);
    m->uid = (uid_t)uid;
    m->gid = (gid_t)gid;
    return ab_fs_op_start(L, &m->base);
}

static int change_times(const meta_op *m, const ab_fs_place *p)
{
    return utimensat(p->dir, p->name, m->times, p->flags);
}

META_TYPE(utime_type, "fs.utime", ab_fs_push_true);

/* Seconds since 1970, or nil: now. */
static struct timespec check_time(lua_State *L, int arg)
{
    struct timespec t = {0, UTIME_NOW};
    if (lua_isnoneornil(L, arg))
        return t;
    lua_Number seconds = luaL_checknumber(L, arg);
    luaL_argcheck(L, seconds >= -1e11 && seconds <= 1e11, arg,
                  "time must be seconds since 1970, from -1e11 to 1e11");
    lua_Number whole = floor(seconds);
    t.tv_sec = (time_t)whole;
    t.tv_nsec = (long)((seconds - whole) * 1e9);
    return t;
}

static int l_utime(lua_State *L)
{
    ab_task_check(L, utime_type.name);
    ab_fs_check_path(L, 1);
    struct timespec atime = check_time(L, 2);
    struct timespec mtime = lua_isnoneornil(L, 3) ? atime : check_time(L, 3);
    meta_op *m = change_new(L, &utime_type, change_times);
    m->times[0] = atime;
    m->times[1] = mtime;
    return ab_fs_op_start(L, &m->base);
}

/* ---- readlink, realpath ---- */

static int run_readlink(ab_fs_job *job)
{
    meta_op *m = meta_of(job);
    ab_fs_place place;
    int err = own_place(m, 0, &place);
    if (err)
        return err;
    ssize_t n = -1;
    for (size_t cap = 256; cap <= 65536; cap *= 2) {
        char *text = realloc(m->text, cap);
        if (!text) {
            errno = ENOMEM;
            n = -1;
            break;
        }
        m->text = text;
        n = readlinkat(place.dir, place.name, text, cap);
        if (n < 0 || (size_t)n < cap) /* else it may be cut */
            break;
    }
    if (n >= 0)
        m->text[n] = '\0';
    return ab_fs_place_close(&place, n < 0 ? -1 : 0);
}

/* Do two names mean the same file, each seen from below the roots? */
static int same_file(meta_op *m, const char *path, const char *real)
{
    const ab_grant_kind kind = AB_GRANT_READ;
    struct stat st[2];
    const char *names[2] = {path, real};
    for (int i = 0; i < 2; i++) {
        ab_fs_place place;
        int err = ab_fs_place_open(&m->base, kind, names[i],
                                   i == 0 ? AB_FS_FOLLOW : 0, &place);
        if (err)
            return err;
        err = ab_fs_place_close(
            &place, fstatat(place.dir, place.name, &st[i], place.flags));
        if (err)
            return err;
    }
    int same = st[0].st_dev == st[1].st_dev && st[0].st_ino == st[1].st_ino;
    return same ? 0 : ASYNCBOX_EDENIED;
}

static int run_realpath(ab_fs_job *job)
{
    meta_op *m = meta_of(job);
    int trusted = m->base.op.box->grants.trusted;
    struct stat unused;
    ab_fs_place place;
    /* In a sandbox the first word is the roots': what realpath(3) would say of
     * a place outside is not for the script to learn. */
    if (!trusted) {
        int err = own_place(m, AB_FS_FOLLOW, &place);
        if (!err)
            err = ab_fs_place_close(
                &place, fstatat(place.dir, place.name, &unused, place.flags));
        if (err)
            return err;
    }
    m->text = realpath(m->base.path, NULL);
    if (!m->text)
        return trusted ? uv_translate_sys_error(errno) : ASYNCBOX_EDENIED;
    return trusted ? 0 : same_file(m, m->base.path, m->text);
}

static int push_text(lua_State *L, ab_op *op)
{
    ab_fs_op_check(L, op);
    lua_pushstring(L, ((meta_op *)op)->text);
    return 1;
}

META_TYPE(readlink_type, "fs.readlink", push_text);
META_TYPE(realpath_type, "fs.realpath", push_text);

static int l_readlink(lua_State *L)
{
    ab_task_check(L, readlink_type.name);
    meta_op *m = meta_new(L, &readlink_type, AB_GRANT_READ, run_readlink);
    return ab_fs_op_start(L, &m->base);
}

static int l_realpath(lua_State *L)
{
    ab_task_check(L, realpath_type.name);
    meta_op *m = meta_new(L, &realpath_type, AB_GRANT_READ, run_realpath);
    return ab_fs_op_start(L, &m->base);
}

const luaL_Reg ab_fs_meta_functions[] = {
    {"stat", l_stat},         {"lstat", l_lstat},       {"exists", l_exists},
    {"chmod", l_chmod},       {"chown", l_chown},       {"utime", l_utime},
    {"readlink", l_readlink}, {"realpath", l_realpath}, {NULL, NULL},
};
