/* http_head.c - the head of a response: lines as they came, taken apart when a
 * script asks. */
#include "http.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

static const char header_metatable_key = 0;

typedef struct line {
    const char *text, *end; /* without the line break */
} line;

/* Takes the next line off `rest`; 0 when there is none. */
static int next_line(line *rest, line *out)
{
    if (rest->text == rest->end)
        return 0;
    const char *lf = memchr(rest->text, '\n', (size_t)(rest->end - rest->text));
    out->text = rest->text;
    out->end = lf ? lf : rest->end;
    rest->text = lf ? lf + 1 : rest->end;
    if (out->end > out->text && out->end[-1] == '\r')
        out->end--;
    return 1;
}

static int is_blank(char c) { return c == ' ' || c == '\t'; }

static line trim(line l)
{
    while (l.text < l.end && is_blank(*l.text))
        l.text++;
    while (l.end > l.text && is_blank(l.end[-1]))
        l.end--;
    return l;
}

/* Takes the next field off `rest`: its name and its value, which may be folded
 * over lines (obsolete, but seen): see push_value. */
static int next_field(line *rest, line *name, line *value)
{
    line l;
    while (next_line(rest, &l)) {
        const char *colon = memchr(l.text, ':', (size_t)(l.end - l.text));
        if (!colon || colon == l.text || is_blank(*l.text))
            continue; /* the status line, the last line */
        *name = trim((line){l.text, colon});
        const char *from = colon + 1;
        while (rest->text < rest->end && is_blank(*rest->text))
            next_line(rest, &l);
        *value = trim((line){from, l.end});
        return 1;
    }
    return 0;
}

static line after_status(const char *head, size_t bytes)
{
    line rest = {head, head + bytes}, status_line;
    next_line(&rest, &status_line);
    return rest;
}

static void push_line(lua_State *L, line l)
{
    lua_pushlstring(L, l.text, (size_t)(l.end - l.text));
}

/* One space for each line break and the blanks around it, as RFC 9112, 5.2,
 * wants it. */
static void push_value(lua_State *L, line value)
{
    luaL_Buffer b;
    line rest = value, l;
    if (!memchr(value.text, '\n', (size_t)(value.end - value.text))) {
        push_line(L, value);
        return;
    }
    luaL_buffinit(L, &b);
    while (next_line(&rest, &l)) {
        l = trim(l);
        if (l.text == l.end)
            continue;
        if (luaL_bufflen(&b))
            luaL_addchar(&b, ' ');
        luaL_addlstring(&b, l.text, (size_t)(l.end - l.text));
    }
    luaL_pushresult(&b);
}

static void push_lower(lua_State *L, line l)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (; l.text < l.end; l.text++)
        luaL_addchar(&b, (char)tolower((unsigned char)*l.text));
    luaL_pushresult(&b);
}

static int l_header_index(lua_State *L)
{
    size_t n;
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_tolstring(L, 2, &n);
    push_lower(L, (line){name, name + n});
    lua_rawget(L, 1);
    return 1;
}

void ab_head_push_fields(lua_State *L, const char *head, size_t bytes)
{
    line rest = after_status(head, bytes), name, value;
    lua_createtable(L, 0, 8);
    int table = lua_gettop(L);
    while (next_field(&rest, &name, &value)) {
        push_lower(L, name);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, table) == LUA_TSTRING) {
            lua_pushliteral(L, ", ");
            push_value(L, value);
            lua_concat(L, 3);
        } else {
            lua_pop(L, 1);
            push_value(L, value);
        }
        lua_rawset(L, table);
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &header_metatable_key);
    lua_setmetatable(L, table);
}

void ab_head_push_reason(lua_State *L, const char *head, size_t bytes)
{
    line rest = {head, head + bytes};
    line l = {head, head};
    next_line(&rest, &l);
    for (int i = 0; i < 2; i++) {
        while (l.text < l.end && !is_blank(*l.text))
            l.text++;
        l = trim(l);
    }
    push_line(L, l);
}

void ab_head_push_version(lua_State *L, const char *head, size_t bytes)
{
    line l = {head, head + bytes};
    if (bytes >= 5)
        l.text += 5;
    const char *end = l.text;
    while (end < l.end && !is_blank(*end) && *end != '\r')
        end++;
    l.end = end;
    push_line(L, l);
}

int ab_head_find(const char *head, size_t bytes, const char *wanted,
                 const char **value, size_t *value_bytes)
{
    size_t n = strlen(wanted);
    line rest = after_status(head, bytes), name, found;
    while (next_field(&rest, &name, &found)) {
        if ((size_t)(name.end - name.text) != n ||
            strncasecmp(name.text, wanted, n) != 0)
            continue;
        *value = found.text;
        *value_bytes = (size_t)(found.end - found.text);
        return 1;
    }
    return 0;
}

void ab_head_push_values(lua_State *L, const char *head, size_t bytes,
                         const char *wanted, size_t n)
{
    line rest = after_status(head, bytes), name, value;
    lua_Integer count = 0;
    lua_newtable(L);
    while (next_field(&rest, &name, &value)) {
        if ((size_t)(name.end - name.text) != n ||
            strncasecmp(name.text, wanted, n) != 0)
            continue;
        push_value(L, value);
        lua_rawseti(L, -2, ++count);
    }
}

void ab_head_open(lua_State *L)
{
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, l_header_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &header_metatable_key);
}
