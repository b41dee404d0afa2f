/* close_spec.c - a box is closed with everything pending, after 1, 2, 3, ...
 * turns, until the program ends by itself: nothing crashes, hangs or leaks,
 * and every <close> variable that was entered runs once. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

/* What every program has: `opened` and `closed` count <close> variables, and
 * the last line of the box says whether they agree. */
static const char prelude[] =
    "async = require 'asyncbox'\n"
    "await, sleep, spawn, gather = async.await, async.sleep, async.spawn,\n"
    "  async.gather\n"
    "local opened, closed = 0, 0\n"
    "function guard(f)\n"
    "  opened = opened + 1\n"
    "  return setmetatable({}, {__close = function(_, e)\n"
    "    closed = closed + 1\n"
    "    if f then f(e) end\n"
    "  end})\n"
    "end\n"
    "-- ends the program the EXIT_AT-th time: in the middle of a batch\n"
    "local ticks = 0\n"
    "function tick()\n"
    "  ticks = ticks + 1\n"
    "  if ticks == EXIT_AT then os.exit(7) end\n"
    "end\n"
    "-- runs in lua_close\n"
    "ender = setmetatable({}, {__gc = function()\n"
    "  if opened ~= closed then\n"
    "    tell('UNCLOSED ' .. opened .. ' ' .. closed)\n"
    "  end\n"
    "end})\n"
    "function tell(s) warn('@on') warn(s) end\n";

typedef struct program {
    const char *name;
    const char *code;
    int real; /* needs the real clock */
} program;

