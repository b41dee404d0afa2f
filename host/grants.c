/* grants.c - the rules, and what they say about hosts and addresses.  Paths:
 * grants_path.c; what is said to who may not: grants_deny.c. */
#include "grants.h"
#include "idna.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <uv.h>

void ab_grants_init(ab_grants *grants, int trusted)
{
    memset(grants, 0, sizeof *grants);
    grants->trusted = trusted;
}

static void rule_free(ab_grant_rule *rule)
{
    if (rule->dir >= 0)
        close(rule->dir);
    free(rule->text);
    free(rule->path);
    free(rule->leaf);
    free(rule->host);
    free(rule);
}

void ab_grants_deinit(ab_grants *grants)
{
    for (int kind = 0; kind < AB_GRANT_KINDS; kind++) {
        while (grants->rules[kind]) {
            ab_grant_rule *rule = grants->rules[kind];
            grants->rules[kind] = rule->next;
            rule_free(rule);
        }
    }
}

int ab_grant_kind_of(const char *name)
{
    static const char *const names[AB_GRANT_KINDS] = {
        "read", "write", "net", "listen", "run", "env", "stdin"};
    for (int kind = 0; kind < AB_GRANT_KINDS; kind++)
        if (strcmp(name, names[kind]) == 0)
            return kind;
    return -1;
}

/* ---- reading env rules ---- */

/* "HOME", "LC_*", "*": 0, or UV_EINVAL. */
static int read_name(ab_grant_rule *rule)
{
    size_t len = strlen(rule->text);
    if (rule->text[len - 1] == '*') {
        rule->is_prefix = 1;
        len--;
    }
    if (memchr(rule->text, '*', len) || memchr(rule->text, '=', len))
        return UV_EINVAL;
    rule->name_bytes = len;
    return 0;
}

/* ---- reading net rules ---- */

/* Reads all of `text` as a number from 0 to max; -1. */
static int read_number(const char *text, int max)
{
    if (*text == '\0' || strspn(text, "0123456789") != strlen(text) ||
        strlen(text) > 5)
        return -1;
    int n = atoi(text);
    return n <= max ? n : -1;
}

/* Cuts ":port" off the end of a rule: 0, or UV_EINVAL. */
static int take_port(char *text, int *port)
{
    char *last = strrchr(text, ':');
    char *bracket = strrchr(text, ']');
    *port = 0;
    if (!last || (bracket && last < bracket))
        return 0;
    if (!bracket && strchr(text, ':') != last)
        return 0; /* two colons and no bracket: IPv6 without a port */
    *port = read_number(last + 1, 65535);
    if (*port <= 0)
        return UV_EINVAL;
    *last = '\0';
    return 0;
}

/* "10.0.0.0/8": 0, or UV_EINVAL. */
static int read_network(ab_grant_rule *rule, char *text, char *slash)
{
    *slash = '\0';
    char *bits_text = slash + 1;
    size_t len = strlen(bits_text);
    if (text[0] == '[' && len > 1 && bits_text[len - 1] == ']') {
        bits_text[len - 1] = '\0'; /* [fd00::/8] */
        text++;
    }
    if (!ab_addr_parse(text, &rule->addr))
        return UV_EINVAL;
    int v4 = strchr(text, ':') == NULL;
    int bits = read_number(bits_text, v4 ? 32 : 128);
    if (bits < 0)
        return UV_EINVAL;
    rule->bits = v4 ? bits + 96 : bits;
    return 0;
}

