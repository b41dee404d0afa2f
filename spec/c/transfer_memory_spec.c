/* transfer_memory_spec.c - the memory that libcurl is given: blocks are used
 * again, none is lost, misuse ends the program. */
#include "check.h"
#include "transfer_curl.h"
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const ab_curl_memory *m;

#ifdef __GLIBC__
#include <malloc.h>
static size_t used(void) { return mallinfo2().uordblks; }
#else
static size_t used(void) { return 0; } /* see main */
#endif

static void fill(void *block, size_t n, int seed)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)block)[i] = (unsigned char)(i + (size_t)seed);
}

static int is_filled(const void *block, size_t n, int seed)
{
    for (size_t i = 0; i < n; i++)
        if (((const unsigned char *)block)[i] !=
            (unsigned char)(i + (size_t)seed))
            return 0;
    return 1;
}

/* Of every size around the bounds of the classes, all at once. */
static void blocks_are_apart(void)
{
    enum { SIZES = 2200 };
    static void *blocks[SIZES];
    for (int round = 0; round < 3; round++) {
        for (int n = 0; n < SIZES; n++) {
            blocks[n] = m->take((size_t)n);
            CHECK(blocks[n] != NULL);
            CHECK((uintptr_t)blocks[n] % 16 == 0);
            fill(blocks[n], (size_t)n, n);
        }
        int apart = 1;
        for (int n = 0; n < SIZES; n++) {
            apart &= is_filled(blocks[n], (size_t)n, n);
            m->give(blocks[n]);
        }
        CHECK(apart);
    }
    m->give(NULL);
}

static void blocks_are_used_again(void)
{
    void *block = m->take(100);
    m->give(block);
    void *other = m->take(97);
    CHECK(other == block);
    fill(other, 97, 1);
    m->give(other);
    char *zeroed = m->zeroed(10, 10);
    CHECK((void *)zeroed == block);
    int is_zero = 1;
    for (int i = 0; i < 100; i++)
        is_zero &= zeroed[i] == 0;
    CHECK(is_zero);
    m->give(zeroed);
    char text[100];
    memset(text, 'x', sizeof text);
    text[99] = '\0';
    char *copy = m->copy(text);
    CHECK((void *)copy == block);
    CHECK(strcmp(copy, text) == 0);
    m->give(copy);
    CHECK(m->zeroed(SIZE_MAX / 2, 3) == NULL);
}

static void changed_blocks_keep_what_is_in_them(void)
{
    static const size_t sizes[] = {1,    24,    25,  200, 2000, 2100,
                                   9000, 70000, 300, 17,  2056, 2057};
    char *block = NULL;
    size_t had = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i];
        block = m->change(block, n);
        CHECK(is_filled(block, had < n ? had : n, 3));
        fill(block, n, 3);
        had = n;
    }
    m->give(block);
}

/* A program may have called libcurl before, and frees what it gives with
 * free() although it should not. */
static void blocks_are_those_of_malloc(void)
{
    void *theirs = malloc(333);
    m->give(theirs);
    CHECK(m->take(333) == theirs);
    free(theirs);
    char *copy = m->copy("text");
    free(copy);
}

/* They may be given in another thread, which keeps nothing. */
static void *give_it(void *block)
{
    m->give(block);
    void *other = m->take(100);
    other = m->change(other, 1000);
    m->give(other);
    return NULL;
}

static void other_threads_may_give(void)
{
    pthread_t thread;
    for (int i = 0; i < 100; i++) {
        CHECK(pthread_create(&thread, NULL, give_it, m->take(100)) == 0);
        pthread_join(thread, NULL);
    }
}

enum { MANY = 8000 }; /* blocks of 1,000 bytes */

static void give_many(void)
{
    static __thread void *blocks[MANY];
    for (int i = 0; i < MANY; i++)
        blocks[i] = m->take(1000);
    for (int i = 0; i < MANY; i++)
        m->give(blocks[i]);
}

/* Users of the store in this thread when it is called: one. */
static void little_is_kept(void)
{
    ab_curl_leave();
    size_t before = used();
    ab_curl_enter();
    ab_curl_enter();
    give_many();
    CHECK(used() > before + 512 * 1024);
    CHECK(used() < before + 2 * 1024 * 1024);
    ab_curl_leave();
    CHECK(used() > before + 512 * 1024);
    ab_curl_leave();
    CHECK(used() < before + 128 * 1024);
    ab_curl_enter();
}

static void *enter_and_end(void *unused)
{
    (void)unused;
    ab_curl_enter();
    give_many();
    return NULL;
}

static void threads_that_end_keep_nothing(void)
{
    pthread_t thread;
    size_t before = used();
    for (int i = 0; i < 20; i++) {
        CHECK(pthread_create(&thread, NULL, enter_and_end, NULL) == 0);
        pthread_join(thread, NULL);
    }
    CHECK(used() < before + 512 * 1024);
}

static void give_twice(void)
{
    void *block = m->take(100), *other = m->take(100);
    m->give(block);
    m->give(other);
    m->give(block);
}

static void give_and_write(void)
{
    void *block = m->take(100);
    m->give(block);
    memset(block, 'x', 100);
    m->take(100);
    m->take(100);
}

static void ends_the_program(void (*misuse)(void))
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        misuse();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) &&
          (WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGSEGV));
}

int main(void)
{
    m = ab_curl_find_memory();
    if (!m) {
        printf("transfer_memory_spec: libcurl has libc's memory here\n");
        return 0;
    }
    blocks_are_apart(); /* before there is a store, too */
    ab_curl_enter();
    blocks_are_apart();
    blocks_are_used_again();
    changed_blocks_keep_what_is_in_them();
    blocks_are_those_of_malloc();
    other_threads_may_give();
    little_is_kept();
    threads_that_end_keep_nothing();
    ends_the_program(give_twice);
    ends_the_program(give_and_write);
    ab_curl_leave();
    return check_done("transfer_memory_spec");
}
