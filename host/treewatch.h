/* treewatch.h - what happens to a file, a folder or a whole tree of folders.
 *
 * Over inotify: one watch for each folder, placed by descriptor, so no name
 * that is swapped meanwhile leads elsewhere.  Knows nothing of Lua, nor of the
 * box but its grants.  A tree is used by one thread at a time; everything here
 * but the first event and its end may block, so it runs in the thread pool.
 *
 * Nothing is read from the kernel until somebody drains: its queue (bounded by
 * fs.inotify.max_queued_events) holds what nobody asked for yet. */
#ifndef AB_TREEWATCH_H
#define AB_TREEWATCH_H

#include "grants.h"
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ab_tree ab_tree;

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

/* Begins to watch `path`, which must be there.  What it takes from malloc stays
 * below budget_bytes.  `stop`, set by another thread, gives it up.  0 and *out,
 * or a code: ASYNCBOX_EDENIED; UV_ENOSPC, the limit of watches is reached;
 * UV_EMFILE, that of descriptors or of watched trees; UV_ENOSYS, this system
 * has no inotify. */
int ab_tree_open(const ab_grants *grants, const char *path, int recursive,
                 size_t budget_bytes, const atomic_int *stop, ab_tree **out);

/* Takes what the kernel has, places watches on folders that are new.  0: there
 * is an event, or the tree is gone; UV_EAGAIN: nothing yet, poll ab_tree_fd;
 * or a code as above, after which only ab_tree_close is any use. */
int ab_tree_drain(ab_tree *tree, size_t budget_bytes, const atomic_int *stop);

/* What is polled for reading. */
int ab_tree_fd(const ab_tree *tree);
/* The oldest event, good until ab_tree_shift; NULL: none. */
const ab_tree_event *ab_tree_first(const ab_tree *tree);
void ab_tree_shift(ab_tree *tree);
/* What was watched is no longer there: no more events will come. */
int ab_tree_gone(const ab_tree *tree);
/* Bytes that it holds. */
size_t ab_tree_bytes(const ab_tree *tree);
void ab_tree_close(ab_tree *tree); /* NULL is fine */

#endif
