/* stdout.c - waiting for room in the queue of standard output, and the modules
 * asyncbox.stdout and asyncbox.stderr.  See host/output.h. */
#include "stdout.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* ---- waiting ---- */

/* Until all but `left` of what is queued now has gone. */
static int wait(lua_State *L, ab_output *o, const ab_op_type *type, size_t left,
                lua_KContext ctx, lua_KFunction k)
{
    return ab_task_parkk(L, ab_output_wait_new(L, type, o, left), ctx, k);
}

static int block(lua_State *L, ab_output *o, const ab_op_type *type,
                 size_t left, lua_KContext ctx, lua_KFunction k)
{
    int err = ab_output_block(o, left);
    if (err)
        return ab_error_raise(L, err, &(ab_detail){type->name, 0, 0, 0});
    return k(L, LUA_OK, ctx);
}

int ab_stdout_make_room(lua_State *L, ab_output *o, const ab_op_type *type,
                        lua_KContext ctx, lua_KFunction k)
{
    ab_output_drain(o); /* it may only have been gathered */
    if (!ab_stdout_is_full(o))
        return k(L, LUA_OK, ctx);
    if (o->polled && ab_may_wait(L))
        return wait(L, o, type, o->full / 2, ctx, k);
    if (o->len < 2 * o->full)
        return k(L, LUA_OK, ctx);
    if (ab_is_cancelled(L))
        ab_task_check(L, type->name);
    return block(L, o, type, o->full, ctx, k);
}

int ab_stdout_flush(lua_State *L, ab_output *o, const ab_op_type *type,
                    lua_KContext ctx, lua_KFunction k)
{
    ab_output_drain(o);
    if (!o->len)
        return k(L, LUA_OK, ctx);
    if (o->polled && ab_may_wait(L))
        return wait(L, o, type, 0, ctx, k);
    if (ab_is_cancelled(L))
        ab_task_check(L, type->name);
    return block(L, o, type, 0, ctx, k);
}

static int caught_up(lua_State *L, int status, lua_KContext ctx)
{
    return ((const ab_stdout_catch *)ctx)->k(L, status, 0);
}

static int out_caught_up(lua_State *L, int status, lua_KContext ctx)
{
    const ab_outputs *outputs = &ab_box_of(L)->outputs;
    const ab_stdout_catch *c = (const ab_stdout_catch *)ctx;
    if (outputs->err == outputs->out)
        return c->k(L, status, 0);
    return ab_stdout_flush(L, outputs->err, &c->type, ctx, caught_up);
}

int ab_stdout_catch_up(lua_State *L, const ab_stdout_catch *c)
{
    ab_output *out = ab_box_of(L)->outputs.out;
    if (!out)
        return c->k(L, LUA_OK, 0);
    return ab_stdout_flush(L, out, &c->type, (lua_KContext)c, out_caught_up);
}

int ab_stdout_take_error(ab_output *o)
{
    int err = o->untold;
    o->untold = 0;
    return err;
}

/* ---- the modules ---- */

typedef struct kind {
    const char *name;
    ab_op_type write, flush;
} kind;

static const kind kinds[] = {
    {"stdout", AB_STDOUT_WAIT("stdout:write"), AB_STDOUT_WAIT("stdout:flush")},
    {"stderr", AB_STDOUT_WAIT("stderr:write"), AB_STDOUT_WAIT("stderr:flush")},
};

/* In a box without the queue `output` is NULL: it writes to C's file. */
typedef struct stream {
    const kind *kind;
    ab_output *output;
    FILE *file;
} stream;

static const ab_class stream_class;

static stream *self(lua_State *L) { return ab_self(L, &stream_class); }

/* The end of a call: the stream, or what has failed. */
static int give(lua_State *L, const stream *s, const ab_op_type *type, int err)
{
    if (err)
        return ab_error_raise(
            L, err, &(ab_detail){type->name, NULL, "stream", s->kind->name});
    lua_settop(L, 1);
    return 1;
}

static int file_error(int ok)
{
    return ok ? 0 : errno ? uv_translate_sys_error(errno) : UV_EIO;
}

static int write_on(lua_State *L, int status, lua_KContext ctx)
{
    stream *s = self(L);
    ab_output *o = s->output;
    if (status == LUA_YIELD && ab_stdout_is_full(o))
        return ab_stdout_make_room(L, o, &s->kind->write, ctx, write_on);
    size_t bytes;
    const char *text = lua_tolstring(L, 2, &bytes);
    if (o == ab_box_of(L)->outputs.err)
        ab_outputs_turn(&ab_box_of(L)->outputs);
    ab_output_put(o, text, bytes);
    ab_output_drain(o);
    return give(L, s, &s->kind->write, ab_stdout_take_error(o));
}

static int l_write(lua_State *L)
{
    stream *s = self(L);
    ab_task_check(L, s->kind->write.name);
    ab_check_bytes(L, 2);
    if (s->output)
        return write_on(L, LUA_YIELD, 0);
    size_t bytes;
    const char *text = lua_tolstring(L, 2, &bytes);
    errno = 0;
    int ok = fwrite(text, 1, bytes, s->file) == bytes && !fflush(s->file);
    return give(L, s, &s->kind->write, file_error(ok));
}

static int flushed(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    stream *s = self(L);
    return give(L, s, &s->kind->flush, ab_stdout_take_error(s->output));
}

static int l_flush(lua_State *L)
{
    stream *s = self(L);
    ab_task_check(L, s->kind->flush.name);
    if (s->output)
        return ab_stdout_flush(L, s->output, &s->kind->flush, 0, flushed);
    errno = 0;
    return give(L, s, &s->kind->flush, file_error(!fflush(s->file)));
}

static int l_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty(fileno(self(L)->file)));
    return 1;
}

static int l_tostring(lua_State *L)
{
    lua_pushfstring(L, "stream (%s)", self(L)->kind->name);
    return 1;
}

static const luaL_Reg methods[] = {
    {"flush", l_flush},
    {"isatty", l_isatty},
    {"write", l_write},
    {NULL, NULL},
};

static const luaL_Reg metas[] = {
    {"__tostring", l_tostring},
    {NULL, NULL},
};

static const ab_class stream_class = {"Output", methods, metas};

static int open_stream(lua_State *L, const kind *k, ab_output *o, FILE *file)
{
    stream *s = ab_object_new(L, &stream_class, sizeof *s, 0);
    *s = (stream){k, o, file};
    return 1;
}

int ab_open_stdout(lua_State *L)
{
    return open_stream(L, &kinds[0], ab_box_of(L)->outputs.out, stdout);
}

int ab_open_stderr(lua_State *L)
{
    return open_stream(L, &kinds[1], ab_box_of(L)->outputs.err, stderr);
}
