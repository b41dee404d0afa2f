/* resolver_plain.c - looking up without libcares: what needs no server, and
 * getaddrinfo in the thread pool. */
#include "resolver_parts.h"
#include "workers.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { NAME_BYTES_MAX = 253 };

int ab_lookup_name_fits(const char *name)
{
    size_t len = strlen(name);
    if (len && name[len - 1] == '.')
        len--;
    if (len == 0 || len > NAME_BYTES_MAX)
        return 0;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
            return 0;
    return 1;
}

/* IPv4 first: most of what listens on one of them only listens there. */
static int give_loopback(int family, ab_sockaddr out[2])
{
    int count = 0;
    if (family != AF_INET6)
        ab_sockaddr_parse("127.0.0.1", 0, &out[count++]);
    if (family != AF_INET)
        ab_sockaddr_parse("::1", 0, &out[count++]);
    return count;
}

static int is_invalid(const char *name)
{
    static const char tail[] = "invalid";
    size_t len = strlen(name), n = sizeof tail - 1;
    if (len && name[len - 1] == '.')
        len--;
    return len >= n && strncasecmp(name + len - n, tail, n) == 0 &&
           (len == n || name[len - n - 1] == '.');
}

int ab_lookup_literal(const char *name, int family, ab_sockaddr out[2])
{
    ab_addr addr;
    if (ab_host_is_localhost(name))
        return give_loopback(family, out);
    if (is_invalid(name))
        return UV_EAI_NONAME;
    if (!ab_addr_parse(name, &addr))
        return 0;
    if (!ab_sockaddr_parse(name, 0, &out[0]))
        return UV_EAI_NONAME; /* no such zone */
    return family == AF_UNSPEC || family == out[0].any.sa_family
               ? 1
               : UV_EAI_ADDRFAMILY;
}

const char *ab_lookup_explain(int status)
{
    switch (status) {
    case UV_EAI_NONAME:
        return "unknown host";
    case UV_EAI_NODATA:
        return "the name has no address or record of this kind";
    case UV_EAI_AGAIN:
        return "no name server answered in time";
    case UV_EAI_FAIL:
        return "the name servers could not answer";
    case UV_ECONNREFUSED:
        return "no name server can be reached";
    case UV_EAI_ADDRFAMILY:
        return "an address of the other family";
    case UV_ENOTSUP:
        return "libcares cannot be opened (" ASYNCBOX_CARES_SONAME ")";
    default:
        return NULL;
    }
}

/* ---- getaddrinfo ----
 * The request is not the look-up's: nobody can take it back from a thread. */

typedef struct request {
    uv_getaddrinfo_t uv;
    ab_resolver *resolver;
} request;

/* Without descriptors, which is when libcares cannot be opened either, libc
 * says that there is no such name. */
static int without_files(int status)
{
    if (status != UV_EAI_NONAME)
        return status;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    else if (errno == EMFILE || errno == ENFILE)
        status = uv_translate_sys_error(errno);
    return status;
}

static void on_addresses(uv_getaddrinfo_t *uv, int status,
                         struct addrinfo *first)
{
    request *req = ab_container(uv, request, uv);
    ab_resolver *r = req->resolver;
    ab_lookup *l = uv->data;
    for (struct addrinfo *at = first; l && at && status == 0;
         at = at->ai_next) {
        ab_sockaddr address;
        if (ab_sockaddr_set(&address, at->ai_addr))
            status = ab_lookup_add_address(l, &address);
    }
    uv_freeaddrinfo(first);
    if (l) {
        l->request = NULL;
        ab_lookup_finish(l, without_files(status));
    }
    ab_box_free(r->box, req, sizeof *req);
    r->threads_pending--;
    if (r->closing)
        ab_resolver_unref(r);
    else
        ab_resolver_deliver(r);
}

int ab_lookup_by_thread(ab_lookup *l)
{
    ab_resolver *r = l->resolver;
    request *req = ab_box_alloc(r->box, sizeof *req);
    if (!req)
        return UV_ENOMEM;
    const struct addrinfo hints = {.ai_family = l->family,
                                   .ai_socktype = SOCK_STREAM};
    req->resolver = r;
    int err = ab_workers_check();
    if (!err)
        err = uv_getaddrinfo(&r->box->loop.uv, &req->uv, on_addresses, l->name,
                             NULL, &hints);
    if (err) {
        ab_box_free(r->box, req, sizeof *req);
        return err;
    }
    req->uv.data = l;
    l->request = &req->uv;
    r->threads_pending++;
    ab_list_remove(&l->link);
    ab_list_append(&r->threads, &l->link);
    return 0;
}
