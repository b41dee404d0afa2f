/* http.h - what the files of the module asyncbox.http share. */
#ifndef AB_HTTP_H
#define AB_HTTP_H

#include "binding.h"

typedef struct ab_http_session {
    ab_client *client; /* NULL: not yet opened, or gone */
    ab_bounds bounds;
    unsigned collect_from, collect_at; /* see collect_abandoned */
    int closed;
    int counted; /* in box->live_handles */
    int jar;     /* keeps cookies */
    int options; /* has AB_HTTP_OPTIONS */
    int is_unix; /* its transfers talk to a Unix socket */
} ab_http_session;

/* Its user values. */
enum {
    AB_HTTP_LINES = 1, /* a string: headers of every request */
    AB_HTTP_BASE_URL,
    AB_HTTP_OPTIONS, /* a table: what the Lua parts do for every request */
    AB_HTTP_SESSION_VALUES = AB_HTTP_OPTIONS
};

extern const ab_class ab_http_session_class;

/* http_headers.c: makes lines ("Name: value" and a NUL each) of the table at
 * idx, followed by those of `base` whose names it does not mention.  They lie
 * in a userdata that is pushed, so they live while it stays on the stack.
 * Raises: `what` is the function that the script called. */
void ab_http_lines(lua_State *L, int idx, const char *what, const char *base,
                   size_t base_bytes, const char **out, size_t *out_bytes);

/* http_url.c: argument `arg` with the base_url of the session at `self` in
 * front if it has one and the URL is not complete, in ASCII; replaces the
 * argument.  Raises for what is plainly no URL. */
const char *ab_http_url(lua_State *L, int self, int arg, const char *what);
/* The same check for an option. */
void ab_http_url_check(lua_State *L, const char *what, const char *url,
                       size_t bytes);
/* Does it hold a user or password? */
int ab_http_url_has_login(const char *url);
/* Raises EURL; user and password are left out of the error's URL. */
int ab_http_url_raise(lua_State *L, const char *what, const char *url,
                      const char *why);

/* ---- http_option.c ---- */

/* Options that sessions and single requests have in common. */
void ab_http_bounds(lua_State *L, int opts, const char *what,
                    ab_bounds *bounds);
/* Are these all of the options, or are there none?  Else they are the Lua
 * parts' matter.  The keys that C reads: */
int ab_http_is_plain(lua_State *L, int opts, const char *const *keys);
extern const char *const ab_http_request_keys[];
extern const char *const ab_http_session_keys[];
/* What is sent with it. What r points to stays on the stack. */
void ab_http_read_request(lua_State *L, int opts, const char *what, int self,
                          ab_request *r);
/* What the Lua parts have put together, besides. */
void ab_http_read_extras(lua_State *L, int opts, const char *what,
                         ab_request *r);
/* Raises EDENIED. */
void ab_http_check_unix(lua_State *L, const char *what, const char *path);
/* Does it talk to a Unix socket, whatever the URL says? */
int ab_http_is_unix(const ab_http_session *s, const ab_request *r);
/* A text without line breaks and NUL. */
const char *ab_http_option_text(lua_State *L, int opts, const char *what,
                                const char *key, const char *otherwise);

/* ---- http_session.c ---- */

ab_http_session *ab_http_session_new(lua_State *L);
/* Opens the client of the default session, which is opened by its first fetch;
 * raises ECLOSED. */
void ab_http_need_client(lua_State *L, ab_http_session *s, const char *what);
int ab_http_raise_closed(lua_State *L, const char *what);
/* Makes a session of (options, settings, options of the Lua parts or nil, has
 * it a jar). */
int ab_http_new_session(lua_State *L);
/* The client of the session at idx, opened if it was not; raises ECLOSED. */
ab_client *ab_http_client(lua_State *L, int idx, const char *what);
void ab_http_session_end(lua_State *L, ab_http_session *s);
/* Pushes the session of a client, or nil: it is the default one. */
void ab_http_push_session(lua_State *L, const ab_client *client);
int ab_http_l_session(lua_State *L);
int ab_http_l_session_close(lua_State *L);
int ab_http_l_session_tostring(lua_State *L);
int ab_http_l_session_index(lua_State *L);
int ab_http_l_session_map(lua_State *L);

/* ---- http.c, for the Lua parts ---- */

/* The function behind http.get and the others, when all is put together:
 * (session, verb, method, url, options). */
int ab_http_fetch(lua_State *L);
/* "http.get"; raises for what is no verb. */
const char *ab_http_verb_name(lua_State *L, int arg);

/* ---- http_core.c ---- */

/* Calls a function of the Lua parts ("request") with the values on
 * the stack from 1 on and returns its results.  The last statement. */
int ab_http_call(lua_State *L, const char *name);
/* Reads a list of names and values ({"proxy", "http://...", "verify", 0}) into
 * settings.  They lie in a userdata that is pushed and point to strings of the
 * list. */
const ab_setting *ab_http_settings(lua_State *L, int idx, unsigned *count);

/* ---- http_feed.c ---- */

/* For the Lua parts: (length or nil) -> Upload. */
int ab_http_new_feed(lua_State *L);
/* The feed of the userdata at idx, or NULL; it is the script's no more than
 * before. */
ab_feed *ab_http_feed(lua_State *L, int idx);

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
    int whole;             /* read, text or json gave all of it */
    int taken;             /* else chunks, lines or save took some */
    int saving;            /* save has it to itself */
    int closed;
    int tells; /* there is an on_progress */
    size_t head_bytes;
    char head[]; /* raw, from the status line on */
} ab_response;

/* Its user values. */
enum {
    AB_RESPONSE_BODY = 1, /* a string; of one with a transfer its session, so
                             that it is not collected before, or nil */
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

/* What is there of the body, valid until the next wait. */
const char *ab_response_rest(lua_State *L, const ab_response *r, const char *op,
                             size_t *bytes);
/* Functions of http_save.lua.  (response, on_progress or nil) -> whom to tell,
 * the length of the body: begins to save it, keeping it from others, or
 * raises. */
int ab_response_begin(lua_State *L);
/* (response): others may have it again. */
int ab_response_release(lua_State *L);
/* (response): waits for more; true, or false: that was all. */
int ab_response_fill(lua_State *L);
/* The continuation of calling that. */
int ab_response_saved(lua_State *L, int status, lua_KContext ctx);

/* ---- http_save.c ---- */

int ab_response_save(lua_State *L);

/* ---- http_text.c ---- */

/* The charset of Content-Type; bytes 0: it names none. */
void ab_http_find_charset(const ab_response *r, const char **charset,
                          size_t *bytes);

/* The one that the page on top of the stack names in its first kilobyte, if
 * it is known. */
void ab_http_meta_charset(lua_State *L, const char **charset, size_t *bytes);

/* Replaces the string on top of the stack by the same text in UTF-8.  charset:
 * as the response or the script says; bytes 0: not said.  Raises: `op`. */
void ab_http_decode(lua_State *L, const char *op, const char *charset,
                    size_t bytes);

#endif
