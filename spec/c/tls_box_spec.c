/* tls_box_spec.c - TLS streams and the life of a box: closed at every moment of
 * handshakes, reads and writes; every allocation refused; the cap. */
#include "check_tls.h"
#include <time.h>
#include <uv.h>

static void pause_us(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

/* Everything at once: handshakes that go on, that wait for a silent peer, that
 * fail; readers and writers that wait on connections with TLS. */
static const char busy[] =
    "local async = require 'asyncbox'\n"
    "local net = require 'asyncbox.net'\n"
    "local dir = '%s/'\n"
    "local tls = {cert = dir .. 'cert', key = dir .. 'key'}\n"
    "local mine = {ca = dir .. 'cert', server_name = 'example.org'}\n"
    "local big = ('x'):rep(4 << 20)\n"
    "local echo = net.listen('127.0.0.1', 0, function(conn)\n"
    "  for bytes in conn:chunks() do conn:write(bytes) end\n"
    "end, {tls = tls})\n"
    "local mute = net.listen('127.0.0.1', 0)\n"
    "local port, silent = echo:address().port, mute:address().port\n"
    "for i = 1, 3 do\n"
    "  async.spawn(pcall, net.connect, '127.0.0.1', silent, {tls = mine})\n"
    "  async.spawn(pcall, net.connect, '127.0.0.1', port, {tls = true})\n"
    "  async.spawn(function()\n"
    "    local plain <close> = net.connect('127.0.0.1', port)\n"
    "    plain:read()\n"
    "  end)\n"
    "  async.spawn(function()\n"
    "    local conn <close> = net.connect('127.0.0.1', port, {tls = mine})\n"
    "    async.spawn(pcall, conn.write, conn, big)\n"
    "    if i > 1 then conn:read_exactly(i << 18) end\n"
    "    async.sleep(100)\n"
    "  end)\n"
    "end\n"
    "async.sleep(100)\n";

static void closed_at_every_moment(void)
{
    char code[2048];
    snprintf(code, sizeof code, busy, check_tls_folder);
    int fds = check_count_fds();
    for (int turns = 0; turns < 60; turns += 2) {
        counter c = {0};
        snprintf(check_context, sizeof check_context, "%d turns", turns);
        asyncbox *box = check_box(&c, code, 0);
        if (!CHECK(box != NULL))
            break;
        for (int i = 0; i < turns; i++) {
            asyncbox_step(box, 100000);
            pause_us(200);
        }
        CHECK_EQUAL(asyncbox_free(box), 0);
        counter_check(&c);
        CHECK_EQUAL(check_count_fds(), fds);
    }
    *check_context = '\0';
}

/* One handshake each way of starting it, and a few bytes. */
static const char small[] =
    "local async = require 'asyncbox'\n"
    "local net = require 'asyncbox.net'\n"
    "local dir = '%s/'\n"
    "local function read(name)\n"
    "  local file <close> = io.open(dir .. name)\n"
    "  return file:read 'a'\n"
    "end\n"
    "local cert, key = read 'cert', read 'key'\n"
    "pcall(async.timeout, 5, function()\n"
    "  local server <close> = net.listen('127.0.0.1', 0, function(conn)\n"
    "    conn:write(conn:read(5))\n"
    "    conn:tls()\n"
    "  end, {tls = {cert = cert, key = key, alpn = 'x', timeout = 2}})\n"
    "  local port = server:address().port\n"
    "  for round = 1, 2 do\n"
    "    local conn <close> = net.connect('127.0.0.1', port, {timeout = 2,\n"
    "      tls = {ca = cert, server_name = 'example.org', alpn = 'x'}})\n"
    "    conn:write 'hello'\n"
    "    conn:read_all()\n"
    "    conn:tls()\n"
    "  end\n"
    "  pcall(net.connect, '127.0.0.1', port, {timeout = 2, tls = true})\n"
    "end)\n";

static void refused_at_every_allocation(size_t stride)
{
    char code[2048];
    snprintf(code, sizeof code, small, check_tls_folder);
    int fds = check_count_fds();
    size_t n = 1;
    for (;; n += stride) {
        counter c = {.fail_at = n};
        snprintf(check_context, sizeof check_context, "allocation %zu", n);
        asyncbox *box = check_box(&c, code, 0);
        if (box) {
            asyncbox_run(box);
            CHECK_EQUAL(asyncbox_free(box), 0);
        }
        counter_check(&c);
        CHECK_EQUAL(check_count_fds(), fds);
        if (c.calls < n)
            break;
    }
    *check_context = '\0';
    CHECK(n > 500);
}

/* Connections count as memory of the box: a script cannot have any number of
 * them. */
static void counted(void)
{
    static const char form[] =
        "local net = require 'asyncbox.net'\n"
        "local dir = '%s/'\n"
        "local server = net.listen('127.0.0.1', 0, function(conn)\n"
        "  conn:read()\n"
        "end, {tls = {cert = dir .. 'cert', key = dir .. 'key'}})\n"
        "local all, ok = {}, true\n"
        "while ok do\n"
        "  ok, all[#all + 1] = pcall(net.connect, '127.0.0.1',\n"
        "    server:address().port, {tls = {verify = false}})\n"
        "end\n"
        "assert(#all > 20 and #all < 90, #all)\n"
        "server:close()\n";
    char code[1024];
    snprintf(code, sizeof code, form, check_tls_folder);
    asyncbox *box = NULL;
    asyncbox_config config = check_config(NULL);
    config.virtual_time = 0;
    config.sandbox = 0;
    config.memory_bytes = (size_t)4 << 20;
    if (!CHECK_EQUAL(asyncbox_new(&config, &box), 0))
        return;
    CHECK_EQUAL(check_spawn(box, code), 0);
    if (!CHECK_EQUAL(asyncbox_run(box), 0))
        printf("  %s\n", asyncbox_error_text(box));
    CHECK_EQUAL(asyncbox_free(box), 0);
}

int main(void)
{
    if (check_tls_make()) {
        counted();
        closed_at_every_moment();
        refused_at_every_allocation(7);
    }
    check_tls_remove();
    return check_done("tls_box_spec");
}
