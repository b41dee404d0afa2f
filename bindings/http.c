/* http.c - the module asyncbox.http: sessions and fetches.
 *
 * What is asked for goes into an ab_request, what comes back is made by
 * http_response.c; transfers themselves are host/transfer.h's matter. */
#include "http.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

#define SECOND INT64_C(1000000000)

/* Defaults; docs/lua/http.md names them. */
enum {
    MAX_BODY = 64 * 1024 * 1024,
    MAX_CONNECTIONS = 512, /* half of the usual limit of descriptors */
    REDIRECTS = 10,
    COLLECT_FROM = 64, /* responses that are not read */
    METHOD_MAX = 15
};

/* The functions that fetch. */
#define VERBS(X)                                                               \
    X(get, "GET")                                                              \
    X(head, "HEAD")                                                            \
    X(post, "POST")                                                            \
    X(put, "PUT")                                                              \
    X(patch, "PATCH")                                                          \
    X(delete, "DELETE")                                                        \
    X(options, "OPTIONS")                                                      \
    X(request, NULL)

enum verb {
#define VERB(name, method) VERB_##name,
    VERBS(VERB)
#undef VERB
};

static const ab_op_type types[] = {
#define VERB(name, method)                                                     \
    {"http." #name,                                                            \
     sizeof(ab_transfer_wait),                                                 \
     AB_OP_EXTERNAL,                                                           \
     ab_response_push,                                                         \
     ab_transfer_wait_cancel,                                                  \
     ab_transfer_wait_drop,                                                    \
     NULL},
    VERBS(VERB)
#undef VERB
};

static const char *const methods[] = {
#define VERB(name, method) method,
    VERBS(VERB)
#undef VERB
};

/* ---- sessions ---- */

typedef struct session {
    ab_client *client; /* NULL: not yet opened, or gone */
    ab_bounds bounds;
    unsigned collect_from, collect_at; /* see collect_abandoned */
    int closed;
    int counted; /* in box->live_handles */
} session;

enum { LINES = 1, BASE_URL, SESSION_VALUES = BASE_URL };

static const ab_class session_class;

static session *new_session(lua_State *L)
{
    session *s = ab_object_new(L, &session_class, sizeof *s, SESSION_VALUES);
    s->bounds = (ab_bounds){.total_ns = 300 * SECOND,
                            .connect_ns = 30 * SECOND,
                            .stall_ns = INT64_MAX,
                            .max_body = SIZE_MAX,
                            .max_whole = MAX_BODY,
                            .redirects = REDIRECTS};
    s->collect_from = s->collect_at = COLLECT_FROM;
    return s;
}

static void open_client(lua_State *L, session *s, const char *what,
                        const ab_client_config *config)
{
    int err = ab_client_new(ab_box_of(L), config, &s->client);
    if (err)
        ab_error_raise(
            L, err,
            &(ab_detail){what, err == UV_ENOTSUP ? ab_client_trouble() : NULL,
                         NULL, NULL});
}

static void close_session(lua_State *L, session *s)
{
    s->closed = 1;
    if (s->client)
        ab_client_free(s->client);
    if (s->counted)
        ab_box_of(L)->live_handles--;
    s->counted = 0;
}

static int l_session_close(lua_State *L)
{
    close_session(L, ab_self(L, &session_class));
    return 0;
}

static int l_session_tostring(lua_State *L)
{
    const session *s = ab_self(L, &session_class);
    lua_pushfstring(L, "<Session %s>", s->closed ? "closed" : "open");
    return 1;
}

/* ---- options ---- */

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

/* Options that sessions and single requests have in common. */
static void read_bounds(lua_State *L, int opts, const char *what,
                        ab_bounds *bounds)
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

/* What is sent with it. What r points to stays on the stack. */
static void read_request(lua_State *L, int opts, const char *what, int self,
                         ab_request *r)
{
    static const char *const known[] = {"headers",   "timeout", "max_body",
                                        "redirects", "body",    "on_progress",
                                        NULL};
    luaL_checktype(L, opts, LUA_TTABLE);
    ab_options_check(L, opts, what, known);
    read_bounds(L, opts, what, &r->bounds);
    if (lua_getfield(L, opts, "body") == LUA_TSTRING)
        r->body = lua_tolstring(L, -1, &r->body_bytes);
    else if (!lua_isnil(L, -1))
        luaL_error(L, "%s: option 'body': string expected, got %s", what,
                   luaL_typename(L, -1));
    if (lua_getfield(L, opts, "headers") != LUA_TNIL) {
        size_t bytes = 0;
        int table = lua_gettop(L);
        lua_getiuservalue(L, self, LINES);
        const char *base = lua_tolstring(L, -1, &bytes);
        ab_http_lines(L, table, what, base, bytes, &r->lines, &r->lines_bytes);
    }
}

