/* html_gumbo_tree.c - from gumbo's nodes to a tree of ours.
 *
 * gumbo takes 15 to 30 times the memory of the page; a tree takes about three
 * times.  Two walks: one counts, one writes. */
#include "html.h"
#include "html_gumbo.h"
#include <string.h>

typedef struct name {
    const char *text;
    size_t bytes;
    uint32_t hash;
} name;

typedef struct frame {
    const GumboVector *children;
    unsigned at;
    uint32_t node, prev; /* prev: the last element among the children */
} frame;

typedef struct copy {
    const ab_gumbo *gumbo;
    ab_html_arena *arena;
    size_t max_nodes;
    ab_html_counts counts;
    name *names;
    size_t names_room;
    uint32_t *slots;
    uint32_t by_tag[GUMBO_TAG_LAST]; /* + 1; 0: not yet */
    frame *stack;
    size_t stack_room;
    ab_html_tree *tree; /* NULL: the first walk */
    char *text;         /* where the next piece goes */
} copy;

/* What is given up stays in the arena until all of it goes. */
static void *grow(copy *c, const void *old, size_t item, size_t used,
                  size_t room)
{
    char *block = ab_html_arena_take(c->arena, item * room);
    if (used)
        memcpy(block, old, item * used);
    return block;
}

/* ---- names ---- */

static void name_rehash(copy *c)
{
    size_t slots = c->counts.slots ? 2 * c->counts.slots : 64;
    c->slots = ab_html_arena_take(c->arena, slots * sizeof *c->slots);
    memset(c->slots, 0, slots * sizeof *c->slots);
    c->counts.slots = slots;
    for (size_t i = 0; i < c->counts.names; i++) {
        size_t at = c->names[i].hash & (slots - 1);
        while (c->slots[at])
            at = (at + 1) & (slots - 1);
        c->slots[at] = (uint32_t)i + 1;
    }
}

/* The number of a name, which is new only in the first walk. */
static uint32_t intern(copy *c, const char *text, size_t bytes)
{
    uint32_t hash = ab_html_hash(text, bytes);
    size_t at = hash & (c->counts.slots - 1);
    for (; c->slots[at]; at = (at + 1) & (c->counts.slots - 1)) {
        const name *n = &c->names[c->slots[at] - 1];
        if (n->hash == hash && n->bytes == bytes &&
            memcmp(n->text, text, bytes) == 0)
            return c->slots[at] - 1;
    }
    if (c->counts.names == c->names_room) {
        c->names_room = c->names_room ? 2 * c->names_room : 64;
        c->names =
            grow(c, c->names, sizeof *c->names, c->counts.names, c->names_room);
    }
    c->names[c->counts.names] = (name){text, bytes, hash};
    c->counts.text_bytes += bytes + 1;
    c->slots[at] = (uint32_t)++c->counts.names;
    uint32_t number = c->slots[at] - 1;
    if (2 * c->counts.names > c->counts.slots)
        name_rehash(c);
    return number;
}

/* How many bytes the character at `s` has; 0: it is no UTF-8. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    size_t n = s[0] < 0x80                    ? 1
               : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;
    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* gumbo keeps the names of elements that it does not know only as they stand
 * in the page: in any case, with any bytes. */
static uint32_t intern_unknown(copy *c, const char *text, size_t bytes)
{
    static const char replacement[] = "\xef\xbf\xbd";
    char *clean = ab_html_arena_take(c->arena, 3 * bytes + 1), *out = clean;
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0, n; i < bytes; i += n) {
        n = s[i] ? utf8_length(s + i, bytes - i) : 0;
        memcpy(out, n ? text + i : replacement, n ? n : 3);
        if (n == 1 && *out >= 'A' && *out <= 'Z')
            *out = (char)(*out - 'A' + 'a');
        out += n ? n : 3;
        n = n ? n : 1;
    }
    return intern(c, clean, (size_t)(out - clean));
}

