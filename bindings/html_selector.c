/* html_selector.c - reads CSS selectors, after Selectors Level 4 as far as
 * docs/lua/html.md says: https://www.w3.org/TR/selectors-4/ */
#include "html.h"
#include <limits.h>
#include <string.h>

enum { NESTED_MAX = 8 }; /* :not(:is(:not(... */

typedef struct reader {
    lua_State *L;
    const char *op;
    const char *start, *at, *end;
    const ab_html_tree *tree;
    ab_html_selector *out;
    uint32_t tests, compounds, parts; /* how many there are */
    char *text;                       /* where the next piece of text goes */
    int depth;
} reader;

static int bad(reader *r, const char *at, const char *what)
{
    size_t column = (size_t)(at - r->start) + 1, left = (size_t)(r->end - at);
    lua_State *L = r->L;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "bad selector: ");
    luaL_addstring(&b, what);
    lua_pushfstring(L, " at byte %I", (LUAI_UACINT)column);
    luaL_addvalue(&b);
    luaL_addstring(&b, left ? ", before '" : ", at its end: '");
    const char *from = left ? at : r->start;
    size_t shown = (size_t)(r->end - from);
    luaL_addlstring(&b, from, shown < 40 ? shown : 40);
    luaL_addstring(&b, shown < 40 ? "'" : "...'");
    luaL_pushresult(&b);
    lua_pushlstring(L, r->start, (size_t)(r->end - r->start));
    return ab_error_raise(L, UV_EINVAL,
                          &(ab_detail){r->op, lua_tostring(L, -2), "selector",
                                       lua_tostring(L, -1)});
}

static int peek(const reader *r)
{
    return r->at < r->end ? (unsigned char)*r->at : -1;
}

static int take(reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return 0;
    r->at++;
    return 1;
}

static int skip_space(reader *r)
{
    const char *from = r->at;
    while (r->at < r->end && ab_html_is_space(*r->at))
        r->at++;
    return r->at > from;
}

static void expect(reader *r, char c, const char *what)
{
    if (!take(r, c))
        bad(r, r->at, what);
}

/* ---- words ---- */

static int is_digit(int c) { return c >= '0' && c <= '9'; }

static int hex_value(int c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void add_utf8(reader *r, unsigned long code)
{
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        code = 0xfffd;
    if (code < 0x80) {
        *r->text++ = (char)code;
        return;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *r->text++ = (char)(lead[more] | code >> 6 * more);
    while (more--)
        *r->text++ = (char)(0x80 | (code >> 6 * more & 0x3f));
}

/* After the backslash. */
static void escape(reader *r)
{
    if (peek(r) < 0 || peek(r) == '\n')
        bad(r, r->at, "nothing to escape");
    if (hex_value(peek(r)) < 0) {
        *r->text++ = *r->at++;
        return;
    }
    unsigned long code = 0;
    for (int i = 0; i < 6 && hex_value(peek(r)) >= 0; i++)
        code = code << 4 | (unsigned long)hex_value((unsigned char)*r->at++);
    if (r->at < r->end && ab_html_is_space(*r->at))
        r->at++;
    add_utf8(r, code);
}

static int is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) ||
           c == '-' || c == '_' || c >= 0x80;
}

/* A piece of text, without a NUL. */
typedef struct word {
    const char *text;
    size_t bytes;
} word;

static word name(reader *r, const char *what)
{
    const char *from = r->at;
    word w = {r->text, 0};
    if (is_digit(peek(r)) ||
        (peek(r) == '-' && r->end - r->at > 1 && is_digit(r->at[1])))
        bad(r, from, "a name cannot begin with a digit (write \\3x )");
    for (;;) {
        if (take(r, '\\'))
            escape(r);
        else if (is_word(peek(r)))
            *r->text++ = *r->at++;
        else
            break;
    }
    w.bytes = (size_t)(r->text - w.text);
    if (!w.bytes)
        bad(r, from, what);
    return w;
}

static word quoted(reader *r)
{
    const char *from = r->at;
    char quote = *r->at++;
    word w = {r->text, 0};
    while (!take(r, quote)) {
        if (peek(r) < 0)
            bad(r, from, "a quote without an end");
        if (!take(r, '\\'))
            *r->text++ = *r->at++;
        else if (!take(r, '\n'))
            escape(r);
    }
    w.bytes = (size_t)(r->text - w.text);
    return w;
}

/* ---- simple selectors ---- */

