/* transfer_cookie.c - the cookies of a client: curl's cookie engine, which
 * knows domains, paths, expiry and public suffixes, on a list that the client's
 * handles share and nobody else has. */
#include "transfer_client.h"
#include <string.h>

/* Curl bounds one cookie (8 KB) and those of one response (50), not how many a
 * server may hand out in all. */
enum { JAR_MAX = 1000, LOOK_EVERY = 200 };

int ab_client_open_jar(ab_client *client)
{
    const ab_curl *curl = client->curl;
    if (client->share)
        return 0;
    CURLSH *share = curl->share_init();
    if (!share)
        return UV_ENOMEM;
    if (curl->share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE)) {
        curl->share_cleanup(share);
        return UV_ENOMEM;
    }
    client->share = share;
    return 0;
}

void ab_client_close_jar(ab_client *client)
{
    if (client->share)
        client->curl->share_cleanup(client->share);
    client->share = NULL;
}

int ab_cookies_set(ab_easy *easy)
{
    const ab_client *client = easy->client;
    if (!client->share)
        return 0;
    const ab_curl *curl = client->curl;
    unsigned bad = curl->easy_setopt(easy->curl, CURLOPT_SHARE, client->share);
    /* No file: this turns the engine on. */
    bad |= curl->easy_setopt(easy->curl, CURLOPT_COOKIEFILE, "");
    return bad ? UV_ENOMEM : 0;
}

void ab_cookies_unset(ab_easy *easy)
{
    /* A reset forgets the list of files without freeing it. */
    if (easy->client->share)
        easy->client->curl->easy_setopt(easy->curl, CURLOPT_COOKIEFILE, NULL);
}

size_t ab_client_cookies(ab_client *client, char *out, size_t room)
{
    struct curl_slist *list = NULL;
    size_t bytes = 0;
    ab_easy *easy = client->share ? ab_easy_take(client, NULL) : NULL;
    if (!easy)
        return 0;
    client->curl->easy_getinfo(easy->curl, CURLINFO_COOKIELIST, &list);
    for (struct curl_slist *l = list; l; l = l->next) {
        size_t n = strlen(l->data) + 1;
        if (out && n <= room - bytes)
            memcpy(out + bytes, l->data, n);
        else if (out)
            break;
        bytes += n;
    }
    client->curl->slist_free_all(list);
    ab_easy_give(easy);
    return bytes;
}

int ab_client_cookie(ab_client *client, const char *line)
{
    ab_easy *easy = client->share ? ab_easy_take(client, NULL) : NULL;
    if (!easy)
        return UV_ENOMEM;
    CURLcode code =
        client->curl->easy_setopt(easy->curl, CURLOPT_COOKIELIST, line);
    ab_easy_give(easy);
    client->cookies_seen++;
    ab_cookies_shrink(client);
    return code ? UV_ENOMEM : 0;
}

/* Any that many are kept. */
void ab_cookies_shrink(ab_client *client)
{
    struct curl_slist *list = NULL;
    int count = 0;
    const ab_curl *curl = client->curl;
    ab_easy *easy;
    if (client->cookies_seen < LOOK_EVERY)
        return;
    client->cookies_seen = 0;
    easy = ab_easy_take(client, NULL);
    if (!easy)
        return;
    curl->easy_getinfo(easy->curl, CURLINFO_COOKIELIST, &list);
    for (struct curl_slist *l = list; l; l = l->next)
        count++;
    if (count > JAR_MAX) {
        struct curl_slist *keep = list;
        for (; count > JAR_MAX; count--)
            keep = keep->next;
        curl->easy_setopt(easy->curl, CURLOPT_COOKIELIST, "ALL");
        for (; keep; keep = keep->next)
            curl->easy_setopt(easy->curl, CURLOPT_COOKIELIST, keep->data);
    }
    curl->slist_free_all(list);
    ab_easy_give(easy);
}
