/* treewatch_spec.c - host/treewatch.h: trees that share a hub hear what is
 * theirs and no more, memory that is refused at any point leaves nothing
 * behind, and threads may open, drain and close trees of one hub at once. */
#include "check.h"
#include "treewatch.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static char top[64];
static const atomic_int go_on;
static ab_grants grants;

static const char *at(const char *name)
{
    static _Thread_local char path[4][320];
    static _Thread_local int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", top, name);
    return path[turn];
}

static void make_file(const char *name)
{
    FILE *file = fopen(at(name), "w");
    if (CHECK(file != NULL))
        fclose(file);
}

static ab_tree *open_tree(ab_tree_hub *hub, const char *name, int recursive)
{
    ab_tree *tree = NULL;
    CHECK_EQUAL(ab_tree_open(hub, at(name), recursive, &go_on, &tree), 0);
    return tree;
}

/* Takes from the kernel until it has no more. */
static void read_all(ab_tree_hub *hub)
{
    struct pollfd p = {ab_tree_hub_fd(hub), POLLIN, 0};
    while (poll(&p, 1, 0) > 0)
        if (!CHECK_EQUAL(ab_tree_hub_read(hub), 0))
            return;
}

/* How many events of a kind a tree has now; takes all its events. */
static int count(ab_tree *tree, ab_tree_kind kind)
{
    int n = 0, err;
    while ((err = ab_tree_drain(tree, &go_on)) == 0 && ab_tree_first(tree))
        for (const ab_tree_event *e; (e = ab_tree_first(tree));
             ab_tree_shift(tree))
            n += e->kind == kind;
    CHECK(err == 0 || err == UV_EAGAIN);
    return n;
}

static void shared_folders(void)
{
    ab_tree_hub *hub = ab_tree_hub_new(&grants);
    int fds = check_count_fds();
    ab_tree *one = open_tree(hub, "", 1), *two = open_tree(hub, "", 0);
    ab_tree *three = open_tree(hub, "a", 1);
    CHECK_EQUAL(check_count_fds(), fds + 1);
    make_file("a/x");
    read_all(hub);
    CHECK_EQUAL(count(one, AB_TREE_CREATED), 1);
    CHECK_EQUAL(count(two, AB_TREE_CREATED), 0);
    CHECK_EQUAL(count(three, AB_TREE_CREATED), 1);
    ab_tree_close(one);
    ab_tree *late = open_tree(hub, "a", 0);
    make_file("a/y");
    make_file("z");
    read_all(hub);
    CHECK_EQUAL(count(two, AB_TREE_CREATED), 1);
    CHECK_EQUAL(count(three, AB_TREE_CREATED), 1);
    CHECK_EQUAL(count(late, AB_TREE_CREATED), 1);
    ab_tree_close(late);
    ab_tree_close(three);
    ab_tree_close(two);
    CHECK_EQUAL(check_count_fds(), fds);
    CHECK_EQUAL(ab_tree_hub_bytes(hub), 0);
    ab_tree_hub_free(hub);
    CHECK(unlink(at("a/x")) == 0 && unlink(at("a/y")) == 0);
    CHECK(unlink(at("z")) == 0);
}

/* What happened to a folder before a tree began to watch it is not the tree's,
 * though the kernel says it later, as another's. */
static void nothing_from_before(void)
{
    ab_tree_hub *hub = ab_tree_hub_new(&grants);
    ab_tree *early = open_tree(hub, "a", 0);
    make_file("a/before");
    ab_tree *late = open_tree(hub, "a", 0);
    CHECK(ab_tree_heard(early));
    CHECK(!ab_tree_heard(late));
    make_file("a/after");
    read_all(hub);
    CHECK_EQUAL(count(early, AB_TREE_CREATED), 2);
    CHECK_EQUAL(count(late, AB_TREE_CREATED), 1);
    ab_tree_close(early);
    ab_tree_close(late);
    ab_tree_hub_free(hub);
    CHECK(unlink(at("a/before")) == 0 && unlink(at("a/after")) == 0);
}

