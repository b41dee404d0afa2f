/* http_option.c - the options of requests and sessions that are read in C. */
#include "http.h"
#include <string.h>

enum { REDIRECTS = 10 };

/* Seconds, or false for no bound. */
static void read_seconds(lua_State *L, int table, const char *key, int64_t *ns)
{
    if (lua_getfield(L, table, key) == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        *ns = INT64_MAX;
    else
        *ns = ab_option_seconds(L, table, key, *ns);
    lua_pop(L, 1);
}

static void read_timeout(lua_State *L, int opts, const char *what,
                         ab_bounds *bounds)
{
    static const char *const known[] = {"total", "connect", "stall", NULL};
    if (lua_getfield(L, opts, "timeout") == LUA_TTABLE) {
        int table = lua_gettop(L);
        ab_options_check(L, table, what, known);
        read_seconds(L, table, "total", &bounds->total_ns);
        read_seconds(L, table, "connect", &bounds->connect_ns);
        read_seconds(L, table, "stall", &bounds->stall_ns);
    } else {
        read_seconds(L, opts, "timeout", &bounds->total_ns);
    }
    lua_pop(L, 1);
}

void ab_http_bounds(lua_State *L, int opts, const char *what, ab_bounds *bounds)
{
    read_timeout(L, opts, what, bounds);
    if (lua_getfield(L, opts, "max_body") != LUA_TNIL)
        bounds->max_body = bounds->max_whole = (size_t)ab_option_integer(
            L, opts, "max_body", 0, 0, LUA_MAXINTEGER);
    if (lua_getfield(L, opts, "redirects") == LUA_TBOOLEAN)
        bounds->redirects = lua_toboolean(L, -1) ? REDIRECTS : -1;
    else
        bounds->redirects = (int)ab_option_integer(L, opts, "redirects",
                                                   bounds->redirects, 0, 1000);
    lua_pop(L, 2);
}

const char *const ab_http_request_keys[] = {
    "headers", "timeout", "max_body", "redirects", "body", "on_progress", NULL};

const char *const ab_http_session_keys[] = {
    "headers",         "timeout",      "max_body",   "redirects", "base_url",
    "max_connections", "max_per_host", "user_agent", NULL};

int ab_http_is_plain(lua_State *L, int opts, const char *const *keys)
{
    if (lua_isnil(L, opts))
        return 1;
    if (!lua_istable(L, opts))
        return 0;
    for (lua_pushnil(L); lua_next(L, opts); lua_pop(L, 1)) {
        int i = 0;
        if (lua_type(L, -2) == LUA_TSTRING)
            while (keys[i] && strcmp(keys[i], lua_tostring(L, -2)) != 0)
                i++;
        int is_name = lua_type(L, -2) == LUA_TSTRING && keys[i];
        int is_made = is_name && strcmp(keys[i], "body") == 0 &&
                      lua_type(L, -1) != LUA_TSTRING;
        if (!is_name || is_made) {
            lua_pop(L, 2);
            return 0;
        }
    }
    return 1;
}

/* Both, as a socket is written and read. */
void ab_http_check_unix(lua_State *L, const char *what, const char *path)
{
    ab_grants_check_path(L, AB_GRANT_READ, what, path);
    ab_grants_check_path(L, AB_GRANT_WRITE, what, path);
}

void ab_http_read_extras(lua_State *L, int opts, const char *what,
                         ab_request *r)
{
    if (lua_getfield(L, opts, "feed") != LUA_TNIL)
        r->feed = ab_http_feed(L, lua_gettop(L));
    if (lua_getfield(L, opts, "settings") != LUA_TNIL)
        r->settings = ab_http_settings(L, lua_gettop(L), &r->setting_count);
    for (unsigned i = 0; i < r->setting_count; i++)
        if (r->settings[i].key == AB_SET_UNIX_SOCKET && r->settings[i].bytes)
            ab_http_check_unix(L, what, r->settings[i].text);
}

void ab_http_read_request(lua_State *L, int opts, const char *what, int self,
                          ab_request *r)
{
    ab_http_bounds(L, opts, what, &r->bounds);
    if (lua_getfield(L, opts, "body") == LUA_TSTRING)
        r->body = lua_tolstring(L, -1, &r->body_bytes);
    else if (!lua_isnil(L, -1))
        ab_misuse(L, "%s: option 'body': string expected, got %s", what,
                  luaL_typename(L, -1));
    if (lua_getfield(L, opts, "headers") != LUA_TNIL) {
        size_t bytes = 0;
        int table = lua_gettop(L);
        lua_getiuservalue(L, self, AB_HTTP_LINES);
        const char *base = lua_tolstring(L, -1, &bytes);
        ab_http_lines(L, table, what, base, bytes, &r->lines, &r->lines_bytes);
    }
}

const char *ab_http_option_text(lua_State *L, int opts, const char *what,
                                const char *key, const char *otherwise)
{
    int type = lua_getfield(L, opts, key);
    if (type == LUA_TNIL)
        return otherwise;
    if (type != LUA_TSTRING)
        ab_misuse(L, "%s: option '%s': string expected, got %s", what, key,
                  lua_typename(L, type));
    const char *text = lua_tostring(L, -1);
    if (strlen(text) != lua_rawlen(L, -1) || strpbrk(text, "\r\n"))
        ab_misuse(L, "%s: option '%s': a line break or NUL in it", what, key);
    return text;
}

int ab_http_is_unix(const ab_http_session *s, const ab_request *r)
{
    for (unsigned i = 0; i < r->setting_count; i++)
        if (r->settings[i].key == AB_SET_UNIX_SOCKET)
            return r->settings[i].bytes > 0;
    return s->is_unix;
}
