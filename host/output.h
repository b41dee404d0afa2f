/* output.h - standard output and standard error of a box that has them to
 * itself (asyncbox_config.standard_output): a queue before descriptors 1 and 2,
 * which never blocks the loop.
 *
 * What is printed is written at once as far as the system takes it; the rest is
 * queued, and written when libuv says that there is room.  The queue takes
 * every text whole, so that what tasks print does not get mixed up: who prints
 * asks first whether it is full, and waits while it is.  Memory is bounded by
 * that: `full` bytes, twice that where nobody can wait, and one text.
 *
 * A descriptor that is shared with other processes never becomes non-blocking:
 * pipes and terminals are opened anew, sockets are written with MSG_DONTWAIT;
 * where neither works poll(2) is asked before each small piece.  Files and
 * devices are written as they are.
 *
 * Only on the box's thread. */
#ifndef AB_OUTPUT_H
#define AB_OUTPUT_H

#include "op.h"
#include <stddef.h>
#include <uv.h>

enum {
    /* What io.write gathers before it is written (a turn's end writes it,
     * too). */
    AB_OUTPUT_GATHER = 16 << 10,
    /* A queue of so much is full: who prints waits until half of it has gone.
     * Less in a box with little memory. */
    AB_OUTPUT_FULL = 1 << 20
};

/* How io.stdout:setvbuf was set. */
typedef enum ab_output_mode {
    AB_OUTPUT_GATHERS, /* the default of a file or a pipe */
    AB_OUTPUT_LINES,   /* gathers until there is a whole line */
    AB_OUTPUT_AT_ONCE  /* the default of a terminal, and of standard error */
} ab_output_mode;

typedef struct ab_output {
    ab_box *box;
    int fd;       /* 1 or 2 */
    int write_fd; /* where to write: fd, or one opened for us */
    int watch_fd; /* what libuv watches; -1: it cannot */
    int kind;     /* private: how to write without blocking */
    size_t full;
    int error;            /* the first failure there ever was, or 0 */
    int untold;           /* a failure that nobody was told of yet, or 0 */
    unsigned polling : 1; /* the handle is initialised */
    unsigned polled : 1;  /* and active: the rest of the queue is on its way */
    char *data;           /* data[start .. start + len) is queued */
    size_t cap, start, len;
    uint64_t gone;   /* bytes that have left the queue, written or lost */
    ab_link waiters; /* of ab_output_wait, the oldest first */
    uv_poll_t poll;
    char first[AB_OUTPUT_GATHER]; /* data, until that is too small */
} ab_output;

/* Both outputs of a box; NULLs when it has none.  Where both lead to the same
 * pipe or terminal `err` is `out`, so that what is printed keeps its order. */
typedef struct ab_outputs {
    ab_output *out, *err;
    struct ab_output_file {
        const void *object; /* io.stdout, io.stderr: only compared */
        ab_output *output;
        ab_output_mode mode;
        size_t gather; /* setvbuf's size */
    } files[2];
} ab_outputs;
typedef struct ab_output_file ab_output_file;

/* 0 or UV_ENOMEM.  With box->loop ready. */
int ab_outputs_init(ab_outputs *outputs, ab_box *box);
/* Writes out all there is and closes the handles; the waiters are gone already.
 * However long it takes, unless the box was interrupted: then what nobody reads
 * for five seconds is given up (UV_ETIMEDOUT).  0 or the first failure of
 * standard output. */
int ab_outputs_finish(ab_outputs *outputs);
/* Frees, after the loop has closed the handles. */
void ab_outputs_deinit(ab_outputs *outputs);

/* The end of a turn: what io.write has gathered goes out. */
void ab_outputs_turn(ab_outputs *outputs);
/* Blocks the thread until all is written: 0, UV_ECANCELED when the box is
 * interrupted meanwhile, or the code of a failure of standard output. */
int ab_outputs_flush(ab_outputs *outputs);
/* Text for people, on standard error, after all that was printed before; then
 * `end`. */
void ab_outputs_say(ab_outputs *outputs, const char *text, size_t bytes,
                    const char *end);

/* Queues bytes, all of them; at least AB_OUTPUT_GATHER are written as far as
 * the system takes them.  A failure is left in o->untold. */
void ab_output_put(ab_output *o, const char *data, size_t bytes);
/* Writes what the system takes of the queue, and has the rest written later.
 * After a failure (left in o->untold) the queue is empty: it is lost. */
void ab_output_drain(ab_output *o);
/* Blocks the thread until at most `left` bytes are queued: 0, or UV_ECANCELED
 * when the box is interrupted meanwhile (a closing one cannot be). */
int ab_output_block(ab_output *o, size_t left);

/* An op that is finished when all but `left` bytes of what is queued now have
 * gone; for op types made of these.  o->polled must be set.  Raises when out of
 * memory. */
typedef struct ab_output_wait {
    ab_op op;
    uint64_t until; /* output->gone */
    ab_link link;
} ab_output_wait;
ab_op *ab_output_wait_new(lua_State *L, const ab_op_type *type, ab_output *o,
                          size_t left);
int ab_output_wait_push(lua_State *L, ab_op *op);
void ab_output_wait_cancel(ab_op *op);
void ab_output_wait_drop(ab_op *op);

#endif
