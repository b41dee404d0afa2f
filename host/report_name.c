/* report_name.c - what things are called in reports: functions, tasks, places.
 * See report.h. */
#include "box.h"
#include "report.h"
#include <string.h>

/* ---- functions ---- */

/* Looks for the function at idx in a module: the table on top of the stack,
 * known as `module` (both stay).  Pushes its name and gives 1, or gives 0. */
static int find_in_module(lua_State *L, int idx, const char *module)
{
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, idx, -1))
            continue;
        if (strcmp(module, LUA_GNAME) == 0)
            lua_pushvalue(L, -2);
        else
            lua_pushfstring(L, "%s.%s", module, lua_tostring(L, -2));
        lua_replace(L, table + 1);
        lua_settop(L, table + 1);
        return 1;
    }
    return 0;
}

/* Lua's own modules come first: others hold their functions as well. */
static int find_in_loaded(lua_State *L, int idx, int loaded)
{
    static const char *const own[] = {LUA_GNAME, "coroutine", "table", "string",
                                      "utf8",    "io",        "os",    "math",
                                      "debug",   "asyncbox",  NULL};
    for (int i = 0; own[i]; i++) {
        lua_pushstring(L, own[i]);
        lua_rawget(L, loaded);
        if (lua_istable(L, -1) && find_in_module(L, idx, own[i]))
            return 1;
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); lua_next(L, loaded); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING && lua_istable(L, -1) &&
            find_in_module(L, idx, lua_tostring(L, -2)))
            return 1;
    return 0;
}

int ab_report_function_name(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    int top = lua_gettop(L);
    if (!lua_checkstack(L, 10))
        return 0;
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_istable(L, -1) && find_in_loaded(L, idx, top + 1)) {
        lua_replace(L, top + 1);
        lua_settop(L, top + 1);
        return 1;
    }
    lua_settop(L, top);
    return 0;
}

int ab_report_yieldable(lua_State *L, int idx)
{
    static const char *const known[] = {"pcall",   "xpcall", "dofile",
                                        "require", "error",  NULL};
    if (!ab_report_function_name(L, idx))
        return 0;
    const char *name = lua_tostring(L, -1);
    int found = (strncmp(name, "coroutine.", 10) == 0 &&
                 strcmp(name, "coroutine.close") != 0) ||
                strncmp(name, "asyncbox", 8) == 0;
    for (int i = 0; known[i] && !found; i++)
        found = strcmp(name, known[i]) == 0;
    lua_pop(L, 1);
    return found;
}

/* ---- places and tasks ---- */

void ab_report_place(lua_State *L, uint16_t source, int32_t line)
{
    if (!source) {
        lua_pushliteral(L, "");
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, ab_box_of(L)->sources_ref);
    lua_rawgeti(L, -1, source);
    lua_pushfstring(L, "%s:%d", lua_tostring(L, -1), (int)line);
    lua_insert(L, -3);
    lua_pop(L, 2);
}

static const char names_key = 0;

void ab_report_set_name(lua_State *L, int idx)
{
    ab_task *task = lua_touserdata(L, idx);
    idx = lua_absindex(L, idx);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "k");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &names_key);
    }
    lua_pushvalue(L, idx);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 2);
    task->flags |= AB_TASK_NAMED;
}

void ab_report_name(lua_State *L, int idx)
{
    ab_task *task = lua_touserdata(L, idx);
    if (!(task->flags & AB_TASK_NAMED)) {
        lua_pushfstring(L, "Task-%d", (int)task->id);
        return;
    }
    idx = lua_absindex(L, idx);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key);
    lua_pushvalue(L, idx);
    lua_rawget(L, -2);
    lua_remove(L, -2);
}

void ab_task_push(lua_State *L, const ab_task *task)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ab_task_box(task)->tasks_ref);
    lua_rawgeti(L, -1, task->slot);
    lua_remove(L, -2);
}

void ab_report_who(lua_State *L, int idx)
{
    ab_task *task = lua_touserdata(L, idx);
    if (task->flags & AB_TASK_FUTURE) {
        ab_report_place(L, task->source, task->line);
        lua_pushfstring(L, "a future, made at %s", lua_tostring(L, -1));
        lua_remove(L, -2);
        return;
    }
    ab_report_name(L, idx);
    ab_report_place(L, task->source, task->line);
    const char *place = lua_tostring(L, -1);
    lua_pushfstring(L, *place ? "task '%s', spawned at %s" : "task '%s'",
                    lua_tostring(L, -2), place);
    lua_insert(L, -3);
    lua_pop(L, 2);
}
