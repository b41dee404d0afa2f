/* stream_buffer.c - where a stream keeps what has come and was not taken yet.
 *
 * A stream that has nothing to read has no buffer.  The box keeps one into
 * which all read: a few bytes are copied from it into a small one of the
 * stream's, so that thousands of streams that wait, or hold half a line, cost
 * little; many bytes stay where they are, and the buffer becomes the stream's
 * until they have been taken. */
#include "stream.h"
#include <string.h>

#define BUFFER ((size_t)AB_STREAM_BUFFER)
#define SPACE_MIN ((size_t)4 << 10)
#define SMALL ((size_t)4 << 10) /* up to so many bytes are copied */
enum { SMALL_FIRST = 128, SMALL_KEPT = 128 };

static size_t unread_bytes(const ab_stream *s) { return s->in_len - s->in_pos; }

void ab_stream_free_buffer(ab_stream *s)
{
    if (s->in_cap == BUFFER && !s->box->stream_buffer)
        s->box->stream_buffer = s->in;
    else
        ab_box_free(s->box, s->in, s->in_cap);
    s->in = NULL;
    s->in_cap = s->in_pos = s->in_len = 0;
}

int ab_stream_have_shared(ab_box *box)
{
    if (!box->stream_buffer)
        box->stream_buffer = ab_box_alloc(box, BUFFER);
    return box->stream_buffer != NULL;
}

static void move_to_front(ab_stream *s)
{
    size_t unread = unread_bytes(s);
    if (s->in_pos && unread)
        memmove(s->in, s->in + s->in_pos, unread);
    s->in_pos = 0;
    s->in_len = unread;
}

/* 1, or 0: no memory. */
static int resize(ab_stream *s, size_t cap)
{
    char *in = ab_box_realloc(s->box, s->in, s->in_cap, cap);
    if (!in)
        return 0;
    s->in = in;
    s->in_cap = cap;
    return 1;
}

/* The small buffer holds what is unread and n bytes more: 1, or 0. */
static int grow_small(ab_stream *s, size_t n)
{
    size_t total = unread_bytes(s) + n, cap = SMALL_FIRST;
    if (total > SMALL)
        return 0;
    move_to_front(s);
    if (total <= s->in_cap)
        return 1;
    while (cap < total)
        cap *= 2;
    return resize(s, cap);
}

/* n bytes lie in the box's buffer, behind room for those that are unread. */
static void take_shared(ab_stream *s, size_t n)
{
    size_t unread = unread_bytes(s);
    char *shared = s->box->stream_buffer;
    if (grow_small(s, n)) {
        memcpy(s->in + s->in_len, shared + unread, n);
        s->in_len += n;
        return;
    }
    if (unread)
        memcpy(shared, s->in + s->in_pos, unread);
    ab_box_free(s->box, s->in, s->in_cap);
    s->box->stream_buffer = NULL;
    s->in = shared;
    s->in_cap = BUFFER;
    s->in_pos = 0;
    s->in_len = unread + n;
}

/* Room for more in a buffer of its own: at the end, by moving what is unread,
 * or by growing. */
static int make_room(ab_stream *s, size_t bytes)
{
    size_t unread = unread_bytes(s);
    if (!unread)
        s->in_pos = s->in_len = 0;
    if (s->in_cap - s->in_len >= bytes)
        return 1;
    if (s->in_pos && unread <= s->in_cap / 2 && s->in_cap - unread >= bytes) {
        move_to_front(s);
        return 1;
    }
    size_t cap = s->in_cap >= BUFFER ? s->in_cap * 2 : BUFFER;
    while (cap - s->in_len < bytes)
        cap *= 2;
    return resize(s, cap);
}

int ab_stream_feed(ab_stream *s, FILE *from, size_t bytes)
{
    while (bytes) {
        if (!make_room(s, SPACE_MIN))
            return UV_ENOMEM;
        size_t space = s->in_cap - s->in_len;
        size_t n =
            fread(s->in + s->in_len, 1, bytes < space ? bytes : space, from);
        if (!n)
            break;
        s->in_len += n;
        bytes -= n;
    }
    return 0;
}

char *ab_stream_place(ab_stream *s, size_t least, size_t *space)
{
    if (s->in_cap >= BUFFER) {
        if (!make_room(s, least))
            return NULL;
        *space = s->in_cap - s->in_len;
        return s->in + s->in_len;
    }
    if (!ab_stream_have_shared(s->box))
        return NULL;
    *space = BUFFER - unread_bytes(s);
    return (char *)s->box->stream_buffer + unread_bytes(s);
}

void ab_stream_received(ab_stream *s, size_t n)
{
    if (s->in_cap >= BUFFER)
        s->in_len += n;
    else
        take_shared(s, n);
}

/* Half a line in the end of a large buffer: a small one will do. */
static void make_small(ab_stream *s)
{
    size_t unread = unread_bytes(s), cap = SMALL_FIRST;
    while (cap < unread)
        cap *= 2;
    char *in = ab_box_alloc(s->box, cap);
    if (!in)
        return;
    memcpy(in, s->in + s->in_pos, unread);
    ab_stream_free_buffer(s);
    s->in = in;
    s->in_cap = cap;
    s->in_len = unread;
}

void ab_stream_release(ab_stream *s)
{
    size_t unread = unread_bytes(s);
    if (!unread && s->in && (s->ended || s->in_cap > SMALL_KEPT))
        ab_stream_free_buffer(s);
    else if (unread && unread <= SMALL && s->in_cap >= BUFFER)
        make_small(s);
}
