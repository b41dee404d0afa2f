/* fs_glob.h - what fs_glob*.c share; nobody else includes it.
 *
 * All patterns of a call run at once over the tree, as one automaton.  A state
 * is a segment that is still to be matched, as its index in one array of all
 * patterns' segments, each pattern's followed by an END. */
#ifndef AB_FS_GLOB_H
#define AB_FS_GLOB_H

#include "fs.h"

enum { AB_FS_ANY, AB_FS_NAME, AB_FS_WILD, AB_FS_END };

typedef struct ab_fs_segment {
    const char *text; /* NAME, WILD: not terminated */
    uint32_t bytes;
    unsigned char kind;
    /* NAME: not one that reading a folder gives ("..", "a/b"); WILD: begins
     * with a dot; END: only folders match */
    unsigned char flag;
} ab_fs_segment;

/* Does the name match the text of a WILD? */
int ab_fs_glob_matches(const ab_fs_segment *segment, const char *name,
                       size_t len);

typedef struct ab_fs_glob_node ab_fs_glob_node;

/* Paths, one after the other with their zeros; malloc's. */
typedef struct ab_fs_found {
    char *bytes;
    size_t cap, len, count;
    char **sorted; /* into bytes; NULL: not yet */
} ab_fs_found;

void ab_fs_found_free(ab_fs_found *found);

typedef struct ab_fs_glob {
    const ab_grants *grants;
    const atomic_int *stop;
    const char *base; /* before each path when it is looked at */
    const ab_fs_segment *segments;
    uint32_t count; /* of segments */
    /* Three times so many, zeroed: in which list a state is already, and two
     * lists of states. */
    uint32_t *marks;
    int hidden, follow; /* the options */
    size_t budget;      /* of memory, for what is malloc's */
    /* what ab_fs_glob_run makes */
    ab_fs_found found;
    size_t used; /* of the budget */
    uint32_t list;
    ab_fs_glob_node *todo;
    int looked;   /* into a folder: what is refused from here on is passed by */
    char *failed; /* the path of an error, or NULL */
} ab_fs_glob;

/* Sets out from the folder `path` ("": base or the current one) with all
 * patterns.  0 or a code. */
int ab_fs_glob_begin(ab_fs_glob *g, const char *path);
/* In the pool: goes on for some milliseconds.  1: there is more to do; 0: all
 * is found, sorted, each path once; or a code. */
int ab_fs_glob_run(ab_fs_glob *g);
/* Frees what the two have made. */
void ab_fs_glob_deinit(ab_fs_glob *g);

#endif
