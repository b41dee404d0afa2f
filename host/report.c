/* report.c - see report.h. */
#include "report.h"
#include "box.h"
#include "coro.h"
#include "error.h"
#include <stdio.h>
#include <string.h>

void ab_report(ab_box *box, const char *text, size_t bytes)
{
    if (box->config.report) {
        box->config.report(box->config.report_arg, text, bytes);
        return;
    }
    if (box->outputs.err) {
        ab_outputs_say(&box->outputs, text, bytes, "\n");
        return;
    }
    fflush(stdout); /* in the order in which it happened */
    fwrite(text, 1, bytes, stderr);
    fputc('\n', stderr);
    fflush(stderr);
}

int ab_report_internal(const char *source)
{
    return strncmp(source, "=[asyncbox", 10) == 0;
}

void ab_report_where(lua_State *L)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && !ab_report_internal(ar.source)) {
            lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
            return;
        }
    }
    lua_pushliteral(L, "");
}

/* ---- tracebacks ---- */

static void add_function(luaL_Buffer *b, lua_State *L, lua_State *of,
                         lua_Debug *ar)
{
    int named = 0;
    if (lua_checkstack(of, 1) && lua_getinfo(of, "f", ar)) {
        lua_xmove(of, L, 1);
        named = ab_report_function_name(L, -1);
        if (named) {
            lua_remove(L, -2);
            lua_pushfstring(L, "function '%s'", lua_tostring(L, -1));
            lua_remove(L, -2);
        } else {
            lua_pop(L, 1);
        }
    }
    if (!named) {
        if (*ar->namewhat)
            lua_pushfstring(L, "%s '%s'", ar->namewhat, ar->name);
        else if (*ar->what == 'm')
            lua_pushliteral(L, "main chunk");
        else
            lua_pushfstring(L, "function <%s:%d>", ar->short_src,
                            ar->linedefined);
    }
    luaL_addvalue(b);
}

enum { TRACE_HEAD = 20, TRACE_TAIL = 10 };

int ab_report_depth(lua_State *of)
{
    lua_Debug ar;
    int low = 1, high = 1;
    while (lua_getstack(of, high, &ar)) {
        low = high;
        high *= 2;
    }
    while (low < high) {
        int middle = (low + high) / 2;
        if (lua_getstack(of, middle, &ar))
            low = middle + 1;
        else
            high = middle;
    }
    return high;
}

static int is_internal(lua_State *of, int level)
{
    lua_Debug ar;
    return lua_getstack(of, level, &ar) && lua_getinfo(of, "S", &ar) &&
           ab_report_internal(ar.source);
}

/* How asyncbox looks inside is nobody's business: of its own frames only the
 * outermost is shown, as the function that the script called. */
static int is_hidden(lua_State *L, lua_State *of, int level, lua_Debug *ar)
{
    int is_c = strcmp(ar->what, "C") == 0;
    if (is_c && (!*ar->namewhat || is_internal(of, level + 1)))
        return 1;
    if (is_c || !ab_report_internal(ar->source))
        return 0;
    if (is_internal(of, level + 1) || !lua_checkstack(of, 1))
        return 1;
    lua_getinfo(of, "f", ar);
    lua_xmove(of, L, 1);
    int named = ab_report_function_name(L, -1);
    lua_pop(L, 1 + named);
    return !named;
}

/* Adds a line per frame; asyncbox's own Lua parts and nameless C functions
 * (the body of a task) are left out. */
static void add_frames(luaL_Buffer *b, lua_State *L, lua_State *of, int level)
{
    lua_Debug ar;
    int depth = ab_report_depth(of), shown = 0;
    for (; lua_getstack(of, level, &ar); level++) {
        lua_getinfo(of, "Slnt", &ar);
        if (is_hidden(L, of, level, &ar))
            continue;
        if (shown++ == TRACE_HEAD && depth - level > TRACE_TAIL) {
            lua_pushfstring(L, "\n\t...\t(%d levels)",
                            depth - level - TRACE_TAIL);
            luaL_addvalue(b);
            level = depth - TRACE_TAIL - 1;
            continue;
        }
        int ours = ab_report_internal(ar.source);
        lua_pushfstring(L, "\n\t%s:", ours ? "[C]" : ar.short_src);
        luaL_addvalue(b);
        if (ar.currentline > 0 && !ours) {
            lua_pushfstring(L, "%d:", ar.currentline);
            luaL_addvalue(b);
        }
        luaL_addstring(b, " in ");
        add_function(b, L, of, &ar);
        if (ar.istailcall)
            luaL_addstring(b, "\n\t(...tail calls...)");
    }
}

