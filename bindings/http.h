/* http.h - what the files of the module asyncbox.http share. */
#ifndef AB_HTTP_H
#define AB_HTTP_H

#include "binding.h"

/* http_headers.c: makes lines ("Name: value" and a NUL each) of the table at
 * idx, followed by those of `base` whose names it does not mention.  They lie
 * in a userdata that is pushed, so they live while it stays on the stack.
 * Raises: `what` is the function that the script called. */
void ab_http_lines(lua_State *L, int idx, const char *what, const char *base,
                   size_t base_bytes, const char **out, size_t *out_bytes);

/* ---- http_fault.c ---- */

/* Raises what went wrong with a transfer: `code`, in the call `op`. */
int ab_http_raise(lua_State *L, const ab_transfer *t, const char *op, int code);

/* ---- http_head.c: the raw head of a response, from its status line on ---- */

/* "Not Found" of "HTTP/1.1 404 Not Found" */
void ab_head_push_reason(lua_State *L, const char *head, size_t bytes);
/* "1.1" */
void ab_head_push_version(lua_State *L, const char *head, size_t bytes);
/* A table by lower-case name, looked up in any case; the values of a repeated
 * header are joined. */
void ab_head_push_fields(lua_State *L, const char *head, size_t bytes);
/* A list of the values of one header. */
void ab_head_push_values(lua_State *L, const char *head, size_t bytes,
                         const char *name, size_t name_bytes);
/* The first value of a header; 0 when there is none. */
int ab_head_find(const char *head, size_t bytes, const char *name,
                 const char **value, size_t *value_bytes);
void ab_head_open(lua_State *L);

/* ---- responses: http_response.c (the object), http_body.c (its body) ---- */

typedef struct ab_response {
    const char *op; /* "http.get": static, for errors */
    int status;
    int64_t elapsed_ns;
    ab_transfer *transfer; /* NULL: BODY has all of it, or it is closed */
    size_t at;             /* bytes of BODY that chunks or lines took */
    uint64_t told;         /* bytes that on_progress was told of */
    int taken;             /* chunks, lines or save took some */
    int closed;
    size_t head_bytes;
    char head[]; /* raw, from the status line on */
} ab_response;

/* Its user values. */
enum {
    AB_RESPONSE_BODY = 1, /* a string; nil: see transfer */
    AB_RESPONSE_URL,
    AB_RESPONSE_HEADERS,  /* a table, made when it is asked for */
    AB_RESPONSE_HISTORY,  /* a table; nil: no redirects */
    AB_RESPONSE_PROGRESS, /* a function, or nil */
    AB_RESPONSE_VALUES = AB_RESPONSE_PROGRESS
};

/* The push hook of ops that are an ab_transfer_wait and wait for a head. Pushes
 * the response, or raises what went wrong. */
int ab_response_push(lua_State *L, ab_op *op);

/* The option on_progress: is there one?  Raises unless it is a function.  Then
 * the fetch continues with the other, ctx being where the options are. */
int ab_response_has_progress(lua_State *L, int opts, const char *what);
int ab_response_add_progress(lua_State *L, int status, lua_KContext ctx);

/* Makes the metatables; called when the module is opened. */
void ab_response_open(lua_State *L);

/* Argument 1, or raises. */
ab_response *ab_response_self(lua_State *L);

extern const luaL_Reg ab_body_methods[];

/* ---- http_text.c ---- */

/* The charset of Content-Type; bytes 0: it names none. */
void ab_http_find_charset(const ab_response *r, const char **charset,
                          size_t *bytes);

/* Replaces the string on top of the stack by the same text in UTF-8.  charset:
 * as the response or the script says; bytes 0: not said.  Raises: `op`. */
void ab_http_decode(lua_State *L, const char *op, const char *charset,
                    size_t bytes);

#endif
