/* grants_spec.c - what a sandbox may open and connect, asked of grants.h
 * without Lua; files by openat2 and by the walk that stands in for it. */
#include "asyncbox.h"
#include "grants.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static int failures, checks;

static void check(int ok, const char *what, int line)
{
    checks++;
    if (ok)
        return;
    failures++;
    printf("grants_spec.c:%d: failed: %s\n", line, what);
}
#define CHECK(e) check((e) ? 1 : 0, #e, __LINE__)

/* ---- net ---- */

static ab_grants net_of(const char *rule)
{
    ab_grants grants;
    ab_grants_init(&grants, 0);
    if (rule)
        CHECK(ab_grants_add(&grants, AB_GRANT_NET, rule) == 0);
    return grants;
}

static int host(const char *rule, const char *name, int port)
{
    ab_grants grants = net_of(rule);
    int allowed = ab_grants_host_allowed(&grants, name, port);
    ab_grants_deinit(&grants);
    return allowed;
}

static int address(const char *rule, const char *name, const char *text,
                   int port)
{
    ab_grants grants = net_of(rule);
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    const struct sockaddr *addr;
    if (strchr(text, ':')) {
        CHECK(inet_pton(AF_INET6, text, &in6.sin6_addr) == 1);
        in6.sin6_port = htons((uint16_t)port);
        addr = (const struct sockaddr *)&in6;
    } else {
        CHECK(inet_pton(AF_INET, text, &in.sin_addr) == 1);
        in.sin_port = htons((uint16_t)port);
        addr = (const struct sockaddr *)&in;
    }
    int allowed = port == AB_PORT_ANY
                      ? ab_grants_answer_allowed(&grants, name, addr)
                      : ab_grants_address_allowed(&grants, name, addr);
    ab_grants_deinit(&grants);
    return allowed;
}

/* What may be looked up, and told. */
static void any_port(void)
{
    CHECK(!host(NULL, "example.org", AB_PORT_ANY));
    CHECK(host("example.org:443", "example.org", AB_PORT_ANY));
    CHECK(host("*:443", "example.org", AB_PORT_ANY));
    CHECK(!host("*:443", "x.localhost", AB_PORT_ANY));
    CHECK(!host("example.org:443", "a.example.org", AB_PORT_ANY));
    CHECK(host("10.0.0.0/8:1", "10.1.1.1", AB_PORT_ANY));
    CHECK(!host("*", "10.1.1.1", AB_PORT_ANY));
    CHECK(address("a.org:443", "a.org", "8.8.8.8", AB_PORT_ANY));
    CHECK(!address("a.org:443", "a.org", "10.1.1.1", AB_PORT_ANY));
    CHECK(!address("*", "a.org", "::ffff:127.0.0.1", AB_PORT_ANY));
    CHECK(address("10.0.0.0/8:1", "a.org", "10.1.1.1", AB_PORT_ANY));
    CHECK(!address("a.org", "b.org", "8.8.8.8", AB_PORT_ANY));
}

static void names_and_ports(void)
{
    CHECK(!host(NULL, "example.org", 80));
    CHECK(host("example.org", "example.org", 80));
    CHECK(host("Example.ORG", "eXample.org.", 1));
    CHECK(host("example.org:443", "example.org", 443));
    CHECK(!host("example.org:443", "example.org", 80));
    CHECK(!host("example.org", "www.example.org", 80));
    CHECK(!host("example.org", "example.org.evil.net", 80));
    CHECK(host("*", "example.org", 80));
    CHECK(host("*:443", "example.org", 443));
    CHECK(!host("*:443", "example.org", 80));
    CHECK(host("[2606:4700::1]:443", "2606:4700::1", 443));
    CHECK(host("[2606:4700::1]:443", "[2606:4700:0::1]", 443));
    CHECK(!host("[2606:4700::1]:443", "2606:4700::1", 80));
    CHECK(host("2606:4700::1", "2606:4700::1", 80));
    CHECK(host("10.0.0.0/8", "10.200.3.4", 80));
    CHECK(!host("10.0.0.0/8", "11.0.0.1", 80));
    CHECK(host("10.0.0.0/8:80", "10.1.1.1", 80));
    CHECK(!host("10.0.0.0/8:80", "10.1.1.1", 81));
    CHECK(host("[fd00::/8]:80", "fd12::1", 80));
    CHECK(host("fd00::/8", "fd12::1", 80));
    CHECK(host("[fd00::]/8", "fd12::1", 80));
    CHECK(host("192.168.1.128/25", "192.168.1.200", 1));
    CHECK(!host("192.168.1.128/25", "192.168.1.100", 1));
    CHECK(!host("::/0", "127.0.0.1", 80));
    CHECK(host("::/0", "::1", 80));
    CHECK(host("0.0.0.0/0", "127.0.0.1", 80));
}