void ab_report_traceback(lua_State *L, lua_State *of, int level)
{
    luaL_Buffer b;
    luaL_checkstack(L, 12, NULL);
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "stack traceback:");
    add_frames(&b, L, of, level);
    luaL_pushresult(&b);
}

/* ---- the trace slot: {error, traceback, number of the task} ---- */

enum { TRACE_ERROR = 1, TRACE_TEXT, TRACE_TASK };

static void push_slot(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ab_box_of(L)->trace_ref);
}

/* The slot's fields are there from the start: setting them takes no memory. */
void ab_report_set_trace(lua_State *L, uint32_t task)
{
    push_slot(L);
    lua_insert(L, -3);
    lua_rawseti(L, -3, TRACE_TEXT);
    lua_rawseti(L, -2, TRACE_ERROR);
    lua_pushinteger(L, task);
    lua_rawseti(L, -2, TRACE_TASK);
    lua_pop(L, 1);
}

int ab_report_get_trace(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    push_slot(L);
    lua_rawgeti(L, -1, TRACE_TEXT);
    lua_rawgeti(L, -2, TRACE_ERROR);
    int same = lua_isstring(L, -2) && lua_rawequal(L, idx, -1);
    lua_pop(L, 1);
    lua_remove(L, -2);
    if (!same)
        lua_pop(L, 1);
    return same;
}

int ab_report_rethrow(lua_State *L)
{
    if (ab_report_get_trace(L, -1)) {
        lua_pop(L, 1);
        ab_box_of(L)->rethrowing = 1;
    }
    return lua_error(L);
}

/* 1 when the error at 1 is on its way out and has been seen in this task: then
 * its traceback stands.  `*origin`: it comes from another task, whose
 * traceback is pushed. */
static int seen_before(lua_State *L, ab_box *box, int *origin)
{
    *origin = 0;
    if (!box->rethrowing)
        return 0;
    box->rethrowing = 0;
    if (!ab_report_get_trace(L, 1))
        return 0;
    push_slot(L);
    lua_rawgeti(L, -1, TRACE_TASK);
    int same = lua_tointeger(L, -1) == (lua_Integer)box->current->id;
    lua_pop(L, 2);
    *origin = !same;
    return same;
}

/* A traceback through many tasks grows no further than this: each keeps one. */
enum { TRACE_BYTES = 16384 };

