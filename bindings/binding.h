/* binding.h - all that a binding may include: Lua, and the host's contracts.
 *
 * One file = one Lua module = one function table at its bottom = one opener.
 * See op.h for the five steps of a function that waits, CONTRIBUTING.md for
 * the checklist. */
#ifndef AB_BINDING_H
#define AB_BINDING_H

#include "box.h"
#include "child.h"
#include "compat.h"
#include "coro.h"
#include "error.h"
#include "idna.h"
#include "library.h"
#include "op.h"
#include "output.h"
#include "report.h"
#include "resolver.h"
#include "sched.h"
#include "scope.h"
#include "sigkeep.h"
#include "signum.h"
#include "tls.h"
#include "transfer.h"
#include "treewatch.h"
#include "workers.h"
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <uv.h>

/* ---- classes: userdata with methods ----
 * A class is a metatable kept in the registry under the address of its name.
 * Every method is a closure whose upvalue 1 is that metatable, so checking
 * `self` is one comparison. */
typedef struct ab_class {
    const char *name;        /* "Queue": in errors and tostring */
    const luaL_Reg *methods; /* become fields of __index */
    const luaL_Reg *metas;   /* __gc, __close, ...; may be NULL */
} ab_class;

/* Pushes a new userdata of the class with `users` user values; zeroed. The
 * class is made on first use. */
void *ab_object_new(lua_State *L, const ab_class *cls, size_t bytes, int users);
/* In a method: argument 1, or raises "bad argument #1 to 'get' (Queue
 * expected, got nil)". */
void *ab_self(lua_State *L, const ab_class *cls);
/* Anywhere: NULL when it is something else. */
void *ab_object_test(lua_State *L, int idx, const ab_class *cls);
/* In the __gc of objects that are one pointer: takes it out and leaves NULL,
 * which is what a second call gives. */
void *ab_object_take(lua_State *L, const ab_class *cls);
/* Pushes the metatable of a class. */
void ab_class_push(lua_State *L, const ab_class *cls);

/* ---- arguments ---- */

/* A duration in seconds as nanoseconds: a number from 0 to 1e9, not NaN.
 * Raises at the caller's line, naming the argument. */
int64_t ab_check_seconds(lua_State *L, int arg, const char *name);

/* What is to be written, all arguments from `arg` on: strings, numbers and
 * lists of these, of which it makes one string, the last value on the stack.
 * Calls
 * __len and __index of tables. */
void ab_check_bytes(lua_State *L, int arg);

/* The same check for Lua parts, raised at the line of the script. */
void ab_check_seconds_misuse(lua_State *L, int arg, const char *name);

/* Raises misuse at the line of the script that called into asyncbox, however
 * many of asyncbox's own Lua parts lie between. */
int ab_misuse(lua_State *L, const char *format, ...);

/* May this function wait, or would ab_task_check raise?  For <close>, which
 * does what it can without waiting then. */
int ab_may_wait(lua_State *L);
/* Would it be able to, were its task not cancelled? */
int ab_is_cancelled(lua_State *L);

/* Option tables: reads field `key` of the table at idx on top of the stack and
 * gives its type (LUA_TNIL when absent or when there is no table).  After the
 * last one call ab_options_done with all known names, which raises for an
 * unknown key: "fs.write: unknown option 'apend' (known: append, atomic)". */
void ab_options_check(lua_State *L, int idx, const char *what,
                      const char *const *known);
int ab_option_boolean(lua_State *L, int idx, const char *key, int otherwise);
/* Seconds as nanoseconds, `otherwise` when absent. */
int64_t ab_option_seconds(lua_State *L, int idx, const char *key,
                          int64_t otherwise);
lua_Integer ab_option_integer(lua_State *L, int idx, const char *key,
                              lua_Integer otherwise, lua_Integer min,
                              lua_Integer max);

/* Loads a Lua part of the library ("http" -> bindings/http.lua) and calls it
 * with the values on top of the stack as its `...`; leaves its n results. Its
 * frames are left out of tracebacks. */
void ab_lua_part(lua_State *L, const char *name, const char *source,
                 size_t bytes, int nargs, int nresults);

/* For the tables of primitives that Lua parts get: check(what), and of option
 * tables options(t, what, known...), boolean(t, key, otherwise), integer(t,
 * key, otherwise, min, max), seconds(t, key, otherwise), which raise as the
 * functions above do; misuse(format, ...) as ab_misuse.  (part.c) */
