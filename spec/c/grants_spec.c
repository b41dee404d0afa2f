/* grants_spec.c - which hosts and addresses a sandbox may connect to, asked of
 * grants.h without Lua. */
#include "check.h"
#include "grants.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <uv.h>

static ab_grants net_of(const char *rule)
{
    ab_grants grants;
    ab_grants_init(&grants, 0);
    if (rule)
        CHECK(ab_grants_add(&grants, AB_GRANT_NET, rule) == 0);
    return grants;
}

static int host(const char *rule, const char *name, int port)
{
    ab_grants grants = net_of(rule);
    int allowed = ab_grants_host_allowed(&grants, name, port);
    ab_grants_deinit(&grants);
    return allowed;
}

static int address(const char *rule, const char *name, const char *text,
                   int port)
{
    ab_grants grants = net_of(rule);
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    const struct sockaddr *addr;
    if (strchr(text, ':')) {
        CHECK(inet_pton(AF_INET6, text, &in6.sin6_addr) == 1);
        in6.sin6_port = htons((uint16_t)port);
        addr = (const struct sockaddr *)&in6;
    } else {
        CHECK(inet_pton(AF_INET, text, &in.sin_addr) == 1);
        in.sin_port = htons((uint16_t)port);
        addr = (const struct sockaddr *)&in;
    }
    int allowed = port == AB_PORT_ANY
                      ? ab_grants_answer_allowed(&grants, name, addr)
                      : ab_grants_address_allowed(&grants, name, addr);
    ab_grants_deinit(&grants);
    return allowed;
}

/* What may be looked up, and told. */
static void any_port(void)
{
    CHECK(!host(NULL, "example.org", AB_PORT_ANY));
    CHECK(host("example.org:443", "example.org", AB_PORT_ANY));
    CHECK(host("*:443", "example.org", AB_PORT_ANY));
    CHECK(!host("*:443", "x.localhost", AB_PORT_ANY));
    CHECK(!host("example.org:443", "a.example.org", AB_PORT_ANY));
    CHECK(host("10.0.0.0/8:1", "10.1.1.1", AB_PORT_ANY));
    CHECK(!host("*", "10.1.1.1", AB_PORT_ANY));
    CHECK(address("a.org:443", "a.org", "8.8.8.8", AB_PORT_ANY));
    CHECK(!address("a.org:443", "a.org", "10.1.1.1", AB_PORT_ANY));
    CHECK(!address("*", "a.org", "::ffff:127.0.0.1", AB_PORT_ANY));
    CHECK(address("10.0.0.0/8:1", "a.org", "10.1.1.1", AB_PORT_ANY));
    CHECK(!address("a.org", "b.org", "8.8.8.8", AB_PORT_ANY));
}

static void names_and_ports(void)
{
    CHECK(!host(NULL, "example.org", 80));
    CHECK(host("example.org", "example.org", 80));
    CHECK(host("Example.ORG", "eXample.org.", 1));
    CHECK(host("example.org:443", "example.org", 443));
    CHECK(!host("example.org:443", "example.org", 80));
    CHECK(!host("example.org", "www.example.org", 80));
    CHECK(!host("example.org", "example.org.evil.net", 80));
    CHECK(host("*", "example.org", 80));
    CHECK(host("*:443", "example.org", 443));
    CHECK(!host("*:443", "example.org", 80));
    CHECK(host("[2606:4700::1]:443", "2606:4700::1", 443));
    CHECK(host("[2606:4700::1]:443", "[2606:4700:0::1]", 443));
    CHECK(!host("[2606:4700::1]:443", "2606:4700::1", 80));
    CHECK(host("2606:4700::1", "2606:4700::1", 80));
    CHECK(host("10.0.0.0/8", "10.200.3.4", 80));
    CHECK(!host("10.0.0.0/8", "11.0.0.1", 80));
    CHECK(host("10.0.0.0/8:80", "10.1.1.1", 80));
    CHECK(!host("10.0.0.0/8:80", "10.1.1.1", 81));
    CHECK(host("[fd00::/8]:80", "fd12::1", 80));
    CHECK(host("fd00::/8", "fd12::1", 80));
    CHECK(host("[fd00::]/8", "fd12::1", 80));
    CHECK(host("192.168.1.128/25", "192.168.1.200", 1));
    CHECK(!host("192.168.1.128/25", "192.168.1.100", 1));
    CHECK(!host("::/0", "127.0.0.1", 80));
    CHECK(host("::/0", "::1", 80));
    CHECK(host("0.0.0.0/0", "127.0.0.1", 80));
}

