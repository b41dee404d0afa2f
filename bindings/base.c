/* base.c - what of Lua's own library is replaced, and what a sandbox lacks. */
#include "binding.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- os.exit ---- */

static int never(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return luaL_error(L, "the script has ended the program");
}

/* Stops the box: the task is suspended for ever, the host closes the box (all
 * <close> variables run) and gets the status. */
static int l_exit(lua_State *L)
{
    int status = EXIT_SUCCESS;
    if (lua_isboolean(L, 1))
        status = lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
    else
        status = (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    ab_box *box = ab_box_of(L);
    box->exiting = 1;
    box->exit_status = status & 0xff;
    ab_task *task = box->current;
    if (!task || L != box->running || !lua_isyieldable(L) ||
        (box->nest && box->nest->blocked))
        return ab_error_raise(L, ASYNCBOX_EEXIT,
                              &(ab_detail){"os.exit", 0, 0, 0});
    task->state = AB_TASK_PARKED;
    task->kind = AB_WAIT_NONE;
    return lua_yieldk(L, 0, 0, never);
}

/* ---- the sandbox ---- */

/* Code only as text: made-up bytecode can crash Lua. */
static int l_load(lua_State *L)
{
    int given_env = !lua_isnone(L, 4); /* nil is one, too */
    lua_settop(L, 4);
    const char *mode = luaL_optstring(L, 3, "t");
    if (!strchr(mode, 't')) {
        lua_pushnil(L);
        lua_pushfstring(L, "a sandbox loads text only (mode is '%s')", mode);
        return 2;
    }
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    if (!given_env)
        lua_pop(L, 1);
    lua_call(L, given_env ? 4 : 3, LUA_MULTRET);
    return lua_gettop(L);
}

/* Reads a whole file that the grants allow; NULL and a message on the stack
 * when it cannot.  Small and synchronous: for require. */
static int push_file(lua_State *L, const char *path)
{
    int fd =
        ab_grants_open(&ab_box_of(L)->grants, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    ssize_t n;
    do {
        /* A raised memory error would leak the descriptor: check first. */
        char *space = luaL_prepbuffsize(&b, 4096);
        n = read(fd, space, 4096);
        if (n > 0)
            luaL_addsize(&b, (size_t)n);
    } while (n > 0 || (n < 0 && errno == EINTR));
    close(fd);
    luaL_pushresult(&b);
    return n < 0 ? -errno : 0;
}

/* Searches package.path as Lua does, through the grants. */
static int sandbox_searcher(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_getfield(L, lua_upvalueindex(1), "path");
    const char *path = lua_tostring(L, -1);
    if (!path)
        return luaL_error(L, "'package.path' must be a string");
    const char *slashed = luaL_gsub(L, name, ".", "/");
    lua_pushliteral(L, "");
    int message = lua_gettop(L);
    while (*path) {
        size_t length = strcspn(path, ";");
        lua_pushlstring(L, path, length);
        const char *file = luaL_gsub(L, lua_tostring(L, -1), "?", slashed);
        path += length + (path[length] != 0);
        if (!length)
            continue;
        int err = push_file(L, file);
        if (err == 0) {
            size_t bytes;
            const char *code = lua_tolstring(L, -1, &bytes);
            lua_pushfstring(L, "@%s", file);
            if (luaL_loadbufferx(L, code, bytes, lua_tostring(L, -1), "t") !=
                LUA_OK)
                return luaL_error(L,
                                  "error loading module '%s' from file "
                                  "'%s':\n\t%s",
                                  name, file, lua_tostring(L, -1));
            lua_pushstring(L, file);
            return 2;
        }
        lua_pushfstring(L, "%s%sno file '%s'%s", lua_tostring(L, message),
                        *lua_tostring(L, message) ? "\n\t" : "", file,
                        err == ASYNCBOX_EDENIED ? " (not granted)" : "");
        lua_replace(L, message);
        lua_settop(L, message);
    }
    return 1;
}

/* io.write and io.stdout:write: Lua's own would hand out the file object, with
 * which a script could close or re-buffer the host's standard output. */
static int l_write(lua_State *L)
{
    int first = lua_istable(L, 1) ? 2 : 1, last = lua_gettop(L);
    for (int i = first; i <= last; i++) {
        size_t bytes;
        const char *text = luaL_checklstring(L, i, &bytes);
        if (fwrite(text, 1, bytes, stdout) != bytes)
            return luaL_fileresult(L, 0, NULL);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
}

static void make_output(lua_State *L)
{
    lua_getglobal(L, "io");
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, l_write, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "write");
    lua_setfield(L, -3, "write");
    lua_setfield(L, -2, "stdout");
    lua_pop(L, 1);
}

/* os.getenv: a variable by name, if that name was granted. */
static int l_getenv(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    ab_grants_check_env(L, "os.getenv", name);
    lua_pushstring(L, getenv(name)); /* NULL: nil */
    return 1;
}

static void remove_fields(lua_State *L, const char *table,
                          const char *const *keep)
{
    lua_getglobal(L, table);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        int kept = 0;
        for (int i = 0; keep[i] && !kept; i++)
            kept = lua_type(L, -2) == LUA_TSTRING &&
                   strcmp(keep[i], lua_tostring(L, -2)) == 0;
        if (!kept) {
            lua_pushvalue(L, -2);
            lua_pushnil(L);
            lua_rawset(L, -5);
        }
    }
    lua_pop(L, 1);
}

static void make_sandbox(lua_State *L)
{
    static const char *const os_keep[] = {"clock", "date", "difftime",
                                          "exit",  "time", NULL};
    static const char *const io_keep[] = {"type", NULL};
    static const char *const debug_keep[] = {"traceback", NULL};
    static const char *const package_keep[] = {"config",  "loaded",    "path",
                                               "preload", "searchers", NULL};
    static const char *const globals[] = {"dofile", "loadfile", NULL};
    remove_fields(L, "os", os_keep);
    lua_getglobal(L, "os");
    lua_pushcfunction(L, l_getenv);
    lua_setfield(L, -2, "getenv");
    lua_pop(L, 1);
    remove_fields(L, "io", io_keep);
    make_output(L);
    remove_fields(L, "debug", debug_keep);
    remove_fields(L, "package", package_keep);
    for (int i = 0; globals[i]; i++) {
        lua_pushnil(L);
        lua_setglobal(L, globals[i]);
    }
    lua_getglobal(L, "load");
    lua_pushcclosure(L, l_load, 1);
    lua_setglobal(L, "load");
    lua_getglobal(L, "string");
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_getglobal(L, LUA_LOADLIBNAME);
    lua_getfield(L, -1, "searchers");
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, sandbox_searcher, 1);
    lua_rawseti(L, -2, 2);
    lua_pushnil(L);
    lua_rawseti(L, -2, 3);
    lua_pushnil(L);
    lua_rawseti(L, -2, 4);
    lua_pop(L, 3);
}

