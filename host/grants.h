/* grants.h - what a box may touch: the one check that bindings call.
 *
 * A trusted box may do everything.  A sandboxed one may do what was granted:
 *   read, write   a folder (and all below) or a file
 *   net           host, host:port, address, network, or *; connecting only
 *   listen        address, network, "localhost", port or *; accepting, and
 *                 binding a socket for datagrams
 *   run           a program, by its path or its name in PATH, or *
 *   env           a variable of the environment: NAME, or PREFIX*, or *
 *   stdin         reading standard input: *
 *
 * Files are decided on what is really reached: grants_path.c opens relative to
 * the descriptor of a granted folder.  Sockets are decided twice: on the name
 * that the script asked for, and on the address that is about to be connected;
 * addr.h says which addresses are public. */
#ifndef AB_GRANTS_H
#define AB_GRANTS_H

#include "addr.h"
#include <lua.h>
#include <sys/socket.h>

typedef struct ab_box ab_box;

typedef enum ab_grant_kind {
    AB_GRANT_READ,
    AB_GRANT_WRITE,
    AB_GRANT_NET,
    AB_GRANT_LISTEN,
    AB_GRANT_RUN,
    AB_GRANT_ENV,
    AB_GRANT_STDIN,
    AB_GRANT_KINDS
} ab_grant_kind;

typedef struct ab_grant_rule {
    struct ab_grant_rule *next;
    char *text; /* as given: "data", "example.org:443" */

    /* read, write */
    char *path;  /* the real path when the rule was made. run: see grants_run.c;
                    NULL is any */
    char *leaf;  /* NULL: `dir` is the granted folder. Else the granted file (or
                    what was not there yet) is this name in the folder `dir` */
    int dir;     /* descriptor, -1: none */
    int special; /* a device, FIFO or socket, granted by its own name */
    int proc;    /* lies in /proc */

    /* net, listen */
    char *host; /* lower case; NULL: any ("*"), or it is an address */
    int port;   /* 0 is any */
    int bits;   /* >= 0: an address (128) or a network */
    ab_addr addr;

    /* env */
    size_t name_bytes; /* of text: the name, or what it must begin with */
    int is_prefix;
} ab_grant_rule;

typedef struct ab_grants {
    int trusted; /* 1: everything is allowed */
    int walk;    /* do not use openat2: for specs */
    ab_grant_rule *rules[AB_GRANT_KINDS];
} ab_grants;

void ab_grants_init(ab_grants *grants, int trusted);
void ab_grants_deinit(ab_grants *grants);

/* Adds a rule.  0, UV_EINVAL (cannot be read), UV_ENOMEM, or the error of
 * resolving the path. A path that is not there yet may be granted if its
 * folder is there. */
int ab_grants_add(ab_grants *grants, ab_grant_kind kind, const char *rule);

/* "read" -> AB_GRANT_READ; -1 when there is no such kind. */
int ab_grant_kind_of(const char *name);

/* Raises EDENIED with a field "hint": what would allow it.  `key` and `value`
 * as in ab_detail.  Never returns. */
int ab_grants_deny(lua_State *L, const char *op, const char *key,
                   const char *value, const char *hint);

/* ---- files ---- */

/* Step 2 of a binding: raises EDENIED (naming op, path and the flag that would
 * allow it) when `path` is under no root of this kind.  This is the early
 * answer for people; what is opened in a sandbox must be opened through
 * ab_grants_open, which decides.  Looks at the file system only when the text
 * of the path is not below a root as it stands. */
void ab_grants_check_path(lua_State *L, ab_grant_kind kind, const char *op,
                          const char *path);

/* The same without Lua: 1 unless what is opened there would be refused for
 * sure. No answer to trust. */
int ab_grants_path_possible(const ab_grants *grants, ab_grant_kind kind,
                            const char *path);
/* Is it below a root by its text alone, and without ".."? */
int ab_grants_path_below(const ab_grants *grants, ab_grant_kind kind,
                         const char *path);

/* Raises the EDENIED of ab_grants_check_path: for a binding whose
 * ab_grants_open gave that code.  Never returns. */
int ab_grants_denied_path(lua_State *L, ab_grant_kind kind, const char *op,
                          const char *path);

/* Opens a file for a box, deciding on the file that is really reached:
 * trusted, as open(2); else relative to a root's descriptor so that neither
 * `..` nor a symlink leads out (openat2 with RESOLVE_BENEATH where there is
 * one, else a walk without following symlinks).  `flags` and `mode` as
 * open(2); write is needed when flags open for writing or create, and read and
 * write for O_RDWR.  In a sandbox devices, FIFOs and sockets are refused unless
 * granted by their own name, and files of /proc unless a root lies there.
 * Opening a FIFO waits for its other side as open(2) does, unless flags say
 * O_NONBLOCK; a sandbox never waits.  Blocks: call it in the thread pool.
 * Gives a close-on-exec descriptor or a negative code (ASYNCBOX_EDENIED).  Any
 * thread: reads the grants only. */
int ab_grants_open(const ab_grants *grants, const char *path, int flags,
                   int mode);

/* The same of a folder, for fstat only: never waits, so that the loop's thread
 * may call it.  Negative when it is no folder, not granted, or when the kernel
 * would have to look it up: then nothing is known. */
int ab_grants_open_cached(const ab_grants *grants, const char *path);

#define AB_LEAF_MAX 256

/* Opens the folder that holds `path`, for the *at() calls that make, replace or
 * remove the name in it, and gives that name ("" never, nor "." or "..").  The
 * last component itself is not followed nor looked at.  In a sandbox the folder
 * must be granted as a whole, or `path` exactly.  Blocks.  A descriptor or a
 * negative code.  Any thread. */
