/* dns_spec.c - what scripts cannot show of asyncbox.dns and of UDP sockets: a
 * box closed while tasks wait for them, memory that runs out, and messages of
 * name servers with every byte wrong. */
#include "check_life.h"
#include "dns.h"
#include "name_server.h"

/* ---- boxes ---- */

static asyncbox *start(counter *c, const char *code)
{
    char text[2048];
    snprintf(text, sizeof text, "local port = %d\n%s", server_port, code);
    return check_box(c, text, 0);
}

static void turn(asyncbox *box, int turns)
{
    while (turns-- > 0 && asyncbox_step(box, 0) == 1)
        usleep(300);
}

/* ---- closed while pending ---- */

static const char dns_waits[] =
    "local async, dns = require 'asyncbox', require 'asyncbox.dns'\n"
    "dns.servers { '127.0.0.1:' .. port }\n"
    "ended = 0\n"
    "for _, name in ipairs { 'silent.test.', 'plain.test.', 'big.test.' } do\n"
    "  for _, options in ipairs { {}, { family = 'ipv4' }, { type = 'MX' } } "
    "do\n"
    "    async.spawn(function()\n"
    "      local _ <close> = setmetatable({}, { __close = function()\n"
    "        ended = ended + 1 end })\n"
    "      dns.resolve(name, options)\n"
    "    end)\n"
    "  end\n"
    "end\n"
    "async.spawn(pcall, dns.resolve, 'localhost')\n"
    "async.spawn(pcall, dns.reverse, '192.0.2.1')\n"
    "dns.reverse('127.0.0.77')\n"
    "dns.resolve('silent.test.')\n";

static const char udp_waits[] =
    "local async, net = require 'asyncbox', require 'asyncbox.net'\n"
    "local dns = require 'asyncbox.dns'\n"
    "dns.servers { '127.0.0.1:' .. port }\n"
    "local a = net.udp { host = '127.0.0.1', port = 0 }\n"
    "local b = net.udp { port = 0 }\n"
    "async.spawn(function() for data in a:packets() do end end)\n"
    "async.spawn(function() b:recv() end)\n"
    "async.spawn(function() b:send('x', 'silent.test.', 9) end)\n"
    "async.spawn(function() net.udp():connect('silent.test.', 9) end)\n"
    "async.spawn(function() net.udp():send('x', 'big.test.', 9) end)\n"
    "for i = 1, 200 do b:send(('x'):rep(5000), a:address()) end\n"
    "local c <close> = net.udp()\n"
    "c:connect('silent.test.', 9)\n";

static void closed_at_every_moment(const char *code, const char *name)
{
    int fds = check_count_fds();
    for (int turns = 0; turns < 14; turns++) {
        counter c = {0};
        check_in("%s, %d turns", name, turns);
        asyncbox *box = start(&c, code);
        if (!CHECK(box != NULL))
            return;
        turn(box, turns);
        CHECK_EQUAL(asyncbox_free(box), 0);
        counter_check(&c);
        check_fds_at_most(fds);
    }
    check_out();
}

/* ---- memory ---- */

static const char dns_uses[] =
    "local async, dns = require 'asyncbox', require 'asyncbox.dns'\n"
    "dns.servers({ '127.0.0.1:' .. port }, { timeout = 0.02, tries = 1 })\n"
    "local g <close> = async.group()\n"
    "g:spawn(pcall, dns.resolve, 'many.test.')\n"
    "g:spawn(pcall, dns.resolve, 'many.test.', { type = 'A' })\n"
    "g:spawn(pcall, dns.resolve, 'none.test.')\n"
    "g:spawn(pcall, dns.reverse, '127.0.0.1')\n";

static const char udp_uses[] =
    "local async, net = require 'asyncbox', require 'asyncbox.net'\n"
    "local dns = require 'asyncbox.dns'\n"
    "dns.servers({ '127.0.0.1:' .. port }, { timeout = 0.02, tries = 1 })\n"
    "local a <close> = net.udp { host = '127.0.0.1', port = 0 }\n"
    "local b <close> = net.udp()\n"
    "b:send('hello', 'localhost', a:address().port)\n"
    "pcall(async.timeout, 0.05, a.recv, a)\n"
    "pcall(b.send, b, 'x', 'none.test.', 9)\n"
    "pcall(b.connect, b, 'six.test.', 9)\n";

