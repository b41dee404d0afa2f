/* http_url.c - URLs as scripts give them, and as errors may show them. */
#include "http.h"
#include <string.h>
#include <strings.h>

/* The part after "http://" or "https://", or NULL. */
static const char *after_scheme(const char *url)
{
    if (strncasecmp(url, "http://", 7) == 0)
        return url + 7;
    if (strncasecmp(url, "https://", 8) == 0)
        return url + 8;
    return NULL;
}

/* The end of "user:password@" in what follows the scheme, or NULL. */
static const char *after_login(const char *authority)
{
    size_t n = strcspn(authority, "/?#");
    while (n > 0)
        if (authority[--n] == '@')
            return authority + n + 1;
    return NULL;
}

int ab_http_url_has_login(const char *url)
{
    const char *authority = after_scheme(url);
    return authority && after_login(authority);
}

int ab_http_url_raise(lua_State *L, const char *what, const char *url,
                      const char *why)
{
    const char *authority = strstr(url, "//");
    const char *host = authority ? after_login(authority + 2) : NULL;
    if (host) {
        lua_pushlstring(L, url, (size_t)(authority + 2 - url));
        lua_pushstring(L, host);
        lua_concat(L, 2);
        url = lua_tostring(L, -1);
    }
    return ab_error_raise(L, ASYNCBOX_EURL,
                          &(ab_detail){what, why, "url", url});
}

/* What can be seen without taking it apart; curl finds the rest. */
void ab_http_url_check(lua_State *L, const char *what, const char *url,
                       size_t n)
{
    const char *host = after_scheme(url);
    if (!host)
        ab_http_url_raise(L, what, url,
                          "bad URL: it must begin with http:// or "
                          "https://");
    if (*host == '\0' || strchr("/?#", *host))
        ab_http_url_raise(L, what, url, "bad URL: no host");
    /* "http://a\@b/" is about b for curl, and about a for url.parse and all
     * browsers. */
    if (memchr(host, '\\', strcspn(host, "/?#")))
        ab_http_url_raise(L, what, url, "bad URL: a backslash before its path");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)url[i] <= ' ' || url[i] == 127)
            ab_http_url_raise(L, what, url,
                              "bad URL: a space or control character in it");
}

/* Replaces the URL at `arg`, if it is not ASCII: what is sent, looked up and
 * checked is. */
static const char *make_ascii(lua_State *L, int arg, const char *what)
{
    size_t n;
    const char *why, *url = lua_tolstring(L, arg, &n);
    if (!ab_idna_url_is_needed(url))
        return url;
    char *room = lua_newuserdatauv(L, AB_IDNA_URL_FACTOR * n + AB_IDNA_MAX, 0);
    if (ab_idna_url(url, room, &why))
        ab_http_url_raise(L, what, url, lua_pushfstring(L, "bad URL: %s", why));
    lua_pushstring(L, room);
    lua_replace(L, arg);
    lua_pop(L, 1);
    return lua_tostring(L, arg);
}

/* Argument `arg` with the session's base_url in front, if it has one and the
 * URL is not complete; replaces the argument. */
const char *ab_http_url(lua_State *L, int self, int arg, const char *what)
{
    size_t n, base_n;
    const char *url = luaL_checklstring(L, arg, &n);
    if (!after_scheme(url) &&
        lua_getiuservalue(L, self, AB_HTTP_BASE_URL) == LUA_TSTRING) {
        const char *base = lua_tolstring(L, -1, &base_n);
        while (base_n && base[base_n - 1] == '/')
            base_n--;
        lua_pushlstring(L, base, base_n);
        lua_pushstring(L, *url == '/' || *url == '?' ? "" : "/");
        lua_pushvalue(L, arg);
        lua_concat(L, 3);
        lua_replace(L, arg);
        url = lua_tolstring(L, arg, &n);
    }
    ab_http_url_check(L, what, url, n);
    return make_ascii(L, arg, what);
}
