/* fs_scan.h - a folder that is read; nobody but fs_scan.c and fs_scan_*.c
 * includes it. */
#ifndef AB_FS_SCAN_H
#define AB_FS_SCAN_H

#include "fs.h"
#include <dirent.h>

enum {
    AB_FS_ENTRY_MAX = 1 + 1024 + 1,
    AB_FS_AHEAD = 16 /* folders of each level that walk reads ahead */
};

typedef struct ab_fs_folder ab_fs_folder;

struct ab_fs_folder {
    ab_fs_job job;
    ab_fs_folder *leader; /* whose job reads it: itself, or the first of a batch
                           */
    ab_fs_folder *batch;  /* the next that this job reads */
    ab_box *box;
    ab_op *waiter;
    int refs; /* the Lua object, the op that waits, the job, walk's `ahead` */
    unsigned running : 1;
    unsigned closed : 1;
    unsigned failed : 1; /* job.status is still to be told */
    unsigned usable : 1; /* it was read ahead, whole */
    /* of the job while it runs */
    int whole;     /* all entries at once, sorted */
    int no_follow; /* a path that is a link is no folder */
    int early;     /* it is read ahead: told only once it is looked at again */
    DIR *dir;
    int code;  /* of one of a batch: 1 until it is read */
    int ended; /* dir has no more */
    int kept;  /* `held` is read and not yet stored */
    char held[AB_FS_ENTRY_MAX];
    size_t want; /* > cap: run again with so much room */
    char *bytes; /* for each entry: its d_type + 1, name, zero */
    size_t cap, len, count;
    char **sorted; /* in bytes, behind the entries */
    dev_t dev;
    ino_t ino;
    struct timespec changed; /* st_ctim, before it was read */
    /* */
    size_t at, given; /* byte of the next entry, number of it */
    char *path;
    size_t path_bytes;
    /* of walk */
    int depth;
    int pending;   /* the entry given last is a folder, to be entered */
    char *line;    /* the path, a slash, and room for a name; NULL: not yet */
    size_t prefix; /* up to the name */
    ab_fs_folder *ahead[AB_FS_AHEAD]; /* read ahead, or NULL */
    size_t number; /* which entry of its folder it is, if it is in `ahead` */
    size_t next;   /* the first entry that is not yet looked at for `ahead` */
    int reach;     /* how many to read ahead at once: doubles */
    int misses;    /* of those in a row that were read ahead in vain */
};

/* Zeroed, of this box, with one reference. */
void ab_fs_folder_init(ab_fs_folder *s, ab_box *box);
/* Lets the pool read on: 0 or a code. */
int ab_fs_folder_start(ab_fs_folder *s);
/* One job for all that hang together by `batch`, slice by slice, so that nobody
 * waits long for those that are read.  They are read into the room that they
 * have, and else not usable, as when the job cannot be started. */
void ab_fs_folder_start_batch(ab_fs_folder *first);
/* Forgets what was read: it begins anew. */
void ab_fs_folder_reset(ab_fs_folder *s);
/* Closes it, ends whoever waits, gives its memory up. */
void ab_fs_folder_release(ab_fs_folder *s);
void ab_fs_folder_unref(ab_fs_folder *s);

/* ---- fs_scan.c ---- */

/* The object of Lua is one pointer to it. */
extern const ab_class ab_fs_folder_class;

typedef struct ab_fs_folder_op {
    ab_op op;
    ab_fs_folder *scan;
} ab_fs_folder_op;

int ab_fs_folder_push(lua_State *L, ab_op *op);
void ab_fs_folder_cancel(ab_op *op);
void ab_fs_folder_drop(ab_op *op);

#define AB_FS_FOLDER_TYPE(text)                                                \
    {                                                                          \
        .name = text, .size = sizeof(ab_fs_folder_op),                         \
        .flags = AB_OP_EXTERNAL, .push = ab_fs_folder_push,                    \
        .cancel = ab_fs_folder_cancel, .drop = ab_fs_folder_drop               \
    }

/* Gives a new object of ab_fs_folder_class its folder.  Raises. */
ab_fs_folder *ab_fs_folder_new(lua_State *L, ab_fs_folder **object,
                               const char *path, size_t cap);
/* Waits until the job that runs, or a new one, is over, or for other tasks if
 * it was read ahead; then k. */
int ab_fs_folder_wait(lua_State *L, ab_fs_folder *s, const ab_op_type *type,
                      lua_KFunction k);

#endif
