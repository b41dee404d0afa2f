/* signal.c - the module asyncbox.signal: waiting for signals of the system.
 *
 * A watcher is C memory with a uv_signal_t for each signal.  What arrives is
 * noted once a signal, in order, until somebody asks, as the system itself does
 * with signals that are blocked. */
#include "binding.h"
#include <signal.h>
#include <string.h>

enum { SIGNALS_MAX = 16, NUMBER_MAX = 65 };

typedef struct watcher watcher;

typedef struct watched {
    uv_signal_t uv;
    watcher *watcher;
    int number;
    int started;
} watched;

struct watcher {
    ab_box *box;
    ab_closer closer;
    int refs;  /* the Lua object, the open handles, the op that waits */
    int count; /* signals */
    int open;  /* handles that are not yet gone */
    int closed;
    ab_op *waiter;
    int pending[SIGNALS_MAX]; /* numbers, the oldest first */
    int pending_count;
    watched signals[SIGNALS_MAX];
};

typedef struct signal_op {
    ab_op op;
    watcher *watcher;
} signal_op;

static const ab_class watcher_class;

static int start_signal(watched *w, uv_signal_cb on_signal)
{
    ab_sigkeep_begin(w->number);
    int err = uv_signal_start(&w->uv, on_signal, w->number);
    if (err)
        ab_sigkeep_end(w->number);
    w->started = err == 0;
    return err;
}

static void stop_signal(watched *w)
{
    if (!w->started)
        return;
    w->started = 0;
    uv_signal_stop(&w->uv);
    ab_sigkeep_end(w->number);
}

/* ---- life ---- */

static void unref(watcher *w)
{
    if (--w->refs == 0)
        ab_box_free(w->box, w, sizeof *w);
}

static void on_closed(uv_handle_t *handle)
{
    watched *s = ab_container(handle, watched, uv);
    watcher *w = s->watcher;
    if (--w->open)
        return;
    w->box->live_handles--;
    unref(w);
}

static void watcher_close(watcher *w)
{
    if (w->closed)
        return;
    w->closed = 1;
    ab_list_remove(&w->closer.link);
    if (w->waiter && !w->waiter->finished)
        ab_op_finish(w->waiter, ASYNCBOX_ECLOSED);
    for (int i = 0; i < w->open; i++) {
        stop_signal(&w->signals[i]);
        uv_close((uv_handle_t *)&w->signals[i].uv, on_closed);
    }
}

static void on_box_close(ab_closer *closer)
{
    watcher_close(ab_container(closer, watcher, closer));
}

static void on_signal(uv_signal_t *handle, int number)
{
    watcher *w = ab_container(handle, watched, uv)->watcher;
    if (w->closed)
        return;
    for (int i = 0; i < w->pending_count; i++)
        if (w->pending[i] == number)
            return;
    w->pending[w->pending_count++] = number;
    if (w->waiter && !w->waiter->finished)
        ab_op_finish(w->waiter, 0);
}

static int watcher_open(watcher *w)
{
    int err = 0;
    w->refs++;
    w->box->live_handles++;
    w->closer.close = on_box_close;
    ab_list_append(&w->box->closers, &w->closer.link);
    for (int i = 0; i < w->count && !err; i++) {
        watched *s = &w->signals[i];
        s->watcher = w;
        err = uv_signal_init(&w->box->loop.uv, &s->uv);
        if (err)
            break;
        w->open++;
        err = start_signal(s, on_signal);
    }
    if (err && !w->open) {
        w->closed = 1;
        ab_list_remove(&w->closer.link);
        w->box->live_handles--;
        unref(w);
    } else if (err) {
        watcher_close(w);
    }
    return err;
}

/* ---- arguments ---- */

/* These are libuv's, the debugger's, or cannot be caught in any useful way. */
static int is_refused(int number)
{
    static const int refused[] = {SIGCHLD, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,
                                  SIGFPE,  SIGILL,  SIGTRAP, SIGABRT, SIGSYS};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (refused[i] == number)
            return 1;
    return 0;
}

static void check_signals(lua_State *L, watcher *w)
{
    int n = lua_gettop(L) - 1; /* the object is on top */
    for (int arg = 1; arg <= n; arg++) {
        if (lua_type(L, arg) != LUA_TSTRING)
            luaL_typeerror(L, arg, "name of a signal");
        size_t len;
        const char *name = lua_tolstring(L, arg, &len);
        int number = strlen(name) == len ? ab_signum_of(name) : 0;
        int known = 0;
        if (!number || number >= NUMBER_MAX || is_refused(number)) {
            lua_pushfstring(
                L, number ? "%s cannot be waited for" : "unknown signal '%s'",
                name);
            luaL_argerror(L, arg, lua_tostring(L, -1));
        }
        for (int i = 0; i < w->count; i++)
            known |= w->signals[i].number == number;
        if (known)
            continue;
        luaL_argcheck(L, w->count < SIGNALS_MAX, arg, "at most 16 signals");
        w->signals[w->count++].number = number;
    }
}