/* Puts the frames of the running task after the text on top of the stack. */
static void add_task_frames(lua_State *L, const ab_task *task)
{
    int text = lua_gettop(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    lua_pushvalue(L, text);
    luaL_addvalue(&b);
    add_frames(&b, L, L, 1);
    ab_task_push(L, task);
    ab_report_who(L, -1);
    lua_remove(L, -2);
    lua_pushfstring(L, "\n\t[%s]", lua_tostring(L, -1));
    lua_remove(L, -2);
    luaL_addvalue(&b);
    if (luaL_bufflen(&b) >= TRACE_BYTES)
        luaL_addstring(&b, "\n\t...");
    luaL_pushresult(&b);
}

int ab_report_handler(lua_State *L)
{
    ab_box *box = ab_box_of(L);
    ab_task *task = box->current;
    if (!task || ab_error_is(L, 1, UV_ECANCELED))
        return 1; /* on its way out: nobody will read a traceback */
    lua_settop(L, 1);
    luaL_checkstack(L, 16, NULL);
    int origin;
    if (seen_before(L, box, &origin)) {
        lua_settop(L, 1);
        return 1;
    }
    if (!origin)
        lua_pushliteral(L, "stack traceback:");
    if (lua_rawlen(L, 2) < TRACE_BYTES)
        add_task_frames(L, task);
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    ab_report_set_trace(L, task->id);
    lua_settop(L, 1);
    return 1; /* the error as it was: scripts may see it (load in a task) */
}

/* ---- failures ---- */

/* Says which limit it was, when memory ran out because of ours. */
static const char *limit_hint(lua_State *L, int idx)
{
    const ab_limits *limits = &ab_box_of(L)->limits;
    if (!limits->hit || strcmp(lua_tostring(L, idx), "not enough memory") != 0)
        return "";
    return lua_pushfstring(L, " (the limit is %I KiB; --memory sets another)",
                           (LUAI_UACINT)(limits->cap_bytes / 1024));
}

void ab_report_no_memory(ab_box *box)
{
    char text[120] = "asyncbox: not enough memory";
    if (box->limits.hit)
        snprintf(text, sizeof text,
                 "asyncbox: not enough memory (the limit is %zu KiB; "
                 "--memory sets another)",
                 (size_t)(box->limits.cap_bytes / 1024));
    ab_report(box, text, strlen(text));
}

static int push_failure(lua_State *L)
{
    ab_task *task = lua_touserdata(L, 1);
    int plain = lua_toboolean(L, 2);
    lua_settop(L, 1);
    int traced = ab_task_push_error(L, 1, task);
    if (plain || !luaL_callmeta(L, 2, "__tostring") || !lua_isstring(L, -1))
        ab_error_text(L, 2);
    const char *text = lua_tostring(L, -1);
    const char *hint = limit_hint(L, -1);
    if (traced) {
        lua_pushvalue(L, 3);
    } else {
        ab_report_who(L, 1);
        lua_pushfstring(L, "\t[%s]", lua_tostring(L, -1));
    }
    lua_pushfstring(L, "asyncbox: %s%s\n%s", text, hint, lua_tostring(L, -1));
    return 1;
}

void ab_report_failure(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    int top = lua_gettop(L);
    ab_task *task = lua_touserdata(L, idx);
    ab_box *box = ab_task_box(task);
    if (!lua_checkstack(L, 5))
        return;
    int status = LUA_ERRRUN; /* no code of a script that is not trusted */
    for (int plain = box->sandbox; plain < 2 && status == LUA_ERRRUN; plain++) {
        lua_settop(L, top);
        lua_pushcfunction(L, push_failure);
        lua_pushvalue(L, idx);
        lua_pushboolean(L, plain); /* when __tostring fails */
        status = lua_pcall(L, 2, 1, 0);
    }
    if (status == LUA_OK) {
        size_t bytes;
        const char *text = lua_tolstring(L, -1, &bytes);
        snprintf(box->error_text, sizeof box->error_text, "%s", text);
        ab_report(box, text, bytes);
    } else {
        ab_report_no_memory(box);
    }
    lua_pop(L, 1);
}

/* ---- deadlocks ---- */

static void push_wait_place(lua_State *L, lua_State *co)
{
    for (lua_State *inner; (inner = ab_coro_inner(co));)
        co = inner;
    lua_Debug ar;
    for (int level = 0; lua_getstack(co, level, &ar); level++) {
        lua_getinfo(co, "Sl", &ar);
        if (ar.currentline > 0 && !ab_report_internal(ar.source)) {
            lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
            return;
        }
    }
    lua_pushliteral(L, "?");
}

static void push_wait_reason(lua_State *L, const ab_task *task)
{
    if (task->kind == AB_WAIT_OP) {
        lua_pushstring(L, task->wait.op->type->name);
    } else if (task->kind == AB_WAIT_JOIN) {
        const ab_task *other = task->wait.joined;
        if (other->flags & AB_TASK_FUTURE) {
            ab_report_place(L, other->source, other->line);
            lua_pushfstring(L, "a future made at %s", lua_tostring(L, -1));
        } else {
            ab_task_push(L, other);
            ab_report_name(L, -1);
            lua_pushfstring(L, "task '%s'", lua_tostring(L, -1));
            lua_remove(L, -2);
        }
        lua_remove(L, -2);
    } else {
        lua_pushliteral(L, "?");
    }
}

static int push_deadlock(lua_State *L)
{
    ab_box *box = ab_box_of(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "asyncbox: deadlock: nothing is left that could wake "
                       "these tasks:");
    for (uint32_t slot = 1; slot <= box->slots; slot++) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, box->tasks_ref);
        lua_rawgeti(L, -1, slot);
        lua_remove(L, -2);
        ab_task *task = lua_touserdata(L, -1);
        if (!task) {
            lua_pop(L, 1);
            continue;
        }
        ab_report_who(L, -1);
        push_wait_place(L, task->co);
        push_wait_reason(L, task);
        lua_pushfstring(L, "\n\t%s, which waits at %s for %s",
                        lua_tostring(L, -3), lua_tostring(L, -2),
                        lua_tostring(L, -1));
        lua_replace(L, -5);
        lua_pop(L, 3);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    return 1;
}

void ab_report_deadlock(ab_box *box)
{
    lua_State *L = box->L;
    lua_pushcfunction(L, push_deadlock);
    if (lua_pcall(L, 0, 1, 0) == LUA_OK) {
        size_t bytes;
        const char *text = lua_tolstring(L, -1, &bytes);
        ab_report(box, text, bytes);
    }
    lua_pop(L, 1);
}
