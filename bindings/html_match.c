/* html_match.c - finds what a selector selects.
 *
 * The nodes are gone through once, in their order, and for each element a mask
 * says which parts of the selector may be looked at here, as the parts before
 * them have matched an ancestor, the parent or an earlier sibling.  So the time
 * is that of the nodes times the parts, whatever the selector: nothing is tried
 * twice, nothing recurses. */
#include "html.h"
#include <string.h>

/* An element whose children are gone through. */
typedef struct level {
    uint32_t node;
    uint64_t own;    /* the parts that it matches */
    uint64_t above;  /* those that some ancestor of its matches */
    uint64_t prev;   /* of its last child so far */
    uint64_t before; /* of any child so far */
} level;

enum { LEVELS = 32 };

typedef struct matcher {
    const ab_html_tree *tree;
    const ab_html_selector *selector;
    uint32_t id, class; /* names */
    level *levels;
    size_t depth;
    level few[LEVELS];
} matcher;

/* ---- one element against one simple selector ---- */

static int same(const char *a, const char *b, size_t bytes, int ignore_case)
{
    if (!ignore_case)
        return memcmp(a, b, bytes) == 0;
    for (size_t i = 0; i < bytes; i++) {
        char x = a[i], y = b[i];
        if (x >= 'A' && x <= 'Z')
            x = (char)(x - 'A' + 'a');
        if (y >= 'A' && y <= 'Z')
            y = (char)(y - 'A' + 'a');
        if (x != y)
            return 0;
    }
    return 1;
}

/* Is the text one of the words of `in`? */
static int has_word(const char *in, size_t bytes, const ab_html_test *t)
{
    for (size_t i = 0; i < bytes;) {
        size_t from = i;
        while (i < bytes && !ab_html_is_space(in[i]))
            i++;
        if (i - from == t->bytes && i > from &&
            same(in + from, t->text, t->bytes, t->ignore_case))
            return 1;
        i++;
    }
    return 0;
}

static int contains(const char *in, size_t bytes, const ab_html_test *t)
{
    if (!t->bytes || bytes < t->bytes)
        return 0;
    if (!t->ignore_case)
        return memmem(in, bytes, t->text, t->bytes) != NULL;
    for (size_t i = 0; i + t->bytes <= bytes; i++)
        if (same(in + i, t->text, t->bytes, 1))
            return 1;
    return 0;
}

static int test_value(const char *v, size_t bytes, const ab_html_test *t)
{
    size_t n = t->bytes;
    int fold = t->ignore_case;
    switch (t->relation) {
    case '=':
        return bytes == n && same(v, t->text, n, fold);
    case '~':
        return has_word(v, bytes, t);
    case '|':
        return bytes >= n && same(v, t->text, n, fold) &&
               (bytes == n || v[n] == '-');
    case '^':
        return n && bytes >= n && same(v, t->text, n, fold);
    case '$':
        return n && bytes >= n && same(v + bytes - n, t->text, n, fold);
    case '*':
        return contains(v, bytes, t);
    default:
        return 1;
    }
}

static int test_attr(const matcher *m, uint32_t node, const ab_html_test *t)
{
    const ab_html_piece *value = ab_html_tree_attr(m->tree, node, t->name);
    if (!value && t->exact != t->name)
        value = ab_html_tree_attr(m->tree, node, t->exact);
    return value && test_value(m->tree->text + value->at, value->bytes, t);
}

static int test_nth(uint32_t number, long a, long b)
{
    long rest = (long)number - b;
    if (a == 0)
        return rest == 0;
    return rest % a == 0 && rest / a >= 0;
}

static int test_empty(const matcher *m, uint32_t node)
{
    const ab_html_node *nodes = m->tree->nodes;
    for (uint32_t i = node + 1; i < nodes[node].end; i = nodes[i].end)
        if (nodes[i].kind != AB_HTML_COMMENT)
            return 0;
    return 1;
}

static int test_compound(const matcher *m, uint32_t node, uint32_t compound);

/* Recurses as deep as :not(:is(...)) does. */
static int test_any(const matcher *m, uint32_t node, uint32_t compound)
{
    for (; compound; compound = m->selector->compounds[compound].next)
        if (test_compound(m, node, compound))
            return 1;
    return 0;
}

static int test(const matcher *m, uint32_t node, const ab_html_test *t)
{
    const ab_html_node *n = &m->tree->nodes[node];
    const ab_html_piece *value;
    switch (t->kind) {
    case AB_HTML_TAG:
        return n->name == t->name || n->name == t->exact;
    case AB_HTML_ID:
        value = ab_html_tree_attr(m->tree, node, m->id);
        return value && value->bytes == t->bytes &&
               memcmp(m->tree->text + value->at, t->text, t->bytes) == 0;
    case AB_HTML_CLASS:
        value = ab_html_tree_attr(m->tree, node, m->class);
        return value && has_word(m->tree->text + value->at, value->bytes, t);
    case AB_HTML_ATTR:
        return test_attr(m, node, t);
    case AB_HTML_NTH:
        return test_nth(n->nth, t->a, t->b);
    case AB_HTML_NTH_LAST:
        return test_nth(m->tree->nodes[n->parent].elements - n->nth + 1, t->a,
                        t->b);
    case AB_HTML_EMPTY:
        return test_empty(m, node);
    case AB_HTML_ROOT:
        return n->parent == 0;
    case AB_HTML_IS:
        return test_any(m, node, t->arguments);
    case AB_HTML_NOT:
        return !test_any(m, node, t->arguments);
    }
    return 0;
}

static int test_compound(const matcher *m, uint32_t node, uint32_t compound)
{
    const ab_html_selector *s = m->selector;
    for (uint32_t i = s->compounds[compound].first; i; i = s->tests[i].next)
        if (!test(m, node, &s->tests[i]))
            return 0;
    return 1;
}

