/* progress.c - the module asyncbox.progress: the primitives of progress.lua. */
#include "binding.h"
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

extern const char ab_lua_progress[];
extern const size_t ab_lua_progress_len;
extern const char ab_lua_progress_line[];
extern const size_t ab_lua_progress_line_len;

enum { OPTIONS_MAX = 16, COLUMNS = 80, ROWS = 24 };

static int core_misuse(lua_State *L)
{
    return ab_misuse(L, "%s", luaL_checkstring(L, 1));
}

/* options(table, what, name, ...): checks the keys. */
static int core_options(lua_State *L)
{
    const char *known[OPTIONS_MAX + 1] = {NULL};
    int count = lua_gettop(L) - 2;
    for (int i = 0; i < count && i < OPTIONS_MAX; i++)
        known[i] = luaL_checkstring(L, 3 + i);
    ab_options_check(L, 1, luaL_checkstring(L, 2), known);
    return 0;
}

static int from_env(lua_State *L, const char *name, size_t bytes)
{
    const char *text = ab_grants_env_allowed(&ab_box_of(L)->grants, name, bytes)
                           ? getenv(name)
                           : NULL;
    return text ? atoi(text) : 0;
}

/* terminal(): columns and rows, nil when stderr is none. */
static int core_terminal(lua_State *L)
{
    if (!isatty(STDERR_FILENO))
        return 0;
    struct winsize size = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0)
        size.ws_col = size.ws_row = 0;
    int columns = from_env(L, "COLUMNS", 7), rows = from_env(L, "LINES", 5);
    if (columns <= 0)
        columns = size.ws_col ? size.ws_col : COLUMNS;
    if (rows <= 0)
        rows = size.ws_row ? size.ws_row : ROWS;
    lua_pushinteger(L, columns);
    lua_pushinteger(L, rows);
    return 2;
}

/* Is it a Task or Future? */
static int core_is_task(lua_State *L)
{
    lua_pushboolean(L, ab_task_test(L, 1) != NULL);
    return 1;
}

static const luaL_Reg core[] = {
    {"is_task", core_is_task},
    {"misuse", core_misuse},
    {"options", core_options},
    {"terminal", core_terminal},
    {NULL, NULL},
};

int ab_open_progress(lua_State *L)
{
    luaL_requiref(L, "asyncbox", ab_open_async, 0);
    luaL_newlib(L, core);
    ab_lua_part(L, "progress", ab_lua_progress_line, ab_lua_progress_line_len,
                0, 1);
    ab_lua_part(L, "progress", ab_lua_progress, ab_lua_progress_len, 3, 1);
    return 1;
}
