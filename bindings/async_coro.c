/* async_coro.c - async functions and the coroutine objects that they make. */
#include "async.h"

typedef struct coroobj {
    int nargs;
    int used;        /* NEW, USED, or CLAIMED by a gather that will take it */
    uint16_t source; /* where it was made */
    int32_t line;
} coroobj;

enum { NEW, USED, CLAIMED };
enum { FN = 1, NAME = 2 }; /* upvalues of an async function */

static int call_async(lua_State *L);

/* ---- async functions ---- */

int ab_async_make(lua_State *L)
{
    luaL_argexpected(L, lua_isfunction(L, 1), 1, "function");
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TSTRING);
    lua_settop(L, 2);
    if (lua_isnil(L, 2))
        lua_pushboolean(L, 0), lua_replace(L, 2);
    lua_pushcclosure(L, call_async, 2);
    return 1;
}

int ab_async_is(lua_State *L, int idx)
{
    return lua_tocfunction(L, idx) == call_async;
}

void ab_async_name(lua_State *L, int idx)
{
    if (!ab_async_is(L, idx))
        lua_pushnil(L);
    else if (lua_getupvalue(L, idx, NAME) && !lua_isstring(L, -1))
        lua_pop(L, 1), lua_pushnil(L);
}

/* ---- coroutine objects ---- */

/* "answer", for messages; "?" when nobody has named it. */
static const char *push_name(lua_State *L, int idx)
{
    lua_getiuservalue(L, idx, 1);
    ab_async_name(L, -1);
    lua_remove(L, -2);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushliteral(L, "?");
    }
    return lua_tostring(L, -1);
}

static int coroobj_tostring(lua_State *L)
{
    lua_pushfstring(L, "<coroutine object %s at %p>", push_name(L, 1),
                    lua_topointer(L, 1));
    return 1;
}

static void push_place(lua_State *L, const coroobj *c)
{
    ab_report_place(L, c->source, c->line);
}

static int coroobj_gc(lua_State *L)
{
    coroobj *c = lua_touserdata(L, 1);
    ab_box *box = ab_box_of(L);
    if (c->used || box->failed || box->stopped || box->exiting)
        return 0;
    const char *name = push_name(L, 1);
    push_place(L, c);
    lua_pushfstring(L,
                    "asyncbox: warning: coroutine object '%s', made at %s, "
                    "was never awaited",
                    name, lua_tostring(L, -1));
    size_t bytes;
    const char *text = lua_tolstring(L, -1, &bytes);
    ab_report(box, text, bytes);
    return 0;
}

static int coroobj_await(lua_State *L)
{
    lua_settop(L, 1);
    return ab_await(L);
}

static const luaL_Reg methods[] = {{"await", coroobj_await}, {NULL, NULL}};
static const luaL_Reg metas[] = {
    {"__gc", coroobj_gc}, {"__tostring", coroobj_tostring}, {NULL, NULL}};
static const ab_class coroobj_class = {"coroutine object", methods, metas};

/* The name by which the caller knows the function that it calls. */
static void learn_name(lua_State *L)
{
    lua_Debug ar;
    if (!lua_getstack(L, 0, &ar) || !lua_getinfo(L, "n", &ar) || !ar.name ||
        ar.name[0] == '?' || ar.name[0] == '(')
        return;
    lua_pushstring(L, ar.name);
    lua_replace(L, lua_upvalueindex(NAME));
}

static int call_async(lua_State *L)
{
    if (!lua_toboolean(L, lua_upvalueindex(NAME)))
        learn_name(L);
    int nargs = lua_gettop(L);
    luaL_argcheck(L, nargs < 250, nargs, "too many arguments");
    coroobj *c = ab_object_new(L, &coroobj_class, sizeof *c, nargs + 1);
    c->nargs = nargs;
    c->used = USED; /* until it is whole */
    lua_Debug ar;
    if (lua_getstack(L, 0, &ar)) {
        lua_getinfo(L, "f", &ar);
        lua_setiuservalue(L, nargs + 1, 1);
    }
    for (int i = 1; i <= nargs; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, nargs + 1, i + 1);
    }
    ab_task_place(L, &c->source, &c->line);
    c->used = NEW;
    return 1;
}

int ab_coroobj_test(lua_State *L, int idx)
{
    return ab_object_test(L, idx, &coroobj_class) != NULL;
}

/* Raises unless the coroutine object at idx is in this state. */
static coroobj *check_state(lua_State *L, int idx, const char *what, int state)
{
    coroobj *c = lua_touserdata(L, idx);
    if (c->used != state) {
        push_place(L, c);
        ab_misuse(L,
                  "%s: coroutine object '%s', made at %s, was awaited "
                  "already; call the async function again for another",
                  what, push_name(L, idx), lua_tostring(L, -1));
    }
    return c;
}

void ab_coroobj_claim(lua_State *L, int idx, const char *what)
{
    idx = lua_absindex(L, idx);
    check_state(L, idx, what, NEW)->used = CLAIMED;
}

int ab_coroobj_take(lua_State *L, int idx, const char *what)
{
    idx = lua_absindex(L, idx);
    coroobj *c = lua_touserdata(L, idx);
    if (c->used != CLAIMED)
        check_state(L, idx, what, NEW);
    luaL_checkstack(L, c->nargs + 4, "too many arguments");
    c->used = USED;
    lua_getiuservalue(L, idx, 1);
    lua_getupvalue(L, -1, FN);
    for (int i = 1; i <= c->nargs; i++)
        lua_getiuservalue(L, idx, i + 1);
    return c->nargs;
}
