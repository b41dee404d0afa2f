/* html_node.c - what scripts hold: nodes of a tree, the document among them.
 *
 * A node is a pointer into the tree and keeps the tree's owner alive.  Two
 * objects may stand for one node; they are equal. */
#include "html.h"
#include <string.h>

typedef struct node {
    ab_html_tree *tree;
    uint32_t index;
} node;

enum { OWNER = 1 };

static const char metatable_key = 0;

/* ---- the owner ---- */

static int owner_gc(lua_State *L)
{
    ab_html_tree **owner = lua_touserdata(L, 1), *tree = *owner;
    *owner = NULL;
    if (tree)
        ab_box_free(ab_box_of(L), tree, tree->bytes);
    return 0;
}

static const luaL_Reg owner_metas[] = {{"__gc", owner_gc}, {NULL, NULL}};
static const ab_class owner_class = {"html.tree", NULL, owner_metas};

ab_html_tree **ab_html_owner_new(lua_State *L)
{
    return ab_object_new(L, &owner_class, sizeof(ab_html_tree *), 0);
}

/* ---- nodes ---- */

void ab_html_node_push(lua_State *L, int owner, ab_html_tree *tree,
                       uint32_t index)
{
    node *n = lua_newuserdatauv(L, sizeof *n, 1);
    n->tree = tree;
    n->index = index;
    lua_pushvalue(L, owner);
    lua_setiuservalue(L, -2, OWNER);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
    lua_setmetatable(L, -2);
}

static node *test(lua_State *L, int idx)
{
    node *n = lua_touserdata(L, idx);
    if (!n || !lua_getmetatable(L, idx))
        return NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
    int same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? n : NULL;
}

static const node *check(lua_State *L)
{
    const node *n = test(L, 1);
    if (!n)
        luaL_typeerror(L, 1, "Node");
    return n;
}

ab_html_tree *ab_html_node_check(lua_State *L, uint32_t *index)
{
    const node *n = check(L);
    *index = n->index;
    lua_getiuservalue(L, 1, OWNER);
    return n->tree;
}

/* Another node of the same tree as argument 1. */
static int push_other(lua_State *L, const node *n, uint32_t index)
{
    lua_getiuservalue(L, 1, OWNER);
    ab_html_node_push(L, lua_gettop(L), n->tree, index);
    return 1;
}

static void push_piece(lua_State *L, const ab_html_tree *tree,
                       ab_html_piece piece)
{
    lua_pushlstring(L, tree->text + piece.at, piece.bytes);
}

static int push_name(lua_State *L, const ab_html_tree *tree, uint32_t index)
{
    push_piece(L, tree, tree->names[tree->nodes[index].name]);
    return 1;
}

/* ---- attributes ---- */

static const ab_html_piece *attr_of(const node *n, const char *name,
                                    size_t bytes)
{
    const ab_html_tree *t = n->tree;
    if (!ab_html_is_element(t, n->index))
        return NULL;
    const ab_html_piece *value =
        ab_html_tree_attr(t, n->index, ab_html_tree_name(t, name, bytes));
    return value ? value
                 : ab_html_tree_attr(t, n->index,
                                     ab_html_tree_name_lower(t, name, bytes));
}

static int l_attr(lua_State *L)
{
    const node *n = check(L);
    size_t bytes;
    const char *name = luaL_checklstring(L, 2, &bytes);
    const ab_html_piece *value = attr_of(n, name, bytes);
    if (value)
        push_piece(L, n->tree, *value);
    else
        lua_pushnil(L);
    return 1;
}

static int l_attrs(lua_State *L)
{
    const node *n = check(L);
    const ab_html_tree *t = n->tree;
    lua_newtable(L);
    if (!ab_html_is_element(t, n->index))
        return 1;
    const ab_html_node *e = &t->nodes[n->index];
    for (uint32_t i = 0; i < e->count; i++) {
        const ab_html_attr *a = &t->attrs[e->at + i];
        push_piece(L, t, t->names[a->name]);
        push_piece(L, t, a->value);
        lua_rawset(L, -3);
    }
    return 1;
}

/* ---- around it ---- */

