/* dns.c - the module asyncbox.dns: looking up names, addresses, records. */
#include "dns.h"
#include <stdlib.h>
#include <string.h>

typedef struct dns_op {
    ab_op op;
    ab_lookup *lookup;
    int type; /* of records; 0: addresses or names */
    ab_sockaddr *addresses;
    int count; /* of addresses or names */
    char *text;
    size_t text_bytes;
    size_t name_bytes;
    char *name; /* what was asked for */
} dns_op;

static void on_answer(void *data, int status, const ab_answer *answer)
{
    dns_op *d = data;
    ab_box *box = d->op.box;
    d->lookup = NULL;
    if (answer) {
        size_t bytes = (size_t)answer->count * sizeof *d->addresses;
        d->count = answer->count;
        if (answer->addresses &&
            (d->addresses = ab_box_alloc(box, bytes)) != NULL)
            memcpy(d->addresses, answer->addresses, bytes);
        if (answer->text &&
            (d->text = ab_box_alloc(box, answer->bytes)) != NULL) {
            memcpy(d->text, answer->text, answer->bytes);
            d->text_bytes = answer->bytes;
        }
        if (!d->addresses && !d->text)
            status = UV_ENOMEM;
    }
    ab_op_finish(&d->op, status);
}

static void dns_cancel(ab_op *op)
{
    dns_op *d = (dns_op *)op;
    ab_lookup_cancel(d->lookup);
    d->lookup = NULL;
    ab_op_finish(op, UV_ECANCELED);
}

static void dns_drop(ab_op *op)
{
    dns_op *d = (dns_op *)op;
    if (d->addresses)
        ab_box_free(op->box, d->addresses,
                    (size_t)d->count * sizeof *d->addresses);
    if (d->text)
        ab_box_free(op->box, d->text, d->text_bytes);
    ab_box_free(op->box, d->name, d->name_bytes);
}

static int fail(lua_State *L, const dns_op *d, int code)
{
    return ab_error_raise(L, code,
                          &(ab_detail){d->op.type->name,
                                       ab_lookup_explain(code), "host",
                                       d->name});
}

/* ---- results ---- */

/* What may not be connected is not told either. */
static int push_addresses(lua_State *L, const dns_op *d,
                          const ab_sockaddr *addresses, int count)
{
    const ab_grants *grants = &d->op.box->grants;
    char text[AB_ADDR_TEXT];
    int n = 0;
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        if (!ab_grants_answer_allowed(grants, d->name, &addresses[i].any))
            continue;
        ab_sockaddr_text(&addresses[i], text);
        lua_pushstring(L, text);
        lua_rawseti(L, -2, ++n);
    }
    if (n == 0) {
        char hint[AB_ADDR_TEXT + 40];
        ab_sockaddr_text(&addresses[0], text);
        snprintf(hint, sizeof hint, "allow it with --allow-net=%s", text);
        ab_grants_deny(L, d->op.type->name, "host", d->name, hint);
    }
    return 1;
}

