/* process.c - child processes: waited for, signalled, ended, always reaped. */
#include "process.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

extern const char ab_lua_process[];
extern const size_t ab_lua_process_len;

/* How long a box that closes waits for a child that was asked to end: it holds
 * up whoever closes the box. */
#define CLOSE_GRACE_NS ((int64_t)200 * 1000000)

typedef struct wait_op {
    ab_op op;
    ab_link link; /* in process->waiters */
    ab_process *process;
} wait_op;

/* ---- life ---- */

ab_process *ab_process_new(lua_State *L)
{
    ab_process **object =
        ab_object_new(L, &ab_process_class, sizeof *object, 3);
    ab_process *p = ab_box_alloc_or_raise(L, sizeof *p);
    memset(p, 0, sizeof *p);
    p->box = ab_box_of(L);
    p->refs = 1;
    p->link = -1;
    ab_list_init(&p->waiters);
    *object = p;
    return p;
}

static void unref(ab_process *p)
{
    if (--p->refs == 0)
        ab_box_free(p->box, p, sizeof *p);
}

void ab_process_close_link(ab_process *p)
{
    if (p->link >= 0)
        close(p->link);
    p->link = -1;
}

static void on_handle_closed(uv_handle_t *handle)
{
    ab_process *p = handle->data;
    if (--p->handles)
        return;
    p->box->live_handles--;
    unref(p);
}

static void close_handles(ab_process *p)
{
    p->running = 0;
    ab_list_remove(&p->closer.link);
    p->handles = 1 + ab_child_close(&p->child, on_handle_closed);
    uv_close((uv_handle_t *)&p->timer, on_handle_closed);
}

static int send_signal(const ab_process *p, int number)
{
    return uv_kill(p->group ? -p->child.pid : p->child.pid, number);
}

static void on_child_end(ab_child *child, int64_t status, int number)
{
    ab_process *p = ab_container(child, ab_process, child);
    p->status = status;
    p->signal = number;
    if (p->forced && p->group)
        send_signal(p, SIGKILL); /* who joined the group in between */
    close_handles(p);
    for (ab_link *link; (link = ab_list_first(&p->waiters));) {
        wait_op *wait = ab_container(link, wait_op, link);
        ab_list_remove(link);
        ab_op_finish(&wait->op, 0);
    }
}

static void on_grace_over(uv_timer_t *timer)
{
    ab_process *p = timer->data;
    p->forced = 1;
    send_signal(p, SIGKILL);
}

/* SIGTERM now, SIGKILL when it has not ended after the grace. */
static void end_child(ab_process *p, int64_t grace_ns)
{
    if (!p->running)
        return;
    uint64_t ms = (uint64_t)((grace_ns + 999999) / 1000000);
    uv_update_time(&p->box->loop.uv);
    if (!p->ending)
        send_signal(p, SIGTERM);
    else if (uv_timer_get_due_in(&p->timer) <= ms)
        return;
    p->ending = 1;
    uv_timer_start(&p->timer, on_grace_over, ms, 0);
}

static void on_box_close(ab_closer *closer)
{
    ab_process *p = ab_container(closer, ab_process, closer);
    int64_t grace = p->grace_ns;
    end_child(p, grace < CLOSE_GRACE_NS ? grace : CLOSE_GRACE_NS);
}

int ab_process_start(ab_process *p, const ab_child_plan *plan)
{
    uv_loop_t *loop = &p->box->loop.uv;
    uv_timer_init(loop, &p->timer);
    p->child.handle.any.data = p->timer.data = p;
    p->refs++;
    p->box->live_handles++;
    int err = ab_child_start(&p->child, loop, plan, on_child_end);
    if (err) {
        close_handles(p);
        return err;
    }
    p->running = 1;
    p->closer.close = on_box_close;
    ab_list_append(&p->box->closers, &p->closer.link);
    return 0;
}

/* ---- methods ---- */

static ab_process *self_of(lua_State *L)
{
    ab_process *p = *(ab_process **)ab_self(L, &ab_process_class);
    if (!p) /* a finalizer of the script got hold of it */
        luaL_error(L, "attempt to use a process that was collected");
    return p;
}

