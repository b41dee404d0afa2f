/* fs_watch.c - fs.watch: an iterator of what happens to files and folders.
 *
 * The work is host/treewatch.c's, in the thread pool: a job drains what the
 * kernel has and, when there is nothing, is polled for until there is.  The job
 * belongs to the watch and not to the task that waits, so a cancelled wait
 * loses no event. */
#include "fs.h"
#include <string.h>

typedef struct watch {
    ab_fs_job job;
    ab_box *box;
    ab_closer closer;
    int refs; /* the Lua object, the op that waits, the job that runs */
    int running;
    int closed;
    int failed;     /* a code: told to the next, then it is closed */
    size_t charged; /* what the box counts for the tree */
    size_t budget;  /* of the running job */
    ab_op *waiter;
    ab_tree *tree; /* the job's while one runs; NULL: let go */
    char *path;
    size_t path_bytes;
} watch;

typedef struct next_op {
    ab_op op;
    watch *watch;
} next_op;

typedef struct open_op {
    ab_fs_op base;
    int recursive;
    int again; /* the second try */
    size_t budget;
    ab_tree *tree; /* until a watch has taken it over */
} open_op;

static const ab_class watch_class;
static const char *const what_next = "fs.watch";

/* ---- the tree's memory: taken from malloc in the pool, so it is booked here,
 * on the loop's thread ---- */

/* What a tree that holds `held` already may come to hold. */
static size_t budget_of(const ab_box *box, size_t held)
{
    const ab_limits *l = &box->limits;
    if (l->cap_bytes == SIZE_MAX)
        return SIZE_MAX;
    return held +
           (l->cap_bytes > l->used_bytes ? l->cap_bytes - l->used_bytes : 0);
}

static void charge(watch *w)
{
    size_t held = w->tree ? ab_tree_bytes(w->tree) : 0;
    w->box->limits.used_bytes += held - w->charged;
    w->charged = held;
}

/* ---- life ---- */

static void unref(watch *w)
{
    if (--w->refs > 0)
        return;
    ab_box_free(w->box, w->path, w->path_bytes);
    ab_box_free(w->box, w, sizeof *w);
}

static void release(watch *w)
{
    if (!w->tree)
        return;
    ab_tree_close(w->tree);
    w->tree = NULL;
    charge(w);
    w->box->live_handles--;
}

static void watch_close(watch *w)
{
    if (w->closed)
        return;
    w->closed = 1;
    ab_list_remove(&w->closer.link);
    if (w->waiter && !w->waiter->finished)
        ab_op_finish(w->waiter, ASYNCBOX_ECLOSED);
    if (w->running)
        ab_fs_stop(&w->job); /* on_done lets the tree go */
    else
        release(w);
}

static void on_box_close(ab_closer *closer)
{
    watch_close(ab_container(closer, watch, closer));
}

/* ---- the job ---- */

static int run_drain(ab_fs_job *job)
{
    watch *w = ab_container(job, watch, job);
    return ab_tree_drain(w->tree, w->budget, &job->stop);
}

static int is_settled(const watch *w)
{
    return w->failed || ab_tree_first(w->tree) || ab_tree_gone(w->tree);
}

static void on_done(ab_fs_job *job, int status);

static int start(watch *w)
{
    w->job.box = w->box;
    w->job.run = run_drain;
    w->job.done = on_done;
    w->job.fd = ab_tree_fd(w->tree);
    w->job.events = UV_READABLE;
    w->budget = budget_of(w->box, w->charged);
    int err = ab_fs_start(&w->job);
    if (err)
        return err;
    w->running = 1;
    w->refs++;
    return 0;
}

static void on_done(ab_fs_job *job, int status)
{
    watch *w = ab_container(job, watch, job);
    w->running = 0;
    if (status < 0 && status != UV_ECANCELED && status != UV_EAGAIN)
        w->failed = status;
    charge(w);
    if (w->closed) {
        release(w);
    } else if (w->waiter && !w->waiter->finished) {
        int err = is_settled(w) ? 0 : start(w); /* it was another's job */
        if (err)
            w->failed = err;
        if (err || is_settled(w))
            ab_op_finish(w->waiter, 0);
    }
    unref(w);
}

