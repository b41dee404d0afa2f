/* transfer_spec.c - what scripts cannot show of asyncbox.http: a box closed
 * while it fetches, name look-ups that never end, and memory that runs out in
 * the middle of a fetch. */

/* A wait that never ends is ended, with SIGALRM: no case may take that long. */
#define CASE_SECONDS 60

#include "check_http.h"
#include "name_server.h"

/* ---- what the server answers ---- */

/* Answers each connection once, with what its path asks for. */
static void answer(int fd)
{
    static const char page[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n"
                               "Connection: close\r\n\r\nHello\n";
    static const char moved[] = "HTTP/1.1 302 Found\r\nLocation: /page\r\n"
                                "Connection: close\r\n\r\n";
    char request[4096];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof request - 1 &&
           (got = read(fd, request + n, sizeof request - 1 - n)) > 0) {
        n += (size_t)got;
        request[n] = '\0';
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    static const char without_end[] = "HTTP/1.1 200 OK\r\n\r\nthe first line\n";
    if (n && strstr(request, " /endless ")) {
        const char *more = without_end;
        while (write(fd, more, strlen(more)) > 0)
            more = "more\n";
        close(fd);
        return;
    }
    const char *text = n && strstr(request, " /moved ") ? moved : page;
    got = write(fd, text, strlen(text));
    close(fd);
}

/* ---- boxes ---- */

/* spawn_with_port, and then `turns` turns. */
static void start(asyncbox *box, const char *code, int port, int turns)
{
    CHECK_EQUAL(spawn_with_port(box, code, port), 0);
    while (turns-- > 0 && asyncbox_step(box, 0) == 1)
        usleep(500);
}

/* ---- the cases ---- */

static const char fetch_many[] =
    "local async, http = require 'asyncbox', require 'asyncbox.http'\n"
    "local url = 'http://127.0.0.1:%d/'\n"
    "local session <close> = http.session{max_connections = 20}\n"
    "closed = 0\n"
    "for i = 1, 30 do\n"
    "  async.spawn(function()\n"
    "    local _ <close> = setmetatable({}, {__close = function()\n"
    "      closed = closed + 1 end})\n"
    "    if i % 2 == 0 then http.get(url) else session:get(url) end\n"
    "  end)\n"
    "end\n"
    "http.get(url)\n";

static void closed_while_nobody_answers(void)
{
    int port, fd = listen_on(&port);
    for (int turns = 0; turns < 40; turns++) {
        counter c = {0};
        asyncbox *box = new_box(&c);
        check_in("silence, %d turns", turns);
        start(box, fetch_many, port, turns);
        free_at_once(box, &c);
    }
    close(fd);
}

static void closed_while_others_go_on(void)
{
    int port, fd = listen_on(&port);
    counter c[3] = {{0}};
    asyncbox *box[3];
    check_in("three boxes");
    for (int i = 0; i < 3; i++) {
        box[i] = new_box(&c[i]);
        start(box[i], fetch_many, port, 20);
    }
    free_at_once(box[1], &c[1]);
    CHECK_EQUAL(asyncbox_step(box[0], 0), 1);
    free_at_once(box[0], &c[0]);
    CHECK_EQUAL(asyncbox_step(box[2], 0), 1);
    free_at_once(box[2], &c[2]);
    close(fd);
}

/* Finished, but its task has not gone on yet: after any number of turns. */
static void closed_while_answers_come(int port)
{
    for (int turns = 0; turns < 60; turns++) {
        counter c = {0};
        asyncbox *box = new_box(&c);
        check_in("answers, %d turns", turns);
        start(box, fetch_many, port, turns);
        free_at_once(box, &c);
    }
}

/* In the middle of bodies: read, not read, waited for, saved. */
static const char read_many[] =
    "local async, http = require 'asyncbox', require 'asyncbox.http'\n"
    "local url = 'http://127.0.0.1:%d/'\n"
    "local kept = {}\n"
    "local ways = {\n"
    "  function(r) r:read() end,\n"
    "  function(r) for _ in r:chunks(100) do async.sleep(0) end end,\n"
    "  function(r) for _ in r:lines() do end end,\n"
    "  function(r) r:save('/dev/null', function() async.sleep(0) end) end,\n"
    "  function(r) kept[#kept + 1] = r async.sleep(9) end,\n"
    "  function(r) local _ <close> = r r:json() end,\n"
    "}\n"
    "for i = 1, 6 do\n"
    "  async.spawn(function() ways[i](http.get(url .. 'endless')) end)\n"
    "end\n"
    "async.sleep(9)\n";

static void closed_in_the_middle_of_bodies(int port)
{
    for (int turns = 0; turns < 60; turns += 3) {
        counter c = {0};
        asyncbox *box = new_box(&c);
        check_in("bodies, %d turns", turns);
        start(box, read_many, port, turns);
        free_at_once(box, &c);
    }
}

static const char look_up[] =
    "local async, http = require 'asyncbox', require 'asyncbox.http'\n"
    "async.dns.servers { '127.0.0.1:%d' }\n"
    "for i = 1, 5 do async.spawn(http.get, 'http://silent.test/') end\n"
    "local t = async.spawn(http.get, 'http://silent.test/')\n"
    "async.sleep(0.05)\n"
    "t:cancel()\n"
    "pcall(t.await, t)\n"
    "pcall(http.get, 'http://silent.test/', {timeout = 0.05})\n"
    "late = true\n"
    "async.sleep(9)\n";

static void closed_while_names_are_looked_up(void)
{
    counter c = {0};
    asyncbox *box = new_box(&c);
    check_in("look-ups");
    start(box, look_up, server_port, 0);
    check_within(CASE_SECONDS);
    /* Until the cancelled one and the one out of time are let go of.  For each
     * both families are asked for. */
    while (asked < 14 || check_stats(box).ops != 5) {
        CHECK_EQUAL(asyncbox_step(box, 0), 1);
        usleep(500);
    }
    free_at_once(box, &c);
    check_within(0);
    for (int turns = 0; turns < 20; turns++) {
        box = new_box(&c);
        start(box, look_up, server_port, turns);
        free_at_once(box, &c);
    }
}

/* In a sandbox, so that no connection is made. */
static void look_up_without_memory(counter *c, const void *arg)
{
    static const char code[] =
        "local http = require 'asyncbox.http'\n"
        "local dns = require 'asyncbox.dns'\n"
        "dns.servers({ '127.0.0.1:%d' }, { timeout = 0.02, tries = 1 })\n"
        "pcall(http.get, 'http://six.test:1/', { timeout = 1 })\n"
        "pcall(http.get, 'http://none.test:1/')\n";
    (void)arg;
    char rule[40];
    asyncbox *box = check_box(c, "", 1);
    if (!box)
        return;
    snprintf(rule, sizeof rule, "127.0.0.1:%d", server_port);
    asyncbox_allow(box, "net", rule);
    asyncbox_allow(box, "net", "*");
    if (spawn_with_port(box, code, server_port) == 0)
        asyncbox_run(box);
    asyncbox_free(box);
}

static const char finalizer[] =
    "local http = require 'asyncbox.http'\n"
    "local port = %d\n"
    "x = setmetatable({}, {__gc = function()\n"
    "  pcall(http.session) pcall(http.get, 'http://127.0.0.1/') http.close()\n"
    "end})\n"
    "http.session()\n"
    "http.get('http://127.0.0.1:' .. port .. '/')\n";

static void finalizers_use_the_module(int port)
{
    for (int turns = 0; turns < 30; turns += 29) {
        counter c = {0};
        asyncbox *box = new_box(&c);
        check_in("finalizers");
        start(box, finalizer, port, turns);
        free_at_once(box, &c);
    }
}

/* ---- memory ---- */

static const char fetch_all_ways[] =
    "local http = require 'asyncbox.http'\n"
    "local url = 'http://127.0.0.1:%d/'\n"
    "local s <close> = http.session{headers = {A = '1'}, base_url = url}\n"
    "local r = s:get('page', {headers = {B = {'1', '2'}}})\n"
    "assert(r:text() == 'Hello\\n' and r.headers['Content-Length'] == '6')\n"
    "r:header_values('connection') tostring(r)\n"
    "http.get(url):save('/dev/null')\n"
    "for _ in http.get(url):chunks(2) do end\n"
    "http.get(url):text('latin1')\n"
    "do local r <close> = http.get(url .. 'endless') r:lines()() end\n"
    "assert(s:get('moved').url == url .. 'page')\n"
    "assert(http.post(url .. 'moved', {body = 'x'}).status == 200)\n"
    "pcall(http.get, url, {max_body = 3})\n"
    "pcall(http.get, 'http://127.0.0.1:1/')\n"
    "pcall(http.get, url, {redirects = false, timeout = {connect = 5}})\n";

static void no_memory(int port)
{
    for (int on = 0; on < 2; on++) {
        size_t n = 1;
        while (n < 5000 && refused_once(NULL, fetch_all_ways, port, n, on))
            n++;
        CHECK(n > 100 && n < 5000);
    }
}

int main(void)
{
    pthread_t thread;
    int port, fd = listen_on(&port);
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQUAL(pthread_create(&thread, NULL, serve, &fd), 0);
    start_name_server();
    closed_while_nobody_answers();
    closed_while_others_go_on();
    closed_while_answers_come(port);
    closed_in_the_middle_of_bodies(port);
    closed_while_names_are_looked_up();
    check_refused("names", look_up_without_memory, NULL, 3);
    finalizers_use_the_module(port);
    no_memory(port);
    stop_name_server();
    shutdown(fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(fd);
    return check_done("transfer_spec");
}
