/* stdout_print.c - print, io.write, and the methods of files for io.stdout and
 * io.stderr, in a box that has the program's standard output to itself: all of
 * them go through one queue, in order, and wait instead of blocking.  Every
 * other file is Lua's own business. */
#include "stdout.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const ab_op_type print_type = AB_STDOUT_WAIT("print");
static const ab_op_type write_type = AB_STDOUT_WAIT("io.write");
static const ab_op_type flush_type = AB_STDOUT_WAIT("io.flush");

/* ---- print ---- */

/* As Lua's own it tells nobody of a failure: the end of the program does. */
static int print_on(lua_State *L, int status, lua_KContext ctx)
{
    ab_output *o = lua_touserdata(L, lua_upvalueindex(1));
    if (status == LUA_YIELD && ab_stdout_is_full(o))
        return ab_stdout_make_room(L, o, &print_type, ctx, print_on);
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        size_t bytes;
        const char *text = luaL_tolstring(L, i, &bytes);
        if (i > 1)
            ab_output_put(o, "\t", 1);
        ab_output_put(o, text, bytes);
        lua_pop(L, 1);
    }
    ab_output_put(o, "\n", 1);
    ab_output_drain(o);
    o->untold = 0;
    return 0;
}

static int l_print(lua_State *L) { return print_on(L, LUA_YIELD, 0); }

/* ---- which output ---- */

/* Which of the two the file at idx is; NULL: another one. */
static ab_output_file *file_at(lua_State *L, int idx)
{
    ab_output_file *files = ab_box_of(L)->outputs.files;
    const void *object = lua_touserdata(L, idx);
    if (!object)
        return NULL;
    return object == files[0].object   ? &files[0]
           : object == files[1].object ? &files[1]
                                       : NULL;
}

/* Pushes io.output(), which only Lua's own functions set. */
static ab_output_file *push_default(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
    return file_at(L, -1);
}

/* Lua's own function, upvalue 1, in the place of this one: it has no upvalues
 * itself. */
