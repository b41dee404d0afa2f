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
    ab_iter iter;
    int count;                /* signals */
    int open;                 /* handles that are not yet gone */
    int pending[SIGNALS_MAX]; /* numbers, the oldest first */
    int pending_count;
    watched signals[SIGNALS_MAX];
};

static const ab_iter_type watcher_type;

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

static void on_closed(uv_handle_t *handle)
{
    watched *s = ab_container(handle, watched, uv);
    watcher *w = s->watcher;
    if (--w->open)
        return;
    w->iter.box->live_handles--;
    ab_iter_unref(&w->iter);
}

static void watcher_close(ab_iter *iter)
{
    watcher *w = (watcher *)iter;
    for (int i = 0; i < w->open; i++) {
        stop_signal(&w->signals[i]);
        uv_close((uv_handle_t *)&w->signals[i].uv, on_closed);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    watcher *w = ab_container(handle, watched, uv)->watcher;
    if (w->iter.closed)
        return;
    for (int i = 0; i < w->pending_count; i++)
        if (w->pending[i] == number)
            return;
    w->pending[w->pending_count++] = number;
    ab_iter_wake(&w->iter, 0);
}

static int watcher_open(watcher *w)
{
    int err = 0;
    for (int i = 0; i < w->count && !err; i++) {
        watched *s = &w->signals[i];
        s->watcher = w;
        err = uv_signal_init(&w->iter.box->loop.uv, &s->uv);
        if (err)
            break;
        w->open++;
        err = start_signal(s, on_signal);
    }
    if (w->open) { /* closed by on_closed of the last */
        w->iter.refs++;
        w->iter.box->live_handles++;
        ab_iter_open(&w->iter);
    }
    if (err)
        ab_iter_close(&w->iter);
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
    watcher *w = (watcher *)ab_iter_new(L, &watcher_type);
    check_signals(L, w);
    int err = watcher_open(w);
    if (err)
        ab_error_raise(L, err, &(ab_detail){what, 0, 0, 0});
    return w;
}

/* ---- waiting ---- */

static int is_pending(const ab_iter *iter)
{
    return ((const watcher *)iter)->pending_count > 0;
}

static int give(lua_State *L, ab_iter *iter)
{
    watcher *w = (watcher *)iter;
    int number = w->pending[0];
    w->pending_count--;
    memmove(w->pending, w->pending + 1,
            (size_t)w->pending_count * sizeof *w->pending);
    lua_pushstring(L, ab_signum_name(number));
    return 1;
}

static int wait_push(lua_State *L, ab_op *op)
{
    ab_iter *iter = ((ab_iter_op *)op)->iter;
    int n = ab_iter_push(L, op);
    ab_iter_close(iter);
    return n;
}

/* wait's watcher is nobody else's: it goes with the wait. */
static void wait_drop(ab_op *op)
{
    ab_iter *iter = ((ab_iter_op *)op)->iter;
    if (iter)
        ab_iter_close(iter);
    ab_iter_drop(op);
}

static const ab_op_type next_type = {
    .name = "signal.iter",
    .size = sizeof(ab_iter_op),
    .flags = AB_OP_EXTERNAL,
    .push = ab_iter_push,
    .cancel = ab_iter_cancel,
    .drop = ab_iter_drop,
};

static const ab_op_type wait_type = {
    .name = "signal.wait",
    .size = sizeof(ab_iter_op),
    .flags = AB_OP_EXTERNAL,
    .push = wait_push,
    .cancel = ab_iter_cancel,
    .drop = wait_drop,
};

static const ab_class watcher_class = {"Signals", ab_iter_methods,
                                       ab_iter_metas};

static const ab_iter_type watcher_type = {
    .cls = &watcher_class,
    .bytes = sizeof(watcher),
    .op = &next_type,
    .ready = is_pending,
    .give = give,
    .close = watcher_close,
};

/* ---- functions ---- */

static int l_wait(lua_State *L)
{
    ab_task_check(L, wait_type.name);
    return ab_iter_park(L, &make(L, wait_type.name)->iter, &wait_type);
}

static int l_iter(lua_State *L)
{
    make(L, next_type.name);
    return ab_iter_for(L);
}

static const luaL_Reg functions[] = {
    {"iter", l_iter}, {"wait", l_wait}, {NULL, NULL}};

int ab_open_signal(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
