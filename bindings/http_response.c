/* http_response.c - what a fetch gives, as soon as its headers are there.
 *
 * If all of the body is there too, as it is with most, the response has it as a
 * string and the transfer is gone; else it holds the transfer.  Headers are
 * kept as they came and taken apart when a script asks for them: most never
 * do. */
#include "http.h"
#include <string.h>

/* One for those that hold a transfer, which have to be finalized, and one for
 * the many others. */
static const char holding_key = 0, metatable_key = 0;

/* ---- making one ---- */

static void push_history(lua_State *L, const ab_transfer *t)
{
    lua_Integer i = 0;
    lua_newtable(L);
    for (const ab_hop *hop = t->hops; hop; hop = hop->next) {
        const char *head = hop->text + hop->url_bytes;
        lua_createtable(L, 0, 4);
        lua_pushinteger(L, hop->status);
        lua_setfield(L, -2, "status");
        lua_pushlstring(L, hop->text, hop->url_bytes);
        lua_setfield(L, -2, "url");
        ab_head_push_reason(L, head, hop->header_bytes);
        lua_setfield(L, -2, "reason");
        ab_head_push_fields(L, head, hop->header_bytes);
        lua_setfield(L, -2, "headers");
        lua_rawseti(L, -2, ++i);
    }
}

int ab_response_push(lua_State *L, ab_op *op)
{
    ab_transfer_wait *w = (ab_transfer_wait *)op;
    const ab_transfer *t = w->transfer;
    if (op->status < 0)
        return ab_http_raise(L, t, op->type->name, op->status);
    luaL_checkstack(L, 8, NULL);
    size_t bytes = t->headers.length;
    ab_response *r =
        lua_newuserdatauv(L, sizeof *r + bytes, AB_RESPONSE_VALUES);
    memset(r, 0, sizeof *r);
    r->op = op->type->name;
    r->status = t->status;
    r->elapsed_ns = t->headed_ns - t->started_ns;
    r->head_bytes = bytes;
    if (bytes)
        memcpy(r->head, t->headers.data, bytes);
    int has_all = t->done && !t->failure;
    lua_rawgetp(L, LUA_REGISTRYINDEX, has_all ? &metatable_key : &holding_key);
    lua_setmetatable(L, -2);
    lua_pushstring(L, t->url.data);
    lua_setiuservalue(L, -2, AB_RESPONSE_URL);
    if (t->hops) {
        push_history(L, t);
        lua_setiuservalue(L, -2, AB_RESPONSE_HISTORY);
    }
    if (has_all) {
        lua_pushlstring(L, ab_transfer_data(t), ab_transfer_unread(t));
        lua_setiuservalue(L, -2, AB_RESPONSE_BODY);
    } else {
        r->transfer = ab_transfer_hold(w);
        ab_http_push_session(L, t->client);
        lua_setiuservalue(L, -2, AB_RESPONSE_BODY);
    }
    return 1;
}

int ab_response_has_progress(lua_State *L, int opts, const char *what)
{
    if (!lua_istable(L, opts))
        return 0;
    int type = lua_getfield(L, opts, "on_progress");
    lua_pop(L, 1);
    if (type != LUA_TNIL && type != LUA_TFUNCTION)
        luaL_error(L, "%s: option 'on_progress': function expected, got %s",
                   what, lua_typename(L, type));
    return type == LUA_TFUNCTION;
}

int ab_response_add_progress(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    ab_response *r = lua_touserdata(L, -1);
    lua_getfield(L, (int)ctx, "on_progress");
    lua_setiuservalue(L, -2, AB_RESPONSE_PROGRESS);
    r->tells = 1;
    return 1;
}

/* ---- the object ---- */

ab_response *ab_response_self(lua_State *L)
{
    ab_response *r = lua_touserdata(L, 1);
    int same = 0;
    if (r && lua_getmetatable(L, 1)) {
        int top = lua_gettop(L);
        lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
        same = lua_rawequal(L, -1, top);
        if (!same) {
            lua_rawgetp(L, LUA_REGISTRYINDEX, &holding_key);
            same = lua_rawequal(L, -1, top);
        }
        lua_settop(L, top - 1);
    }
    if (!same)
        luaL_typeerror(L, 1, "Response");
    return r;
}

enum field { STATUS = 1, OK, URL, VERSION, REASON, HEADERS, HISTORY, ELAPSED };

