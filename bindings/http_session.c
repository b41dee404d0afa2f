/* http_session.c - sessions: connections, cookies and what all of their fetches
 * have in common. */
#include "http.h"
#include <string.h>

#define SECOND INT64_C(1000000000)

/* Defaults; docs/lua/http.md names them. */
enum {
    MAX_BODY = 64 * 1024 * 1024,
    MAX_CONNECTIONS = 512, /* half of the usual limit of descriptors */
    REDIRECTS = 10,
    COLLECT_FROM = 64 /* responses that are not read */
};

ab_http_session *ab_http_session_new(lua_State *L)
{
    ab_http_session *s = ab_object_new(L, &ab_http_session_class, sizeof *s,
                                       AB_HTTP_SESSION_VALUES);
    s->bounds = (ab_bounds){.total_ns = 300 * SECOND,
                            .connect_ns = 30 * SECOND,
                            .stall_ns = INT64_MAX,
                            .max_body = SIZE_MAX,
                            .max_whole = MAX_BODY,
                            .redirects = REDIRECTS};
    s->collect_from = s->collect_at = COLLECT_FROM;
    return s;
}

static void open_client(lua_State *L, ab_http_session *s, const char *what,
                        const ab_client_config *config)
{
    int err = ab_client_new(ab_box_of(L), config, &s->client);
    if (err)
        ab_error_raise(
            L, err,
            &(ab_detail){what, err == UV_ENOTSUP ? ab_client_trouble() : NULL,
                         NULL, NULL});
}

void ab_http_session_end(lua_State *L, ab_http_session *s)
{
    s->closed = 1;
    if (s->client)
        ab_client_free(s->client);
    if (s->counted)
        ab_box_of(L)->live_handles--;
    s->counted = 0;
}

int ab_http_l_session_close(lua_State *L)
{
    ab_http_session_end(L, ab_self(L, &ab_http_session_class));
    return 0;
}

int ab_http_l_session_tostring(lua_State *L)
{
    const ab_http_session *s = ab_self(L, &ab_http_session_class);
    lua_pushfstring(L, "<Session %s>", s->closed ? "closed" : "open");
    return 1;
}

int ab_http_raise_closed(lua_State *L, const char *what)
{
    return ab_error_raise(
        L, ASYNCBOX_ECLOSED,
        &(ab_detail){what, "the session is closed", NULL, NULL});
}

void ab_http_need_client(lua_State *L, ab_http_session *s, const char *what)
{
    if (s->closed)
        ab_http_raise_closed(L, what);
    if (!s->client)
        open_client(L, s, what,
                    &(ab_client_config){MAX_CONNECTIONS, 0,
                                        "asyncbox/" ASYNCBOX_VERSION});
}

ab_client *ab_http_client(lua_State *L, int idx, const char *what)
{
    ab_http_session *s = ab_object_test(L, idx, &ab_http_session_class);
    luaL_argcheck(L, s, idx, "Session expected");
    ab_http_need_client(L, s, what);
    return s->client;
}

/* ---- who needs one ----
 * A weak table: client -> session. A response whose body is still to come is
 * all that a script may hold of its session. */

static const char sessions_key = 0;

static void remember(lua_State *L, int self, const ab_client *client)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &sessions_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "v");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &sessions_key);
    }
    lua_pushvalue(L, self);
    lua_rawsetp(L, -2, client);
    lua_pop(L, 1);
}

void ab_http_push_session(lua_State *L, const ab_client *client)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &sessions_key) == LUA_TTABLE) {
        lua_rawgetp(L, -1, client);
        lua_remove(L, -2);
    }
}

/* ---- making sessions ---- */

