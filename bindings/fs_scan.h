/* fs_scan.h - a folder that is read; nobody but fs_scan.c and fs_scan_job.c
 * includes it. */
#ifndef AB_FS_SCAN_H
#define AB_FS_SCAN_H

#include "fs.h"
#include <dirent.h>

enum { AB_FS_ENTRY_MAX = 1 + 1024 + 1 };

typedef struct ab_fs_folder {
    ab_fs_job job;
    ab_box *box;
    ab_op *waiter;
    int refs;               /* the Lua object, the op that waits, the job */
    unsigned whole : 1;     /* all entries at once, sorted */
    unsigned no_follow : 1; /* a path that is a link is no folder */
    unsigned running : 1;
    unsigned closed : 1;
    unsigned failed : 1; /* job.status is still to be told */
    /* of the job while it runs */
    DIR *dir;
    int ended; /* dir has no more */
    int kept;  /* `held` is read and not yet stored */
    char held[AB_FS_ENTRY_MAX];
    size_t want; /* > cap: run again with so much room */
    char *bytes; /* for each entry: its d_type + 1, name, zero */
    size_t cap, len, count;
    char **sorted; /* in bytes, behind the entries */
    dev_t dev;
    ino_t ino;
    /* */
    size_t at, given; /* byte of the next entry, number of it */
    char *path;
    size_t path_bytes;
} ab_fs_folder;

/* Lets the pool read on: 0 or a code. */
int ab_fs_folder_start(ab_fs_folder *s);
/* Closes it, ends whoever waits, gives its memory up. */
void ab_fs_folder_release(ab_fs_folder *s);
void ab_fs_folder_unref(ab_fs_folder *s);
/* Zeroed, of this box, with one reference. */
void ab_fs_folder_init(ab_fs_folder *s, ab_box *box);

#endif