static const program programs[] = {
    {"everything",
     "local function done(...) tick() return ... end\n"
     "local function wait(f, ...)\n"
     "  local _ <close> = guard()\n"
     "  tick()\n"
     "  return done(f(...))\n"
     "end\n"
     "local q, full = async.queue(), async.queue(1)\n"
     "full:put(1)\n"
     "local l, s, e = async.lock(), async.semaphore(0), async.event()\n"
     "local c, b, f = async.condition(), async.barrier(9), async.future()\n"
     "local sleeper = spawn(wait, sleep, 5)\n"
     "l:acquire()\n"
     "for i = 1, 3 do\n"
     "  spawn(wait, sleep, i)\n"
     "  spawn(wait, q.get, q)\n"
     "  spawn(wait, full.put, full, i)\n"
     "  spawn(wait, full.join, full)\n"
     "  spawn(wait, l.acquire, l)\n"
     "  spawn(wait, s.acquire, s)\n"
     "  spawn(wait, e.wait, e)\n"
     "  spawn(wait, b.wait, b)\n"
     "  spawn(wait, await, sleeper)\n"
     "  spawn(wait, await, f)\n"
     "  spawn(wait, async.wait, {sleeper, f})\n"
     "  spawn(wait, async.timeout, i, await, f)\n"
     "  spawn(wait, async.shield, await, f)\n"
     "  spawn(wait, async.wait_for, f, i)\n"
     "end\n"
     "spawn(wait, gather, sleeper, f)\n"
     "spawn(wait, function() c:acquire() c:wait() end)\n"
     "spawn(wait, async.race, spawn(sleep, 2), spawn(sleep, 3))\n"
     "spawn(function()\n"
     "  local g <close> = async.group()\n"
     "  for i = 1, 3 do g:spawn(wait, sleep, i) end\n"
     "  g:spawn(wait, await, f)\n"
     "end)\n"
     "spawn(async.run, function()\n"
     "  for i = 1, 3 do spawn(wait, sleep, 9) end\n"
     "  sleep(2)\n"
     "end)\n"
     "local function numbers()\n"
     "  return coroutine.wrap(function()\n"
     "    for i = 1, 5 do\n"
     "      local _ <close> = guard()\n"
     "      sleep(1)\n"
     "      coroutine.yield(i)\n"
     "    end\n"
     "  end)\n"
     "end\n"
     "spawn(function()\n"
     "  local outer = coroutine.wrap(function()\n"
     "    local _ <close> = guard()\n"
     "    for i in numbers() do end\n"
     "  end)\n"
     "  outer()\n"
     "end)\n"
     "async.every(1, function() return not f:done() end)\n"
     "spawn(function() sleep(4.5) f:set_result(1, 2) end)\n"
     "sleep(6)\n"
     "l:release() e:set() q:close() full:close()\n",
     0},
    {"handlers",
     "local q, f, l = async.queue(), async.future(), async.lock()\n"
     "local others = {}\n"
     "local function try(g, ...) tick() return pcall(g, ...) end\n"
     "local function handler()\n"
     "  try(sleep, 1) try(await, f) try(q.get, q) try(l.acquire, l)\n"
     "  try(spawn, sleep, 1)\n"
     "  try(async.timeout, 1, sleep, 2)\n"
     "  try(async.shield, sleep, 2)\n"
     "  try(gather, others[1], others[2])\n"
     "  try(function() local g <close> = async.group() g:spawn(sleep, 1) end)\n"
     "  try(coroutine.wrap(function() sleep(1) end))\n"
     "  try(async.run, function() sleep(1) end)\n"
     "  for _, t in ipairs(others) do t:cancel() end\n"
     "  f:set_result(1)\n"
     "  q:put_nowait(1)\n"
     "  if l:locked() then try(l.release, l) end\n"
     "  async.all_tasks() async.current_task() collectgarbage()\n"
     "  tostring(others[1]) others[1]:traceback()\n"
     "  error('in a handler')\n"
     "end\n"
     "for i = 1, 4 do\n"
     "  others[#others + 1] = spawn(function()\n"
     "    local _ <close> = guard(handler)\n"
     "    local _ <close> = guard(handler)\n"
     "    sleep(i)\n"
     "  end)\n"
     "  others[#others + 1] = spawn(function()\n"
     "    local _ <close> = guard(handler)\n"
     "    coroutine.wrap(function()\n"
     "      local _ <close> = guard(handler)\n"
     "      coroutine.wrap(function()\n"
     "        local _ <close> = guard(handler)\n"
     "        await(f)\n"
     "      end)()\n"
     "    end)()\n"
     "  end)\n"
     "  others[#others + 1] = spawn(function() q:get() end)\n"
     "  others[#others + 1] = spawn(function() l:acquire() await(f) end)\n"
     "end\n"
     "sleep(5)\n",
     0},
    {"scopes",
     "local f = async.future()\n"
     "local kept\n"
     "local spawn = function(f, ...)\n"
     "  local function done(...) tick() return ... end\n"
     "  return spawn(function(...) tick() return done(f(...)) end, ...)\n"
     "end\n"
     "spawn(function()\n"
     "  kept = async.group()\n"
     "  kept:spawn(sleep, 3)\n"
     "  kept:spawn(sleep, 9)\n"
     "  kept:wait()\n"
     "end)\n"
     "spawn(function() sleep(1) pcall(kept.close, kept) end)\n"
     "spawn(function()\n"
     "  async.timeout(9, function()\n"
     "    local g <close> = async.group()\n"
     "    g:spawn(function() sleep(1) error('member') end)\n"
     "    g:spawn(function()\n"
     "      local _ <close> = guard(function() pcall(sleep, 1) end)\n"
     "      async.shield(function() async.timeout(5, sleep, 2) end)\n"
     "    end)\n"
     "    g:spawn(async.run, function()\n"
     "      spawn(function()\n"
     "        local g <close> = async.group()\n"
     "        g:spawn(await, f)\n"
     "      end)\n"
     "      sleep(2)\n"
     "    end)\n"
     "  end)\n"
     "end)\n"
     "local t = spawn(function()\n"
     "  local g <close> = async.group()\n"
     "  g:spawn(function() async.shield(sleep, 2) end)\n"
     "end)\n"
     "sleep(0.5)\n"
     "t:cancel()\n"
     "async.timeout(2, function() local g = async.group() end)\n"
     "local u = spawn(gather, spawn(sleep, 7), spawn(async.shield, sleep, 4))\n"
     "sleep(0.5) u:cancel()\n"
     "sleep(9)\n"
     "f:set_result(1)\n",
     0},
    {"errors and garbage",
     "local never = async(function() end)\n"
     "for i = 1, 5 do\n"
     "  never()\n"
     "  spawn(function() sleep(i) error('lost ' .. i) end)\n"
     "  spawn(function() sleep(i) error{} end)\n"
     "  setmetatable({}, {__gc = function() spawn(sleep, 1) end})\n"
     "end\n"
     "local f = async.future()\n"
     "f:set_error('nobody')\n"
     "local lost = {}\n"
     "for i = 1, 5 do\n"
     "  lost[i] = spawn(function() sleep(i + 0.5) return 1, 2, 3 end)\n"
     "  lost[i]:name('lost')\n"
     "end\n"
     "spawn(function() pcall(gather, lost) end)\n"
     "sleep(3)\n"
     "f = nil\n"
     "collectgarbage()\n"
     "error('main')\n",
     0},
    {"require",
     "package.preload.slow = function()\n"
     "  local _ <close> = guard()\n"
     "  sleep(2)\n"
     "  return 1\n"
     "end\n"
     "for i = 1, 3 do spawn(require, 'slow') end\n"
     "sleep(1)\n"
     "require 'slow'\n",
     0},
    {"exit",
     "spawn(function()\n"
     "  local _ <close> = guard(function() pcall(sleep, 1) pcall(os.exit) "
     "end)\n"
     "  sleep(9)\n"
     "end)\n"
     "local co = coroutine.wrap(function()\n"
     "  local _ <close> = guard(function() pcall(os.exit, 4) end)\n"
     "  coroutine.wrap(function()\n"
     "    local _ <close> = guard()\n"
     "    tick()\n"
     "    sleep(1)\n"
     "    os.exit(3)\n"
     "  end)()\n"
     "end)\n"
     "local g <close> = async.group()\n"
     "g:spawn(co)\n"
     "g:spawn(sleep, 5)\n",
     0},
    {"exit from C",
     "spawn(function() local _ <close> = guard() sleep(9) end)\n"
     "sleep(1)\n"
     "table.sort({1, 2, 3}, function() os.exit(3) end)\n",
     0},
    {"files",
     "local fs = require 'asyncbox.fs'\n"
     "for i = 1, 8 do\n"
     "  spawn(function()\n"
     "    local _ <close> = guard(function()\n"
     "      pcall(fs.read, 'LICENSE')\n"
     "    end)\n"
     "    for j = 1, 3 do fs.read('LICENSE') end\n"
     "    local f <close> = fs.open('CMakeLists.txt')\n"
     "    f:read(10) f:lines()()\n"
     "    sleep(0.001)\n"
     "    f:read(100000)\n"
     "    local kept = fs.open('LICENSE')\n"
     "    kept:read(1)\n"
     "    coroutine.wrap(function() fs.read('LICENSE') end)()\n"
     "    pcall(fs.read, 'nosuchfile')\n"
     "  end)\n"
     "end\n"
     "local t = spawn(fs.read, 'LICENSE')\n"
     "sleep(0)\n"
     "t:cancel()\n",
     1},
    {"fetches",
     "local http = require 'asyncbox.http'\n"
     "local s = http.session{timeout = 0.3}\n"
     "for i = 1, 5 do\n"
     "  spawn(function()\n"
     "    local _ <close> = guard(function()\n"
     "      pcall(http.get, URL) pcall(s.close, s)\n"
     "    end)\n"
     "    pcall(http.get, URL, {timeout = 0.05 * i})\n"
     "  end)\n"
     "  spawn(function() pcall(s.get, s, URL) end)\n"
     "  spawn(function()\n"
     "    pcall(coroutine.wrap(function() http.get(URL, {timeout = 0.1}) "
     "end))\n"
     "  end)\n"
     "end\n"
     "local t = spawn(http.get, URL)\n"
     "sleep(0.01)\n"
     "t:cancel()\n",
     1},
};