int ab_grants_open_parent(const ab_grants *grants, ab_grant_kind kind,
                          const char *path, char leaf[AB_LEAF_MAX]);

/* For a sandbox: the place that a path means, for *at() calls with
 * AT_SYMLINK_NOFOLLOW: the descriptor of a granted folder and a name in it, "."
 * for a folder that is a root itself or whose path ends in a slash or dots.
 * `follow`: if the last component is a link, the place where it leads, which
 * has to be there and granted too.  A caller that follows no link at the name
 * stays below the roots whatever is renamed meanwhile.  Blocks.  A descriptor
 * (good for *at() only) or a negative code.  Any thread. */
int ab_grants_open_place(const ab_grants *grants, ab_grant_kind kind,
                         const char *path, int follow, char leaf[AB_LEAF_MAX]);

/* Opens a Unix socket that may be read and written, as a descriptor that stands
 * for the file alone (O_PATH): to be connected as "/proc/self/fd/N", whatever
 * its name means by then.  A descriptor or a negative code (UV_ENOTSOCK). Looks
 * at the file system: a few calls that don't wait for a disk but in theory. */
int ab_grants_open_socket(const ab_grants *grants, const char *path);

/* For grants_*.c: `path` from the root of the file system, without doubled
 * slashes and "." between them; ".." and a slash at the end stay, they mean
 * something.
 * NULL: no memory, or no current folder.  Freed by the caller. */
char *ab_path_absolute(const char *path);
/* The real path of `abs`; of something that is not there, the real path of the
 * folder that is and the rest as it stands.  NULL when there is no telling.
 * Freed by the caller. */
char *ab_path_real(const char *abs);
/* The part of `abs` below the rule's path ("" is the path itself), or NULL when
 * the text isn't below it. */
const char *ab_grant_below(const ab_grant_rule *rule, const char *abs);

/* Is one of the names in it ".."?  Looks at the text only. */
int ab_path_has_dotdot(const char *path);

/* For grants.c: fills in a rule of kind read or write.  0 or a code. */
int ab_grants_root(ab_grant_rule *rule, const char *path);

/* ---- net ----
 * Rules: "host", "host:port", "*", "*:port", "1.2.3.4", "[::1]:80", "::1",
 * "10.0.0.0/8", "10.0.0.0/8:80", "[fd00::]/8", "fd00::/8".  Names are kept and
 * compared as the DNS has them (idna.h); one that is not ASCII is never
 * allowed.
 * "*" and names allow public addresses only; loopback, private, link-local and
 * other special addresses must be granted as such: by the address, by a network
 * that holds it, or by "localhost" for all of loopback. */

/* In the place of a port: some port of this host is granted. */
enum { AB_PORT_ANY = -1 };

/* Step 2, and again for each redirect: raises EDENIED. */
void ab_grants_check_host(lua_State *L, const char *op, const char *host,
                          int port);

/* The same without Lua: 1 when allowed.  `host` is a name or an address as
 * text, in any spelling.  Any thread. */
int ab_grants_host_allowed(const ab_grants *grants, const char *host, int port);

/* "localhost" and names below it stand for this machine (RFC 6761) and are not
 * looked up.  1 when `host` is one. */
int ab_host_is_localhost(const char *host);

/* May this address be connected, which `name` (what the script asked for, a
 * name or an address as text) resolved to?  1 when the address is granted
 * itself, or the name is and the address is public.  To be asked with the very
 * address that goes into connect(2).  Any thread. */
int ab_grants_address_allowed(const ab_grants *grants, const char *name,
                              const struct sockaddr *addr);

/* May a script know this address, which `name` resolved to?  1 when some port
 * of it may be connected. */
int ab_grants_answer_allowed(const ab_grants *grants, const char *name,
                             const struct sockaddr *addr);

/* Raises the EDENIED of ab_grants_address_allowed, naming the address and the
 * flag.  Never returns. */
int ab_grants_denied_address(lua_State *L, const char *op,
                             const struct sockaddr *addr);

/* ---- listen ----
 * Rules: as for net, but names other than localhost cannot be granted, and "*"
 * and "*:80" (or "80") are every address of this machine.  0.0.0.0 and :: are
 * addresses like others. */

/* Raises EDENIED unless this may be bound: to be asked with the very address
 * that goes into bind(2). */
void ab_grants_check_listen(lua_State *L, const char *op,
                            const struct sockaddr *addr);

/* The same without Lua: 1 when allowed.  Any thread. */
int ab_grants_listen_allowed(const ab_grants *grants,
                             const struct sockaddr *addr);

/* ---- run ---- */

/* Finds a program as execvp would, with the PATH of this process: the absolute
 * path to start it by.  0 or a code (UV_ENOENT, UV_EACCES). */
int ab_program_find(const char *name, char *out, size_t bytes);

/* May this path, which ab_program_find gave, be started? */
int ab_grants_program_allowed(const ab_grants *grants, const char *path);

/* Raises EDENIED for a program.  Never returns. */
int ab_grants_denied_program(lua_State *L, const char *op, const char *program);

/* For grants.c: fills in a rule of kind run.  0 or a code. */
int ab_grants_program_rule(ab_grant_rule *rule, const char *text);

/* ---- env ---- */

/* May the variable `name` be read, handed to a program, or set for one? */
int ab_grants_env_allowed(const ab_grants *grants, const char *name,
                          size_t bytes);

/* Raises EDENIED. */
void ab_grants_check_env(lua_State *L, const char *op, const char *name);

#endif
