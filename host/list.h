/* list.h - intrusive doubly linked ring lists. */
#ifndef AB_LIST_H
#define AB_LIST_H

#include <stddef.h>

typedef struct ab_link {
    struct ab_link *next, *prev;
} ab_link;

#define ab_container(ptr, type, field)                                         \
    ((type *)(void *)((char *)(ptr)-offsetof(type, field)))

static inline void ab_list_init(ab_link *list)
{
    list->next = list->prev = list;
}

static inline int ab_list_empty(const ab_link *list)
{
    return list->next == list;
}

static inline void ab_list_append(ab_link *list, ab_link *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

/* Takes a link out of whatever list it is in; harmless when in none. */
static inline void ab_list_remove(ab_link *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

/* The first link, or NULL. */
static inline ab_link *ab_list_first(const ab_link *list)
{
    return list->next == list ? NULL : list->next;
}

#endif
