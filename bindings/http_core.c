/* http_core.c - what the Lua parts of asyncbox.http are made of, and how they
 * are called: they are loaded by the first request that needs them. */
#include "http.h"
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PARTS(X)                                                               \
    X(http_option)                                                             \
    X(http_encode)                                                             \
    X(http_upload)                                                             \
    X(http_retry)                                                              \
    X(http_cookies)                                                            \
    X(http_request)                                                            \
    X(http_session)

#define PART(name)                                                             \
    extern const char ab_lua_##name[];                                         \
    extern const size_t ab_lua_##name##_len;
PARTS(PART)
#undef PART

/* ---- settings ---- */

static const struct {
    const char *name;
    ab_setting_key key;
    int is_number;
} known_settings[] = {{"proxy", AB_SET_PROXY, 0},
                      {"proxy_tls", AB_SET_PROXY_TLS, 0},
                      {"no_proxy", AB_SET_NO_PROXY, 0},
                      {"unix_socket", AB_SET_UNIX_SOCKET, 0},
                      {"connect_to", AB_SET_CONNECT_TO, 0},
                      {"user", AB_SET_USER, 0},
                      {"password", AB_SET_PASSWORD, 0},
                      {"cookie", AB_SET_COOKIE, 0},
                      {"ca", AB_SET_CA, 0},
                      {"cert", AB_SET_CERT, 0},
                      {"key", AB_SET_KEY, 0},
                      {"key_password", AB_SET_KEY_PASSWORD, 0},
                      {"verify", AB_SET_VERIFY, 1},
                      {"http2", AB_SET_HTTP2, 1},
                      {"decompress", AB_SET_DECOMPRESS, 1},
                      {"jar", AB_SET_JAR, 1}};

enum { SETTING_COUNT = sizeof known_settings / sizeof *known_settings };

static void read_setting(lua_State *L, int list, lua_Integer i, ab_setting *s)
{
    lua_rawgeti(L, list, i);
    const char *name = lua_tostring(L, -1);
    int k = 0;
    while (k < SETTING_COUNT && (!name || strcmp(known_settings[k].name, name)))
        k++;
    if (k == SETTING_COUNT)
        luaL_error(L, "no such setting: %s", name ? name : "?");
    lua_rawgeti(L, list, i + 1);
    memset(s, 0, sizeof *s);
    s->key = known_settings[k].key;
    if (known_settings[k].is_number)
        s->number = (long)luaL_checkinteger(L, -1);
    else if (lua_type(L, -1) == LUA_TSTRING) /* else it would be a new one */
        s->text = lua_tolstring(L, -1, &s->bytes);
    else
        luaL_error(L, "setting %s is no string", name);
    lua_pop(L, 2);
}

const ab_setting *ab_http_settings(lua_State *L, int idx, unsigned *count)
{
    lua_Unsigned n = lua_rawlen(L, idx) / 2;
    luaL_checkstack(L, 4, NULL);
    ab_setting *list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0);
    for (lua_Unsigned i = 0; i < n; i++)
        read_setting(L, idx, (lua_Integer)(2 * i + 1), &list[i]);
    *count = (unsigned)n;
    return list;
}

/* ---- cookies ---- */

