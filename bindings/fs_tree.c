/* fs_tree.c - what the fs module has for trees of files: puts the functions
 * of fs_scan.c and its like into the module's table, and loads what is written
 * in Lua on first use. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern const char ab_lua_fs_path[], ab_lua_fs_temp[], ab_lua_fs_walk[];
extern const size_t ab_lua_fs_path_len, ab_lua_fs_temp_len, ab_lua_fs_walk_len;

/* ---- probe: what is there? for glob and walk ---- */

/* The folder and the name in it; UV_EISDIR: it is to be opened itself. */
static int open_place(const ab_grants *grants, const char *path,
                      char leaf[AB_LEAF_MAX])
{
    int dir = ab_grants_open_parent(grants, AB_GRANT_READ, path, leaf);
    if (dir == ASYNCBOX_EDENIED) /* it may be a root itself */
        dir = ab_grants_open_place(grants, AB_GRANT_READ, path, 0, leaf);
    return dir;
}

int ab_fs_probe(const ab_grants *grants, const char *path, int follow,
                mode_t *mode)
{
    char leaf[AB_LEAF_MAX];
    struct stat st;
    int dir = follow ? UV_EISDIR : open_place(grants, path, leaf);
    if (dir == UV_EISDIR) { /* or it ends in "/", "." or ".." */
        leaf[0] = '\0';
        dir = ab_grants_open(grants, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK,
                             0);
    }
    if (dir < 0)
        return dir;
    int err = leaf[0] ? fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW)
                      : fstat(dir, &st);
    err = err < 0 ? uv_translate_sys_error(errno) : 0;
    close(dir);
    *mode = err ? 0 : st.st_mode;
    return err;
}

typedef struct probe_op {
    ab_fs_op base;
    mode_t mode;
} probe_op;

static int run_probe(ab_fs_job *job)
{
    probe_op *o = (probe_op *)ab_fs_op_of(job);
    return ab_fs_probe(&o->base.op.box->grants, o->base.path, 1, &o->mode);
}

static int push_probe(lua_State *L, ab_op *op)
{
    ab_fs_op_check(L, op);
    lua_pushstring(L, ab_fs_type_name(((probe_op *)op)->mode));
    return 1;
}

static const ab_op_type probe_type = {
    .name = "fs.walk",
    .size = sizeof(probe_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_probe,
    .cancel = ab_fs_op_cancel,
    .drop = ab_fs_op_drop,
};

/* (path): the kind of what a link leads to; it has to be a folder. */
static int l_probe(lua_State *L)
{
    ab_task_check(L, probe_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_grants_check_path(L, AB_GRANT_READ, probe_type.name, path);
    ab_fs_op *o = ab_fs_op_new(L, &probe_type, path, AB_GRANT_READ, run_probe);
    return ab_fs_op_start(L, o);
}

/* ---- what the Lua parts need ---- */

static int l_sleep(lua_State *L)
{
    ab_task_check(L, "fs.glob");
    return ab_task_sleep(L, 0);
}

static int l_cwd(lua_State *L)
{
    char path[4096];
    size_t len = sizeof path;
    int err = uv_cwd(path, &len);
    if (err)
        return ab_error_raise(L, err, &(ab_detail){"fs.path", 0, 0, 0});
    lua_pushlstring(L, path, len);
    return 1;
}

/* What nobody can foresee, as part of a file's name. */
static int l_random_name(lua_State *L)
{
    uint64_t id;
    char name[17];
    int err = uv_random(NULL, NULL, &id, sizeof id, 0, NULL);
    if (err)
        return ab_error_raise(L, err, &(ab_detail){"fs.tempdir", 0, 0, 0});
    snprintf(name, sizeof name, "%016llx", (unsigned long long)id);
    lua_pushstring(L, name);
    return 1;
}

/* Where temporary files go: TMPDIR, if the script may know it. */
static int l_temporary(lua_State *L)
{
    const char *path = getenv("TMPDIR");
    if (!path || !path[0] ||
        !ab_grants_env_allowed(&ab_box_of(L)->grants, "TMPDIR", 6))
        path = "/tmp";
    lua_pushstring(L, path);
    return 1;
}

static const luaL_Reg core[] = {
    {"sleep", l_sleep},
    {"cwd", l_cwd},
    {"random_name", l_random_name},
    {"temporary", l_temporary},
    {"probe", l_probe},
    {"remove_now", ab_fs_remove_now},
    {"glob", ab_fs_glob_call},
    {"glob_take", ab_fs_glob_take},
    {"enter", ab_fs_walk_enter},
    {"iterator", ab_fs_walk_iterator},
    {"step", ab_fs_walk_step},
    {"mark", ab_fs_walk_mark},
    {"pending", ab_fs_walk_pending},
    {"id", ab_fs_walk_id},
    {"forget", ab_fs_walk_forget},
    {NULL, NULL},
};

/* ---- the module ---- */

/* Which part of the module is written in which Lua file. */
static const struct lua_part {
    const char *key, *name, *source;
    const size_t *bytes;
} parts[] = {
    {"path", "fs.path", ab_lua_fs_path, &ab_lua_fs_path_len},
    {"walk", "fs.walk", ab_lua_fs_walk, &ab_lua_fs_walk_len},
    {"glob", "fs.walk", ab_lua_fs_walk, &ab_lua_fs_walk_len},
    {"glob_escape", "fs.walk", ab_lua_fs_walk, &ab_lua_fs_walk_len},
    {"tempdir", "fs.temp", ab_lua_fs_temp, &ab_lua_fs_temp_len},
    {"tempfile", "fs.temp", ab_lua_fs_temp, &ab_lua_fs_temp_len},
    {NULL, NULL, NULL, NULL},
};

/* __index of the module: loads the part that has the key. */
static int l_part(lua_State *L)
{
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    const struct lua_part *part = parts;
    while (part->key && strcmp(part->key, key) != 0)
        part++;
    if (!part->key)
        return 0;
    lua_settop(L, 2);
    int is_path = part->source == ab_lua_fs_path;
    if (!is_path)
        lua_pushvalue(L, lua_upvalueindex(1));
    luaL_newlib(L, core);
    luaL_setfuncs(L, ab_part_options, 0);
    if (!is_path)
        luaL_requiref(L, "asyncbox", ab_open_async, 0);
    ab_lua_part(L, part->name, part->source, *part->bytes, is_path ? 1 : 3,
                is_path);
    if (is_path) {
        lua_pushvalue(L, -1);
        lua_setfield(L, lua_upvalueindex(1), key);
        return 1;
    }
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

static const luaL_Reg functions[] = {
    {"list", ab_fs_list_dir},
    {"scan", ab_fs_scan_dir},
    {"remove", ab_fs_remove},
    {"copy", ab_fs_copy},
    {NULL, NULL},
};

void ab_fs_tree_open(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_part, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}
