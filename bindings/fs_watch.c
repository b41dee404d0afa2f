/* fs_watch.c - fs.watch: an iterator of what happens to files and folders.
 *
 * The work is host/treewatch.c's, in the thread pool: a job opens a tree,
 * drains what was handed to it, closes it.  Drains belong to the watch and not
 * to the task that waits, so a cancelled wait loses no event.  When there is
 * nothing to drain, the watch waits as a listener of fs_watch_loop.c. */
#include "fs.h"
#include <string.h>

typedef struct watch {
    ab_iter iter; /* the job that runs is one of its refs */
    ab_fs_job job;
    ab_fs_watches *all;
    ab_fs_listener listener; /* while it waits and no job runs */
    int running;
    int failed;    /* a code: told to the next, then it is closed */
    ab_tree *tree; /* the job's while one runs; NULL: let go */
    size_t path_bytes;
} watch;

typedef struct open_op {
    ab_fs_op base;
    ab_fs_watches *all;
    int recursive;
    int again;     /* the second try */
    ab_tree *tree; /* until a watch has taken it over */
} open_op;

static const ab_iter_type watch_type;
static const char *const what_next = "fs.watch";

/* ---- life ---- */

static void watch_drop(ab_iter *iter)
{
    watch *w = (watch *)iter;
    if (w->all)
        ab_fs_watches_unref(w->all);
    ab_box_free(iter->box, iter->path, w->path_bytes);
}

static int run_close(ab_fs_job *job)
{
    ab_tree_close(ab_container(job, watch, job)->tree);
    return 0;
}

static void on_closed(ab_fs_job *job, int status)
{
    (void)status;
    watch *w = ab_container(job, watch, job);
    w->tree = NULL;
    ab_fs_watches_closed(w->all);
    ab_iter_unref(&w->iter);
}

/* Closing may take the kernel a while, so it is a job too, but for those that
 * the collector finds while a new watch needs their place. */
static void release(watch *w)
{
    ab_fs_watches_leave(w->all);
    w->job.run = run_close;
    w->job.done = on_closed;
    w->iter.refs++;
    if (!w->all->hurry && ab_fs_start(&w->job) == 0)
        return;
    run_close(&w->job);
    on_closed(&w->job, 0);
}

static void watch_close(ab_iter *iter)
{
    watch *w = (watch *)iter;
    if (w->running) {
        ab_fs_stop(&w->job); /* on_drained lets the tree go */
        return;
    }
    ab_fs_watches_unwait(w->all, &w->listener);
    release(w);
}

/* ---- draining ---- */

static int run_drain(ab_fs_job *job)
{
    return ab_tree_drain(ab_container(job, watch, job)->tree, &job->stop);
}

static int is_settled(const watch *w)
{
    return w->failed || ab_tree_first(w->tree) || ab_tree_gone(w->tree);
}

static void on_drained(ab_fs_job *job, int status);

static int drain(watch *w)
{
    w->job.run = run_drain;
    w->job.done = on_drained;
    ab_fs_watches_count(w->all);
    int err = ab_fs_start(&w->job);
    if (err)
        return err;
    w->running = 1;
    w->iter.refs++;
    return 0;
}

static void on_heard(ab_fs_listener *listener, int err)
{
    watch *w = ab_container(listener, watch, listener);
    w->failed = err ? err : drain(w);
    if (w->failed)
        ab_iter_wake(&w->iter, 0);
}

static int start(ab_iter *iter)
{
    watch *w = (watch *)iter;
    if (w->running)
        return 0; /* on_drained goes on */
    return ab_tree_heard(w->tree) ? drain(w)
                                  : ab_fs_watches_wait(w->all, &w->listener);
}

static void on_drained(ab_fs_job *job, int status)
{
    watch *w = ab_container(job, watch, job);
    w->running = 0;
    if (status < 0 && status != UV_ECANCELED && status != UV_EAGAIN)
        w->failed = status;
    ab_fs_watches_look(w->all);
    if (w->iter.closed) {
        release(w);
    } else if (ab_iter_waited_for(&w->iter)) {
        int err = is_settled(w) ? 0 : start(&w->iter);
        if (err)
            w->failed = err;
        if (is_settled(w))
            ab_iter_wake(&w->iter, 0);
    }
    ab_iter_unref(&w->iter);
}

