/* treewatch_none.c - treewatch.h where there is no inotify: no tree opens. */
#ifndef __linux__
#include "treewatch.h"
#include <stdlib.h>
#include <uv.h>

struct ab_tree_hub {
    size_t bytes;
};

ab_tree_hub *ab_tree_hub_new(const ab_grants *grants)
{
    (void)grants;
    return calloc(1, sizeof(ab_tree_hub));
}

void ab_tree_hub_free(ab_tree_hub *hub) { free(hub); }
int ab_tree_hub_fd(const ab_tree_hub *hub) { return hub ? -1 : 0; }
int ab_tree_hub_read(ab_tree_hub *hub) { return hub ? UV_ENOSYS : 0; }
int ab_tree_hub_news(ab_tree_hub *hub) { return hub == NULL; }
size_t ab_tree_hub_bytes(const ab_tree_hub *hub) { return hub->bytes; }
void ab_tree_hub_set_budget(ab_tree_hub *hub, size_t bytes, size_t inboxes)
{
    (void)hub, (void)bytes, (void)inboxes;
}

int ab_tree_open(ab_tree_hub *hub, const char *path, int recursive,
                 const atomic_int *stop, ab_tree **out)
{
    (void)hub, (void)path, (void)recursive, (void)stop;
    *out = NULL;
    return UV_ENOSYS;
}

void ab_tree_close(ab_tree *tree) { (void)tree; }

int ab_tree_drain(ab_tree *tree, const atomic_int *stop)
{
    (void)tree, (void)stop;
    return UV_ENOSYS;
}

int ab_tree_heard(const ab_tree *tree) { return tree == NULL; }

const ab_tree_event *ab_tree_first(const ab_tree *tree)
{
    (void)tree;
    return NULL;
}

void ab_tree_shift(ab_tree *tree) { (void)tree; }
int ab_tree_gone(const ab_tree *tree) { return tree == NULL; }

#else
typedef int ab_treewatch_none; /* a file may not be empty */
#endif
