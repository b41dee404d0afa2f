/* tls_box_spec.c - TLS streams and the life of a box: closed at every moment of
 * handshakes, reads and writes; every allocation refused; the cap; somebody who
 * asks for answers without end. */
#include "check_life.h"
#include "check_tls.h"
#include "tls.h"
#include "tls_state.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

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
        check_in("%d turns", turns);
        asyncbox *box = check_box(&c, code, 0);
        if (!CHECK(box != NULL))
            break;
        for (int i = 0; i < turns; i++) {
            asyncbox_step(box, 100000);
            check_pause_us(200);
        }
        CHECK_EQUAL(asyncbox_free(box), 0);
        counter_check(&c);
        CHECK_EQUAL(check_count_fds(), fds);
    }
    check_out();
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

static void run_small(counter *c, const void *code)
{
    check_run(check_box(c, code, 0));
}

static void refused_at_every_allocation(void)
{
    char code[2048];
    snprintf(code, sizeof code, small, check_tls_folder);
    CHECK(check_refused("TLS", run_small, code, 7) > 500);
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

/* ---- a server of TLS 1.3 that has the client renew its keys and tell so,
 * again and again, and never reads what it is told ---- */

static int listen_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    CHECK(strlen(path) < sizeof at.sun_path);
    memcpy(at.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(listen(fd, 1) == 0);
    return fd;
}

static ab_tls_context *server_context(ab_limits *limits)
{
    static char pem[2][8192];
    static const char *const names[] = {"cert", "key"};
    for (int i = 0; i < 2; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/%s", check_tls_folder, names[i]);
        FILE *file = fopen(path, "rb");
        if (!CHECK(file) || !CHECK(fread(pem[i], 1, sizeof pem[i] - 1, file)))
            exit(check_done("tls_box_spec"));
        fclose(file);
    }
    ab_tls_settings settings = {
        .side = AB_TLS_SERVER, .cert = pem[0], .key = pem[1]};
    ab_tls_context *context = NULL;
    char trouble[AB_TLS_TEXT];
    CHECK_EQUAL(ab_tls_context_new(&settings, limits, &context, trouble), 0);
    return context;
}

/* Writes what the engine has, as far as the socket takes it now. */
static void send_all(ab_tls *tls, int fd)
{
    size_t n;
    const char *data = ab_tls_output(tls, &n);
    if (!n)
        return;
    ssize_t sent = send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0)
        ab_tls_output_done(tls, (size_t)sent);
}

static int shake_hands(asyncbox *box, int listener, ab_tls *tls)
{
    static char buffer[65536];
    int fd = -1, done = 0;
    for (int turn = 0; turn < 20000 && done == 0; turn++) {
        asyncbox_step(box, 1000000);
        if (fd < 0)
            fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        ssize_t n = fd < 0 ? -1 : recv(fd, buffer, sizeof buffer, 0);
        if (n > 0) {
            ab_tls_input(tls, buffer, (size_t)n);
            done = ab_tls_handshake(tls);
            send_all(tls, fd);
        } else {
            check_pause_us(500);
        }
    }
    CHECK_EQUAL(done, 1);
    return fd;
}

static void flooded(void)
{
    static const char form[] =
        "local net = require 'asyncbox.net'\n"
        "local conn = net.connect{path = '%s/flood', tls = {verify = false}}\n"
        "local ok, err = pcall(conn.read, conn)\n"
        "assert(not ok and err.code == 'ENOBUFS', tostring(err))\n"
        "conn:close()\n";
    char code[1024], path[300];
    snprintf(code, sizeof code, form, check_tls_folder);
    snprintf(path, sizeof path, "%s/flood", check_tls_folder);
    ab_limits limits;
    ab_limits_init(&limits, 0, NULL, NULL);
    ab_tls *tls = NULL;
    ab_tls_context *context = server_context(&limits);
    int listener = listen_at(path), running = 1;
    asyncbox *box = check_box(NULL, code, 0);
    if (!context || !CHECK(box) ||
        !CHECK_EQUAL(ab_tls_new(context, NULL, NULL, &tls), 0))
        return;
    int fd = shake_hands(box, listener, tls);
    int (*renew)(SSL *, int) = NULL;
    void *library = dlopen(ASYNCBOX_OPENSSL_SONAME, RTLD_NOW);
    *(void **)&renew = dlsym(library, "SSL_key_update");
    size_t most = 0;
    for (int turn = 0; turn < 100000 && running > 0; turn++) {
        size_t unsent;
        ab_tls_output(tls, &unsent);
        for (int i = 0; i < 500 && unsent < 10000; i++) {
            renew(tls->ssl, 1); /* and the other side, too */
            context->o->SSL_do_handshake(tls->ssl);
        }
        send_all(tls, fd);
        running = asyncbox_step(box, 10000000);
        size_t now = check_stats(box).memory_bytes;
        most = now > most ? now : most;
    }
    CHECK_EQUAL(running, 0);
    CHECK(most > ((size_t)1 << 20) && most < ((size_t)8 << 20));
    CHECK_EQUAL(asyncbox_free(box), 0);
    ab_tls_free(tls);
    ab_tls_context_unref(context);
    ab_limits_deinit(&limits);
    dlclose(library);
    close(fd);
    close(listener);
}

int main(void)
{
    if (check_tls_make()) {
        counted();
        flooded();
        closed_at_every_moment();
        refused_at_every_allocation();
    }
    check_tls_remove();
    return check_done("tls_box_spec");
}
