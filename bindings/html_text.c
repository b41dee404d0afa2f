/* html_text.c - what a node says, and its HTML.
 *
 * HTML is written as the standard's "serializing HTML fragments" has it:
 * https://html.spec.whatwg.org/multipage/parsing.html */
#include "html.h"
#include <string.h>

static int is_one_of(const ab_html_tree *t, uint32_t index,
                     const char *const *list)
{
    if (t->nodes[index].foreign)
        return 0;
    ab_html_piece name = t->names[t->nodes[index].name];
    for (; *list; list++)
        if (strlen(*list) == name.bytes &&
            memcmp(t->text + name.at, *list, name.bytes) == 0)
            return 1;
    return 0;
}

/* ---- text ---- */

/* Text that nobody reads, unless it is asked for itself. */
static const char *const unread[] = {"script", "style", "template", NULL};

static void add_trimmed(luaL_Buffer *b, const char *s, size_t bytes, int *begun,
                        int *space)
{
    for (size_t i = 0; i < bytes; i++) {
        if (ab_html_is_space(s[i])) {
            *space = *begun;
            continue;
        }
        if (*space)
            luaL_addchar(b, ' ');
        luaL_addchar(b, s[i]);
        *begun = 1;
        *space = 0;
    }
}

int ab_html_node_text(lua_State *L)
{
    static const char *const known[] = {"trim", NULL};
    uint32_t index;
    lua_settop(L, 2);
    const ab_html_tree *t = ab_html_node_check(L, &index);
    ab_options_check(L, 2, "text", known);
    int trim = ab_option_boolean(L, 2, "trim", 0), begun = 0, space = 0;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (uint32_t i = index + 1; i < t->nodes[index].end;) {
        const ab_html_node *n = &t->nodes[i];
        if (n->kind == AB_HTML_ELEMENT && is_one_of(t, i, unread)) {
            i = n->end;
            continue;
        }
        if (n->kind == AB_HTML_TEXT && trim)
            add_trimmed(&b, t->text + n->at, n->count, &begun, &space);
        else if (n->kind == AB_HTML_TEXT)
            luaL_addlstring(&b, t->text + n->at, n->count);
        i++;
    }
    luaL_pushresult(&b);
    return 1;
}

/* ---- HTML ---- */

static const char *const voids[] = {
    "area",  "base",   "basefont", "bgsound", "br",     "col",  "embed",
    "frame", "hr",     "img",      "input",   "keygen", "link", "meta",
    "param", "source", "track",    "wbr",     NULL};

/* Their text stands as it is. */
static const char *const raw[] = {"style",   "script",   "xmp",       "iframe",
                                  "noembed", "noframes", "plaintext", NULL};

enum { IN_TEXT = 1, IN_VALUE = 2, ANYWHERE = 3 };

static void add_escaped(luaL_Buffer *b, const char *s, size_t bytes, int where)
{
    const char *end = s + bytes, *from = s;
    for (; s < end; s++) {
        const char *as = NULL;
        size_t length = 1;
        if (*s == '&')
            as = "&amp;";
        else if (*s == '"' && (where & IN_VALUE))
            as = "&quot;";
        else if (*s == '<' && (where & IN_TEXT))
            as = "&lt;";
        else if (*s == '>' && (where & IN_TEXT))
            as = "&gt;";
        else if (*s == '\'' && where == ANYWHERE)
            as = "&#39;";
        else if (*s == '\xc2' && where != ANYWHERE && end - s > 1 &&
                 s[1] == '\xa0')
            as = "&nbsp;", length = 2;
        if (!as)
            continue;
        luaL_addlstring(b, from, (size_t)(s - from));
        luaL_addstring(b, as);
        from = s + length;
        s += length - 1;
    }
    luaL_addlstring(b, from, (size_t)(end - from));
}

static void add_piece(luaL_Buffer *b, const ab_html_tree *t, ab_html_piece p)
{
    luaL_addlstring(b, t->text + p.at, p.bytes);
}

static void open_tag(luaL_Buffer *b, const ab_html_tree *t, uint32_t index)
{
    const ab_html_node *n = &t->nodes[index];
    luaL_addchar(b, '<');
    add_piece(b, t, t->names[n->name]);
    for (uint32_t i = 0; i < n->count; i++) {
        const ab_html_attr *a = &t->attrs[n->at + i];
        luaL_addchar(b, ' ');
        add_piece(b, t, t->names[a->name]);
        luaL_addstring(b, "=\"");
        add_escaped(b, t->text + a->value.at, a->value.bytes, IN_VALUE);
        luaL_addchar(b, '"');
    }
    luaL_addchar(b, '>');
}

static void close_tag(luaL_Buffer *b, const ab_html_tree *t, uint32_t index)
{
    if (index == 0 || is_one_of(t, index, voids))
        return;
    luaL_addstring(b, "</");
    add_piece(b, t, t->names[t->nodes[index].name]);
    luaL_addchar(b, '>');
}

static void add_leaf(luaL_Buffer *b, const ab_html_tree *t, uint32_t index)
{
    const ab_html_node *n = &t->nodes[index];
    const char *s = t->text + n->at;
    if (n->kind == AB_HTML_COMMENT) {
        luaL_addstring(b, "<!--");
        luaL_addlstring(b, s, n->count);
        luaL_addstring(b, "-->");
    } else if (t->nodes[n->parent].kind == AB_HTML_ELEMENT &&
               is_one_of(t, n->parent, raw)) {
        luaL_addlstring(b, s, n->count);
    } else {
        add_escaped(b, s, n->count, IN_TEXT);
    }
}

static int push_html(lua_State *L, const ab_html_tree *t, uint32_t top,
                     int with_itself)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    uint32_t open = top, end = t->nodes[top].end;
    if (top == 0 && t->doctype.bytes != UINT32_MAX) {
        luaL_addstring(&b, "<!DOCTYPE ");
        add_piece(&b, t, t->doctype);
        luaL_addchar(&b, '>');
    }
    if (with_itself && top != 0)
        open_tag(&b, t, top);
    for (uint32_t i = top + 1; i < end; i++) {
        for (; i >= t->nodes[open].end; open = t->nodes[open].parent)
            close_tag(&b, t, open);
        if (t->nodes[i].kind == AB_HTML_ELEMENT) {
            open_tag(&b, t, i);
            open = i;
        } else {
            add_leaf(&b, t, i);
        }
    }
    for (; open != top; open = t->nodes[open].parent)
        close_tag(&b, t, open);
    if (with_itself)
        close_tag(&b, t, top);
    luaL_pushresult(&b);
    return 1;
}

int ab_html_node_html(lua_State *L)
{
    uint32_t index;
    const ab_html_tree *t = ab_html_node_check(L, &index);
    return push_html(L, t, index, 1);
}

int ab_html_node_inner_html(lua_State *L)
{
    uint32_t index;
    const ab_html_tree *t = ab_html_node_check(L, &index);
    return push_html(L, t, index, 0);
}

int ab_html_escape(lua_State *L)
{
    size_t bytes;
    const char *text = luaL_checklstring(L, 1, &bytes);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    add_escaped(&b, text, bytes, ANYWHERE);
    luaL_pushresult(&b);
    return 1;
}
