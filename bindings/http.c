/* http.c - the module asyncbox.http: sessions and fetches.
 *
 * What is asked for goes into an ab_request, what comes back is made by
 * http_response.c; transfers themselves are host/transfer.h's matter. */
#include "http.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { METHOD_MAX = 15 };

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

typedef ab_http_session session;

#define session_class ab_http_session_class

/* ---- fetching ---- */

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

/* The proxy is not granted. */
static int fail_denied(lua_State *L, ab_transfer_wait *w)
{
    char host[AB_TRANSFER_HOST_MAX];
    int port;
    const char *what = w->op.type->name;
    strcpy(host, ab_transfer_denied(w->transfer, &port));
    ab_op_free(&w->op);
    ab_grants_check_host(L, what, host, port); /* knows the words */
    return 0;
}

/* The session is at `self`, the URL at `arg`, the options after it.  `made`: by
 * the Lua parts. */
static int start(lua_State *L, enum verb verb, session *s, int self,
                 const char *method, int arg, int made)
{
    const ab_op_type *type = &types[verb];
    const int opts = arg + 1;
    ab_request r = {
        .method = method, .url = lua_tostring(L, arg), .bounds = s->bounds};
    if (!lua_isnil(L, opts))
        ab_http_read_request(L, opts, type->name, self, &r);
    if (made)
        ab_http_read_extras(L, opts, type->name, &r);
    int has_progress = ab_response_has_progress(L, opts, type->name);
    if (!ab_http_is_unix(s, &r))
        check_grant(L, type->name, r.url);
    ab_http_need_client(L, s, type->name);
    collect_abandoned(L, s);
    ab_box_make_room(L, r.body_bytes + 2 * AB_TRANSFER_BUFFER);
    ab_transfer_wait *w = (ab_transfer_wait *)ab_op_new(L, type);
    if (!s->client) { /* closed by a finalizer that ran meanwhile */
        ab_op_free(&w->op);
        return ab_http_raise_closed(L, type->name);
    }
    int err = ab_transfer_start(w, s->client, &r);
    if (err == ASYNCBOX_EDENIED)
        return fail_denied(L, w);
    if (err)
        return ab_op_fail(L, &w->op, err, "url", r.url);
    if (has_progress)
        return ab_task_parkk(L, &w->op, opts, ab_response_add_progress);
    return ab_task_park(L, &w->op);
}

/* Leaves it to the Lua parts: (session, verb, method, url, options). */
static int compose(lua_State *L, enum verb verb, int self, const char *method,
                   int arg)
{
    lua_pushvalue(L, self);
    lua_pushinteger(L, verb);
    lua_pushstring(L, method);
    lua_pushvalue(L, arg);
    lua_pushvalue(L, arg + 1);
    lua_rotate(L, 1, 5);
    lua_settop(L, 5);
    return ab_http_call(L, "request");
}

/* The session is at `self`; the other arguments from `arg` on. */
static int fetch(lua_State *L, enum verb verb, session *s, int self, int arg)
{
    const char *method = methods[verb];
    char buf[METHOD_MAX + 1];
    ab_task_check(L, types[verb].name);
    if (!method)
        method = check_method(L, arg++, buf);
    lua_settop(L, arg + 1); /* the URL and the options, given or not */
    luaL_checktype(L, arg, LUA_TSTRING);
    if (s->options || !ab_http_is_plain(L, arg + 1, ab_http_request_keys))
        return compose(L, verb, self, method, arg);
    if (ab_http_url_has_login(ab_http_url(L, self, arg, types[verb].name)))
        return compose(L, verb, self, method, arg);
    return start(L, verb, s, self, method, arg, 0);
}

const char *ab_http_verb_name(lua_State *L, int arg)
{
    lua_Integer verb = luaL_checkinteger(L, arg);
    luaL_argcheck(L, verb >= 0 && verb <= VERB_request, arg, "no verb");
    return types[verb].name;
}

int ab_http_fetch(lua_State *L)
{
    session *s = ab_object_test(L, 1, &session_class);
    const char *what = ab_http_verb_name(L, 2);
    const char *method = luaL_checkstring(L, 3);
    luaL_argcheck(L, s, 1, "Session expected");
    luaL_checktype(L, 4, LUA_TSTRING);
    luaL_checktype(L, 5, LUA_TTABLE);
    lua_settop(L, 5);
    ab_task_check(L, what);
    return start(L, (enum verb)lua_tointeger(L, 2), s, 1, method, 4, 1);
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

static int l_map(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    return ab_http_call(L, "map");
}

/* Closes the connections of http.get and its like; the next fetch opens new
 * ones. */
static int l_close(lua_State *L)
{
    session *s = lua_touserdata(L, lua_upvalueindex(1));
    ab_http_session_end(L, s);
    s->closed = 0;
    return 0;
}

/* ---- the tables ---- */

/* Methods are found by ab_http_l_session_index. */
static const luaL_Reg session_metas[] = {
#define VERB(name, method) {#name, l_session_##name},
    VERBS(VERB)
#undef VERB
        {"close", ab_http_l_session_close},
    {"map", ab_http_l_session_map},
    {"__index", ab_http_l_session_index},
    {"__close", ab_http_l_session_close},
    {"__gc", ab_http_l_session_close},
    {"__tostring", ab_http_l_session_tostring},
    {NULL, NULL}};

const ab_class ab_http_session_class = {"Session", NULL, session_metas};

static const luaL_Reg functions[] = {
#define VERB(name, method) {#name, l_##name},
    VERBS(VERB)
#undef VERB
        {"session", ab_http_l_session},
    {"map", l_map},
    {"close", l_close},
    {NULL, NULL}};

int ab_open_http(lua_State *L)
{
    ab_response_open(L);
    luaL_newlibtable(L, functions);
    ab_http_session_new(L);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
