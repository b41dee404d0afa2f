/* idna.c - see idna.h; owns the process's one libidn2. */
#include "idna.h"
#include "library.h"
#include <idn2.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

/* name, result, arguments */
#define FUNCTIONS(X)                                                           \
    X(to_ascii_8z, int, (const char *name, char **out, int flags))             \
    X(to_unicode_8z8z, int, (const char *name, char **out, int flags))         \
    X(strerror, const char *, (int code))                                      \
    X(free, void, (void *block))

static struct {
#define FIELD(name, result, arguments) result(*name) arguments;
    FUNCTIONS(FIELD)
#undef FIELD
} idn2;

static int usable;
static ab_library library = {.soname = ASYNCBOX_IDN2_SONAME};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char trouble[sizeof library.trouble + 64];

static int open_table(void)
{
    if (!ab_library_open(&library))
        return 0;
#define FIND(name, result, arguments)                                          \
    if (!ab_library_find(&library, "idn2_" #name, &idn2.name))                 \
        return 0;
    FUNCTIONS(FIND)
#undef FIND
    return 1;
}

static void open_library(void)
{
    usable = open_table();
    if (!usable)
        snprintf(trouble, sizeof trouble,
                 "a name that is not ASCII needs libidn2: %s", library.trouble);
}

/* ---- names ---- */

/* Names in the DNS have 253 characters; letters and marks that vanish in the
 * mapping may make theirs longer. */
enum { NAME_MAX_BYTES = 2048 };

static int is_ascii(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] >= 0x80)
            return 0;
    return 1;
}

int ab_idna_is_needed(const char *name)
{
    return !is_ascii(name, strlen(name));
}

/* Does a label begin with "xn--"? */
static int has_a_label(const char *name)
{
    for (const char *label = name; label; label = strchr(label, '.')) {
        label += *label == '.';
        if (strncasecmp(label, "xn--", 4) == 0)
            return 1;
    }
    return 0;
}

/* The "forbidden domain code points" of the URL standard. */
static int has_forbidden(const char *name)
{
    for (; *name; name++)
        if (*name <= ' ' || *name == 0x7f || strchr("#%/:<>?@[\\]^|", *name))
            return 1;
    return 0;
}

typedef struct range {
    uint32_t first, last;
} range;

/* What transitional processing maps away: sharp s, final sigma, joiners. */
static const range deviations[] = {
    {0xdf, 0xdf}, {0x1e9e, 0x1e9e}, {0x3c2, 0x3c2}, {0x200c, 0x200d}, {0, 0}};

/* What it does not look at: where joiners stand, and letters that are written
 * from right to left (the blocks that Unicode keeps for these). */
static const range unchecked[] = {{0x200c, 0x200d},
                                  {0x590, 0x8ff},
                                  {0xfb1d, 0xfdff},
                                  {0xfe70, 0xfeff},
                                  {0x10800, 0x10fff},
                                  {0x1e800, 0x1efff},
                                  {0, 0}};

/* Is there one of these in the text, which is UTF-8? */
static int has_any(const char *text, const range *set)
{
    while (*text) {
        unsigned char lead = (unsigned char)*text++;
        uint32_t point = lead < 0xc0   ? lead
                         : lead < 0xe0 ? lead & 0x1fu
                         : lead < 0xf0 ? lead & 0x0fu
                                       : lead & 0x07u;
        while (((unsigned char)*text & 0xc0) == 0x80)
            point = point << 6 | ((unsigned char)*text++ & 0x3fu);
        for (const range *r = set; r->last; r++)
            if (point >= r->first && point <= r->last)
                return 1;
    }
    return 0;
}

/* Would transitional processing come to what the other does, but for what
 * IDNA2008 asks for? */
static int may_be_transitional(const char *name)
{
    char *plain = NULL;
    if (has_any(name, deviations) ||
        idn2.to_unicode_8z8z(name, &plain, IDN2_TRANSITIONAL) != IDN2_OK)
        return 0;
    int may = !has_any(plain, unchecked);
    idn2.free(plain);
    return may;
}

/* Besides UTS 46 libidn2 asks for what IDNA2008 asks for, unless processing is
 * transitional.  IDNA2008 knows no symbols, the URL standard does. */
