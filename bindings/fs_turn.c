/* fs_turn.c - of many ops at once only so many are under way; see fs.h. */
#include "fs.h"
#include <stdlib.h>

/* What the pool has done for one task must not wait until it has begun with all
 * the others: each then holds its buffers, in fresh pages.  300 reads of 110 KB
 * took three times as long, 300 files that are opened and written half as long
 * again. */
enum { TURNS = 16 };

/* At least twice the threads, so that none is ever idle. */
static int count(void)
{
    int enough = 2 * ab_workers_count();
    return enough > TURNS ? enough : TURNS;
}

static int turns_gc(lua_State *L)
{
    ab_fs_turns **turns = lua_touserdata(L, 1);
    if (*turns)
        ab_fs_turns_unref(*turns);
    *turns = NULL;
    return 0;
}

void ab_fs_turns_push(lua_State *L)
{
    ab_fs_turns **turns = ab_fs_keep(L, turns_gc);
    *turns = calloc(1, sizeof **turns);
    if (!*turns)
        luaL_error(L, "not enough memory");
    (*turns)->refs = 1;
    (*turns)->left = count();
    ab_list_init(&(*turns)->waiting);
}

void ab_fs_turns_unref(ab_fs_turns *turns)
{
    if (--turns->refs == 0)
        free(turns);
}

static int start(ab_fs_op *o)
{
    o->turn = 1;
    o->turns->left--;
    return ab_fs_start(&o->job);
}

int ab_fs_turn_start(ab_fs_op *o, ab_fs_turns *turns)
{
    o->turns = turns;
    turns->refs++;
    if (turns->left > 0)
        return start(o);
    ab_list_append(&turns->waiting, &o->queued);
    return 0;
}

void ab_fs_turn_give(ab_fs_op *o)
{
    ab_fs_turns *turns = o->turns;
    if (!o->turn)
        return;
    o->turn = 0;
    turns->left++;
    ab_link *first = ab_list_first(&turns->waiting);
    if (!first)
        return;
    ab_fs_op *next = ab_container(first, ab_fs_op, queued);
    ab_list_remove(first);
    int err = start(next);
    if (err)
        ab_op_finish(&next->op, err);
}
