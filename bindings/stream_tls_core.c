/* stream_tls_core.c - what stream_tls.lua is made of: contexts, options; the
 * methods start_tls and tls. */
#include "stream.h"
#include <string.h>

extern const char ab_lua_stream_tls[];
extern const size_t ab_lua_stream_tls_len;

static const char OP[] = "stream:start_tls";

/* ---- contexts ---- */

static int context_gc(lua_State *L);
static const luaL_Reg context_metas[] = {{"__gc", context_gc}, {NULL, NULL}};
const ab_class ab_stream_tls_context_class = {"TlsContext", NULL,
                                              context_metas};

static int context_gc(lua_State *L)
{
    ab_tls_context *context = ab_object_take(L, &ab_stream_tls_context_class);
    if (context)
        ab_tls_context_unref(context);
    return 0;
}

/* A string of the table at 1 or NULL; it stays there. */
static const char *setting(lua_State *L, const char *key, size_t *bytes)
{
    lua_getfield(L, 1, key);
    const char *text = lua_tolstring(L, -1, bytes);
    lua_pop(L, 1);
    return text;
}

static int setting_number(lua_State *L, const char *key)
{
    lua_getfield(L, 1, key);
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

/* context{is_server=, verify=, ca=, ...} -> context, or nil, code, trouble */
static int core_context(lua_State *L)
{
    char trouble[AB_TLS_TEXT];
    luaL_checktype(L, 1, LUA_TTABLE);
    ab_tls_settings settings = {
        .side = setting_number(L, "is_server") ? AB_TLS_SERVER : AB_TLS_CLIENT,
        .verify = (ab_tls_verify)setting_number(L, "verify"),
        .ca = setting(L, "ca", NULL),
        .cert = setting(L, "cert", NULL),
        .key = setting(L, "key", NULL),
        .password = setting(L, "key_password", NULL),
        .min_version = setting_number(L, "min_version"),
        .max_version = setting_number(L, "max_version"),
    };
    settings.alpn = setting(L, "alpn", &settings.alpn_bytes);
    ab_tls_context **object = ab_object_new(L, &ab_stream_tls_context_class,
                                            sizeof(ab_tls_context *), 0);
    int err =
        ab_tls_context_new(&settings, &ab_box_of(L)->limits, object, trouble);
    if (err == UV_ENOMEM) {
        lua_gc(L, LUA_GCCOLLECT);
        err = ab_tls_context_new(&settings, &ab_box_of(L)->limits, object,
                                 trouble);
    }
    if (!err)
        return 1;
    lua_pushnil(L);
    lua_pushinteger(L, err);
    if (*trouble)
        lua_pushstring(L, trouble);
    else
        lua_pushnil(L);
    return 3;
}

/* ---- primitives for stream_tls.lua ---- */

/* options(table, what, known...) */
static int core_options(lua_State *L)
{
    const char *known[16] = {NULL};
    int n = lua_gettop(L) - 2;
    for (int i = 0; i < n && i < 15; i++)
        known[i] = lua_tostring(L, 3 + i);
    ab_options_check(L, 1, lua_tostring(L, 2), known);
    return 0;
}

/* seconds(table, key, otherwise) */
static int core_seconds(lua_State *L)
{
    int64_t ns = ab_option_seconds(L, 1, luaL_checkstring(L, 2),
                                   (int64_t)(luaL_checknumber(L, 3) * 1e9));
    lua_pushnumber(L, (lua_Number)ns / 1e9);
    return 1;
}

static int core_misuse(lua_State *L)
{
    return ab_misuse(L, "%s", luaL_checkstring(L, 1));
}

/* check(stream): may start_tls begin? */
static int core_check(lua_State *L)
{
    ab_stream_tls_startable(L);
    return 0;
}

/* timed_out(stream, message) */
static int core_timed_out(lua_State *L)
{
    return ab_stream_fail(L, ab_stream_self(L), UV_ETIMEDOUT, OP,
                          luaL_checkstring(L, 2));
}

/* fail(code, op, message or nil, key, value) */
static int core_fail(lua_State *L)
{
    return ab_error_raise(
        L, (int)luaL_checkinteger(L, 1),
        &(ab_detail){luaL_checkstring(L, 2), luaL_optstring(L, 3, NULL),
                     luaL_optstring(L, 4, NULL), luaL_optstring(L, 5, NULL)});
}

static const luaL_Reg core[] = {
    {"ascii", ab_part_ascii},      {"check", core_check},
    {"context", core_context},     {"fail", core_fail},
    {"misuse", core_misuse},       {"options", core_options},
    {"seconds", core_seconds},     {"shake", ab_stream_tls_shake},
    {"timed_out", core_timed_out}, {NULL, NULL},
};

void ab_stream_push_tls(lua_State *L)
{
    static const char key = 0;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    /* Methods take the class as their upvalue: see ab_self. */
    ab_class_push(L, &ab_stream_class);
    lua_newtable(L);
    lua_insert(L, -2);
    luaL_setfuncs(L, core, 1);
    luaL_requiref(L, "asyncbox", ab_open_async, 0);
    luaL_requiref(L, "asyncbox.fs", ab_open_fs, 0);
    ab_lua_part(L, "stream_tls", ab_lua_stream_tls, ab_lua_stream_tls_len, 3,
                1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}

static int started(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    lua_settop(L, 1);
    return 1;
}

int ab_stream_l_start_tls(lua_State *L)
{
    ab_task_check(L, OP);
    ab_stream_self(L);
    lua_settop(L, 2);
    ab_stream_push_tls(L);
    lua_getfield(L, -1, "upgrade");
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_callk(L, 2, 0, 0, started);
    return started(L, LUA_OK, 0);
}

/* ---- what is to be told ---- */

static void set_text(lua_State *L, const char *key, const char *text)
{
    if (text && *text) {
        lua_pushstring(L, text);
        lua_setfield(L, -2, key);
    }
}

static void push_names(lua_State *L, const char *names)
{
    lua_newtable(L);
    for (lua_Integer i = 1; *names; i++) {
        size_t len = strcspn(names, "\n");
        lua_pushlstring(L, names, len);
        lua_rawseti(L, -2, i);
        names += len + (names[len] == '\n');
    }
}

int ab_stream_l_tls(lua_State *L)
{
    const ab_stream *s = ab_stream_self(L);
    if (!s->tls || s->shaker) {
        lua_pushnil(L);
        return 1;
    }
    ab_tls_info info;
    ab_tls_certificate peer;
    ab_tls_describe(s->tls, &info);
    lua_createtable(L, 0, 6);
    set_text(L, "version", info.version);
    set_text(L, "cipher", info.cipher);
    set_text(L, "server_name", info.server_name);
    if (info.alpn) {
        lua_pushlstring(L, info.alpn, info.alpn_bytes);
        lua_setfield(L, -2, "alpn");
    }
    lua_pushboolean(L, info.resumed);
    lua_setfield(L, -2, "resumed");
    if (!ab_tls_peer(s->tls, &peer))
        return 1;
    lua_createtable(L, 0, 6);
    set_text(L, "subject", peer.subject);
    set_text(L, "issuer", peer.issuer);
    set_text(L, "valid_from", peer.valid_from);
    set_text(L, "valid_until", peer.valid_until);
    set_text(L, "fingerprint", peer.fingerprint);
    push_names(L, peer.names);
    lua_setfield(L, -2, "names");
    lua_setfield(L, -2, "peer");
    return 1;
}