/* Pushes a user value, made at the first look. */
static void push_made(lua_State *L, const ab_response *r, int value)
{
    if (lua_getiuservalue(L, 1, value) != LUA_TNIL)
        return;
    if (value == AB_RESPONSE_HEADERS)
        ab_head_push_fields(L, r->head, r->head_bytes);
    else
        lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, value);
}

static int l_index(lua_State *L)
{
    const ab_response *r = ab_response_self(L);
    lua_settop(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNUMBER)
        return 1; /* a method, or nothing */
    switch ((enum field)lua_tointeger(L, -1)) {
    case STATUS:
        lua_pushinteger(L, r->status);
        break;
    case OK:
        lua_pushboolean(L, r->status >= 200 && r->status < 400);
        break;
    case URL:
        lua_getiuservalue(L, 1, AB_RESPONSE_URL);
        break;
    case VERSION:
        ab_head_push_version(L, r->head, r->head_bytes);
        break;
    case REASON:
        ab_head_push_reason(L, r->head, r->head_bytes);
        break;
    case HEADERS:
        push_made(L, r, AB_RESPONSE_HEADERS);
        break;
    case HISTORY:
        push_made(L, r, AB_RESPONSE_HISTORY);
        break;
    case ELAPSED:
        lua_pushnumber(L, (lua_Number)r->elapsed_ns / 1e9);
        break;
    }
    return 1;
}

static int l_header_values(lua_State *L)
{
    const ab_response *r = ab_response_self(L);
    size_t n;
    const char *wanted = luaL_checklstring(L, 2, &n);
    ab_head_push_values(L, r->head, r->head_bytes, wanted, n);
    return 1;
}

static int l_raise_for_status(lua_State *L)
{
    const ab_response *r = ab_response_self(L);
    lua_settop(L, 1);
    if (r->status < 400)
        return 1;
    lua_pushfstring(L, "%d ", r->status);
    ab_head_push_reason(L, r->head, r->head_bytes);
    lua_concat(L, 2);
    lua_getiuservalue(L, 1, AB_RESPONSE_URL);
    ab_error_push(
        L, ASYNCBOX_EHTTP,
        &(ab_detail){r->op, lua_tostring(L, 2), "url", lua_tostring(L, 3)});
    lua_pushinteger(L, r->status);
    lua_setfield(L, -2, "status");
    return lua_error(L);
}

static int l_tostring(lua_State *L)
{
    const ab_response *r = ab_response_self(L);
    lua_pushfstring(L, "<Response %d ", r->status);
    lua_getiuservalue(L, 1, AB_RESPONSE_URL);
    lua_pushliteral(L, ">");
    lua_concat(L, 3);
    return 1;
}

/* Also __close and __gc: nothing here waits. */
static int l_close(lua_State *L)
{
    ab_response *r = ab_response_self(L);
    ab_transfer *t = r->transfer;
    r->closed = 1;
    r->transfer = NULL;
    if (t) {
        ab_transfer_close(t); /* who waits has a reference of his own */
        ab_transfer_unref(t);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, AB_RESPONSE_BODY);
    }
    return 0;
}

static const luaL_Reg methods[] = {{"header_values", l_header_values},
                                   {"raise_for_status", l_raise_for_status},
                                   {"close", l_close},
                                   {NULL, NULL}};

static const struct {
    const char *name;
    enum field field;
} fields[] = {{"status", STATUS},   {"ok", OK},          {"url", URL},
              {"version", VERSION}, {"reason", REASON},  {"headers", HEADERS},
              {"history", HISTORY}, {"elapsed", ELAPSED}};

/* Makes a metatable around the __index on top of the stack. */
static void make_class(lua_State *L, const void *key, int holding)
{
    lua_createtable(L, 0, 6);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__close");
    if (holding) {
        lua_pushcfunction(L, l_close);
        lua_setfield(L, -2, "__gc");
    }
    lua_pushliteral(L, "Response");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void ab_response_open(lua_State *L)
{
    luaL_newlib(L, methods);
    luaL_setfuncs(L, ab_body_methods, 0);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, fields[i].field);
        lua_setfield(L, -2, fields[i].name);
    }
    lua_pushcclosure(L, l_index, 1);
    make_class(L, &metatable_key, 0);
    make_class(L, &holding_key, 1);
    lua_pop(L, 1);
    ab_head_open(L);
}
