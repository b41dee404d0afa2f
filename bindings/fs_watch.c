/* fs_watch.c - fs.watch: an iterator of what happens to files and folders.
 *
 * The work is host/treewatch.c's, in the thread pool: a job drains what the
 * kernel has and, when there is nothing, is polled for until there is.  The job
 * belongs to the watch and not to the task that waits, so a cancelled wait
 * loses no event. */
#include "fs.h"
#include <string.h>

typedef struct watch {
    ab_iter iter; /* the job that runs is one of its refs */
    ab_fs_job job;
    int running;
    int failed;     /* a code: told to the next, then it is closed */
    size_t charged; /* what the box counts for the tree */
    size_t budget;  /* of the running job */
    ab_tree *tree;  /* the job's while one runs; NULL: let go */
    size_t path_bytes;
} watch;

typedef struct open_op {
    ab_fs_op base;
    int recursive;
    int again; /* the second try */
    size_t budget;
    ab_tree *tree; /* until a watch has taken it over */
} open_op;

static const ab_iter_type watch_type;
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
    w->iter.box->limits.used_bytes += held - w->charged;
    w->charged = held;
}

/* ---- life ---- */

static void watch_drop(ab_iter *iter)
{
    ab_box_free(iter->box, iter->path, ((watch *)iter)->path_bytes);
}

static void release(watch *w)
{
    if (!w->tree)
        return;
    ab_tree_close(w->tree);
    w->tree = NULL;
    charge(w);
    w->iter.box->live_handles--;
}

static void watch_close(ab_iter *iter)
{
    watch *w = (watch *)iter;
    if (w->running)
        ab_fs_stop(&w->job); /* on_done lets the tree go */
    else
        release(w);
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

static int start(ab_iter *iter)
{
    watch *w = (watch *)iter;
    if (w->running)
        return 0; /* on_done goes on */
    w->job.box = w->iter.box;
    w->job.run = run_drain;
    w->job.done = on_done;
    w->job.fd = ab_tree_fd(w->tree);
    w->job.events = UV_READABLE;
    w->budget = budget_of(w->iter.box, w->charged);
    int err = ab_fs_start(&w->job);
    if (err)
        return err;
    w->running = 1;
    iter->refs++;
    return 0;
}

static void on_done(ab_fs_job *job, int status)
{
    watch *w = ab_container(job, watch, job);
    w->running = 0;
    if (status < 0 && status != UV_ECANCELED && status != UV_EAGAIN)
        w->failed = status;
    charge(w);
    if (w->iter.closed) {
        release(w);
    } else if (ab_iter_waited_for(&w->iter)) {
        int err = is_settled(w) ? 0 : start(&w->iter); /* another's job */
        if (err)
            w->failed = err;
        if (err || is_settled(w))
            ab_iter_wake(&w->iter, 0);
    }
    ab_iter_unref(&w->iter);
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
static int give(lua_State *L, ab_iter *iter)
{
    watch *w = (watch *)iter;
    const ab_tree_event *event = w->tree ? ab_tree_first(w->tree) : NULL;
    if (event) {
        push_event(L, event); /* raises? then it is still there */
        ab_tree_shift(w->tree);
        charge(w);
        return 1;
    }
    int failed = w->failed;
    w->failed = 0;
    ab_iter_close(iter);
    if (failed)
        return raise_failed(L, failed, iter->path);
    lua_pushnil(L);
    return 1;
}

static int is_ready(const ab_iter *iter)
{
    const watch *w = (const watch *)iter;
    return !w->running && is_settled(w);
}

static void stop(ab_iter *iter)
{
    watch *w = (watch *)iter;
    if (w->running)
        ab_fs_stop(&w->job);
}

static const ab_op_type next_type = {
    .name = "fs.watch",
    .size = sizeof(ab_iter_op),
    .flags = AB_OP_EXTERNAL,
    .push = ab_iter_push,
    .cancel = ab_iter_cancel,
    .drop = ab_iter_drop,
};

static const ab_class watch_class = {"Watch", ab_iter_methods, ab_iter_metas};

static const ab_iter_type watch_type = {
    .cls = &watch_class,
    .bytes = sizeof(watch),
    .op = &next_type,
    .ready = is_ready,
    .give = give,
    .start = start,
    .stop = stop,
    .close = watch_close,
    .drop = watch_drop,
};

/* ---- watch ---- */

static int run_open(ab_fs_job *job)
{
    open_op *o = (open_op *)ab_fs_op_of(job);
    return ab_tree_open(&o->base.op.box->grants, o->base.path, o->recursive,
                        o->budget, &job->stop, &o->tree);
}

static watch *make(lua_State *L, const open_op *o)
{
    watch *w = (watch *)ab_iter_new(L, &watch_type);
    w->iter.path = ab_box_alloc_or_raise(L, o->base.path_bytes);
    w->path_bytes = o->base.path_bytes;
    memcpy(w->iter.path, o->base.path, w->path_bytes);
    return w;
}

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
    w->tree = o->tree;
    o->tree = NULL;
    ab_iter_open(&w->iter);
    w->iter.box->live_handles++;
    charge(w);
    return ab_iter_for(L);
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
