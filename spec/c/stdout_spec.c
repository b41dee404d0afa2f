/* stdout_spec.c - standard output and the life of a box: closed at every moment
 * while tasks print to one that nobody reads; memory; a reader that has gone;
 * an interrupt; hosts that keep standard output for themselves. */
#include "check_life.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what standard output may be: each puts something of it at descriptor 1
 * and gives the other side ---- */

static int saved_output;

static int put(int fd)
{
    int ok = dup2(fd, STDOUT_FILENO) == STDOUT_FILENO;
    close(fd);
    return ok;
}

static int make_pipe(void)
{
    int ends[2];
    if (pipe(ends))
        return -1;
    return put(ends[1]) ? ends[0] : -1;
}

static int make_socket(void)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        return -1;
    return put(ends[1]) ? ends[0] : -1;
}

static int make_terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master))
        return -1;
    return put(open(ptsname(master), O_RDWR | O_NOCTTY)) ? master : -1;
}

typedef struct form {
    const char *name;
    int (*make)(void);
} form;

static const form forms[] = {
    {"pipe", make_pipe}, {"socket", make_socket}, {"terminal", make_terminal}};
enum { FORMS = sizeof forms / sizeof *forms };

/* Checks print, so they come before `make` or after this. */
static void restore(void) { dup2(saved_output, STDOUT_FILENO); }

static int is_blocking(void)
{
    return !(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK);
}

/* ---- the other side, read by a thread to its end ---- */

enum { READ_MAX = 8 << 20 };

typedef struct reader {
    int fd;
    pthread_t thread;
    size_t bytes;
    char data[READ_MAX];
} reader;

static reader the_reader;

static void *read_all(void *arg)
{
    reader *r = arg;
    ssize_t n;
    do {
        size_t room = READ_MAX - r->bytes;
        n = read(r->fd, r->data + r->bytes, room < 4096 ? room : 4096);
        if (n > 0)
            r->bytes += (size_t)n;
    } while (n > 0 || (n < 0 && errno == EINTR));
    return NULL;
}

static void reader_start(int fd)
{
    the_reader.fd = fd;
    the_reader.bytes = 0;
    pthread_create(&the_reader.thread, NULL, read_all, &the_reader);
}

/* Nobody writes any more. */
static void reader_end(void)
{
    restore();
    pthread_join(the_reader.thread, NULL);
    close(the_reader.fd);
}

/* Does it consist of lines of `bytes` times the same letter? */
static int is_whole(size_t bytes)
{
    const char *at = the_reader.data, *end = at + the_reader.bytes;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline)
            return 0;
        size_t len = (size_t)(newline - at);
        len -= len && at[len - 1] == '\r'; /* a terminal */
        if (len != bytes)
            return 0;
        for (size_t i = 1; i < len; i++)
            if (at[i] != *at)
                return 0;
        at = newline + 1;
    }
    return 1;
}

/* ---- boxes ---- */

static asyncbox *box_with_output(counter *c, const char *code)
{
    asyncbox *box = NULL;
    asyncbox_config config = check_config(c);
    config.sandbox = 0;
    config.virtual_time = 0;
    config.standard_output = 1;
    if (asyncbox_new(&config, &box) < 0)
        return NULL;
    if (check_spawn(box, code) < 0) {
        asyncbox_free(box);
        return NULL;
    }
    return box;
}

/* ---- closed while pending ---- */

static const char prints[] =
    "local async = require 'asyncbox'\n"
    "for c in ('abcd'):gmatch '.' do\n"
    "  local text = c:rep(9999)\n"
    "  async.spawn(function() while true do print(text) end end)\n"
    "  async.spawn(function() while true do io.write(text, '\\n') end end)\n"
    "  async.spawn(function()\n"
    "    while true do async.stdout:write {text, '\\n'} end\n"
    "  end)\n"
    "  async.spawn(function()\n"
    "    while true do io.write(text, '\\n') async.stdout:flush() end\n"
    "  end)\n"
    "end\n"
    "async.spawn(function() while true do async.sleep(0) end end)\n"
    "local guard <close> = setmetatable({}, {__close = function()\n"
    "  for _ = 1, 300 do print(('e'):rep(9999)) end\n"
    "end})\n"
    "print(('m'):rep(9999))\n"
    "async.sleep(1000)\n";

static void close_after(const form *what, int turns)
{
    counter c = {0};
    int fds = check_count_fds(), code = -1, blocking = 1;
    int other = what->make();
    asyncbox *box = other < 0 ? NULL : box_with_output(&c, prints);
    for (int i = 0; box && i < turns; i++) {
        asyncbox_step(box, 0);
        blocking &= is_blocking();
    }
    if (box) {
        reader_start(other);
        code = asyncbox_free(box);
        blocking &= is_blocking();
        reader_end();
    }
    restore();
    check_in("%s, %d turns", what->name, turns);
    CHECK(box != NULL);
    CHECK_EQUAL(code, 0);
    CHECK(blocking);
    CHECK(is_whole(9999));
    CHECK(the_reader.bytes / 9999 >= (turns ? 300 : 0));
    counter_check(&c);
    CHECK_EQUAL(check_count_fds(), fds);
    check_out();
}

static void closed_at_every_moment(void)
{
    for (int i = 0; i < FORMS; i++)
        for (int turns = 0; turns < 6; turns++)
            close_after(&forms[i], turns);
}

/* ---- memory ---- */

/* Sixteen tasks print for ever and nobody reads: others go on, and memory stays
 * where it is. */
