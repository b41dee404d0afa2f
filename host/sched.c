/* sched.c - the ready queue and the one place that resumes tasks. */
#include "box.h"
#include "report.h"
#include "sched_wake.h"

/* A batch ends after so many turns or so long, and then the kernel is asked.
 * The clock is read every `stride` turns, fewer the longer turns take. */
enum { BATCH_TURNS = 1024, BATCH_NS = 100000, STRIDE_MAX = 32 };

static void enqueue(ab_box *box, ab_task *task)
{
    task->state = AB_TASK_READY;
    task->next = NULL;
    if (box->ready_last)
        box->ready_last->next = task;
    else
        box->ready_first = task;
    box->ready_last = task;
}

static ab_task *dequeue(ab_box *box)
{
    ab_task *task = box->ready_first;
    box->ready_first = task->next;
    if (!box->ready_first)
        box->ready_last = NULL;
    return task;
}

void ab_sched_untime(ab_op *op)
{
    if (!op->timed)
        return;
    op->timed = 0;
    ab_timers_forget(&op->box->loop.timers, ab_sched_timer_alive, op->box);
}

/* Notes that a wait is over: it counts no longer as one that the outside can
 * end. */
static void unpark(ab_task *task)
{
    if (task->kind != AB_WAIT_OP)
        return;
    if (task->wait.op->type->flags & AB_OP_EXTERNAL)
        ab_task_box(task)->external--;
    ab_sched_untime(task->wait.op);
}

void ab_sched_wake(ab_task *task)
{
    if (task->state == AB_TASK_PARKED)
        unpark(task);
    enqueue(ab_task_box(task), task);
}

void ab_sched_break(ab_task *task, int code)
{
    ab_box *box = ab_task_box(task);
    unpark(task);
    ab_wait kind = (ab_wait)task->kind;
    task->kind = AB_WAIT_NONE;
    task->flags |= AB_TASK_RAISE;
    enqueue(box, task);
    ab_op *op = task->wait.op;
    ab_task *joined = task->wait.joined;
    task->wait.code = code;
    if (kind == AB_WAIT_OP) {
        op->task = NULL;
        if (op->type->cancel)
            op->type->cancel(op);
    } else if (kind == AB_WAIT_SLEEP) {
        ab_timers_forget(&box->loop.timers, ab_sched_timer_alive, box);
    } else if (kind == AB_WAIT_JOIN) {
        ab_task_unwatch_task(joined, task);
    }
}

void ab_sched_spend(ab_box *box, ab_op *op)
{
    op->task = NULL;
    ab_list_remove(&op->link);
    ab_list_append(&box->spent, &op->link);
}

void ab_sched_reap(ab_box *box)
{
    for (ab_link *link; (link = ab_list_first(&box->spent));)
        ab_op_free(ab_container(link, ab_op, link));
}

int ab_sched_timer_alive(void *arg, const ab_timer_entry *entry)
{
    ab_box *box = arg;
    if (entry->who & AB_TIMER_SCOPE)
        return ab_scope_timer_alive(box, entry->who & ~AB_TIMER_SCOPE,
                                    entry->seq);
    ab_task *task = ab_task_of_slot(box, entry->who);
    if (!task || task->state != AB_TASK_PARKED)
        return 0;
    if (task->kind == AB_WAIT_OP)
        return task->wait.op->timed && task->wait.op->timer_seq == entry->seq;
    return task->kind == AB_WAIT_SLEEP && task->wait.seq == entry->seq;
}

/* The deadline of a parked task has come, and is out of the heap. */
static void expire_task(ab_task *task)
{
    if (task->kind != AB_WAIT_OP) {
        ab_sched_wake(task);
        return;
    }
    task->wait.op->timed = 0;
    ab_sched_break(task, UV_ETIMEDOUT);
}

void ab_sched_expire(ab_box *box)
{
    ab_timers *timers = &box->loop.timers;
    const ab_timer_entry *first = ab_timers_first(timers);
    if (!first)
        return;
    int64_t now = ab_loop_now(&box->loop);
    for (; first && first->at <= now; first = ab_timers_first(timers)) {
        ab_timer_entry entry = *first;
        ab_timers_pop(timers);
        if (entry.who & AB_TIMER_SCOPE)
            ab_scope_expire(box, entry.who & ~AB_TIMER_SCOPE, entry.seq);
        else if (ab_sched_timer_alive(box, &entry))
            expire_task(ab_task_of_slot(box, entry.who));
        else
            timers->stale--;
    }
}

int64_t ab_sched_deadline(ab_box *box)
{
    ab_timers *timers = &box->loop.timers;
    const ab_timer_entry *first;
    while ((first = ab_timers_first(timers))) {
        if (ab_sched_timer_alive(box, first))
            return first->at;
        ab_timers_pop(timers);
        timers->stale--;
    }
    return -1;
}

static void run_task(ab_box *box, ab_task *task)
{
    lua_State *co = task->co;
    int nargs = 0, n = 0;
    if (!(task->flags & AB_TASK_STARTED)) {
        if (task->flags & AB_TASK_CANCELLED) {
            ab_task_end_unstarted(task);
            return;
        }
        task->flags |= AB_TASK_STARTED;
        nargs = lua_gettop(co) - 1;
    }
    task->state = AB_TASK_RUNNING;
    task->flags &= (uint16_t)~AB_TASK_RAISED;
    box->current = task;
    box->running = co;
    box->nest = NULL;
    int status = lua_resume(co, box->L, nargs, &n);
    box->current = NULL;
    box->running = NULL;
    box->resumes++;
    if (!ab_list_empty(&box->spent))
        ab_sched_reap(box);
    /* What a wait of our own yields (see coro.c) stays where it is. */
    if (status != LUA_YIELD || task->state == AB_TASK_RUNNING)
        ab_task_end(task, co, status, n);
}

int ab_sched_batch(ab_box *box)
{
    int ran = 0, stride = 1, left = 1;
    int64_t last = ab_loop_real_now(), start = last;
    while (box->ready_first && ran < BATCH_TURNS && !box->exiting) {
        run_task(box, dequeue(box));
        ran++;
        if (--left)
            continue;
        int64_t now = ab_loop_real_now();
        if (now - start > BATCH_NS ||
            atomic_load_explicit(&box->interrupted, memory_order_relaxed))
            break;
        /* So many turns fit into a quarter of what is left. */
        int64_t turn = (now - last) / stride + 1, fit = BATCH_NS / 4 / turn;
        stride = fit < 1 ? 1 : fit > STRIDE_MAX ? STRIDE_MAX : (int)fit;
        left = stride;
        last = now;
    }
    return ran;
}

static void cancel_one(ab_task *task, void *arg)
{
    (void)arg;
    ab_task_cancel(task);
}

void ab_sched_cancel_all(ab_box *box)
{
    box->cancelling = 1;
    box->root->ending = 1;
    ab_sched_each(box, cancel_one, NULL);
}

void ab_sched_each(ab_box *box, void (*fn)(ab_task *task, void *arg), void *arg)
{
    for (uint32_t slot = 1; slot <= box->slots; slot++) {
        ab_task *task = ab_task_of_slot(box, slot);
        if (task)
            fn(task, arg);
    }
}
