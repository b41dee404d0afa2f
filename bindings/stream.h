/* stream.h - what the parts of the stream type share; nobody else includes it
 * (other bindings make streams through binding.h).
 *
 *   stream.c        their life: made, opened, closed; the class
 *   stream_buffer.c where it keeps what has come
 *   stream_read.c   reading, and the methods that take from the buffer
 *   stream_write.c  write, and what waits until the other side has taken it
 *   stream_socket.c what only sockets have: addresses, options, half a close
 *   stream_tls.c    the filter between the socket and the buffers: TLS
 *   stream_tls_core.c, stream_tls.lua  its options, and starting it
 *
 * A stream is C memory of the box with a libuv handle in it.  The Lua object is
 * one pointer to it and may be collected at any moment. */
#ifndef AB_STREAM_H
#define AB_STREAM_H

#include "binding.h"
#include <uv.h>

struct ab_stream {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } uv;
    ab_box *box;
    ab_closer closer;
    int refs;       /* the Lua object, the open handle, each op */
    unsigned flags; /* AB_STREAM_READ, AB_STREAM_WRITE */
    const ab_stream_source *source; /* static; NULL: none */
    const char *name;  /* in errors and tostring: "stdout", static; of a socket
                          its peer, once there is one: owned, name_bytes */
    size_t name_bytes; /* 0: name is static */
    unsigned open : 1; /* the handle is initialised and not yet gone */
    unsigned closing : 1;    /* uv_close was called */
    unsigned closed : 1;     /* for the script: nothing works any more */
    unsigned reading : 1;    /* uv_read_start */
    unsigned ended : 1;      /* the other side has said all */
    unsigned idling : 1;     /* an empty pipe counts as ended */
    unsigned discarding : 1; /* closed, but what comes is thrown away */
    unsigned socket : 1;     /* both ways over one descriptor: can be shut */
    unsigned shut : 1;       /* no more will be written */
    unsigned more : 1;       /* the last read has filled all the room it had */
    unsigned straight : 4;   /* reads without the loop, since it was asked */
    int read_error, write_error; /* stays: every later call raises it */
    int write_told;              /* the script has seen write_error */
    ab_op *reader, *writer;      /* at most one each, until pushed */
    char *in; /* read buffer: in[in_pos .. in_len) is unread.  NULL: empty */
    size_t in_cap, in_pos, in_len;
    ab_tls *tls;   /* what goes over the wire is cipher text; NULL: it is not */
    ab_op *shaker; /* who waits for its handshake, until pushed */
    size_t queued; /* bytes handed to libuv that it has not got rid of */
    size_t high_water;         /* write waits when more than this is queued */
    int64_t read_ns, write_ns; /* how long a call may wait; 0: for ever */
};

extern const ab_class ab_stream_class; /* its object: one ab_stream pointer */

/* In a method: the stream of argument 1. */
ab_stream *ab_stream_self(lua_State *L);
/* Raises an error object that names the stream. */
int ab_stream_fail(lua_State *L, const ab_stream *s, int code, const char *op,
                   const char *message);
/* Raises write_error. */
int ab_stream_write_fail(lua_State *L, ab_stream *s, const char *op);
/* Steps 1 and 2: may it wait, is it open, does it go this way (`flag`), is
 * nobody else at it? */
ab_stream *ab_stream_enter(lua_State *L, const char *op, unsigned flag);
void ab_stream_unref(ab_stream *s);
/* Lets libuv fill the read buffer from now on: 0 or a code. */
int ab_stream_start_reading(ab_stream *s);
void ab_stream_stop_reading(ab_stream *s);
/* n bytes have come to where libuv was told to put them (with TLS: so far
 * before that, see AB_STREAM_TLS_GAP). */
void ab_stream_received(ab_stream *s, size_t n);
/* Copies and hands to libuv: 0 or a code. */
int ab_stream_queue(ab_stream *s, const char *data, size_t bytes);
/* Frees the read buffer, whatever is in it. */
void ab_stream_free_buffer(ab_stream *s);
/* Lets go of memory that what is unread does not need. */
void ab_stream_release(ab_stream *s);
/* The buffer that all streams of the box read into: 1, or 0 for want of
 * memory. */
