/* dns_message.c - reads messages of name servers (RFC 1035, section 4), which
 * may hold anything: each length is looked at before it is believed. */
#include "dns.h"
#include <string.h>

/* A name is at most 255 bytes long, and each may be written as \DDD. */
enum { HEADER_BYTES = 12, NAME_BYTES_MAX = 255, NAME_TEXT_MAX = 4 * 255 + 1 };

static const struct {
    const char *name;
    int number;
} types[] = {
    {"A", AB_DNS_A},         {"AAAA", AB_DNS_AAAA}, {"CAA", AB_DNS_CAA},
    {"CNAME", AB_DNS_CNAME}, {"MX", AB_DNS_MX},     {"NAPTR", AB_DNS_NAPTR},
    {"NS", AB_DNS_NS},       {"PTR", AB_DNS_PTR},   {"SOA", AB_DNS_SOA},
    {"SRV", AB_DNS_SRV},     {"TXT", AB_DNS_TXT},   {NULL, 0}};

int ab_dns_type_of(const char *name)
{
    int i = 0;
    while (types[i].name && strcmp(types[i].name, name) != 0)
        i++;
    return types[i].number;
}

static unsigned number(const unsigned char *at, int bytes)
{
    unsigned n = 0;
    for (int i = 0; i < bytes; i++)
        n = n << 8 | at[i];
    return n;
}

/* ---- names ---- */

static size_t write_byte(char *out, unsigned char c)
{
    if (c == '.' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c > ' ' && c < 0x7f) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = (char)('0' + c / 100);
    out[2] = (char)('0' + c / 10 % 10);
    out[3] = (char)('0' + c % 10);
    return 4;
}

/* Reads the name at *at, which goes on behind it; the text as zone files have
 * it.  0: nonsense.  A pointer has to lead back, so there is no circle. */
static int read_name(const ab_dns_reader *r, size_t *at, size_t end,
                     char text[NAME_TEXT_MAX])
{
    size_t from = *at, length = 0, used = 1, lowest = *at;
    int jumped = 0;
    while (from < end) {
        unsigned label = r->message[from];
        if (label >= 0xc0) {
            size_t to =
                end - from < 2 ? end : number(r->message + from, 2) & 0x3fff;
            if (to >= lowest)
                return 0;
            if (!jumped)
                *at = from + 2;
            jumped = 1;
            from = lowest = to;
            end = r->bytes;
            continue;
        }
        used += label + 1;
        if (label > 63 || used > NAME_BYTES_MAX + 1 || end - from <= label)
            return 0;
        if (label == 0) {
            if (!jumped)
                *at = from + 1;
            text[length] = '\0';
            return 1;
        }
        if (length)
            text[length++] = '.';
        for (unsigned i = 1; i <= label; i++)
            length += write_byte(text + length, r->message[from + i]);
        from += label + 1;
    }
    return 0;
}

/* ---- records ---- */

int ab_dns_open(ab_dns_reader *r, const void *message, size_t bytes)
{
    char name[NAME_TEXT_MAX];
    r->message = message;
    r->bytes = bytes;
    r->at = HEADER_BYTES;
    if (bytes < HEADER_BYTES)
        return UV_EAI_FAIL;
    r->left = (int)number(r->message + 6, 2);
    for (unsigned questions = number(r->message + 4, 2); questions; questions--)
        if (!read_name(r, &r->at, bytes, name) || (r->at += 4) > bytes)
            return UV_EAI_FAIL;
    return 0;
}

int ab_dns_next(ab_dns_reader *r, ab_dns_record *record)
{
    char name[NAME_TEXT_MAX];
    if (r->left == 0)
        return 0;
    r->left--;
    if (!read_name(r, &r->at, r->bytes, name) || r->bytes - r->at < 10)
        return UV_EAI_FAIL;
    const unsigned char *head = r->message + r->at;
    int is_internet = number(head + 2, 2) == 1;
    record->type = is_internet ? (int)number(head, 2) : 0;
    record->bytes = number(head + 8, 2);
    record->at = r->at + 10;
    if (r->bytes - record->at < record->bytes)
        return UV_EAI_FAIL;
    r->at = record->at + record->bytes;
    return 1;
}

int ab_dns_address(const ab_dns_reader *r, const ab_dns_record *record,
                   ab_sockaddr *out)
{
    const unsigned char *data = r->message + record->at;
    memset(out, 0, sizeof *out);
    if (record->type == AB_DNS_A && record->bytes == 4) {
        out->v4.sin_family = AF_INET;
        memcpy(&out->v4.sin_addr, data, 4);
        return 1;
    }
    if (record->type == AB_DNS_AAAA && record->bytes == 16) {
        out->v6.sin6_family = AF_INET6;
        memcpy(&out->v6.sin6_addr, data, 16);
        return 1;
    }
    return 0;
}