static ab_html_test *add_test(reader *r, ab_html_compound *in,
                              ab_html_test_kind kind)
{
    ab_html_test *t = &r->out->tests[++r->tests];
    memset(t, 0, sizeof *t);
    t->kind = kind;
    t->next = in->first; /* the last one is tried first: it says more */
    in->first = r->tests;
    return t;
}

static void set_name(const reader *r, ab_html_test *t, word w)
{
    t->name = ab_html_tree_name_lower(r->tree, w.text, w.bytes);
    t->exact = ab_html_tree_name(r->tree, w.text, w.bytes);
}

static void set_text(ab_html_test *t, word w)
{
    t->text = w.text;
    t->bytes = w.bytes;
}

/* After "[". */
static void attribute(reader *r, ab_html_compound *in)
{
    skip_space(r);
    ab_html_test *t = add_test(r, in, AB_HTML_ATTR);
    set_name(r, t, name(r, "the name of an attribute expected"));
    skip_space(r);
    if (take(r, ']'))
        return;
    int c = peek(r);
    if (c > 0 && strchr("~|^$*", c)) {
        t->relation = (char)c;
        r->at++;
    } else {
        t->relation = '=';
    }
    expect(r, '=', "one of = ~= |= ^= $= *= ] expected");
    skip_space(r);
    if (peek(r) == '"' || peek(r) == '\'')
        set_text(t, quoted(r));
    else
        set_text(t, name(r, "a name or a text in quotes expected"));
    skip_space(r);
    if (take(r, 'i') || take(r, 'I'))
        t->ignore_case = 1;
    else if (!take(r, 's'))
        (void)take(r, 'S');
    skip_space(r);
    expect(r, ']', "']' expected");
}

static long number(reader *r)
{
    if (!is_digit(peek(r)))
        bad(r, r->at, "a number expected");
    long value = 0;
    while (is_digit(peek(r))) {
        value = 10 * value + (*r->at++ - '0');
        if (value > INT_MAX)
            bad(r, r->at, "a number too large");
    }
    return value;
}

static int take_word(reader *r, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(r->end - r->at) < n)
        return 0;
    for (size_t i = 0; i < n; i++)
        if ((r->at[i] | 0x20) != w[i])
            return 0;
    r->at += n;
    return 1;
}

/* odd, even, 3, 2n, -n + 3 */
static void a_n_plus_b(reader *r, ab_html_test *t)
{
    skip_space(r);
    if (take_word(r, "odd")) {
        t->a = 2;
        t->b = 1;
    } else if (take_word(r, "even")) {
        t->a = 2;
    } else {
        long sign = take(r, '-') ? -1 : 1;
        if (sign > 0)
            (void)take(r, '+');
        int is_n = (peek(r) | 0x20) == 'n';
        long value = is_n ? 1 : number(r);
        if (!take(r, 'n') && !take(r, 'N')) {
            t->b = sign * value;
        } else {
            t->a = sign * value;
            skip_space(r);
            sign = take(r, '+') ? 1 : take(r, '-') ? -1 : 0;
            skip_space(r);
            t->b = sign ? sign * number(r) : 0;
        }
    }
    skip_space(r);
    expect(r, ')', "')' expected");
}

static uint32_t compound(reader *r);

/* The arguments of :not and :is: compounds. */
static void arguments(reader *r, ab_html_test *t)
{
    if (++r->depth > NESTED_MAX)
        bad(r, r->at, "nested too deep");
    uint32_t last = 0;
    do {
        skip_space(r);
        uint32_t index = compound(r);
        if (last)
            r->out->compounds[last].next = index;
        else
            t->arguments = index;
        last = index;
        skip_space(r);
    } while (take(r, ','));
    expect(r, ')', "',' or ')' expected (no ' ', '>', '+', '~' inside)");
    r->depth--;
}

static void nth(reader *r, ab_html_compound *in, ab_html_test_kind kind, long b)
{
    ab_html_test *t = add_test(r, in, kind);
    t->b = b;
    if (!b)
        a_n_plus_b(r, t);
}

static const char *const pseudos[] = {
    "first-child", "last-child",      "only-child", "empty", "root",
    "nth-child(",  "nth-last-child(", "not(",       "is(",   NULL};
enum { FIRST, LAST, ONLY, EMPTY, ROOT, NTH, NTH_LAST, NOT, IS };