/* ---- errors ---- */

static int raise_failed(lua_State *L, int code, const char *path)
{
    const char *message = NULL;
    if (code == UV_ENOSPC)
        message = "too many folders are watched on this system (the limit is "
                  "fs.inotify.max_user_watches)";
    else if (code == UV_EMFILE)
        message = "too many open files or watches (the limits are ulimit -n "
                  "and fs.inotify.max_user_instances)";
    else if (code == UV_ENOSYS)
        message = "this system has no inotify";
    return ab_error_raise(L, code,
                          &(ab_detail){what_next, message, "path", path});
}

/* ---- next ---- */

static void push_event(lua_State *L, const ab_tree_event *e)
{
    static const char *const kinds[] = {"created", "modified", "removed",
                                        "renamed", "overflow"};
    lua_createtable(L, 0, 4);
    lua_pushstring(L, kinds[e->kind]);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, e->path);
    lua_setfield(L, -2, "path");
    lua_pushboolean(L, e->directory);
    lua_setfield(L, -2, "directory");
    if (e->from) {
        lua_pushstring(L, e->from);
        lua_setfield(L, -2, "from");
    }
}

/* No job runs. */
static int give(lua_State *L, watch *w)
{
    const ab_tree_event *event = w->tree ? ab_tree_first(w->tree) : NULL;
    if (event) {
        push_event(L, event); /* raises? then it is still there */
        ab_tree_shift(w->tree);
        charge(w);
        return 1;
    }
    int failed = w->failed;
    w->failed = 0;
    watch_close(w);
    if (failed)
        return raise_failed(L, failed, w->path);
    lua_pushnil(L);
    return 1;
}

static int next_push(lua_State *L, ab_op *op)
{
    watch *w = ((next_op *)op)->watch;
    if (w->waiter == op)
        w->waiter = NULL;
    if (w->closed) {
        lua_pushnil(L);
        return 1;
    }
    return give(L, w);
}

static void next_cancel(ab_op *op)
{
    watch *w = ((next_op *)op)->watch;
    if (w->waiter == op)
        w->waiter = NULL;
    if (w->running)
        ab_fs_stop(&w->job);
    ab_op_finish(op, UV_ECANCELED);
}

static void next_drop(ab_op *op)
{
    watch *w = ((next_op *)op)->watch;
    if (!w)
        return;
    if (w->waiter == op)
        w->waiter = NULL;
    unref(w);
}

static const ab_op_type next_type = {
    .name = "fs.watch",
    .size = sizeof(next_op),
    .flags = AB_OP_EXTERNAL,
    .push = next_push,
    .cancel = next_cancel,
    .drop = next_drop,
};

static watch *self_of(lua_State *L)
{
    watch *w = *(watch **)ab_self(L, &watch_class);
    if (!w) /* a finalizer of the script got hold of it */
        luaL_error(L, "attempt to use a watch that was collected");
    return w;
}

static int l_next(lua_State *L)
{
    ab_task_check(L, what_next);
    watch *w = self_of(L);
    if (w->waiter)
        return ab_error_raise(L, UV_EBUSY,
                              &(ab_detail){what_next,
                                           "another task is waiting for it",
                                           "path", w->path});
    if (w->closed) {
        lua_pushnil(L);
        return 1;
    }
    if (!w->running && is_settled(w))
        return give(L, w);
    next_op *o = (next_op *)ab_op_new(L, &next_type);
    o->watch = w;
    w->refs++;
    w->waiter = &o->op;
    int err = w->running ? 0 : start(w); /* running: on_done goes on */
    if (err)
        return ab_op_fail(L, &o->op, err, "path", w->path);
    return ab_task_park(L, &o->op);
}

static int l_close(lua_State *L)
{
    watch_close(self_of(L));
    return 0;
}

