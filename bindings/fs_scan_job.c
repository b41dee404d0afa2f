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
#include <time.h>
#include <unistd.h>

/* Of a batch, so much at a time. */
enum { SLICE_NS = 300000 };

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

/* Will whatever happens to the folder from now on show in its st_ctim?  Stamps
 * may be as coarse as a second. */
static int is_settled(int fd, const struct stat *st)
{
    struct timespec now;
    return clock_gettime(CLOCK_REALTIME, &now) == 0 &&
           now.tv_sec - st->st_ctim.tv_sec >= 2 && ab_compat_tells_changes(fd);
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
    s->changed = st.st_ctim;
    return s->early && !is_settled(fd, &st) ? UV_ECANCELED : 0;
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
        if (atomic_load(&s->leader->job.stop))
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

static int read_folder(ab_fs_folder *s)
{
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

static ab_fs_folder *folder_of(ab_fs_job *job)
{
    return ab_container(job, ab_fs_folder, job);
}

static int run_scan(ab_fs_job *job) { return read_folder(folder_of(job)); }

static int run_batch(ab_fs_job *job)
{
    uint64_t end = uv_hrtime() + SLICE_NS;
    ab_fs_folder *s = folder_of(job);
    for (; s; s = s->batch) {
        s->code = read_folder(s);
        if (s->want > s->cap)
            s->code = UV_ENOBUFS;
        if (atomic_load(&job->stop))
            return UV_ECANCELED;
        if (uv_hrtime() >= end)
            break;
    }
    return 0;
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
    ab_box_free(box, s->line, s->line ? s->prefix + AB_FS_ENTRY_MAX : 0);
    ab_box_free(box, s->bytes, s->cap);
    ab_box_free(box, s->path, s->path_bytes);
    ab_box_free(box, s, sizeof *s);
}

void ab_fs_folder_reset(ab_fs_folder *s)
{
    if (s->dir)
        closedir(s->dir);
    s->dir = NULL;
    s->sorted = NULL;
    s->len = s->count = s->at = s->given = 0;
    s->ended = s->kept = s->early = 0;
    s->failed = s->usable = 0;
}

void ab_fs_folder_release(ab_fs_folder *s)
{
    s->closed = 1;
    for (int i = 0; i < AB_FS_AHEAD; i++) {
        ab_fs_folder *ahead = s->ahead[i];
        s->ahead[i] = NULL;
        if (!ahead)
            continue;
        ab_fs_folder_release(ahead);
        ab_fs_folder_unref(ahead);
    }
    if (s->waiter && !s->waiter->finished)
        ab_op_finish(s->waiter, ASYNCBOX_ECLOSED);
    if (s->running) {
        ab_fs_stop(&s->leader->job);
        return;
    }
    ab_fs_folder_reset(s);
    ab_box_free(s->box, s->bytes, s->cap);
    s->bytes = NULL;
    s->cap = 0;
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

static void on_done(ab_fs_job *job, int status);

int ab_fs_folder_start(ab_fs_folder *s)
{
    s->want = 0;
    s->job.run = run_scan;
    s->job.done = on_done;
    int err = ab_fs_start(&s->job);
    if (err)
        return err;
    s->running = 1;
    s->refs++;
    return 0;
}

static void on_done(ab_fs_job *job, int status)
{
    ab_fs_folder *s = folder_of(job);
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

/* One of a batch is over, read or not. */
static void leave_batch(ab_fs_folder *s, int status)
{
    s->leader = s;
    s->batch = NULL;
    s->running = 0;
    s->usable = status == 0;
    if (s->closed)
        ab_fs_folder_release(s);
    if (s->waiter && !s->waiter->finished)
        ab_op_finish(s->waiter, 0);
    ab_fs_folder_unref(s);
}

static void on_batch_done(ab_fs_job *job, int status);

/* They are running already, to those who look. */
static int launch(ab_fs_folder *first)
{
    for (ab_fs_folder *s = first; s; s = s->batch)
        s->leader = first;
    first->job.run = run_batch;
    first->job.done = on_batch_done;
    return ab_fs_start(&first->job);
}

static void leave_all(ab_fs_folder *s, int status)
{
    while (s) {
        ab_fs_folder *next = s->batch;
        leave_batch(s, status);
        s = next;
    }
}

static void on_batch_done(ab_fs_job *job, int status)
{
    ab_fs_folder *s = folder_of(job), *rest = NULL, **end = &rest;
    while (s) {
        ab_fs_folder *next = s->batch;
        if (status == 0 && s->code > 0 && !s->closed) {
            *end = s;
            end = &s->batch;
        } else {
            leave_batch(s, status ? status : s->code);
        }
        s = next;
    }
    *end = NULL;
    int err = rest ? launch(rest) : 0;
    if (err)
        leave_all(rest, err);
}

void ab_fs_folder_start_batch(ab_fs_folder *first)
{
    for (ab_fs_folder *s = first; s; s = s->batch) {
        s->want = 0;
        s->code = 1;
        s->running = 1;
        s->refs++;
    }
    int err = launch(first);
    if (err)
        leave_all(first, err);
}

void ab_fs_folder_init(ab_fs_folder *s, ab_box *box)
{
    memset(s, 0, sizeof *s);
    s->box = s->job.box = box;
    s->refs = 1;
    s->leader = s;
    s->job.fd = -1;
    box->live_handles++;
}