static int push_names(lua_State *L, const dns_op *d)
{
    const char *at = d->text;
    lua_createtable(L, d->count, 0);
    for (int i = 1; i <= d->count; i++, at += strlen(at) + 1) {
        lua_pushstring(L, at);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

/* A and AAAA as records: 1; 0: there was none; or a code. */
static int push_raw_addresses(lua_State *L, const dns_op *d,
                              ab_dns_reader *reader)
{
    ab_sockaddr found[AB_ANSWER_MAX];
    ab_dns_record record;
    int more, n = 0;
    while ((more = ab_dns_next(reader, &record)) > 0)
        if (record.type == d->type && n < AB_ANSWER_MAX)
            n += ab_dns_address(reader, &record, &found[n]);
    if (more < 0)
        return more;
    return n ? push_addresses(L, d, found, n) : 0;
}

static int push_records(lua_State *L, const dns_op *d)
{
    ab_dns_reader reader;
    ab_dns_record record;
    int more = ab_dns_open(&reader, d->text, d->text_bytes), n = 0;
    if (more < 0)
        return fail(L, d, more);
    if (d->type == AB_DNS_A || d->type == AB_DNS_AAAA) {
        more = push_raw_addresses(L, d, &reader);
        return more > 0 ? 1 : fail(L, d, more ? more : UV_EAI_NODATA);
    }
    lua_newtable(L);
    while ((more = ab_dns_next(&reader, &record)) > 0) {
        if (record.type != d->type)
            continue;
        if (!ab_dns_push(L, &reader, &record))
            return fail(L, d, UV_EAI_FAIL);
        lua_rawseti(L, -2, ++n);
    }
    if (more < 0 || n == 0)
        return fail(L, d, more ? more : UV_EAI_NODATA);
    return 1;
}

static int dns_push(lua_State *L, ab_op *op)
{
    const dns_op *d = (dns_op *)op;
    if (op->status < 0)
        return fail(L, d, op->status);
    if (d->type)
        return push_records(L, d);
    return d->addresses ? push_addresses(L, d, d->addresses, d->count)
                        : push_names(L, d);
}

static const ab_op_type resolve_type = {
    "dns.resolve", sizeof(dns_op), AB_OP_EXTERNAL,
    dns_push,      dns_cancel,     dns_drop,
    NULL};
static const ab_op_type reverse_type = {
    "dns.reverse", sizeof(dns_op), AB_OP_EXTERNAL,
    dns_push,      dns_cancel,     dns_drop,
    NULL};

/* Its own copy of the name, or raises; the op is then in nobody's hands. */
static dns_op *op_new(lua_State *L, const ab_op_type *type, const char *name)
{
    size_t bytes = strlen(name) + 1;
    dns_op *d = (dns_op *)ab_op_new(L, type);
    d->name = ab_box_alloc(d->op.box, bytes);
    if (!d->name)
        ab_op_fail(L, &d->op, UV_ENOMEM, NULL, NULL);
    d->name_bytes = bytes;
    memcpy(d->name, name, bytes);
    return d;
}

/* ---- arguments ---- */

static const char *check_text(lua_State *L, int arg, const char *what)
{
    size_t bytes;
    if (lua_type(L, arg) != LUA_TSTRING)
        luaL_typeerror(L, arg, what);
    const char *text = lua_tolstring(L, arg, &bytes);
    luaL_argcheck(L, strlen(text) == bytes, arg, "contains a zero byte");
    return text;
}

/* The value of an option that is a string, or NULL.  It stays on the stack. */
static const char *option_text(lua_State *L, int idx, const char *what,
                               const char *key)
{
    if (!lua_istable(L, idx)) {
        lua_pushnil(L);
        return NULL;
    }
    int type = lua_getfield(L, idx, key);
    if (type != LUA_TNIL && type != LUA_TSTRING)
        ab_misuse(L, "%s: option '%s' must be a string, got %s", what, key,
                  luaL_typename(L, -1));
    return lua_tostring(L, -1);
}

static int check_family(lua_State *L, int idx, const char *what)
{
    const char *family = option_text(L, idx, what, "family");
    if (!family)
        return AF_UNSPEC;
    if (strcmp(family, "ipv4") == 0)
        return AF_INET;
    if (strcmp(family, "ipv6") == 0)
        return AF_INET6;
    return ab_misuse(
        L, "%s: option 'family' must be \"ipv4\" or \"ipv6\", got \"%s\"", what,
        family);
}

static int check_type(lua_State *L, int idx, const char *what)
{
    const char *name = option_text(L, idx, what, "type");
    int type = name ? ab_dns_type_of(name) : 0;
    if (name && !type)
        ab_misuse(L,
                  "%s: option 'type' must be one of A, AAAA, CAA, CNAME, MX, "
                  "NAPTR, NS, PTR, SOA, SRV, TXT, got \"%s\"",
                  what, name);
    return type;
}

/* ---- functions ---- */

static int l_resolve(lua_State *L)
{
    static const char *const known[] = {"family", "type", NULL};
    const char *what = resolve_type.name;
    ab_task_check(L, what);
    const char *name = check_text(L, 1, "string");
    ab_options_check(L, 2, what, known);
    int family = check_family(L, 2, what), type = check_type(L, 2, what);
    if (family && type)
        ab_misuse(L, "%s: options 'family' and 'type' exclude each other",
                  what);
    name = ab_check_host(L, 1, what);
    if (!ab_lookup_name_fits(name))
        ab_error_raise(
            L, UV_EINVAL,
            &(ab_detail){what, "not the name of a host", "host", name});
    ab_grants_check_host(L, what, name, AB_PORT_ANY);
    dns_op *d = op_new(L, &resolve_type, name);
    d->type = type;
    int err = type ? ab_lookup_records(d->op.box, d->name, type, on_answer, d,
                                       &d->lookup)
                   : ab_lookup_start(d->op.box, d->name, family, on_answer, d,
                                     &d->lookup);
    if (err)
        return ab_op_fail(L, &d->op, err, "host", d->name);
    return ab_task_park(L, &d->op);
}

static int l_reverse(lua_State *L)
{
    const char *what = reverse_type.name;
    ab_sockaddr address;
    ab_task_check(L, what);
    const char *text = check_text(L, 1, "string");
    luaL_argcheck(L, ab_sockaddr_parse(text, 0, &address), 1,
                  "an IP address expected");
    ab_grants_check_host(L, what, text, AB_PORT_ANY);
    dns_op *d = op_new(L, &reverse_type, text);
    int err = ab_lookup_reverse(d->op.box, &address, on_answer, d, &d->lookup);
    if (err)
        return ab_op_fail(L, &d->op, err, "host", d->name);
    return ab_task_park(L, &d->op);
}

/* ---- servers ---- */

/* "192.0.2.1", "192.0.2.1:53", "2001:db8::1", "[2001:db8::1]:53": 0: none. */
static int parse_server(const char *text, ab_sockaddr *out)
{
    char host[AB_ADDR_TEXT];
    const char *colon = strrchr(text, ':');
    int port = 53;
    size_t len = strlen(text);
    int has_port = colon && (strchr(text, ':') == colon || colon[-1] == ']');
    if (has_port) {
        size_t digits = strspn(colon + 1, "0123456789");
        if (digits == 0 || digits > 5 || colon[1 + digits])
            return 0;
        port = (int)strtol(colon + 1, NULL, 10);
        len = (size_t)(colon - text);
    }
    if (port < 1 || port > 65535 || len >= sizeof host)
        return 0;
    memcpy(host, text, len);
    host[len] = '\0';
    /* libcares keeps no zone. */
    return !strchr(host, '%') && ab_sockaddr_parse(host, port, out);
}

static void check_servers(lua_State *L, const char *what,
                          ab_resolver_config *config)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Unsigned count = lua_rawlen(L, 1);
    luaL_argcheck(L, count <= AB_SERVERS_MAX, 1, "at most 8 servers");
    for (int i = 1; i <= (int)count; i++) {
        lua_rawgeti(L, 1, i);
        const char *text = lua_type(L, -1) == LUA_TSTRING
                               ? check_text(L, lua_gettop(L), "string")
                               : NULL;
        ab_sockaddr *server = &config->servers[config->count++];
        if (!text || !parse_server(text, server))
            ab_misuse(L,
                      "%s: server %d must be an IP address such as "
                      "\"192.0.2.1\" or \"[2001:db8::1]:53\", got %s",
                      what, i, luaL_tolstring(L, -1, NULL));
        char address[AB_ADDR_TEXT];
        ab_sockaddr_text(server, address);
        ab_grants_check_host(L, what, address, ab_sockaddr_port(server));
        lua_pop(L, 1);
    }
}

static int push_servers(lua_State *L, const char *what)
{
    ab_box *box = ab_box_of(L);
    ab_sockaddr servers[AB_SERVERS_MAX];
    char text[AB_ADDR_TEXT];
    int count = ab_resolver_servers(box, servers);
    if (count < 0)
        ab_error_raise(
            L, count, &(ab_detail){what, ab_lookup_explain(count), NULL, NULL});
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        if (ab_sockaddr_port(&servers[i]) == 0)
            ab_sockaddr_set_port(&servers[i], 53);
        ab_sockaddr_format(&servers[i].any, text);
        lua_pushstring(L, text);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int l_servers(lua_State *L)
{
    static const char *const known[] = {"timeout", "tries", NULL};
    static const char what[] = "dns.servers";
    ab_resolver_config config;
    memset(&config, 0, sizeof config);
    if (lua_isnone(L, 1)) {
        if (ab_box_of(L)->sandbox)
            ab_grants_deny(L, what, NULL, NULL,
                           "the name servers of the system are not told");
        return push_servers(L, what);
    }
    check_servers(L, what, &config);
    ab_options_check(L, 2, what, known);
    int64_t timeout_ns = ab_option_seconds(L, 2, "timeout", 0);
    config.timeout_ms = timeout_ns > (int64_t)60 * 1000000000
                            ? 60000
                            : (int)((timeout_ns + 999999) / 1000000);
    config.tries = (int)ab_option_integer(L, 2, "tries", 0, 1, 10);
    int err = ab_resolver_configure(ab_box_of(L), &config);
    if (err)
        ab_error_raise(L, err, &(ab_detail){what, NULL, NULL, NULL});
    return 0;
}

static const luaL_Reg functions[] = {{"resolve", l_resolve},
                                     {"reverse", l_reverse},
                                     {"servers", l_servers},
                                     {NULL, NULL}};

int ab_open_dns(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
