/* transfer_url.c - where a transfer goes: URLs taken apart.
 *
 * Curl's handles are given their URL taken apart (CURLOPT_CURLU), and keep it.
 * Given as text, curl would take it apart for each transfer, put it together
 * again, and both cost as much as all that we do for a fetch. */
#include "idna.h"
#include "transfer_client.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* ---- written as curl writes it ---- */

static int is_host(const char *host, size_t n)
{
    char text[16];
    struct in_addr address;
    for (size_t i = 0; i < n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789.-_", host[i]))
            return 0;
    if (n == 0 || host[0] < '0' || host[0] > '9')
        return n > 0;
    if (n >= sizeof text)
        return 0;
    memcpy(text, host, n); /* or a number that stands for an address */
    text[n] = '\0';
    return inet_pton(AF_INET, text, &address) == 1;
}

/* Curl has refused what is too large. */
static int is_port(const char *digits, size_t n)
{
    return n > 0 && n <= 5 && *digits != '0' &&
           strspn(digits, "0123456789") == n;
}

/* "/a/b" and perhaps "?c", without dots to be resolved, without a fragment. */
static int is_rest(const char *at)
{
    if (*at != '/')
        return 0;
    for (; *at && *at != '?'; at++)
        if (*at <= ' ' || *at >= 127 || *at == '#' ||
            (at[0] == '/' && at[1] == '.'))
            return 0;
    if (*at && !at[1])
        return 0;
    for (; *at; at++)
        if (*at <= ' ' || *at >= 127 || *at == '#')
            return 0;
    return 1;
}

/* Is it certain that curl would not write this URL in another way?  Asking
 * costs more. */
static int is_normal(const char *url)
{
    if (strncmp(url, "http", 4) != 0)
        return 0;
    const char *at = url + 4 + (url[4] == 's');
    if (strncmp(at, "://", 3) != 0)
        return 0;
    at += 3;
    size_t n = strcspn(at, ":/?#");
    if (!is_host(at, n))
        return 0;
    at += n;
    if (*at == ':') {
        n = strcspn(++at, "/?#");
        if (!is_port(at, n))
            return 0;
        at += n;
    }
    return is_rest(at);
}

/* ---- where a handle goes ---- */

void ab_easy_forget_url(ab_easy *easy)
{
    easy->client->curl->free(easy->written);
    easy->written = NULL;
    ab_bytes_free(easy->client->box, &easy->url);
}

int ab_easy_aim(ab_easy *easy, const char *url)
{
    const ab_curl *curl = easy->client->curl;
    if (easy->url.data && strcmp(easy->url.data, url) == 0)
        return 0;
    ab_easy_forget_url(easy);
    CURLUcode code = curl->url_set(easy->parts, CURLUPART_URL, url, 0);
    if (!code && !is_normal(url))
        code = curl->url_get(easy->parts, CURLUPART_URL, &easy->written, 0);
    if (code)
        return code == CURLUE_OUT_OF_MEMORY ? UV_ENOMEM : ASYNCBOX_EURL;
    return ab_bytes_add(easy->client->box, &easy->url, url, strlen(url) + 1);
}

const char *ab_easy_url(const ab_easy *easy)
{
    return easy->written ? easy->written : easy->url.data ? easy->url.data : "";
}

/* ---- taken apart ---- */

/* Without brackets and without the root's dot: as grants are written. */
static int copy_host(const char *from, char *host)
{
    size_t n = strlen(from);
    if (n > 1 && from[0] == '[' && from[n - 1] == ']') {
        from++;
        n -= 2;
    } else if (n > 1 && from[n - 1] == '.') {
        n--;
    }
    if (n == 0 || n >= AB_TRANSFER_HOST_MAX)
        return ASYNCBOX_EURL;
    memcpy(host, from, n);
    host[n] = '\0';
    /* Curl would make another name of it. */
    return ab_idna_is_needed(host) ? ASYNCBOX_EURL : 0;
}

int ab_transfer_parse(const char *url, char *host, int *port, int *is_tls)
{
    const ab_curl *curl = ab_curl_open();
    if (!curl)
        return UV_ENOTSUP;
    CURLU *parts = curl->url();
    if (!parts)
        return UV_ENOMEM;
    char *scheme = NULL, *name = NULL, *number = NULL;
    int err = ASYNCBOX_EURL;
    if (curl->url_set(parts, CURLUPART_URL, url, 0) ||
        curl->url_get(parts, CURLUPART_SCHEME, &scheme, 0) ||
        curl->url_get(parts, CURLUPART_HOST, &name, 0) ||
        curl->url_get(parts, CURLUPART_PORT, &number, CURLU_DEFAULT_PORT))
        goto done;
    *is_tls = strcmp(scheme, "https") == 0;
    if (!*is_tls && strcmp(scheme, "http") != 0)
        goto done;
    *port = atoi(number);
    err = copy_host(name, host);
done:
    curl->free(scheme);
    curl->free(name);
    curl->free(number);
    curl->url_cleanup(parts);
    return err;
}

char *ab_url_without_login(const ab_curl *curl, const char *url)
{
    char *plain = NULL;
    CURLU *parts = curl->url();
    if (!parts)
        return NULL;
    if (curl->url_set(parts, CURLUPART_URL, url, 0) ||
        curl->url_set(parts, CURLUPART_USER, NULL, 0) ||
        curl->url_set(parts, CURLUPART_PASSWORD, NULL, 0) ||
        curl->url_get(parts, CURLUPART_URL, &plain, 0))
        plain = NULL;
    curl->url_cleanup(parts);
    return plain;
}
