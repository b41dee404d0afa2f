/* transfer_url_spec.c - a URL that a handle has is written as curl writes it,
 * whether curl was asked or not. */
#include "check.h"
#include "transfer_client.h"
#include <stdio.h>

static const char *const schemes[] = {"http://", "https://", "HTTP://",
                                      "hTTps://"};
static const char *const hosts[] = {
    "a",          "a.b",         "A.b",       "a.b.",       "a..b",
    "-",          "a-b_c.d",     "127.0.0.1", "127.1",      "1",
    "0x7f.1",     "1.2.3",       "1.2.3.4",   "01.2.3.4",   "1.2.3.4.",
    "1.2.3.04",   "1.2.3.4a",    "256.1.1.1", "4294967297", "1.a",
    "a.1",        "[::1]",       "[0:0::1]",  "a%41.b",     "u:p@a.b",
    "a~b",        "1.2.3.4.5",   "1a.b",      "a!b",        "",
    "xn--4ca.de", "\xc3\xa4.de", "a*b",       "u@127.1"};
static const char *const ports[] = {
    "",       ":",      ":80", ":443", ":080", ":8080",  ":65535",
    ":65536", ":70000", ":0",  ":00",  ":8a",  ":123456"};
static const char *const paths[] = {"",
                                    "/",
                                    "/a",
                                    "/a/b/",
                                    "/a/./b",
                                    "/a/../b",
                                    "/..",
                                    "/.",
                                    "/.a",
                                    "/a/.b",
                                    "/a..b",
                                    "/a.",
                                    "/a/..",
                                    "//",
                                    "//a",
                                    "/%7e",
                                    "/%2e%2e/a",
                                    "/a:b@c",
                                    "/'\"<>\\^`{|}",
                                    "/\xc3\xa4",
                                    "/;a=b",
                                    "/a/...",
                                    "/a//../b"};
static const char *const ends[] = {
    "",     "?",      "?a",   "?a=b&c",    "#",    "#a", "?#",
    "?a#b", "?/../a", "?a?b", "?\xc3\xa4", "?%zz", "??"};

static const ab_curl *curl;

static char *as_curl_writes(const char *url)
{
    char *text = NULL;
    CURLU *parts = curl->url();
    if (curl->url_set(parts, CURLUPART_URL, url, 0) ||
        curl->url_get(parts, CURLUPART_URL, &text, 0))
        text = NULL;
    curl->url_cleanup(parts);
    return text;
}

static int differing, refused, asked;

static void look_at(ab_easy *easy, const char *url)
{
    char *wanted = as_curl_writes(url);
    int err = ab_easy_aim(easy, url);
    refused += err != 0;
    asked += easy->written != NULL;
    if (err ? wanted != NULL || *ab_easy_url(easy)
            : !wanted || strcmp(ab_easy_url(easy), wanted) != 0) {
        differing++;
        fprintf(stderr, "%s: %s, not %s\n", url, ab_easy_url(easy),
                wanted ? wanted : "(none)");
    }
    curl->free(wanted);
}

#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

int main(void)
{
    counter c = {0};
    char url[256];
    asyncbox *box = check_box(&c, "", 0);
    curl = ab_curl_open();
    CHECK(curl != NULL);
    ab_client client = {.box = (ab_box *)box, .curl = curl};
    ab_easy easy = {.client = &client, .parts = curl->url()};
    int all = COUNT(schemes) * COUNT(hosts) * COUNT(ports) * COUNT(paths) *
              COUNT(ends);
    for (int i = 0; i < all; i++) {
        int n = i;
        const char *end = ends[n % COUNT(ends)];
        n /= COUNT(ends);
        const char *path = paths[n % COUNT(paths)];
        n /= COUNT(paths);
        const char *port = ports[n % COUNT(ports)];
        n /= COUNT(ports);
        snprintf(url, sizeof url, "%s%s%s%s%s", schemes[n / COUNT(hosts)],
                 hosts[n % COUNT(hosts)], port, path, end);
        look_at(&easy, url);
    }
    CHECK_EQUAL(differing, 0);
    CHECK(refused > all / 10 && refused < all / 2);
    CHECK(asked + refused < all - all / 100); /* the others: nobody was asked */
    const char *text = easy.url.data;
    CHECK_EQUAL(ab_easy_aim(&easy, "http://a/b"), 0);
    text = easy.url.data;
    CHECK_EQUAL(ab_easy_aim(&easy, "http://a/b"), 0);
    CHECK(easy.url.data == text); /* it had it */
    ab_easy_forget_url(&easy);
    curl->url_cleanup(easy.parts);
    CHECK_EQUAL(asyncbox_free(box), 0);
    counter_check(&c);
    return check_done("transfer_url_spec");
}
