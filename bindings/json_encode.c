/* json_encode.c - values written into memory of the box. */
#include "json.h"
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How the value that is written now is reached from the one around it. */
typedef struct step {
    const struct step *outer;
    const char *key; /* NULL: index */
    lua_Integer index;
} step;

typedef struct writer {
    lua_State *L;
    const step *at; /* on the C stack; NULL: the value itself */
    char *text;     /* counted against the box; released by its guard */
    size_t length, capacity;
    int depth;
} writer;

static int writer_gc(lua_State *L)
{
    writer *w = lua_touserdata(L, 1);
    ab_box_free(ab_box_of(L), w->text, w->capacity);
    w->text = NULL;
    w->capacity = 0;
    return 0;
}

static const luaL_Reg writer_metas[] = {{"__gc", writer_gc}, {NULL, NULL}};
static const ab_class writer_class = {"json.writer", NULL, writer_metas};

enum { PLACE_BYTES = 120, PART_BYTES = 48 };

/* Raises EINVAL and says where: "a function is not JSON, at users[2].name".  Of
 * a long way the end is told. */
static int refuse(writer *w, const char *what)
{
    char place[PLACE_BYTES], part[PART_BYTES];
    char *from = place + sizeof place - 1;
    *from = '\0';
    for (const step *s = w->at; s; s = s->outer) {
        int n = s->key ? snprintf(part, sizeof part, ".%.40s", s->key)
                       : snprintf(part, sizeof part, "[" LUA_INTEGER_FMT "]",
                                  s->index);
        if (from - place < n + 3) {
            from -= 3;
            memcpy(from, "...", 3);
            break;
        }
        from -= n;
        memcpy(from, part, (size_t)n);
    }
    if (w->at)
        what =
            lua_pushfstring(w->L, "%s, at %s", what,
                            *from == '.' && from[1] != '.' ? from + 1 : from);
    return ab_json_fail(w->L, "json.encode", what);
}

static char *room(writer *w, size_t more)
{
    if (more > w->capacity - w->length) {
        size_t capacity = w->capacity ? w->capacity : 256;
        while (capacity - w->length < more)
            capacity *= 2;
        char *text =
            ab_box_realloc(ab_box_of(w->L), w->text, w->capacity, capacity);
        if (!text) {
            lua_pushliteral(w->L, "not enough memory");
            lua_error(w->L);
        }
        w->text = text;
        w->capacity = capacity;
    }
    return w->text + w->length;
}

static void put(writer *w, const char *text, size_t bytes)
{
    memcpy(room(w, bytes), text, bytes);
    w->length += bytes;
}

static void put_string(writer *w, const char *text, size_t bytes)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt",
                      hex[] = "0123456789abcdef";
    put(w, "\"", 1);
    const char *end = text + bytes, *start = text;
    for (const char *p = text; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        char out[] = {'\\', 'u', '0', '0', (char)('0' + (c >> 4)), hex[c & 15]};
        const char *found = c ? strchr(from, c) : NULL;
        if (found)
            out[1] = to[found - from];
        put(w, start, (size_t)(p - start));
        put(w, out, found ? 2 : sizeof out);
        start = p + 1;
    }
    put(w, start, (size_t)(end - start));
    put(w, "\"", 1);
}

/* The shortest of the usual precisions that reads back as the same number. */
static void put_number(writer *w)
{
    char text[40];
    int n;
    if (lua_isinteger(w->L, -1)) {
        n = snprintf(text, sizeof text, LUA_INTEGER_FMT,
                     lua_tointeger(w->L, -1));
    } else {
        lua_Number number = lua_tonumber(w->L, -1);
        if (isnan(number) || isinf(number))
            refuse(w, "NaN and infinity are not JSON");
        int digits = DBL_DIG;
        do
            n = snprintf(text, sizeof text, "%.*g", digits, number);
        while (digits++ < DBL_DECIMAL_DIG && strtod(text, NULL) != number);
        char *point = strchr(text, localeconv()->decimal_point[0]);
        if (point) /* a host may have set a locale that writes 1,5 */
            *point = '.';
    }
    put(w, text, (size_t)n);
}

