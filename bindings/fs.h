/* fs.h - what the parts of the fs module share; nobody else includes it.
 *
 *   fs.c         open; the module
 *   fs_read.c    read
 *   fs_buffer.c  what it reads into
 *   fs_write.c   write
 *   fs_op.c      ops of one job on a path or two; places below the roots
 *   fs_turn.c    of many such ops at once only so many are under way
 *   fs_meta.c    calls on one name: stat, chmod, readlink, ...
 *   fs_mkdir.c   mkdir, rmdir
 *   fs_link.c    calls on two: rename, link, symlink
 *   fs_job.c     one blocking call at a time in libuv's thread pool
 *   fs_file.c    open files: their buffers and what runs on them
 *   fs_method.c  the methods that scripts call on them
 *   fs_disk.c    sync, stat, truncate of them
 *   fs_watch.c   watch
 *   fs_watch_loop.c  what the watches of a box share
 *   fs_format.c  "l", "L", "a", "n" and counts: from bytes to values */
#ifndef AB_FS_H
#define AB_FS_H

#include "binding.h"
#include <dirent.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <uv.h>

/* ---- fs_job.c ----
 *
 * A function that runs in the thread pool, and comes again when it says
 * UV_EAGAIN: its descriptor (a FIFO, a terminal; always opened O_NONBLOCK)
 * is not ready, so the loop polls it and no thread is held meanwhile.
 * Whatever a stuck FIFO does, the pool stays free and a box can close. */
typedef struct ab_fs_job ab_fs_job;

enum { AB_FS_IDLE, AB_FS_WORKING, AB_FS_POLLING, AB_FS_CLOSING };

struct ab_fs_job {
    union {
        uv_work_t work;
        uv_poll_t poll;
    } uv; /* one at a time */
    ab_box *box;
    /* In the pool: touches no Lua and no allocator of the box.  0 or a code. */
    int (*run)(ab_fs_job *job);
    /* On the loop's thread, the last of a job: it may be started anew or freed.
     * UV_ECANCELED: it was stopped, perhaps before it ever ran. */
    void (*done)(ab_fs_job *job, int status);
    /* NULL, or: it polls from now on and needs no thread.  As done. */
    void (*on_poll)(ab_fs_job *job);
    int fd;          /* what to poll, -1: nothing yet */
    int events;      /* UV_READABLE or UV_WRITABLE */
    int status;      /* what run gave */
    int state;       /* AB_FS_IDLE ... */
    atomic_int stop; /* run may look at it between two calls */
};

/* 0 or a code; then done is not called. */
int ab_fs_start(ab_fs_job *job);
/* Nobody waits for it any more: done comes as soon as can be. */
void ab_fs_stop(ab_fs_job *job);

/* In the pool: is a descriptor that may block ready to be read?  0 or
 * UV_EAGAIN.  (A FIFO that nobody has opened yet reads as ended else.) */
int ab_fs_ready(int fd);
/* In the pool: writes all, from *done on, at offset `at` (-1: at the file's
 * own); UV_EAGAIN leaves *done where it stopped. */
int ab_fs_write_all(ab_fs_job *job, int fd, const char *data, size_t bytes,
                    size_t *done, int64_t at);

/* ---- fs_buffer.c: memory that the pool reads whole files into ----
 *
 * The box's allocator is for the loop's thread only, so these are malloc's, and
 * counted apart: as long as there is a read, some of what came back is kept
 * for the next (4 MiB at most), and counted too. */
enum { AB_FS_KEPT = 16 };

typedef struct ab_fs_kept {
    char *data;
    size_t cap;
} ab_fs_kept;

typedef struct ab_fs_buffers {
    atomic_size_t bytes; /* given out, and kept */
    uv_mutex_t mutex;    /* guards the rest */
    int count;
    ab_fs_kept kept[AB_FS_KEPT];
} ab_fs_buffers;

typedef struct ab_fs_buffer {
    char *data; /* NULL: none yet */
    size_t cap;
    size_t budget; /* all buffers together may not pass it */
} ab_fs_buffer;

/* 0 or a code. */
int ab_fs_buffers_init(ab_fs_buffers *all);
void ab_fs_buffers_deinit(ab_fs_buffers *all);
/* Any thread: gives up what is kept.  1 if there was any. */
int ab_fs_buffers_drain(ab_fs_buffers *all);
/* Any thread: room for `cap` bytes or more, larger than before.  0 or
 * UV_ENOMEM, and it is as it was. */
int ab_fs_buffer_grow(ab_fs_buffers *all, ab_fs_buffer *buffer, size_t cap);
/* Any thread. */
void ab_fs_buffer_free(ab_fs_buffers *all, ab_fs_buffer *buffer);

