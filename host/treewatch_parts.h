/* treewatch_parts.h - what the parts of treewatch share; nobody else includes
 * it.
 *
 *   treewatch.c         their life
 *   treewatch_queue.c   memory, and events that nobody took yet
 *   treewatch_folder.c  which folders are watched, and placing the watches
 *   treewatch_read.c    what the kernel says of them */
#ifndef AB_TREEWATCH_PARTS_H
#define AB_TREEWATCH_PARTS_H

#include "treewatch.h"
#include <sys/types.h>

typedef struct ab_tree_node {
    int wd;
    int seen;   /* by the walk that looks which folders there still are */
    char *path; /* below the root, "" is the root; NULL: no longer watched */
} ab_tree_node;

struct ab_tree {
    const ab_grants *grants;
    const atomic_int *stop;
    size_t bytes, budget;
    int fd; /* of inotify */
    int recursive, gone, missed;
    int root_wd;
    int root_proc;
    char *path;   /* as the script gave it */
    char *folder; /* the real path of the folder that is watched */
    char *leaf;   /* one file: its name in there; else NULL */
    dev_t dev;    /* which folder that is */
    ino_t ino;
    ab_tree_node *nodes; /* by wd */
    size_t node_count, node_cap, dead;
    ab_tree_event *events; /* events[first .. count) */
    size_t first, count, cap;
    char **todo; /* folders that the walk has still to look at */
    size_t todo_count, todo_cap;
};

/* ---- treewatch_queue.c ---- */

enum { AB_TREE_QUEUE_MAX = 16384 }; /* more events are an overflow */

/* a/b, where an empty a or b leaves no slash; NULL: no memory. */
char *ab_tree_join(ab_tree *t, const char *a, const char *b);
void ab_tree_give_text(ab_tree *t, char *text);
/* Room for one more in a list of things of this size.  0 or UV_ENOMEM. */
int ab_tree_make_room(ab_tree *t, void **list, size_t count, size_t *cap,
                      size_t size);
uint32_t ab_tree_hash(const char *text);
/* Adds an event about `below` (the root), unless the latest about it says the
 * same.  0 or UV_ENOMEM. */
int ab_tree_add(ab_tree *t, ab_tree_kind kind, const char *below, int directory,
                uint32_t cookie);
void ab_tree_drop(ab_tree *t, ab_tree_event *event);

/* ---- treewatch_folder.c ---- */

/* NULL: not known, or no longer. */
ab_tree_node *ab_tree_node_of(ab_tree *t, int wd);
void ab_tree_forget(ab_tree *t, ab_tree_node *node);
/* Notes that wd is the folder `path`.  1: it was known as just that, 0: it is
 * new; or UV_ENOMEM. */
int ab_tree_know(ab_tree *t, int wd, const char *path);
/* A folder was renamed inside of the tree.  0 or UV_ENOMEM. */
int ab_tree_move_nodes(ab_tree *t, const char *from, const char *to);
/* A folder was moved out of the tree: what happens there is not ours. */
void ab_tree_unwatch_below(ab_tree *t, const char *folder);
/* Watches the root by its descriptor.  A wd or a code. */
int ab_tree_place_root(ab_tree *t, int fd);
/* Watches a folder and all below; `report` tells what is in them as new.
 * again: also looks into those it knows.  0 or a code. */
int ab_tree_watch_below(ab_tree *t, const char *path, int report, int again);
/* After something was missed: tells it, and finds out which folders there
 * are.  0 or a code. */
int ab_tree_recover(ab_tree *t);

/* ---- treewatch_read.c ---- */

/* Takes what the kernel has.  0 or a code. */
int ab_tree_read(ab_tree *t);

#endif
