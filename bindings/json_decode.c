/* json_decode.c - recursive descent, straight onto the Lua stack. */
#include "json.h"
#include <math.h>
#include <string.h>

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
    return ab_json_fail(r->L, "json.decode", lua_tostring(r->L, -1));
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
            bad(r, "bad number");
    } else {
        lua_pushlstring(r->L, text, length);
        if (!lua_stringtonumber(r->L, lua_tostring(r->L, -1)))
            bad(r, "bad number");
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
    if (isinf(lua_tonumber(r->L, -1))) {
        r->at = start;
        bad(r, "number out of range");
    }
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
    if (++r->depth > AB_JSON_DEPTH_MAX)
        bad(r, "nested too deep");
    luaL_checkstack(r->L, 8, "JSON nested too deep");
    r->at++;
}

static void array(reader *r)
{
    enter(r);
    lua_newtable(r->L);
    if (skip_space(r) == ']') { /* stays an array when it is written again */
        lua_rawgetp(r->L, LUA_REGISTRYINDEX, &ab_json_array_key);
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
        ab_json_push_null(r->L);
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

int ab_json_decode(lua_State *L)
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
