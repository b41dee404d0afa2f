/* json.c - the module asyncbox.json: RFC 8259, in the box's own memory.
 *
 * A codec of our own, because a limit of the box must hold for it too: see
 * docs/decisions/0010-json-of-our-own.md. */
#include "binding.h"
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 1000 };

/* Its address stands for null; the metatable of arrays marks empty ones. */
static const char array_key = 0;

static void push_null(lua_State *L) { lua_pushlightuserdata(L, NULL); }

static int fail(lua_State *L, const char *op, const char *message)
{
    return ab_error_raise(L, UV_EINVAL, &(ab_detail){op, message, NULL, NULL});
}

/* ---- decode ---- */

typedef struct reader {
    lua_State *L;
    const char *start, *at, *end;
    int depth;
} reader;

static int bad(reader *r, const char *what)
{
    int line = 1;
    const char *line_start = r->start;
    for (const char *p = r->start; p < r->at; p++)
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        }
    lua_pushfstring(r->L, "%s at line %d, column %d", what, line,
                    (int)(r->at - line_start) + 1);
    return fail(r->L, "json.decode", lua_tostring(r->L, -1));
}

static int peek(const reader *r)
{
    return r->at < r->end ? (unsigned char)*r->at : -1;
}

static int skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' ||
                              *r->at == '\n' || *r->at == '\r'))
        r->at++;
    return peek(r);
}

static void literal(reader *r, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0)
        bad(r, "unexpected character");
    r->at += length;
}

static int is_digit(int c) { return c >= '0' && c <= '9'; }

static void digits(reader *r)
{
    if (!is_digit(peek(r)))
        bad(r, "digit expected");
    while (is_digit(peek(r)))
        r->at++;
}

/* Few numbers are longer than these; the others cost a string. */
enum { INTEGER_CHARS = 18, NUMBER_CHARS = 40 };

static void push_number(reader *r, const char *text, size_t length, int whole)
{
    char copy[NUMBER_CHARS]; /* lua_stringtonumber wants the end marked */
    int negative = *text == '-';
    if (whole && negative && length == 2 && text[1] == '0') {
        lua_pushnumber(r->L, -0.0);
    } else if (whole && length <= INTEGER_CHARS) {
        lua_Integer n = 0;
        for (size_t i = (size_t)negative; i < length; i++)
            n = 10 * n + (text[i] - '0');
        lua_pushinteger(r->L, negative ? -n : n);
    } else if (length < sizeof copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
        if (!lua_stringtonumber(r->L, copy))
            bad(r, "bad number before");
    } else {
        lua_pushlstring(r->L, text, length);
        if (!lua_stringtonumber(r->L, lua_tostring(r->L, -1)))
            bad(r, "bad number before");
        lua_remove(r->L, -2);
    }
}

/* The grammar first: Lua's own conversion takes more. */
static void number(reader *r)
{
    const char *start = r->at;
    int whole = 1;
    if (peek(r) == '-')
        r->at++;
    if (peek(r) == '0')
        r->at++;
    else
        digits(r);
    if (peek(r) == '.') {
        whole = 0;
        r->at++;
        digits(r);
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        whole = 0;
        r->at++;
        if (peek(r) == '+' || peek(r) == '-')
            r->at++;
        digits(r);
    }
    push_number(r, start, (size_t)(r->at - start), whole);
    if (isinf(lua_tonumber(r->L, -1)))
        bad(r, "number out of range before");
}

static unsigned hex4(reader *r)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        int c = peek(r);
        unsigned digit = is_digit(c)              ? (unsigned)(c - '0')
                         : (c >= 'a' && c <= 'f') ? (unsigned)(c - 'a' + 10)
                         : (c >= 'A' && c <= 'F') ? (unsigned)(c - 'A' + 10)
                                                  : 16u;
        if (digit == 16)
            bad(r, "four hexadecimal digits expected");
        value = value << 4 | digit;
    }
    return value;
}

static void add_utf8(luaL_Buffer *b, unsigned code)
{
    char *p = luaL_prepbuffsize(b, 4);
    size_t n = 0;
    if (code < 0x80) {
        p[n++] = (char)code;
    } else if (code < 0x800) {
        p[n++] = (char)(0xc0 | code >> 6);
    } else if (code < 0x10000) {
        p[n++] = (char)(0xe0 | code >> 12);
        p[n++] = (char)(0x80 | (code >> 6 & 0x3f));
    } else {
        p[n++] = (char)(0xf0 | code >> 18);
        p[n++] = (char)(0x80 | (code >> 12 & 0x3f));
        p[n++] = (char)(0x80 | (code >> 6 & 0x3f));
    }
    if (code >= 0x80)
        p[n++] = (char)(0x80 | (code & 0x3f));
    luaL_addsize(b, n);
}

/* After "\u": one code unit, or two that make a pair. */
static void unicode(reader *r, luaL_Buffer *b)
{
    unsigned code = hex4(r);
    if (code >= 0xdc00 && code <= 0xdfff)
        bad(r, "lone low surrogate before");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (peek(r) != '\\' || r->end - r->at < 2 || r->at[1] != 'u')
            bad(r, "low surrogate expected");
        r->at += 2;
        unsigned low = hex4(r);
        if (low < 0xdc00 || low > 0xdfff)
            bad(r, "low surrogate expected before");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    add_utf8(b, code);
}

static void escape(reader *r, luaL_Buffer *b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = peek(r);
    const char *found = c > 0 ? strchr(from, c) : NULL;
    if (c == 'u') {
        r->at++;
        unicode(r, b);
    } else if (found) {
        r->at++;
        luaL_addchar(b, to[found - from]);
    } else {
        bad(r, "bad escape");
    }
}