/* Pushes a watcher for the arguments. */
static watcher *make(lua_State *L, const char *what)
{
    ab_box *box = ab_box_of(L);
    luaL_argcheck(L, lua_gettop(L) >= 1, 1, "name of a signal expected");
    if (box->sandbox)
        ab_grants_deny(L, what, NULL, NULL,
                       "signals belong to the program that runs the sandbox");
    if (box->closing)
        ab_error_raise(L, ASYNCBOX_ECLOSED,
                       &(ab_detail){what, "the box is closing", 0, 0});
    watcher **object = ab_object_new(L, &watcher_class, sizeof *object, 0);
    watcher *w = ab_box_alloc_or_raise(L, sizeof *w);
    memset(w, 0, sizeof *w);
    w->box = box;
    w->refs = 1;
    w->closed = 1; /* until it is open */
    *object = w;
    check_signals(L, w);
    w->closed = 0;
    int err = watcher_open(w);
    if (err)
        ab_error_raise(L, err, &(ab_detail){what, 0, 0, 0});
    return w;
}

/* ---- waiting ---- */

static int give(lua_State *L, watcher *w)
{
    int number = w->pending[0];
    w->pending_count--;
    memmove(w->pending, w->pending + 1,
            (size_t)w->pending_count * sizeof *w->pending);
    lua_pushstring(L, ab_signum_name(number));
    return 1;
}

/* Nobody else can have taken the signal: there is one waiter. */
static int next_push(lua_State *L, ab_op *op)
{
    watcher *w = ((signal_op *)op)->watcher;
    if (w->waiter == op)
        w->waiter = NULL;
    if (op->status < 0)
        lua_pushnil(L); /* closed: the end of the iteration */
    else
        give(L, w);
    return 1;
}

static int wait_push(lua_State *L, ab_op *op)
{
    watcher *w = ((signal_op *)op)->watcher;
    int n = next_push(L, op);
    watcher_close(w);
    return n;
}

static void op_cancel(ab_op *op)
{
    watcher *w = ((signal_op *)op)->watcher;
    if (w->waiter == op)
        w->waiter = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

static void op_drop(ab_op *op)
{
    watcher *w = ((signal_op *)op)->watcher;
    if (!w)
        return;
    if (w->waiter == op)
        w->waiter = NULL;
    unref(w);
}

/* wait's watcher is nobody else's: it goes with the wait. */
static void wait_drop(ab_op *op)
{
    watcher *w = ((signal_op *)op)->watcher;
    if (w)
        watcher_close(w);
    op_drop(op);
}

static const ab_op_type next_type = {
    .name = "signal.iter",
    .size = sizeof(signal_op),
    .flags = AB_OP_EXTERNAL,
    .push = next_push,
    .cancel = op_cancel,
    .drop = op_drop,
};

static const ab_op_type wait_type = {
    .name = "signal.wait",
    .size = sizeof(signal_op),
    .flags = AB_OP_EXTERNAL,
    .push = wait_push,
    .cancel = op_cancel,
    .drop = wait_drop,
};

static int park(lua_State *L, watcher *w, const ab_op_type *type)
{
    signal_op *o = (signal_op *)ab_op_new(L, type);
    o->watcher = w;
    w->refs++;
    w->waiter = &o->op;
    return ab_task_park(L, &o->op);
}

/* ---- functions ---- */

static int l_wait(lua_State *L)
{
    ab_task_check(L, wait_type.name);
    return park(L, make(L, wait_type.name), &wait_type);
}

/* for name in signal.iter(...): the watcher is what the loop calls and what it
 * closes at its end. */
static int l_iter(lua_State *L)
{
    make(L, next_type.name);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -3);
    return 4;
}

static watcher *self_of(lua_State *L)
{
    watcher *w = *(watcher **)ab_self(L, &watcher_class);
    if (!w) /* a finalizer of the script got hold of it */
        luaL_error(L, "attempt to use a signal iterator that was collected");
    return w;
}

static int l_next(lua_State *L)
{
    ab_task_check(L, next_type.name);
    watcher *w = self_of(L);
    if (w->waiter)
        return ab_error_raise(L, UV_EBUSY,
                              &(ab_detail){next_type.name,
                                           "another task is waiting for it", 0,
                                           0});
    if (w->closed) {
        lua_pushnil(L);
        return 1;
    }
    return w->pending_count ? give(L, w) : park(L, w, &next_type);
}

static int l_close(lua_State *L)
{
    watcher_close(self_of(L));
    return 0;
}

static int l_gc(lua_State *L)
{
    watcher **object = ab_self(L, &watcher_class);
    watcher *w = *object;
    if (w) {
        *object = NULL;
        watcher_close(w);
        unref(w);
    }
    return 0;
}

static const luaL_Reg methods[] = {
    {"close", l_close}, {"next", l_next}, {NULL, NULL}};
static const luaL_Reg metas[] = {
    {"__call", l_next}, {"__close", l_close}, {"__gc", l_gc}, {NULL, NULL}};
static const ab_class watcher_class = {"Signals", methods, metas};

static const luaL_Reg functions[] = {
    {"iter", l_iter}, {"wait", l_wait}, {NULL, NULL}};

int ab_open_signal(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
