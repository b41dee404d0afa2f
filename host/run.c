/* run.c - the loop of a box: batches of tasks, deadlines, the kernel, and what
 * happens when nothing is left to wait for. */
#include "box.h"
#include "error.h"
#include "report.h"
#include "sched_wake.h"

/* The kernel is asked this often while tasks are ready. */
enum { POLL_NS = 100000 };

/* A script that catches EDEADLK may run into another; not for ever. */
enum { DEADLOCKS_MAX = 10 };

/* Reports the failed task whose userdata is on top of box->L (popped). */
static void report_lost(ab_box *box, ab_task *task)
{
    ab_report_failure(box->L, -1);
    ab_task_taken(task);
    box->failed = 1;
    lua_pop(box->L, 1);
}

/* A main chunk that failed takes the rest of the script with it. */
static void look_at_main(ab_box *box)
{
    box->main_ended = 0;
    lua_rawgeti(box->L, LUA_REGISTRYINDEX, box->main_ref);
    ab_task *task = lua_touserdata(box->L, -1);
    if (!(task->flags & AB_TASK_FAILED)) {
        lua_pop(box->L, 1);
        return;
    }
    if (box->stopped || box->exiting) /* asked to: it is no news */
        ab_task_taken(task);
    if (task->flags & AB_TASK_TAKEN)
        lua_pop(box->L, 1);
    else
        report_lost(box, task);
    if (!box->cancelling)
        ab_sched_cancel_all(box);
}

static void break_one(ab_task *task, void *arg)
{
    (void)arg;
    if (task->state == AB_TASK_PARKED)
        ab_sched_break(task, ASYNCBOX_EDEADLK);
}

/* Nothing is ready, nothing is pending, tasks wait: say so once, let the main
 * task know; if it makes no difference, everything is cancelled. */
static void deadlock(ab_box *box)
{
    int again = box->resumes < box->deadlock_resumes + 64 &&
                ++box->deadlocks > DEADLOCKS_MAX;
    box->deadlock_resumes = box->resumes;
    ab_report_deadlock(box);
    lua_rawgeti(box->L, LUA_REGISTRYINDEX, box->main_ref);
    ab_task *main = lua_touserdata(box->L, -1);
    lua_pop(box->L, 1);
    if (!again && main && main->state == AB_TASK_PARKED) {
        ab_sched_break(main, ASYNCBOX_EDEADLK);
        return;
    }
    box->failed = 1;
    if (box->cancelling)
        ab_sched_each(box, break_one, NULL);
    else
        ab_sched_cancel_all(box);
}

static void look_at_interrupt(ab_box *box)
{
    if (!atomic_exchange(&box->interrupted, 0))
        return;
    box->stopped = 1;
    ab_sched_cancel_all(box);
}

/* Before the box falls asleep: errors of tasks that nobody holds any more are
 * reported now (by their finalizers), not when the collector happens to come
 * by.  Collecting takes time: at most a twentieth of it goes there. */
static void look_for_lost(ab_box *box)
{
    int64_t start = ab_loop_real_now();
    if (!box->failures_new || start < box->collect_after)
        return;
    box->failures_new = 0;
    lua_gc(box->L, LUA_GCCOLLECT);
    int64_t end = ab_loop_real_now();
    box->collect_after = end + 20 * (end - start);
}

/* One round; never waits unless `block`. */
static void turn(ab_box *box, int block)
{
    if (box->ready_first) {
        ab_sched_batch(box);
        ab_outputs_turn(&box->outputs);
        look_at_interrupt(box);
        if (box->main_ended)
            look_at_main(box);
        ab_sched_expire(box);
        if (uv_loop_alive(&box->loop.uv) &&
            ab_loop_real_now() - box->loop.polled_ns > POLL_NS)
            ab_loop_poll(&box->loop);
        return;
    }
    look_at_interrupt(box);
    if (box->ready_first)
        return;
    if (block)
        look_for_lost(box);
    int64_t deadline = ab_sched_deadline(box);
    int external = box->external > 0;
    if (deadline < 0 && !external)
        deadlock(box);
    else if (block || (box->loop.is_virtual && !external))
        ab_loop_wait(&box->loop, deadline, external);
    else
        ab_loop_poll(&box->loop);
    ab_sched_expire(box);
}

/* Everything has ended: what was never looked at is reported. */
static void finish(ab_box *box)
{
    if (box->main_ended)
        look_at_main(box);
    lua_gc(box->L, LUA_GCCOLLECT); /* finalizers report what was dropped */
    while (box->failures) {
        ab_task *task = box->failures;
        lua_rawgeti(box->L, LUA_REGISTRYINDEX, box->failures_ref);
        lua_rawgetp(box->L, -1, task);
        lua_remove(box->L, -2);
        if (lua_isnil(box->L, -1)) { /* there was no memory to note it */
            lua_pop(box->L, 1);
            ab_task_taken(task);
            box->failed = 1;
            ab_report_no_memory(box);
            continue;
        }
        report_lost(box, task);
    }
    ab_outputs_turn(&box->outputs);
}

static int outcome(const ab_box *box)
{
    if (box->exiting)
        return ASYNCBOX_EEXIT;
    if (box->stopped)
        return UV_EINTR;
    return box->failed ? ASYNCBOX_ESCRIPT : 0;
}

int ab_box_run(ab_box *box)
{
    if (box->inside)
        return UV_EBUSY;
    box->inside = 1;
    while (box->tasks && !box->exiting)
        turn(box, 1);
    if (!box->exiting)
        finish(box);
    box->inside = 0;
    return outcome(box);
}

int ab_box_step(ab_box *box, uint64_t budget_ns)
{
    if (box->inside)
        return UV_EBUSY;
    box->inside = 1;
    int64_t now = ab_loop_real_now(), end = INT64_MAX;
    if (budget_ns < (uint64_t)(end - now))
        end = now + (int64_t)budget_ns;
    ab_loop_poll(&box->loop);
    ab_sched_expire(box);
    while (box->tasks && !box->exiting) {
        turn(box, 0);
        if (!box->ready_first || ab_loop_real_now() >= end)
            break;
    }
    int left = box->tasks && !box->exiting;
    if (!left && !box->exiting)
        finish(box);
    box->inside = 0;
    return left ? 1 : outcome(box);
}