/* ---- fs_op.c: ops of one job, on a path or two ---- */

/* of what is new, before the umask */
enum { AB_FS_PERMISSIONS = 0666, AB_FS_FOLDER_PERMISSIONS = 0777 };

typedef struct ab_fs_op {
    ab_op op;
    ab_fs_job job; /* job.fd: closed with the op */
    char *path;
    size_t path_bytes;
    ab_grant_kind kind;
    char *to; /* the second path, or NULL; field `to` of errors */
    size_t to_bytes;
    const char *refused; /* EDENIED: which path; NULL: `path` for `kind` */
    ab_grant_kind refused_kind;
    struct ab_fs_turns *turns; /* ab_fs_turn_start; else NULL */
    ab_link queued;            /* in turns->waiting */
    int turn;                  /* it has one */
} ab_fs_op;

ab_fs_op *ab_fs_op_of(ab_fs_job *job);
/* A path as an argument: raises when it holds a zero byte. */
const char *ab_fs_check_path(lua_State *L, int arg);
/* Step 3.  type->size may be larger; `run` works on ab_fs_op_of(job). */
ab_fs_op *ab_fs_op_new(lua_State *L, const ab_op_type *type, const char *path,
                       ab_grant_kind kind, int (*run)(ab_fs_job *));
/* Still step 3: a copy of the second path.  Raises; the op is gone then. */
void ab_fs_op_set_to(lua_State *L, ab_fs_op *o, const char *to);
/* Steps 4 and 5. */
int ab_fs_op_start(lua_State *L, ab_fs_op *o);
/* The first thing that push does: raises when it failed. */
void ab_fs_op_check(lua_State *L, ab_op *op);
void ab_fs_op_cancel(ab_op *op);
void ab_fs_op_drop(ab_op *op);
/* What the box has left, for a job whose memory is malloc's. */
size_t ab_fs_budget(const ab_limits *limits);
/* In the pool: opens the path as job.fd and looks at what it is.  0 or a code;
 * a folder is UV_EISDIR. */
int ab_fs_op_open(ab_fs_op *o, int flags, int mode, struct stat *st);

/* Where a path leads, for *at(dir, name, .., flags) calls in the pool.  In a
 * trusted box that is the path as it stands; in a sandbox a folder below a root
 * and a name in it that `flags` says not to follow, so the call stays below the
 * roots whatever is swapped meanwhile. */
typedef struct ab_fs_place {
    int dir;
    int flags; /* 0 or AT_SYMLINK_NOFOLLOW */
    const char *name;
    char leaf[AB_LEAF_MAX];
} ab_fs_place;

enum {
    AB_FS_FOLLOW = 1,  /* the place where a link leads */
    AB_FS_NO_SLASH = 2 /* slashes at the end mean nothing: a folder's name */
};

/* In the pool.  `path` is o->path or o->to (or part of one); a refusal is
 * recorded in the op.  0: to be closed; or a code. */
int ab_fs_place_open(ab_fs_op *o, ab_grant_kind kind, const char *path,
                     unsigned how, ab_fs_place *place);
/* As 0 or -1 came from a system call: 0 or the code; closes the place. */
int ab_fs_place_close(ab_fs_place *place, int result);

/* A push that gives true. */
int ab_fs_push_true(lua_State *L, ab_op *op);

/* ---- fs.c ---- */

/* Pushes a userdata of one pointer, NULL, with a finalizer: an upvalue of
 * functions, which scripts never see.  Gives where the pointer is. */
void *ab_fs_keep(lua_State *L, lua_CFunction gc);

/* ---- fs_turn.c: of many ops at once only so many are under way ----
 * From ab_fs_turn_start until the op is dropped.  Of a box; the loop's thread
 * only. */
typedef struct ab_fs_turns {
    int refs; /* the functions that share it, each op */
    int left;
    ab_link waiting; /* ops without a turn, the oldest first */
} ab_fs_turns;

/* Pushes a userdata, one pointer to new turns: an upvalue of functions. */
void ab_fs_turns_push(lua_State *L);
void ab_fs_turns_unref(ab_fs_turns *turns);
/* Step 4, in place of ab_fs_start: now, or when it is its turn.  0 or a code.
 * ab_fs_op_cancel and ab_fs_op_drop know about it. */
int ab_fs_turn_start(ab_fs_op *o, ab_fs_turns *turns);
/* Lets another one go already now. */
void ab_fs_turn_give(ab_fs_op *o);

/* ---- fs_meta.c ---- */

