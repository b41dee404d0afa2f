/* fs_format.c - read formats, over bytes in memory.  They mean what they mean
 * to Lua's own file:read. */
#include "fs.h"
#include <ctype.h>
#include <string.h>

/* Lua reads numerals of at most this length. */
#define NUMERAL_MAX 200

void ab_fs_scan_init(lua_State *L, ab_fs_scan *scan, int first)
{
    int top = lua_gettop(L);
    memset(scan, 0, sizeof *scan);
    if (top < first) {
        scan->formats[scan->count++].kind = 'l';
        return;
    }
    if (top - first >= AB_FS_FORMATS)
        luaL_argerror(L, first + AB_FS_FORMATS, "too many formats");
    for (int arg = first; arg <= top; arg++) {
        ab_fs_format *f = &scan->formats[scan->count++];
        if (lua_type(L, arg) == LUA_TNUMBER) {
            lua_Integer n = luaL_checkinteger(L, arg);
            luaL_argcheck(L, n >= 0, arg, "count must not be negative");
            f->kind = '#';
            f->bytes = (size_t)n;
            continue;
        }
        const char *p = luaL_checkstring(L, arg);
        if (*p == '*') /* as Lua 5.2 and older wrote it */
            p++;
        luaL_argcheck(L, *p && strchr("lLan", *p) != NULL, arg,
                      "invalid format (want a count, \"l\", \"L\", \"a\" or "
                      "\"n\")");
        f->kind = *p;
    }
}

/* ---- numerals: Lua's l_getn, on memory ---- */

typedef struct numeral {
    const char *bytes;
    size_t len, at;
    size_t start; /* after the blanks */
    int hex;
} numeral;

static int peek(const numeral *n)
{
    return n->at < n->len && n->at - n->start < NUMERAL_MAX
               ? (unsigned char)n->bytes[n->at]
               : -1;
}

static int take_one(numeral *n, const char *two)
{
    int c = peek(n);
    if (c <= 0 || (c != two[0] && c != two[1]))
        return 0;
    n->at++;
    return 1;
}

static int take_digits(numeral *n)
{
    int count = 0;
    for (int c = peek(n); c >= 0 && (n->hex ? isxdigit(c) : isdigit(c));
         c = peek(n)) {
        n->at++;
        count++;
    }
    return count;
}

/* Takes what looks like a numeral; n->at is then behind it. */
static void take_numeral(numeral *n)
{
    int digits = 0;
    while (n->at < n->len && isspace((unsigned char)n->bytes[n->at]))
        n->at++;
    n->start = n->at;
    take_one(n, "+-");
    if (take_one(n, "00")) {
        if (take_one(n, "xX"))
            n->hex = 1;
        else
            digits = 1;
    }
    digits += take_digits(n);
    if (take_one(n, ".."))
        digits += take_digits(n);
    if (digits > 0 && take_one(n, n->hex ? "pP" : "eE")) {
        take_one(n, "+-");
        n->hex = 0;
        take_digits(n);
    }
}

/* ---- one format ---- */

static void settle(ab_fs_scan *scan, size_t from, size_t len, size_t taken,
                   int found)
{
    scan->from[scan->at] = from;
    scan->len[scan->at] = len;
    scan->at++;
    scan->pos += taken;
    scan->seen = 0;
    scan->failed = !found;
}

static int scan_line(ab_fs_scan *scan, int keep, const char *bytes, size_t len,
                     int ended)
{
    size_t left = len - scan->pos;
    const char *start = bytes + scan->pos;
    const char *newline =
        left > scan->seen ? memchr(start + scan->seen, '\n', left - scan->seen)
                          : NULL;
    if (newline) {
        size_t line = (size_t)(newline - start);
        settle(scan, scan->pos, line + (keep ? 1 : 0), line + 1, 1);
        return 1;
    }
    scan->seen = left;
    if (!ended)
        return 0;
    settle(scan, scan->pos, left, left, left > 0);
    return 1;
}

static int scan_count(ab_fs_scan *scan, size_t count, size_t left, int ended,
                      size_t *want)
{
    size_t need = count ? count : 1; /* 0: is there anything? */
    if (left < need && !ended) {
        *want = need - left;
        return 0;
    }
    size_t len = left < count ? left : count;
    settle(scan, scan->pos, len, len, left > 0);
    return 1;
}

static int scan_numeral(ab_fs_scan *scan, const char *bytes, size_t len,
                        int ended)
{
    numeral n = {bytes, len, scan->pos, scan->pos, 0};
    take_numeral(&n);
    if (n.at == len && n.at - n.start < NUMERAL_MAX && !ended)
        return 0; /* it may go on */
    settle(scan, n.start, n.at - n.start, n.at - scan->pos, n.at > n.start);
    return 1;
}

int ab_fs_scan_run(ab_fs_scan *scan, const char *bytes, size_t len, int ended,
                   size_t *want)
{
    while (scan->at < scan->count && !scan->failed) {
        const ab_fs_format *f = &scan->formats[scan->at];
        int settled = 0;
        *want = 1;
        switch (f->kind) {
        case '#':
            settled = scan_count(scan, f->bytes, len - scan->pos, ended, want);
            break;
        case 'a':
            *want = SIZE_MAX;
            if (ended) {
                settle(scan, scan->pos, len - scan->pos, len - scan->pos, 1);
                settled = 1;
            }
            break;
        case 'n':
            settled = scan_numeral(scan, bytes, len, ended);
            break;
        default:
            settled = scan_line(scan, f->kind == 'L', bytes, len, ended);
        }
        if (!settled)
            return 0;
    }
    return 1;
}

static int push_numeral(lua_State *L, const char *bytes, size_t len)
{
    char text[NUMERAL_MAX];
    if (len >= sizeof text)
        return 0;
    memcpy(text, bytes, len);
    text[len] = '\0';
    return strlen(text) == len && lua_stringtonumber(L, text) == len + 1;
}

int ab_fs_scan_push(lua_State *L, ab_fs_scan *scan, const char *bytes)
{
    luaL_checkstack(L, scan->at + 2, "too many results");
    for (int i = 0; i < scan->at; i++) {
        const char *from = bytes ? bytes + scan->from[i] : "";
        if (scan->failed && i == scan->at - 1) {
            lua_pushnil(L);
        } else if (scan->formats[i].kind != 'n') {
            lua_pushlstring(L, from, scan->len[i]);
        } else if (!push_numeral(L, from, scan->len[i])) {
            /* No numeral after all: what follows it is not taken. */
            scan->pos = scan->from[i] + scan->len[i];
            lua_pushnil(L);
            return i + 1;
        }
    }
    return scan->at;
}
