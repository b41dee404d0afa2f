/* watch.c - who is told when a task or a future is done.
 *
 * Nearly always there is one: it is kept in the task itself, as a tagged
 * pointer; more make a list, newest first. */
#include "box.h"
#include "sched_wake.h"
#include <stdint.h>

static void *tag_op(ab_op *op) { return (void *)((uintptr_t)op | 1); }

static void tell(ab_task *task, void *who)
{
    if ((uintptr_t)who & 1) {
        ab_op *op = (ab_op *)((uintptr_t)who & ~(uintptr_t)1);
        op->type->fired(op, task);
        return;
    }
    ab_task *joiner = who;
    ab_sched_wake(joiner);
}

static int watch(ab_task *task, void *who)
{
    if (!task->watch) {
        task->watch = who;
        return 0;
    }
    int listed = task->flags & AB_TASK_MULTIWATCH;
    ab_watcher *first = NULL,
               *watcher = ab_box_alloc(ab_task_box(task), sizeof *watcher);
    if (!listed)
        first = ab_box_alloc(ab_task_box(task), sizeof *first);
    if (!watcher || (!listed && !first)) {
        ab_box_free(ab_task_box(task), watcher, sizeof *watcher);
        ab_box_free(ab_task_box(task), first, sizeof *first);
        return UV_ENOMEM;
    }
    if (!listed) {
        first->who = task->watch;
        first->next = NULL;
        task->watch = first;
        task->flags |= AB_TASK_MULTIWATCH;
    }
    watcher->who = who;
    watcher->next = task->watch;
    task->watch = watcher;
    return 0;
}

static void unwatch(ab_task *task, void *who)
{
    if (!(task->flags & AB_TASK_MULTIWATCH)) {
        if (task->watch == who)
            task->watch = NULL;
        return;
    }
    ab_watcher **link = (ab_watcher **)&task->watch;
    while (*link && (*link)->who != who)
        link = &(*link)->next;
    ab_watcher *found = *link;
    if (!found)
        return;
    *link = found->next;
    ab_box_free(ab_task_box(task), found, sizeof *found);
    if (!task->watch)
        task->flags &= (uint16_t)~AB_TASK_MULTIWATCH;
}

int ab_task_watch(ab_task *task, ab_op *op) { return watch(task, tag_op(op)); }

void ab_task_unwatch(ab_task *task, ab_op *op) { unwatch(task, tag_op(op)); }

int ab_task_watch_task(ab_task *task, ab_task *joiner)
{
    return watch(task, joiner);
}

void ab_task_unwatch_task(ab_task *task, ab_task *joiner)
{
    unwatch(task, joiner);
}

void ab_task_fire(ab_task *task)
{
    if (!(task->flags & AB_TASK_MULTIWATCH)) {
        void *who = task->watch;
        task->watch = NULL;
        if (who)
            tell(task, who);
        return;
    }
    ab_watcher *oldest = NULL, *next;
    for (ab_watcher *w = task->watch; w; w = next) {
        next = w->next;
        w->next = oldest;
        oldest = w;
    }
    task->watch = NULL;
    task->flags &= (uint16_t)~AB_TASK_MULTIWATCH;
    for (ab_watcher *w = oldest; w; w = next) {
        next = w->next;
        void *who = w->who;
        ab_box_free(ab_task_box(task), w, sizeof *w);
        tell(task, who);
    }
}