static void run(counter *c, const void *code) { check_run(start(c, code)); }

/* ---- messages ---- */

static size_t append(unsigned char *m, size_t at, const void *data,
                     size_t bytes)
{
    memcpy(m + at, data, bytes);
    return at + bytes;
}

/* A message with a record of each type. */
static size_t make_message(unsigned char *m)
{
    static const struct {
        int type;
        const char *data;
        size_t bytes;
    } records[] = {
        {AB_DNS_A, "\1\2\3\4", 4},
        {AB_DNS_AAAA, "0123456789abcdef", 16},
        {AB_DNS_NS, "\2ns\xc0\x0c", 5},
        {AB_DNS_CNAME, "\xc0\x0c", 2},
        {AB_DNS_PTR, "\1p\0", 3},
        {AB_DNS_MX, "\0\5\4mail\xc0\x0c", 9},
        {AB_DNS_TXT, "\3one\0\5three", 11},
        {AB_DNS_SRV, "\0\1\0\2\0\3\1h\xc0\x0c", 10},
        {AB_DNS_SOA,
         "\1m\xc0\x0c\1r\xc0\x0c"
         "aaaabbbbccccddddeeee",
         28},
        {AB_DNS_NAPTR, "\0\1\0\2\1u\3sip\2re\1n\0", 16},
        {AB_DNS_CAA, "\x80\5issueca", 9},
    };
    enum { COUNT = sizeof records / sizeof *records };
    const unsigned char head[] = {0, 1, 0x81, 0x80, 0, 1, 0, COUNT, 0, 0, 0, 0};
    size_t at = append(m, 0, head, sizeof head);
    at = append(m, at, "\1a\4test\0\0\xff\0\1", 12);
    for (int i = 0; i < COUNT; i++) {
        const unsigned char record[] = {0xc0,
                                        12,
                                        (unsigned char)(records[i].type >> 8),
                                        (unsigned char)records[i].type,
                                        0,
                                        1,
                                        0,
                                        0,
                                        0,
                                        9,
                                        0,
                                        (unsigned char)records[i].bytes};
        at = append(m, at, record, sizeof record);
        at = append(m, at, records[i].data, records[i].bytes);
    }
    return at;
}

/* Reads all that there is to read; gives how many records were good. */
static int read_all(lua_State *L, const unsigned char *message, size_t bytes)
{
    /* A block of just this size: what reads on is found out. */
    unsigned char *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, message, bytes);
    ab_dns_reader reader;
    ab_dns_record record;
    int good = 0, turns = 0;
    if (ab_dns_open(&reader, copy, bytes) == 0) {
        while (ab_dns_next(&reader, &record) > 0 && turns++ < 70000) {
            if (ab_dns_push(L, &reader, &record)) {
                good++;
                lua_pop(L, 1);
            }
        }
    }
    CHECK_EQUAL(lua_gettop(L), 0);
    free(copy);
    return good;
}

static void messages_of_all_kinds(void)
{
    unsigned char m[1024], changed[1024];
    lua_State *L = luaL_newstate();
    size_t bytes = make_message(m);
    CHECK_EQUAL(read_all(L, m, bytes), 11);
    for (size_t len = 0; len < bytes; len++)
        CHECK(read_all(L, m, len) < 11);
    for (size_t at = 0; at < bytes; at++) {
        for (int value = 0; value < 256; value++) {
            memcpy(changed, m, bytes);
            changed[at] = (unsigned char)value;
            read_all(L, changed, bytes);
        }
    }
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        memcpy(changed, m, bytes);
        for (int n = 0; n < 6; n++) {
            seed = seed * 1103515245 + 12345;
            changed[(seed >> 8) % bytes] = (unsigned char)(seed >> 24);
        }
        read_all(L, changed, bytes);
    }
    lua_close(L);
}

int main(void)
{
    asyncbox_free(check_box(NULL, "", 0)); /* libuv's own descriptors */
    start_name_server();
    closed_at_every_moment(dns_waits, "dns");
    closed_at_every_moment(udp_waits, "udp");
    check_refused("dns", run, dns_uses, 3);
    check_refused("udp", run, udp_uses, 3);
    messages_of_all_kinds();
    stop_name_server();
    return check_done("dns_spec");
}
