/* html.c - the module asyncbox.html: parse.
 *
 * Parsing is work of 70 ms a megabyte, so it is done in the thread pool, at
 * most two pages of a box at a time: files must get their turn there.  The
 * memory that it works in is one block of the box, taken before (the pool may
 * not), which holds the tree in the end and is cut to its size: see
 * docs/decisions/0017-html-is-parsed-in-an-arena.md. */
#include "html.h"
#include <string.h>

enum { AT_ONCE = 2 };

/* How large a block is at first, and how much larger the next one. */
enum { BLOCK_LEAST = 256 << 10, BLOCK_PER_BYTE = 40, BLOCK_GROWTH = 4 };

enum { MAX_NODES = 1000000, MAX_MEMORY = 256 << 20, TIMEOUT_SECONDS = 10 };

/* One a box, a userdata in the registry. */
typedef struct parser {
    ab_link waiting; /* parse_ops that have no thread yet */
    int running;
} parser;

static const char parser_key = 0;

typedef struct parse_op {
    ab_op op;
    ab_link link; /* in parser->waiting */
    parser *parser;
    uv_work_t work;
    ab_html_job job;
    int status; /* what the pool says */
    char *text; /* a copy: the script's string may go while we work */
    size_t text_bytes;
    size_t max_memory;
    int64_t timeout_ns;
} parse_op;

static size_t first_block(size_t bytes)
{
    return BLOCK_LEAST + BLOCK_PER_BYTE * bytes;
}

static parse_op *of_work(uv_work_t *work)
{
    return ab_container(work, parse_op, work);
}

static void on_worked(uv_work_t *work, int status);

/* In the pool. */
static void on_work(uv_work_t *work)
{
    parse_op *o = of_work(work);
    o->job.deadline_ns = uv_hrtime() + (uint64_t)o->timeout_ns;
    o->status = ab_html_gumbo_parse(&o->job);
}

/* A block of as much as wanted, or of what the box has left if that may do. */
static int take_block(parse_op *o, size_t wanted)
{
    size_t had = o->job.block_bytes;
    ab_box_free(o->op.box, o->job.block, had);
    o->job.block = NULL;
    size_t least = had ? had + had / 4 : BLOCK_LEAST / 4 + 8 * o->text_bytes;
    if (wanted > o->max_memory)
        wanted = o->max_memory;
    if (least > wanted)
        least = wanted;
    for (; !o->job.block && wanted >= least; wanted -= wanted / 4) {
        o->job.block = ab_box_alloc(o->op.box, wanted);
        o->job.block_bytes = o->job.block ? wanted : 0;
    }
    return o->job.block ? 0 : UV_ENOMEM;
}

static int start(parse_op *o, size_t block_bytes)
{
    int err = take_block(o, block_bytes);
    if (err)
        return err;
    return ab_workers_queue(&o->op.box->loop.uv, &o->work, on_work, on_worked);
}

/* 0, or it has failed at once. */
static int start_first(parse_op *o)
{
    o->parser->running++;
    int err = start(o, first_block(o->text_bytes));
    if (err)
        o->parser->running--;
    return err;
}

static void start_waiting(parser *p)
{
    ab_link *link;
    while (p->running < AT_ONCE && (link = ab_list_first(&p->waiting))) {
        parse_op *o = ab_container(link, parse_op, link);
        ab_list_remove(link);
        int err = start_first(o);
        if (err)
            ab_op_finish(&o->op, err);
    }
}

/* What is left is the tree alone. */
static void cut_block(parse_op *o)
{
    size_t bytes = ((ab_html_tree *)(void *)o->job.block)->bytes;
    char *cut =
        ab_box_realloc(o->op.box, o->job.block, o->job.block_bytes, bytes);
    if (!cut)
        return; /* stays as large as it is */
    o->job.block = cut;
    o->job.block_bytes = bytes;
}

static void on_worked(uv_work_t *work, int status)
{
    parse_op *o = of_work(work);
    parser *p = o->parser;
    if (status == 0)
        status = o->status;
    if (status == UV_ENOBUFS && atomic_load(&o->job.stop))
        status = UV_ECANCELED;
    if (status == UV_ENOBUFS) {
        if (o->job.block_bytes >= o->max_memory)
            status = UV_EFBIG;
        else if ((status = start(o, BLOCK_GROWTH * o->job.block_bytes)) == 0)
            return;
    }
    if (status == 0)
        cut_block(o);
    if (!o->op.box
             ->closing) { /* else the parser is gone, or has none waiting */
        p->running--;
        start_waiting(p);
    }
    ab_op_finish(&o->op, status);
}

static void parse_cancel(ab_op *op)
{
    parse_op *o = (parse_op *)op;
    if (o->link.next) {
        ab_list_remove(&o->link);
        ab_op_finish(op, UV_ECANCELED);
        return;
    }
    atomic_store(&o->job.stop, 1);
    uv_cancel((uv_req_t *)&o->work); /* if no thread has it yet */
}

static void parse_drop(ab_op *op)
{
    parse_op *o = (parse_op *)op;
    ab_box_free(op->box, o->job.block, o->job.block_bytes);
    ab_box_free(op->box, o->text, o->text_bytes);
}

