/* treewatch_hub.c - the inotify instance that all trees of a box share.
 *
 * The kernel gives a folder one number (wd) for the whole instance, so trees
 * that overlap have nodes with the same wd: its watch ends with the last of
 * them.  It gives numbers in turn, so that of a watch that ended does not mean
 * another folder until all 2^31 have been used. */
#include "treewatch_parts.h"

#ifdef __linux__
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    /* IN_MASK_ADD: what another tree wants to know of the folder stays. */
    MASK = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM |
           IN_MOVED_TO | IN_ONLYDIR | IN_EXCL_UNLINK | IN_MASK_ADD,
    ENDS = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT, /* of a root */
    READ_BYTES = 16384,
    WORDS_MIN = 512,
    BUCKETS_MIN = 16
};

/* ---- life ---- */

ab_tree_hub *ab_tree_hub_new(const ab_grants *grants)
{
    ab_tree_hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return NULL;
    if (uv_mutex_init(&hub->lock)) {
        free(hub);
        return NULL;
    }
    hub->grants = grants;
    hub->fd = -1;
    ab_tree_hub_set_budget(hub, SIZE_MAX, SIZE_MAX);
    ab_list_init(&hub->trees);
    return hub;
}

void ab_tree_hub_free(ab_tree_hub *hub)
{
    uv_mutex_destroy(&hub->lock);
    free(hub);
}

int ab_tree_hub_fd(const ab_tree_hub *hub) { return hub->fd; }

int ab_tree_hub_news(ab_tree_hub *hub)
{
    return atomic_exchange(&hub->news, 0);
}

/* ---- who watches which folder ---- */

static ab_tree_node **bucket_of(const ab_tree_hub *hub, int wd)
{
    return &hub->buckets[(unsigned)wd & (hub->bucket_count - 1)];
}

/* The next node from `n` on that watches this folder, of any tree (NULL) or of
 * one. */
static ab_tree_node *next_of(ab_tree_node *n, int wd, const ab_tree *t)
{
    while (n && (n->wd != wd || (t && n->tree != t)))
        n = n->next;
    return n;
}

static ab_tree_node *first_of(const ab_tree_hub *hub, int wd, const ab_tree *t)
{
    return hub->bucket_count ? next_of(*bucket_of(hub, wd), wd, t) : NULL;
}

/* Room for one more.  0 or UV_ENOMEM. */
static int grow(ab_tree_hub *hub)
{
    size_t old = hub->bucket_count, want = old ? 2 * old : BUCKETS_MIN;
    if (hub->node_count < old)
        return 0;
    ab_tree_node **had = hub->buckets;
    ab_tree_node **more = ab_tree_hub_alloc(hub, NULL, 0, want * sizeof *more);
    if (!more)
        return UV_ENOMEM;
    memset(more, 0, want * sizeof *more);
    hub->buckets = more;
    hub->bucket_count = want;
    for (size_t i = 0; i < old; i++)
        for (ab_tree_node *n = had[i], *next; n; n = next) {
            next = n->next;
            ab_tree_node **bucket = bucket_of(hub, n->wd);
            n->next = *bucket;
            *bucket = n;
        }
    ab_tree_hub_alloc(hub, had, old * sizeof *had, 0);
    return 0;
}

static void insert(ab_tree_hub *hub, ab_tree_node *n)
{
    ab_tree_node **bucket = bucket_of(hub, n->wd);
    n->next = *bucket;
    *bucket = n;
    hub->node_count++;
}

static void take_out(ab_tree_hub *hub, const ab_tree_node *n)
{
    ab_tree_node **at = bucket_of(hub, n->wd);
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    hub->node_count--;
}

/* ---- handing out, under the lock ---- */

static void wake(ab_tree *t)
{
    if (!atomic_exchange(&t->hearing, 1))
        atomic_store(&t->hub->news, 1);
}

static void lose(ab_tree *t)
{
    t->lost = 1;
    wake(t);
}

static void end(ab_tree *t)
{
    t->ended = 1;
    wake(t);
}

/* Equal neighbours are one, as in the kernel's queue. */
static int says_the_same(const ab_tree_words *w, const struct inotify_event *in,
                         size_t bytes)
{
    return w->count && w->len - w->last == bytes &&
           memcmp(w->data + w->last, in, bytes) == 0;
}

static void drop_inbox(ab_tree *t)
{
    t->hub->inbox_bytes -= t->inbox.cap;
    ab_tree_hub_alloc(t->hub, t->inbox.data, t->inbox.cap, 0);
    t->inbox = (ab_tree_words){0};
}

