/* api.c - the public functions: thin, over the core and the bindings. */
#include "asyncbox.h"
#include "box.h"
#include "error.h"
#include "modules.h"
#include "report.h"
#include <errno.h>
#include <string.h>

/* An asyncbox is an ab_box; only this file knows. */
static ab_box *of(asyncbox *box) { return (ab_box *)box; }

const char *asyncbox_version(void) { return ASYNCBOX_VERSION; }

const char *asyncbox_lua_version(void) { return LUA_RELEASE; }

const char *asyncbox_uv_version(void) { return uv_version_string(); }

void asyncbox_config_init(asyncbox_config *config)
{
    memset(config, 0, sizeof *config);
    config->size = sizeof *config;
    config->sandbox = 1;
}

int asyncbox_new(const asyncbox_config *config, asyncbox **out)
{
    asyncbox_config full;
    asyncbox_config_init(&full);
    if (config) {
        if (config->size == 0 || config->size > sizeof full)
            return UV_EINVAL; /* not from asyncbox_config_init, or newer */
        memcpy(&full, config, config->size);
    }
    ab_box *box;
    int err = ab_box_new(&full, ab_modules_all(), &box);
    if (!err)
        *out = (asyncbox *)box;
    return err;
}

int asyncbox_free(asyncbox *box) { return box ? ab_box_close(of(box)) : 0; }

int asyncbox_allow(asyncbox *box, const char *kind, const char *rule)
{
    int k = ab_grant_kind_of(kind);
    if (k < 0)
        return UV_EINVAL;
    return ab_grants_add(&of(box)->grants, (ab_grant_kind)k, rule);
}

/* ---- the main task ---- */

typedef struct script {
    const char *path; /* or NULL: */
    const char *code;
    size_t bytes;
    const char *name;
    int is_file;
    int argc;
    const char *const *argv;
    int status;
} script;

static int load_script(lua_State *L, script *s)
{
    const char *mode = ab_box_of(L)->sandbox ? "t" : NULL;
    errno = 0;
    int status = s->is_file
                     ? luaL_loadfilex(L, s->path, mode)
                     : luaL_loadbufferx(L, s->code, s->bytes, s->name, mode);
    if (status == LUA_OK)
        return 1;
    s->status = status == LUA_ERRSYNTAX ? ASYNCBOX_ESYNTAX
                : status == LUA_ERRMEM  ? UV_ENOMEM
                : errno                 ? uv_translate_sys_error(errno)
                                        : UV_EIO;
    return 0;
}

/* argv[first] becomes arg[0]. */
static void set_arg(lua_State *L, const script *s, int first)
{
    int after = s->argc - first;
    lua_createtable(L, after > 0 ? after - 1 : 0, first + 1);
    for (int i = 0; i < s->argc; i++) {
        lua_pushstring(L, s->argv[i]);
        lua_rawseti(L, -2, i - first);
    }
    lua_setglobal(L, "arg");
}

static int push_args(lua_State *L, const script *s)
{
    int n = s->argc > 1 ? s->argc - 1 : 0;
    if (s->argc == ASYNCBOX_ARGS) {
        if (lua_getglobal(L, "arg") != LUA_TTABLE)
            return luaL_error(L, "'arg' is not a table");
        n = (int)lua_rawlen(L, -1);
    }
    luaL_checkstack(L, n + 1, "too many arguments to the script");
    for (int i = 1; i <= n; i++) {
        if (s->argc == ASYNCBOX_ARGS)
            lua_rawgeti(L, -i, i);
        else
            lua_pushstring(L, s->argv[i]);
    }
    if (s->argc == ASYNCBOX_ARGS)
        lua_remove(L, -n - 1);
    return n;
}

static int spawn_main(lua_State *L)
{
    script *s = lua_touserdata(L, 1);
    ab_box *box = ab_box_of(L);
    if (!load_script(L, s))
        return lua_error(L);
    if (s->argc > 0)
        set_arg(L, s, 0);
    ab_task *task = ab_task_spawn(L, push_args(L, s), NULL);
    task->flags |= AB_TASK_MAIN;
    lua_rawseti(L, LUA_REGISTRYINDEX, box->main_ref);
    return 0;
}

/* Calls fn(arg) protected, with the box marked as running: finalizers of the
 * script's may run, and what they have to say goes to the host. */
