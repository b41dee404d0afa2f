/* idna.h - names of hosts that are not ASCII, as the DNS has them.
 *
 * "Bücher.example" is "xn--bcher-kva.example" there, and fullwidth digits are
 * digits.  Grants, look-ups, certificates and Host headers know the ASCII form
 * only, so whoever takes a name or a URL from a script or a server asks here
 * first, and goes on with what comes out.
 *
 * It is "domain to ASCII" of the URL standard (UTS 46, not transitional, not
 * strict), by libidn2, which is opened by the first name that is not ASCII. No
 * Lua, no box; any thread. */
#ifndef AB_IDNA_H
#define AB_IDNA_H

#include <stddef.h>

enum { AB_IDNA_MAX = 256 }; /* a name with its NUL */

/* The name in ASCII, in small letters.  0; UV_EINVAL: it cannot be one, nor one
 * of ASCII that has a character which no URL may have in a host; UV_ENOTSUP: it
 * needs libidn2, which cannot be opened; UV_ENOMEM.  *why is then text for
 * people, static.  A name with "xn--" in it is tried, too, but taken as it is
 * without libidn2. */
int ab_idna_to_ascii(const char *name, size_t bytes, char out[AB_IDNA_MAX],
                     const char **why);

/* Is it one that can only be used after ab_idna_to_ascii? */
int ab_idna_is_needed(const char *name);

/* May a URL have to be changed: is there something that is not ASCII, or a
 * percent sign in the host? */
int ab_idna_url_is_needed(const char *url);

enum { AB_IDNA_URL_FACTOR = 3 };

/* The same URL with its host as ab_idna_to_ascii gives it and everything else
 * that is not ASCII as percent-escapes.  out has room for AB_IDNA_URL_FACTOR *
 * strlen(url) + AB_IDNA_MAX.  Codes and *why as above. */
int ab_idna_url(const char *url, char *out, const char **why);

#endif
