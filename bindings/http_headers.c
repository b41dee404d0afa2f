/* http_headers.c - a Lua table of request headers as lines for a transfer.
 *
 *   { Accept = "text/html", ["X-A"] = {"1", "2"}, ["User-Agent"] = false }
 *
 * false leaves out a header that would be sent otherwise. */
#include "http.h"
#include <string.h>
#include <strings.h>

/* Lines are measured first (out is NULL) and then written. */
typedef struct sink {
    char *out;
    size_t bytes;
} sink;

static void put(sink *s, const char *text, size_t n)
{
    if (s->out)
        memcpy(s->out + s->bytes, text, n);
    s->bytes += n;
}

/* Characters of a header's name: RFC 9110's token. */
static int is_name(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c <= ' ' || c >= 127 || strchr("()<>@,;:\\\"/[]?={}", c))
            return 0;
    }
    return n > 0;
}

static int is_value(const char *value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (value[i] == '\r' || value[i] == '\n' || value[i] == '\0')
            return 0;
    return 1;
}

/* "Name: value"; for curl, "Name;" is an empty one and "Name:" none at all. */
static void put_line(lua_State *L, sink *s, const char *what, int name_idx,
                     int idx)
{
    size_t n, name_n;
    const char *name = lua_tolstring(L, name_idx, &name_n);
    int type = lua_type(L, idx);
    put(s, name, name_n);
    if (type == LUA_TBOOLEAN && !lua_toboolean(L, idx)) {
        put(s, ":", 2);
        return;
    }
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        ab_misuse(L, "%s: header '%s': string expected, got %s", what, name,
                  luaL_typename(L, idx));
    lua_pushvalue(L, idx); /* converting a number must not change the table */
    const char *value = lua_tolstring(L, -1, &n);
    if (!is_value(value, n))
        ab_misuse(L, "%s: header '%s': a value with a line break or NUL", what,
                  name);
    if (n == 0) {
        put(s, ";", 2);
    } else {
        put(s, ": ", 2);
        put(s, value, n);
        put(s, "", 1);
    }
    lua_pop(L, 1);
}

/* How much is sent follows from the body. What a script says instead would
 * have the server take a part of it for the next request, or wait for more. */
static void check_framing(lua_State *L, const char *what, const char *name)
{
    if (strcasecmp(name, "Content-Length") == 0)
        ab_misuse(L,
                  "%s: headers: '%s' follows from the body; option 'length' "
                  "gives that of one that is made piece by piece",
                  what, name);
    if (strcasecmp(name, "Transfer-Encoding") == 0)
        ab_misuse(L, "%s: headers: '%s' follows from the body", what, name);
}

static void put_table(lua_State *L, sink *s, const char *what, int table)
{
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        int value = lua_gettop(L), key = value - 1;
        size_t n;
        if (lua_type(L, key) != LUA_TSTRING)
            ab_misuse(L, "%s: headers: names expected, got a %s", what,
                      luaL_typename(L, key));
        const char *name = lua_tolstring(L, key, &n);
        if (!is_name(name, n))
            ab_misuse(L, "%s: headers: '%s' is not a header name", what, name);
        check_framing(L, what, name);
        if (!lua_istable(L, value)) {
            put_line(L, s, what, key, value);
            continue;
        }
        lua_Unsigned count = lua_rawlen(L, value);
        for (lua_Unsigned i = 1; i <= count; i++) {
            lua_rawgeti(L, value, (lua_Integer)i);
            put_line(L, s, what, key, value + 1);
            lua_pop(L, 1);
        }
    }
}

/* Up to the ':' or ';' that ends the name. */
static size_t name_length(const char *line) { return strcspn(line, ":;"); }

static int has_name(const char *lines, size_t bytes, const char *line)
{
    size_t n = name_length(line);
    for (const char *l = lines; l < lines + bytes; l += strlen(l) + 1)
        if (name_length(l) == n && strncasecmp(l, line, n) == 0)
            return 1;
    return 0;
}

void ab_http_lines(lua_State *L, int idx, const char *what, const char *base,
                   size_t base_bytes, const char **out, size_t *out_bytes)
{
    if (lua_type(L, idx) != LUA_TTABLE)
        ab_misuse(L, "%s: option 'headers': table expected, got %s", what,
                  luaL_typename(L, idx));
    luaL_checkstack(L, 6, NULL);
    idx = lua_absindex(L, idx);
    sink measured = {NULL, 0};
    put_table(L, &measured, what, idx);
    size_t room = measured.bytes + base_bytes;
    sink s = {lua_newuserdatauv(L, room ? room : 1, 0), 0};
    put_table(L, &s, what, idx);
    size_t own = s.bytes;
    for (const char *l = base; l && l < base + base_bytes; l += strlen(l) + 1)
        if (!has_name(s.out, own, l))
            put(&s, l, strlen(l) + 1);
    *out = s.out;
    *out_bytes = s.bytes;
}