static int push_status(lua_State *L, const ab_process *p)
{
    if (!p->signal) {
        lua_pushinteger(L, (lua_Integer)p->status);
        lua_pushnil(L);
        return 2;
    }
    const char *name = ab_signum_name(p->signal);
    lua_pushinteger(L, 128 + p->signal);
    if (name)
        lua_pushstring(L, name);
    else
        lua_pushfstring(L, "SIG%d", p->signal);
    return 2;
}

static int wait_push(lua_State *L, ab_op *op)
{
    return push_status(L, ((wait_op *)op)->process);
}

static void wait_cancel(ab_op *op)
{
    ab_list_remove(&((wait_op *)op)->link);
    ab_op_finish(op, UV_ECANCELED);
}

static void wait_drop(ab_op *op)
{
    wait_op *wait = (wait_op *)op;
    ab_list_remove(&wait->link);
    if (wait->process)
        unref(wait->process);
}

#define WAIT_TYPE(variable, text)                                              \
    static const ab_op_type variable = {.name = (text),                        \
                                        .size = sizeof(wait_op),               \
                                        .flags = AB_OP_EXTERNAL,               \
                                        .push = wait_push,                     \
                                        .cancel = wait_cancel,                 \
                                        .drop = wait_drop}

WAIT_TYPE(wait_type, "process:wait");
WAIT_TYPE(stop_type, "process:stop");
WAIT_TYPE(close_type, "process:close");

static int wait_for(lua_State *L, ab_process *p, const ab_op_type *type,
                    lua_KContext ctx, lua_KFunction k)
{
    wait_op *wait = (wait_op *)ab_op_new(L, type);
    wait->process = p;
    p->refs++;
    ab_list_append(&p->waiters, &wait->link);
    return ab_task_parkk(L, &wait->op, ctx, k);
}

static int l_wait(lua_State *L)
{
    ab_task_check(L, wait_type.name);
    ab_process *p = self_of(L);
    return p->running ? wait_for(L, p, &wait_type, 0, NULL) : push_status(L, p);
}

static int l_stop(lua_State *L)
{
    ab_task_check(L, stop_type.name);
    ab_process *p = self_of(L);
    int64_t grace =
        lua_isnoneornil(L, 2) ? p->grace_ns : ab_check_seconds(L, 2, "grace");
    end_child(p, grace);
    return p->running ? wait_for(L, p, &stop_type, 0, NULL) : push_status(L, p);
}

static int check_signal(lua_State *L, int arg)
{
    if (lua_isnoneornil(L, arg))
        return SIGTERM;
    if (lua_type(L, arg) == LUA_TNUMBER) {
        lua_Integer n = luaL_checkinteger(L, arg);
        luaL_argcheck(L, n >= 0 && n <= 64, arg,
                      "a signal is a number from 0 to 64 or a name");
        return (int)n;
    }
    size_t len;
    const char *name = luaL_checklstring(L, arg, &len);
    int number = strlen(name) == len ? ab_signum_of(name) : 0;
    if (!number) {
        lua_pushfstring(L, "unknown signal '%s'", name);
        luaL_argerror(L, arg, lua_tostring(L, -1));
    }
    return number;
}

static int l_kill(lua_State *L)
{
    ab_process *p = self_of(L);
    int number = check_signal(L, 2);
    int err = p->running ? send_signal(p, number) : UV_ESRCH;
    if (err && err != UV_ESRCH)
        return ab_error_raise(L, err, &(ab_detail){"process:kill", 0, 0, 0});
    lua_pushboolean(L, err == 0);
    return 1;
}

/* ---- the end of a <close> variable ---- */

/* Closes the child's streams; while it may still have something to say on the
 * way out (`ending`), that goes nowhere, but is no SIGPIPE. */
static void close_streams(lua_State *L, int ending)
{
    for (int i = 1; i <= 3; i++) {
        lua_getiuservalue(L, 1, i);
        ab_stream *s = ab_stream_test(L, -1);
        lua_pop(L, 1);
        if (s && ending && i > 1)
            ab_stream_discard(s);
        else if (s)
            ab_stream_end(s);
    }
}

static int close_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    ab_scope_leave((ab_scope *)ctx);
    close_streams(L, 0);
    return 0;
}