/* ---- values ----
 * The data of a record is read from the left: `at` moves on to `end`. */

typedef struct cursor {
    lua_State *L;
    const ab_dns_reader *r;
    size_t at, end;
    int good; /* nothing was missing so far */
} cursor;

static unsigned take(cursor *c, int bytes)
{
    if (!c->good || c->end - c->at < (size_t)bytes) {
        c->good = 0;
        return 0;
    }
    c->at += (size_t)bytes;
    return number(c->r->message + c->at - bytes, bytes);
}

/* Pushes something in any case. */
static void push_name(cursor *c)
{
    char text[NAME_TEXT_MAX];
    c->good = c->good && read_name(c->r, &c->at, c->end, text);
    lua_pushstring(c->L, c->good ? text : "");
}

static void push_bytes(cursor *c, size_t bytes)
{
    if (c->end - c->at < bytes)
        c->good = 0;
    if (!c->good)
        bytes = 0;
    lua_pushlstring(c->L, (const char *)c->r->message + c->at, bytes);
    c->at += bytes;
}

static void set_name(cursor *c, const char *key)
{
    push_name(c);
    lua_setfield(c->L, -2, key);
}

static void set_number(cursor *c, const char *key, int bytes)
{
    lua_pushinteger(c->L, (lua_Integer)take(c, bytes));
    lua_setfield(c->L, -2, key);
}

/* A byte that says how many follow. */
static void set_text(cursor *c, const char *key)
{
    push_bytes(c, take(c, 1));
    lua_setfield(c->L, -2, key);
}

static void push_mx(cursor *c)
{
    lua_createtable(c->L, 0, 2);
    set_number(c, "preference", 2);
    set_name(c, "exchange");
}

static void push_srv(cursor *c)
{
    lua_createtable(c->L, 0, 4);
    set_number(c, "priority", 2);
    set_number(c, "weight", 2);
    set_number(c, "port", 2);
    set_name(c, "target");
}

static void push_soa(cursor *c)
{
    lua_createtable(c->L, 0, 7);
    set_name(c, "mname");
    set_name(c, "rname");
    set_number(c, "serial", 4);
    set_number(c, "refresh", 4);
    set_number(c, "retry", 4);
    set_number(c, "expire", 4);
    set_number(c, "minimum", 4);
}

static void push_naptr(cursor *c)
{
    lua_createtable(c->L, 0, 6);
    set_number(c, "order", 2);
    set_number(c, "preference", 2);
    set_text(c, "flags");
    set_text(c, "services");
    set_text(c, "regexp");
    set_name(c, "replacement");
}

static void push_caa(cursor *c)
{
    lua_createtable(c->L, 0, 3);
    lua_pushboolean(c->L, take(c, 1) & 128);
    lua_setfield(c->L, -2, "critical");
    set_text(c, "tag");
    push_bytes(c, c->end - c->at);
    lua_setfield(c->L, -2, "value");
}

/* The parts of a text belong together. */
static void push_txt(cursor *c)
{
    luaL_Buffer b;
    luaL_buffinit(c->L, &b);
    while (c->good && c->at < c->end) {
        size_t bytes = take(c, 1);
        if (c->end - c->at < bytes) {
            c->good = 0;
            break;
        }
        luaL_addlstring(&b, (const char *)c->r->message + c->at, bytes);
        c->at += bytes;
    }
    luaL_pushresult(&b);
}

int ab_dns_push(lua_State *L, const ab_dns_reader *r,
                const ab_dns_record *record)
{
    cursor c = {L, r, record->at, record->at + record->bytes, 1};
    ab_sockaddr address;
    char text[AB_ADDR_TEXT];
    switch (record->type) {
    case AB_DNS_A:
    case AB_DNS_AAAA:
        if (!ab_dns_address(r, record, &address))
            return 0;
        ab_sockaddr_text(&address, text);
        lua_pushstring(L, text);
        return 1;
    case AB_DNS_NS:
    case AB_DNS_CNAME:
    case AB_DNS_PTR:
        push_name(&c);
        break;
    case AB_DNS_MX:
        push_mx(&c);
        break;
    case AB_DNS_TXT:
        push_txt(&c);
        break;
    case AB_DNS_SRV:
        push_srv(&c);
        break;
    case AB_DNS_SOA:
        push_soa(&c);
        break;
    case AB_DNS_NAPTR:
        push_naptr(&c);
        break;
    case AB_DNS_CAA:
        push_caa(&c);
        break;
    default:
        return 0;
    }
    if (c.good)
        return 1;
    lua_pop(L, 1);
    return 0;
}
