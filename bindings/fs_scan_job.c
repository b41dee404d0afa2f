/* fs_scan_job.c - reading a folder in the thread pool.
 *
 * One that is scanned stays open and gives its entries batch by batch.  For the
 * others it is read, sorted and closed at once.  What is read lies in memory of
 * the box, which only the loop's thread may take: a job that finds no room says
 * how much it needs and is started again. */
#include "fs_scan.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- in the pool ---- */

int ab_fs_entry_type(DIR *dir, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type;
    return fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0
               ? (int)IFTODT(st.st_mode)
               : DT_UNKNOWN;
}

static int open_dir(ab_fs_folder *s)
{
    struct stat st;
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;
    int fd = ab_grants_open(&s->box->grants, s->path,
                            flags | (s->no_follow ? O_NOFOLLOW : 0), 0);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || !(s->dir = fdopendir(fd))) {
        int err = uv_translate_sys_error(errno);
        close(fd);
        return err;
    }
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    return 0;
}

/* 0: the entry is stored; 1: there is no room. */
static int store(ab_fs_folder *s)
{
    size_t bytes = strlen(s->held) + 1;
    if (s->cap - s->len < bytes)
        return 1;
    memcpy(s->bytes + s->len, s->held, bytes);
    s->len += bytes;
    s->count++;
    s->kept = 0;
    return 0;
}

static int read_entries(ab_fs_folder *s)
{
    while (!s->ended) {
        if (s->kept && store(s))
            return 0;
        if (atomic_load(&s->job.stop))
            return UV_ECANCELED;
        errno = 0;
        struct dirent *e = readdir(s->dir);
        if (!e && errno)
            return uv_translate_sys_error(errno);
        if (!e) {
            s->ended = 1;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        size_t bytes = strlen(e->d_name) + 1;
        if (bytes >= AB_FS_ENTRY_MAX)
            return UV_ENAMETOOLONG;
        s->held[0] = (char)(ab_fs_entry_type(s->dir, e) + 1);
        memcpy(s->held + 1, e->d_name, bytes);
        s->kept = 1;
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a + 1, *(char *const *)b + 1);
}

/* The table of pointers lies behind the entries, aligned. */
static void sort_entries(ab_fs_folder *s)
{
    size_t from = (s->len + sizeof(char *) - 1) & ~(sizeof(char *) - 1);
    size_t want = from + s->count * sizeof(char *);
    if (want > s->cap) {
        s->want = want;
        return;
    }
    s->sorted = (char **)(void *)(s->bytes + from);
    char *p = s->bytes;
    for (size_t i = 0; i < s->count; i++, p += strlen(p) + 1)
        s->sorted[i] = p;
    qsort(s->sorted, s->count, sizeof *s->sorted, compare);
}

static int run_scan(ab_fs_job *job)
{
    ab_fs_folder *s = ab_container(job, ab_fs_folder, job);
    int err = s->dir || s->ended ? 0 : open_dir(s);
    if (!err && !s->ended)
        err = read_entries(s);
    if (s->dir && (err || s->ended)) {
        closedir(s->dir);
        s->dir = NULL;
    }
    if (!err && s->whole) {
        if (!s->ended)
            s->want = 2 * s->cap;
        else
            sort_entries(s);
    }
    return err;
}

/* ---- life, on the loop's thread ---- */

void ab_fs_folder_unref(ab_fs_folder *s)
{
    if (--s->refs)
        return;
    ab_box *box = s->box;
    if (s->dir)
        closedir(s->dir);
    box->live_handles--;
    ab_box_free(box, s->bytes, s->cap);
    ab_box_free(box, s->path, s->path_bytes);
    ab_box_free(box, s, sizeof *s);
}

void ab_fs_folder_release(ab_fs_folder *s)
{
    s->closed = 1;
    if (s->waiter && !s->waiter->finished)
        ab_op_finish(s->waiter, ASYNCBOX_ECLOSED);
    if (s->running) {
        ab_fs_stop(&s->job);
        return;
    }
    if (s->dir)
        closedir(s->dir);
    s->dir = NULL;
    ab_box_free(s->box, s->bytes, s->cap);
    s->bytes = NULL;
    s->sorted = NULL;
    s->cap = s->len = s->count = s->given = 0;
    s->ended = 1;
}

static int grow(ab_fs_folder *s, size_t cap)
{
    char *bytes = ab_box_realloc(s->box, s->bytes, s->cap, cap);
    if (!bytes)
        return UV_ENOMEM;
    s->bytes = bytes;
    s->cap = cap;
    return 0;
}

int ab_fs_folder_start(ab_fs_folder *s)
{
    s->want = 0;
    int err = ab_fs_start(&s->job);
    if (err)
        return err;
    s->running = 1;
    s->refs++;
    return 0;
}

static void on_done(ab_fs_job *job, int status)
{
    ab_fs_folder *s = ab_container(job, ab_fs_folder, job);
    s->running = 0;
    if (s->closed) {
        ab_fs_folder_release(s);
    } else if (status == 0 && s->want > s->cap) {
        status = grow(s, s->want);
        if (!status)
            status = ab_fs_folder_start(s);
        if (!status) {
            ab_fs_folder_unref(s);
            return;
        }
    }
    if (status < 0 && !s->closed) {
        s->failed = 1;
        s->job.status = status;
    }
    if (s->waiter && !s->waiter->finished)
        ab_op_finish(s->waiter, 0);
    ab_fs_folder_unref(s);
}

void ab_fs_folder_init(ab_fs_folder *s, ab_box *box)
{
    memset(s, 0, sizeof *s);
    s->box = s->job.box = box;
    s->refs = 1;
    s->job.fd = -1;
    s->job.run = run_scan;
    s->job.done = on_done;
    box->live_handles++;
}