/* core.cookies(session): a list of lines as in a Netscape cookie file. */
static int core_cookies(lua_State *L)
{
    ab_client *client = ab_http_client(L, 1, "session.cookies");
    size_t room = ab_client_cookies(client, NULL, 0);
    char *text = lua_newuserdatauv(L, room + 1, 0);
    client = ab_http_client(L, 1, "session.cookies");
    size_t bytes = ab_client_cookies(client, text, room);
    lua_Integer count = 0;
    lua_newtable(L);
    for (const char *l = text; l < text + (bytes < room ? bytes : room);
         l += strlen(l) + 1) {
        lua_pushstring(L, l);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* core.put_cookie(session, line) */
static int core_put_cookie(lua_State *L)
{
    const char *line = luaL_checkstring(L, 2);
    ab_client *client = ab_http_client(L, 1, "session.cookies");
    int err = ab_client_cookie(client, line);
    if (err)
        ab_error_raise(L, err,
                       &(ab_detail){"session.cookies", NULL, NULL, NULL});
    return 0;
}

/* ---- the rest ---- */

/* core.session_options(session) */
static int core_session_options(lua_State *L)
{
    const ab_http_session *s = ab_object_test(L, 1, &ab_http_session_class);
    luaL_argcheck(L, s, 1, "Session expected");
    lua_getiuservalue(L, 1, AB_HTTP_OPTIONS);
    return 1;
}

/* core.verb(n): "http.get" */
static int core_verb(lua_State *L)
{
    lua_pushstring(L, ab_http_verb_name(L, 1));
    return 1;
}

/* core.url(session, url, what): with base_url */
static int core_url(lua_State *L)
{
    const char *what = luaL_checkstring(L, 3);
    lua_pushstring(L, ab_http_url(L, 1, 2, what));
    return 1;
}

/* core.bad_url(what, url, why) */
static int core_bad_url(lua_State *L)
{
    return ab_http_url_raise(L, luaL_checkstring(L, 1), luaL_checkstring(L, 2),
                             luaL_checkstring(L, 3));
}

/* core.failure(code name, what, message [, key, value]): an error object. */
static int core_failure(lua_State *L)
{
    static const int codes[] = {UV_EINVAL, UV_E2BIG, ASYNCBOX_EHTTP,
                                UV_ETIMEDOUT};
    const char *name = luaL_checkstring(L, 1);
    int code = UV_EINVAL;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(asyncbox_err_name(codes[i]), name) == 0)
            code = codes[i];
    ab_error_push(L, code,
                  &(ab_detail){luaL_checkstring(L, 2), luaL_checkstring(L, 3),
                               luaL_optstring(L, 4, NULL),
                               luaL_optstring(L, 5, NULL)});
    return 1;
}

/* core.is_address(text): "127.0.0.1", "::1" */
static int core_is_address(lua_State *L)
{
    ab_addr address;
    lua_pushboolean(L, ab_addr_parse(luaL_checkstring(L, 1), &address));
    return 1;
}

/* core.random(): 32 hexadecimal digits */
static int core_random(lua_State *L)
{
    unsigned char bytes[16];
    char text[33];
    int err = uv_random(NULL, NULL, bytes, sizeof bytes, 0, NULL);
    if (err)
        return ab_error_raise(L, err,
                              &(ab_detail){"http.request", NULL, NULL, NULL});
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    lua_pushstring(L, text);
    return 1;
}

/* core.env(what, name): a variable of the environment, if it may be read. */
static int core_env(lua_State *L)
{
    size_t n;
    const char *name = luaL_checklstring(L, 2, &n);
    if (!ab_grants_env_allowed(&ab_box_of(L)->grants, name, n))
        return 0;
    lua_pushstring(L, getenv(name));
    return 1;
}

/* core.module(name): asyncbox's own, whatever the script has put in the place
 * of it. */
static int core_module(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction open;
    } modules[] = {{"asyncbox", ab_open_async},
                   {"asyncbox.fs", ab_open_fs},
                   {"asyncbox.json", ab_open_json},
                   {"asyncbox.url", ab_open_url}};
    const char *name = luaL_checkstring(L, 1);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (strcmp(modules[i].name, name) == 0) {
            luaL_requiref(L, name, modules[i].open, 0);
            return 1;
        }
    return luaL_error(L, "no module %s", name);
}

static const luaL_Reg core[] = {{"bad_url", core_bad_url},
                                {"cookies", core_cookies},
                                {"env", core_env},
                                {"failure", core_failure},
                                {"feed", ab_http_new_feed},
                                {"fetch", ab_http_fetch},
                                {"is_address", core_is_address},
                                {"module", core_module},
                                {"new_session", ab_http_new_session},
                                {"put_cookie", core_put_cookie},
                                {"random", core_random},
                                {"session_options", core_session_options},
                                {"to_ascii", ab_part_to_ascii},
                                {"url", core_url},
                                {"verb", core_verb},
                                {NULL, NULL}};

static void push_keys(lua_State *L, const char *const *keys)
{
    lua_newtable(L);
    for (int i = 0; keys[i]; i++) {
        lua_pushstring(L, keys[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

/* Each part is called with core and the table that they share, and adds its
 * functions to that. */
static void push_parts(lua_State *L)
{
    static const char key = 0;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    luaL_newlib(L, core);
    luaL_setfuncs(L, ab_part_options, 0);
    push_keys(L, ab_http_request_keys);
    lua_setfield(L, -2, "request_keys");
    push_keys(L, ab_http_session_keys);
    lua_setfield(L, -2, "session_keys");
    lua_newtable(L);
#define PART(name)                                                             \
    lua_pushvalue(L, -2);                                                      \
    lua_pushvalue(L, -2);                                                      \
    ab_lua_part(L, #name, ab_lua_##name, ab_lua_##name##_len, 2, 0);
    PARTS(PART)
#undef PART
    lua_remove(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}

static int on_returned(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L);
}

int ab_http_call(lua_State *L, const char *name)
{
    int n = lua_gettop(L);
    luaL_checkstack(L, 8, NULL);
    push_parts(L);
    lua_getfield(L, -1, name);
    lua_insert(L, 1);
    lua_pop(L, 1);
    lua_callk(L, n, LUA_MULTRET, 0, on_returned);
    return on_returned(L, LUA_OK, 0);
}