/* ---- warn ---- */

static void warn_off(void *L, const char *text, int to_continue);
static void warn_on(void *L, const char *text, int to_continue);

static void warn_write(lua_State *L, const char *text)
{
    ab_box *box = ab_box_of(L);
    const asyncbox_config *config = &box->config;
    if (config->report) {
        config->report(config->report_arg, text, strlen(text));
        return;
    }
    if (box->outputs.err) {
        ab_outputs_say(&box->outputs, text, strlen(text), "");
        return;
    }
    fputs(text, stderr);
    fflush(stderr);
}

static void warn_rest(void *L, const char *text, int to_continue)
{
    warn_write(L, text);
    if (to_continue) {
        lua_setwarnf(L, warn_rest, L);
    } else {
        warn_write(L, "\n");
        lua_setwarnf(L, warn_on, L);
    }
}

/* "@on" and "@off" are for us, as in Lua's own; other such words for nobody. */
static int is_control(lua_State *L, const char *text, int to_continue)
{
    if (to_continue || *text != '@')
        return 0;
    if (!strcmp(text, "@off"))
        lua_setwarnf(L, warn_off, L);
    else if (!strcmp(text, "@on"))
        lua_setwarnf(L, warn_on, L);
    return 1;
}

static void warn_off(void *L, const char *text, int to_continue)
{
    is_control(L, text, to_continue);
}

static void warn_on(void *L, const char *text, int to_continue)
{
    if (is_control(L, text, to_continue))
        return;
    warn_write(L, "Lua warning: ");
    warn_rest(L, text, to_continue);
}

int ab_open_base(lua_State *L)
{
    lua_State *main = ab_box_of(L)->L;
    lua_setwarnf(main, warn_off, main);
    lua_getglobal(L, LUA_OSLIBNAME);
    lua_pushcfunction(L, l_exit);
    lua_setfield(L, -2, "exit");
    lua_pop(L, 1);
    if (ab_box_of(L)->sandbox)
        make_sandbox(L);
    return 0;
}
