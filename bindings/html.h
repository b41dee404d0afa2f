/* html.h - what the parts of the html module share; nobody else includes it.
 *
 *   html.c             parse: the op, and who may use the thread pool; the
 * module html_gumbo*.[ch]   from text to a tree, in the thread pool html_tree.c
 * what a tree is made of html_node.c        the objects of scripts html_text.c
 * text and HTML of a node html_selector.c    reads CSS selectors html_match.c
 * finds what they select html.lua           links */
#ifndef AB_HTML_H
#define AB_HTML_H

#include "binding.h"
#include <stdatomic.h>

/* ---- a tree ----
 *
 * A page in one block of memory without pointers between nodes: nodes lie in
 * the order of the page, so what is inside of a node are those from node + 1 up
 * to nodes[node].end, its first child is node + 1, the next child nodes[].end
 * of the one before, and no walk needs a stack.  Node 0 is the document.
 * html_tree.c */

typedef enum ab_html_kind {
    AB_HTML_DOCUMENT,
    AB_HTML_ELEMENT,
    AB_HTML_TEXT,
    AB_HTML_COMMENT
} ab_html_kind;

#define AB_HTML_NONE UINT32_MAX /* no name */

typedef struct ab_html_node {
    uint32_t parent;
    uint32_t end;      /* one past the last node inside */
    uint32_t prev;     /* elements: the sibling element before it, 0: none */
    uint32_t nth;      /* elements: its number among them, from 1 */
    uint32_t elements; /* how many element children */
    uint32_t at;       /* text: where; elements: their first attribute */
    uint32_t count;    /* text: bytes; elements: attributes */
    uint32_t name : 28;
    uint32_t kind : 2;
    uint32_t foreign : 1; /* an element of SVG or MathML */
} ab_html_node;

typedef struct ab_html_piece {
    uint32_t at, bytes; /* in text */
} ab_html_piece;

typedef struct ab_html_attr {
    uint32_t name;
    ab_html_piece value;
} ab_html_attr;

typedef struct ab_html_counts {
    size_t nodes, attrs, names, slots, text_bytes;
    size_t depth; /* of the deepest node; the document's is 0 */
} ab_html_counts;

typedef struct ab_html_tree {
    size_t bytes; /* of the block, which begins with this struct */
    ab_html_counts counts;
    ab_html_piece doctype; /* bytes UINT32_MAX: none */
    ab_html_node *nodes;
    ab_html_attr *attrs;
    ab_html_piece *names; /* of elements and attributes, each one once */
    uint32_t *slots;      /* hash table: index + 1 into names, 0: free */
    char *text;           /* UTF-8, each piece followed by a NUL */
} ab_html_tree;

/* How large a block must be; sets the tree's pointers, as it must be done
 * again when its block has moved. */
size_t ab_html_tree_bytes(const ab_html_counts *counts);
void ab_html_tree_place(ab_html_tree *tree);

uint32_t ab_html_hash(const char *text, size_t bytes);
/* The number of a name, or AB_HTML_NONE. */
uint32_t ab_html_tree_name(const ab_html_tree *tree, const char *name,
                           size_t bytes);
/* The same for what a script wrote: in small letters, as HTML has them. */
uint32_t ab_html_tree_name_lower(const ab_html_tree *tree, const char *name,
                                 size_t bytes);
/* An attribute of an element, or NULL. */
const ab_html_piece *ab_html_tree_attr(const ab_html_tree *tree, uint32_t node,
                                       uint32_t name);

static inline int ab_html_is_element(const ab_html_tree *tree, uint32_t node)
{
    return tree->nodes[node].kind == AB_HTML_ELEMENT;
}

static inline int ab_html_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

/* ---- from text to a tree: html_gumbo.c ---- */

typedef struct ab_html_job {
    const char *text;
    size_t bytes;
    char *block; /* the tree grows from its start, all else from its end */
    size_t block_bytes;
    size_t max_nodes;
    uint64_t deadline_ns; /* of uv_hrtime */
    atomic_int stop;
} ab_html_job;

/* Opens libgumbo: 0, or UV_ENOTSUP. */
int ab_html_gumbo_open(void);
/* Any thread; touches no Lua and no allocator.  0: the block begins with a
 * tree; UV_ENOBUFS: it was too small; ASYNCBOX_ELIMIT: max_nodes;
 * UV_ETIMEDOUT; UV_ECANCELED: stop was set. */
int ab_html_gumbo_parse(ab_html_job *job);

/* ---- nodes: html_node.c ---- */

/* Makes the metatables; leaves the table of methods. */
void ab_html_node_open(lua_State *L);
/* Pushes the object that owns the tree; it does not yet. */
ab_html_tree **ab_html_owner_new(lua_State *L);
/* Pushes a node of the tree whose owner is at idx. */
void ab_html_node_push(lua_State *L, int owner, ab_html_tree *tree,
                       uint32_t node);
/* Argument 1, or raises; pushes its owner. */
ab_html_tree *ab_html_node_check(lua_State *L, uint32_t *node);

int ab_html_escape(lua_State *L); /* html_text.c */
/* Methods: html_text.c */
int ab_html_node_text(lua_State *L);
int ab_html_node_html(lua_State *L);
int ab_html_node_inner_html(lua_State *L);
/* html_match.c */
int ab_html_node_select(lua_State *L);
int ab_html_node_select_one(lua_State *L);
int ab_html_node_matches(lua_State *L);
int ab_html_node_closest(lua_State *L);

/* ---- selectors: html_selector.c ---- */

typedef enum ab_html_test_kind {
    AB_HTML_TAG,
    AB_HTML_ID,
    AB_HTML_CLASS,
    AB_HTML_ATTR,
    AB_HTML_NTH,      /* a n + b */
    AB_HTML_NTH_LAST, /* the same from the end */
    AB_HTML_EMPTY,
    AB_HTML_ROOT,
    AB_HTML_IS,
    AB_HTML_NOT
} ab_html_test_kind;

/* One simple selector. */
typedef struct ab_html_test {
    ab_html_test_kind kind;
    char relation;      /* ATTR: 0 it is there, or = ~ | ^ $ * */
    int ignore_case;    /* ATTR */
    uint32_t name;      /* TAG, ATTR: in small letters */
    uint32_t exact;     /* the same as it was written */
    const char *text;   /* ID, CLASS, ATTR */
    size_t bytes;       /* of text */
    long a, b;          /* NTH, NTH_LAST */
    uint32_t arguments; /* IS, NOT: the first compound, then its `next` */
    uint32_t next;      /* of the compound; 0: the last one */
} ab_html_test;

/* What stands together, such as a.b:first-child. */
typedef struct ab_html_compound {
    uint32_t first; /* test; 0: none, it is * */
    uint32_t next;  /* in a list of arguments; 0: the last one */
} ab_html_compound;

enum { AB_HTML_PARTS = 64 };

/* Compounds outside of arguments are numbered; bit n of a mask is number n. */
typedef struct ab_html_selector {
    ab_html_test *tests;         /* from 1 */
    ab_html_compound *compounds; /* from 1 */
    uint32_t parts[AB_HTML_PARTS];
    uint64_t first; /* begin a selector of the list */
    uint64_t last;  /* end one */
    /* followed by ' ', '>', '+', '~' */
    uint64_t inside, child, next, later;
} ab_html_selector;

/* Reads the selector at argument 2; pushes what it lies in.  `op` for errors:
 * it raises EINVAL and says where it is wrong. */
const ab_html_selector *ab_html_selector_check(lua_State *L, const char *op,
                                               const ab_html_tree *tree);

#endif