static void bad_rules(void)
{
    static const char *const bad[] = {
        "",           "host:0",      "host:65536", "host:http",   "host:",
        ":80",        "10.0.0.0/33", "10.0.0.0/",  "x/8",         "*.org",
        "a b",        "[::1",        "[::1]:x",    "fd00::/129",  "user@host",
        "http://x.y", "x?y",         "[nonsense]", "10.0.0.0/-1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ab_grants grants;
        ab_grants_init(&grants, 0);
        int err = ab_grants_add(&grants, AB_GRANT_NET, bad[i]);
        if (err != UV_EINVAL)
            printf("rule '%s': %d\n", bad[i], err);
        CHECK(err == UV_EINVAL);
        ab_grants_deinit(&grants);
    }
}

/* Whatever inet_aton, a URL parser or a resolver may take for loopback. */
static void spellings_of_loopback(void)
{
    static const char *const spelling[] = {
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "017700000001",
        "2130706433",
        "127.0.0.1.",
        "0x7f.0x0.0x0.0x1",
        "127.255.255.254",
        "0",
        "0.0.0.0",
        "0x0",
        "::1",
        "[::1]",
        "::",
        "::ffff:127.0.0.1",
        "[::ffff:7f00:1]",
        "::ffff:0:0",
        "0:0:0:0:0:0:0:1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "localhost",
        "LocalHost.",
        "foo.localhost",
        "2002:7f00:1::1",
    };
    for (size_t i = 0; i < sizeof spelling / sizeof *spelling; i++) {
        if (host("*", spelling[i], 80))
            printf("allowed: %s\n", spelling[i]);
        CHECK(!host("*", spelling[i], 80));
        CHECK(!host("example.org", spelling[i], 80));
    }
    CHECK(host("127.0.0.1", "2130706433", 80));
    CHECK(host("127.0.0.1", "::ffff:127.0.0.1", 80));
    CHECK(host("localhost", "127.0.0.1", 80));
    CHECK(host("localhost", "::1", 80));
    CHECK(host("localhost", "LOCALHOST", 80));
    CHECK(!host("localhost", "0.0.0.0", 80));
    CHECK(!host("127.0.0.1", "127.0.0.2", 80));
}

static void resolved_addresses(void)
{
    static const char *const inside[] = {
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.1",
        "::1",
        "::",
        "::ffff:10.0.0.1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "64:ff9b::a00:1",
        "2002:c0a8:101::1",
        "2001:db8::1",
        "2001::1",
    };
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        if (address("example.org", "example.org", inside[i], 80))
            printf("allowed: %s\n", inside[i]);
        CHECK(!address("example.org", "example.org", inside[i], 80));
        CHECK(!address("*", "example.org", inside[i], 80));
        CHECK(address(inside[i], "example.org", inside[i], 80));
    }
    CHECK(address("example.org", "example.org", "93.184.216.34", 80));
    CHECK(address("example.org", "example.org", "2606:4700::1", 80));
    CHECK(address("example.org", "example.org", "::ffff:8.8.8.8", 80));
    CHECK(address("*", "1.1.1.1", "1.1.1.1", 80));
    CHECK(!address("example.org", "other.org", "93.184.216.34", 80));
    CHECK(!address("example.org:443", "example.org", "93.184.216.34", 80));
    CHECK(address("localhost", "localhost", "127.0.0.1", 80));
    CHECK(address("localhost:80", "localhost", "::1", 80));
    CHECK(!address("localhost:80", "localhost", "::1", 81));
    CHECK(!address("localhost", "localhost", "192.168.1.1", 80));
    CHECK(address("172.15.0.0/12", "x", "172.15.0.1", 80));
    struct sockaddr local = {.sa_family = AF_UNIX};
    ab_grants grants = net_of("*");
    CHECK(!ab_grants_address_allowed(&grants, "x", &local));
    ab_grants_deinit(&grants);
}

int main(void)
{
    names_and_ports();
    any_port();
    bad_rules();
    spellings_of_loopback();
    resolved_addresses();
    return check_done("grants_spec");
}