extern const luaL_Reg ab_part_options[];
int ab_part_misuse(lua_State *L);

/* ---- streams of bytes, for the bindings that open some (stream.c) ---- */

typedef struct ab_stream ab_stream;

enum { AB_STREAM_READ = 1, AB_STREAM_WRITE = 2 };

/* Pushes a new Stream that is not open yet.  `name` is static ("stdout").  The
 * pointer is good for as long as the object is. */
ab_stream *ab_stream_new(lua_State *L, const char *name, unsigned flags);
/* Opens it over a descriptor (a pipe, not blocking).  0: the stream owns the
 * descriptor; else a code, and it is still the caller's.  Not in a closing
 * box. */
int ab_stream_open_pipe(ab_stream *stream, int fd);
/* What a stream does that is opened when it is first used. */
typedef struct ab_stream_source {
    /* Opens it for the call `op`, or raises. */
    void (*open)(lua_State *L, ab_stream *stream, const char *op);
    /* No more bytes will come: 0, or the code of what went wrong. */
    int (*end)(ab_stream *stream);
    /* The descriptor is closed.  No Lua. */
    void (*closed)(ab_box *box);
    /* What a code means here, NULL: what it means everywhere.  Static. */
    const char *(*explain)(int code);
} ab_stream_source;
/* Before anything else.  Such a stream reads from the system only while a task
 * waits for bytes: what nobody asks for is left to others. */
void ab_stream_set_source(ab_stream *stream, const ab_stream_source *source);
/* Takes bytes that `from` holds already in its buffer.  0, UV_ENOMEM. */
int ab_stream_feed(ab_stream *stream, FILE *from, size_t bytes);
/* How many bytes may be on their way before write waits. */
void ab_stream_set_high_water(ab_stream *stream, size_t bytes);
/* Opens it over a socket that is connected and does not block: as
 * ab_stream_open_pipe.  `peer` names it in errors, NULL: "socket".  Copied. */
int ab_stream_open_socket(ab_stream *stream, int fd, const char *peer);
/* Begins to connect it over TCP, and calls `done` exactly once unless this
 * gives a code; ab_stream_end hurries.  When it has worked, `done` calls
 * ab_stream_connected, which gives 0 or a code. */
int ab_stream_connect(ab_stream *stream, uv_connect_t *req,
                      const struct sockaddr *to, uv_connect_cb done);
int ab_stream_connected(ab_stream *stream);
/* From now on an empty pipe counts as its end, though somebody may still hold
 * the other side of it. */
void ab_stream_end_when_idle(ab_stream *stream);
/* Closes it at once: what is queued is given up, whoever waits gets ECLOSED. */
void ab_stream_end(ab_stream *stream);
/* Closes it for the script only: what still comes is read and thrown away, so
 * that the other side can say its last words, until it ends or
 * ab_stream_end. */
void ab_stream_discard(ab_stream *stream);
/* The stream at idx, or NULL when it is something else. */
ab_stream *ab_stream_test(lua_State *L, int idx);

/* Pushes the table of stream_tls.lua, for other Lua parts:
 *   prepare(what, is_server, options, name) -> prepared    waits, raises
 *   start(stream, prepared)                                waits, raises */
void ab_stream_push_tls(lua_State *L);

/* ---- addresses (address.c) ---- */

/* Pushes {host = "127.0.0.1", port = 80, family = "ipv4"}, of a Unix socket
 * {path = "/run/x", family = "unix"}; tostring gives "127.0.0.1:80". An IPv4
 * address that is written as an IPv6 one is shown as itself. */
void ab_address_push(lua_State *L, const struct sockaddr *from);
/* The same of what ab_sockaddr_format made, or of "unix:" and a path. */
void ab_address_push_text(lua_State *L, const char *text);
/* Argument `arg` (or the value of an option, `name`) as a port: a whole number
 * from `min` to 65535.  Raises misuse that begins with `what`. */
int ab_check_port(lua_State *L, int arg, const char *what, int min);
/* Argument `arg`, a string, as the name of a host in ASCII, which replaces it
 * where it is not; raises the error of ab_idna_to_ascii in the call `what`. */
const char *ab_check_host(lua_State *L, int arg, const char *what);
/* The same for the primitives of Lua parts: ascii(what, host) -> host. */
int ab_part_ascii(lua_State *L);
/* And without raising: to_ascii(host) -> host, or nil and why not. */
int ab_part_to_ascii(lua_State *L);