static int l_children(lua_State *L)
{
    const node *n = check(L);
    const ab_html_node *nodes = n->tree->nodes;
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, OWNER);
    lua_createtable(L, (int)nodes[n->index].elements, 0);
    lua_Integer count = 0;
    for (uint32_t i = n->index + 1; i < nodes[n->index].end; i = nodes[i].end) {
        if (nodes[i].kind != AB_HTML_ELEMENT)
            continue;
        ab_html_node_push(L, 2, n->tree, i);
        lua_rawseti(L, 3, ++count);
    }
    return 1;
}

/* Elements as nodes, text as strings. */
static int l_contents(lua_State *L)
{
    const node *n = check(L);
    const ab_html_node *nodes = n->tree->nodes;
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, OWNER);
    lua_newtable(L);
    lua_Integer count = 0;
    for (uint32_t i = n->index + 1; i < nodes[n->index].end; i = nodes[i].end) {
        if (nodes[i].kind == AB_HTML_COMMENT)
            continue;
        if (nodes[i].kind == AB_HTML_ELEMENT)
            ab_html_node_push(L, 2, n->tree, i);
        else
            push_piece(L, n->tree,
                       (ab_html_piece){nodes[i].at, nodes[i].count});
        lua_rawseti(L, 3, ++count);
    }
    return 1;
}

/* The first element with that name from `at` on, before `end`; 0: none. */
static uint32_t find(const ab_html_tree *t, uint32_t at, uint32_t end,
                     uint32_t name)
{
    for (; at < end; at++)
        if (t->nodes[at].name == name && t->nodes[at].kind == AB_HTML_ELEMENT)
            return at;
    return 0;
}

static uint32_t check_name(lua_State *L, const ab_html_tree *t)
{
    size_t bytes;
    const char *name = luaL_checklstring(L, 2, &bytes);
    uint32_t number = ab_html_tree_name(t, name, bytes);
    return number != AB_HTML_NONE ? number
                                  : ab_html_tree_name_lower(t, name, bytes);
}

static int l_find(lua_State *L)
{
    const node *n = check(L);
    uint32_t found = find(n->tree, n->index + 1, n->tree->nodes[n->index].end,
                          check_name(L, n->tree));
    if (found)
        return push_other(L, n, found);
    lua_pushnil(L);
    return 1;
}

static int l_find_all(lua_State *L)
{
    const node *n = check(L);
    uint32_t name = check_name(L, n->tree), at = n->index;
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, OWNER);
    lua_newtable(L);
    lua_Integer count = 0;
    while ((at = find(n->tree, at + 1, n->tree->nodes[n->index].end, name))) {
        ab_html_node_push(L, 2, n->tree, at);
        lua_rawseti(L, 3, ++count);
    }
    return 1;
}

/* ---- fields ---- */

typedef enum field {
    NAME = 1,
    PARENT,
    NEXT,
    PREVIOUS,
    POSITION,
    DOCUMENT,
    TITLE,
    ROOT,
    HEAD,
    BODY,
    DOCTYPE
} field;

static uint32_t find_named(const ab_html_tree *t, const char *name)
{
    return find(t, 1, t->nodes[0].end,
                ab_html_tree_name(t, name, strlen(name)));
}

static uint32_t next_element(const ab_html_tree *t, uint32_t index)
{
    const ab_html_node *nodes = t->nodes;
    uint32_t end = nodes[nodes[index].parent].end;
    for (uint32_t i = nodes[index].end; i < end; i = nodes[i].end)
        if (nodes[i].kind == AB_HTML_ELEMENT)
            return i;
    return 0;
}

/* The page's title as browsers show it: white space as one space, none at the
 * ends; nil without a <title>.  (One of an <svg> is no page's.) */
static int push_title(lua_State *L, const ab_html_tree *t)
{
    uint32_t name = ab_html_tree_name(t, "title", 5), at = 0;
    while ((at = find(t, at + 1, t->nodes[0].end, name)))
        if (!t->nodes[at].foreign)
            break;
    if (!at) {
        lua_pushnil(L);
        return 1;
    }
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    int space = 0, begun = 0;
    for (uint32_t i = at + 1; i < t->nodes[at].end; i++) {
        const char *s = t->text + t->nodes[i].at, *end = s + t->nodes[i].count;
        for (; t->nodes[i].kind == AB_HTML_TEXT && s < end; s++) {
            if (ab_html_is_space(*s)) {
                space = begun;
                continue;
            }
            if (space)
                luaL_addchar(&b, ' ');
            luaL_addchar(&b, *s);
            begun = 1;
            space = 0;
        }
    }
    luaL_pushresult(&b);
    return 1;
}