static int call(ab_box *box, lua_CFunction fn, void *arg)
{
    lua_State *L = box->L;
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, arg);
    box->inside = 1;
    int status = lua_pcall(L, 1, 0, 0);
    box->inside = 0;
    return status;
}

static int spawn(ab_box *box, script *s)
{
    lua_State *L = box->L;
    if (box->inside)
        return UV_EBUSY;
    if (!box->tasks) /* how the script before this one ended is no matter */
        box->failed = box->cancelling = box->stopped = box->deadlocks =
            box->root->ending = 0;
    box->error_text[0] = 0;
    if (!box->tasks) /* another script: it is judged by itself */
        box->failed = box->stopped = box->cancelling = box->deadlocks = 0;
    s->status = ASYNCBOX_ESCRIPT;
    int status = call(box, spawn_main, s);
    if (status == LUA_OK)
        return 0;
    ab_box_set_error(box, L);
    return status == LUA_ERRMEM ? UV_ENOMEM : s->status;
}

int asyncbox_spawn_file(asyncbox *box, const char *path, int argc,
                        const char *const *argv)
{
    script s = {.path = path, .is_file = 1, .argc = argc, .argv = argv};
    return spawn(of(box), &s);
}

int asyncbox_spawn_string(asyncbox *box, const char *code, size_t bytes,
                          const char *name, int argc, const char *const *argv)
{
    script s = {
        .code = code, .bytes = bytes, .name = name, .argc = argc, .argv = argv};
    return spawn(of(box), &s);
}

typedef struct words {
    script script;
    int first;
} words;

static int set_args(lua_State *L)
{
    words *w = lua_touserdata(L, 1);
    set_arg(L, &w->script, w->first);
    return 0;
}

int asyncbox_set_args(asyncbox *box, int argc, const char *const *argv,
                      int script_at)
{
    words w = {.script = {.argc = argc, .argv = argv}, .first = script_at};
    if (of(box)->inside)
        return UV_EBUSY;
    if (call(of(box), set_args, &w) == LUA_OK)
        return 0;
    lua_pop(of(box)->L, 1);
    return UV_ENOMEM;
}

int asyncbox_run(asyncbox *box) { return ab_box_run(of(box)); }

int asyncbox_step(asyncbox *box, uint64_t budget_ns)
{
    return ab_box_step(of(box), budget_ns);
}

int asyncbox_flush(asyncbox *box)
{
    return ab_outputs_flush(&of(box)->outputs);
}

const char *asyncbox_error_text(asyncbox *box) { return of(box)->error_text; }

int asyncbox_exit_status(asyncbox *box) { return of(box)->exit_status; }

/* ---- interrupt ---- */

/* Breaks the innermost running coroutine at its next instruction. */
static void on_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    ab_box *box = ab_box_of(L);
    if (!atomic_load(&box->interrupted))
        return; /* it came to this coroutine too late */
    if (box->current)
        box->current->flags |= AB_TASK_CANCELLED | AB_TASK_INTERRUPT;
    ab_error_raise(L, UV_ECANCELED,
                   &(ab_detail){NULL, "the script was interrupted", 0, 0});
}

void asyncbox_interrupt(asyncbox *box)
{
    ab_box *b = of(box);
    atomic_store(&b->interrupted, 1);
    uv_async_send(&b->loop.wake);
    /* Never from another thread: it would walk frames that may be going
     * away.  On the box's own thread this is a signal handler, and Lua's
     * hooks are made to be set from there. */
    /* Counting only breaks the script's own code: with call hooks the <close>
     * of a lock or a group would be left out. */
    if (pthread_equal(b->thread, pthread_self()) && b->running)
        lua_sethook(b->running, on_hook, LUA_MASKCOUNT, 1);
}

void asyncbox_stats_get(asyncbox *box, asyncbox_stats *out)
{
    const ab_box *b = of(box);
    asyncbox_stats s = {
        .size = sizeof s,
        .tasks = b->tasks,
        .ops = b->live_ops,
        .handles = b->live_handles,
        .timers = b->loop.timers.count - b->loop.timers.stale,
        .memory_bytes = b->limits.used_bytes,
        .peak_bytes = b->limits.peak_bytes,
        .resumes = b->resumes,
    };
    size_t bytes = out->size && out->size < sizeof s ? out->size : sizeof s;
    s.size = bytes;
    memcpy(out, &s, bytes);
}
