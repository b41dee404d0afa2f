/* http_body.c - the body of a response: read at once or in pieces.
 *
 * Every method looks at what is there, a string or what the transfer has
 * received, takes what it can use, and else waits for more. */
#include "http.h"
#include <stdint.h>
#include <string.h>

#define CHUNK ((size_t)64 << 10)
#define LINE_MAX_BYTES ((lua_Integer)1 << 20)

/* The methods that may wait.  CONVERT: what becomes of the whole body. */
enum method { READ, TEXT, JSON, HTML, CHUNKS, LINES, FILL, METHODS };

static int waited(lua_State *L, ab_op *op)
{
    (void)L;
    ab_transfer_waited((ab_transfer_wait *)op);
    return 0; /* the continuation looks for itself */
}

#define TYPE(text)                                                             \
    {                                                                          \
        .name = (text), .size = sizeof(ab_transfer_wait),                      \
        .flags = AB_OP_EXTERNAL, .push = waited,                               \
        .cancel = ab_transfer_wait_cancel, .drop = ab_transfer_wait_drop       \
    }

static const ab_op_type types[METHODS] = {
    [READ] = TYPE("response:read"),     [TEXT] = TYPE("response:text"),
    [HTML] = TYPE("response:html"),     [JSON] = TYPE("response:json"),
    [CHUNKS] = TYPE("response:chunks"), [LINES] = TYPE("response:lines"),
    [FILL] = TYPE("response:save")};

/* ---- what is there ---- */

typedef struct view {
    const char *data;
    size_t bytes;
    int over;    /* no more will come */
    int failure; /* after what is there */
} view;

static int raise_closed(lua_State *L, const char *op)
{
    return ab_error_raise(
        L, ASYNCBOX_ECLOSED,
        &(ab_detail){op, "the response is closed", NULL, NULL});
}

/* BODY, if there is one, stays alive as long as the response does. */
static view look(lua_State *L, const ab_response *r, const char *op)
{
    if (r->closed)
        raise_closed(L, op);
    const ab_transfer *t = r->transfer;
    if (t)
        return (view){ab_transfer_data(t), ab_transfer_unread(t), t->done,
                      t->failure};
    size_t bytes = 0;
    lua_getiuservalue(L, 1, AB_RESPONSE_BODY);
    const char *data = lua_tolstring(L, -1, &bytes);
    lua_pop(L, 1);
    return (view){data + r->at, bytes - r->at, 1, 0};
}

static void take(ab_response *r, size_t n)
{
    r->taken = !r->whole;
    if (r->transfer)
        ab_transfer_take(r->transfer, n);
    else
        r->at += n;
}

/* Between two waits of a save, too: else each would get a part of the body. */
static void refuse_saving(lua_State *L, const ab_response *r, const char *op)
{
    if (r->saving)
        luaL_error(L, "%s: another task is saving this response", op);
}

/* What a wait may take: a whole body twice, as the string is made of it. */
static size_t room_for(const ab_transfer *t, size_t want)
{
    int64_t length = want == SIZE_MAX ? ab_transfer_length(t) : -1;
    return length < 0 || length > INT32_MAX ? 2 * AB_TRANSFER_AHEAD
                                            : 2 * (size_t)length;
}

/* Waits until there are `want` bytes or no more will come, then goes on. */
static int wait_for(lua_State *L, const ab_response *r, enum method method,
                    size_t want, lua_KContext ctx, lua_KFunction k)
{
    const ab_op_type *type = &types[method];
    ab_task_check(L, type->name);
    if (ab_transfer_busy(r->transfer))
        luaL_error(L, "%s: another task is reading this response", type->name);
    ab_box_make_room(L, room_for(r->transfer, want));
    ab_transfer_wait *w = (ab_transfer_wait *)ab_op_new(L, type);
    if (!r->transfer) { /* a finalizer that ran meanwhile closed it */
        ab_op_free(&w->op);
        return raise_closed(L, type->name);
    }
    ab_transfer_await(r->transfer, w, want);
    return ab_task_parkk(L, &w->op, ctx, k);
}

/* ---- telling how far it is ---- */

static void push_total(lua_State *L, const ab_response *r)
{
    const char *encoding;
    size_t bytes;
    int64_t total = -1;
    if (!r->transfer || r->transfer->done)
        total = -1;
    else if (!ab_head_find(r->head, r->head_bytes, "Content-Encoding",
                           &encoding, &bytes))
        total = ab_transfer_length(r->transfer);
    if (total < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, total);
}

static uint64_t received(lua_State *L, const ab_response *r)
{
    if (r->transfer)
        return r->transfer->received;
    lua_getiuservalue(L, 1, AB_RESPONSE_BODY);
    uint64_t n = lua_rawlen(L, -1);
    lua_pop(L, 1);
    return n;
}