/* "file", "directory", "link", "fifo", "socket", "char", "block", "unknown" */
const char *ab_fs_type_name(mode_t mode);
/* The table that fs.stat gives. */
void ab_fs_push_stat(lua_State *L, const struct stat *st);
/* Step 2: raises EDENIED when a sandbox wants to set a set-ID bit.  -1: none
 * was given. */
void ab_fs_check_mode(lua_State *L, const char *op, const char *path, int mode);

/* ---- what the module is made of ---- */

/* In the pool: what was written so far to the disk, as far as the file can. */
int ab_fs_sync(int fd);
int ab_fs_write(lua_State *L);
/* Adds fs.read to the table on top of the stack. */
void ab_fs_read_open(lua_State *L);
extern const luaL_Reg ab_fs_meta_functions[];  /* fs_meta.c */
extern const luaL_Reg ab_fs_link_functions[];  /* fs_link.c */
extern const luaL_Reg ab_fs_mkdir_functions[]; /* fs_mkdir.c */
/* Adds fs.watch to the table on top of the stack. */
void ab_fs_watch_open(lua_State *L);

/* ---- fs_watch_loop.c: what the watches of a box share ----
 *
 * The hub of host/treewatch.h, which the loop reads as long as a watch waits:
 * so what nobody asks for stays with the kernel.  Loop's thread only. */
typedef struct ab_fs_watches {
    int refs;
    ab_box *box;
    ab_tree_hub *hub;
    size_t charged; /* what the box counts for the hub */
    size_t open;    /* watches that have a tree */
    int hurry;      /* trees are closed at once, at the cost of the loop */
    ab_link waiting;
    uv_poll_t poll; /* while there is one, it is one of the refs */
    enum { AB_FS_NO_POLL, AB_FS_POLL, AB_FS_POLL_CLOSES } state;
} ab_fs_watches;

/* A watch that waits until there is something to drain. */
typedef struct ab_fs_listener {
    ab_link link; /* among those that wait */
    ab_tree *tree;
    /* There is, or a code: it waits no longer.  No Lua. */
    void (*heard)(struct ab_fs_listener *listener, int err);
} ab_fs_listener;

/* With one reference; NULL: no memory. */
ab_fs_watches *ab_fs_watches_new(ab_box *box);
ab_fs_watches *ab_fs_watches_ref(ab_fs_watches *all);
void ab_fs_watches_unref(ab_fs_watches *all);
/* Books the memory of all trees with the box, and says how much there may be:
 * before a job and whenever events were given up. */
void ab_fs_watches_count(ab_fs_watches *all);
/* After a job: books, and tells those that it has read something for. */
void ab_fs_watches_look(ab_fs_watches *all);
/* 0 or a code. */
int ab_fs_watches_wait(ab_fs_watches *all, ab_fs_listener *listener);
void ab_fs_watches_unwait(ab_fs_watches *all, ab_fs_listener *listener);
/* A watch has got its tree; is about to close it; has closed it. */
void ab_fs_watches_open(ab_fs_watches *all);
void ab_fs_watches_leave(ab_fs_watches *all);
void ab_fs_watches_closed(ab_fs_watches *all);

/* ---- fs_format.c ---- */

enum { AB_FS_FORMATS = 8 };

typedef struct ab_fs_format {
    char kind;    /* 'l', 'L', 'a', 'n', or '#': a count */
    size_t bytes; /* '#' */
} ab_fs_format;

/* How far a call of read has come with the bytes in a buffer. */
typedef struct ab_fs_scan {
    ab_fs_format formats[AB_FS_FORMATS];
    size_t from[AB_FS_FORMATS], len[AB_FS_FORMATS]; /* what each one took */
    int count;                                      /* formats */
    int at;      /* formats that are settled */
    int failed;  /* the one at `at` - 1 found nothing: nil, and the last */
    size_t pos;  /* bytes taken */
    size_t seen; /* bytes looked through for a newline */
} ab_fs_scan;

/* Reads the formats from first up to the top of the stack; none is "l". */
void ab_fs_scan_init(lua_State *L, ab_fs_scan *scan, int first);
/* Goes on with the bytes there are (from where the scan began).  `ended`: no
 * more will come.  1: all is settled; 0: at least *want more bytes are needed
 * (SIZE_MAX: all there are). */
int ab_fs_scan_run(ab_fs_scan *scan, const char *bytes, size_t len, int ended,
                   size_t *want);
/* Pushes the values; gives their number.  scan->pos bytes are taken then. */
int ab_fs_scan_push(lua_State *L, ab_fs_scan *scan, const char *bytes);

