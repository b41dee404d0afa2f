/* scope.c - see scope.h. */
#include "box.h"
#include "sched_wake.h"
#include <string.h>

static ab_scope *scope_new(ab_box *box)
{
    ab_scope *scope = ab_box_alloc(box, sizeof *scope);
    if (!scope)
        return NULL;
    memset(scope, 0, sizeof *scope);
    scope->box = box;
    scope->serial = ++box->scope_serial;
    scope->set_ref = LUA_NOREF;
    return scope;
}

/* Numbers that are free are chained through the table: the next one (counted
 * from 1, 0: none) shifted, with the lowest bit set to tell it from a scope. */
static void timer_put(ab_box *box, uint32_t id)
{
    box->scope_timers[id] =
        (ab_scope *)((uintptr_t)box->scope_timer_free << 1 | 1);
    box->scope_timer_free = id + 1;
}

static void timer_drop(ab_scope *scope)
{
    if (!scope->timer)
        return;
    timer_put(scope->box, scope->timer - 1);
    scope->timer = 0;
    ab_timers_forget(&scope->box->loop.timers, ab_sched_timer_alive,
                     scope->box);
}

static void scope_free(ab_scope *scope)
{
    ab_box *box = scope->box;
    timer_drop(scope);
    if (box->L)
        luaL_unref(box->L, LUA_REGISTRYINDEX, scope->set_ref);
    ab_box_free(box, scope, sizeof *scope);
}

ab_scope *ab_scope_root(ab_box *box) { return scope_new(box); }

void ab_scope_close_root(ab_box *box)
{
    ab_box_free(box, box->root, sizeof *box->root);
    box->root = NULL;
}

unsigned ab_scope_depth(const ab_task *task)
{
    return task->scope->owner == task ? task->scope->depth : 0;
}

ab_scope *ab_scope_enter(ab_task *task, ab_scope_sort sort, int shield)
{
    ab_scope *scope = scope_new(ab_task_box(task));
    if (!scope)
        return NULL;
    scope->sort = (uint8_t)sort;
    scope->shield = shield != 0;
    scope->owner = task;
    scope->outer = task->scope;
    scope->depth = (uint16_t)(ab_scope_depth(task) + 1);
    task->scope = scope;
    if (shield)
        ab_scope_update(task);
    return scope;
}

/* Takes a scope out of its owner's chain. */
static void scope_detach(ab_scope *scope)
{
    ab_task *owner = scope->owner;
    if (!owner)
        return;
    ab_scope **link = &owner->scope;
    while (*link != scope)
        link = &(*link)->outer;
    *link = scope->outer;
    scope->owner = NULL;
}

void ab_scope_leave(ab_scope *scope)
{
    ab_task *owner = scope->owner;
    scope_detach(scope);
    if (owner)
        ab_scope_update(owner);
    timer_drop(scope);
    scope->left = 1;
    if (scope->members == 0)
        scope_free(scope);
}

/* Takes the task out of its innermost scope; the object of the script's that
 * handles it, if there is one, still holds it. */
static void scope_drop(ab_task *task)
{
    ab_scope *scope = task->scope;
    scope_detach(scope);
    if (!scope->handled)
        ab_scope_leave(scope);
}

void ab_scope_abandon(ab_task *task)
{
    while (task->scope->owner == task)
        scope_drop(task);
}

void ab_scope_rewind(ab_task *task, uint64_t serial)
{
    int dropped = 0;
    for (; task->scope->owner == task && task->scope->serial > serial;
         dropped = 1)
        scope_drop(task);
    if (dropped)
        ab_scope_update(task);
}

/* What is inside: the owner's waits raise ECANCELED. */
static void cancel(ab_scope *scope)
{
    if (scope->cancelled)
        return;
    scope->cancelled = 1;
    if (scope->owner)
        ab_scope_update(scope->owner);
}

void ab_scope_join(ab_scope *scope) { scope->members++; }

void ab_scope_part(ab_scope *scope, int failed)
{
    scope->members--;
    if (failed && scope->sort == AB_SCOPE_GROUP)
        cancel(scope);
    if (scope->idle && (scope->members == 0 || scope->cancelled)) {
        ab_op *idle = scope->idle;
        scope->idle = NULL;
        ab_op_finish(idle, 0);
    }
    if (scope->members == 0 && scope->left)
        scope_free(scope);
}

ab_box *ab_task_box(const ab_task *task) { return task->scope->box; }

ab_scope *ab_scope_home(ab_task *task)
{
    ab_scope *s = task->scope;
    while (s->owner == task && s->sort != AB_SCOPE_RUN)
        s = s->outer;
    return s;
}

static int timer_reserve(ab_box *box)
{
    if (box->scope_timer_free)
        return 1;
    uint32_t old = box->scope_timer_count, count = old ? 2 * old : 8;
    ab_scope **table = ab_box_realloc(
        box, box->scope_timers, old * sizeof *table, count * sizeof *table);
    if (!table)
        return 0;
    box->scope_timers = table;
    box->scope_timer_count = count;
    while (count > old)
        timer_put(box, --count);
    return 1;
}

int ab_scope_deadline(ab_scope *scope, int64_t ns)
{
    ab_box *box = scope->box;
    if (ab_timers_reserve(&box->loop.timers) || !timer_reserve(box))
        return UV_ENOMEM;
    uint32_t id = box->scope_timer_free - 1;
    box->scope_timer_free = (uint32_t)((uintptr_t)box->scope_timers[id] >> 1);
    box->scope_timers[id] = scope;
    scope->timer = id + 1;
    scope->timer_seq = ab_timers_add(
        &box->loop.timers, ab_loop_now(&box->loop) + ns, id | AB_TIMER_SCOPE);
    return 0;
}

int ab_scope_timer_alive(ab_box *box, uint32_t id, uint32_t seq)
{
    ab_scope *scope = box->scope_timers[id];
    return !((uintptr_t)scope & 1) && scope->timer_seq == seq;
}

void ab_scope_expire(ab_box *box, uint32_t id, uint32_t seq)
{
    if (!ab_scope_timer_alive(box, id, seq)) {
        box->loop.timers.stale--;
        return;
    }
    ab_scope *scope = box->scope_timers[id];
    timer_put(box, id);
    scope->timer = 0;
    scope->fired = 1;
    cancel(scope);
}

static int is_cancelled(const ab_task *task)
{
    for (const ab_scope *s = task->scope; s->owner == task; s = s->outer) {
        if (s->cancelled)
            return 1;
        if (s->shield)
            return 0;
    }
    return (task->flags & AB_TASK_CANCELLED) != 0;
}

void ab_scope_update(ab_task *task)
{
    if (task->state == AB_TASK_DEAD)
        return;
    if (!is_cancelled(task)) {
        task->flags &= (uint16_t)~AB_TASK_INTERRUPT;
        return;
    }
    task->flags |= AB_TASK_INTERRUPT;
    if (task->state == AB_TASK_PARKED)
        ab_sched_break(task, UV_ECANCELED);
}
