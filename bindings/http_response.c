/* http_response.c - what a fetch gives: status, headers, body.
 *
 * Headers are kept as they came and taken apart when a script asks for them:
 * most never do. */
#include "http.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct response {
    const char *op; /* "http.get": static, for errors */
    int status;
    int64_t elapsed_ns;
    size_t header_bytes;
    char headers[]; /* raw, from the status line on */
} response;

/* User values of a response. */
enum { BODY = 1, URL, HEADERS, USER_VALUES = HEADERS };

static const char metatable_key = 0, header_metatable_key = 0;

/* ---- failures ---- */

static const char *describe(const ab_transfer *t, char *buf, size_t bytes)
{
    double seconds = (double)(t->ended_ns - t->started_ns) / 1e9;
    switch (t->op.status) {
    case UV_EAI_NONAME:
        return "unknown host";
    case UV_ETIMEDOUT:
        snprintf(buf, bytes, "timed out after %.3g s", seconds);
        return buf;
    case ASYNCBOX_EURL:
        return t->redirect ? "redirect to what is no http or https URL" : NULL;
    case ASYNCBOX_ELIMIT:
        if (strcmp(t->limit, "redirects") == 0)
            return "too many redirects";
        if (strcmp(t->limit, "max_headers") == 0)
            snprintf(buf, bytes, "headers of more than %d bytes",
                     AB_TRANSFER_HEADER_MAX);
        else
            snprintf(buf, bytes, "body of more than %zu bytes", t->max_body);
        return buf;
    case ASYNCBOX_ETLS:
    case ASYNCBOX_EHTTP:
        return *ab_transfer_trouble(t) ? ab_transfer_trouble(t) : NULL;
    default:
        return NULL;
    }
}

static int raise_failure(lua_State *L, const ab_transfer *t)
{
    const char *op = t->op.type->name;
    char buf[80];
    int port;
    const char *denied = ab_transfer_denied(t, &port);
    if (t->op.status == ASYNCBOX_EDENIED && *denied)
        ab_grants_check_host(L, op, denied, port); /* knows the words */
    const char *url = ab_transfer_url(t);
    ab_error_push(L, t->op.status,
                  &(ab_detail){op, describe(t, buf, sizeof buf),
                               *url ? "url" : NULL, url});
    if (t->op.status == ASYNCBOX_ELIMIT) {
        lua_pushstring(L, t->limit);
        lua_setfield(L, -2, "limit");
    }
    return lua_error(L);
}

int ab_response_push(lua_State *L, ab_op *op)
{
    const ab_transfer *t = (const ab_transfer *)op;
    if (op->status < 0)
        return raise_failure(L, t);
    luaL_checkstack(L, 3, NULL);
    size_t bytes = t->headers.length;
    response *r = lua_newuserdatauv(L, sizeof *r + bytes, USER_VALUES);
    r->op = op->type->name;
    r->status = t->status;
    r->elapsed_ns = t->ended_ns - t->started_ns;
    r->header_bytes = bytes;
    if (bytes)
        memcpy(r->headers, t->headers.data, bytes);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
    lua_setmetatable(L, -2);
    lua_pushlstring(L, t->body.data ? t->body.data : "", t->body.length);
    lua_setiuservalue(L, -2, BODY);
    lua_pushstring(L, ab_transfer_url(t));
    lua_setiuservalue(L, -2, URL);
    return 1;
}

/* ---- headers ---- */

typedef struct line {
    const char *text, *end; /* without the line break */
} line;

/* Takes the next line off `rest`; 0 when there is none. */
static int next_line(line *rest, line *out)
{
    if (rest->text == rest->end)
        return 0;
    const char *lf = memchr(rest->text, '\n', (size_t)(rest->end - rest->text));
    out->text = rest->text;
    out->end = lf ? lf : rest->end;
    rest->text = lf ? lf + 1 : rest->end;
    if (out->end > out->text && out->end[-1] == '\r')
        out->end--;
    return 1;
}

static int is_blank(char c) { return c == ' ' || c == '\t'; }

static line trim(line l)
{
    while (l.text < l.end && is_blank(*l.text))
        l.text++;
    while (l.end > l.text && is_blank(l.end[-1]))
        l.end--;
    return l;
}

/* Takes the next field off `rest`: its name and its value.  A value that was
 * folded over lines (obsolete, but seen) keeps only its first. */
static int next_field(line *rest, line *name, line *value)
{
    line l;
    while (next_line(rest, &l)) {
        const char *colon = memchr(l.text, ':', (size_t)(l.end - l.text));
        if (!colon || colon == l.text || is_blank(*l.text))
            continue; /* the status line, the last line, folded ones */
        *name = trim((line){l.text, colon});
        *value = trim((line){colon + 1, l.end});
        return 1;
    }
    return 0;
}

static line all_headers(const response *r)
{
    line rest = {r->headers, r->headers + r->header_bytes}, status_line;
    next_line(&rest, &status_line);
    return rest;
}

static void push_line(lua_State *L, line l)
{
    lua_pushlstring(L, l.text, (size_t)(l.end - l.text));
}

static void push_lower(lua_State *L, line l)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (; l.text < l.end; l.text++)
        luaL_addchar(&b, (char)tolower((unsigned char)*l.text));
    luaL_pushresult(&b);
}