/* ---- fs_file.c ----
 *
 * An open file.  Jobs belong to the file and not to the task that waits: they
 * read into and write out of the file's own buffers, so a cancelled wait loses
 * nothing, and the descriptor lives until the job that uses it is over.  The
 * memory goes when the Lua object, the waiting op and the job have let go. */
typedef struct ab_fs_file {
    ab_fs_job job;
    ab_box *box;
    int refs; /* the Lua object, the op that waits, the job that runs */
    int fd;   /* -1: closed */
    /* Jobs read these two, so they share no byte with what changes. */
    int append;
    int regular; /* else bytes come when they come */
    unsigned readable : 1, writable : 1;
    unsigned written : 1;     /* close(2) may have something to say */
    unsigned running : 1;     /* a job runs: buffers and fd are its own */
    unsigned ended : 1;       /* the last fill found the end, not told yet */
    unsigned closing : 1;     /* to be closed once it is idle */
    unsigned no_straight : 1; /* the system cannot tell what is in memory */
    int error;                /* of a job nobody waited for; told to the next */
    ab_op *waiter;            /* at most one */
    int64_t offset; /* in the file, of the next byte to fetch or to store */
    int64_t size;   /* when it was last looked at: how much to fetch */
    char *in;       /* read buffer: in[in_pos .. in_len) is unread */
    size_t in_cap, in_pos, in_len;
    size_t ahead; /* how much to fetch at least: doubles */
    char *out;    /* write buffer: out[0 .. out_len) is unwritten */
    size_t out_cap, out_len;
    /* what the running job was given, and what it found: nothing else of the
     * file is written to in the pool */
    size_t job_want;
    size_t job_got;
    int job_ended;
    int64_t job_offset;
    int64_t job_size;
    struct stat job_stat; /* run_stat's */
    char *path;
    size_t path_bytes;
} ab_fs_file;

extern const ab_class ab_fs_class; /* its object is one ab_fs_file pointer */

/* What fs.open found. */
typedef struct ab_fs_opened {
    int regular;
    int64_t offset, size;
} ab_fs_opened;

/* Pushes the object of a file that is open already.  mode as fs.open's,
 * checked.  Takes *fd over and makes it -1; when it raises before, it stays the
 * caller's. */
void ab_fs_file_push(lua_State *L, int *fd, const ab_fs_opened *opened,
                     const char *mode, const char *path);

typedef enum ab_fs_want {
    AB_FS_WANT_IDLE,  /* until the job nobody waits for is over */
    AB_FS_WANT_READ,  /* until the scan is settled */
    AB_FS_WANT_FLUSH, /* until the write buffer is empty */
    AB_FS_WANT_END,   /* until the size is known */
    AB_FS_WANT_CALL,  /* flushed first, until `call` has run in the pool */
    AB_FS_WANT_CLOSE  /* until it is flushed and closed */
} ab_fs_want;

/* The op of everything that waits for a file. */
typedef struct ab_fs_wait {
    ab_op op;
    ab_fs_file *file;
    ab_fs_want want;
    int asked;                   /* END, CALL, CLOSE: the job was started */
    int (*call)(ab_fs_job *job); /* CALL */
    size_t call_bytes;           /* its job_want */
    ab_fs_scan scan;             /* READ */
} ab_fs_wait;

/* Makes `wait`, new, the file's waiter and gets going: step 4.  0, or a code
 * when nothing was started.  Only when there is something to wait for. */
int ab_fs_file_wait(ab_fs_file *file, ab_fs_wait *wait, ab_fs_want want);
/* hooks of ab_op_type */
void ab_fs_wait_cancel(ab_op *op);
void ab_fs_wait_drop(ab_op *op);

/* Settles a scan with what is in the buffer: 1, or 0 and how much more is
 * wanted.  No job may run. */
int ab_fs_file_scan(ab_fs_file *file, ab_fs_scan *scan, size_t *want);
/* Room for `bytes` more in the write buffer.  0 or UV_ENOMEM. */
int ab_fs_file_reserve(ab_fs_file *file, size_t bytes);
/* Gives up empty buffers that are larger than what is kept, as after a whole
 * file was read or written at once.  No job may run. */
void ab_fs_file_shrink(ab_fs_file *file);
/* Forgets what was read ahead: the offset is then that of the next byte the
 * script would read. */
void ab_fs_file_rewind(ab_fs_file *file);
/* Closes without waiting: at once, or when the running job is over.  What is
 * unwritten is written first, on this thread. */
void ab_fs_file_release(ab_fs_file *file);
void ab_fs_file_unref(ab_fs_file *file);

/* ---- fs_method.c: what every method begins and goes on with ---- */