/* Ends the child, and waits for that also when the task is cancelled: the grace
 * bounds it.  Where it may not wait at all the child ends by itself. */
static int l_close_variable(lua_State *L)
{
    ab_process *p = self_of(L);
    ab_task *task = ab_task_current(L);
    ab_process_close_link(p); /* the next in the pipeline never came */
    close_streams(L, p->running && !p->box->closing);
    end_child(p, p->grace_ns);
    if (!p->running || !task || p->box->closing)
        return 0;
    ab_scope *scope = ab_scope_enter(task, AB_SCOPE_PLAIN, 1);
    if (!scope)
        return 0;
    if (!ab_may_wait(L)) {
        ab_scope_leave(scope);
        return 0;
    }
    return wait_for(L, p, &close_type, (lua_KContext)scope, close_done);
}

static int l_gc(lua_State *L)
{
    ab_process *p = ab_object_take(L, &ab_process_class);
    if (p) {
        ab_process_close_link(p);
        unref(p); /* the child goes on, and is reaped */
    }
    return 0;
}

static int l_tostring(lua_State *L)
{
    const ab_process *p = self_of(L);
    lua_pushfstring(L, p->running ? "process (%d)" : "process (%d, ended)",
                    p->child.pid);
    return 1;
}

static const luaL_Reg methods[] = {
    {"kill", l_kill}, {"stop", l_stop}, {"wait", l_wait}, {NULL, NULL}};

static int l_index(lua_State *L)
{
    static const char *const streams[] = {"stdin", "stdout", "stderr"};
    ab_process *p = self_of(L);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    for (int i = 0; i < 3; i++)
        if (strcmp(key, streams[i]) == 0)
            return lua_getiuservalue(L, 1, i + 1), 1;
    if (strcmp(key, "pid") == 0)
        return lua_pushinteger(L, p->child.pid), 1;
    lua_rawgetp(L, lua_upvalueindex(1), methods);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static const luaL_Reg metas[] = {
    {"__index", l_index},       {"__gc", l_gc}, {"__close", l_close_variable},
    {"__tostring", l_tostring}, {NULL, NULL},
};

const ab_class ab_process_class = {"Process", NULL, metas};

/* The methods, which l_index looks up. */
static void make_class(lua_State *L)
{
    ab_class_push(L, &ab_process_class);
    lua_newtable(L);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, methods, 1);
    lua_rawsetp(L, -2, methods);
    lua_pop(L, 1);
}

/* ---- for process.lua ---- */

static ab_process *check_process(lua_State *L, int arg)
{
    ab_process **object = ab_object_test(L, arg, &ab_process_class);
    if (!object || !*object)
        luaL_typeerror(L, arg, "Process");
    return *object;
}

/* stop without waiting */
static int core_end(lua_State *L)
{
    ab_process *p = check_process(L, 1);
    end_child(p, p->grace_ns);
    return 0;
}

static int core_end_when_idle(lua_State *L)
{
    ab_stream *s = ab_stream_test(L, 1);
    if (s)
        ab_stream_end_when_idle(s);
    return 0;
}

/* fail(code, op, message, program): gives the error object. */
static int core_failure(lua_State *L)
{
    static const char *const names[] = {"ESTATUS", "ETIMEDOUT", NULL};
    static const int codes[] = {ASYNCBOX_ESTATUS, UV_ETIMEDOUT};
    int code = codes[luaL_checkoption(L, 1, NULL, names)];
    ab_error_push(L, code,
                  &(ab_detail){luaL_checkstring(L, 2), luaL_checkstring(L, 3),
                               "program", luaL_checkstring(L, 4)});
    return 1;
}

static const luaL_Reg core[] = {
    {"end_when_idle", core_end_when_idle},
    {"finish", core_end},
    {"failure", core_failure},
    {"spawn", ab_process_spawn},
    {NULL, NULL},
};

int ab_open_process(lua_State *L)
{
    make_class(L);
    luaL_newlib(L, core);
    luaL_setfuncs(L, ab_part_options, 0);
    luaL_requiref(L, "asyncbox", ab_open_async, 0);
    ab_lua_part(L, "process", ab_lua_process, ab_lua_process_len, 2, 1);
    return 1;
}
