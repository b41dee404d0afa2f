/* html_gumbo.h - libgumbo as one table of functions, opened on first use; the
 * memory that it works in. */
#ifndef AB_HTML_GUMBO_H
#define AB_HTML_GUMBO_H

#include <gumbo.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* name, result, arguments */
#define AB_GUMBO_FUNCTIONS(X)                                                  \
    X(parse_with_options, GumboOutput *,                                       \
      (const GumboOptions *options, const char *text, size_t bytes))           \
    X(normalized_tagname, const char *, (GumboTag tag))                        \
    X(normalize_svg_tagname, const char *, (const GumboStringPiece *name))     \
    X(tag_from_original_text, void, (GumboStringPiece * text))

typedef struct ab_gumbo {
#define AB_GUMBO_FIELD(name, result, arguments) result(*name) arguments;
    AB_GUMBO_FUNCTIONS(AB_GUMBO_FIELD)
#undef AB_GUMBO_FIELD
} ab_gumbo;

/* A block of memory that is taken from its end on and given back as a whole.
 * gumbo does not expect to get none, nor to be told to stop: whoever asks for
 * memory when that is spent, or the time, is left by longjmp. */
typedef struct ab_html_arena {
    jmp_buf out; /* with a code that is not 0 */
    char *start, *low;
    unsigned calls;
    uint64_t deadline_ns;
    atomic_int *stop;
} ab_html_arena;

void *ab_html_arena_take(ab_html_arena *arena, size_t bytes);

/* html_gumbo_tree.c: writes the tree of a page at the start of the arena. May
 * leave by longjmp. */
void ab_html_gumbo_copy(const ab_gumbo *gumbo, ab_html_arena *arena,
                        const GumboOutput *page, size_t max_nodes);

#endif