static void string(reader *r)
{
    const char *start = ++r->at;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\' &&
           (unsigned char)*r->at >= 0x20)
        r->at++;
    if (peek(r) == '"') { /* nothing to translate: nearly all are so */
        lua_pushlstring(r->L, start, (size_t)(r->at++ - start));
        return;
    }
    luaL_Buffer b;
    luaL_buffinit(r->L, &b);
    for (;;) {
        luaL_addlstring(&b, start, (size_t)(r->at - start));
        int c = peek(r);
        if (c == '"')
            break;
        if (c != '\\')
            bad(r, c < 0 ? "string without an end" : "control character");
        r->at++;
        escape(r, &b);
        start = r->at;
        while (r->at < r->end && *r->at != '"' && *r->at != '\\' &&
               (unsigned char)*r->at >= 0x20)
            r->at++;
    }
    r->at++;
    luaL_pushresult(&b);
}

static void value(reader *r);

static void enter(reader *r)
{
    if (++r->depth > DEPTH_MAX)
        bad(r, "nested too deep");
    luaL_checkstack(r->L, 8, "JSON nested too deep");
    r->at++;
}

static void array(reader *r)
{
    enter(r);
    lua_newtable(r->L);
    if (skip_space(r) == ']') { /* stays an array when it is written again */
        lua_rawgetp(r->L, LUA_REGISTRYINDEX, &array_key);
        lua_setmetatable(r->L, -2);
    } else {
        for (lua_Integer i = 1;; i++) {
            value(r);
            lua_rawseti(r->L, -2, i);
            if (skip_space(r) != ',')
                break;
            r->at++;
        }
        if (peek(r) != ']')
            bad(r, "',' or ']' expected");
    }
    r->at++;
    r->depth--;
}

static void object(reader *r)
{
    enter(r);
    lua_newtable(r->L);
    if (skip_space(r) != '}') {
        for (;;) {
            if (skip_space(r) != '"')
                bad(r, "string expected as a key");
            string(r);
            if (skip_space(r) != ':')
                bad(r, "':' expected");
            r->at++;
            value(r);
            lua_rawset(r->L, -3);
            if (skip_space(r) != ',')
                break;
            r->at++;
        }
        if (peek(r) != '}')
            bad(r, "',' or '}' expected");
    }
    r->at++;
    r->depth--;
}

static void value(reader *r)
{
    switch (skip_space(r)) {
    case '{':
        object(r);
        break;
    case '[':
        array(r);
        break;
    case '"':
        string(r);
        break;
    case 't':
        literal(r, "true");
        lua_pushboolean(r->L, 1);
        break;
    case 'f':
        literal(r, "false");
        lua_pushboolean(r->L, 0);
        break;
    case 'n':
        literal(r, "null");
        push_null(r->L);
        break;
    case -1:
        bad(r, "unexpected end");
        break;
    default:
        if (peek(r) != '-' && !is_digit(peek(r)))
            bad(r, "unexpected character");
        number(r);
    }
}

static int l_decode(lua_State *L)
{
    size_t bytes;
    luaL_checktype(L, 1, LUA_TSTRING);
    const char *text = lua_tolstring(L, 1, &bytes);
    reader r = {L, text, text, text + bytes, 0};
    value(&r);
    if (skip_space(&r) != -1)
        bad(&r, "unexpected text after the value");
    return 1;
}

/* ---- encode ---- */

typedef struct writer {
    lua_State *L;
    char *text; /* counted against the box; released by its guard */
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
            fail(w->L, "json.encode", "NaN and infinity are not JSON");
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
static int is_list(lua_State *L, lua_Integer *n)
{
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
        lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
        int marked = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        return marked;
    }
    if (most > 2 * count + 8)
        fail(L, "json.encode", "a list with large gaps");
    *n = most;
    return 1;
}

static void put_list(writer *w, lua_Integer n)
{
    put(w, "[", 1);
    for (lua_Integer i = 1; i <= n; i++) {
        if (i > 1)
            put(w, ",", 1);
        if (lua_rawgeti(w->L, -1, i) == LUA_TNIL)
            put(w, "null", 4);
        else
            put_value(w);
        lua_pop(w->L, 1);
    }
    put(w, "]", 1);
}

static void put_key(writer *w)
{
    size_t bytes;
    int type = lua_type(w->L, -2);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        fail(w->L, "json.encode", "a key that is no string or number");
    lua_pushvalue(w->L, -2); /* lua_next must see the key as it is */
    const char *key = lua_tolstring(w->L, -1, &bytes);
    put_string(w, key, bytes);
    lua_pop(w->L, 1);
}

static void put_table(writer *w)
{
    lua_Integer n;
    if (++w->depth > DEPTH_MAX)
        fail(w->L, "json.encode", "nested too deep, or in itself");
    luaL_checkstack(w->L, 8, "JSON nested too deep");
    if (is_list(w->L, &n)) {
        put_list(w, n);
    } else {
        const char *before = "{";
        for (lua_pushnil(w->L); lua_next(w->L, -2); lua_pop(w->L, 1)) {
            put(w, before, 1);
            before = ",";
            put_key(w);
            put(w, ":", 1);
            put_value(w);
        }
        put(w, *before == '{' ? "{}" : "}", *before == '{' ? 2 : 1);
    }
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
        fail(w->L, "json.encode", lua_tostring(w->L, -1));
    }
}

static int l_encode(lua_State *L)
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

/* array(t) marks a table as a list, for when it is empty. */
static int l_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
    lua_setmetatable(L, 1);
    return 1;
}

static const luaL_Reg functions[] = {
    {"array", l_array},
    {"decode", l_decode},
    {"encode", l_encode},
    {NULL, NULL},
};

int ab_open_json(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "json.array");
    lua_setfield(L, -2, "__name");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
    luaL_newlib(L, functions);
    push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