/* Calls on_progress, which may wait, and goes on with k. */
static int tell(lua_State *L, ab_response *r, lua_KContext ctx, lua_KFunction k)
{
    uint64_t n = received(L, r);
    if (n == r->told || r->closed || !r->tells)
        return k(L, LUA_OK, ctx);
    lua_getiuservalue(L, 1, AB_RESPONSE_PROGRESS);
    r->told = n;
    lua_pushinteger(L, (lua_Integer)n);
    push_total(L, r);
    lua_callk(L, 2, 0, ctx, k);
    return k(L, LUA_OK, ctx);
}

/* ---- all of it ----
 * Stack: 1 the response, 2 the charset of text. */

static int given(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    (void)ctx;
    return 1;
}

/* Gives f(the string on top), f being a module's function, which may wait. */
static int give_to(lua_State *L, const char *module, lua_CFunction open,
                   const char *name)
{
    luaL_requiref(L, module, open, 0);
    lua_getfield(L, -1, name);
    lua_pushvalue(L, -3);
    lua_callk(L, 1, 1, 0, given);
    return given(L, LUA_OK, 0);
}

static int convert(lua_State *L, const ab_response *r, enum method method)
{
    const char *charset;
    size_t bytes = 0;
    if (method == JSON) { /* UTF-8, whatever a header says, or marked */
        ab_http_decode(L, types[method].name, NULL, 0);
        return give_to(L, "asyncbox.json", ab_open_json, "decode");
    }
    if (method != TEXT && method != HTML)
        return 1;
    charset = lua_tolstring(L, 2, &bytes);
    if (!charset)
        ab_http_find_charset(r, &charset, &bytes);
    if (method == HTML && !bytes)
        ab_http_meta_charset(L, &charset, &bytes);
    ab_http_decode(L, types[method].name, charset, bytes);
    if (method == HTML)
        return give_to(L, "asyncbox.html", ab_open_html, "parse");
    return 1;
}

static int give_all(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    enum method method = (enum method)ctx;
    ab_response *r = ab_response_self(L);
    const char *op = types[method].name;
    lua_settop(L, 2);
    if (r->transfer)
        ab_box_make_room(L, ab_transfer_unread(r->transfer));
    view v = look(L, r, op);
    ab_transfer *t = r->transfer;
    if (v.failure)
        return ab_http_raise(L, t, op, v.failure);
    if (t) {
        lua_pushlstring(L, v.data, v.bytes);
        lua_setiuservalue(L, 1, AB_RESPONSE_BODY);
        r->transfer = NULL;
        ab_transfer_unref(t);
    }
    r->whole = 1;
    lua_getiuservalue(L, 1, AB_RESPONSE_BODY);
    return convert(L, r, method);
}

/* After each wait, or at once. */
static int need_all(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    enum method method = (enum method)ctx;
    ab_response *r = ab_response_self(L);
    lua_settop(L, 2);
    view v = look(L, r, types[method].name);
    if (v.over)
        return tell(L, r, ctx, give_all);
    if (!r->tells)
        return wait_for(L, r, method, SIZE_MAX, ctx, give_all);
    if (r->told != r->transfer->received)
        return tell(L, r, ctx, need_all);
    return wait_for(L, r, method, v.bytes + 1, ctx, need_all);
}

static void refuse_taken(lua_State *L, const ab_response *r, const char *op)
{
    if (r->closed)
        raise_closed(L, op);
    refuse_saving(L, r, op);
    if (r->taken)
        ab_misuse(L, "%s: chunks, lines or save took some of the body already",
                  op);
}

static int all(lua_State *L, enum method method)
{
    ab_response *r = ab_response_self(L);
    refuse_taken(L, r, types[method].name);
    lua_settop(L, 2);
    if (!r->transfer && !r->tells) { /* as most: it is there */
        r->whole = 1;
        lua_getiuservalue(L, 1, AB_RESPONSE_BODY);
        return method == READ ? 1 : convert(L, r, method);
    }
    return need_all(L, LUA_OK, (lua_KContext)method);
}

static int l_read(lua_State *L) { return all(L, READ); }

static int all_text(lua_State *L, enum method method)
{
    if (!lua_isnoneornil(L, 2))
        luaL_checkstring(L, 2);
    return all(L, method);
}

static int l_text(lua_State *L) { return all_text(L, TEXT); }

static int l_html(lua_State *L) { return all_text(L, HTML); }

static int l_json(lua_State *L) { return all(L, JSON); }

/* ---- pieces ----
 * Iterators are closures over the response and a number; in their calls the
 * stack is: 1 the response, 2 that number. */

