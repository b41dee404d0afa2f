/* fs_spec.c - files and the life of a box: closed at every moment with file
 * calls pending, and memory refused at every allocation.  Nothing may be left:
 * no op, no handle, no descriptor, no byte. */
#include "check_life.h"
#include <sys/stat.h>
#include <unistd.h>

static char top[64];

/* Temporary files of atomic writes that somebody forgot. */
static void no_temporaries(void)
{
    DIR *dir = opendir(top);
    if (!CHECK(dir != NULL))
        return;
    for (struct dirent *e; (e = readdir(dir));)
        CHECK(strncmp(e->d_name, ".asyncbox-", 10) != 0);
    closedir(dir);
}

static asyncbox *make_box(counter *c, const char *code, int sandbox)
{
    asyncbox *box = NULL;
    asyncbox_config config = check_config(c);
    config.sandbox = sandbox;
    config.virtual_time = 0;
    const char *argv[] = {"spec", top};
    if (asyncbox_new(&config, &box) < 0)
        return NULL;
    if (sandbox)
        asyncbox_allow(box, "write", top);
    if (asyncbox_spawn_string(box, code, strlen(code), "=spec", 2, argv) < 0) {
        asyncbox_free(box);
        return NULL;
    }
    return box;
}

/* ---- closed while pending ---- */

static const char everything[] =
    "local async = require 'asyncbox'\n"
    "local fs, spawn = async.fs, async.spawn\n"
    "local dir = ...\n"
    "fs.write(dir .. '/big', ('x\\n'):rep(1000000))\n"
    "for i = 1, 40 do spawn(fs.read, dir .. '/big') end\n" /* wait in line */
    "for i = 1, 6 do\n"
    "  spawn(fs.read, dir .. '/fifo')\n"
    "  spawn(fs.read, dir .. '/big')\n"
    "  spawn(fs.write, dir .. '/w' .. i, ('w'):rep(300000))\n"
    "  spawn(fs.write, dir .. '/a' .. i, 'a', {atomic = true})\n"
    "  spawn(function()\n"
    "    local f <close> = fs.open(dir .. '/fifo')\n"
    "    f:read()\n"
    "  end)\n"
    "  spawn(function()\n"
    "    local f = fs.open(dir .. '/big')\n"
    "    for line in f:lines() do f:seek('cur', 60000) end\n"
    "    f:close()\n"
    "  end)\n"
    "  spawn(function()\n"
    "    local f <close> = fs.open(dir .. '/o' .. i, 'w+')\n"
    "    for j = 1, 20 do f:write(('y'):rep(50000)) f:seek('end') end\n"
    "    f:flush() f:sync() f:stat() f:truncate(9)\n"
    "    f:seek('set') f:read('a') f:write('z')\n"
    "  end)\n"
    "  spawn(function()\n"
    "    for event in fs.watch(dir, {recursive = true}) do end\n"
    "  end)\n"
    "end\n"
    "async.sleep(10)\n";

/* Every call on a name, pending over and over. */
static const char names[] =
    "local async = require 'asyncbox'\n"
    "local fs, spawn = async.fs, async.spawn\n"
    "local dir = ...\n"
    "fs.write(dir .. '/n', 'x', {sync = true})\n"
    "local function again(f, ...)\n"
    "  spawn(function(...) while true do pcall(f, ...) async.sleep(0) end "
    "end,\n"
    "    ...)\n"
    "end\n"
    "for i = 1, 3 do\n"
    "  local n, new = dir .. '/n', dir .. '/new' .. i\n"
    "  for _, f in ipairs {fs.stat, fs.lstat, fs.exists, fs.readlink,\n"
    "    fs.realpath, fs.chown, fs.utime} do again(f, n) end\n"
    "  again(fs.chmod, n, 384)\n"
    "  again(fs.mkdir, new .. '/a/b/c', {parents = true})\n"
    "  again(fs.rmdir, new .. '/a/b/c')\n"
    "  again(fs.symlink, 'x', new .. 's')\n"
    "  again(fs.link, n, new .. 'l')\n"
    "  again(fs.rename, new .. 'l', new .. 's')\n"
    "end\n"
    "async.sleep(10)\n";

/* Watches that share folders, opened, heard and closed over and over. */
static const char watches[] =
    "local async = require 'asyncbox'\n"
    "local fs, spawn = async.fs, async.spawn\n"
    "local dir = ...\n"
    "fs.mkdir(dir .. '/t/a/b', {parents = true})\n"
    "for i = 1, 12 do\n"
    "  local path = dir .. (i % 3 == 0 and '/t/a' or i % 3 == 1 and '/t' or "
    "'')\n"
    "  spawn(function()\n"
    "    while true do\n"
    "      local watch <close> = fs.watch(path, {recursive = i % 4 > 0})\n"
    "      local held = fs.watch(path)\n"
    "      for _ = 1, i % 5 do watch:next() end\n"
    "    end\n"
    "  end)\n"
    "end\n"
    "spawn(function()\n"
    "  for i = 1, math.huge do\n"
    "    local new = dir .. '/t/a/new' .. i\n"
    "    pcall(fs.mkdir, new .. '/x', {parents = true})\n"
    "    pcall(fs.rename, new, dir .. '/t/moved')\n"
    "    pcall(fs.remove, dir .. '/t/moved', {recursive = true})\n"
    "  end\n"
    "end)\n"
    "async.sleep(10)\n";

static void close_after(const char *code, int turns, long us)
{
    check_closed_after(make_box, code, 0, turns, us, no_temporaries);
}