/* ---- standard output (stdout.c) ---- */

/* An op type for waits on standard output; `text` is who waits, in errors. */
#define AB_STDOUT_WAIT(text)                                                   \
    {                                                                          \
        .name = text, .size = sizeof(ab_output_wait), .flags = AB_OP_EXTERNAL, \
        .push = ab_output_wait_push, .cancel = ab_output_wait_cancel,          \
        .drop = ab_output_wait_drop,                                           \
    }

/* A program that shares the outputs is about to start: waits, or blocks where
 * it cannot wait, until all that was printed so far is written, and returns
 * c->k(L, ..., 0).  At once in a box without config.standard_output.  `c` is
 * static. */
typedef struct ab_stdout_catch {
    ab_op_type type;
    lua_KFunction k;
} ab_stdout_catch;
int ab_stdout_catch_up(lua_State *L, const ab_stdout_catch *c);

/* ---- iterators of what the outside does, for `for` (iter.c) ----
 *
 * C memory of the box with a source in it, and an object that is one pointer to
 * it.  One task at a time waits for the next; closing ends its wait with nil.
 * signal.iter and fs.watch are such. */

typedef struct ab_iter ab_iter;

typedef struct ab_iter_type {
    const ab_class *cls; /* of ab_iter_methods and ab_iter_metas */
    size_t bytes;        /* of the whole struct, which begins with an ab_iter */
    const ab_op_type *op; /* of next: an ab_iter_op with the hooks below */
    /* Is there something to give, an error, or the end? */
    int (*ready)(const ab_iter *it);
    /* Pushes one value, or raises. */
    int (*give)(lua_State *L, ab_iter *it);
    /* Somebody waits: 0 or a code.  May be NULL, as the others below. */
    int (*start)(ab_iter *it);
    /* The wait was cancelled. */
    void (*stop)(ab_iter *it);
    /* Lets go of the source; once.  Not NULL. */
    void (*close)(ab_iter *it);
    /* Frees what else it holds. */
    void (*drop)(ab_iter *it);
} ab_iter_type;

struct ab_iter {
    const ab_iter_type *type;
    ab_box *box;
    ab_closer closer;
    int refs;   /* the Lua object, the op that waits, what the source holds */
    int closed; /* also until it is open */
    ab_op *waiter;
    char *path; /* of errors, or NULL */
};

typedef struct ab_iter_op {
    ab_op op;
    ab_iter *iter;
} ab_iter_op;

/* Pushes a new object, zeroed and not yet open. */
ab_iter *ab_iter_new(lua_State *L, const ab_iter_type *type);
/* From now on it is closed with the box. */
void ab_iter_open(ab_iter *it);
void ab_iter_close(ab_iter *it);
void ab_iter_unref(ab_iter *it);
int ab_iter_waited_for(const ab_iter *it);
/* Ends the wait, if there is one. */
void ab_iter_wake(ab_iter *it, int status);
/* Steps 3 to 5. */
int ab_iter_park(lua_State *L, ab_iter *it, const ab_op_type *type);
/* With the object on top of the stack: returns what `for` wants, which calls
 * the object and closes it at its end. */
int ab_iter_for(lua_State *L);
/* hooks of ab_op_type */
int ab_iter_push(lua_State *L, ab_op *op);
void ab_iter_cancel(ab_op *op);
void ab_iter_drop(ab_op *op);

extern const luaL_Reg ab_iter_methods[], ab_iter_metas[];

/* The openers, for modules.c. */
int ab_open_base(lua_State *L);
int ab_open_coroutine(lua_State *L);
int ab_open_require(lua_State *L);
int ab_open_async(lua_State *L);
int ab_open_dns(lua_State *L);
int ab_open_fs(lua_State *L);
int ab_open_html(lua_State *L);
int ab_open_http(lua_State *L);
int ab_open_json(lua_State *L);
int ab_open_net(lua_State *L);
int ab_open_process(lua_State *L);
int ab_open_progress(lua_State *L);
int ab_open_signal(lua_State *L);
int ab_open_stderr(lua_State *L);
int ab_open_stdin(lua_State *L);
int ab_open_stdout(lua_State *L);
int ab_open_stdout_print(lua_State *L);
int ab_open_url(lua_State *L);

#endif
