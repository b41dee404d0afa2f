/* stdin_spec.c - standard input and the life of a box: closed at every moment
 * while a task waits for it, whatever it is; what those who share it notice;
 * one box at a time. */
#include "check_life.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what standard input may be: each puts something of it at descriptor 0
 * and gives the other side, or -1 ---- */

static void put(int fd)
{
    CHECK_EQUAL(dup2(fd, STDIN_FILENO), STDIN_FILENO);
    close(fd);
}

static int make_pipe(void)
{
    int ends[2];
    if (!CHECK(pipe(ends) == 0))
        return -1;
    put(ends[0]);
    return ends[1];
}

static int make_socket(void)
{
    int ends[2];
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0))
        return -1;
    put(ends[0]);
    return ends[1];
}

static int make_terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (!CHECK(master >= 0) || !CHECK(grantpt(master) == 0) ||
        !CHECK(unlockpt(master) == 0))
        return -1;
    put(open(ptsname(master), O_RDWR | O_NOCTTY));
    return master;
}

static int make_device(void)
{
    put(open("/dev/zero", O_RDONLY)); /* never ends */
    return -1;
}

typedef struct form {
    const char *name;
    int (*make)(void);
} form;

static const form forms[] = {{"pipe", make_pipe},
                             {"socket", make_socket},
                             {"terminal", make_terminal},
                             {"device", make_device}};
enum { FORMS = sizeof forms / sizeof *forms };

static void unmake(int other)
{
    if (other >= 0)
        close(other);
    put(open("/dev/null", O_RDONLY));
}

static int is_blocking(void)
{
    return !(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK);
}

/* ---- closed while pending ---- */

static const char waits[] =
    "local async = require 'asyncbox'\n"
    "async.spawn(function() while true do async.sleep(0.001) end end)\n"
    "async.stdin:read_until('no such line', {max = 1 << 30})\n";

static void close_after(const form *what, int turns)
{
    counter c = {0};
    check_in("%s, %d turns", what->name, turns);
    int other = what->make();
    int fds = check_count_fds();
    asyncbox *box = check_box(&c, waits, 0);
    if (!CHECK(box != NULL))
        return;
    for (int i = 0; i < turns; i++) {
        asyncbox_step(box, 0);
        CHECK(is_blocking());
        if (i == 3 && other >= 0)
            CHECK(write(other, "some\n", 5) == 5);
    }
    CHECK_EQUAL(asyncbox_free(box), 0);
    CHECK(is_blocking());
    counter_check(&c);
    CHECK_EQUAL(check_count_fds(), fds);
    unmake(other);
    check_out();
}

static void closed_at_every_moment(void)
{
    for (int i = 0; i < FORMS; i++)
        for (int turns = 0; turns < 9; turns++)
            close_after(&forms[i], turns);
}

/* ---- who else reads ---- */

/* Steps until no task is left, at most 10 s or so. */
static int step_to_the_end(asyncbox *box)
{
    int left = 1;
    for (int i = 0; i < 10000 && left == 1; i++) {
        left = asyncbox_step(box, 0);
        check_pause_us(1000);
    }
    return left;
}

/* What comes while no task asks stays in the pipe. */
static void left_to_others(void)
{
    static const char code[] = "local stdin = require 'asyncbox.stdin'\n"
                               "assert(stdin:read_line() == 'first')\n"
                               "assert(tostring(stdin) == 'stream (stdin)')\n";
    static const char after[] = "local async = require 'asyncbox'\n"
                                "async.sleep(0.02)\n";
    char text[16] = "";
    int other = make_pipe();
    asyncbox *box = check_box(NULL, code, 0);
    if (!CHECK(box != NULL))
        return;
    CHECK(write(other, "first\n", 6) == 6);
    CHECK_EQUAL(step_to_the_end(box), 0);
    CHECK(write(other, "second\n", 7) == 7);
    CHECK_EQUAL(check_spawn(box, after), 0);
    CHECK_EQUAL(step_to_the_end(box), 0);
    CHECK_EQUAL(read(STDIN_FILENO, text, sizeof text), 7);
    CHECK(strcmp(text, "second\n") == 0);
    asyncbox_free(box);
    unmake(other);
}

static void one_box_at_a_time(void)
{
    static const char refused[] =
        "local ok, err = pcall(function() require('asyncbox.stdin'):read() "
        "end)\n"
        "assert(not ok and err.code == 'EBUSY', tostring(err))\n";
    static const char reads[] =
        "assert(require('asyncbox.stdin'):read_line() == 'line')\n";
    for (int i = 0; i < FORMS - 1; i++) {
        check_in("%s", forms[i].name);
        int other = forms[i].make();
        asyncbox *first = check_box(NULL, waits, 0);
        asyncbox *second = check_box(NULL, refused, 0);
        if (!CHECK(first && second))
            return;
        asyncbox_step(first, 0);
        asyncbox_step(first, 0);
        CHECK_EQUAL(asyncbox_run(second), 0);
        asyncbox_free(first);
        CHECK(write(other, "line\n", 5) == 5);
        /* It was not opened by the try that failed. */
        CHECK_EQUAL(check_spawn(second, reads), 0);
        CHECK_EQUAL(asyncbox_run(second), 0);
        asyncbox_free(second);
        unmake(other);
    }
    check_out();
}

/* ---- grants, memory ---- */

static void allowed_by_the_host(void)
{
    static const char code[] =
        "local ok, err = pcall(function()\n"
        "  return require('asyncbox.stdin'):read()\n"
        "end)\n"
        "assert(ok or err.code == 'EDENIED', tostring(err))\n"
        "assert(not ok or err == 'x')\n"
        "if not ok then error('denied', 0) end\n";
    for (int granted = 0; granted < 2; granted++) {
        int other = make_pipe();
        CHECK(write(other, "x", 1) == 1);
        asyncbox *box = check_box(NULL, code, 1);
        if (!CHECK(box != NULL))
            return;
        CHECK(asyncbox_allow(box, "stdin", "x") < 0);
        if (granted)
            CHECK_EQUAL(asyncbox_allow(box, "stdin", "*"), 0);
        CHECK_EQUAL(asyncbox_run(box), granted ? 0 : ASYNCBOX_ESCRIPT);
        asyncbox_free(box);
        unmake(other);
    }
}

static void read_a_line(counter *c, const void *arg)
{
    static const char code[] =
        "local async = require 'asyncbox'\n"
        "pcall(async.timeout, 0.001, async.stdin.read_line, async.stdin)\n"
        "pcall(function() async.stdin:close() end)\n";
    const form *what = arg;
    int other = what->make();
    check_run(check_box(c, code, 0));
    unmake(other);
}

int main(void)
{
    asyncbox_free(check_box(NULL, "", 0)); /* libuv's own descriptors */
    closed_at_every_moment();
    left_to_others();
    one_box_at_a_time();
    allowed_by_the_host();
    for (int i = 0; i < 2; i++)
        check_refused(forms[i].name, read_a_line, &forms[i], 3);
    return check_done("stdin_spec");
}