/* After ":". */
static void pseudo(reader *r, ab_html_compound *in)
{
    const char *from = r->at - 1, *begin = r->at;
    while (is_word(peek(r)))
        r->at++;
    (void)take(r, '(');
    const char *after = r->at;
    int which = 0;
    for (r->at = begin; pseudos[which]; which++, r->at = begin)
        if (take_word(r, pseudos[which]) && r->at == after)
            break;
    switch (which) {
    case FIRST:
        nth(r, in, AB_HTML_NTH, 1);
        break;
    case ONLY:
        nth(r, in, AB_HTML_NTH, 1); /* fall through */
    case LAST:
        nth(r, in, AB_HTML_NTH_LAST, 1);
        break;
    case NTH:
        nth(r, in, AB_HTML_NTH, 0);
        break;
    case NTH_LAST:
        nth(r, in, AB_HTML_NTH_LAST, 0);
        break;
    case EMPTY:
        add_test(r, in, AB_HTML_EMPTY);
        break;
    case ROOT:
        add_test(r, in, AB_HTML_ROOT);
        break;
    case NOT:
        arguments(r, add_test(r, in, AB_HTML_NOT));
        break;
    case IS:
        arguments(r, add_test(r, in, AB_HTML_IS));
        break;
    default:
        bad(r, from, "a pseudo-class that is not known here");
    }
}

/* ---- compounds and what is between them ---- */

static uint32_t compound(reader *r)
{
    uint32_t index = ++r->compounds;
    ab_html_compound *c = &r->out->compounds[index];
    *c = (ab_html_compound){0, 0};
    int any = 1;
    if (take(r, '*'))
        ;
    else if (is_word(peek(r)) || peek(r) == '\\')
        set_name(r, add_test(r, c, AB_HTML_TAG), name(r, "a name expected"));
    else
        any = 0;
    for (;; any = 1) {
        if (take(r, '#'))
            set_text(add_test(r, c, AB_HTML_ID),
                     name(r, "a name expected after '#'"));
        else if (take(r, '.'))
            set_text(add_test(r, c, AB_HTML_CLASS),
                     name(r, "a name expected after '.'"));
        else if (take(r, '['))
            attribute(r, c);
        else if (take(r, ':'))
            pseudo(r, c);
        else
            break;
    }
    if (!any)
        bad(r, r->at, "a selector expected");
    return index;
}

/* After a compound: what leads to the next one, or 0. */
static int combinator(reader *r)
{
    int space = skip_space(r), c = peek(r);
    if (c == '>' || c == '+' || c == '~') {
        r->at++;
        skip_space(r);
        return c;
    }
    return space && c >= 0 && c != ',' ? ' ' : 0;
}

static void selector(reader *r)
{
    ab_html_selector *s = r->out;
    int between = 0;
    do {
        if (r->parts == AB_HTML_PARTS)
            bad(r, r->at, "more than 64 parts");
        uint64_t bit = (uint64_t)1 << r->parts;
        if (!between)
            s->first |= bit;
        s->parts[r->parts++] = compound(r);
        between = combinator(r);
        *(between == ' '   ? &s->inside
          : between == '>' ? &s->child
          : between == '+' ? &s->next
          : between == '~' ? &s->later
                           : &s->last) |= bit;
    } while (between);
}

const ab_html_selector *ab_html_selector_check(lua_State *L, const char *op,
                                               const ab_html_tree *tree)
{
    size_t bytes;
    const char *text = luaL_checklstring(L, 2, &bytes);
    /* Each test and each compound takes a byte at least, and :only-child is two
     * tests; "\0" is two bytes and becomes three. */
    size_t items = bytes + 2;
    char *block = lua_newuserdatauv(
        L,
        sizeof(ab_html_selector) +
            items * (sizeof(ab_html_test) + sizeof(ab_html_compound)) +
            2 * bytes,
        0);
    ab_html_selector *s = (ab_html_selector *)(void *)block;
    memset(s, 0, sizeof *s);
    s->tests = (ab_html_test *)(void *)(s + 1);
    s->compounds = (ab_html_compound *)(void *)(s->tests + items);
    reader r = {.L = L,
                .op = op,
                .start = text,
                .at = text,
                .end = text + bytes,
                .tree = tree,
                .out = s,
                .text = (char *)(s->compounds + items)};
    do {
        skip_space(&r);
        selector(&r);
    } while (take(&r, ','));
    if (r.at < r.end)
        bad(&r, r.at, "an unexpected character");
    return s;
}
