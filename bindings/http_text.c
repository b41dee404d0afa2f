/* http_text.c - the text of a body as UTF-8.
 *
 * The names of charsets are those of the WHATWG's Encoding Standard, its most
 * common labels at least, for a page means windows-1252 when it says
 * ISO-8859-1.  Others are refused: what a server names does not choose among
 * the hundreds of modules that libc can load. */
#include "http.h"
#include <ctype.h>
#include <errno.h>
#include <iconv.h>
#include <string.h>
#include <strings.h>

/* Labels of each encoding, the name that libc knows it by last. */
static const char *const encodings[] = {
    "utf8 utf-8 unicode-1-1-utf-8 us-ascii-with-utf-8 UTF-8",
    "iso-8859-1 iso8859-1 iso88591 latin1 latin-1 l1 ascii us-ascii cp1252 "
    "x-cp1252 windows-1252 WINDOWS-1252",
    "iso-8859-2 iso8859-2 latin2 l2 ISO-8859-2",
    "iso-8859-3 iso8859-3 latin3 l3 ISO-8859-3",
    "iso-8859-4 iso8859-4 latin4 l4 ISO-8859-4",
    "iso-8859-5 iso8859-5 cyrillic ISO-8859-5",
    "iso-8859-6 iso8859-6 arabic ISO-8859-6",
    "iso-8859-7 iso8859-7 greek ISO-8859-7",
    "iso-8859-8 iso8859-8 hebrew iso-8859-8-i logical ISO-8859-8",
    "iso-8859-9 iso8859-9 latin5 l5 windows-1254 cp1254 x-cp1254 WINDOWS-1254",
    "iso-8859-10 iso8859-10 latin6 l6 ISO-8859-10",
    "iso-8859-13 iso8859-13 ISO-8859-13",
    "iso-8859-14 iso8859-14 ISO-8859-14",
    "iso-8859-15 iso8859-15 latin9 latin-9 l9 ISO-8859-15",
    "iso-8859-16 ISO-8859-16",
    "ibm866 866 cp866 csibm866 IBM866",
    "koi8-r koi koi8 koi8_r cskoi8r KOI8-R",
    "koi8-u koi8-ru KOI8-U",
    "macintosh mac x-mac-roman MACINTOSH",
    "windows-874 tis-620 iso-8859-11 dos-874 CP874",
    "windows-1250 cp1250 x-cp1250 WINDOWS-1250",
    "windows-1251 cp1251 x-cp1251 WINDOWS-1251",
    "windows-1253 cp1253 x-cp1253 WINDOWS-1253",
    "windows-1255 cp1255 x-cp1255 WINDOWS-1255",
    "windows-1256 cp1256 x-cp1256 WINDOWS-1256",
    "windows-1257 cp1257 x-cp1257 WINDOWS-1257",
    "windows-1258 cp1258 x-cp1258 WINDOWS-1258",
    "gbk gb2312 gb_2312 gb_2312-80 x-gbk chinese gb18030 GB18030",
    "big5 big5-hkscs cn-big5 x-x-big5 BIG5-HKSCS",
    "euc-jp x-euc-jp EUC-JP",
    "iso-2022-jp csiso2022jp ISO-2022-JP",
    "shift_jis shift-jis sjis x-sjis ms_kanji ms932 windows-31j CP932",
    "euc-kr korean ks_c_5601-1987 ksc5601 windows-949 UHC",
    "utf-16 utf-16le unicode ucs-2 UTF-16LE",
    "utf-16be unicodefffe UTF-16BE"};

static int same(const char *a, size_t n, const char *b, size_t m)
{
    return n == m && strncasecmp(a, b, n) == 0;
}

/* libc's name for a label; NULL: not known. */
static const char *find(const char *label, size_t n)
{
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        const char *words = encodings[i], *last = strrchr(words, ' ') + 1;
        for (const char *w = words; w < last; w += strcspn(w, " ") + 1)
            if (same(label, n, w, strcspn(w, " ")))
                return last;
    }
    return NULL;
}

static int is_blank(char c) { return c == ' ' || c == '\t'; }

/* The value of `charset` among the parameters of a Content-Type. */
static void find_parameter(const char *text, size_t n, const char **charset,
                           size_t *bytes)
{
    const char *end = text + n, *at = text;
    while ((at = memchr(at, ';', (size_t)(end - at)))) {
        at++;
        while (at < end && is_blank(*at))
            at++;
        if (end - at < 8 || strncasecmp(at, "charset=", 8) != 0)
            continue;
        at += 8;
        int quoted = at < end && *at == '"';
        at += quoted;
        const char *from = at;
        while (at < end && *at != '"' && *at != ';' && !is_blank(*at))
            at++;
        *charset = from;
        *bytes = (size_t)(at - from);
        return;
    }
}