static ab_tree *largest_inbox(ab_tree_hub *hub)
{
    ab_tree *largest = NULL;
    for (ab_link *l = hub->trees.next; l != &hub->trees; l = l->next) {
        ab_tree *t = ab_container(l, ab_tree, link);
        if (!largest || t->inbox.cap > largest->inbox.cap)
            largest = t;
    }
    return largest;
}

/* Where there is no memory, the one with the most in it gives way.  0: that
 * is this one. */
static int grow_inbox(ab_tree *t)
{
    ab_tree_hub *hub = t->hub;
    ab_tree_words *w = &t->inbox;
    size_t want = w->cap ? 2 * w->cap : WORDS_MIN, more = want - w->cap;
    for (;;) {
        char *data = NULL;
        if (hub->inbox_bytes + more <= atomic_load(&hub->inbox_max))
            data = ab_tree_hub_alloc(hub, w->data, w->cap, want);
        if (data) {
            hub->inbox_bytes += more;
            w->data = data;
            w->cap = want;
            return 1;
        }
        ab_tree *largest = largest_inbox(hub);
        if (!largest || largest->inbox.cap < want)
            return 0;
        drop_inbox(largest);
        lose(largest);
    }
}

/* A tree that lost something hears no more until it is drained: it looks at
 * everything then. */
static void put(ab_tree *t, const struct inotify_event *in)
{
    ab_tree_words *w = &t->inbox;
    size_t bytes = sizeof *in + in->len;
    if (t->lost || says_the_same(w, in, bytes))
        return;
    if (w->count >= AB_TREE_QUEUE_MAX ||
        (w->cap - w->len < bytes && !grow_inbox(t))) {
        lose(t);
        return;
    }
    memcpy(w->data + w->len, in, bytes);
    w->last = w->len;
    w->len += bytes;
    w->count++;
    wake(t);
}

static void hand_to(ab_tree_node *n, const struct inotify_event *in)
{
    ab_tree *t = n->tree;
    if (t->ended)
        return;
    if (n == t->root && (in->mask & (ENDS | IN_IGNORED)))
        end(t);
    else if (in->len ? !t->only || strcmp(in->name, t->only) == 0
                     : (in->mask & IN_IGNORED) != 0)
        put(t, in);
}

static void hand_out(ab_tree_hub *hub, const struct inotify_event *in)
{
    if (in->mask & IN_Q_OVERFLOW) {
        for (ab_link *l = hub->trees.next; l != &hub->trees; l = l->next)
            lose(ab_container(l, ab_tree, link));
        return;
    }
    for (ab_tree_node *n = first_of(hub, in->wd, NULL); n;
         n = next_of(n->next, in->wd, NULL))
        hand_to(n, in);
}

/* Bytes; 0: there are none now; or a code. */
static int read_some(ab_tree_hub *hub)
{
    _Alignas(struct inotify_event) char buffer[READ_BYTES];
    if (hub->fd < 0)
        return 0;
    ssize_t n = read(hub->fd, buffer, sizeof buffer);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN
                   ? 0
                   : uv_translate_sys_error(errno);
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *in =
            (const struct inotify_event *)(const void *)(buffer + at);
        hand_out(hub, in);
        at += (ssize_t)(sizeof *in + in->len);
    }
    return (int)n;
}

int ab_tree_hub_read(ab_tree_hub *hub)
{
    uv_mutex_lock(&hub->lock);
    int n = read_some(hub);
    uv_mutex_unlock(&hub->lock);
    return n < 0 ? n : 0;
}

/* What the kernel has said so far, but not what it goes on to say. */
static void catch_up(ab_tree_hub *hub)
{
    int left = 0;
    if (ioctl(hub->fd, FIONREAD, &left) < 0)
        return;
    for (int n; left > 0 && (n = read_some(hub)) > 0;)
        left -= n;
}

/* ---- a tree in its hub ---- */

int ab_tree_enter_hub(ab_tree *t)
{
    ab_tree_hub *hub = t->hub;
    int err = 0;
    uv_mutex_lock(&hub->lock);
    if (hub->fd < 0)
        hub->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (hub->fd < 0) {
        err = uv_translate_sys_error(errno);
    } else {
        catch_up(hub); /* what was lost until now is not this tree's */
        ab_list_append(&hub->trees, &t->link);
    }
    uv_mutex_unlock(&hub->lock);
    return err;
}

/* The kernel takes back all watches with the instance, and waits then until
 * nobody can see them any more. */
static void shut(ab_tree_hub *hub)
{
    close(hub->fd);
    hub->fd = -1;
    ab_tree_hub_alloc(hub, hub->buckets,
                      hub->bucket_count * sizeof *hub->buckets, 0);
    hub->buckets = NULL;
    hub->bucket_count = hub->node_count = 0;
}