int ab_stream_have_shared(ab_box *box);
/* Where at least so many bytes may be put, for ab_stream_received; NULL: no
 * memory. */
char *ab_stream_place(ab_stream *s, size_t least, size_t *space);

/* The op of everything that waits for room. */
typedef struct ab_stream_wait {
    ab_op op;
    ab_stream *stream;
    size_t until; /* waits until no more than this is queued */
} ab_stream_wait;

int ab_stream_wait_push(lua_State *L, ab_op *op);
void ab_stream_wait_cancel(ab_op *op);
void ab_stream_wait_drop(ab_op *op);
/* Waits until at most `until` bytes are queued, then goes on with k. */
int ab_stream_wait_room(lua_State *L, ab_stream *s, const ab_op_type *type,
                        size_t until, lua_KContext ctx, lua_KFunction k);

/* Waits until all that is queued has gone, then k. */
int ab_stream_drain(lua_State *L, ab_stream *s, const ab_op_type *type,
                    lua_KFunction k);
/* Gives a name that is not static: 0 or UV_ENOMEM. */
int ab_stream_set_name(ab_stream *s, const char *name);
/* Counts the handle, which was initialised, as open. */
void ab_stream_opened(ab_stream *s);

/* ---- TLS: stream_tls.c ---- */

/* Tells the other side, as far as it can without waiting, that all has been
 * written.  Also without s->tls. */
void ab_stream_tls_notify(ab_stream *s);
/* Before closing: reads what nobody wants any more.  Also without s->tls. */
void ab_stream_tls_read_away(ab_stream *s);
void ab_stream_tls_free(ab_stream *s);
/* Cipher text is read into the free end of the buffer so far behind what is
 * unread that the plain text, which is never longer than its cipher text and
 * one record that was incomplete before, does not reach what is not yet
 * decrypted. */
#define AB_STREAM_TLS_GAP ((size_t)17 << 10)
/* n bytes of cipher text have come, and are that far behind. */
void ab_stream_tls_input(ab_stream *s, const char *cipher, size_t n);
/* Reading has failed or ended. */
void ab_stream_tls_broken(ab_stream *s, int code);
/* Gets rid of what it can of data[*done ..]: 1 all is handed over, 0 it has to
 * wait, or a code. */
int ab_stream_tls_hand_over(ab_stream *s, const char *data, size_t len,
                            size_t *done);
/* What a code means here; NULL: what it means everywhere. */
const char *ab_stream_tls_explain(const ab_stream *s, int code);

/* Its object: one ab_tls_context pointer. */
extern const ab_class ab_stream_tls_context_class;
/* In a method: the stream of argument 1, on which a handshake may begin, or
 * raises. */
ab_stream *ab_stream_tls_startable(lua_State *L);
/* shake(stream, context, name or nil, session key or nil, is_server) */
int ab_stream_tls_shake(lua_State *L);
int ab_stream_l_start_tls(lua_State *L);
int ab_stream_l_tls(lua_State *L);

int ab_stream_l_write(lua_State *L);
int ab_stream_l_read(lua_State *L);
int ab_stream_l_read_exactly(lua_State *L);
int ab_stream_l_read_until(lua_State *L);
int ab_stream_l_read_line(lua_State *L);
int ab_stream_l_read_all(lua_State *L);
int ab_stream_l_chunks(lua_State *L);
int ab_stream_l_lines(lua_State *L);

int ab_stream_l_keepalive(lua_State *L);
int ab_stream_l_local_address(lua_State *L);
int ab_stream_l_nodelay(lua_State *L);
int ab_stream_l_peer(lua_State *L);
int ab_stream_l_reset(lua_State *L);
int ab_stream_l_shutdown(lua_State *L);
int ab_stream_l_timeout(lua_State *L);

#endif
