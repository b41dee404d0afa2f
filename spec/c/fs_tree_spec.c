/* fs_tree_spec.c - trees of files and the life of a box: closed at every moment
 * while trees are read, copied and removed, and memory refused at every
 * allocation.  No descriptor, no block and no half of a file may be left. */
#include "check.h"
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char top[64];

static int count_in(const char *path, const char *prefix)
{
    int n = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    for (struct dirent *e; (e = readdir(dir));)
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return n;
}

static int count_fds(void) { return count_in("/proc/self/fd", ""); }

/* $TOP is the folder. */
static void shell(const char *command) { CHECK(system(command) == 0); }

static asyncbox *make_box(counter *c, const char *code, int sandbox)
{
    asyncbox *box = NULL;
    asyncbox_config config = check_config(c);
    config.virtual_time = 0;
    config.sandbox = sandbox;
    if (asyncbox_new(&config, &box) < 0)
        return NULL;
    const char *argv[] = {"spec", top};
    if ((sandbox && (asyncbox_allow(box, "write", top) < 0 ||
                     asyncbox_allow(box, "read", top) < 0)) ||
        asyncbox_spawn_string(box, code, strlen(code), "=spec", 2, argv) < 0) {
        asyncbox_free(box);
        return NULL;
    }
    return box;
}

static const char everything[] =
    "local async = require 'asyncbox'\n"
    "local fs, spawn = async.fs, async.spawn\n"
    "local dir = ...\n"
    "local tree = {recursive = true}\n"
    "for i = 1, 4 do\n"
    "  spawn(fs.list, dir .. '/t')\n"
    "  spawn(function() for _ in fs.scan(dir .. '/t/d1') do async.sleep(0) end "
    "end)\n"
    "  spawn(function() for _ in fs.walk(dir) do end end)\n"
    "  spawn(fs.glob, dir .. '/**/1*')\n"
    "  spawn(pcall, fs.copy, dir .. '/t', dir .. '/u' .. i, tree)\n"
    "  spawn(pcall, fs.copy, dir .. '/big', dir .. '/v' .. i)\n"
    "  spawn(pcall, fs.remove, dir .. '/u' .. i, tree)\n"
    "  fs.scan(dir)\n"
    "end\n"
    "async.sleep(10)\n";

static void close_after(int turns, long us)
{
    counter c = {0};
    int fds = count_fds();
    snprintf(check_context, sizeof check_context, "%d turns", turns);
    asyncbox *box = make_box(&c, everything, turns % 2);
    CHECK(box != NULL);
    for (int i = 0; box && i < turns; i++) {
        asyncbox_step(box, 0);
        nanosleep(&(struct timespec){0, us * 1000}, NULL);
    }
    CHECK(asyncbox_free(box) == 0);
    counter_check(&c);
    CHECK_EQUAL(count_fds(), fds);
    CHECK_EQUAL(count_in(top, ".asyncbox-"), 0);
    for (int i = 1; i <= 4; i++) { /* whole or not at all */
        char path[96];
        struct stat st;
        snprintf(path, sizeof path, "%s/v%d", top, i);
        if (stat(path, &st) == 0)
            CHECK_EQUAL(st.st_size, 20 << 20);
    }
    shell("rm -rf $TOP/u* $TOP/v*");
}

static const char small[] = "local async = require 'asyncbox'\n"
                            "local fs = async.fs\n"
                            "local dir = ...\n"
                            "dir = dir .. '/small'\n"
                            "fs.list(dir)\n"
                            "for _ in fs.scan(dir) do end\n"
                            "for _ in fs.walk(dir) do end\n"
                            "fs.glob(dir .. '/{x,**}/*')\n"
                            "fs.copy(dir, dir .. 2, {recursive = true})\n"
                            "fs.remove(dir .. 2, {recursive = true})\n"
                            "pcall(fs.list, dir .. '/none')\n"
                            "pcall(fs.copy, dir, dir)\n"
                            "fs.path.join(dir, 'x')\n";

static void refused_at_every_allocation(int sandbox)
{
    int fds = count_fds();
    size_t n = 1;
    for (;; n++) {
        counter c = {.fail_at = n};
        snprintf(check_context, sizeof check_context, "allocation %zu", n);
        asyncbox *box = make_box(&c, small, sandbox);
        if (box)
            asyncbox_run(box);
        CHECK(!box || asyncbox_free(box) == 0);
        counter_check(&c);
        if (!CHECK_EQUAL(count_fds(), fds) || c.blocks || c.calls < n)
            break;
        shell("rm -rf $TOP/small2");
    }
    CHECK(n > 300);
}

int main(void)
{
    snprintf(top, sizeof top, "/tmp/fs_tree_spec.XXXXXX");
    CHECK(mkdtemp(top) != NULL && setenv("TOP", top, 1) == 0);
    shell("mkdir -p $TOP/t $TOP/small/a && touch $TOP/small/a/x");
    shell("ln -s a $TOP/small/l && truncate -s 20M $TOP/big");
    shell("cd $TOP/t && for d in 1 2 3 4 5 6 7 8; do mkdir d$d; "
          "(cd d$d && seq 1 100 | xargs touch); done");
    asyncbox_free(make_box(NULL, "", 0)); /* what libuv opens once */
    for (int turns = 0; turns < 24; turns++)
        close_after(turns, turns % 4 * 150);
    refused_at_every_allocation(0);
    refused_at_every_allocation(1);
    shell("rm -rf $TOP");
    *check_context = '\0';
    return check_done("fs_tree_spec");
}
