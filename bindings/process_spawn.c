/* process_spawn.c - from arguments and options to a running child. */
#include "process.h"
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

#define GRACE_NS ((int64_t)2 * 1000000000)
enum { HIGH_WATER = 64 << 10 };

/* The arguments of core.spawn on the stack, and what is put above them. */
enum { WHAT = 1, PROGRAM, ARGS, OPTIONS, FROM, LINK, KEEP, OBJECT };

typedef enum stdio {
    STDIO_PIPE,
    STDIO_NULL,
    STDIO_INHERIT,
    STDIO_STDOUT, /* stderr: where stdout goes */
    STDIO_LINK    /* the other end is another child's */
} stdio;

typedef struct spawn_plan {
    const char *what;
    int shell, clear_env;
    stdio stdio[3];
    ab_child_plan child;
    int ours[3]; /* descriptors of ours that are closed once it runs */
    ab_stream *streams[3];
    char path[PATH_MAX];
} spawn_plan;

static const char *const stdio_keys[] = {"stdin", "stdout", "stderr"};

/* ---- options ---- */

static const char *check_text(lua_State *L, int idx, const char *what,
                              const char *name)
{
    size_t len;
    int type = lua_type(L, idx);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        ab_misuse(L, "%s: %s must be a string, got %s", what, name,
                  luaL_typename(L, idx));
    const char *text = lua_tolstring(L, idx, &len);
    if (strlen(text) != len)
        ab_misuse(L, "%s: %s must not hold a zero byte", what, name);
    return text;
}

static stdio check_stdio(lua_State *L, const spawn_plan *plan, int i)
{
    static const char *const names[] = {"pipe", "null", "inherit", "stdout"};
    stdio found = STDIO_LINK;
    if (lua_isnoneornil(L, OPTIONS) ||
        lua_getfield(L, OPTIONS, stdio_keys[i]) == LUA_TNIL)
        return STDIO_PIPE;
    const char *value = check_text(L, -1, plan->what, stdio_keys[i]);
    for (int k = STDIO_PIPE; k <= (i == 2 ? STDIO_STDOUT : STDIO_INHERIT); k++)
        if (strcmp(value, names[k]) == 0)
            found = (stdio)k;
    if (found == STDIO_LINK)
        ab_misuse(L,
                  "%s: option '%s' must be 'pipe', 'null'%s 'inherit'%s, got "
                  "'%s'",
                  plan->what, stdio_keys[i], i == 2 ? "," : " or",
                  i == 2 ? " or 'stdout'" : "", value);
    /* Of a sandbox nothing but print reaches the host's own streams. */
    if (found == STDIO_INHERIT && ab_box_of(L)->sandbox)
        ab_grants_deny(L, plan->what, "stream", stdio_keys[i],
                       "a sandbox has no standard streams to inherit");
    lua_pop(L, 1);
    return found;
}

static void read_options(lua_State *L, spawn_plan *plan, ab_process *p)
{
    static const char *const known[] = {
        "stdin", "stdout", "stderr", "cwd",        "env", "clear_env",
        "shell", "group",  "grace",  "high_water", NULL};
    ab_options_check(L, OPTIONS, plan->what, known);
    for (int i = 0; i < 3; i++)
        plan->stdio[i] = check_stdio(L, plan, i);
    if (!lua_isnoneornil(L, OPTIONS)) {
        if (lua_getfield(L, OPTIONS, "cwd") != LUA_TNIL) {
            plan->child.cwd = check_text(L, -1, plan->what, "cwd");
            lua_pushvalue(L, -1);
            lua_rawsetp(L, KEEP, &plan->child.cwd);
        }
        lua_pop(L, 1);
    }
    plan->shell = ab_option_boolean(L, OPTIONS, "shell", 0);
    plan->clear_env = ab_option_boolean(L, OPTIONS, "clear_env", 0);
    p->group = ab_option_boolean(L, OPTIONS, "group", plan->shell) ? 1 : 0;
    p->grace_ns = ab_option_seconds(L, OPTIONS, "grace", GRACE_NS);
    if (plan->child.cwd)
        ab_grants_check_path(L, AB_GRANT_READ, plan->what, plan->child.cwd);
}

/* ---- program, arguments, environment ---- */

/* Room for n pointers and a NULL, which lives as long as KEEP. */
static char **pointers(lua_State *L, size_t n)
{
    char **list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0);
    memset(list, 0, (n + 1) * sizeof *list);
    lua_rawseti(L, KEEP, (lua_Integer)lua_rawlen(L, KEEP) + 1);
    return list;
}

/* Keeps the string on top of the stack (popped). */
static char *keep(lua_State *L)
{
    char *text = (char *)lua_tostring(L, -1);
    lua_rawseti(L, KEEP, (lua_Integer)lua_rawlen(L, KEEP) + 1);
    return text;
}

