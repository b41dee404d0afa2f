/* resolver_cares.h - libcares as one table of functions, opened on first use.
 */
#ifndef AB_RESOLVER_CARES_H
#define AB_RESOLVER_CARES_H

#include <ares.h>

/* name, result, arguments */
#define AB_CARES_FUNCTIONS(X)                                                  \
    X(library_init, int, (int flags))                                          \
    X(init_options, int,                                                       \
      (ares_channel * channel, struct ares_options * options, int mask))       \
    X(destroy, void, (ares_channel channel))                                   \
    X(set_socket_functions, void,                                              \
      (ares_channel channel, const struct ares_socket_functions *functions,    \
       void *arg))                                                             \
    X(set_servers_ports, int,                                                  \
      (ares_channel channel, struct ares_addr_port_node * servers))            \
    X(get_servers_ports, int,                                                  \
      (ares_channel channel, struct ares_addr_port_node * *servers))           \
    X(free_data, void, (void *data))                                           \
    X(getaddrinfo, void,                                                       \
      (ares_channel channel, const char *name, const char *service,            \
       const struct ares_addrinfo_hints *hints, ares_addrinfo_callback done,   \
       void *arg))                                                             \
    X(freeaddrinfo, void, (struct ares_addrinfo * result))                     \
    X(gethostbyaddr, void,                                                     \
      (ares_channel channel, const void *address, int bytes, int family,       \
       ares_host_callback done, void *arg))                                    \
    X(parse_ptr_reply, int,                                                    \
      (const unsigned char *message, int bytes, const void *address,           \
       int address_bytes, int family, struct hostent **host))                  \
    X(free_hostent, void, (struct hostent * host))                             \
    X(query, void,                                                             \
      (ares_channel channel, const char *name, int dns_class, int type,        \
       ares_callback done, void *arg))                                         \
    X(process_fd, void,                                                        \
      (ares_channel channel, ares_socket_t readable, ares_socket_t writable))  \
    X(timeout, struct timeval *,                                               \
      (ares_channel channel, struct timeval * most, struct timeval * room))

typedef struct ab_cares {
#define AB_CARES_FIELD(name, result, arguments) result(*name) arguments;
    AB_CARES_FUNCTIONS(AB_CARES_FIELD)
#undef AB_CARES_FIELD
} ab_cares;

/* The table, or NULL when libcares cannot be opened.  Any thread. */
const ab_cares *ab_cares_open(void);

#endif
