/* fs_glob.c - does a name match one segment of a pattern?
 *
 * * any number of characters, ? one, [a-z] [!a-z] [^a-z] one of them or none of
 * them, \x the x itself.  A character is what UTF-8 makes one; a byte that is
 * no UTF-8 is a character of its own.  Only the last star is ever tried again,
 * so the time is bounded by the product of the two lengths. */
#include "fs_glob.h"

enum { CLASS_MAX = 256, NO_UTF8 = 0x110000 };

static unsigned decode(const char **p, const char *end)
{
    const unsigned char *s = (const unsigned char *)*p;
    int more = s[0] >= 0xf0 ? 3 : s[0] >= 0xe0 ? 2 : s[0] >= 0xc2 ? 1 : 0;
    unsigned c = s[0];
    if (s[0] < 0x80 || !more || s[0] > 0xf4 || end - *p <= more) {
        *p += 1;
        return s[0] < 0x80 ? c : NO_UTF8 + c;
    }
    c &= 0x3fu >> more;
    for (int i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            *p += 1;
            return NO_UTF8 + (unsigned)s[0];
        }
        c = c << 6 | (s[i] & 0x3fu);
    }
    *p += more + 1;
    return c;
}

/* Behind the class that begins at p, or NULL when it is none. */
static const char *class_end(const char *p, const char *end)
{
    const char *from = p++;
    if (p < end && (*p == '!' || *p == '^'))
        p++;
    if (p < end && *p == ']')
        p++;
    for (; p < end && p - from < CLASS_MAX; p++) {
        if (*p == ']')
            return p + 1;
        if (*p == '\\')
            p++;
    }
    return NULL;
}

static unsigned class_char(const char **p, const char *end)
{
    if (**p == '\\' && *p + 1 < end)
        (*p)++;
    return decode(p, end);
}

/* `end` is behind the ']'. */
static int in_class(const char *p, const char *end, unsigned c)
{
    int negated = 0, found = 0, first = 1;
    end--;
    p++;
    if (*p == '!' || *p == '^') {
        negated = 1;
        p++;
    }
    for (; p < end && (first || *p != ']'); first = 0) {
        unsigned low = class_char(&p, end), high = low;
        if (end - p >= 2 && *p == '-') {
            p++;
            high = class_char(&p, end);
        }
        found |= low <= c && c <= high;
    }
    return found != negated;
}

/* One character of the pattern against one of the name; both go on. */
static int match_one(const char **p, const char *p_end, const char **s,
                     const char *s_end)
{
    const char *after;
    unsigned c = decode(s, s_end);
    if (**p == '?') {
        (*p)++;
        return 1;
    }
    if (**p == '[' && (after = class_end(*p, p_end))) {
        int found = in_class(*p, after, c);
        *p = after;
        return found;
    }
    return class_char(p, p_end) == c;
}

static int match(const char *p, const char *p_end, const char *s,
                 const char *s_end)
{
    const char *star = NULL, *retry = NULL;
    while (s < s_end) {
        if (p < p_end && *p == '*') {
            star = ++p;
            retry = s;
            continue;
        }
        if (p < p_end && match_one(&p, p_end, &s, s_end))
            continue;
        if (!star)
            return 0;
        decode(&retry, s_end);
        s = retry;
        p = star;
    }
    while (p < p_end && *p == '*')
        p++;
    return p == p_end;
}

int ab_fs_glob_matches(const ab_fs_segment *segment, const char *name,
                       size_t len)
{
    const char *text = segment->text;
    return match(text, text + segment->bytes, name, name + len);
}
