/* fs_scan_walk.c - the folders of fs.walk: entries become paths, and folders
 * are read ahead.
 *
 * While a loop looks at one folder the pool reads those that will come after
 * it.  The loop's body may change them before it comes there, so what was read
 * ahead counts only if, when it is asked for, the path still leads to a folder
 * with the same stamp; else it is read anew.  Asking that never waits. */
#include "fs_scan.h"
#include <string.h>
#include <unistd.h>

enum {
    FIRST_BYTES = 4096,
    EARLY_BYTES = 16384, /* a larger folder is read when it is asked for */
    REACH_MIN = 2,
    REACH_MAX = AB_FS_AHEAD / 2,
    AHEAD_LOOK = 1000,      /* entries, for the next folder among them */
    AHEAD_BUDGET = 4 << 20, /* what has to be left of the box's memory */
    AHEAD_MISSES = 3
};

static const ab_op_type walk_type = AB_FS_FOLDER_TYPE("fs.walk");

static ab_fs_folder *folder_at(lua_State *L, int arg)
{
    ab_fs_folder **object = ab_object_test(L, arg, &ab_fs_folder_class);
    return object ? *object : NULL;
}

/* ---- paths ---- */

/* The path of the folder and a slash, with room for a name behind it. */
static char *line_of(ab_fs_folder *s)
{
    if (s->line)
        return s->line;
    size_t len = s->path_bytes - 1;
    size_t prefix = len + (len > 0 && s->path[len - 1] != '/');
    s->line = ab_box_alloc(s->box, prefix + AB_FS_ENTRY_MAX);
    if (!s->line)
        return NULL;
    memcpy(s->line, s->path, len);
    memcpy(s->line + len, "/", prefix - len);
    s->prefix = prefix;
    return s->line;
}

/* Pushes the path of the entry that was given last. */
static void push_path(lua_State *L, ab_fs_folder *s)
{
    const char *name = s->sorted[s->given - 1] + 1;
    size_t len = strlen(name);
    if (!line_of(s))
        ab_error_path(L, UV_ENOMEM, walk_type.name, s->path);
    memcpy(s->line + s->prefix, name, len);
    lua_pushlstring(L, s->line, s->prefix + len);
}

/* Pushes path, kind and depth of the next entry: 3, or 0 at the end. */
static int give(lua_State *L, ab_fs_folder *s)
{
    if (s->given == s->count)
        return 0;
    int type = *s->sorted[s->given++] - 1;
    push_path(L, s);
    lua_pushstring(L, ab_fs_type_name((mode_t)DTTOIF(type)));
    lua_pushinteger(L, s->depth);
    s->pending = type == DT_DIR;
    return 3;
}

/* ---- reading ahead ---- */

static int is_folder(const ab_fs_folder *s, size_t number)
{
    return *s->sorted[number] - 1 == DT_DIR;
}

/* NULL: no memory. */
static ab_fs_folder *early_new(ab_fs_folder *outer, size_t number)
{
    const char *name = outer->sorted[number] + 1;
    size_t len = strlen(name);
    ab_fs_folder *s =
        line_of(outer) ? ab_box_alloc(outer->box, sizeof *s) : NULL;
    if (!s)
        return NULL;
    ab_fs_folder_init(s, outer->box);
    s->whole = s->no_follow = s->early = 1;
    s->number = number;
    s->path = ab_box_alloc(s->box, outer->prefix + len + 1);
    s->bytes = ab_box_alloc(s->box, EARLY_BYTES);
    if (s->path) {
        s->path_bytes = outer->prefix + len + 1;
        memcpy(s->path, outer->line, outer->prefix);
        memcpy(s->path + outer->prefix, name, len + 1);
    }
    if (s->bytes)
        s->cap = EARLY_BYTES;
    if (!s->path || !s->bytes) {
        ab_fs_folder_unref(s);
        return NULL;
    }
    return s;
}

/* Has the pool read more of the folders that come next, if there is room for as
 * many as it reads at once. */
static void look_ahead(ab_fs_folder *s)
{
    ab_fs_folder *batch = NULL, **tail = &batch;
    int room = 0, reach = s->reach ? s->reach : REACH_MIN;
    for (int i = 0; i < AB_FS_AHEAD; i++)
        room += s->ahead[i] == NULL;
    if (room < reach || s->misses >= AHEAD_MISSES ||
        ab_fs_budget(&s->box->limits) < AHEAD_BUDGET)
        return;
    if (s->next < s->given)
        s->next = s->given;
    size_t end =
        s->given + AHEAD_LOOK < s->count ? s->given + AHEAD_LOOK : s->count;
    for (int i = 0; i < AB_FS_AHEAD && reach > 0; i++) {
        if (s->ahead[i])
            continue;
        while (s->next < end && !is_folder(s, s->next))
            s->next++;
        if (s->next >= end || !(s->ahead[i] = early_new(s, s->next)))
            break;
        s->next++;
        reach--;
        *tail = s->ahead[i];
        tail = &s->ahead[i]->batch;
    }
    if (batch)
        ab_fs_folder_start_batch(batch);
    if (reach == 0 && s->reach < REACH_MAX)
        s->reach = s->reach ? 2 * s->reach : 2 * REACH_MIN;
}

