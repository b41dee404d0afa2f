/* net_spec.c - sockets and the life of a box: closed at every moment while
 * everything waits, in both directions; memory refused at every allocation;
 * what the host grants. */
#include "check_life.h"
#include <sys/stat.h>
#include <unistd.h>

/* Every function of the module that waits is pending at some turn, and most of
 * them are when nothing else is left to do. */
static const char waits[] =
    "local async = require 'asyncbox'\n"
    "local net = async.net\n"
    "local spawn, sleep = async.spawn, async.sleep\n"
    "spawn(function() while true do sleep(0.001) end end)\n"
    "local function echo(conn)\n"
    "  conn:timeout(100, 100)\n"
    "  for bytes in conn:chunks() do conn:write(bytes) end\n"
    "end\n"
    "local server = net.listen('127.0.0.1', 0, echo, {max_connections = 3})\n"
    "local port = server:address().port\n"
    "local plain = net.listen('127.0.0.1', 0, {backlog = 1})\n"
    "local stuck = plain:address().port\n"
    "local unix = net.listen({path = PATH, backlog = 1})\n"
    "for i = 1, 3 do\n"
    "  spawn(function()\n"
    "    local conn <close> = net.connect('127.0.0.1', port)\n"
    "    conn:write('hello')\n"
    "    conn:read_exactly(5)\n"
    "    if i == 1 then conn:write(('x'):rep(64 << 20)) end\n"
    "    if i == 2 then conn:read_line() end\n"
    "    if i == 3 then\n"
    "      pcall(async.timeout, 0.01, conn.write, conn, ('x'):rep(64 << 20))\n"
    "      conn:shutdown()\n"
    "    end\n"
    "  end)\n"
    "end\n"
    "for i = 1, 5 do spawn(net.connect, '127.0.0.1', stuck) end\n"
    "for i = 1, 5 do spawn(net.connect, 'localhost', port, {timeout = 100}) "
    "end\n"
    "for i = 1, 4 do spawn(net.connect, {path = PATH}) end\n"
    "spawn(pcall, net.connect, 'no-such-name.invalid', 80)\n"
    "local quiet = net.listen('127.0.0.1', 0)\n"
    "spawn(quiet.accept, quiet)\n"
    "spawn(function() for conn in quiet:accept_loop() do conn:close() end "
    "end)\n"
    "local closing = net.listen('127.0.0.1', 0, echo)\n"
    "local c = net.connect('127.0.0.1', closing:address().port)\n"
    "sleep(0.01)\n"
    "spawn(server.wait, server)\n"
    "closing:close({grace = 100})\n";

static char folder[64], path[96];

static asyncbox *new_box(counter *c, const char *code)
{
    static char whole[4096];
    snprintf(whole, sizeof whole, "local PATH = '%s'\n%s", path, code);
    return check_box(c, whole, 0);
}

static void close_after(int turns)
{
    counter c = {0};
    int fds = check_count_fds();
    check_in("%d turns", turns);
    asyncbox *box = new_box(&c, waits);
    if (!CHECK(box != NULL))
        return;
    for (int i = 0; i < turns; i++) {
        asyncbox_step(box, 100000);
        if (turns > 60)
            check_pause_us(1000);
    }
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
    CHECK_EQUAL(check_count_fds(), fds);
    struct stat st;
    CHECK(stat(path, &st) < 0); /* the socket's file is gone */
    check_out();
}

static void closed_at_every_moment(void)
{
    for (int turns = 0; turns < 40; turns++)
        close_after(turns);
    for (int turns = 100; turns <= 200; turns += 50)
        close_after(turns);
}

static const char small[] =
    "local async = require 'asyncbox'\n"
    "local net = async.net\n"
    "local function try(f, ...)\n"
    "  local ok, got = pcall(f, ...)\n"
    "  return ok and got or nil\n"
    "end\n"
    "local function talk(server, ...)\n"
    "  local conn = try(net.connect, ...)\n"
    "  if conn then\n"
    "    try(conn.write, conn, 'hello\\n')\n"
    "    try(async.timeout, 0.02, conn.read_line, conn)\n"
    "    try(conn.shutdown, conn)\n"
    "    try(conn.reset, conn)\n"
    "  end\n"
    "  try(server.close, server)\n"
    "end\n"
    "local function handler(conn) conn:write(conn:read_line() .. '\\n') end\n"
    "local server = try(net.listen, '127.0.0.1', 0, handler)\n"
    "if server then\n"
    "  talk(server, 'localhost', server:address().port, {timeout = 0.05})\n"
    "end\n"
    "server = try(net.listen, {path = PATH}, handler)\n"
    "if server then talk(server, {path = PATH, timeout = 0.05}) end\n";

static void run_small(counter *c, const void *arg)
{
    (void)arg;
    check_run(new_box(c, small));
}

static void allowed_by_the_host(void)
{
    static const char code[] =
        "local net = require 'asyncbox.net'\n"
        "local ok, server = pcall(net.listen, '127.0.0.1', 0)\n"
        "if not ok then error(server.code, 0) end\n"
        "local at = server:address()\n"
        "local _, err = pcall(net.connect, '127.0.0.1', at.port)\n"
        "assert(err.code == 'EDENIED', tostring(err))\n"
        "server:close()\n";
    for (int granted = 0; granted < 2; granted++) {
        asyncbox *box = check_box(NULL, code, 1);
        if (!CHECK(box != NULL))
            return;
        CHECK(asyncbox_allow(box, "listen", "example.org") < 0);
        if (granted)
            CHECK_EQUAL(asyncbox_allow(box, "listen", "127.0.0.1"), 0);
        CHECK_EQUAL(asyncbox_run(box), granted ? 0 : ASYNCBOX_ESCRIPT);
        asyncbox_free(box);
    }
}

int main(void)
{
    snprintf(folder, sizeof folder, "/tmp/net_spec.XXXXXX");
    if (!CHECK(mkdtemp(folder) != NULL))
        return check_done("net_spec");
    snprintf(path, sizeof path, "%s/s", folder);
    asyncbox_free(new_box(NULL, "")); /* libuv's own descriptors */
    closed_at_every_moment();
    CHECK(check_refused("sockets", run_small, NULL, 29) > 300);
    allowed_by_the_host();
    rmdir(folder);
    return check_done("net_spec");
}