static int next_chunk(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    enum method method = (enum method)ctx;
    ab_response *r = ab_response_self(L);
    lua_settop(L, 2);
    size_t max = (size_t)lua_tointeger(L, 2);
    view v = look(L, r, types[method].name);
    if (v.bytes) {
        size_t n = v.bytes < max ? v.bytes : max;
        lua_pushlstring(L, v.data, n); /* may raise: nothing is lost */
        take(r, n);
        return 1;
    }
    if (v.failure)
        return ab_http_raise(L, r->transfer, types[method].name, v.failure);
    if (!v.over)
        return wait_for(L, r, method, 1, ctx, next_chunk);
    lua_pushnil(L);
    return 1;
}

/* Stack besides: 3 how much was looked through. */
static int next_line(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    ab_response *r = ab_response_self(L);
    const char *op = types[LINES].name;
    size_t max = (size_t)lua_tointeger(L, 2), seen = (size_t)ctx;
    lua_settop(L, 2);
    view v = look(L, r, op);
    const char *lf =
        v.bytes > seen ? memchr(v.data + seen, '\n', v.bytes - seen) : NULL;
    size_t n = lf ? (size_t)(lf - v.data) : v.bytes;
    if (n > max) {
        lua_pushfstring(L, "a line of more than %I bytes", (LUAI_UACINT)max);
        return ab_error_raise(
            L, ASYNCBOX_ELIMIT,
            &(ab_detail){op, lua_tostring(L, -1), "limit", "max"});
    }
    if (!lf && !v.over)
        return wait_for(L, r, LINES, v.bytes + 1, (lua_KContext)v.bytes,
                        next_line);
    if (!lf && v.failure)
        return ab_http_raise(L, r->transfer, op, v.failure);
    if (!lf && !n) {
        lua_pushnil(L);
        return 1;
    }
    size_t shown = lf && n && v.data[n - 1] == '\r' ? n - 1 : n;
    lua_pushlstring(L, v.data, shown);
    take(r, lf ? n + 1 : n);
    return 1;
}

static int l_next_chunk(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    refuse_saving(L, ab_response_self(L), types[CHUNKS].name);
    return next_chunk(L, LUA_OK, CHUNKS);
}

static int l_next_line(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    refuse_saving(L, ab_response_self(L), types[LINES].name);
    return next_line(L, LUA_OK, 0);
}

static int l_chunks(lua_State *L)
{
    ab_response_self(L);
    lua_Integer n = luaL_optinteger(L, 2, CHUNK);
    luaL_argcheck(L, n >= 1, 2, "a number of bytes from 1 expected");
    lua_pushvalue(L, 1);
    lua_pushinteger(L, n);
    lua_pushcclosure(L, l_next_chunk, 2);
    return 1;
}

static int l_lines(lua_State *L)
{
    static const char *const known[] = {"max", NULL};
    ab_response_self(L);
    ab_options_check(L, 2, types[LINES].name, known);
    lua_Integer max =
        ab_option_integer(L, 2, "max", LINE_MAX_BYTES, 0, LUA_MAXINTEGER);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, max);
    lua_pushcclosure(L, l_next_line, 2);
    return 1;
}

/* ---- to the disk: http_save.c ---- */

int ab_response_begin(lua_State *L)
{
    ab_response *r = ab_response_self(L);
    const char *op = types[FILL].name;
    if (!lua_isnoneornil(L, 2) && !lua_isfunction(L, 2))
        return ab_misuse(L, "%s: on_progress must be a function, got %s", op,
                         luaL_typename(L, 2));
    lua_settop(L, 2);
    refuse_taken(L, r, op);
    if (lua_isnil(L, 2)) {
        lua_getiuservalue(L, 1, AB_RESPONSE_PROGRESS);
        lua_replace(L, 2);
    }
    if (r->transfer && ab_transfer_busy(r->transfer))
        luaL_error(L, "%s: another task is reading this response", op);
    r->at = 0;
    push_total(L, r);
    r->saving = 1;
    return 2;
}

int ab_response_release(lua_State *L)
{
    ab_response_self(L)->saving = 0;
    return 0;
}

static int fill(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    ab_response *r = ab_response_self(L);
    const char *op = types[FILL].name;
    lua_settop(L, 1);
    view v = look(L, r, op);
    if (!v.bytes && v.failure)
        return ab_http_raise(L, r->transfer, op, v.failure);
    if (!v.bytes && !v.over)
        return wait_for(L, r, FILL, 1, ctx, fill);
    lua_pushboolean(L, v.bytes > 0);
    return 1;
}

int ab_response_fill(lua_State *L) { return fill(L, LUA_OK, 0); }

const char *ab_response_rest(lua_State *L, const ab_response *r, const char *op,
                             size_t *bytes)
{
    view v = look(L, r, op);
    *bytes = v.bytes;
    return v.data;
}

int ab_response_saved(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L);
}

const luaL_Reg ab_body_methods[] = {
    {"read", l_read},     {"html", l_html},   {"text", l_text},
    {"json", l_json},     {"lines", l_lines}, {"save", ab_response_save},
    {"chunks", l_chunks}, {NULL, NULL}};
