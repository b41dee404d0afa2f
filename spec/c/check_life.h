/* check_life.h - what the C specs of every unit do to a box: close it at any
 * moment, and refuse it memory at any allocation.  Neither a block nor a
 * descriptor may be left. */
#ifndef CHECK_LIFE_H
#define CHECK_LIFE_H

#include "check.h"
#include <time.h>

static inline void check_pause_us(long us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

/* No more descriptors are open than so many; other threads may have some for a
 * while. */
static inline int check_fds_at_most(int fds)
{
    int have = check_count_fds();
    for (int i = 0; i < 5000 && have > fds; i++) {
        check_pause_us(2000);
        have = check_count_fds();
    }
    return CHECK(have <= fds);
}

/* As check_box: a box that is about to run code, or NULL: no memory. */
typedef asyncbox *check_maker(counter *c, const char *code, int sandbox);

/* Closes such a box after so many turns and a pause after each; `then` checks
 * what else is to be checked. */
static inline void check_closed_after(check_maker *make, const char *code,
                                      int sandbox, int turns, long pause_us,
                                      void (*then)(void))
{
    counter c = {0};
    int fds = check_count_fds();
    check_in("%d turns of %ld us", turns, pause_us);
    asyncbox *box = make(&c, code, sandbox);
    if (!CHECK(box != NULL))
        return;
    for (int i = 0; i < turns; i++) {
        asyncbox_step(box, 0);
        if (pause_us)
            check_pause_us(pause_us);
    }
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
    check_fds_at_most(fds);
    then();
    check_out();
}

/* Runs a box to its end and frees it; NULL: nothing. */
static inline void check_run(asyncbox *box)
{
    if (!box)
        return;
    asyncbox_run(box);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

/* Does something with the counter's memory and gives all of it back. */
typedef void check_case(counter *c, const void *arg);

/* Calls it again and again, and refuses the first allocation, then the one
 * that is `stride` later, and so on until none is refused.  How many there
 * are, about. */
static inline size_t check_refused(const char *what, check_case *once,
                                   const void *arg, size_t stride)
{
    for (size_t n = 1;; n += stride) {
        counter c = {.fail_at = n};
        int fds = check_count_fds();
        check_in("%s, allocation %zu", what, n);
        once(&c, arg);
        counter_check(&c);
        if (!check_fds_at_most(fds) || !c.refused) {
            check_out();
            return n;
        }
    }
}

#endif