static void put_value(writer *w);

/* 1: the table on top is a list of n elements. */
static int is_list(writer *w, lua_Integer *n)
{
    lua_State *L = w->L;
    lua_Integer count = 0, most = 0;
    *n = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1) {
            lua_pop(L, 2);
            return 0;
        }
        count++;
        if (lua_tointeger(L, -2) > most)
            most = lua_tointeger(L, -2);
    }
    if (count == 0) {
        if (!lua_getmetatable(L, -1))
            return 0;
        lua_rawgetp(L, LUA_REGISTRYINDEX, &ab_json_array_key);
        int marked = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        return marked;
    }
    if (most > 2 * count + 8)
        refuse(w, "a list with large gaps");
    *n = most;
    return 1;
}

static void put_list(writer *w, lua_Integer n)
{
    step here = {w->at, NULL, 1};
    w->at = &here;
    put(w, "[", 1);
    for (lua_Integer i = 1; i <= n; here.index = ++i) {
        if (i > 1)
            put(w, ",", 1);
        if (lua_rawgeti(w->L, -1, i) == LUA_TNIL)
            put(w, "null", 4);
        else
            put_value(w);
        lua_pop(w->L, 1);
    }
    put(w, "]", 1);
    w->at = here.outer;
}

static void put_key(writer *w)
{
    size_t bytes;
    int type = lua_type(w->L, -2);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        refuse(w, "a key that is no string or number");
    lua_pushvalue(w->L, -2); /* lua_next must see the key as it is */
    const char *key = lua_tolstring(w->L, -1, &bytes);
    put_string(w, key, bytes);
    lua_pop(w->L, 1);
}

static void put_object(writer *w)
{
    const char *before = "{";
    step here = {w->at, NULL, 0};
    for (lua_pushnil(w->L); lua_next(w->L, -2); lua_pop(w->L, 1)) {
        put(w, before, 1);
        before = ",";
        put_key(w);
        put(w, ":", 1);
        int named = lua_type(w->L, -2) == LUA_TSTRING;
        here.key = named ? lua_tostring(w->L, -2) : NULL;
        here.index = named ? 0 : lua_tointeger(w->L, -2);
        w->at = &here;
        put_value(w);
        w->at = here.outer;
    }
    put(w, *before == '{' ? "{}" : "}", *before == '{' ? 2 : 1);
}

static void put_table(writer *w)
{
    lua_Integer n;
    if (++w->depth > AB_JSON_DEPTH_MAX)
        refuse(w, "nested too deep, or in itself");
    luaL_checkstack(w->L, 8, "JSON nested too deep");
    if (is_list(w, &n))
        put_list(w, n);
    else
        put_object(w);
    w->depth--;
}

static void put_value(writer *w)
{
    size_t bytes;
    const char *text;
    switch (lua_type(w->L, -1)) {
    case LUA_TSTRING:
        text = lua_tolstring(w->L, -1, &bytes);
        put_string(w, text, bytes);
        break;
    case LUA_TNUMBER:
        put_number(w);
        break;
    case LUA_TBOOLEAN:
        text = lua_toboolean(w->L, -1) ? "true" : "false";
        put(w, text, strlen(text));
        break;
    case LUA_TTABLE:
        put_table(w);
        break;
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(w->L, -1)) {
            put(w, "null", 4);
            break;
        } /* fall through */
    default:
        lua_pushfstring(w->L, "a %s is not JSON", luaL_typename(w->L, -1));
        refuse(w, lua_tostring(w->L, -1));
    }
}

int ab_json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    writer *w = ab_object_new(L, &writer_class, sizeof *w, 0);
    w->L = L;
    lua_pushvalue(L, 1);
    put_value(w);
    lua_pushlstring(L, w->text, w->length);
    ab_box_free(ab_box_of(L), w->text, w->capacity);
    w->text = NULL;
    w->capacity = w->length = 0;
    return 1;
}
