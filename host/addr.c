/* addr.c - see addr.h. */
#include "addr.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char mapped[12] = {0, 0, 0, 0, 0,    0,
                                         0, 0, 0, 0, 0xff, 0xff};

static void from_v4(const void *four_bytes, ab_addr *out)
{
    memcpy(out->bytes, mapped, sizeof mapped);
    memcpy(out->bytes + 12, four_bytes, 4);
}

int ab_addr_parse(const char *text, ab_addr *out)
{
    char buf[INET6_ADDRSTRLEN + 32];
    size_t len = strlen(text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof buf)
        return 0;
    memcpy(buf, text, len);
    buf[len] = '\0';
    if (strchr(buf, ':')) {
        char *zone = strchr(buf, '%');
        if (zone)
            *zone = '\0';
        return inet_pton(AF_INET6, buf, out->bytes) == 1;
    }
    /* inet_aton stops at a space and takes what follows for granted. */
    if (strpbrk(buf, " \t\r\n\v\f"))
        return 0;
    if (buf[len - 1] == '.') /* "127.0.0.1." is looked up, and found */
        buf[len - 1] = '\0';
    struct in_addr v4;
    if (!inet_aton(buf, &v4))
        return 0;
    from_v4(&v4, out);
    return 1;
}

int ab_addr_of(const struct sockaddr *from, ab_addr *out, int *port)
{
    if (from->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        from_v4(&in.sin_addr, out);
        *port = ntohs(in.sin_port);
        return 1;
    }
    if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, from, sizeof in6);
        memcpy(out->bytes, &in6.sin6_addr, 16);
        *port = ntohs(in6.sin6_port);
        return 1;
    }
    return 0;
}

int ab_addr_is_v4(const ab_addr *addr)
{
    return memcmp(addr->bytes, mapped, sizeof mapped) == 0;
}

int ab_addr_within(const ab_addr *addr, const ab_addr *net, int bits)
{
    size_t whole = (size_t)bits / 8;
    if (memcmp(addr->bytes, net->bytes, whole) != 0)
        return 0;
    if (bits % 8 == 0)
        return 1;
    int shift = 8 - bits % 8;
    return addr->bytes[whole] >> shift == net->bytes[whole] >> shift;
}

int ab_addr_is_loopback(const ab_addr *addr)
{
    static const ab_addr one = {{[15] = 1}};
    if (ab_addr_is_v4(addr))
        return addr->bytes[12] == 127;
    return memcmp(addr->bytes, one.bytes, 16) == 0;
}

/* IANA's special-purpose registry: what is not "globally reachable", and
 * multicast. */
static int v4_is_public(const unsigned char *four_bytes)
{
    static const struct {
        uint32_t net;
        int bits;
    } special[] = {
        {0x00000000, 8},  /* 0.0.0.0/8: "this host" connects to loopback */
        {0x0a000000, 8},  /* 10/8 */
        {0x64400000, 10}, /* 100.64/10: carrier NAT */
        {0x7f000000, 8},  /* 127/8 */
        {0xa9fe0000, 16}, /* 169.254/16: link-local, cloud metadata */
        {0xac100000, 12}, /* 172.16/12 */
        {0xc0000000, 24}, /* 192.0.0/24 */
        {0xc0000200, 24}, /* 192.0.2/24: documentation */
        {0xc0586300, 24}, /* 192.88.99/24: 6to4 relays */
        {0xc0a80000, 16}, /* 192.168/16 */
        {0xc6120000, 15}, /* 198.18/15: benchmarks */
        {0xc6336400, 24}, /* 198.51.100/24: documentation */
        {0xcb007100, 24}, /* 203.0.113/24: documentation */
        {0xe0000000, 3},  /* 224/3: multicast, reserved, broadcast */
    };
    uint32_t addr = (uint32_t)four_bytes[0] << 24 |
                    (uint32_t)four_bytes[1] << 16 |
                    (uint32_t)four_bytes[2] << 8 | four_bytes[3];
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if ((addr ^ special[i].net) >> (32 - special[i].bits) == 0)
            return 0;
    return 1;
}

int ab_addr_is_public(const ab_addr *addr)
{
    static const ab_addr global = {{0x20}};                    /* 2000::/3 */
    static const ab_addr ietf = {{0x20, 0x01}};                /* 2001::/23 */
    static const ab_addr example = {{0x20, 0x01, 0x0d, 0xb8}}; /* /32 */
    static const ab_addr example2 = {{0x3f, 0xff}};            /* /20 */
    static const ab_addr six_to_four = {{0x20, 0x02}};         /* /16 */
    static const ab_addr nat64 = {{0, 0x64, 0xff, 0x9b}};      /* /96 */
    if (ab_addr_is_v4(addr))
        return v4_is_public(addr->bytes + 12);
    if (ab_addr_within(addr, &nat64, 96))
        return v4_is_public(addr->bytes + 12);
    if (ab_addr_within(addr, &six_to_four, 16))
        return v4_is_public(addr->bytes + 2);
    return ab_addr_within(addr, &global, 3) &&
           !ab_addr_within(addr, &ietf, 23) &&
           !ab_addr_within(addr, &example, 32) &&
           !ab_addr_within(addr, &example2, 20);
}