/* One that nobody drains stays bounded, loses and tells so; the other does not
 * notice.  That its folder went is not lost. */
static void one_that_nobody_drains(void)
{
    ab_tree_hub *hub = ab_tree_hub_new(&grants);
    size_t peak = 0;
    int modified = 0;
    CHECK(mkdir(at("b"), 0700) == 0);
    int file = open(at("b/one"), O_WRONLY | O_CREAT, 0600);
    int other = open(at("b/two"), O_WRONLY | O_CREAT, 0600);
    ab_tree *slow = open_tree(hub, "b", 1), *fast = open_tree(hub, "b", 1);
    for (int i = 0; i < AB_TREE_QUEUE_MAX; i++) {
        CHECK(write(file, "x", 1) == 1 && write(other, "x", 1) == 1);
        if (i % 500)
            continue;
        read_all(hub);
        modified += count(fast, AB_TREE_MODIFIED);
        if (ab_tree_hub_bytes(hub) > peak)
            peak = ab_tree_hub_bytes(hub);
    }
    close(file);
    close(other);
    CHECK(unlink(at("b/one")) == 0 && unlink(at("b/two")) == 0);
    CHECK(rmdir(at("b")) == 0);
    read_all(hub);
    CHECK_EQUAL(count(fast, AB_TREE_OVERFLOW), 0);
    CHECK(modified >= AB_TREE_QUEUE_MAX / 500);
    CHECK(ab_tree_gone(fast));
    CHECK(peak < 4 * 32 * AB_TREE_QUEUE_MAX);
    CHECK_EQUAL(count(slow, AB_TREE_OVERFLOW), 1);
    CHECK(ab_tree_gone(slow));
    ab_tree_close(slow);
    ab_tree_close(fast);
    CHECK_EQUAL(ab_tree_hub_bytes(hub), 0);
    ab_tree_hub_free(hub);
}

/* What those that nobody drains hold is taken from them, and not refused to the
 * one that is drained. */
static void the_largest_gives_way(void)
{
    enum { SLOW = 5, INBOXES = 64 << 10 };
    ab_tree_hub *hub = ab_tree_hub_new(&grants);
    ab_tree *slow[SLOW], *fast = open_tree(hub, "a", 1);
    ab_tree_hub_set_budget(hub, SIZE_MAX, INBOXES);
    for (int i = 0; i < SLOW; i++)
        slow[i] = open_tree(hub, "a", 1);
    make_file("a/one");
    make_file("a/two");
    for (int i = 0; i < 5000; i++) {
        CHECK(chmod(at(i % 2 ? "a/one" : "a/two"), 0600) == 0);
        if (i % 100)
            continue;
        read_all(hub);
        CHECK_EQUAL(count(fast, AB_TREE_OVERFLOW), 0);
        CHECK(ab_tree_hub_bytes(hub) < INBOXES + 20000);
    }
    for (int i = 0; i < SLOW; i++) {
        CHECK_EQUAL(count(slow[i], AB_TREE_OVERFLOW), 1);
        ab_tree_close(slow[i]);
    }
    ab_tree_close(fast);
    CHECK_EQUAL(ab_tree_hub_bytes(hub), 0);
    ab_tree_hub_free(hub);
    CHECK(unlink(at("a/one")) == 0 && unlink(at("a/two")) == 0);
}