static void closed_at_every_moment(void)
{
    for (int turns = 0; turns < 30; turns++)
        close_after(everything, turns, turns % 3 * 100);
    for (int i = 0; i < 20; i++)
        close_after(everything, 10 + 2 * i, 40L * i);
    for (int turns = 0; turns < 20; turns++)
        close_after(names, turns, turns % 3 * 50);
    for (int turns = 0; turns < 40; turns++)
        close_after(watches, turns, turns % 5 * 100);
}

/* Until so many calls are pending, and a little on: no more come. */
static void step_until_pending(asyncbox *box, unsigned calls)
{
    for (int i = 0; i < 20 || (check_stats(box).ops < calls && i < 20000);
         i++) {
        asyncbox_step(box, 0);
        check_pause_us(1000);
    }
    CHECK_EQUAL(check_stats(box).ops, calls);
}

/* A FIFO that nobody writes must not keep the box. */
static void closed_with_stuck_fifos(void)
{
    static const char code[] =
        "local async = require 'asyncbox'\n"
        "local dir = ...\n"
        "for i = 1, 20 do async.spawn(async.fs.read, dir .. '/fifo') end\n"
        "async.fs.read(dir .. '/fifo')\n";
    counter c = {0};
    asyncbox *box = make_box(&c, code, 0);
    if (!CHECK(box != NULL))
        return;
    step_until_pending(box, 21);
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
}

/* A watch that hears nothing must not keep the box. */
static void closed_with_silent_watches(void)
{
    static const char code[] =
        "local async = require 'asyncbox'\n"
        "local dir = ...\n"
        "for i = 1, 5 do\n"
        "  local watch = async.fs.watch(dir, {recursive = true})\n"
        "  async.spawn(watch.next, watch)\n"
        "end\n"
        "async.sleep(10)\n";
    counter c = {0};
    int fds = check_count_fds();
    asyncbox *box = make_box(&c, code, 0);
    if (!CHECK(box != NULL))
        return;
    step_until_pending(box, 5);
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
    CHECK_EQUAL(check_count_fds(), fds);
}

/* ---- memory refused ---- */

static const char small[] =
    "local async = require 'asyncbox'\n"
    "local fs = async.fs\n"
    "local dir = ...\n"
    "fs.write(dir .. '/m', 'one\\ntwo\\n')\n"
    "fs.write(dir .. '/m', 'one\\ntwo\\n', {atomic = true})\n"
    "fs.read(dir .. '/m')\n"
    "do\n"
    "  local f <close> = fs.open(dir .. '/m', 'r+')\n"
    "  for line in f:lines() do end\n"
    "  f:write('three', 3) f:seek('set') f:read('L', 2, 'n', 'a')\n"
    "  f:write(('x'):rep(300000)) f:sync() f:stat() f:truncate(5)\n"
    "  for line in fs.lines(dir .. '/m') do end\n"
    "end\n"
    "fs.chmod(dir .. '/m', 384) fs.utime(dir .. '/m', 1) fs.chown(dir .. "
    "'/m')\n"
    "pcall(fs.stat, dir .. '/m') pcall(fs.lstat, dir .. '/none')\n"
    "pcall(fs.exists, dir .. '/m') pcall(fs.realpath, dir .. '/m')\n"
    "fs.mkdir(dir .. '/p/q/r', {parents = true}) fs.rmdir(dir .. '/p/q/r')\n"
    "pcall(fs.symlink, 'm', dir .. '/s') pcall(fs.readlink, dir .. '/s')\n"
    "pcall(fs.link, dir .. '/m', dir .. '/h')\n"
    "pcall(fs.rename, dir .. '/none', dir .. '/to')\n"
    "pcall(fs.read, dir .. '/none')\n"
    "pcall(fs.read, '/etc/passwd')\n";

static const char watching[] =
    "local async = require 'asyncbox'\n"
    "local fs, dir = async.fs, ...\n"
    "local watch <close> = fs.watch(dir, {recursive = true})\n"
    "fs.write(dir .. '/watched', 'x')\n"
    "local event = watch()\n";

static void trusted(counter *c, const void *code)
{
    check_run(make_box(c, code, 0));
}

static void sandboxed(counter *c, const void *code)
{
    check_run(make_box(c, code, 1));
}

static void allowed_by_the_host(void)
{
    static const char code[] =
        "local fs = require 'asyncbox.fs'\n"
        "local dir = ...\n"
        "fs.write(dir .. '/host', 'x')\n"
        "local ok, err = pcall(fs.read, dir .. '/host')\n"
        "assert(not ok and err.code == 'EDENIED', tostring(err))\n"
        "assert(not pcall(fs.write, '/tmp/elsewhere', 'x'))\n";
    counter c = {0};
    asyncbox *box = make_box(&c, code, 1);
    CHECK(box && asyncbox_run(box) == 0);
    if (box && *asyncbox_error_text(box))
        printf("%s\n", asyncbox_error_text(box));
    asyncbox_free(box);
    counter_check(&c);
}

int main(void)
{
    char command[96];
    snprintf(top, sizeof top, "/tmp/fs_spec.XXXXXX");
    CHECK(mkdtemp(top) != NULL);
    snprintf(command, sizeof command, "%s/fifo", top);
    CHECK(mkfifo(command, 0600) == 0);

    allowed_by_the_host();
    closed_with_stuck_fifos();
    closed_with_silent_watches();
    closed_at_every_moment();
    CHECK(check_refused("calls", trusted, small, 1) > 500);
    CHECK(check_refused("calls in a sandbox", sandboxed, small, 1) > 500);
    CHECK(check_refused("a watch", trusted, watching, 1) > 500);

    snprintf(command, sizeof command, "rm -rf %s", top);
    CHECK(system(command) == 0);
    return check_done("fs_spec");
}
