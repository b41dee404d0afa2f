/* grants_path_spec.c - which files a sandbox may open, asked of grants.h
 * without Lua: by openat2 and by the walk that stands in for it. */
#include "check.h"
#include "grants.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static char top[64]; /* the folder of this spec */
static ab_grants grants;

static const char *at(const char *name)
{
    static char path[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", top, name);
    return path[next];
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    CHECK(f != NULL);
    if (f) {
        fputs(text, f);
        fclose(f);
    }
}

static int try_open(const char *path, int flags)
{
    int fd = ab_grants_open(&grants, path, flags, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : fd;
}

static int reads(const char *name) { return try_open(at(name), O_RDONLY); }

static int writes(const char *name)
{
    return try_open(at(name), O_WRONLY | O_CREAT);
}

/* in/ is granted for reading, out/ for writing, one.txt and later by their own
 * names; secret/ is not. */
static void make_tree(int walk)
{
    strcpy(top, "/tmp/grants_spec.XXXXXX");
    CHECK(mkdtemp(top) != NULL);
    mkdir(at("in"), 0700);
    mkdir(at("in/deep"), 0700);
    mkdir(at("out"), 0700);
    mkdir(at("secret"), 0700);
    put("in/a", "a");
    put("in/deep/b", "b");
    put("out/c", "c");
    put("secret/s", "s");
    put("one.txt", "1");
    CHECK(symlink("deep/b", at("in/inner")) == 0);
    CHECK(symlink(at("in/deep"), at("in/absolute")) == 0);
    CHECK(symlink("../secret/s", at("in/up")) == 0);
    CHECK(symlink(at("secret"), at("in/folder")) == 0);
    CHECK(symlink("/etc/passwd", at("in/passwd")) == 0);
    CHECK(symlink(at("in"), at("alias")) == 0);
    CHECK(symlink("../secret/new", at("out/dangling")) == 0);
    CHECK(symlink("loop", at("in/loop")) == 0);
    CHECK(mkfifo(at("in/fifo"), 0600) == 0);
    CHECK(mkfifo(at("named-fifo"), 0600) == 0);
    ab_grants_init(&grants, 0);
    grants.walk = walk;
    CHECK(ab_grants_add(&grants, AB_GRANT_READ, at("in")) == 0);
    CHECK(ab_grants_add(&grants, AB_GRANT_WRITE, at("out")) == 0);
    CHECK(ab_grants_add(&grants, AB_GRANT_READ, at("one.txt")) == 0);
    CHECK(ab_grants_add(&grants, AB_GRANT_READ, at("later")) == 0);
    CHECK(ab_grants_add(&grants, AB_GRANT_READ, at("none/x")) == UV_ENOENT);
    CHECK(ab_grants_add(&grants, AB_GRANT_READ, "") == UV_EINVAL);
}

static void remove_tree(void)
{
    char command[96];
    ab_grants_deinit(&grants);
    snprintf(command, sizeof command, "rm -rf %s", top);
    CHECK(system(command) == 0);
}

static void granted_files(void)
{
    CHECK(reads("in/a") == 0);
    CHECK(reads("in//deep/./b") == 0);
    CHECK(reads("in/deep/../a") == 0);
    CHECK(reads("in/../in/a") == 0);
    CHECK(reads("secret/../in/a") == 0);
    CHECK(reads("in") == 0);
    CHECK(reads("in/") == 0);
    CHECK(reads("in/inner") == 0);
    CHECK(reads("in/absolute/b") == 0);
    CHECK(reads("alias/a") == 0);
    CHECK(reads("alias/missing") == UV_ENOENT);
    CHECK(reads("in/missing") == UV_ENOENT);
    CHECK(reads("in/missing/x") == UV_ENOENT);
    CHECK(reads("in/a/x") == UV_ENOTDIR);
    CHECK(reads("in/a/") == UV_ENOTDIR);
    CHECK(reads("one.txt") == 0);
    CHECK(reads("one.txt/../secret/s") == UV_ENOTDIR);
    CHECK(writes("out/c") == 0);
    CHECK(writes("out/new") == 0);
    CHECK(writes("out/none/new") == UV_ENOENT);
    CHECK(reads("later") == UV_ENOENT);
    put("later", "x");
    CHECK(reads("later") == 0);
    unlink(at("later"));
    mkdir(at("later"), 0700);
    put("later/x", "x");
    CHECK(symlink("../secret/s", at("later/up")) == 0);
    CHECK(reads("later/x") == 0);
    CHECK(reads("later/up") == ASYNCBOX_EDENIED);
    CHECK(reads("later/../secret/s") == ASYNCBOX_EDENIED);
}

static void refused_files(void)
{
    static const char *const escape[] = {
        "secret/s",
        "secret",
        "in/../secret/s",
        "in/up",
        "in/folder/s",
        "in/folder",
        "in/passwd",
        "in/loop",
        "in/deep/../../secret/s",
        "in/fifo",
        "out/c",
        "",
        "inside",
        "in/folder/../secret/s",
        "secret/none",
        "none/none",
    };
    for (size_t i = 0; i < sizeof escape / sizeof *escape; i++) {
        int err = reads(escape[i]);
        if (err != ASYNCBOX_EDENIED)
            printf("%s: %d\n", escape[i], err);
        CHECK(err == ASYNCBOX_EDENIED);
    }
    CHECK(writes("in/a") == ASYNCBOX_EDENIED);
    CHECK(writes("in/new") == ASYNCBOX_EDENIED);
    CHECK(writes("out/../secret/new") == ASYNCBOX_EDENIED);
    CHECK(writes("out/dangling") == ASYNCBOX_EDENIED);
    CHECK(access(at("secret/new"), F_OK) < 0);
    CHECK(try_open(at("out/c"), O_RDWR) == ASYNCBOX_EDENIED);
    CHECK(try_open(at("in/a"), O_RDONLY | O_TRUNC) == ASYNCBOX_EDENIED);
    CHECK(try_open("/etc/passwd", O_RDONLY) == ASYNCBOX_EDENIED);
    CHECK(try_open("/proc/self/root/etc/passwd", O_RDONLY) == ASYNCBOX_EDENIED);
    CHECK(try_open("/dev/stdin", O_RDONLY) == ASYNCBOX_EDENIED);
    CHECK(try_open("/dev/null", O_RDONLY) == ASYNCBOX_EDENIED);
    CHECK(try_open("", O_RDONLY) == UV_ENOENT);
}

static void parents(void)
{
    char leaf[AB_LEAF_MAX];
    int fd = ab_grants_open_parent(&grants, AB_GRANT_WRITE, at("out/x"), leaf);
    CHECK(fd >= 0 && strcmp(leaf, "x") == 0);
    if (fd >= 0)
        close(fd);
    CHECK(ab_grants_open_parent(&grants, AB_GRANT_WRITE, at("secret/x"),
                                leaf) == ASYNCBOX_EDENIED);
    CHECK(ab_grants_open_parent(&grants, AB_GRANT_WRITE, at("in/folder/x"),
                                leaf) == ASYNCBOX_EDENIED);
    CHECK(ab_grants_open_parent(&grants, AB_GRANT_WRITE, at("out/.."), leaf) ==
          UV_EISDIR);
    CHECK(ab_grants_open_parent(&grants, AB_GRANT_WRITE, at("out/"), leaf) ==
          UV_EISDIR);
    /* A file that was granted by its own name: its folder, for that name. */
    fd = ab_grants_open_parent(&grants, AB_GRANT_READ, at("one.txt"), leaf);
    CHECK(fd >= 0);
    if (fd >= 0)
        close(fd);
    CHECK(ab_grants_open_parent(&grants, AB_GRANT_READ, at("two.txt"), leaf) ==
          ASYNCBOX_EDENIED);
}

static void special_files(void)
{
    ab_grants saved = grants;
    ab_grants_init(&grants, 0);
    grants.walk = saved.walk;
    CHECK(ab_grants_add(&grants, AB_GRANT_READ, "/") == 0);
    CHECK(ab_grants_add(&grants, AB_GRANT_READ, "/dev/null") == 0);
    CHECK(ab_grants_add(&grants, AB_GRANT_READ, at("named-fifo")) == 0);
    CHECK(reads("secret/s") == 0);
    CHECK(try_open("/etc/passwd", O_RDONLY) == 0);
    CHECK(try_open("/dev/null", O_RDONLY) == 0);
    CHECK(try_open("/dev/zero", O_RDONLY) == ASYNCBOX_EDENIED);
    CHECK(try_open("/proc/self/environ", O_RDONLY) == ASYNCBOX_EDENIED);
    CHECK(try_open("/proc/self/root/etc/passwd", O_RDONLY) == 0);
    CHECK(reads("in/fifo") == ASYNCBOX_EDENIED);
    CHECK(reads("named-fifo") == 0);
    ab_grants_deinit(&grants);
    grants = saved;
}

static void a_root_that_moved(void)
{
    CHECK(rename(at("in"), at("moved")) == 0);
    CHECK(rename(at("secret"), at("in")) == 0);
    /* The name now leads to what was never granted. */
    CHECK(reads("in/s") == UV_ENOENT);
    CHECK(reads("in/a") == 0);
    CHECK(rename(at("in"), at("secret")) == 0);
    CHECK(rename(at("moved"), at("in")) == 0);
}

static atomic_int racing;

static void *swap_links(void *arg)
{
    (void)arg;
    symlink("a", at("in/good"));
    symlink("../secret/s", at("in/bad"));
    char good[512], bad[512], link[512];
    snprintf(good, sizeof good, "%s/in/good", top);
    snprintf(bad, sizeof bad, "%s/in/bad", top);
    snprintf(link, sizeof link, "%s/in/race", top);
    while (atomic_load(&racing)) {
        rename(good, link);
        symlink("a", good);
        rename(bad, link);
        symlink("../secret/s", bad);
    }
    return NULL;
}

/* A link is swapped while it is opened: never the secret. */
static void swapped_symlinks(void)
{
    pthread_t thread;
    char race[512];
    snprintf(race, sizeof race, "%s/in/race", top);
    atomic_store(&racing, 1);
    CHECK(pthread_create(&thread, NULL, swap_links, NULL) == 0);
    int read_a = 0, leaked = 0;
    for (int i = 0; i < 20000; i++) {
        int fd = ab_grants_open(&grants, race, O_RDONLY, 0);
        if (fd < 0)
            continue;
        char c = 0;
        if (read(fd, &c, 1) == 1 && c == 's')
            leaked++;
        else
            read_a++;
        close(fd);
    }
    atomic_store(&racing, 0);
    pthread_join(thread, NULL);
    CHECK(leaked == 0);
    CHECK(read_a > 0);
}

static void trusted_boxes(void)
{
    ab_grants_init(&grants, 1);
    CHECK(try_open("/etc/passwd", O_RDONLY) == 0);
    CHECK(ab_grants_host_allowed(&grants, "127.0.0.1", 1));
    ab_grants_deinit(&grants);
}

int main(void)
{
    for (int walk = 0; walk <= 1; walk++) {
        make_tree(walk);
        granted_files();
        refused_files();
        parents();
        special_files();
        a_root_that_moved();
        swapped_symlinks();
        remove_tree();
    }
    trusted_boxes();
    return check_done("grants_path_spec");
}
