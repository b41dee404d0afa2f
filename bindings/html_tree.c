/* html_tree.c - a page in one block of memory; see html.h. */
#include "html.h"
#include <string.h>

size_t ab_html_tree_bytes(const ab_html_counts *counts)
{
    return sizeof(ab_html_tree) + counts->nodes * sizeof(ab_html_node) +
           counts->attrs * sizeof(ab_html_attr) +
           counts->names * sizeof(ab_html_piece) +
           counts->slots * sizeof(uint32_t) + counts->text_bytes;
}

void ab_html_tree_place(ab_html_tree *tree)
{
    const ab_html_counts *counts = &tree->counts;
    tree->nodes = (ab_html_node *)(void *)(tree + 1);
    tree->attrs = (ab_html_attr *)(void *)(tree->nodes + counts->nodes);
    tree->names = (ab_html_piece *)(void *)(tree->attrs + counts->attrs);
    tree->slots = (uint32_t *)(void *)(tree->names + counts->names);
    tree->text = (char *)(tree->slots + counts->slots);
}

/* FNV-1a, by Fowler, Noll and Vo. */
uint32_t ab_html_hash(const char *text, size_t bytes)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash;
}

uint32_t ab_html_tree_name(const ab_html_tree *tree, const char *name,
                           size_t bytes)
{
    size_t mask = tree->counts.slots - 1;
    size_t at = ab_html_hash(name, bytes) & mask;
    for (; tree->slots[at]; at = (at + 1) & mask) {
        uint32_t number = tree->slots[at] - 1;
        const ab_html_piece *n = &tree->names[number];
        if (n->bytes == bytes && memcmp(tree->text + n->at, name, bytes) == 0)
            return number;
    }
    return AB_HTML_NONE;
}

uint32_t ab_html_tree_name_lower(const ab_html_tree *tree, const char *name,
                                 size_t bytes)
{
    char lower[256]; /* longer ones are taken as they are */
    if (bytes > sizeof lower)
        return ab_html_tree_name(tree, name, bytes);
    for (size_t i = 0; i < bytes; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a'
                                                           : name[i]);
    return ab_html_tree_name(tree, lower, bytes);
}

const ab_html_piece *ab_html_tree_attr(const ab_html_tree *tree, uint32_t node,
                                       uint32_t name)
{
    const ab_html_node *n = &tree->nodes[node];
    const ab_html_attr *a = tree->attrs + n->at, *end = a + n->count;
    if (name == AB_HTML_NONE)
        return NULL;
    for (; a < end; a++)
        if (a->name == name)
            return &a->value;
    return NULL;
}
