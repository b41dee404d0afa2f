/* treewatch_parts.h - what the parts of treewatch share; nobody else includes
 * it.
 *
 *   treewatch.c         the life of a tree
 *   treewatch_hub.c     the instance that trees share: who watches what, and
 *                       handing out what the kernel says
 *   treewatch_queue.c   memory, and events that nobody took yet
 *   treewatch_folder.c  which folders a tree has, and finding them
 *   treewatch_read.c    what the kernel's words mean for a tree
 *   treewatch_none.c    where there is no inotify */
#ifndef AB_TREEWATCH_PARTS_H
#define AB_TREEWATCH_PARTS_H

#include "list.h"
#include "treewatch.h"
#include <sys/types.h>
#include <uv.h>

struct inotify_event;

struct ab_tree_hub {
    const ab_grants *grants;
    atomic_size_t bytes, budget, inbox_max;
    atomic_int news; /* a tree heard something */
    uv_mutex_t lock; /* guards the rest, and what says so below */
    int fd;          /* of inotify, -1: no tree is open */
    ab_link trees;
    size_t inbox_bytes;
    struct ab_tree_node **buckets; /* all nodes of all trees, by wd */
    size_t bucket_count;           /* a power of two, or 0 */
    size_t node_count;
};

/* One folder of one tree.  Another tree that watches the same folder has a node
 * with the same wd. */
typedef struct ab_tree_node {
    struct ab_tree_node *next; /* in its bucket; the hub's lock */
    ab_link link;              /* in tree->nodes */
    ab_tree *tree;
    int wd;
    int seen;   /* by the walk that looks which folders there still are */
    char *path; /* below the root, "" is the root */
} ab_tree_node;

/* Words of the kernel (struct inotify_event), one after the other. */
typedef struct ab_tree_words {
    char *data;
    size_t at, len, cap; /* data[at .. len) is not yet looked at */
    size_t last;         /* where the latest begins */
    size_t count;
} ab_tree_words;

struct ab_tree {
    ab_tree_hub *hub;
    ab_link link; /* in hub->trees */

    /* the inbox: under the hub's lock */
    ab_tree_words inbox;
    int lost;  /* something did not fit in */
    int ended; /* the root is gone: nothing comes any more */
    ab_tree_node *root;
    const char *only;   /* a name, if it wants to hear of no other */
    atomic_int hearing; /* there is something new in the inbox */

    /* the thread that uses the tree */
    const atomic_int *stop;
    size_t bytes; /* that it holds, without the inbox */
    int recursive, gone, missed;
    int ending; /* no more words will come, or it is not found any more */
    int root_proc;
    char *path;   /* as the script gave it */
    char *folder; /* the real path of the folder that is watched */
    char *leaf;   /* one file: its name in there; else NULL */
    dev_t dev;    /* which folder that is */
    ino_t ino;
    ab_link nodes;
    /* Folders that were not where they were said to be: a word of a renaming is
     * still to come, or they are gone.  Nodes that the hub doesn't know; seen:
     * one that was renamed and not yet looked for again. */
    ab_link strays;
    size_t stray_count;
    ab_tree_words words;   /* taken out of the inbox */
    ab_tree_event *events; /* events[first .. count) */
    size_t first, count, cap;
    size_t halves;     /* events that are the first half of a renaming ... */
    size_t since_half; /* ... and words taken since the latest of them */
    char **todo;       /* folders that the walk has still to look at */
    size_t todo_count, todo_cap;
};

/* ---- treewatch_hub.c ---- */

/* From now on it is one of the hub's trees.  0 or a code. */
int ab_tree_enter_hub(ab_tree *t);
void ab_tree_leave_hub(ab_tree *t);
/* Watches the folder that fd is open on.  0 and its node, whose path is NULL if
 * it is new; or a code. */
int ab_tree_place(ab_tree *t, int fd, int root, ab_tree_node **node);
/* Ends that. */
void ab_tree_forget(ab_tree *t, ab_tree_node *node);
/* NULL: not this tree's, or no longer. */
ab_tree_node *ab_tree_node_of(ab_tree *t, int wd);
/* Takes over what is in the inbox; those that it had before are all looked at.
 * 1: there are words to look at. */
int ab_tree_take(ab_tree *t);
/* Takes all that the kernel has by now, waiting for so long at most while there
 * is nothing, and then as ab_tree_take. */
int ab_tree_listen(ab_tree *t, int ms);

/* ---- treewatch_queue.c ---- */

/* Memory within the hub's budget, as lua_Alloc. */
void *ab_tree_hub_alloc(ab_tree_hub *hub, void *block, size_t old_bytes,
                        size_t new_bytes);
/* The same for the thread that uses the tree. */
void *ab_tree_alloc(ab_tree *t, void *block, size_t old_bytes,
                    size_t new_bytes);
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

/* What of `path` comes after `folder` ("", or "/..."), or NULL. */
const char *ab_tree_rest_of(const char *path, const char *folder);
/* A folder was renamed inside of the tree.  0 or UV_ENOMEM. */
int ab_tree_move_nodes(ab_tree *t, const char *from, const char *to);
/* A folder was moved out of the tree: what happens there is not ours. */
void ab_tree_unwatch_below(ab_tree *t, const char *folder);
/* Watches the root by its descriptor.  0 or a code. */
int ab_tree_place_root(ab_tree *t, int fd);
/* Watches a folder and all below; `report` tells what is in them as new.
 * again: also looks into those it knows.  0 or a code. */
int ab_tree_watch_below(ab_tree *t, const char *path, int report, int again);
/* Gives up strays in `folder` and itself; "": all. */
void ab_tree_forget_strays(ab_tree *t, const char *folder);
/* Looks again for those that were renamed.  0 or a code. */
int ab_tree_find_strays(ab_tree *t);
/* After something was missed: tells it, and finds out which folders there
 * are.  0 or a code. */
int ab_tree_recover(ab_tree *t);

/* ---- treewatch_read.c ---- */

/* Works on what the kernel said.  0 or a code. */
int ab_tree_read(ab_tree *t);
/* The root is gone: tells it.  0 or UV_ENOMEM. */
int ab_tree_end(ab_tree *t);

#endif