static void bad_rules(void)
{
    static const char *const bad[] = {
        "",           "host:0",      "host:65536", "host:http",   "host:",
        ":80",        "10.0.0.0/33", "10.0.0.0/",  "x/8",         "*.org",
        "a b",        "[::1",        "[::1]:x",    "fd00::/129",  "user@host",
        "http://x.y", "x?y",         "[nonsense]", "10.0.0.0/-1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ab_grants grants;
        ab_grants_init(&grants, 0);
        int err = ab_grants_add(&grants, AB_GRANT_NET, bad[i]);
        if (err != UV_EINVAL)
            printf("rule '%s': %d\n", bad[i], err);
        CHECK(err == UV_EINVAL);
        ab_grants_deinit(&grants);
    }
}

/* Whatever inet_aton, a URL parser or a resolver may take for loopback. */
static void spellings_of_loopback(void)
{
    static const char *const spelling[] = {
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "017700000001",
        "2130706433",
        "127.0.0.1.",
        "0x7f.0x0.0x0.0x1",
        "127.255.255.254",
        "0",
        "0.0.0.0",
        "0x0",
        "::1",
        "[::1]",
        "::",
        "::ffff:127.0.0.1",
        "[::ffff:7f00:1]",
        "::ffff:0:0",
        "0:0:0:0:0:0:0:1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "localhost",
        "LocalHost.",
        "foo.localhost",
        "2002:7f00:1::1",
    };
    for (size_t i = 0; i < sizeof spelling / sizeof *spelling; i++) {
        if (host("*", spelling[i], 80))
            printf("allowed: %s\n", spelling[i]);
        CHECK(!host("*", spelling[i], 80));
        CHECK(!host("example.org", spelling[i], 80));
    }
    CHECK(host("127.0.0.1", "2130706433", 80));
    CHECK(host("127.0.0.1", "::ffff:127.0.0.1", 80));
    CHECK(host("localhost", "127.0.0.1", 80));
    CHECK(host("localhost", "::1", 80));
    CHECK(host("localhost", "LOCALHOST", 80));
    CHECK(!host("localhost", "0.0.0.0", 80));
    CHECK(!host("127.0.0.1", "127.0.0.2", 80));
}

static void resolved_addresses(void)
{
    static const char *const inside[] = {
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.1",
        "::1",
        "::",
        "::ffff:10.0.0.1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "64:ff9b::a00:1",
        "2002:c0a8:101::1",
        "2001:db8::1",
        "2001::1",
    };
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        if (address("example.org", "example.org", inside[i], 80))
            printf("allowed: %s\n", inside[i]);
        CHECK(!address("example.org", "example.org", inside[i], 80));
        CHECK(!address("*", "example.org", inside[i], 80));
        CHECK(address(inside[i], "example.org", inside[i], 80));
    }
    CHECK(address("example.org", "example.org", "93.184.216.34", 80));
    CHECK(address("example.org", "example.org", "2606:4700::1", 80));
    CHECK(address("example.org", "example.org", "::ffff:8.8.8.8", 80));
    CHECK(address("*", "1.1.1.1", "1.1.1.1", 80));
    CHECK(!address("example.org", "other.org", "93.184.216.34", 80));
    CHECK(!address("example.org:443", "example.org", "93.184.216.34", 80));
    CHECK(address("localhost", "localhost", "127.0.0.1", 80));
    CHECK(address("localhost:80", "localhost", "::1", 80));
    CHECK(!address("localhost:80", "localhost", "::1", 81));
    CHECK(!address("localhost", "localhost", "192.168.1.1", 80));
    CHECK(address("172.15.0.0/12", "x", "172.15.0.1", 80));
    struct sockaddr local = {.sa_family = AF_UNIX};
    ab_grants grants = net_of("*");
    CHECK(!ab_grants_address_allowed(&grants, "x", &local));
    ab_grants_deinit(&grants);
}

/* ---- files ---- */

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
    names_and_ports();
    any_port();
    bad_rules();
    spellings_of_loopback();
    resolved_addresses();
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
    printf("grants_spec: %d checks, %d failed\n", checks, failures);
    return failures != 0;
}