/* ---- a server that listens and never answers ---- */

static int mute_server(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(listen(fd, 100) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&at, &bytes) == 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* ---- one box ---- */

static int port, unclosed;

static void on_report(void *arg, const char *text, size_t bytes)
{
    (void)arg;
    if (memmem(text, bytes, "UNCLOSED", 8))
        unclosed++;
}

/* A turn; in real time one that may wait a little for the outside. */
static int turn(asyncbox *box, const program *p)
{
    if (p->real)
        usleep(500);
    return asyncbox_step(box, 0);
}

enum { PLAIN, INTERRUPTED, EXITING }; /* how it ends */

/* Closes after so many turns (EXITING: ticks); 1 while tasks were left. */
static int close_after(const program *p, int turns, int how)
{
    counter c = {0};
    asyncbox_config config = check_config(&c);
    config.report = on_report;
    config.virtual_time = !p->real;
    check_in("\"%s\" after %d %s", p->name, turns,
             how == EXITING       ? "ticks, exiting"
             : how == INTERRUPTED ? "turns, interrupted"
                                  : "turns");
    check_within(120);
    asyncbox *box = NULL;
    char globals[120];
    int left = 1, files = check_count_fds();
    unclosed = 0;
    CHECK_EQUAL(asyncbox_new(&config, &box), 0);
    CHECK_EQUAL(asyncbox_allow(box, "read", "."), 0);
    CHECK_EQUAL(asyncbox_allow(box, "net", "127.0.0.1"), 0);
    snprintf(globals, sizeof globals,
             "URL, EXIT_AT = 'http://127.0.0.1:%d/', %d", port,
             how == EXITING ? turns : 0);
    CHECK_EQUAL(check_spawn(box, globals), 0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(check_spawn(box, prelude), 0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(check_spawn(box, p->code), 0);
    if (how == EXITING) {
        left = asyncbox_run(box) == ASYNCBOX_EEXIT &&
               asyncbox_exit_status(box) == 7;
    } else {
        for (int i = 0; i < turns && left == 1; i++)
            left = turn(box, p);
    }
    if (how == INTERRUPTED) {
        asyncbox_interrupt(box);
        turn(box, p);
    }
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
    CHECK_EQUAL(unclosed, 0);
    /* The first fetch opens libcurl, which keeps its own. */
    if (strcmp(p->name, "fetches") != 0)
        CHECK_EQUAL(check_count_fds(), files);
    return left == 1;
}

int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : NULL;
    int server = mute_server(&port);
    asyncbox *first; /* libuv opens a pipe for the process with it */
    CHECK_EQUAL(asyncbox_new(NULL, &first), 0);
    asyncbox_free(first);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const program *p = &programs[i];
        if (only && strcmp(only, p->name) != 0)
            continue;
        int turns = 0, most = p->real ? 200 : 2000, ticks = 1;
        while (turns < most && close_after(p, turns, PLAIN))
            turns += p->real && turns > 20 ? 11 : 1;
        CHECK(turns < most || p->real);
        for (int n = 0; n <= turns; n += 1 + n / 8)
            close_after(p, n, INTERRUPTED);
        while (!p->real && close_after(p, ticks, EXITING))
            ticks++;
        if (only)
            printf("%s: %d turns, %d ticks\n", p->name, turns, ticks);
    }
    close(server);
    return check_done("close_spec");
}