ab_fs_file *ab_fs_self(lua_State *L);
int ab_fs_fail(lua_State *L, const ab_fs_file *file, int code, const char *op,
               const char *message);
/* Steps 1 and 2 of every method: may it wait, is the file free? */
void ab_fs_enter(lua_State *L, ab_fs_file *file, const char *op);
/* Steps 3 to 5.  k: goes on there. */
int ab_fs_wait_for(lua_State *L, ab_fs_file *file, const ab_op_type *type,
                   ab_fs_want want, const ab_fs_scan *scan, lua_KFunction k);
/* The first thing any push does: the file is free again. */
ab_fs_file *ab_fs_take(lua_State *L, ab_op *op);

/* ---- fs_disk.c: methods that ask or tell the disk ---- */

int ab_fs_method_sync(lua_State *L);
int ab_fs_method_stat(lua_State *L);
int ab_fs_method_truncate(lua_State *L);

/* ---- trees of files ----
 *
 *   fs_tree.c    what they add to the module's table; what Lua parts need
 *   fs_scan.c    list, scan
 *   fs_scan_job.c  reading folders
 *   fs_scan_walk.c  folders for walk, and what is read ahead
 *   fs_glob.c    names and patterns; fs_glob_tree.c: a tree and patterns;
 *                fs_glob_op.c: the call
 *   fs_level.c   where a job is in a tree
 *   fs_remove.c  remove
 *   fs_copy.c    copy
 *   fs_path.lua, fs_walk.lua */

/* Adds them to the table on top of the stack. */
void ab_fs_tree_open(lua_State *L);

/* functions of Lua: see their files */
int ab_fs_list_dir(lua_State *L);
int ab_fs_scan_dir(lua_State *L);
int ab_fs_walk_enter(lua_State *L);
int ab_fs_walk_iterator(lua_State *L);
int ab_fs_walk_step(lua_State *L);
int ab_fs_walk_mark(lua_State *L);
int ab_fs_walk_pending(lua_State *L);
int ab_fs_walk_id(lua_State *L);
int ab_fs_walk_forget(lua_State *L);
int ab_fs_glob_call(lua_State *L);
int ab_fs_glob_take(lua_State *L);
int ab_fs_remove(lua_State *L);
int ab_fs_remove_now(lua_State *L);
int ab_fs_copy(lua_State *L);

/* fs_copy_bytes.c, in the pool: all that `in` holds, from its start, into
 * `out`, which is empty.  st: of `in`.  *no_clone is set when the file systems
 * cannot share blocks, so that it is asked once for a tree.  0 or a code;
 * UV_ECANCELED within 8 MiB after the job was stopped. */
int ab_fs_copy_bytes(ab_fs_job *job, int in, int out, const struct stat *st,
                     int *no_clone);

/* As ab_fs_check_path, without slashes at its end. */
const char *ab_fs_trim_path(lua_State *L, int arg);

/* In the pool: what is there?  `follow`, or a slash, "." or ".." at its end: it
 * has to be a folder, else it is what it is.  0 or a code. */
int ab_fs_probe(const ab_grants *grants, const char *path, int follow,
                mode_t *mode);
/* In the pool: DT_..., also where the file system does not say in the folder
 * what an entry is; DT_UNKNOWN: it is gone. */
int ab_fs_entry_type(DIR *dir, const struct dirent *entry);

/* The folders that a job is inside of, the outermost first.  In the pool. */
typedef struct ab_fs_level {
    char *name;
    DIR *dir; /* NULL: closed for now */
    int out;  /* descriptor of the folder that it is copied to, or -1 */
    dev_t dev, out_dev;
    ino_t ino, out_ino;
    long at;      /* of dir, when it was closed */
    size_t count; /* the caller's */
    int made;     /* the caller's */
} ab_fs_level;

typedef struct ab_fs_levels {
    ab_fs_level *all;
    size_t depth, cap;
} ab_fs_levels;

/* Takes over fd and out (-1: none), also when it fails.  0 or a code. */
int ab_fs_levels_enter(ab_fs_levels *levels, const char *name, int fd, int out);
/* NULL: none.  Its dir is open. */
ab_fs_level *ab_fs_levels_top(ab_fs_levels *levels);
/* Closes the one on top.  0; 1: the one above was opened anew, at its start;
 * or a code, and it stays. */
int ab_fs_levels_leave(ab_fs_levels *levels);
/* The path of `name` (or NULL) in the one on top; `base` is the outermost.
 * NULL: no memory.  The caller's to free. */
char *ab_fs_levels_path(const ab_fs_levels *levels, const char *base,
                        const char *name);
void ab_fs_levels_deinit(ab_fs_levels *levels);

#endif
