/* upload_spec.c - what scripts cannot show of requests that asyncbox.http puts
 * together: a box closed while it uploads, pauses or holds cookies, and memory
 * that runs out in the middle. */

/* A wait that never ends is ended, with SIGALRM: no case may take that long. */
#define CASE_SECONDS 100

#include "check_http.h"

/* ---- what the server answers ---- */

/* Has all of a request come?  Bodies are short, or end with a last chunk. */
static int is_whole(const char *request, size_t n)
{
    const char *body = strstr(request, "\r\n\r\n");
    const char *length = strstr(request, "Content-Length: ");
    if (!body)
        return 0;
    if (strstr(request, "Transfer-Encoding: chunked"))
        return n > 5 && memcmp(request + n - 5, "0\r\n\r\n", 5) == 0;
    return !length || request + n - body - 4 >= atoi(length + 16);
}

static void answer(int fd)
{
    static const char page[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nSet-Cookie: a=1; Path=/\r\n"
        "Connection: close\r\n\r\nHello\n";
    static const char busy[] = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n"
                               "Connection: close\r\n\r\n";
    static char request[65536];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof request - 1 &&
           (got = read(fd, request + n, sizeof request - 1 - n)) > 0) {
        n += (size_t)got;
        request[n] = '\0';
        if (is_whole(request, n))
            break;
    }
    const char *text = n && strstr(request, " /busy") ? busy : page;
    got = write(fd, text, strlen(text));
    close(fd);
}

/* ---- the cases ---- */

static const char all_ways[] =
    "local async, http = require 'asyncbox', require 'asyncbox.http'\n"
    "local url = 'http://127.0.0.1:%d/'\n"
    "local session = http.session{cookies = true, retries = 2}\n"
    "local function with(options)\n"
    "  async.spawn(function()\n"
    "    local _ <close> = setmetatable({}, {__close = function() end})\n"
    "    session:post(url, options)\n"
    "  end)\n"
    "end\n"
    "with{body = function() async.sleep(1000) end}\n"
    "with{body = function() return ('x'):rep(100000) end}\n"
    "with{body = function() return ('x'):rep(1000) end, length = 10000000}\n"
    "with{multipart = {f = {file = '/proc/self/exe'}}}\n"
    "with{json = {1}, auth = {digest = {'a', 'b'}}, cookies = {c = '1'}}\n"
    "with{form = {a = 1}, proxy = 'socks5://a:b@127.0.0.1:1'}\n"
    "async.spawn(session.get, session, url .. 'busy')\n"
    "async.spawn(http.get, 'http://127.0.0.1:1/',\n"
    "  {retries = {backoff = 1000, max_wait = 1000}})\n"
    "async.spawn(http.map, {url, url}, function(r) r:read() end)\n"
    "async.sleep(1000)\n";

/* After any number of turns: while pieces are asked for, wait for room, are
 * sent, while files are read and pauses kept. */
static void closed_while_it_uploads(const char *what, int port)
{
    for (int turns = 0; turns < 60; turns += turns < 20 ? 1 : 5) {
        counter c = {0};
        asyncbox *box = new_box(&c);
        check_in("%s, %d turns", what, turns);
        CHECK_EQUAL(spawn_with_port(box, all_ways, port), 0);
        for (int i = 0; i < turns && asyncbox_step(box, 0) == 1; i++)
            usleep(500);
        free_at_once(box, &c);
    }
}

static const char connect_and_stop[] =
    "local async, http = require 'asyncbox', require 'asyncbox.http'\n"
    "local full, port = 'http://127.0.0.1:%d/', PORT\n"
    "for i = 1, 3 do\n"
    "  local tasks = {}\n"
    "  for j = 1, 3 do tasks[j] = async.spawn(http.get, full) end\n"
    "  async.sleep(0.02)\n"
    "  for j = 1, 3 do tasks[j]:cancel() pcall(tasks[j].await, tasks[j]) end\n"
    "  http.get('http://127.0.0.1:' .. port .. '/'):read()\n"
    "end\n"
    "done = true\n";

/* Curl closes such sockets itself; their numbers come again at once. */
static void cancelled_while_it_connects(int port)
{
    int full_port, full = listen_on(&full_port), fds[8];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)full_port)};
    char code[2048];
    counter c = {0};
    CHECK_EQUAL(listen(full, 0), 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 8; i++) { /* nobody accepts: the queue is full */
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fds[i], (void *)&address, sizeof address);
    }
    check_in("connecting");
    const char *at = strstr(connect_and_stop, "PORT");
    snprintf(code, sizeof code, "%.*s%d%s", (int)(at - connect_and_stop),
             connect_and_stop, port, at + 4);
    asyncbox *box = new_box(&c);
    CHECK_EQUAL(spawn_with_port(box, code, full_port), 0);
    check_within(CASE_SECONDS);
    CHECK_EQUAL(asyncbox_run(box), 0);
    free_at_once(box, &c);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    close(full);
}

/* ---- memory ---- */

static const char requests[] =
    "local async, http = require 'asyncbox', require 'asyncbox.http'\n"
    "local url = 'http://127.0.0.1:%d/'\n"
    "local s <close> = http.session{auth = {'a', 'b'}, http2 = true,\n"
    "  base_url = url, cookies = {x = 'y'}}\n"
    "local n = 0\n"
    "assert(s:post('', {params = {a = 1}, body = function()\n"
    "  n = n + 1 async.sleep(0) return n < 4 and 'piece' or nil end\n"
    "}):text() == 'Hello\\n')\n"
    "assert(#s.cookies:list() == 2 and s.cookies:remove 'x' == 1)\n"
    "pcall(s.get, s, 'busy', {retries = {times = 1, backoff = 0}})\n"
    "s:put('', {multipart = {a = 'x', f = {file = '/dev/null'}}})\n"
    "s:put('', {json = {1}, auth = {digest = {'a', 'b'}}})\n"
    "pcall(s.get, s, '', {proxy = 'http://a:b@127.0.0.1:1'})\n";

static const char load[] =
    "local http = require 'asyncbox.http'\n"
    "pcall(http.post, 'http://127.0.0.1:%d/', {multipart = {a = 'x',\n"
    "  f = {file = '/dev/null'}}, params = {a = 1}})\n"
    "pcall(http.post, 'http://127.0.0.1:1/', {json = {1}})\n";

/* Every step-th: each takes a few milliseconds. */
static void no_memory(int port)
{
    for (int on = 0; on < 2; on++) {
        size_t n = 1;
        while (n < 5000 && refused_once(load, requests, port, n, on))
            n += n < 100 ? 1 : 7;
        CHECK(n > 300 && n < 5000);
    }
}

int main(void)
{
    pthread_t thread;
    int port, silent, fd = listen_on(&port), deaf = listen_on(&silent);
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQUAL(pthread_create(&thread, NULL, serve, &fd), 0);
    closed_while_it_uploads("silence", silent);
    closed_while_it_uploads("answers", port);
    cancelled_while_it_connects(port);
    no_memory(port);
    shutdown(fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(fd);
    close(deaf);
    return check_done("upload_spec");
}