static int l_header_index(lua_State *L)
{
    size_t n;
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_tolstring(L, 2, &n);
    push_lower(L, (line){name, name + n});
    lua_rawget(L, 1);
    return 1;
}

/* A table by lower-case name; a repeated header's values are joined. */
static void push_headers(lua_State *L, const response *r)
{
    line rest = all_headers(r), name, value;
    lua_createtable(L, 0, 8);
    int table = lua_gettop(L);
    while (next_field(&rest, &name, &value)) {
        push_lower(L, name);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, table) == LUA_TSTRING) {
            lua_pushliteral(L, ", ");
            push_line(L, value);
            lua_concat(L, 3);
        } else {
            lua_pop(L, 1);
            push_line(L, value);
        }
        lua_rawset(L, table);
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &header_metatable_key);
    lua_setmetatable(L, table);
}

/* ---- the object ---- */

static response *check(lua_State *L)
{
    response *r = lua_touserdata(L, 1);
    int same = 0;
    if (r && lua_getmetatable(L, 1)) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
        same = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    if (!same)
        luaL_typeerror(L, 1, "Response");
    return r;
}

/* What follows the status number: "Not Found". */
static line reason_of(const response *r)
{
    line rest = {r->headers, r->headers + r->header_bytes};
    line l = {r->headers, r->headers};
    next_line(&rest, &l);
    for (int i = 0; i < 2; i++) {
        while (l.text < l.end && !is_blank(*l.text))
            l.text++;
        l = trim(l);
    }
    return l;
}

/* "1.1" of "HTTP/1.1 200 OK". */
static line version_of(const response *r)
{
    line l = {r->headers, r->headers + r->header_bytes};
    if (l.end - l.text < 5)
        return l;
    l.text += 5;
    const char *end = l.text;
    while (end < l.end && !is_blank(*end) && *end != '\r')
        end++;
    l.end = end;
    return l;
}

enum field { STATUS = 1, OK, URL_OF, VERSION, REASON, HEADERS_OF, ELAPSED };

static int l_index(lua_State *L)
{
    const response *r = check(L);
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
    case URL_OF:
        lua_getiuservalue(L, 1, URL);
        break;
    case VERSION:
        push_line(L, version_of(r));
        break;
    case REASON:
        push_line(L, reason_of(r));
        break;
    case HEADERS_OF:
        if (lua_getiuservalue(L, 1, HEADERS) == LUA_TNIL) {
            push_headers(L, r);
            lua_pushvalue(L, -1);
            lua_setiuservalue(L, 1, HEADERS);
        }
        break;
    case ELAPSED:
        lua_pushnumber(L, (lua_Number)r->elapsed_ns / 1e9);
        break;
    }
    return 1;
}

static int l_text(lua_State *L)
{
    check(L);
    lua_getiuservalue(L, 1, BODY);
    return 1;
}

static int l_json(lua_State *L)
{
    check(L);
    luaL_requiref(L, "asyncbox.json", ab_open_json, 0);
    lua_getfield(L, -1, "decode");
    lua_getiuservalue(L, 1, BODY);
    lua_call(L, 1, 1);
    return 1;
}

static int l_header_values(lua_State *L)
{
    const response *r = check(L);
    size_t n;
    const char *wanted = luaL_checklstring(L, 2, &n);
    line rest = all_headers(r), name, value;
    lua_Integer count = 0;
    lua_newtable(L);
    while (next_field(&rest, &name, &value)) {
        if ((size_t)(name.end - name.text) != n ||
            strncasecmp(name.text, wanted, n) != 0)
            continue;
        push_line(L, value);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

static int l_raise_for_status(lua_State *L)
{
    const response *r = check(L);
    lua_settop(L, 1);
    if (r->status < 400)
        return 1;
    lua_pushfstring(L, "%d ", r->status);
    push_line(L, reason_of(r));
    lua_concat(L, 2);
    lua_getiuservalue(L, 1, URL);
    ab_error_push(
        L, ASYNCBOX_EHTTP,
        &(ab_detail){r->op, lua_tostring(L, 2), "url", lua_tostring(L, 3)});
    lua_pushinteger(L, r->status);
    lua_setfield(L, -2, "status");
    return lua_error(L);
}

static int l_tostring(lua_State *L)
{
    const response *r = check(L);
    lua_pushfstring(L, "<Response %d ", r->status);
    lua_getiuservalue(L, 1, URL);
    lua_pushliteral(L, ">");
    lua_concat(L, 3);
    return 1;
}

static const luaL_Reg methods[] = {{"text", l_text},
                                   {"read", l_text},
                                   {"json", l_json},
                                   {"header_values", l_header_values},
                                   {"raise_for_status", l_raise_for_status},
                                   {NULL, NULL}};

static const struct {
    const char *name;
    enum field field;
} fields[] = {{"status", STATUS},   {"ok", OK},         {"url", URL_OF},
              {"version", VERSION}, {"reason", REASON}, {"headers", HEADERS_OF},
              {"elapsed", ELAPSED}};

void ab_response_open(lua_State *L)
{
    lua_createtable(L, 0, 4);
    luaL_newlib(L, methods);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, fields[i].field);
        lua_setfield(L, -2, fields[i].name);
    }
    lua_pushcclosure(L, l_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "Response");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);

    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, l_header_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &header_metatable_key);
}
