/* fs_glob_op.c - glob's wait: from packed patterns to a list of paths.
 *
 * The tree is looked through in one job of the pool, slice by slice. */
#include "fs_glob.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* So many paths become Lua strings at once; then other tasks run. */
enum { TAKE = 2000 };

typedef struct glob_op {
    ab_fs_op base;
    ab_fs_glob glob;
    int more;    /* of run_glob: it is to run again */
    char *block; /* segments, marks, base, program */
    size_t block_bytes;
} glob_op;

/* An object of Lua: what is not yet taken. */
typedef struct found_object {
    ab_fs_found found;
    size_t at, charged;
} found_object;

/* ---- the job ---- */

static int run_glob(ab_fs_job *job)
{
    glob_op *o = (glob_op *)ab_fs_op_of(job);
    int result = ab_fs_glob_run(&o->glob);
    o->more = result == 1;
    return result < 0 ? result : 0;
}

static void on_done(ab_fs_job *job, int status)
{
    glob_op *o = (glob_op *)ab_fs_op_of(job);
    if (status == 0 && o->more) {
        status = atomic_load(&job->stop) ? UV_ECANCELED : ab_fs_start(job);
        if (status == 0)
            return; /* the pool may have it already */
    }
    ab_op_finish(&o->base.op, status);
}

/* ---- the results ---- */

static void forget(lua_State *L, found_object *f)
{
    ab_limits_discharge(&ab_box_of(L)->limits, f->charged);
    f->charged = 0;
    ab_fs_found_free(&f->found);
}

static int found_gc(lua_State *L)
{
    forget(L, lua_touserdata(L, 1));
    return 0;
}

static const luaL_Reg found_methods[] = {{NULL, NULL}};
static const luaL_Reg found_metas[] = {{"__gc", found_gc}, {NULL, NULL}};
static const ab_class found_class = {"Found", found_methods, found_metas};

/* What is found, and a list with room for it. */
static int push_glob(lua_State *L, ab_op *op)
{
    glob_op *o = (glob_op *)op;
    const char *path = o->glob.failed ? o->glob.failed : o->base.path;
    if (op->status == ASYNCBOX_EDENIED)
        ab_grants_denied_path(L, AB_GRANT_READ, op->type->name, path);
    if (op->status < 0)
        ab_error_path(L, op->status, op->type->name, path);
    found_object *f = ab_object_new(L, &found_class, sizeof *f, 0);
    size_t bytes = o->glob.found.cap + o->glob.found.count * sizeof(char *);
    if (!ab_limits_charge(&op->box->limits, bytes))
        ab_error_path(L, UV_ENOMEM, op->type->name, path);
    f->charged = bytes;
    f->found = o->glob.found;
    memset(&o->glob.found, 0, sizeof o->glob.found);
    lua_createtable(L, f->found.count < INT_MAX ? (int)f->found.count : INT_MAX,
                    0);
    return 2;
}

static void drop_glob(ab_op *op)
{
    glob_op *o = (glob_op *)op;
    ab_fs_glob_deinit(&o->glob);
    ab_box_free(op->box, o->block, o->block_bytes);
    ab_fs_op_drop(op);
}

static const ab_op_type glob_type = {
    .name = "fs.glob",
    .size = sizeof(glob_op),
    .flags = AB_OP_EXTERNAL,
    .push = push_glob,
    .cancel = ab_fs_op_cancel,
    .drop = drop_glob,
};

/* (what is found, list): moves some of it to the list's end.  Is there more? */
int ab_fs_glob_take(lua_State *L)
{
    found_object *f = ab_object_test(L, 1, &found_class);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (!f)
        return luaL_typeerror(L, 1, found_class.name);
    size_t end = f->found.count - f->at > TAKE ? f->at + TAKE : f->found.count;
    for (; f->at < end; f->at++) {
        lua_pushstring(L, f->found.sorted[f->at]);
        lua_rawseti(L, 2, (lua_Integer)f->at + 1);
    }
    int more = f->at < f->found.count;
    if (!more)
        forget(L, f);
    lua_pushboolean(L, more);
    return 1;
}

/* ---- the call ---- */

/* One segment of what string.pack("=BBs4", kind, flag, text) made; gives what
 * follows it, or NULL: it is cut off. */
static const char *unpack(const char *p, const char *end, ab_fs_segment *s)
{
    if (end - p < 6)
        return NULL;
    s->kind = (unsigned char)p[0];
    s->flag = (unsigned char)p[1];
    memcpy(&s->bytes, p + 2, 4);
    s->text = p + 6;
    return (size_t)(end - s->text) < s->bytes ? NULL : s->text + s->bytes;
}

static uint32_t count_segments(const char *program, size_t len)
{
    uint32_t count = 0;
    ab_fs_segment s;
    const char *end = program + len;
    for (const char *p = program; p && p < end; count++)
        p = unpack(p, end, &s);
    return count;
}

/* Puts all that the job needs into one block. */
static int set_up(glob_op *o, const char *program, size_t len, const char *base)
{
    ab_fs_glob *g = &o->glob;
    uint32_t count = count_segments(program, len);
    size_t segments = count * sizeof(ab_fs_segment);
    size_t marks = 3 * (size_t)count * sizeof *g->marks;
    size_t base_len = strlen(base) + 1;
    o->block_bytes = segments + marks + base_len + len;
    o->block = ab_box_alloc(o->base.op.box, o->block_bytes);
    if (!o->block)
        return UV_ENOMEM;
    ab_fs_segment *s = (ab_fs_segment *)(void *)o->block;
    g->segments = s;
    g->count = count;
    g->marks = (uint32_t *)(void *)(o->block + segments);
    memset(g->marks, 0, marks);
    char *text = o->block + segments + marks;
    memcpy(text, base, base_len);
    g->base = text;
    memcpy(text + base_len, program, len);
    const char *p = text + base_len;
    for (uint32_t i = 0; i < count && p; i++)
        p = unpack(p, text + base_len + len, &s[i]);
    return 0;
}

/* (pattern, for errors; patterns, packed; base; path, where they begin; hidden;
 * follow). */
int ab_fs_glob_call(lua_State *L)
{
    size_t len;
    ab_task_check(L, glob_type.name);
    const char *pattern = ab_fs_check_path(L, 1);
    const char *program = luaL_checklstring(L, 2, &len);
    const char *base = ab_fs_check_path(L, 3);
    const char *path = ab_fs_check_path(L, 4);
    glob_op *o = (glob_op *)ab_fs_op_new(L, &glob_type, pattern, AB_GRANT_READ,
                                         run_glob);
    ab_box *box = o->base.op.box;
    int err = set_up(o, program, len, base);
    ab_fs_glob *g = &o->glob;
    g->grants = &box->grants;
    g->stop = &o->base.job.stop;
    g->hidden = lua_toboolean(L, 5);
    g->follow = lua_toboolean(L, 6);
    g->budget = ab_fs_budget(&box->limits);
    if (!err)
        err = ab_fs_glob_begin(g, path);
    if (err)
        return ab_op_fail(L, &o->base.op, err, "path", o->base.path);
    o->base.job.done = on_done;
    return ab_fs_op_start(L, &o->base);
}