static void make_argv(lua_State *L, spawn_plan *plan)
{
    size_t n = lua_rawlen(L, ARGS), at = 0;
    check_text(L, PROGRAM, plan->what, "the program");
    plan->child.argv = pointers(L, n + 4);
    if (plan->shell) {
        plan->child.argv[at++] = (char *)"sh";
        plan->child.argv[at++] = (char *)"-c";
    }
    lua_pushvalue(L, PROGRAM);
    plan->child.argv[at++] = keep(L);
    if (plan->shell && n)
        plan->child.argv[at++] = (char *)"sh"; /* $0 */
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, ARGS, (lua_Integer)i);
        check_text(L, -1, plan->what, "an argument");
        plan->child.argv[at++] = keep(L);
    }
}

/* Is this "NAME=value" entry set anew, or taken out, by the table at idx? */
static int is_overridden(lua_State *L, int idx, const char *entry)
{
    lua_pushlstring(L, entry, strcspn(entry, "="));
    int found = lua_rawget(L, idx) != LUA_TNIL;
    lua_pop(L, 1);
    return found;
}

static int is_loader_name(const char *name)
{
    return strncmp(name, "LD_", 3) == 0 || strncmp(name, "DYLD_", 5) == 0;
}

/* On top of the stack: name, value. Adds "name=value" unless value is false. */
static void add_variable(lua_State *L, spawn_plan *plan, size_t *at)
{
    const char *name = lua_type(L, -2) == LUA_TSTRING
                           ? check_text(L, -2, plan->what, "a name in env")
                           : "";
    if (!*name || strchr(name, '='))
        ab_misuse(L, "%s: env: names must be strings without '='", plan->what);
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        return;
    const char *value = check_text(L, -1, plan->what, "a value in env");
    /* Would load code into any program: `*` must not mean that. */
    if (ab_box_of(L)->sandbox && is_loader_name(name))
        ab_grants_deny(L, plan->what, "name", name,
                       "a sandbox may not set what the loader reads");
    /* GIT_SSH_COMMAND, PERL5OPT, BASH_ENV: what a program does is up to its
     * environment. */
    ab_grants_check_env(L, plan->what, name);
    lua_pushfstring(L, "%s=%s", name, value);
    plan->child.env[(*at)++] = keep(L);
}

/* Does the child get this "NAME=value" of ours, unless env says otherwise? */
static int is_inherited(lua_State *L, const spawn_plan *plan, const char *entry)
{
    return !plan->clear_env &&
           ab_grants_env_allowed(&ab_box_of(L)->grants, entry,
                                 strcspn(entry, "="));
}

static void make_env(lua_State *L, spawn_plan *plan)
{
    int given = !lua_isnoneornil(L, OPTIONS) &&
                lua_getfield(L, OPTIONS, "env") != LUA_TNIL;
    size_t n = 0, at = 0;
    if (!given && !plan->clear_env && ab_box_of(L)->grants.trusted)
        return; /* as it is */
    if (!given)
        lua_newtable(L);
    if (!lua_istable(L, -1))
        ab_misuse(L, "%s: option 'env' must be a table, got %s", plan->what,
                  luaL_typename(L, -1));
    int idx = lua_absindex(L, -1);
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1))
        n++;
    for (char **e = environ; e && *e; e++)
        n++;
    plan->child.env = pointers(L, n);
    for (char **e = environ; e && *e; e++)
        if (is_inherited(L, plan, *e) && !is_overridden(L, idx, *e))
            plan->child.env[at++] = *e;
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1))
        add_variable(L, plan, &at);
}

static int may_enter(const char *folder)
{
    struct stat st;
    return stat(folder, &st) == 0 && S_ISDIR(st.st_mode) &&
           access(folder, X_OK) == 0;
}

/* Why it could not start: the folder or the program. */
static int fail(lua_State *L, const spawn_plan *plan, int code)
{
    if (plan->child.cwd && !may_enter(plan->child.cwd))
        return ab_error_path(L, code, plan->what, plan->child.cwd);
    return ab_error_raise(
        L, code,
        &(ab_detail){plan->what, NULL, "path",
                     plan->shell ? "/bin/sh" : lua_tostring(L, PROGRAM)});
}

static void find_program(lua_State *L, spawn_plan *plan)
{
    const ab_grants *grants = &ab_box_of(L)->grants;
    const char *name = plan->shell ? "/bin/sh" : plan->child.argv[0];
    /* With a cwd a relative path belongs to that folder. */
    if (grants->trusted && strchr(name, '/') && strlen(name) < PATH_MAX) {
        memcpy(plan->path, name, strlen(name) + 1);
        return;
    }
    int err = ab_program_find(name, plan->path, sizeof plan->path);
    if (!grants->trusted &&
        (err || !ab_grants_program_allowed(grants, plan->path)))
        ab_grants_denied_program(L, plan->what, name);
    if (err)
        fail(L, plan, err);
}