static int original(lua_State *L)
{
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* ---- writing ---- */

/* The result on top of the stack, or how Lua's own tell of a failure. */
static int give(lua_State *L, ab_output *o)
{
    int err = ab_stdout_take_error(o);
    if (!err)
        return 1;
    errno = -err;
    return luaL_fileresult(L, 0, NULL);
}

/* Numbers as Lua's own io.write has them, without a string for each. */
enum { NUMBER_BYTES = 64 };

static const char *text_of(lua_State *L, int arg, char *number, size_t *bytes)
{
    if (lua_type(L, arg) != LUA_TNUMBER)
        return luaL_checklstring(L, arg, bytes);
    int n = lua_isinteger(L, arg)
                ? snprintf(number, NUMBER_BYTES, LUA_INTEGER_FMT,
                           (LUAI_UACINT)lua_tointeger(L, arg))
                : snprintf(number, NUMBER_BYTES, LUA_NUMBER_FMT,
                           (LUAI_UACNUMBER)lua_tonumber(L, arg));
    *bytes = n < 0 ? 0 : (size_t)n;
    return number;
}

/* Writes the arguments from `first` on; the last one is the result. */
static int write_on(lua_State *L, int status, lua_KContext first)
{
    const ab_outputs *outputs = &ab_box_of(L)->outputs;
    const ab_output_file *file =
        lua_isuserdata(L, -1) ? file_at(L, -1) : &outputs->files[0];
    ab_output *o = file->output;
    if (status == LUA_YIELD && ab_stdout_is_full(o))
        return ab_stdout_make_room(L, o, &write_type, first, write_on);
    if (o == outputs->err && outputs->out->len)
        ab_output_drain(outputs->out); /* it comes before in a common file */
    int last = lua_gettop(L) - 1, newline = 0;
    for (int i = (int)first; i <= last; i++) {
        char number[NUMBER_BYTES];
        size_t bytes;
        const char *text = text_of(L, i, number, &bytes);
        ab_output_put(o, text, bytes);
        newline |= file->mode == AB_OUTPUT_LINES && memchr(text, '\n', bytes);
    }
    if (file->mode == AB_OUTPUT_AT_ONCE || newline || o->len >= file->gather)
        ab_output_drain(o);
    return give(L, o);
}

static int l_io_write(lua_State *L)
{
    if (push_default(L))
        return write_on(L, LUA_YIELD, 1);
    lua_pop(L, 1);
    return original(L);
}

static int l_file_write(lua_State *L)
{
    if (!file_at(L, 1))
        return original(L);
    lua_pushvalue(L, 1);
    return write_on(L, LUA_YIELD, 2);
}

/* A sandbox has no files: io.stdout is a table, upvalue 1. */
static int l_sandbox_write(lua_State *L)
{
    int first = lua_istable(L, 1) ? 2 : 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    return write_on(L, LUA_YIELD, first);
}

/* ---- flushing ---- */

/* The file is on top. */
static int flushed(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return give(L, (ab_output *)ctx);
}

static int flush(lua_State *L, ab_output *o)
{
    return ab_stdout_flush(L, o, &flush_type, (lua_KContext)o, flushed);
}

static int l_io_flush(lua_State *L)
{
    const ab_output_file *file = push_default(L);
    if (file)
        return flush(L, file->output);
    lua_pop(L, 1);
    return original(L);
}

static int l_file_flush(lua_State *L)
{
    const ab_output_file *file = file_at(L, 1);
    if (!file)
        return original(L);
    lua_pushvalue(L, 1);
    return flush(L, file->output);
}

static int l_file_setvbuf(lua_State *L)
{
    static const char *const names[] = {"no", "full", "line", NULL};
    static const ab_output_mode modes[] = {AB_OUTPUT_AT_ONCE, AB_OUTPUT_GATHERS,
                                           AB_OUTPUT_LINES};
    ab_output_file *file = file_at(L, 1);
    if (!file)
        return original(L);
    ab_output_mode mode = modes[luaL_checkoption(L, 2, NULL, names)];
    lua_Integer bytes = luaL_optinteger(L, 3, AB_OUTPUT_GATHER);
    file->mode = mode;
    file->gather = bytes < 1                ? 1
                   : bytes > AB_OUTPUT_FULL ? AB_OUTPUT_FULL
                                            : (size_t)bytes;
    ab_output_drain(file->output);
    lua_pushboolean(L, 1);
    return give(L, file->output);
}

/* A place in a file means something only after all that comes before it. */
static int l_file_seek(lua_State *L)
{
    const ab_output_file *file = file_at(L, 1);
    if (file)
        ab_output_drain(file->output);
    return original(L);
}

/* ---- programs that share the outputs ---- */

static int caught_up(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return original(L);
}

static int l_execute(lua_State *L)
{
    static const ab_stdout_catch c = {AB_STDOUT_WAIT("os.execute"), caught_up};
    return ab_stdout_catch_up(L, &c);
}

static int l_popen(lua_State *L)
{
    static const ab_stdout_catch c = {AB_STDOUT_WAIT("io.popen"), caught_up};
    return ab_stdout_catch_up(L, &c);
}

/* ---- the opener ---- */

/* Replaces functions of the table on top of the stack (popped). */
static void replace(lua_State *L, const luaL_Reg *functions)
{
    for (; functions->name; functions++) {
        lua_getfield(L, -1, functions->name);
        lua_pushcclosure(L, functions->func, 1);
        lua_setfield(L, -2, functions->name);
    }
    lua_pop(L, 1);
}

/* Pops a file object and gives its address, which stays its own for as long as
 * the box is there. */
static const void *keep(lua_State *L)
{
    const void *file = lua_touserdata(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, file);
    return file;
}

static void open_sandbox(lua_State *L)
{
    lua_getglobal(L, "io");
    lua_getfield(L, -1, "stdout");
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, l_sandbox_write, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "write");
    lua_setfield(L, -3, "write");
    lua_pop(L, 2);
}

static void open_trusted(lua_State *L)
{
    static const luaL_Reg of_io[] = {{"flush", l_io_flush},
                                     {"popen", l_popen},
                                     {"write", l_io_write},
                                     {NULL, NULL}};
    static const luaL_Reg of_os[] = {{"execute", l_execute}, {NULL, NULL}};
    static const luaL_Reg of_files[] = {{"flush", l_file_flush},
                                        {"seek", l_file_seek},
                                        {"setvbuf", l_file_setvbuf},
                                        {"write", l_file_write},
                                        {NULL, NULL}};
    ab_output_file *files = ab_box_of(L)->outputs.files;
    lua_getglobal(L, "io");
    lua_getfield(L, -1, "stdout");
    files[0].object = keep(L);
    lua_getfield(L, -1, "stderr");
    files[1].object = keep(L);
    replace(L, of_io);
    lua_getglobal(L, "os");
    replace(L, of_os);
    luaL_getmetatable(L, LUA_FILEHANDLE);
    lua_getfield(L, -1, "__index");
    lua_remove(L, -2);
    replace(L, of_files);
}

int ab_open_stdout_print(lua_State *L)
{
    const ab_box *box = ab_box_of(L);
    if (!box->outputs.out)
        return 0;
    lua_pushlightuserdata(L, box->outputs.out);
    lua_pushcclosure(L, l_print, 1);
    lua_setglobal(L, "print");
    if (box->sandbox)
        open_sandbox(L);
    else
        open_trusted(L);
    return 0;
}