/* ---- socket addresses ---- */

/* What follows the % of an address, a number or the name of an interface: 1,
 * or 0 when there is none such. */
static int read_zone(const char *text, uint32_t *out)
{
    const char *zone = strchr(text, '%');
    *out = 0;
    if (!zone)
        return 1;
    char name[IF_NAMESIZE] = {0};
    size_t len = strcspn(zone + 1, "]");
    if (len == 0 || len >= sizeof name)
        return 0;
    memcpy(name, zone + 1, len);
    *out = strspn(name, "0123456789") == len ? (uint32_t)strtoul(name, NULL, 10)
                                             : if_nametoindex(name);
    return *out != 0;
}

static void set_v4(ab_sockaddr *out, const unsigned char *four_bytes, int port)
{
    memset(out, 0, sizeof *out);
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons((uint16_t)port);
    memcpy(&out->v4.sin_addr, four_bytes, 4);
}

int ab_sockaddr_parse(const char *text, int port, ab_sockaddr *out)
{
    ab_addr addr;
    memset(out, 0, sizeof *out);
    if (!ab_addr_parse(text, &addr))
        return 0;
    if (ab_addr_is_v4(&addr)) {
        set_v4(out, addr.bytes + 12, port);
        return 1;
    }
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons((uint16_t)port);
    memcpy(&out->v6.sin6_addr, addr.bytes, 16);
    return read_zone(text, &out->v6.sin6_scope_id);
}

int ab_sockaddr_set(ab_sockaddr *out, const struct sockaddr *from)
{
    memset(out, 0, sizeof *out);
    if (from->sa_family == AF_INET)
        memcpy(&out->v4, from, sizeof out->v4);
    else if (from->sa_family == AF_INET6)
        memcpy(&out->v6, from, sizeof out->v6);
    else
        return 0;
    return 1;
}

int ab_sockaddr_port(const ab_sockaddr *address)
{
    return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port
                                                   : address->v6.sin6_port);
}

void ab_sockaddr_set_port(ab_sockaddr *address, int port)
{
    if (address->any.sa_family == AF_INET)
        address->v4.sin_port = htons((uint16_t)port);
    else
        address->v6.sin6_port = htons((uint16_t)port);
}

unsigned ab_sockaddr_length(const ab_sockaddr *address)
{
    return address->any.sa_family == AF_INET ? sizeof address->v4
                                             : sizeof address->v6;
}

void ab_sockaddr_unmap(ab_sockaddr *address)
{
    ab_addr addr;
    int port;
    if (ab_addr_of(&address->any, &addr, &port) && ab_addr_is_v4(&addr))
        set_v4(address, addr.bytes + 12, port);
}

int ab_sockaddr_equal(const ab_sockaddr *a, const ab_sockaddr *b)
{
    if (a->any.sa_family != b->any.sa_family ||
        ab_sockaddr_port(a) != ab_sockaddr_port(b))
        return 0;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
           memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) == 0;
}

void ab_sockaddr_format(const struct sockaddr *from, char out[AB_ADDR_TEXT])
{
    ab_addr addr;
    int port;
    char host[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 1] = "";
    out[0] = '\0';
    if (!ab_addr_of(from, &addr, &port))
        return;
    if (ab_addr_is_v4(&addr)) {
        inet_ntop(AF_INET, addr.bytes + 12, host, sizeof host);
        snprintf(out, AB_ADDR_TEXT, "%s:%d", host, port);
        return;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, from, sizeof in6);
    inet_ntop(AF_INET6, addr.bytes, host, sizeof host);
    if (in6.sin6_scope_id) {
        zone[0] = '%';
        if (!if_indextoname(in6.sin6_scope_id, zone + 1))
            snprintf(zone + 1, sizeof zone - 1, "%u", in6.sin6_scope_id);
    }
    snprintf(out, AB_ADDR_TEXT, "[%s%s]:%d", host, zone, port);
}

void ab_sockaddr_text(const ab_sockaddr *address, char out[AB_ADDR_TEXT])
{
    char whole[AB_ADDR_TEXT];
    ab_sockaddr_format(&address->any, whole);
    const char *colon = strrchr(whole, ':');
    size_t brackets = whole[0] == '[' ? 1 : 0;
    size_t len = colon ? (size_t)(colon - whole) - 2 * brackets : 0;
    memcpy(out, whole + brackets, len);
    out[len] = '\0';
}