static int l_gc(lua_State *L)
{
    watch **object = ab_self(L, &watch_class);
    watch *w = *object;
    if (w) {
        *object = NULL;
        watch_close(w);
        unref(w);
    }
    return 0;
}

static const luaL_Reg methods[] = {
    {"close", l_close}, {"next", l_next}, {NULL, NULL}};
static const luaL_Reg metas[] = {
    {"__call", l_next}, {"__close", l_close}, {"__gc", l_gc}, {NULL, NULL}};
static const ab_class watch_class = {"Watch", methods, metas};

/* ---- watch ---- */

static int run_open(ab_fs_job *job)
{
    open_op *o = (open_op *)ab_fs_op_of(job);
    return ab_tree_open(&o->base.op.box->grants, o->base.path, o->recursive,
                        o->budget, &job->stop, &o->tree);
}

static watch *make(lua_State *L, open_op *o)
{
    watch **object = ab_object_new(L, &watch_class, sizeof *object, 0);
    watch *w = ab_box_alloc_or_raise(L, sizeof *w);
    memset(w, 0, sizeof *w);
    w->box = o->base.op.box;
    w->refs = 1;
    w->closed = 1; /* until it is open */
    *object = w;
    w->path = ab_box_alloc_or_raise(L, o->base.path_bytes);
    w->path_bytes = o->base.path_bytes;
    memcpy(w->path, o->base.path, w->path_bytes);
    return w;
}

/* for event in fs.watch(...): the watch is what the loop calls and what it
 * closes at its end. */
static int open_push(lua_State *L, ab_op *op)
{
    open_op *o = (open_op *)op;
    if (op->status == UV_EMFILE && !o->again)
        return 0;
    if (op->status == UV_ENOSPC || op->status == UV_EMFILE ||
        op->status == UV_ENOSYS)
        return raise_failed(L, op->status, o->base.path);
    ab_fs_op_check(L, op);
    watch *w = make(L, o);
    w->closed = 0;
    w->tree = o->tree;
    o->tree = NULL;
    w->closer.close = on_box_close;
    ab_list_append(&w->box->closers, &w->closer.link);
    w->box->live_handles++;
    charge(w);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -3);
    return 4;
}

static void open_drop(ab_op *op)
{
    open_op *o = (open_op *)op;
    ab_tree_close(o->tree);
    ab_fs_op_drop(op);
}

static const ab_op_type open_type = {
    .name = "fs.watch",
    .size = sizeof(open_op),
    .flags = AB_OP_EXTERNAL,
    .push = open_push,
    .cancel = ab_fs_op_cancel,
    .drop = open_drop,
};

static int opened(lua_State *L, int status, lua_KContext recursive);

/* On the stack: the path alone. */
static int open_tree(lua_State *L, int recursive, int again)
{
    open_op *o = (open_op *)ab_fs_op_new(L, &open_type, lua_tostring(L, 1),
                                         AB_GRANT_READ, run_open);
    o->recursive = recursive;
    o->again = again;
    o->budget = budget_of(o->base.op.box, 0);
    int err = ab_fs_start(&o->base.job);
    if (err)
        return ab_op_fail(L, &o->base.op, err, "path", o->base.path);
    return ab_task_parkk(L, &o->base.op, recursive, opened);
}

/* Watches that nobody holds any more may be what a user has 128 of at most. */
static int opened(lua_State *L, int status, lua_KContext recursive)
{
    (void)status;
    int results = lua_gettop(L) - 1;
    if (results > 0)
        return results;
    lua_gc(L, LUA_GCCOLLECT, 0);
    ab_task_check(L, what_next);
    return open_tree(L, (int)recursive, 1);
}

int ab_fs_watch(lua_State *L)
{
    static const char *const known[] = {"recursive", NULL};
    ab_task_check(L, what_next);
    const char *path = ab_fs_check_path(L, 1);
    ab_options_check(L, 2, what_next, known);
    int recursive = ab_option_boolean(L, 2, "recursive", 0);
    ab_grants_check_path(L, AB_GRANT_READ, what_next, path);
    lua_settop(L, 1);
    return open_tree(L, recursive, 0);
}