static int raise_failure(lua_State *L, const parse_op *o)
{
    const char *limit = NULL, *message = NULL;
    int code = o->op.status;
    if (code == UV_EFBIG) {
        code = ASYNCBOX_ELIMIT;
        limit = "max_memory";
        message = lua_pushfstring(
            L, "parsing takes more than %I bytes (see the option max_memory)",
            (LUAI_UACINT)o->max_memory);
    } else if (code == ASYNCBOX_ELIMIT) {
        limit = "max_nodes";
        message =
            lua_pushfstring(L, "more than %I nodes (see the option max_nodes)",
                            (LUAI_UACINT)o->job.max_nodes);
    } else if (code == UV_ETIMEDOUT) {
        message = lua_pushfstring(
            L, "parsing takes more than %f s (see the option timeout)",
            (LUAI_UACNUMBER)o->timeout_ns / 1e9);
    }
    return ab_error_raise(
        L, code,
        &(ab_detail){o->op.type->name, message, limit ? "limit" : NULL, limit});
}

/* To Lua a document is a few bytes: without this, dead ones would pile up. */
static void tell_collector(lua_State *L, size_t bytes)
{
    if (lua_gc(L, LUA_GCISRUNNING))
        lua_gc(L, LUA_GCSTEP, (int)(bytes / 1024 + 1));
}

static int parse_push(lua_State *L, ab_op *op)
{
    parse_op *o = (parse_op *)op;
    luaL_checkstack(L, 6, NULL);
    if (op->status < 0)
        return raise_failure(L, o);
    ab_html_tree **owner = ab_html_owner_new(L);
    ab_html_tree *tree = *owner = (ab_html_tree *)(void *)o->job.block;
    tree->bytes = o->job.block_bytes; /* the owner gives back that many */
    o->job.block = NULL;
    o->job.block_bytes = 0;
    ab_html_tree_place(tree);
    ab_html_node_push(L, lua_gettop(L), tree, 0);
    tell_collector(L, tree->bytes);
    return 1;
}

static const ab_op_type parse_type = {
    "html.parse", sizeof(parse_op), AB_OP_EXTERNAL,
    parse_push,   parse_cancel,     parse_drop,
    NULL};

static parser *parser_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &parser_key);
    parser *p = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return p;
}

/* Waits' memory collects no garbage by itself. */
static void make_room(lua_State *L, size_t bytes)
{
    const ab_limits *limits = &ab_box_of(L)->limits;
    if (limits->cap_bytes - limits->used_bytes < first_block(bytes) + bytes)
        lua_gc(L, LUA_GCCOLLECT);
}

static int l_parse(lua_State *L)
{
    static const char *const known[] = {"max_nodes", "max_memory", "timeout",
                                        NULL};
    static const char bom[] = "\xef\xbb\xbf";
    ab_task_check(L, "html.parse");
    size_t bytes;
    luaL_checktype(L, 1, LUA_TSTRING);
    const char *text = lua_tolstring(L, 1, &bytes);
    ab_options_check(L, 2, "html.parse", known);
    lua_Integer max_nodes =
        ab_option_integer(L, 2, "max_nodes", MAX_NODES, 1, 200000000);
    lua_Integer max_memory = ab_option_integer(L, 2, "max_memory", MAX_MEMORY,
                                               BLOCK_LEAST, UINT32_MAX);
    int64_t timeout_ns =
        ab_option_seconds(L, 2, "timeout", TIMEOUT_SECONDS * 1000000000LL);
    if (ab_html_gumbo_open() < 0)
        return ab_error_raise(L, UV_ENOTSUP,
                              &(ab_detail){"html.parse",
                                           "cannot open " ASYNCBOX_GUMBO_SONAME,
                                           NULL, NULL});
    parser *p = parser_of(L);
    if (bytes >= 3 && memcmp(text, bom, 3) == 0) {
        text += 3; /* gumbo takes it for text, which begins the body */
        bytes -= 3;
    }

    make_room(L, bytes);

    parse_op *o = (parse_op *)ab_op_new(L, &parse_type);
    o->parser = p;
    o->job.max_nodes = (size_t)max_nodes;
    o->max_memory = (size_t)max_memory;
    o->timeout_ns = timeout_ns;
    o->text = ab_box_alloc(o->op.box, bytes + 1);
    if (!o->text)
        return ab_op_fail(L, &o->op, UV_ENOMEM, NULL, NULL);
    o->text_bytes = bytes + 1;
    memcpy(o->text, text, bytes);
    o->text[bytes] = '\0';
    o->job.text = o->text;
    o->job.bytes = bytes;
    int err = 0;
    if (p->running == AT_ONCE)
        ab_list_append(&p->waiting, &o->link);
    else
        err = start_first(o);
    if (err)
        return ab_op_fail(L, &o->op, err, NULL, NULL);
    return ab_task_park(L, &o->op);
}

static const luaL_Reg functions[] = {
    {"escape", ab_html_escape},
    {"parse", l_parse},
    {NULL, NULL},
};

extern const char ab_lua_html[];
extern const size_t ab_lua_html_len;

int ab_open_html(lua_State *L)
{
    if (!parser_of(L)) { /* a script may have made us be opened again */
        parser *p = lua_newuserdatauv(L, sizeof *p, 0);
        ab_list_init(&p->waiting);
        p->running = 0;
        lua_rawsetp(L, LUA_REGISTRYINDEX, &parser_key);
    }
    luaL_newlib(L, functions);
    ab_html_node_open(L);
    luaL_requiref(L, "asyncbox.url", ab_open_url, 0);
    lua_pushcfunction(L, ab_part_misuse);
    ab_lua_part(L, "html", ab_lua_html, ab_lua_html_len, 3, 0);
    return 1;
}