/* A field that is a node: its number, 0: nil. */
static uint32_t related(const node *n, field which)
{
    const ab_html_tree *t = n->tree;
    int is_document = n->index == 0;
    switch (which) {
    case NEXT:
        return is_document ? 0 : next_element(t, n->index);
    case PREVIOUS:
        return t->nodes[n->index].prev;
    case ROOT:
        return is_document ? find_named(t, "html") : 0;
    case HEAD:
        return is_document ? find_named(t, "head") : 0;
    case BODY:
        return is_document ? find_named(t, "body") : 0;
    default:
        return 0;
    }
}

static int push_field(lua_State *L, const node *n, field which)
{
    const ab_html_tree *t = n->tree;
    int is_document = n->index == 0;
    uint32_t other = related(n, which);
    if (other)
        return push_other(L, n, other);
    if (which == NAME && !is_document)
        return push_name(L, t, n->index);
    if (which == PARENT && !is_document)
        return push_other(L, n, t->nodes[n->index].parent);
    if (which == DOCUMENT)
        return push_other(L, n, 0);
    if (which == TITLE && is_document)
        return push_title(L, t);
    if (which == POSITION)
        lua_pushinteger(L, n->index);
    else if (which == DOCTYPE && is_document && t->doctype.bytes != UINT32_MAX)
        push_piece(L, t, t->doctype);
    else
        lua_pushnil(L);
    return 1;
}

static int l_index(lua_State *L)
{
    const node *n = check(L);
    lua_settop(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNUMBER)
        return 1; /* a method, or nothing */
    return push_field(L, n, (field)lua_tointeger(L, -1));
}

static int l_eq(lua_State *L)
{
    const node *a = test(L, 1), *b = test(L, 2);
    lua_pushboolean(L, a && b && a->tree == b->tree && a->index == b->index);
    return 1;
}

/* <Element a#id.class>, as much of it as there is */
static int l_tostring(lua_State *L)
{
    const node *n = check(L);
    if (n->index == 0) {
        lua_pushliteral(L, "<Document>");
        return 1;
    }
    const ab_html_piece *id = attr_of(n, "id", 2);
    const ab_html_piece *class = attr_of(n, "class", 5);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "<Element ");
    ab_html_piece name = n->tree->names[n->tree->nodes[n->index].name];
    luaL_addlstring(&b, n->tree->text + name.at, name.bytes);
    if (id) {
        luaL_addchar(&b, '#');
        luaL_addlstring(&b, n->tree->text + id->at, id->bytes);
    }
    int dot = 1;
    for (uint32_t i = 0; class && i < class->bytes; i++) {
        char c = n->tree->text[class->at + i];
        if (!ab_html_is_space(c)) {
            if (dot)
                luaL_addchar(&b, '.');
            luaL_addchar(&b, c);
        }
        dot = ab_html_is_space(c);
    }
    luaL_addchar(&b, '>');
    luaL_pushresult(&b);
    return 1;
}

static const luaL_Reg methods[] = {
    {"attr", l_attr},
    {"attrs", l_attrs},
    {"children", l_children},
    {"closest", ab_html_node_closest},
    {"contents", l_contents},
    {"find", l_find},
    {"find_all", l_find_all},
    {"html", ab_html_node_html},
    {"inner_html", ab_html_node_inner_html},
    {"matches", ab_html_node_matches},
    {"select", ab_html_node_select},
    {"select_one", ab_html_node_select_one},
    {"text", ab_html_node_text},
    {NULL, NULL},
};

static const struct {
    const char *name;
    field which;
} fields[] = {
    {"name", NAME},         {"parent", PARENT},     {"next", NEXT},
    {"previous", PREVIOUS}, {"position", POSITION}, {"document", DOCUMENT},
    {"title", TITLE},       {"root", ROOT},         {"head", HEAD},
    {"body", BODY},         {"doctype", DOCTYPE}};

void ab_html_node_open(lua_State *L)
{
    static const luaL_Reg metas[] = {
        {"__eq", l_eq}, {"__tostring", l_tostring}, {NULL, NULL}};
    luaL_newlib(L, methods);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, fields[i].which);
        lua_setfield(L, -2, fields[i].name);
    }
    luaL_newlib(L, metas);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "Node");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
}