/* ---- many elements against all parts ---- */

/* The parts that an element matches whose parent is on top of the levels. */
static uint64_t match(matcher *m, uint32_t node)
{
    const ab_html_selector *s = m->selector;
    level *in = &m->levels[m->depth - 1];
    uint64_t may = s->first | ((in->own | in->above) & s->inside) << 1 |
                   (in->own & s->child) << 1 | (in->prev & s->next) << 1 |
                   (in->before & s->later) << 1;
    uint64_t own = 0;
    for (unsigned i = 0; i < AB_HTML_PARTS && may >> i; i++)
        if (may >> i & 1 && test_compound(m, node, s->parts[i]))
            own |= (uint64_t)1 << i;
    in->prev = own;
    in->before |= own;
    return own;
}

static void enter(matcher *m, uint32_t node, uint64_t own)
{
    const level *in = m->depth ? &m->levels[m->depth - 1] : NULL;
    level next = {node, own, in ? in->own | in->above : 0, 0, 0};
    m->levels[m->depth++] = next;
}

/* What siblings before `node` match, as far as the selector asks for it. */
static void match_siblings(matcher *m, uint32_t node)
{
    const ab_html_selector *s = m->selector;
    const ab_html_node *nodes = m->tree->nodes;
    uint32_t from = nodes[node].prev;
    if (!(s->next | s->later) || !from)
        return;
    if (s->later)
        from = m->levels[m->depth - 1].node + 1;
    else /* a + b + c: as many as there are parts will do */
        for (int i = 1; i < AB_HTML_PARTS && nodes[from].prev; i++)
            from = nodes[from].prev;
    for (; from < node; from = nodes[from].end)
        if (nodes[from].kind == AB_HTML_ELEMENT)
            match(m, from);
}

/* Enters `node` and all that it lies in; gives what it matches. */
static uint64_t enter_path(matcher *m, uint32_t node)
{
    const ab_html_node *nodes = m->tree->nodes;
    size_t length = 0;
    for (uint32_t i = node; i; i = nodes[i].parent)
        length++;
    /* the way down, kept where the levels will be */
    for (uint32_t i = node, at = (uint32_t)length; i; i = nodes[i].parent)
        m->levels[at--].node = i;
    uint64_t own = 0;
    enter(m, 0, 0);
    for (size_t i = 1; i <= length; i++) {
        uint32_t next = m->levels[i].node;
        match_siblings(m, next);
        own = match(m, next);
        enter(m, next, own);
    }
    return own;
}

/* Pushes what the matcher works in. */
static void matcher_init(lua_State *L, matcher *m, const char *op,
                         const ab_html_tree *tree)
{
    m->tree = tree;
    m->selector = ab_html_selector_check(L, op, tree);
    m->id = ab_html_tree_name(tree, "id", 2);
    m->class = ab_html_tree_name(tree, "class", 5);
    m->depth = 0;
    m->levels = m->few;
    if (tree->counts.depth + 1 > LEVELS)
        m->levels = lua_newuserdatauv(
            L, (tree->counts.depth + 1) * sizeof *m->levels, 0);
}

/* The next element inside of `top` that is selected, after `at`; 0: none. */
static uint32_t next_selected(matcher *m, uint32_t top, uint32_t at)
{
    const ab_html_node *nodes = m->tree->nodes;
    for (at++; at < nodes[top].end; at++) {
        if (nodes[at].kind != AB_HTML_ELEMENT)
            continue;
        while (m->levels[m->depth - 1].node != nodes[at].parent)
            m->depth--;
        uint64_t own = match(m, at);
        if (nodes[at].elements)
            enter(m, at, own);
        if (own & m->selector->last)
            return at;
    }
    return 0;
}

int ab_html_node_select(lua_State *L)
{
    uint32_t top, at;
    matcher m;
    lua_settop(L, 2);
    ab_html_tree *tree = ab_html_node_check(L, &top);
    matcher_init(L, &m, "html.select", tree);
    enter_path(&m, top);
    lua_newtable(L);
    lua_Integer count = 0;
    for (at = top; (at = next_selected(&m, top, at));) {
        ab_html_node_push(L, 3, tree, at);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

int ab_html_node_select_one(lua_State *L)
{
    uint32_t top;
    matcher m;
    lua_settop(L, 2);
    ab_html_tree *tree = ab_html_node_check(L, &top);
    matcher_init(L, &m, "html.select_one", tree);
    enter_path(&m, top);
    uint32_t found = next_selected(&m, top, top);
    if (found)
        ab_html_node_push(L, 3, tree, found);
    else
        lua_pushnil(L);
    return 1;
}

int ab_html_node_matches(lua_State *L)
{
    uint32_t node;
    matcher m;
    lua_settop(L, 2);
    const ab_html_tree *tree = ab_html_node_check(L, &node);
    matcher_init(L, &m, "html.matches", tree);
    lua_pushboolean(L, (enter_path(&m, node) & m.selector->last) != 0);
    return 1;
}

/* The innermost of the node and what it lies in. */
int ab_html_node_closest(lua_State *L)
{
    uint32_t node;
    matcher m;
    lua_settop(L, 2);
    ab_html_tree *tree = ab_html_node_check(L, &node);
    matcher_init(L, &m, "html.closest", tree);
    enter_path(&m, node);
    while (m.depth && !(m.levels[m.depth - 1].own & m.selector->last))
        m.depth--;
    if (m.depth)
        ab_html_node_push(L, 3, tree, m.levels[m.depth - 1].node);
    else
        lua_pushnil(L);
    return 1;
}
