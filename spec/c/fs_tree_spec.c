/* fs_tree_spec.c - trees of files and the life of a box: closed at every moment
 * while trees are read, copied and removed, and memory refused at every
 * allocation.  No descriptor, no block and no half of a file may be left. */
#include "check_life.h"
#include <sys/stat.h>
#include <unistd.h>

static char top[64];

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
    /* old enough to be read ahead; not granted in a sandbox */
    "  spawn(pcall, function() for _ in fs.walk('/usr/share') do end end)\n"
    "  spawn(pcall, fs.copy, dir .. '/t', dir .. '/u' .. i, tree)\n"
    "  spawn(pcall, fs.copy, dir .. '/big', dir .. '/v' .. i)\n"
    "  spawn(pcall, fs.remove, dir .. '/u' .. i, tree)\n"
    "  fs.scan(dir)\n"
    "end\n"
    "async.sleep(10)\n";

static void whole_or_not_at_all(void)
{
    DIR *dir = opendir(top);
    if (!CHECK(dir != NULL))
        return;
    for (struct dirent *e; (e = readdir(dir));)
        CHECK(strncmp(e->d_name, ".asyncbox-", 10) != 0);
    closedir(dir);
    for (int i = 1; i <= 4; i++) {
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

static void trusted(counter *c, const void *arg)
{
    (void)arg;
    check_run(make_box(c, small, 0));
    shell("rm -rf $TOP/small2");
}

static void sandboxed(counter *c, const void *arg)
{
    (void)arg;
    check_run(make_box(c, small, 1));
    shell("rm -rf $TOP/small2");
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
        check_closed_after(make_box, everything, turns % 2, turns,
                           turns % 4 * 150, whole_or_not_at_all);
    CHECK(check_refused("trees", trusted, NULL, 1) > 300);
    CHECK(check_refused("trees in a sandbox", sandboxed, NULL, 1) > 300);
    shell("rm -rf $TOP");
    return check_done("fs_tree_spec");
}