/* "<foo bar=1>" -> "foo" */
static GumboStringPiece source_name(const GumboElement *e)
{
    GumboStringPiece s = e->original_tag;
    if (s.length && *s.data == '<')
        s.data++, s.length--;
    size_t n = 0;
    while (n < s.length && !ab_html_is_space(s.data[n]) && s.data[n] != '/' &&
           s.data[n] != '>')
        n++;
    s.length = n;
    return s;
}

static uint32_t element_name(copy *c, const GumboElement *e)
{
    int html = e->tag_namespace == GUMBO_NAMESPACE_HTML;
    if (html && e->tag < GUMBO_TAG_UNKNOWN && c->by_tag[e->tag])
        return c->by_tag[e->tag] - 1;
    GumboStringPiece source = source_name(e);
    const char *known = NULL;
    if (e->tag_namespace == GUMBO_NAMESPACE_SVG && source.length)
        known = c->gumbo->normalize_svg_tagname(&source);
    if (!known && e->tag < GUMBO_TAG_UNKNOWN)
        known = c->gumbo->normalized_tagname(e->tag);
    if (!known)
        return intern_unknown(c, source.data, source.length);
    uint32_t number = intern(c, known, strlen(known));
    if (html && e->tag < GUMBO_TAG_UNKNOWN)
        c->by_tag[e->tag] = number + 1;
    return number;
}

static uint32_t attr_name(copy *c, const GumboAttribute *a)
{
    const char *prefix = "";
    if (a->attr_namespace == GUMBO_ATTR_NAMESPACE_XLINK)
        prefix = "xlink:";
    else if (a->attr_namespace == GUMBO_ATTR_NAMESPACE_XML)
        prefix = "xml:";
    else if (a->attr_namespace == GUMBO_ATTR_NAMESPACE_XMLNS &&
             strcmp(a->name, "xmlns") != 0)
        prefix = "xmlns:";
    size_t bytes = strlen(a->name), before = strlen(prefix);
    if (!before)
        return intern(c, a->name, bytes);
    char *whole = ab_html_arena_take(c->arena, before + bytes + 1);
    memcpy(whole, prefix, before);
    memcpy(whole + before, a->name, bytes + 1);
    return intern(c, whole, before + bytes);
}

/* ---- nodes ---- */

static const GumboVector *children_of(const GumboNode *n)
{
    switch (n->type) {
    case GUMBO_NODE_DOCUMENT:
        return &n->v.document.children;
    case GUMBO_NODE_ELEMENT:
    case GUMBO_NODE_TEMPLATE:
        return &n->v.element.children;
    default:
        return NULL;
    }
}

static ab_html_piece put(copy *c, const char *text, size_t bytes)
{
    ab_html_piece piece = {(uint32_t)(c->text - c->tree->text),
                           (uint32_t)bytes};
    memcpy(c->text, text, bytes);
    c->text[bytes] = '\0';
    c->text += bytes + 1;
    return piece;
}

static void visit_attrs(copy *c, const GumboVector *attrs, ab_html_node *out)
{
    if (out) {
        out->at = (uint32_t)c->counts.attrs;
        out->count = attrs->length;
    }
    for (unsigned i = 0; i < attrs->length; i++) {
        const GumboAttribute *a = attrs->data[i];
        uint32_t number = attr_name(c, a);
        size_t bytes = strlen(a->value);
        if (c->tree)
            c->tree->attrs[c->counts.attrs] =
                (ab_html_attr){number, put(c, a->value, bytes)};
        else
            c->counts.text_bytes += bytes + 1;
        c->counts.attrs++;
    }
}

static void visit_element(copy *c, const GumboElement *e, frame *in,
                          ab_html_node *out)
{
    uint32_t number = element_name(c, e);
    if (out) {
        ab_html_node *nodes = c->tree->nodes;
        out->name = number & 0xfffffff;
        out->foreign = e->tag_namespace != GUMBO_NAMESPACE_HTML;
        out->nth = ++nodes[in->node].elements;
        out->prev = in->prev;
        in->prev = (uint32_t)(out - nodes);
    }
    visit_attrs(c, &e->attributes, out);
}

