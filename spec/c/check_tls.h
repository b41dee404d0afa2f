/* check_tls.h - certificates for the C specs, made by the openssl program in a
 * folder that check_tls_remove removes. */
#ifndef CHECK_TLS_H
#define CHECK_TLS_H

#include "check.h"
#include <unistd.h>

static char check_tls_folder[] = "/tmp/asyncbox-tls-XXXXXX";

/* The files key, cert, other and expired, the certificates all of that key.  0:
 * it did not work. */
static inline int check_tls_make(void)
{
    char command[2048];
    if (!CHECK(mkdtemp(check_tls_folder) != NULL))
        return 0;
    snprintf(command, sizeof command,
             "cd %s && exec >log 2>&1 && "
             "openssl ecparam -name prime256v1 -genkey -noout -out key && "
             "openssl req -x509 -new -key key -out cert -days 2 -subj "
             "/CN=example.org -addext "
             "subjectAltName=DNS:example.org,DNS:*.example.net,IP:127.0.0.1 && "
             "openssl req -x509 -new -key key -out other -days 2 -subj "
             "/CN=other && "
             "openssl x509 -in cert -signkey key -days -1 -out expired",
             check_tls_folder);
    return CHECK_EQUAL(system(command), 0);
}

static inline void check_tls_remove(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -r %s", check_tls_folder);
    CHECK_EQUAL(system(command), 0);
}

#endif
