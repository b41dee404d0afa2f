/* process_spec.c - children and the life of a box: closed at every moment with
 * children, streams and pipelines pending, and memory refused at every
 * allocation.  Nothing may be left: no op, no descriptor, no byte, no child. */
#include "check_life.h"
#include <errno.h>
#include <sys/wait.h>

/* No child at all, dead or alive. */
static void check_no_child(void)
{
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

/* ---- closed while pending ---- */

static const char everything[] =
    "local async = require 'asyncbox'\n"
    "local process, spawn = async.process, async.spawn\n"
    "spawn(process.run, 'sleep', '100')\n"
    "spawn(process.run, 'cat', {input = ('x'):rep(1000000)})\n"
    "spawn(process.pipe, {{'yes'}, {'cat'}, {'sleep', '100'}})\n"
    "spawn(function()\n"
    "  local p <close> = process.spawn('sleep', '100')\n"
    "  spawn(p.wait, p)\n"
    "  spawn(p.stdout.read, p.stdout)\n"
    "  spawn(p.stderr.read_line, p.stderr)\n"
    "  p.stdin:write(('y'):rep(1000000))\n"
    "end)\n"
    "spawn(function()\n"
    "  local p = process.spawn('cat')\n"
    "  p.stdin:write(('y'):rep(120000))\n"
    "  spawn(p.stdout.read_all, p.stdout)\n"
    "  p.stdin:close()\n"
    "end)\n"
    "spawn(function()\n"
    "  local p = process.spawn('yes', {grace = 0.01})\n"
    "  for line in p.stdout:lines() do if line ~= 'y' then break end end\n"
    "end)\n"
    "spawn(function()\n"
    "  local p = process.spawn('sh', '-c', 'trap \"\" TERM; sleep 100', "
    "{grace = 0.02, group = true})\n"
    "  async.sleep(0.005)\n"
    "  p:stop()\n"
    "end)\n"
    "spawn(async.signal.wait, 'SIGUSR1')\n"
    "spawn(function()\n"
    "  for _ in async.signal.iter('SIGUSR1', 'SIGHUP') do end\n"
    "end)\n"
    "for i = 1, 3 do async.sleep(0.003) collectgarbage() end\n"
    "async.sleep(10)\n";

static void close_after(int turns, long us)
{
    check_closed_after(check_box, everything, 0, turns, us, check_no_child);
}

static void closed_at_every_moment(void)
{
    for (int turns = 0; turns < 12; turns++)
        close_after(turns, turns % 3 * 100);
    for (int i = 1; i < 8; i++)
        close_after(4 * i, 300L * i);
}

/* What is made while the box closes must not keep it. */
static void made_while_closing(void)
{
    static const char code[] =
        "local async = require 'asyncbox'\n"
        "local process = async.process\n"
        "keep = setmetatable({}, {__gc = function()\n"
        "  pcall(process.spawn, 'sleep', '100')\n"
        "  pcall(async.signal.iter, 'SIGHUP')\n"
        "end})\n"
        "local _ <close> = setmetatable({}, {__close = function()\n"
        "  pcall(process.spawn, 'sleep', '100')\n"
        "  pcall(process.run, 'true')\n"
        "  pcall(async.signal.wait, 'SIGHUP')\n"
        "end})\n"
        "async.sleep(10)\n";
    counter c = {0};
    asyncbox *box = check_box(&c, code, 0);
    if (!CHECK(box != NULL))
        return;
    asyncbox_step(box, 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
    check_no_child();
}

/* ---- memory refused ---- */

static const char small[] =
    "local async = require 'asyncbox'\n"
    "local process = async.process\n"
    "pcall(process.run, 'cat', {input = ('x'):rep(100000), env = {A = 1}})\n"
    "pcall(process.pipe, {{'echo', 'x'}, {'cat'}}, {timeout = 5})\n"
    "pcall(function()\n"
    "  local p <close> = process.spawn('cat', {grace = 0})\n"
    "  p.stdin:write({'one\\n', 2, ('y'):rep(200000)})\n"
    "  p.stdout:read_line() p.stdout:read_until('y', {max = 10})\n"
    "  p.stdout:read_exactly(10) p.stdin:close() p.stdout:read_all()\n"
    "  p:wait()\n"
    "end)\n"
    "pcall(process.spawn, 'no-such-program')\n"
    "pcall(async.signal.iter, 'SIGUSR1', 'SIGUSR2')\n"
    "pcall(async.timeout, 0, async.signal.wait, 'SIGUSR1')\n";

static void run_small(counter *c, const void *arg)
{
    (void)arg;
    check_run(check_box(c, small, 0));
    check_no_child();
}

static void allowed_by_the_host(void)
{
    static const char code[] =
        "local process = require 'asyncbox.process'\n"
        "assert(process.run('echo', 'x').stdout == 'x\\n')\n"
        "local ok, err = pcall(process.run, 'ls')\n"
        "assert(not ok and err.code == 'EDENIED', tostring(err))\n";
    asyncbox *box = check_box(NULL, code, 1);
    if (!CHECK(box != NULL))
        return;
    CHECK_EQUAL(asyncbox_allow(box, "run", "echo"), 0);
    CHECK(asyncbox_allow(box, "run", "no-such-program") < 0);
    CHECK_EQUAL(asyncbox_run(box), 0);
    asyncbox_free(box);
    check_no_child();
}

int main(void)
{
    allowed_by_the_host();
    made_while_closing();
    closed_at_every_moment();
    CHECK(check_refused("programs", run_small, NULL, 7) > 500);
    return check_done("process_spec");
}