static void free_node(ab_tree *t, ab_tree_node *n)
{
    ab_list_remove(&n->link);
    ab_tree_give_text(t, n->path);
    ab_tree_alloc(t, n, sizeof *n, 0);
}

void ab_tree_leave_hub(ab_tree *t)
{
    ab_tree_hub *hub = t->hub;
    uv_mutex_lock(&hub->lock);
    t->ended = 1;
    drop_inbox(t);
    int entered = t->link.next != NULL;
    int last = entered && t->link.next == t->link.prev; /* the list's head */
    if (last) {
        ab_list_remove(&t->link);
        shut(hub);
    }
    uv_mutex_unlock(&hub->lock);
    for (ab_link *l; (l = ab_list_first(&t->nodes));) {
        ab_tree_node *n = ab_container(l, ab_tree_node, link);
        if (last)
            free_node(t, n);
        else
            ab_tree_forget(t, n); /* the lock is free now and then */
    }
    if (last || !entered)
        return;
    uv_mutex_lock(&hub->lock);
    ab_list_remove(&t->link);
    if (ab_list_empty(&hub->trees)) /* others have left meanwhile */
        shut(hub);
    uv_mutex_unlock(&hub->lock);
}

int ab_tree_place(ab_tree *t, int fd, int root, ab_tree_node **node)
{
    ab_tree_hub *hub = t->hub;
    char name[40];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ab_tree_node *n = ab_tree_alloc(t, NULL, 0, sizeof *n);
    if (!n)
        return UV_ENOMEM;
    uv_mutex_lock(&hub->lock);
    int err = grow(hub);
    if (!err) {
        uint32_t mask = root ? MASK | IN_DELETE_SELF | IN_MOVE_SELF : MASK;
        int wd = inotify_add_watch(hub->fd, name, mask);
        err = wd < 0 ? uv_translate_sys_error(errno) : 0;
        *n = (ab_tree_node){.tree = t, .wd = wd};
    }
    ab_tree_node *other = err ? NULL : first_of(hub, n->wd, NULL);
    *node = other ? first_of(hub, n->wd, t) : NULL;
    if (!err && !*node) {
        if (other) /* what happened until now is not for this tree */
            catch_up(hub);
        insert(hub, n);
        ab_list_append(&t->nodes, &n->link);
        if (root)
            t->root = n;
        *node = n;
    }
    uv_mutex_unlock(&hub->lock);
    if (*node != n)
        ab_tree_alloc(t, n, sizeof *n, 0);
    return err;
}

void ab_tree_forget(ab_tree *t, ab_tree_node *n)
{
    ab_tree_hub *hub = t->hub;
    uv_mutex_lock(&hub->lock);
    take_out(hub, n);
    if (t->root == n)
        t->root = NULL;
    if (!first_of(hub, n->wd, NULL)) /* fails if the folder is gone */
        inotify_rm_watch(hub->fd, n->wd);
    uv_mutex_unlock(&hub->lock);
    free_node(t, n);
}

ab_tree_node *ab_tree_node_of(ab_tree *t, int wd)
{
    if (t->root && t->root->wd == wd)
        return t->root;
    uv_mutex_lock(&t->hub->lock);
    ab_tree_node *n = first_of(t->hub, wd, t);
    uv_mutex_unlock(&t->hub->lock);
    return n;
}

/* ---- the inbox ---- */

int ab_tree_take(ab_tree *t)
{
    ab_tree_alloc(t, t->words.data, t->words.cap, 0);
    uv_mutex_lock(&t->hub->lock);
    atomic_store(&t->hearing, 0);
    t->words = t->inbox;
    t->hub->inbox_bytes -= t->inbox.cap;
    t->inbox = (ab_tree_words){0};
    t->bytes += t->words.cap; /* the hub has counted it */
    t->missed |= t->lost;
    t->lost = 0;
    t->ending |= t->ended;
    uv_mutex_unlock(&t->hub->lock);
    return t->words.len > 0;
}

int ab_tree_listen(ab_tree *t, int ms)
{
    struct pollfd p = {t->hub->fd, POLLIN, 0};
    if (ms)
        poll(&p, 1, ms);
    uv_mutex_lock(&t->hub->lock); /* another thread may be handing out */
    catch_up(t->hub);
    uv_mutex_unlock(&t->hub->lock);
    return atomic_load(&t->hearing) && ab_tree_take(t);
}

int ab_tree_heard(const ab_tree *t)
{
    return atomic_load(&t->hearing) || t->words.at < t->words.len ||
           t->missed || (t->ending && !t->gone);
}

#endif
