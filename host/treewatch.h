/* treewatch.h - what happens to a file, a folder or a whole tree of folders.
 *
 * Over inotify: one watch of the kernel's for each folder, placed by
 * descriptor, so no name that is swapped meanwhile leads elsewhere.  Knows
 * nothing of Lua, nor of the box but its grants.
 *
 * A hub is one inotify instance, which all trees of a box share: the kernel
 * allows a user 128 of them by default.  What is read from it is handed out to
 * every tree that watches the folder; a tree works on what it got when it is
 * drained.
 *
 *   the kernel's queue -- ab_tree_hub_read --> the trees' inboxes
 *   a tree's inbox ------ ab_tree_drain -----> its events -- ab_tree_first
 *
 * Each of the three is bounded: the first by fs.inotify.max_queued_events, the
 * others by AB_TREE_QUEUE_MAX.  A tree that nobody drains loses what it has no
 * room for, and tells so (AB_TREE_OVERFLOW); the others notice nothing. */
#ifndef AB_TREEWATCH_H
#define AB_TREEWATCH_H

#include "grants.h"
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ab_tree_hub ab_tree_hub;
typedef struct ab_tree ab_tree;

/* ---- the hub: any thread ---- */

/* Opens nothing yet: the instance is there as long as trees are.  NULL: no
 * memory.  The grants must outlive it. */
ab_tree_hub *ab_tree_hub_new(const ab_grants *grants);
/* No tree is left. */
void ab_tree_hub_free(ab_tree_hub *hub);
/* What is polled for reading: good as long as some tree is open. */
int ab_tree_hub_fd(const ab_tree_hub *hub);
/* Hands out some of what the kernel has, and never waits for more.  0 or a
 * code. */
int ab_tree_hub_read(ab_tree_hub *hub);
/* Did trees that had nothing get something since this was asked last? */
int ab_tree_hub_news(ab_tree_hub *hub);
/* Bytes that it and all its trees hold, from malloc. */
size_t ab_tree_hub_bytes(const ab_tree_hub *hub);
/* What they may come to hold at most, and of that the inboxes (without a limit
 * at first).  The largest inbox gives way to others. */
void ab_tree_hub_set_budget(ab_tree_hub *hub, size_t bytes, size_t inboxes);

/* ---- a tree: one thread at a time ---- */

enum { AB_TREE_QUEUE_MAX = 16384 };

typedef enum ab_tree_kind {
    AB_TREE_CREATED,
    AB_TREE_MODIFIED,
    AB_TREE_REMOVED,
    AB_TREE_RENAMED,
    AB_TREE_OVERFLOW /* something may have been missed; path: the tree's own */
} ab_tree_kind;

typedef struct ab_tree_event {
    ab_tree_kind kind;
    int directory;
    uint32_t cookie; /* of the first half of a renaming; 0: none */
    uint32_t hash;   /* of path */
    char *path;
    char *from; /* RENAMED: the old path; else NULL */
} ab_tree_event;

/* Begins to watch `path`, which must be there; nothing that happened before is
 * told.  `stop`, set by another thread, gives it up.  0 and *out, or a code:
 * ASYNCBOX_EDENIED; UV_ENOSPC, the limit of watches is reached; UV_EMFILE, that
 * of descriptors or of inotify instances; UV_ENOMEM, the hub's budget too;
 * UV_ENOSYS, this system has no inotify.  Blocks. */
int ab_tree_open(ab_tree_hub *hub, const char *path, int recursive,
                 const atomic_int *stop, ab_tree **out);
/* Ends it; NULL is fine.  Blocks: with the last tree the instance is closed,
 * for which the kernel takes 20 ms. */
void ab_tree_close(ab_tree *tree);

/* Works on what it was handed, places watches on folders that are new.  0:
 * there is an event, or the tree is gone; UV_EAGAIN: nothing yet, see
 * ab_tree_heard; or a code as above, after which only ab_tree_close is any use.
 * Blocks. */
int ab_tree_drain(ab_tree *tree, const atomic_int *stop);
/* Is there something to drain? */
int ab_tree_heard(const ab_tree *tree);
/* The oldest event, good until ab_tree_shift; NULL: none. */
const ab_tree_event *ab_tree_first(const ab_tree *tree);
void ab_tree_shift(ab_tree *tree);
/* What was watched is no longer there: no more events will come. */
int ab_tree_gone(const ab_tree *tree);

#endif