/* The one that was read ahead for the entry given last, or NULL.  The caller's
 * then.  Earlier ones were not entered. */
static ab_fs_folder *take_early(ab_fs_folder *outer)
{
    ab_fs_folder *found = NULL;
    for (int i = 0; i < AB_FS_AHEAD; i++) {
        ab_fs_folder *s = outer->ahead[i];
        if (!s || s->number >= outer->given)
            continue;
        outer->ahead[i] = NULL;
        if (s->number == outer->given - 1) {
            found = s;
        } else {
            ab_fs_folder_release(s);
            ab_fs_folder_unref(s);
        }
    }
    return found;
}

/* Is what was read ahead what would be read now? */
static int is_fresh(const ab_fs_folder *s)
{
    struct stat st;
    if (!s->usable)
        return 0;
    int fd = ab_grants_open_cached(&s->box->grants, s->path);
    if (fd < 0)
        return 0;
    int same = fstat(fd, &st) == 0 && st.st_dev == s->dev &&
               st.st_ino == s->ino && st.st_ctim.tv_sec == s->changed.tv_sec &&
               st.st_ctim.tv_nsec == s->changed.tv_nsec;
    close(fd);
    return same;
}

/* ---- entering a folder ---- */

static int enter_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_settop(L, 5);
    ab_fs_folder *s = folder_at(L, 5), *outer = folder_at(L, 3);
    if (!s->early)
        return 1;
    int fresh = is_fresh(s);
    if (outer)
        outer->misses = fresh ? 0 : outer->misses + 1;
    s->early = 0;
    if (fresh)
        return 1;
    ab_fs_folder_reset(s);
    return ab_fs_folder_wait(L, s, &walk_type, enter_done);
}

/* (path, follow, the folder that it was given last by, or nil; read ahead?)
 * gives an object that is read. */
int ab_fs_walk_enter(lua_State *L)
{
    ab_task_check(L, walk_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_grants_check_path(L, AB_GRANT_READ, walk_type.name, path);
    lua_settop(L, 4);
    ab_fs_folder *outer = folder_at(L, 3);
    ab_fs_folder **object =
        ab_object_new(L, &ab_fs_folder_class, sizeof *object, 0);
    *object = outer && !outer->closed ? take_early(outer) : NULL;
    ab_fs_folder *s = *object;
    if (!s) {
        s = ab_fs_folder_new(L, object, path, FIRST_BYTES);
        s->whole = 1;
        s->no_follow = !lua_toboolean(L, 2);
        int err = ab_fs_folder_start(s);
        if (err)
            return ab_error_path(L, err, walk_type.name, path);
    }
    s->depth = outer ? outer->depth + 1 : 1;
    s->misses = outer ? outer->misses : 0;
    if (outer && !outer->closed && lua_toboolean(L, 4))
        look_ahead(outer);
    return ab_fs_folder_wait(L, s, &walk_type, enter_done);
}

/* ---- the steps ---- */

static int next_slowly(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L) - 1;
}

/* The walk, a table: [0] is the object of the innermost folder, if nothing else
 * is to be done but to give its entries.  Upvalue 1 does the rest. */
static int l_next(lua_State *L)
{
    ab_task_check(L, walk_type.name);
    lua_settop(L, 1);
    if (lua_type(L, 1) == LUA_TTABLE) {
        lua_rawgeti(L, 1, 0);
        ab_fs_folder *s = folder_at(L, 2);
        if (s && !s->pending && s->given < s->count)
            return give(L, s);
        lua_settop(L, 1);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_callk(L, 1, LUA_MULTRET, 0, next_slowly);
    return next_slowly(L, LUA_OK, 0);
}

/* (what does the rest) gives __call of the walk. */
int ab_fs_walk_iterator(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushcclosure(L, l_next, 1);
    return 1;
}

/* The next entry of a folder: path, kind, depth; nothing at the end. */
int ab_fs_walk_step(lua_State *L)
{
    ab_fs_folder *s = folder_at(L, 1);
    return s ? give(L, s) : 0;
}

/* The entry given last is to be entered: a link to a folder. */
int ab_fs_walk_mark(lua_State *L)
{
    ab_fs_folder *s = folder_at(L, 1);
    if (s && s->given > 0)
        s->pending = 1;
    return 0;
}

/* The path of a folder that was given last and is not yet entered, once. */
int ab_fs_walk_pending(lua_State *L)
{
    ab_fs_folder *s = folder_at(L, 1);
    if (!s || !s->pending || s->closed)
        return 0;
    s->pending = 0;
    push_path(L, s);
    return 1;
}

/* What tells its folder from others. */
int ab_fs_walk_id(lua_State *L)
{
    ab_fs_folder *s = folder_at(L, 1);
    if (!s)
        return 0;
    lua_pushfstring(L, "%I:%I", (LUAI_UACINT)s->dev, (LUAI_UACINT)s->ino);
    return 1;
}

int ab_fs_walk_forget(lua_State *L)
{
    ab_fs_folder *s = folder_at(L, 1);
    if (s)
        ab_fs_folder_release(s);
    return 0;
}
