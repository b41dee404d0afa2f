/* park.c - how a task waits: the check before, the suspension, going on. */
#include "box.h"
#include "error.h"
#include "report.h"
#include "sched_wake.h"
#include <string.h>

/* ---- may it wait? ---- */

/* Pushes the name of the C function that keeps `of` from being suspended; 0 and
 * nothing when it has none. */
static int push_blocker(lua_State *L, lua_State *of)
{
    lua_Debug ar;
    /* Level 0 is the function that waits, or the one that resumed. */
    for (int level = 1; lua_getstack(of, level, &ar); level++) {
        lua_getinfo(of, "Sn", &ar);
        if (ar.namewhat && strcmp(ar.namewhat, "metamethod") == 0 && ar.name &&
            strcmp(ar.name, "__gc") == 0) {
            lua_pushliteral(L, "a __gc finalizer");
            return 1;
        }
        if (strcmp(ar.what, "C") != 0)
            continue;
        lua_getinfo(of, "f", &ar);
        if (of != L)
            lua_xmove(of, L, 1);
        int yieldable = ab_report_yieldable(L, -1);
        if (yieldable) {
            lua_pop(L, 1);
            continue;
        }
        if (ab_report_function_name(L, -1)) {
            lua_remove(L, -2);
            return 1;
        }
        lua_pop(L, 1);
        lua_Debug below;
        if (!lua_getstack(of, level + 1, &below) &&
            ab_co_flags(of) & AB_CO_TASK)
            return 0; /* the body of a task */
        lua_pushstring(L, ar.name ? ar.name : "a C function");
        return 1;
    }
    return 0;
}

static int refuse_text(lua_State *L, const char *format, const char *what)
{
    ab_report_where(L);
    lua_pushfstring(L, format, what);
    lua_concat(L, 2);
    return lua_error(L);
}

/* A C function lies in between that cannot be suspended: names it. */
static int refuse_blocked(lua_State *L, const ab_box *box, const char *what)
{
    lua_State *of = L;
    const ab_nest *n = box->nest;
    while (lua_isyieldable(of) || !push_blocker(L, of)) {
        if (!n || n->blocked == AB_NEST_CLOSE) {
            lua_pushstring(L, n ? "coroutine.close, or a generator that failed"
                                : "a message handler");
            break;
        }
        of = n->from;
        n = n->outer;
    }
    lua_pushfstring(L, "%s: cannot wait inside %s", what, lua_tostring(L, -1));
    return refuse_text(L, "%s: it calls back from C and cannot be suspended",
                       lua_tostring(L, -1));
}

static int cancelled(lua_State *L, int status, lua_KContext what)
{
    (void)status;
    return ab_error_raise(L, UV_ECANCELED,
                          &(ab_detail){(const char *)what, 0, 0, 0});
}

static int refuse(lua_State *L, ab_box *box, const char *what)
{
    ab_task *task = box->current;
    if (box->closing)
        return ab_error_raise(
            L, ASYNCBOX_ECLOSED,
            &(ab_detail){what, "cannot wait any more: the box is closing", 0,
                         0});
    if (!task)
        return refuse_text(L, "%s: cannot wait here: this is not a task", what);
    if (task->state != AB_TASK_RUNNING || L != box->running)
        return refuse_text(L,
                           "%s: cannot wait here: this coroutine is run by a "
                           "C module, not by asyncbox",
                           what);
    if (!lua_isyieldable(L) || (box->nest && box->nest->blocked))
        return refuse_blocked(L, box, what);
    if (!(task->flags & AB_TASK_RAISED)) {
        task->flags |= AB_TASK_RAISED;
        return cancelled(L, LUA_OK, (lua_KContext)what);
    }
    /* A loop that catches everything and waits again must not keep the others
     * from running: it gets its error in another turn. */
    ab_sched_wake(task);
    return lua_yieldk(L, 0, (lua_KContext)what, cancelled);
}

ab_task *ab_task_current(lua_State *L) { return ab_box_of(L)->current; }

ab_task *ab_task_check(lua_State *L, const char *what)
{
    ab_box *box = ab_box_of(L);
    ab_task *task = box->current;
    if (!task || box->closing || L != box->running ||
        task->state != AB_TASK_RUNNING || !lua_isyieldable(L) ||
        (box->nest && box->nest->blocked) || task->flags & AB_TASK_INTERRUPT)
        refuse(L, box, what);
    return task;
}