static int map(const char *name, char **out)
{
    int code = idn2.to_ascii_8z(name, out, IDN2_NONTRANSITIONAL);
    int is_stricter = code == IDN2_DISALLOWED || code == IDN2_CONTEXTO ||
                      code == IDN2_CONTEXTO_NO_RULE;
    if (is_stricter && may_be_transitional(name))
        code = idn2.to_ascii_8z(name, out, IDN2_TRANSITIONAL);
    return code;
}

static int copy(const char *from, char *out, const char **why)
{
    size_t n = strlen(from);
    *why = n == 0                ? "the host is missing"
           : has_forbidden(from) ? "invalid character in the host"
           : n >= AB_IDNA_MAX    ? "the name of the host is too long"
                                 : NULL;
    if (*why)
        return UV_EINVAL;
    for (size_t i = 0; i <= n; i++)
        out[i] =
            from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] | 32) : from[i];
    return 0;
}

static int convert(const char *name, char *out, const char **why)
{
    char *mapped = NULL;
    int code = map(name, &mapped);
    if (code == IDN2_OK) {
        int err = copy(mapped, out, why);
        idn2.free(mapped);
        return err;
    }
    *why = idn2.strerror(code);
    return code == IDN2_MALLOC ? UV_ENOMEM : UV_EINVAL;
}

int ab_idna_to_ascii(const char *name, size_t bytes, char out[AB_IDNA_MAX],
                     const char **why)
{
    char text[NAME_MAX_BYTES];
    *why = memchr(name, '\0', bytes) ? "invalid character in the host"
           : bytes >= NAME_MAX_BYTES ? "the name of the host is too long"
                                     : NULL;
    if (*why)
        return UV_EINVAL;
    memcpy(text, name, bytes);
    text[bytes] = '\0';
    int needed = !is_ascii(text, bytes);
    if (!needed && !has_a_label(text))
        return copy(text, out, why);
    pthread_once(&once, open_library);
    if (usable)
        return convert(text, out, why);
    if (!needed)
        return copy(text, out, why);
    *why = trouble;
    return UV_ENOTSUP;
}

/* ---- URLs ---- */

/* Its host, without login and port; 0: there is none, or it is an address in
 * brackets. */
static int find_host(const char *url, const char **host, const char **end)
{
    const char *at = strstr(url, "://");
    if (!at)
        return 0;
    at += 3;
    *end = at + strcspn(at, "/?#");
    for (const char *p = at; p < *end; p++)
        if (*p == '@')
            at = p + 1;
    if (*at == '[')
        return 0;
    const char *colon = memchr(at, ':', (size_t)(*end - at));
    *host = at;
    *end = colon ? colon : *end;
    return 1;
}

int ab_idna_url_is_needed(const char *url)
{
    const char *host, *end;
    if (!is_ascii(url, strlen(url)))
        return 1;
    if (!strchr(url, '%')) /* as most: this is asked of each */
        return 0;
    return find_host(url, &host, &end) &&
           memchr(host, '%', (size_t)(end - host));
}

static char *escape(char *out, const char *from, const char *end)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; from < end; from++) {
        unsigned char c = (unsigned char)*from;
        if (c < 0x80) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    return out;
}

static int hex_value(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 32 : c) : 0;
    return at ? (int)(at - digits) : -1;
}

/* What is no escape stays as it is, and is refused. */
static size_t unescape(char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        int high = -1, low = -1;
        if (text[i] == '%' && i + 2 < bytes) {
            high = hex_value(text[i + 1]);
            low = hex_value(text[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            text[n++] = (char)(high << 4 | low);
            i += 2;
        } else {
            text[n++] = text[i];
        }
    }
    return n;
}

int ab_idna_url(const char *url, char *out, const char **why)
{
    const char *host, *end, *stop = url + strlen(url);
    char text[NAME_MAX_BYTES];
    if (!find_host(url, &host, &end))
        host = end = url;
    size_t bytes = (size_t)(end - host);
    out = escape(out, url, host);
    if (bytes >= sizeof text) {
        *why = "the name of the host is too long";
        return UV_EINVAL;
    }
    if (bytes) {
        memcpy(text, host, bytes);
        bytes = unescape(text, bytes);
        int err = ab_idna_to_ascii(text, bytes, out, why);
        if (err)
            return err;
        out += strlen(out);
    }
    out = escape(out, end, stop);
    *out = '\0';
    return 0;
}
