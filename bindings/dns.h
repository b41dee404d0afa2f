/* dns.h - what the files of the module dns share.
 *
 *   dns.c          the module: resolve, reverse, servers
 *   dns_message.c  the records in the message of a name server, as Lua values
 */
#ifndef AB_DNS_H
#define AB_DNS_H

#include "binding.h"

/* Types of records by number, as RFC 1035 and later ones have them. */
typedef enum ab_dns_type {
    AB_DNS_A = 1,
    AB_DNS_NS = 2,
    AB_DNS_CNAME = 5,
    AB_DNS_SOA = 6,
    AB_DNS_PTR = 12,
    AB_DNS_MX = 15,
    AB_DNS_TXT = 16,
    AB_DNS_AAAA = 28,
    AB_DNS_SRV = 33,
    AB_DNS_NAPTR = 35,
    AB_DNS_CAA = 257
} ab_dns_type;

/* The number of "MX"; 0: no such type here. */
int ab_dns_type_of(const char *name);

typedef struct ab_dns_reader {
    const unsigned char *message;
    size_t bytes, at;
    int left; /* records of the answer section */
} ab_dns_reader;

typedef struct ab_dns_record {
    int type;
    size_t at, bytes; /* its data in the message */
} ab_dns_record;

/* At the first record of the answer: 0, or UV_EAI_FAIL: nonsense. */
int ab_dns_open(ab_dns_reader *reader, const void *message, size_t bytes);
/* The next one: 1, 0 at the end, or UV_EAI_FAIL. */
int ab_dns_next(ab_dns_reader *reader, ab_dns_record *record);
/* Pushes the value of a record: 1, or 0 and nothing is pushed: nonsense. */
int ab_dns_push(lua_State *L, const ab_dns_reader *reader,
                const ab_dns_record *record);
/* The address in a record of type A or AAAA; 0: it is none. */
int ab_dns_address(const ab_dns_reader *reader, const ab_dns_record *record,
                   ab_sockaddr *out);

#endif