/* ---- URLs ---- */

static int raise_url(lua_State *L, const char *what, const char *url,
                     const char *why)
{
    return ab_error_raise(L, ASYNCBOX_EURL,
                          &(ab_detail){what, why, "url", url});
}

/* The part after "http://" or "https://", or NULL. */
static const char *after_scheme(const char *url)
{
    if (strncasecmp(url, "http://", 7) == 0)
        return url + 7;
    if (strncasecmp(url, "https://", 8) == 0)
        return url + 8;
    return NULL;
}

/* What can be seen without taking it apart; curl finds the rest. */
static void check_url(lua_State *L, const char *what, const char *url, size_t n)
{
    const char *host = after_scheme(url);
    if (!host)
        raise_url(L, what, url,
                  "bad URL: it must begin with http:// or "
                  "https://");
    if (*host == '\0' || strchr("/?#", *host))
        raise_url(L, what, url, "bad URL: no host");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)url[i] <= ' ' || url[i] == 127)
            raise_url(L, what, url,
                      "bad URL: a space or control character in it");
}

/* Argument `arg` with the session's base_url in front, if it has one and the
 * URL is not complete; replaces the argument. */
static const char *get_url(lua_State *L, int self, int arg, const char *what)
{
    size_t n, base_n;
    const char *url = luaL_checklstring(L, arg, &n);
    if (!after_scheme(url) &&
        lua_getiuservalue(L, self, BASE_URL) == LUA_TSTRING) {
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
    check_url(L, what, url, n);
    return url;
}

static void check_grant(lua_State *L, const char *what, const char *url)
{
    char host[AB_TRANSFER_HOST_MAX];
    int port, is_tls;
    if (ab_box_of(L)->grants.trusted)
        return;
    int err = ab_transfer_parse(url, host, &port, &is_tls);
    if (err)
        ab_error_raise(L, err, &(ab_detail){what, NULL, "url", url});
    ab_grants_check_host(L, what, host, port);
}

/* ---- fetching ---- */

/* Argument 1 of request, in capitals as servers want it. */
static const char *check_method(lua_State *L, int arg, char *buf)
{
    size_t n;
    const char *method = luaL_checklstring(L, arg, &n);
    luaL_argcheck(L, n > 0 && n <= METHOD_MAX, arg, "not an HTTP method");
    for (size_t i = 0; i <= n; i++) {
        luaL_argcheck(L, i == n || isalpha((unsigned char)method[i]), arg,
                      "not an HTTP method");
        buf[i] = (char)toupper((unsigned char)method[i]);
    }
    return buf;
}

static int raise_closed(lua_State *L, const char *what)
{
    return ab_error_raise(
        L, ASYNCBOX_ECLOSED,
        &(ab_detail){what, "the session is closed", NULL, NULL});
}

/* The default session opens its client on its first fetch. */
static void need_client(lua_State *L, session *s, const char *what)
{
    if (s->closed)
        raise_closed(L, what);
    if (!s->client)
        open_client(L, s, what,
                    &(ab_client_config){MAX_CONNECTIONS, 0,
                                        "asyncbox/" ASYNCBOX_VERSION});
}

/* Responses that a script has dropped without reading them keep connections
 * until they are collected, and Lua sees how little memory they are. */
static void collect_abandoned(lua_State *L, session *s)
{
    if (ab_client_held(s->client) < s->collect_at)
        return;
    lua_gc(L, LUA_GCCOLLECT);
    unsigned held = s->client ? ab_client_held(s->client) : 0;
    s->collect_at = 2 * held > s->collect_from ? 2 * held : s->collect_from;
}

/* The session is at `self`; the other arguments from `arg` on. */
static int fetch(lua_State *L, enum verb verb, session *s, int self, int arg)
{
    const ab_op_type *type = &types[verb];
    char buf[METHOD_MAX + 1];
    ab_task_check(L, type->name);
    ab_request r = {.method = methods[verb], .bounds = s->bounds};
    if (!r.method)
        r.method = check_method(L, arg++, buf);
    lua_settop(L, arg + 1); /* the URL and the options, given or not */
    r.url = get_url(L, self, arg, type->name);
    if (!lua_isnil(L, arg + 1))
        read_request(L, arg + 1, type->name, self, &r);
    int has_progress = ab_response_has_progress(L, arg + 1, type->name);
    check_grant(L, type->name, r.url);
    need_client(L, s, type->name);
    collect_abandoned(L, s);
    ab_transfer_wait *w = (ab_transfer_wait *)ab_op_new(L, type);
    if (!s->client) { /* closed by a finalizer that ran meanwhile */
        ab_op_free(&w->op);
        return raise_closed(L, type->name);
    }
    int err = ab_transfer_start(w, s->client, &r);
    if (err)
        return ab_op_fail(L, &w->op, err, "url", r.url);
    if (has_progress)
        return ab_task_parkk(L, &w->op, arg + 1, ab_response_add_progress);
    return ab_task_park(L, &w->op);
}

/* Two Lua functions a verb: http.get, with the default session as its upvalue,
 * and session:get. */
#define VERB(name, method)                                                     \
    static int l_##name(lua_State *L)                                          \
    {                                                                          \
        int self = lua_upvalueindex(1);                                        \
        return fetch(L, VERB_##name, lua_touserdata(L, self), self, 1);        \
    }                                                                          \
    static int l_session_##name(lua_State *L)                                  \
    {                                                                          \
        return fetch(L, VERB_##name, ab_self(L, &session_class), 1, 2);        \
    }
VERBS(VERB)
#undef VERB

/* ---- making sessions ---- */

static const char *read_string(lua_State *L, int opts, const char *what,
                               const char *key, const char *otherwise)
{
    int type = lua_getfield(L, opts, key);
    if (type == LUA_TNIL)
        return otherwise;
    if (type != LUA_TSTRING)
        luaL_error(L, "%s: option '%s': string expected, got %s", what, key,
                   lua_typename(L, type));
    const char *text = lua_tostring(L, -1);
    if (strlen(text) != lua_rawlen(L, -1) || strpbrk(text, "\r\n"))
        luaL_error(L, "%s: option '%s': a line break or NUL in it", what, key);
    return text;
}

static void read_session(lua_State *L, session *s, int self, const char *what)
{
    static const char *const known[] = {
        "headers",      "timeout",    "max_body",
        "redirects",    "base_url",   "max_connections",
        "max_per_host", "user_agent", NULL};
    const int opts = 1;
    ab_options_check(L, opts, what, known);
    read_bounds(L, opts, what, &s->bounds);
    ab_client_config config = {
        (long)ab_option_integer(L, opts, "max_connections", MAX_CONNECTIONS, 1,
                                100000),
        (long)ab_option_integer(L, opts, "max_per_host", 0, 0, 100000),
        read_string(L, opts, what, "user_agent", "asyncbox/" ASYNCBOX_VERSION)};
    if (config.max_connections < COLLECT_FROM)
        s->collect_from = (unsigned)config.max_connections;
    if (config.max_per_host && config.max_per_host < (long)s->collect_from)
        s->collect_from = (unsigned)config.max_per_host;
    s->collect_at = s->collect_from;
    const char *base = read_string(L, opts, what, "base_url", NULL);
    if (base) {
        check_url(L, what, base, strlen(base));
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, self, BASE_URL);
    }
    const char *lines = NULL;
    size_t bytes = 0;
    if (lua_getfield(L, opts, "headers") != LUA_TNIL) {
        ab_http_lines(L, lua_gettop(L), what, NULL, 0, &lines, &bytes);
        lua_pushlstring(L, lines, bytes);
        lua_setiuservalue(L, self, LINES);
    }
    open_client(L, s, what, &config);
    if (lines && ab_client_headers(s->client, lines, bytes) < 0)
        ab_error_raise(L, UV_ENOMEM, &(ab_detail){what, NULL, NULL, NULL});
}

static int l_session(lua_State *L)
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    session *s = new_session(L);
    read_session(L, s, 2, "http.session");
    s->counted = 1;
    ab_box_of(L)->live_handles++;
    lua_settop(L, 2);
    return 1;
}

/* Closes the connections of http.get and its like; the next fetch opens new
 * ones. */
static int l_close(lua_State *L)
{
    session *s = lua_touserdata(L, lua_upvalueindex(1));
    close_session(L, s);
    s->closed = 0;
    return 0;
}

/* ---- the tables ---- */

static const luaL_Reg session_methods[] = {
#define VERB(name, method) {#name, l_session_##name},
    VERBS(VERB)
#undef VERB
        {"close", l_session_close},
    {NULL, NULL}};

static const luaL_Reg session_metas[] = {{"__close", l_session_close},
                                         {"__gc", l_session_close},
                                         {"__tostring", l_session_tostring},
                                         {NULL, NULL}};

static const ab_class session_class = {"Session", session_methods,
                                       session_metas};

static const luaL_Reg functions[] = {
#define VERB(name, method) {#name, l_##name},
    VERBS(VERB)
#undef VERB
        {"session", l_session},
    {"close", l_close},
    {NULL, NULL}};

int ab_open_http(lua_State *L)
{
    ab_response_open(L);
    luaL_newlibtable(L, functions);
    new_session(L);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