static void bounded(const form *what)
{
    int other = what->make();
    asyncbox *box = box_with_output(NULL, prints);
    asyncbox_stats before = check_stats(box);
    for (int i = 0; i < 100; i++)
        asyncbox_step(box, 0);
    asyncbox_stats after = check_stats(box);
    reader_start(other);
    asyncbox_free(box);
    reader_end();
    check_in("%s", what->name);
    CHECK(after.memory_bytes > before.memory_bytes + (1 << 20));
    CHECK(after.peak_bytes < before.memory_bytes + (5 << 20));
    CHECK(after.resumes > 1000);
    check_out();
}

/* What is printed is whole lines, memory or not. */
static void print_lines(counter *c, const void *arg)
{
    static const char code[] =
        "local async = require 'asyncbox'\n"
        "local text = ('x'):rep(20000)\n"
        "async.spawn(function() for i = 1, 60 do print(text) end end)\n"
        "for i = 1, 60 do io.write(text, '\\n') end\n"
        "async.stdout:flush()\n";
    (void)arg;
    int other = make_pipe(), result = -1;
    reader_start(other);
    asyncbox *box = box_with_output(c, code);
    if (box) {
        result = asyncbox_run(box);
        asyncbox_free(box);
    }
    reader_end();
    CHECK(is_whole(20000));
    CHECK(result != 0 || the_reader.bytes == 120 * 20001);
}

/* ---- the other side ---- */

/* With SIGPIPE ignored a reader that has gone is an error that is told at the
 * end, of print, and at once, of stdout:write. */
static void reader_has_gone(const form *what)
{
    static const char code[] =
        "local async = require 'asyncbox'\n"
        "print 'some'\n"
        "local ok, err = pcall(async.stdout.write, async.stdout, 'some')\n"
        "assert(not ok and err.code == 'EPIPE' and err.stream == 'stdout')\n"
        "local ok, text, code = io.write(('x'):rep(20000))\n"
        "assert(ok == nil and text == 'Broken pipe' and code == 32)\n";
    signal(SIGPIPE, SIG_IGN);
    int other = what->make();
    asyncbox *box = box_with_output(NULL, code);
    close(other);
    int result = asyncbox_run(box), closed = asyncbox_free(box);
    restore();
    signal(SIGPIPE, SIG_DFL);
    check_in("%s", what->name);
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(closed, -EPIPE);
    check_out();
}

static void *interrupt(void *box)
{
    asyncbox_interrupt(box);
    return NULL;
}

/* Where nothing can wait, printing blocks: another thread may interrupt it. */
static void interrupted(const form *what)
{
    static const char code[] = "table.sort({2, 1}, function()\n"
                               "  while true do print(('x'):rep(9999)) end\n"
                               "end)\n";
    pthread_t thread;
    int other = what->make();
    asyncbox *box = box_with_output(NULL, code);
    pthread_create(&thread, NULL, interrupt, box);
    int result = asyncbox_run(box);
    pthread_join(thread, NULL);
    reader_start(other);
    int closed = asyncbox_free(box);
    reader_end();
    check_in("%s", what->name);
    CHECK_EQUAL(result, -EINTR);
    CHECK_EQUAL(closed, 0);
    CHECK(is_whole(9999));
    check_out();
}

/* ---- hosts ---- */

static void flushed_by_the_host(void)
{
    static const char code[] = "io.write(('x'):rep(300000), '\\n')";
    int other = make_pipe();
    asyncbox *box = box_with_output(NULL, code);
    int result = asyncbox_run(box);
    reader_start(other);
    int flushed = asyncbox_flush(box);
    int wrote = write(STDOUT_FILENO, "host\n", 5) == 5;
    asyncbox_free(box);
    reader_end();
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(flushed, 0);
    CHECK(wrote);
    CHECK_EQUAL(the_reader.bytes, 300006);
    CHECK(memcmp(the_reader.data + 300000, "\nhost\n", 6) == 0);
}

/* Without config.standard_output a box prints through C's stdout, in order with
 * what the host prints, and opens nothing. */
static void left_to_the_host(int sandbox)
{
    static const char code[] =
        "local async = require 'asyncbox'\n"
        "io.write 'b' print 'c' async.stdout:write {'d', 5}\n"
        "async.stdout:flush() assert(not async.stdout:isatty())\n"
        "if io.stderr then io.stdout:write 'e' os.execute 'true' end\n";
    int other = make_pipe();
    printf("a"); /* stays in the buffer until print flushes it */
    int fds = check_count_fds();
    asyncbox *box = check_box(NULL, code, sandbox);
    int with_box = check_count_fds();
    int result = asyncbox_run(box), flushed = asyncbox_flush(box);
    printf("f");
    fflush(stdout);
    int closed = asyncbox_free(box);
    reader_start(other);
    reader_end();
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(flushed, 0);
    CHECK_EQUAL(closed, 0);
    const char *want = sandbox ? "abc\nd5f" : "abc\nd5ef";
    CHECK_EQUAL(the_reader.bytes, strlen(want));
    CHECK(memcmp(the_reader.data, want, strlen(want)) == 0);
    CHECK(with_box - fds <= 4); /* the loop's own */
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* what fails is told here */
    saved_output = dup(STDOUT_FILENO);
    asyncbox_free(check_box(NULL, "", 0)); /* libuv's own descriptors */
    closed_at_every_moment();
    for (int i = 0; i < FORMS; i++) {
        bounded(&forms[i]);
        interrupted(&forms[i]);
    }
    check_refused("lines", print_lines, NULL, 3);
    reader_has_gone(&forms[0]);
    reader_has_gone(&forms[1]);
    flushed_by_the_host();
    left_to_the_host(0);
    left_to_the_host(1);
    return check_done("stdout_spec");
}
