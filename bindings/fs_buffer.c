/* fs_buffer.c - what whole files are read into, see fs.h.
 *
 * Fresh memory costs more than what is read into it: malloc gives each thread
 * of the pool an arena of its own, which it grows and trims, and 85 % of the
 * page faults of 300 reads of 110 KB were those buffers'.  So buffers that came
 * back are given out again as long as other reads are on their way. */
#include "fs.h"
#include <stdlib.h>

enum { KEPT_BYTES_MAX = 256 << 10 };

int ab_fs_buffers_init(ab_fs_buffers *all)
{
    all->count = 0;
    atomic_init(&all->bytes, 0);
    return uv_mutex_init(&all->mutex);
}

void ab_fs_buffers_deinit(ab_fs_buffers *all)
{
    ab_fs_buffers_drain(all);
    uv_mutex_destroy(&all->mutex);
}

int ab_fs_buffers_drain(ab_fs_buffers *all)
{
    uv_mutex_lock(&all->mutex);
    int some = all->count > 0;
    while (all->count > 0) {
        ab_fs_kept *kept = &all->kept[--all->count];
        atomic_fetch_sub(&all->bytes, kept->cap);
        free(kept->data);
    }
    uv_mutex_unlock(&all->mutex);
    return some;
}

/* One that is large enough; of several, the one that came back last. */
static int take_kept(ab_fs_buffers *all, ab_fs_buffer *buffer, size_t cap)
{
    int found = -1;
    uv_mutex_lock(&all->mutex);
    for (int i = all->count; i-- > 0 && found < 0;)
        if (all->kept[i].cap >= cap)
            found = i;
    if (found >= 0) {
        buffer->data = all->kept[found].data;
        buffer->cap = all->kept[found].cap;
        all->count--;
        for (int i = found; i < all->count; i++)
            all->kept[i] = all->kept[i + 1];
    }
    uv_mutex_unlock(&all->mutex);
    return found >= 0;
}

static int grow(ab_fs_buffers *all, ab_fs_buffer *buffer, size_t cap)
{
    size_t more = cap - buffer->cap;
    size_t held = atomic_fetch_add(&all->bytes, more);
    char *data = NULL;
    if (held <= buffer->budget && more <= buffer->budget - held)
        data = realloc(buffer->data, cap);
    if (!data) {
        atomic_fetch_sub(&all->bytes, more);
        return UV_ENOMEM;
    }
    buffer->data = data;
    buffer->cap = cap;
    return 0;
}

int ab_fs_buffer_grow(ab_fs_buffers *all, ab_fs_buffer *buffer, size_t cap)
{
    if (cap <= buffer->cap)
        return UV_ENOMEM; /* the size has run over */
    if (!buffer->data && take_kept(all, buffer, cap))
        return 0;
    int err = grow(all, buffer, cap);
    return err && ab_fs_buffers_drain(all) ? grow(all, buffer, cap) : err;
}

static int keep(ab_fs_buffers *all, char *data, size_t cap)
{
    if (cap > KEPT_BYTES_MAX)
        return 0;
    uv_mutex_lock(&all->mutex);
    int room = all->count < AB_FS_KEPT;
    if (room)
        all->kept[all->count++] = (ab_fs_kept){data, cap};
    uv_mutex_unlock(&all->mutex);
    return room;
}

void ab_fs_buffer_free(ab_fs_buffers *all, ab_fs_buffer *buffer)
{
    char *data = buffer->data;
    size_t cap = buffer->cap;
    buffer->data = NULL;
    buffer->cap = 0;
    if (!data || keep(all, data, cap))
        return;
    free(data);
    atomic_fetch_sub(&all->bytes, cap);
}