/* Counts one node or writes it; `in` is where it stands. */
static void visit(copy *c, const GumboNode *n, frame *in)
{
    ab_html_node *out = NULL;
    if (c->tree) {
        out = &c->tree->nodes[c->counts.nodes];
        *out = (ab_html_node){.parent = in ? in->node : 0,
                              .end = (uint32_t)c->counts.nodes + 1};
    } else if (c->counts.nodes == c->max_nodes) {
        longjmp(c->arena->out, ASYNCBOX_ELIMIT);
    }
    c->counts.nodes++;
    if (n->type == GUMBO_NODE_DOCUMENT)
        return;
    if (n->type == GUMBO_NODE_ELEMENT || n->type == GUMBO_NODE_TEMPLATE) {
        if (out)
            out->kind = AB_HTML_ELEMENT;
        visit_element(c, &n->v.element, in, out);
        return;
    }
    size_t bytes = strlen(n->v.text.text);
    if (!out) {
        c->counts.text_bytes += bytes + 1;
        return;
    }
    out->kind = n->type == GUMBO_NODE_COMMENT ? AB_HTML_COMMENT : AB_HTML_TEXT;
    ab_html_piece piece = put(c, n->v.text.text, bytes);
    out->at = piece.at;
    out->count = piece.bytes;
}

static void push(copy *c, size_t depth, const GumboNode *n, uint32_t node)
{
    if (depth == c->stack_room) {
        c->stack_room = c->stack_room ? 2 * c->stack_room : 64;
        c->stack = grow(c, c->stack, sizeof *c->stack, depth, c->stack_room);
    }
    c->stack[depth] = (frame){children_of(n), 0, node, 0};
}

/* Every node in the order of the page; gumbo's nests as deep as it likes. */
static void walk(copy *c, const GumboNode *document)
{
    size_t depth = 0;
    c->counts.nodes = c->counts.attrs = 0;
    visit(c, document, NULL);
    push(c, depth++, document, 0);
    while (depth) {
        frame *in = &c->stack[depth - 1];
        if (in->at == in->children->length) {
            if (c->tree)
                c->tree->nodes[in->node].end = (uint32_t)c->counts.nodes;
            depth--;
            continue;
        }
        const GumboNode *n = in->children->data[in->at++];
        uint32_t node = (uint32_t)c->counts.nodes;
        visit(c, n, in);
        if (depth > c->counts.depth)
            c->counts.depth = depth;
        if (children_of(n))
            push(c, depth++, n, node);
    }
}

static void write_names(copy *c)
{
    memcpy(c->tree->slots, c->slots, c->counts.slots * sizeof *c->slots);
    for (size_t i = 0; i < c->counts.names; i++)
        c->tree->names[i] = put(c, c->names[i].text, c->names[i].bytes);
}

void ab_html_gumbo_copy(const ab_gumbo *gumbo, ab_html_arena *arena,
                        const GumboOutput *page, size_t max_nodes)
{
    copy *c = ab_html_arena_take(arena, sizeof *c);
    memset(c, 0, sizeof *c);
    c->gumbo = gumbo;
    c->arena = arena;
    c->max_nodes = max_nodes;
    const GumboDocument *document = &page->document->v.document;
    size_t doctype = document->has_doctype ? strlen(document->name) : 0;
    c->counts.text_bytes = doctype + 1;
    name_rehash(c);
    walk(c, page->document);

    size_t bytes = ab_html_tree_bytes(&c->counts);
    if (bytes > (size_t)(arena->low - arena->start) || bytes > UINT32_MAX)
        longjmp(arena->out, UV_ENOBUFS);
    /* The second walk makes copies of odd names again, below arena->low. */
    ab_html_tree *tree = (ab_html_tree *)(void *)arena->start;
    arena->start += bytes;
    tree->bytes = bytes;
    tree->counts = c->counts;
    ab_html_tree_place(tree);
    c->tree = tree;
    c->text = tree->text;
    write_names(c);
    tree->doctype =
        put(c, document->has_doctype ? document->name : "", doctype);
    if (!document->has_doctype)
        tree->doctype.bytes = UINT32_MAX;
    walk(c, page->document);
}