/* ---- waiting ---- */

/* Raises what ab_sched_break left for the task. */
static int raise_broken(lua_State *L, ab_task *task, const char *what)
{
    int code = task->wait.code;
    task->flags &= (uint16_t)~AB_TASK_RAISE;
    return ab_error_raise(L, code, &(ab_detail){what, 0, 0, 0});
}

/* A coroutine goes on although its wait is not over: only a C module can do
 * this, by resuming what is not its own. */
static void check_resumed(lua_State *L, const ab_box *box)
{
    if (!box->current || box->current->state != AB_TASK_RUNNING ||
        L != box->running)
        luaL_error(L, "a coroutine that waits was resumed by a C module");
}

static int parked(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    ab_box *box = ab_box_of(L);
    check_resumed(L, box);
    ab_task *task = box->current;
    const ab_op_type *type = (const ab_op_type *)ctx;
    if (task->flags & AB_TASK_RAISE)
        return raise_broken(L, task, type->name);
    ab_op *op = task->wait.op;
    if (task->kind != AB_WAIT_OP || op->type != type)
        return luaL_error(L, "%s: the wait was lost", type->name);
    task->kind = AB_WAIT_NONE;
    task->wait.op = NULL;
    lua_KFunction k = op->k;
    lua_KContext kctx = op->ctx;
    ab_sched_spend(box, op); /* freed even if push raises */
    int n = type->push(L, op);
    ab_sched_reap(box);
    return k ? k(L, LUA_YIELD, kctx) : n;
}

int ab_task_parkk(lua_State *L, ab_op *op, lua_KContext ctx, lua_KFunction k)
{
    ab_box *box = op->box;
    ab_task *task = box->current;
    op->task = task;
    op->ctx = ctx;
    op->k = k;
    task->kind = AB_WAIT_OP;
    task->wait.op = op;
    task->state = AB_TASK_PARKED;
    if (op->type->flags & AB_OP_EXTERNAL)
        box->external++;
    if (op->finished)
        ab_sched_wake(task);
    return lua_yieldk(L, 0, (lua_KContext)op->type, parked);
}

int ab_task_park(lua_State *L, ab_op *op)
{
    return ab_task_parkk(L, op, 0, NULL);
}

static int slept(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    ab_box *box = ab_box_of(L);
    check_resumed(L, box);
    ab_task *task = box->current;
    if (task->flags & AB_TASK_RAISE)
        return raise_broken(L, task, "sleep");
    task->kind = AB_WAIT_NONE;
    return 0;
}

int ab_task_sleep(lua_State *L, int64_t ns)
{
    ab_box *box = ab_box_of(L);
    ab_task *task = box->current;
    if (ns > 0) {
        if (ab_timers_reserve(&box->loop.timers))
            return ab_error_raise(L, UV_ENOMEM, &(ab_detail){"sleep", 0, 0, 0});
        task->wait.seq = ab_timers_add(
            &box->loop.timers, ab_loop_now(&box->loop) + ns, task->slot);
        task->kind = AB_WAIT_SLEEP;
        task->state = AB_TASK_PARKED;
    } else {
        ab_sched_wake(task);
    }
    return lua_yieldk(L, 0, 0, slept);
}

/* ---- tasks that wait for tasks ---- */

static int joined(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    ab_box *box = ab_box_of(L);
    check_resumed(L, box);
    ab_task *task = box->current;
    if (task->flags & AB_TASK_RAISE)
        return raise_broken(L, task, "await");
    task->kind = AB_WAIT_NONE;
    return ab_task_results(L, (int)ctx);
}

int ab_task_join(lua_State *L, int idx)
{
    ab_box *box = ab_box_of(L);
    ab_task *task = box->current, *target = lua_touserdata(L, idx);
    idx = lua_absindex(L, idx);
    if (target->state == AB_TASK_DEAD)
        return ab_task_results(L, idx);
    if (target == task)
        return luaL_error(L, "await: a task cannot wait for itself");
    if (ab_task_watch_task(target, task))
        return ab_error_raise(L, UV_ENOMEM, &(ab_detail){"await", 0, 0, 0});
    task->kind = AB_WAIT_JOIN;
    task->wait.joined = target;
    task->state = AB_TASK_PARKED;
    return lua_yieldk(L, 0, idx, joined);
}