/* ---- errors ---- */

static int raise_failed(lua_State *L, int code, const char *path)
{
    const char *message = NULL;
    if (code == UV_ENOSPC)
        message = "too many folders are watched by this user (the limit is "
                  "sysctl fs.inotify.max_user_watches)";
    else if (code == UV_EMFILE)
        message = "too many open files, or instances of inotify of this user "
                  "(the limits are ulimit -n and "
                  "sysctl fs.inotify.max_user_instances)";
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
        ab_fs_watches_count(w->all);
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
    else
        ab_fs_watches_unwait(w->all, &w->listener);
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
    return ab_tree_open(o->all->hub, o->base.path, o->recursive, &job->stop,
                        &o->tree);
}

static void on_opened(ab_fs_job *job, int status)
{
    open_op *o = (open_op *)ab_fs_op_of(job);
    ab_fs_watches_look(o->all);
    ab_op_finish(&o->base.op, status);
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
    int limit = op->status == UV_ENOSPC || op->status == UV_EMFILE;
    if (limit && !o->again)
        return 0;
    if (limit || op->status == UV_ENOSYS)
        return raise_failed(L, op->status, o->base.path);
    ab_fs_op_check(L, op);
    watch *w = make(L, o);
    w->all = ab_fs_watches_ref(o->all);
    w->tree = w->listener.tree = o->tree;
    w->listener.heard = on_heard;
    w->job.box = w->iter.box;
    w->job.fd = -1;
    o->tree = NULL;
    ab_iter_open(&w->iter);
    ab_fs_watches_open(w->all);
    return ab_iter_for(L);
}

static void open_drop(ab_op *op)
{
    open_op *o = (open_op *)op;
    if (o->tree) { /* it came too late for who wanted it */
        ab_tree_close(o->tree);
        ab_fs_watches_look(o->all);
    }
    if (o->all)
        ab_fs_watches_unref(o->all);
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
static int open_tree(lua_State *L, ab_fs_watches *all, int recursive, int again)
{
    open_op *o = (open_op *)ab_fs_op_new(L, &open_type, lua_tostring(L, 1),
                                         AB_GRANT_READ, run_open);
    o->all = ab_fs_watches_ref(all);
    o->base.job.done = on_opened;
    o->recursive = recursive;
    o->again = again;
    ab_fs_watches_count(all);
    int err = ab_fs_start(&o->base.job);
    if (err)
        return ab_op_fail(L, &o->base.op, err, "path", o->base.path);
    return ab_task_parkk(L, &o->base.op, recursive, opened);
}

static ab_fs_watches *all_of(lua_State *L)
{
    return *(ab_fs_watches **)lua_touserdata(L, lua_upvalueindex(1));
}

/* A limit is reached?  Watches that nobody holds any more may be why. */
static int opened(lua_State *L, int status, lua_KContext recursive)
{
    (void)status;
    int results = lua_gettop(L) - 1;
    if (results > 0)
        return results;
    ab_fs_watches *all = all_of(L);
    all->hurry = 1;
    lua_gc(L, LUA_GCCOLLECT, 0);
    all->hurry = 0;
    ab_task_check(L, what_next);
    return open_tree(L, all, (int)recursive, 1);
}

static int l_watch(lua_State *L)
{
    static const char *const known[] = {"recursive", NULL};
    ab_task_check(L, what_next);
    const char *path = ab_fs_check_path(L, 1);
    ab_options_check(L, 2, what_next, known);
    int recursive = ab_option_boolean(L, 2, "recursive", 0);
    ab_grants_check_path(L, AB_GRANT_READ, what_next, path);
    lua_settop(L, 1);
    return open_tree(L, all_of(L), recursive, 0);
}

/* ---- what the watches share ---- */

static int all_gc(lua_State *L)
{
    ab_fs_watches **all = lua_touserdata(L, 1);
    if (*all)
        ab_fs_watches_unref(*all);
    *all = NULL;
    return 0;
}

void ab_fs_watch_open(lua_State *L)
{
    ab_fs_watches **all = ab_fs_keep(L, all_gc);
    *all = ab_fs_watches_new(ab_box_of(L));
    if (!*all)
        luaL_error(L, "not enough memory");
    lua_pushcclosure(L, l_watch, 1);
    lua_setfield(L, -2, "watch");
}
