/* fs_mkdir.c - folders: mkdir, with those above, and rmdir. */
#include "fs.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct mkdir_op {
    ab_fs_op base;
    int parents;
    mode_t mode;
} mkdir_op;

static int make_folder(mkdir_op *m, const char *path, mode_t mode)
{
    ab_fs_place place;
    int err = ab_fs_place_open(&m->base, AB_GRANT_WRITE, path, AB_FS_NO_SLASH,
                               &place);
    if (err)
        return err;
    return ab_fs_place_close(&place, mkdirat(place.dir, place.name, mode));
}

/* EEXIST is no error when it is a folder, or a link to one. */
static int accept_folder(mkdir_op *m)
{
    ab_fs_place place;
    struct stat st;
    int err = ab_fs_place_open(&m->base, AB_GRANT_WRITE, m->base.path,
                               AB_FS_FOLLOW, &place);
    if (!err)
        err = ab_fs_place_close(
            &place, fstatat(place.dir, place.name, &st, place.flags));
    if (err == ASYNCBOX_EDENIED)
        return err;
    return !err && S_ISDIR(st.st_mode) ? 0 : UV_EEXIST;
}

/* The length of the path's folder, without slashes at its end; 0: none. */
static size_t cut(const char *path, size_t len)
{
    while (len > 0 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    while (len > 1 && path[len - 1] == '/')
        len--;
    return len;
}

/* Makes the folders that are missing above the path: back to one that is there,
 * then forth. */
static int make_parents(mkdir_op *m, char *path)
{
    const mode_t mode = AB_FS_FOLDER_PERMISSIONS;
    const char *whole = m->base.path;
    size_t len = strlen(whole);
    int err = UV_ENOENT;
    while (err == UV_ENOENT) {
        len = cut(path, len);
        path[len] = '\0';
        if (len == 0)
            return err;
        err = make_folder(m, path, mode);
    }
    for (;;) {
        if (err && err != UV_EEXIST)
            return err;
        if (atomic_load(&m->base.job.stop))
            return UV_ECANCELED;
        size_t next = len;
        while (whole[next] == '/')
            next++;
        next += strcspn(whole + next, "/");
        if (whole[next + strspn(whole + next, "/")] == '\0')
            return 0; /* the last one is the caller's */
        memcpy(path, whole, next);
        path[next] = '\0';
        len = next;
        err = make_folder(m, path, mode);
    }
}

static int run_mkdir(ab_fs_job *job)
{
    mkdir_op *m = (mkdir_op *)ab_fs_op_of(job);
    int err = make_folder(m, m->base.path, m->mode);
    if (err == UV_ENOENT && m->parents) {
        char *path = strdup(m->base.path);
        err = path ? make_parents(m, path) : UV_ENOMEM;
        free(path);
        if (!err)
            err = make_folder(m, m->base.path, m->mode);
    }
    return err == UV_EEXIST && m->parents ? accept_folder(m) : err;
}

static const ab_op_type mkdir_type = {
    .name = "fs.mkdir",
    .size = sizeof(mkdir_op),
    .flags = AB_OP_EXTERNAL,
    .push = ab_fs_push_true,
    .cancel = ab_fs_op_cancel,
    .drop = ab_fs_op_drop,
};

static int l_mkdir(lua_State *L)
{
    static const char *const known[] = {"parents", "mode", NULL};
    ab_task_check(L, mkdir_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_options_check(L, 2, mkdir_type.name, known);
    int parents = ab_option_boolean(L, 2, "parents", 0);
    int mode = (int)ab_option_integer(L, 2, "mode", AB_FS_FOLDER_PERMISSIONS, 0,
                                      07777);
    ab_fs_check_mode(L, mkdir_type.name, path, mode);
    ab_grants_check_path(L, AB_GRANT_WRITE, mkdir_type.name, path);
    mkdir_op *m = (mkdir_op *)ab_fs_op_new(L, &mkdir_type, path, AB_GRANT_WRITE,
                                           run_mkdir);
    m->parents = parents;
    m->mode = (mode_t)mode;
    return ab_fs_op_start(L, &m->base);
}

static int run_rmdir(ab_fs_job *job)
{
    ab_fs_op *o = ab_fs_op_of(job);
    ab_fs_place place;
    int err =
        ab_fs_place_open(o, AB_GRANT_WRITE, o->path, AB_FS_NO_SLASH, &place);
    if (err)
        return err;
    return ab_fs_place_close(&place,
                             unlinkat(place.dir, place.name, AT_REMOVEDIR));
}

static const ab_op_type rmdir_type = {
    .name = "fs.rmdir",
    .size = sizeof(ab_fs_op),
    .flags = AB_OP_EXTERNAL,
    .push = ab_fs_push_true,
    .cancel = ab_fs_op_cancel,
    .drop = ab_fs_op_drop,
};

static int l_rmdir(lua_State *L)
{
    ab_task_check(L, rmdir_type.name);
    const char *path = ab_fs_check_path(L, 1);
    ab_grants_check_path(L, AB_GRANT_WRITE, rmdir_type.name, path);
    return ab_fs_op_start(
        L, ab_fs_op_new(L, &rmdir_type, path, AB_GRANT_WRITE, run_rmdir));
}

const luaL_Reg ab_fs_mkdir_functions[] = {
    {"mkdir", l_mkdir},
    {"rmdir", l_rmdir},
    {NULL, NULL},
};