/* ---- descriptors: nothing raises from here on ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A pipe between the child's descriptor i and a stream of ours, or (last but
 * one in a pipeline) the next child.  Real pipes and not socket pairs: a child
 * may open /dev/stdout. */
static int open_pipe(spawn_plan *plan, ab_process *p, int i)
{
    uv_file fds[2];
    int in = i == 0, stream = plan->stdio[i] == STDIO_PIPE;
    int err = uv_pipe(fds, in || !stream ? 0 : UV_NONBLOCK_PIPE,
                      in ? UV_NONBLOCK_PIPE : 0);
    if (err)
        return err;
    plan->child.fds[i] = plan->ours[i] = fds[in ? 0 : 1];
    int mine = fds[in ? 1 : 0];
    if (!stream) {
        p->link = mine;
        return 0;
    }
    err = ab_stream_open_pipe(plan->streams[i], mine);
    if (err)
        close(mine);
    return err;
}

static int open_stdio(spawn_plan *plan, ab_process *p, ab_process *from)
{
    for (int i = 0; i < 3; i++) {
        int err = 0;
        if (i == 0 && plan->stdio[0] == STDIO_LINK) {
            plan->child.fds[0] = plan->ours[0] = from->link;
            from->link = -1;
        } else if (plan->stdio[i] == STDIO_PIPE ||
                   plan->stdio[i] == STDIO_LINK) {
            err = open_pipe(plan, p, i);
        } else if (plan->stdio[i] == STDIO_INHERIT) {
            plan->child.fds[i] = i;
        } else if (plan->stdio[i] == STDIO_STDOUT) {
            plan->child.fds[i] = plan->child.fds[1];
        }
        if (err)
            return err;
    }
    return 0;
}

static int start(spawn_plan *plan, ab_process *p, ab_process *from)
{
    int err = open_stdio(plan, p, from);
    plan->child.path = plan->path;
    plan->child.session = p->group;
    if (!err)
        err = ab_process_start(p, &plan->child);
    for (int i = 0; i < 3; i++)
        close_fd(&plan->ours[i]);
    if (!err)
        return 0;
    ab_process_close_link(p);
    for (int i = 0; i < 3; i++)
        if (plan->streams[i])
            ab_stream_end(plan->streams[i]);
    return err;
}

/* ---- core.spawn ---- */

static void make_streams(lua_State *L, spawn_plan *plan)
{
    size_t high_water = (size_t)ab_option_integer(L, OPTIONS, "high_water",
                                                  HIGH_WATER, 0, INT_MAX);
    for (int i = 0; i < 3; i++) {
        if (plan->stdio[i] != STDIO_PIPE)
            continue;
        plan->streams[i] = ab_stream_new(
            L, stdio_keys[i], i == 0 ? AB_STREAM_WRITE : AB_STREAM_READ);
        ab_stream_set_high_water(plan->streams[i], high_water);
        lua_setiuservalue(L, OBJECT, i + 1);
    }
}

static int spawn(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    spawn_plan plan = {.child.fds = {-1, -1, -1}, .ours = {-1, -1, -1}};
    lua_newtable(L); /* KEEP */
    plan.what = luaL_checkstring(L, WHAT);
    /* What is made while lua_close runs finalizers is never collected. */
    if (ab_box_of(L)->closing)
        return ab_error_raise(
            L, ASYNCBOX_ECLOSED,
            &(ab_detail){plan.what, "the box is closing", 0, 0});
    ab_process *p = ab_process_new(L); /* OBJECT */
    ab_process **from = ab_object_test(L, FROM, &ab_process_class);
    read_options(L, &plan, p);
    make_argv(L, &plan);
    find_program(L, &plan);
    make_env(L, &plan);
    if (from)
        plan.stdio[0] = STDIO_LINK;
    if (lua_toboolean(L, LINK))
        plan.stdio[1] = STDIO_LINK;
    lua_settop(L, OBJECT);
    make_streams(L, &plan);
    int err = start(&plan, p, from ? *from : NULL);
    if (err)
        return fail(L, &plan, err);
    lua_settop(L, OBJECT);
    return 1;
}

/* Will the child write where we print?  Wrong options are found later. */
static int shares_output(lua_State *L)
{
    int shares = 0;
    if (!lua_istable(L, OPTIONS))
        return 0;
    for (int i = 1; i < 3; i++) {
        if (lua_getfield(L, OPTIONS, stdio_keys[i]) == LUA_TSTRING)
            shares |= strcmp(lua_tostring(L, -1), "inherit") == 0;
        lua_pop(L, 1);
    }
    return shares;
}

int ab_process_spawn(lua_State *L)
{
    static const ab_stdout_catch c = {AB_STDOUT_WAIT("process.spawn"), spawn};
    lua_settop(L, LINK);
    luaL_checktype(L, ARGS, LUA_TTABLE);
    return shares_output(L) ? ab_stdout_catch_up(L, &c) : spawn(L, LUA_OK, 0);
}
