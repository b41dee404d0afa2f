/* http_feed.c - a body that is sent while the script makes it, as
 * http_upload.lua sees it: pieces are put, and wait for room. */
#include "http.h"
#include <uv.h>

static const ab_class feed_class;

int ab_http_new_feed(lua_State *L)
{
    lua_Integer length = luaL_optinteger(L, 1, -1);
    ab_feed **slot = ab_object_new(L, &feed_class, sizeof *slot, 0);
    *slot = ab_feed_new(ab_box_of(L), length);
    if (!*slot)
        return ab_error_raise(L, UV_ENOMEM,
                              &(ab_detail){"http.request", NULL, NULL, NULL});
    return 1;
}

ab_feed *ab_http_feed(lua_State *L, int idx)
{
    ab_feed **slot = ab_object_test(L, idx, &feed_class);
    return slot ? *slot : NULL;
}

static int feed_close(lua_State *L)
{
    ab_feed *feed = ab_object_take(L, &feed_class);
    if (feed)
        ab_feed_free(feed);
    return 0;
}

typedef struct feed_wait {
    ab_op op;
    ab_feed *feed; /* kept by the userdata on the stack of who waits */
} feed_wait;

static int wait_push(lua_State *L, ab_op *op)
{
    if (op->status < 0)
        return ab_error_raise(L, op->status,
                              &(ab_detail){op->type->name, NULL, NULL, NULL});
    lua_pushboolean(L, 1);
    return 1;
}

static void room_cancel(ab_op *op)
{
    ab_feed_unwait(((feed_wait *)op)->feed);
    ab_op_finish(op, UV_ECANCELED);
}

static void end_cancel(ab_op *op)
{
    ab_feed_unwait_sent(((feed_wait *)op)->feed);
    ab_op_finish(op, UV_ECANCELED);
}

static const ab_op_type room_type = {
    "http.upload", sizeof(feed_wait), AB_OP_EXTERNAL,
    wait_push,     room_cancel,       NULL,
    NULL};
static const ab_op_type end_type = {
    "http.upload", sizeof(feed_wait), AB_OP_EXTERNAL,
    wait_push,     end_cancel,        NULL,
    NULL};

/* feed:put(text): waits until there is room for more; gives true, or false
 * (nobody wants more) or nil and the code of what is wrong. */
static int feed_put(lua_State *L)
{
    ab_feed *feed = *(ab_feed **)ab_self(L, &feed_class);
    ab_task_check(L, room_type.name);
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    int err = feed ? ab_feed_put(feed, text, n) : 0;
    if (err) {
        lua_pushnil(L);
        lua_pushstring(L, asyncbox_err_name(err));
        return 2;
    }
    if (!feed || !ab_feed_is_full(feed)) {
        lua_pushboolean(L, feed && !ab_feed_is_over(feed));
        return 1;
    }
    feed_wait *wait = (feed_wait *)ab_op_new(L, &room_type);
    wait->feed = feed;
    ab_feed_wait(feed, &wait->op);
    return ab_task_park(L, &wait->op);
}

/* feed:wait(): until all of it is sent, or nobody wants more. */
static int feed_wait_sent(lua_State *L)
{
    ab_feed *feed = *(ab_feed **)ab_self(L, &feed_class);
    ab_task_check(L, end_type.name);
    if (!feed || ab_feed_is_sent(feed))
        return 0;
    feed_wait *wait = (feed_wait *)ab_op_new(L, &end_type);
    wait->feed = feed;
    ab_feed_wait_sent(feed, &wait->op);
    return ab_task_park(L, &wait->op);
}

/* feed:finish(): true, or false when it is less than its length. */
static int feed_finish(lua_State *L)
{
    ab_feed *feed = *(ab_feed **)ab_self(L, &feed_class);
    lua_pushboolean(L, !feed || ab_feed_end(feed) == 0);
    return 1;
}

static const luaL_Reg feed_methods[] = {{"put", feed_put},
                                        {"finish", feed_finish},
                                        {"wait", feed_wait_sent},
                                        {NULL, NULL}};

static const luaL_Reg feed_metas[] = {
    {"__close", feed_close}, {"__gc", feed_close}, {NULL, NULL}};

static const ab_class feed_class = {"Upload", feed_methods, feed_metas};