/* With so much memory: everything that takes some.  0, or it was refused. */
static int with_budget(size_t bytes)
{
    ab_tree_hub *hub = ab_tree_hub_new(&grants);
    ab_tree *one = NULL, *two = NULL;
    ab_tree_hub_set_budget(hub, bytes, SIZE_MAX);
    int err = ab_tree_open(hub, top, 1, &go_on, &one);
    if (!err)
        err = ab_tree_open(hub, at("a"), 1, &go_on, &two);
    CHECK(mkdir(at("n"), 0700) == 0 && mkdir(at("n/m"), 0700) == 0);
    make_file("a/x");
    CHECK(rename(at("a/x"), at("n/x")) == 0);
    CHECK(rename(at("n"), at("a/n")) == 0);
    read_all(hub);
    for (int i = 0; i < 20; i++)
        make_file(i % 2 ? "a/n/p" : "a/n/m/q");
    for (int i = 0; !err && i < 4; i++) {
        read_all(hub);
        err = ab_tree_drain(i % 2 ? one : two, &go_on);
        err = err == UV_EAGAIN ? 0 : err;
    }
    int overflows = err ? 1 : 0;
    CHECK(err == 0 || err == UV_ENOMEM);
    if (!err)
        overflows = count(one, AB_TREE_OVERFLOW) + count(two, AB_TREE_OVERFLOW);
    CHECK(ab_tree_hub_bytes(hub) <= bytes);
    ab_tree_close(one);
    ab_tree_close(two);
    CHECK_EQUAL(ab_tree_hub_bytes(hub), 0);
    ab_tree_hub_free(hub);
    CHECK(unlink(at("a/n/x")) == 0 && unlink(at("a/n/p")) == 0);
    CHECK(unlink(at("a/n/m/q")) == 0);
    CHECK(rmdir(at("a/n/m")) == 0 && rmdir(at("a/n")) == 0);
    return overflows;
}

static void memory_refused(void)
{
    int fds = check_count_fds();
    size_t bytes = 0;
    while (with_budget(bytes) && bytes < (1 << 20)) {
        check_in("%zu bytes", bytes);
        bytes += bytes < 4096 ? 64 : 256;
    }
    check_out();
    CHECK(bytes > 2000 && bytes < (1 << 20));
    CHECK_EQUAL(check_count_fds(), fds);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 60 };

static ab_tree_hub *shared;

typedef struct user {
    char folder[16];
    char file[32];
} user;

static void use(void *arg)
{
    const user *u = arg;
    for (int i = 0; i < ROUNDS; i++) {
        ab_tree *tree = open_tree(shared, i % 3 ? u->folder : "", 1);
        make_file(u->file);
        CHECK(unlink(at(u->file)) == 0);
        int heard = 0;
        for (int tries = 0; tree && !heard && tries < 100000; tries++) {
            CHECK_EQUAL(ab_tree_hub_read(shared), 0);
            if (ab_tree_heard(tree))
                heard = count(tree, AB_TREE_REMOVED);
        }
        CHECK(heard > 0);
        ab_tree_close(tree);
    }
}

static void threads(void)
{
    static user users[THREADS];
    uv_thread_t thread[THREADS];
    int fds = check_count_fds();
    shared = ab_tree_hub_new(&grants);
    for (int i = 0; i < THREADS; i++) {
        user *u = &users[i]; /* two in one folder */
        snprintf(u->folder, sizeof u->folder, "t%d", i / 2);
        snprintf(u->file, sizeof u->file, "t%d/file%d", i / 2, i);
        CHECK(mkdir(at(u->folder), 0700) == 0 || i % 2);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(uv_thread_create(&thread[i], use, &users[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        uv_thread_join(&thread[i]);
    CHECK_EQUAL(ab_tree_hub_bytes(shared), 0);
    CHECK_EQUAL(check_count_fds(), fds);
    ab_tree_hub_free(shared);
}

int main(void)
{
    char command[96];
    snprintf(top, sizeof top, "/tmp/treewatch_spec.XXXXXX");
    CHECK(mkdtemp(top) != NULL);
    CHECK(mkdir(at("a"), 0700) == 0);
    ab_grants_init(&grants, 1);

    shared_folders();
    nothing_from_before();
    one_that_nobody_drains();
    the_largest_gives_way();
    memory_refused();
    threads();

    ab_grants_deinit(&grants);
    snprintf(command, sizeof command, "rm -rf %s", top);
    CHECK(system(command) == 0);
    return check_done("treewatch_spec");
}