static int read_host(ab_grant_rule *rule, char *text)
{
    char ascii[AB_IDNA_MAX];
    const char *why;
    int err = take_port(text, &rule->port);
    if (!err && ab_idna_is_needed(text)) {
        err = ab_idna_to_ascii(text, strlen(text), ascii, &why);
        text = ascii;
    }
    if (err)
        return err;
    if (strcmp(text, "*") == 0)
        return 0;
    char *slash = strchr(text, '/');
    if (slash)
        return read_network(rule, text, slash);
    if (ab_addr_parse(text, &rule->addr)) {
        rule->bits = 128;
        return 0;
    }
    size_t len = strlen(text);
    if (len == 0 || strpbrk(text, "*[]:@?#% \t\r\n"))
        return UV_EINVAL;
    if (text[len - 1] == '.')
        text[--len] = '\0';
    rule->host = malloc(len + 1);
    if (!rule->host)
        return UV_ENOMEM;
    for (size_t i = 0; i <= len; i++) {
        char c = text[i];
        rule->host[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return len ? 0 : UV_EINVAL;
}

/* The same for listening: on addresses, not on names. */
static int read_listen(ab_grant_rule *rule, char *text)
{
    if (strspn(text, "0123456789") == strlen(text)) { /* no address here */
        rule->port = read_number(text, 65535);
        return rule->port > 0 ? 0 : UV_EINVAL;
    }
    int err = read_host(rule, text);
    if (!err && rule->host && strcmp(rule->host, "localhost") != 0)
        return UV_EINVAL;
    return err;
}

int ab_grants_add(ab_grants *grants, ab_grant_kind kind, const char *text)
{
    ab_grant_rule *rule = calloc(1, sizeof *rule);
    if (!rule)
        return UV_ENOMEM;
    rule->dir = -1;
    rule->bits = -1;
    rule->text = strdup(text);
    char *scratch = strdup(text);
    int err = UV_ENOMEM;
    if (rule->text && scratch) {
        if (*text == '\0')
            err = UV_EINVAL;
        else if (kind == AB_GRANT_NET)
            err = read_host(rule, scratch);
        else if (kind == AB_GRANT_LISTEN)
            err = read_listen(rule, scratch);
        else if (kind == AB_GRANT_RUN)
            err = ab_grants_program_rule(rule, text);
        else if (kind == AB_GRANT_ENV)
            err = read_name(rule);
        else if (kind == AB_GRANT_STDIN)
            err = strcmp(text, "*") == 0 ? 0 : UV_EINVAL;
        else
            err = ab_grants_root(rule, text);
    }
    free(scratch);
    if (err) {
        rule_free(rule);
        return err;
    }
    rule->next = grants->rules[kind];
    grants->rules[kind] = rule;
    return 0;
}

/* ---- asking ---- */

static int port_fits(const ab_grant_rule *rule, int port)
{
    return rule->port == 0 || port == AB_PORT_ANY || rule->port == port;
}

/* Is this very address granted, by itself, a network or "localhost"? */
static int address_granted(const ab_grants *grants, ab_grant_kind kind,
                           const ab_addr *addr, int port)
{
    const ab_grant_rule *rule = grants->rules[kind];
    for (; rule; rule = rule->next) {
        if (!port_fits(rule, port))
            continue;
        /* ::/0 and the like hold the mapped IPv4 addresses in numbers, not in
         * what whoever wrote the rule meant. */
        if (rule->bits >= 0 &&
            ab_addr_is_v4(addr) == ab_addr_is_v4(&rule->addr) &&
            ab_addr_within(addr, &rule->addr, rule->bits))
            return 1;
        if (rule->host && strcmp(rule->host, "localhost") == 0 &&
            ab_addr_is_loopback(addr))
            return 1;
    }
    return 0;
}

/* Is there a rule for every public host (or to listen everywhere)? */
static int any_granted(const ab_grants *grants, ab_grant_kind kind, int port)
{
    const ab_grant_rule *rule = grants->rules[kind];
    for (; rule; rule = rule->next)
        if (rule->bits < 0 && !rule->host && port_fits(rule, port))
            return 1;
    return 0;
}

/* Names that stand for this machine by convention (RFC 6761). */
static int names_loopback(const char *host, size_t len)
{
    static const char name[] = "localhost";
    size_t n = sizeof name - 1;
    if (len < n || strncasecmp(host + len - n, name, n) != 0)
        return 0;
    return len == n || host[len - n - 1] == '.';
}

int ab_host_is_localhost(const char *host)
{
    size_t len = strlen(host);
    if (len && host[len - 1] == '.')
        len--;
    return names_loopback(host, len);
}

static int name_granted(const ab_grants *grants, const char *host, int port)
{
    size_t len = strlen(host);
    if (len && host[len - 1] == '.')
        len--;
    if (len == 0 || ab_idna_is_needed(host))
        return 0;
    if (!names_loopback(host, len) && any_granted(grants, AB_GRANT_NET, port))
        return 1;
    const ab_grant_rule *rule = grants->rules[AB_GRANT_NET];
    for (; rule; rule = rule->next)
        if (rule->host && port_fits(rule, port) && strlen(rule->host) == len &&
            strncasecmp(rule->host, host, len) == 0)
            return 1;
    return 0;
}

int ab_grants_host_allowed(const ab_grants *grants, const char *host, int port)
{
    ab_addr addr;
    if (grants->trusted)
        return 1;
    if (!ab_addr_parse(host, &addr))
        return name_granted(grants, host, port);
    if (address_granted(grants, AB_GRANT_NET, &addr, port))
        return 1;
    return ab_addr_is_public(&addr) && any_granted(grants, AB_GRANT_NET, port);
}

static int address_allowed(const ab_grants *grants, const char *name,
                           const struct sockaddr *from, int any_port)
{
    ab_addr addr, asked;
    int port;
    if (grants->trusted)
        return 1;
    if (!ab_addr_of(from, &addr, &port))
        return 0;
    if (any_port)
        port = AB_PORT_ANY;
    if (address_granted(grants, AB_GRANT_NET, &addr, port))
        return 1;
    if (!ab_addr_is_public(&addr))
        return 0;
    /* An address that was asked for as text says nothing about another one. */
    if (ab_addr_parse(name, &asked))
        return any_granted(grants, AB_GRANT_NET, port);
    return name_granted(grants, name, port);
}

int ab_grants_address_allowed(const ab_grants *grants, const char *name,
                              const struct sockaddr *from)
{
    return address_allowed(grants, name, from, 0);
}

int ab_grants_answer_allowed(const ab_grants *grants, const char *name,
                             const struct sockaddr *from)
{
    return address_allowed(grants, name, from, 1);
}

/* ---- listen ---- */

int ab_grants_listen_allowed(const ab_grants *grants,
                             const struct sockaddr *from)
{
    ab_addr addr;
    int port;
    if (grants->trusted)
        return 1;
    if (!ab_addr_of(from, &addr, &port))
        return 0;
    return address_granted(grants, AB_GRANT_LISTEN, &addr, port) ||
           any_granted(grants, AB_GRANT_LISTEN, port);
}

int ab_grants_env_allowed(const ab_grants *grants, const char *name,
                          size_t bytes)
{
    if (grants->trusted)
        return 1;
    const ab_grant_rule *rule = grants->rules[AB_GRANT_ENV];
    for (; rule; rule = rule->next)
        if ((rule->is_prefix ? bytes >= rule->name_bytes
                             : bytes == rule->name_bytes) &&
            memcmp(rule->text, name, rule->name_bytes) == 0)
            return 1;
    return 0;
}