void ab_http_find_charset(const ab_response *r, const char **charset,
                          size_t *bytes)
{
    const char *type;
    size_t n;
    *charset = NULL;
    *bytes = 0;
    if (ab_head_find(r->head, r->head_bytes, "Content-Type", &type, &n))
        find_parameter(type, n, charset, bytes);
}

static const char *find_word(const char *from, const char *end,
                             const char *word)
{
    size_t n = strlen(word);
    for (; (size_t)(end - from) >= n; from++)
        if (strncasecmp(from, word, n) == 0)
            return from + n;
    return NULL;
}

/* A short form of what the HTML standard calls prescanning. */
void ab_http_meta_charset(lua_State *L, const char **charset, size_t *bytes)
{
    size_t n;
    const char *at = lua_tolstring(L, -1, &n);
    const char *end = at + (n < 1024 ? n : 1024);
    while ((at = find_word(at, end, "<meta"))) {
        const char *close = memchr(at, '>', (size_t)(end - at));
        const char *name = find_word(at, close ? close : end, "charset=");
        if (!name)
            continue;
        name += name < end && (*name == '"' || *name == '\'');
        size_t length = 0;
        while (name + length < end && !strchr("\"' \t\r\n;/>", name[length]))
            length++;
        const char *known = find(name, length);
        if (!known || strncmp(known, "UTF-16", 6) == 0)
            continue; /* ASCII can be read: it is not what it says it is */
        *charset = name;
        *bytes = length;
        return;
    }
}

/* ---- converting ---- */

/* A mark at the beginning says more than any header: how many bytes it has. */
static size_t byte_order_mark(const char *text, size_t n, const char **name)
{
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        *name = "UTF-8";
        return 3;
    }
    if (n >= 2 && memcmp(text, "\xFF\xFE", 2) == 0)
        *name = "UTF-16LE";
    else if (n >= 2 && memcmp(text, "\xFE\xFF", 2) == 0)
        *name = "UTF-16BE";
    else
        return 0;
    return 2;
}

/* iconv's state lies in memory of libc: it has to go whatever is raised. */
static int l_close_iconv(lua_State *L)
{
    iconv_t *cd = lua_touserdata(L, 1);
    if (*cd != (iconv_t)-1)
        iconv_close(*cd);
    *cd = (iconv_t)-1;
    return 0;
}

static iconv_t *open_iconv(lua_State *L, const char *op, const char *name)
{
    iconv_t *cd = lua_newuserdatauv(L, sizeof *cd, 0);
    *cd = (iconv_t)-1;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_close_iconv);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *cd = iconv_open("UTF-8", name);
    if (*cd == (iconv_t)-1) {
        lua_pushfstring(L, "this system cannot convert from charset %s", name);
        ab_error_raise(L, UV_ENOTSUP,
                       &(ab_detail){op, lua_tostring(L, -1), "charset", name});
    }
    return cd;
}

/* What is no character becomes U+FFFD, as in browsers. */
static void convert(luaL_Buffer *b, iconv_t cd, char *in, size_t left)
{
    while (left) {
        size_t room = 4096;
        char *to = luaL_prepbuffsize(b, room), *out = to;
        size_t done = iconv(cd, &in, &left, &out, &room);
        luaL_addsize(b, (size_t)(out - to));
        if (done != (size_t)-1 || errno == E2BIG)
            continue;
        luaL_addlstring(b, "\xEF\xBF\xBD", 3);
        if (errno != EILSEQ)
            break; /* cut off in the middle of a character */
        in++;
        left--;
    }
}

void ab_http_decode(lua_State *L, const char *op, const char *charset,
                    size_t bytes)
{
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    const char *name = bytes ? find(charset, bytes) : "UTF-8";
    int from = lua_gettop(L);
    size_t mark = byte_order_mark(text, n, &name);
    if (!name) {
        lua_pushlstring(L, charset, bytes);
        lua_pushfstring(L, "unknown charset '%s'; read() gives the bytes",
                        lua_tostring(L, -1));
        ab_error_raise(L, UV_EINVAL,
                       &(ab_detail){op, lua_tostring(L, -1), "charset",
                                    lua_tostring(L, -2)});
    }
    if (strcmp(name, "UTF-8") == 0) {
        if (mark) {
            lua_pushlstring(L, text + mark, n - mark);
            lua_replace(L, from);
        }
        return;
    }
    iconv_t *cd = open_iconv(L, op, name);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    convert(&b, *cd, (char *)(uintptr_t)(text + mark), n - mark);
    luaL_pushresult(&b);
    iconv_close(*cd);
    *cd = (iconv_t)-1;
    lua_replace(L, from);
    lua_settop(L, from);
}