static void read_session(lua_State *L, ab_http_session *s, int self,
                         const char *what)
{
    const int opts = 1;
    ab_http_bounds(L, opts, what, &s->bounds);
    ab_client_config config = {
        (long)ab_option_integer(L, opts, "max_connections", MAX_CONNECTIONS, 1,
                                100000),
        (long)ab_option_integer(L, opts, "max_per_host", 0, 0, 100000),
        ab_http_option_text(L, opts, what, "user_agent",
                            "asyncbox/" ASYNCBOX_VERSION)};
    if (config.max_connections < COLLECT_FROM)
        s->collect_from = (unsigned)config.max_connections;
    if (config.max_per_host && config.max_per_host < (long)s->collect_from)
        s->collect_from = (unsigned)config.max_per_host;
    s->collect_at = s->collect_from;
    const char *base = ab_http_option_text(L, opts, what, "base_url", NULL);
    if (base) {
        ab_http_url_check(L, what, base, strlen(base));
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, self, AB_HTTP_BASE_URL);
    }
    const char *lines = NULL;
    size_t bytes = 0;
    if (lua_getfield(L, opts, "headers") != LUA_TNIL) {
        ab_http_lines(L, lua_gettop(L), what, NULL, 0, &lines, &bytes);
        lua_pushlstring(L, lines, bytes);
        lua_setiuservalue(L, self, AB_HTTP_LINES);
    }
    open_client(L, s, what, &config);
    if (s->jar && ab_client_open_jar(s->client) < 0)
        ab_error_raise(L, UV_ENOMEM, &(ab_detail){what, NULL, NULL, NULL});
    if (lines && ab_client_headers(s->client, lines, bytes) < 0)
        ab_error_raise(L, UV_ENOMEM, &(ab_detail){what, NULL, NULL, NULL});
}

/* 1: options that C reads.  With settings, they hold for every request. */
static int make_session(lua_State *L, int settings, int options, int jar)
{
    static const char what[] = "http.session";
    unsigned count;
    ab_http_session *s = ab_http_session_new(L);
    int self = lua_gettop(L);
    s->jar = jar;
    read_session(L, s, self, what);
    if (settings) {
        const ab_setting *list = ab_http_settings(L, settings, &count);
        for (unsigned i = 0; i < count; i++)
            if (list[i].key == AB_SET_UNIX_SOCKET && list[i].bytes) {
                ab_http_check_unix(L, what, list[i].text);
                s->is_unix = 1;
            }
        if (count && ab_client_settings(s->client, list, count) < 0)
            ab_error_raise(L, UV_ENOMEM, &(ab_detail){what, NULL, NULL, NULL});
        lua_pushvalue(L, options);
        lua_setiuservalue(L, self, AB_HTTP_OPTIONS);
        s->options = !lua_isnil(L, options);
    }
    s->counted = 1;
    ab_box_of(L)->live_handles++;
    remember(L, self, s->client);
    lua_settop(L, self);
    return 1;
}

int ab_http_new_session(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 4);
    return make_session(L, 2, 3, lua_toboolean(L, 4));
}

int ab_http_l_session(lua_State *L)
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!ab_http_is_plain(L, 1, ab_http_session_keys))
        return ab_http_call(L, "session");
    if (lua_getfield(L, 1, "base_url") == LUA_TSTRING &&
        ab_http_url_has_login(lua_tostring(L, -1))) {
        lua_settop(L, 1);
        return ab_http_call(L, "session");
    }
    lua_settop(L, 1);
    return make_session(L, 0, 0, 1);
}

/* session.cookies, and its methods. */
int ab_http_l_session_index(lua_State *L)
{
    ab_http_session *s = ab_self(L, &ab_http_session_class);
    const char *name = lua_tostring(L, 2);
    if (!name || strncmp(name, "__", 2) == 0)
        return 0;
    if (strcmp(name, "cookies") != 0) {
        lua_pushvalue(L, 2);
        lua_rawget(L, lua_upvalueindex(1));
        return 1;
    }
    if (!s->jar)
        return 0;
    lua_settop(L, 1);
    return ab_http_call(L, "cookies");
}

int ab_http_l_session_map(lua_State *L)
{
    ab_self(L, &ab_http_session_class);
    return ab_http_call(L, "map");
}
