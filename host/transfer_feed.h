/* transfer_feed.h - the body of an upload that is made while it is sent.
 *
 * One side puts bytes in and waits when too many are there (the script's task);
 * the other takes them out when its connection has room (curl).  It lives until
 * both have let go of it.  Nothing here raises or touches a lua_State. */
#ifndef AB_TRANSFER_FEED_H
#define AB_TRANSFER_FEED_H

#include "op.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ab_feed ab_feed;

/* For a body of so many bytes, or -1: it is told by its end.  NULL: no memory.
 * The caller is the script's side of it. */
ab_feed *ab_feed_new(ab_box *box, int64_t length);

/* The script's side lets go.  Without ab_feed_end before, whoever sends it
 * fails: half a body must not pass for a whole one. */
void ab_feed_free(ab_feed *feed);

/* 1: nobody wants (more of) it, be it that the transfer has ended or that the
 * server has answered without. */
int ab_feed_is_over(const ab_feed *feed);

/* Copies the bytes.  0, UV_ENOMEM, or UV_E2BIG: more than its length. */
int ab_feed_put(ab_feed *feed, const char *data, size_t bytes);

/* That was all.  0, or UV_EINVAL: less than its length. */
int ab_feed_end(ab_feed *feed);

/* 1: put no more before an op that ab_feed_wait was given has finished, with
 * status 0.  One at a time. */
int ab_feed_is_full(const ab_feed *feed);
void ab_feed_wait(ab_feed *feed, ab_op *op);
/* Nobody waits any more: for the op's cancel hook. */
void ab_feed_unwait(ab_feed *feed);

/* The same for its end: all was sent, or nobody wants more. */
int ab_feed_is_sent(const ab_feed *feed);
void ab_feed_wait_sent(ab_feed *feed, ab_op *op);
void ab_feed_unwait_sent(ab_feed *feed);

#endif
