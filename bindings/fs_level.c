/* fs_level.c - where a job is in a tree of folders: one level for each folder
 * that it is inside of, on the heap, however deep.
 *
 * Only the deepest levels have open descriptors.  The others are opened again
 * through ".." of the folder below, and only if it is the very folder that was
 * left: a folder that was moved away meanwhile leads nowhere. */
#include "fs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_LEVELS = 16 };

static void close_level(ab_fs_level *level)
{
    if (level->dir) {
        level->at = telldir(level->dir);
        closedir(level->dir);
    }
    level->dir = NULL;
    if (level->out >= 0)
        close(level->out);
    level->out = -1;
}

static int identify(int fd, dev_t *dev, ino_t *ino)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return uv_translate_sys_error(errno);
    *dev = st.st_dev;
    *ino = st.st_ino;
    return 0;
}

static int reserve(ab_fs_levels *levels)
{
    if (levels->depth < levels->cap)
        return 0;
    size_t cap = levels->cap ? 2 * levels->cap : 16;
    ab_fs_level *all = realloc(levels->all, cap * sizeof *all);
    if (!all)
        return UV_ENOMEM;
    levels->all = all;
    levels->cap = cap;
    return 0;
}

int ab_fs_levels_enter(ab_fs_levels *levels, const char *name, int fd, int out)
{
    ab_fs_level level = {.out = out};
    int err = reserve(levels);
    if (!err)
        err = identify(fd, &level.dev, &level.ino);
    if (!err && out >= 0)
        err = identify(out, &level.out_dev, &level.out_ino);
    if (!err && !(level.name = strdup(name)))
        err = UV_ENOMEM;
    if (!err && !(level.dir = fdopendir(fd)))
        err = uv_translate_sys_error(errno);
    if (err) {
        free(level.name);
        close(fd);
        if (out >= 0)
            close(out);
        return err;
    }
    if (levels->depth >= OPEN_LEVELS)
        close_level(&levels->all[levels->depth - OPEN_LEVELS]);
    levels->all[levels->depth++] = level;
    return 0;
}

ab_fs_level *ab_fs_levels_top(ab_fs_levels *levels)
{
    return levels->depth ? &levels->all[levels->depth - 1] : NULL;
}

static int open_above(int fd, dev_t dev, ino_t ino)
{
    struct stat st;
    int above =
        openat(fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (above < 0)
        return uv_translate_sys_error(errno);
    if (fstat(above, &st) == 0 && st.st_dev == dev && st.st_ino == ino)
        return above;
    close(above);
    return UV_ENOENT; /* it was moved away */
}

static int open_again(ab_fs_level *level, const ab_fs_level *below)
{
    int fd = open_above(dirfd(below->dir), level->dev, level->ino);
    if (fd < 0)
        return fd;
    if (below->out >= 0) {
        level->out = open_above(below->out, level->out_dev, level->out_ino);
        if (level->out < 0) {
            close(fd);
            return level->out;
        }
    }
    level->dir = fdopendir(fd);
    if (!level->dir) {
        int err = uv_translate_sys_error(errno);
        close(fd);
        return err;
    }
    return 1;
}

int ab_fs_levels_leave(ab_fs_levels *levels)
{
    ab_fs_level *top = &levels->all[levels->depth - 1];
    ab_fs_level *above = levels->depth > 1 ? top - 1 : NULL;
    int result = above && !above->dir ? open_again(above, top) : 0;
    if (result < 0)
        return result; /* the level stays, for the path of the error */
    close_level(top);
    free(top->name);
    levels->depth--;
    return result;
}

char *ab_fs_levels_path(const ab_fs_levels *levels, const char *base,
                        const char *name)
{
    size_t bytes = strlen(base) + (name ? strlen(name) + 1 : 0) + 1;
    for (size_t i = 1; i < levels->depth; i++)
        bytes += strlen(levels->all[i].name) + 1;
    char *path = malloc(bytes);
    if (!path)
        return NULL;
    char *end = stpcpy(path, base);
    for (size_t i = 1; i < levels->depth; i++) {
        *end++ = '/';
        end = stpcpy(end, levels->all[i].name);
    }
    if (name) {
        *end++ = '/';
        stpcpy(end, name);
    }
    return path;
}

void ab_fs_levels_deinit(ab_fs_levels *levels)
{
    while (levels->depth) {
        ab_fs_level *top = &levels->all[--levels->depth];
        close_level(top);
        free(top->name);
    }
    free(levels->all);
    levels->all = NULL;
    levels->cap = 0;
}
