/* SPDX-License-Identifier: Apache-2.0 */
/* Looks after servers and mounts: one thread that sleeps until one of them ends, and threads that bring a database up again.
 *
 * A database is in one pair of hands at a time: `held` by a step of a job, or by such a thread.
 */
#include "deploy/internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT_WORK_MAX 8
#define BACK_OFF_MS 1000
#define BACK_OFF_MAX_MS 60000
#define STEADY_MS 30000 /* that it must have run for to be trusted again */
#define SIZE_EVERY_MS 120000

struct watch {
    struct watch *next;
    struct deploy *deploy;
    char id[37];
    bool held, wanted, up, seen;
    int mount_fd, server_fd; /* poll readable when these end; -1 */
    unsigned failures;
    int64_t next_ms, up_ms, size_ms;
};

/* ---- with watch_lock ---- */

static struct watch *
find(struct deploy *deploy, const char *id)
{
    struct watch *w;

    for (w = deploy->watches; w != NULL; w = w->next)
        if (strcmp(w->id, id) == 0)
            return w;
    w = mem_alloc(sizeof *w);
    if (w == NULL)
        return NULL;
    w->deploy = deploy;
    w->mount_fd = w->server_fd = -1;
    (void)snprintf(w->id, sizeof w->id, "%s", id);
    w->next = deploy->watches;
    deploy->watches = w;
    return w;
}

static void
forget_fds(struct watch *w)
{
    if (w->mount_fd >= 0)
        close(w->mount_fd);
    if (w->server_fd >= 0)
        close(w->server_fd);
    w->mount_fd = w->server_fd = -1;
    w->up = false;
}

void
watch_hold(struct deploy *deploy, const char *id)
{
    struct watch *w;

    (void)pthread_mutex_lock(&deploy->watch_lock);
    while ((w = find(deploy, id)) == NULL || w->held)
        (void)pthread_cond_wait(&deploy->watch_changed, &deploy->watch_lock);
    w->held = true;
    (void)pthread_mutex_unlock(&deploy->watch_lock);
}

void
watch_release(struct deploy *deploy, const char *id)
{
    struct watch *w;

    (void)pthread_mutex_lock(&deploy->watch_lock);
    w = find(deploy, id);
    if (w != NULL) {
        w->held = false;
        w->failures = 0;
        w->next_ms = 0;
        forget_fds(w); /* others may run now */
    }
    (void)pthread_cond_broadcast(&deploy->watch_changed);
    (void)pthread_mutex_unlock(&deploy->watch_lock);
    supervise_wake(deploy);
}

void
supervise_wake(struct deploy *deploy)
{
    uint64_t one = 1;

    if (deploy->wake_fd >= 0)
        (void)!write(deploy->wake_fd, &one, sizeof one);
}

/* ---- bringing one up ---- */

static void
take_fds(struct watch *w)
{
    struct database_place place;
    struct process_id id;

    if (database_place(w->deploy, w->id, 0, &place, NULL) != COFFER_OK)
        return;
    if (process_find(place.mount_pid, &id, NULL) == COFFER_OK)
        w->mount_fd = process_watch(&id);
    if (place.engine->server != NULL && process_find(place.server_pid, &id, NULL) == COFFER_OK)
        w->server_fd = process_watch(&id);
    w->up = w->mount_fd >= 0 && (w->server_fd >= 0 || place.engine->server == NULL);
    database_place_wipe(&place);
}

static void *
bring_up(void *arg)
{
    struct watch *w = arg;
    struct deploy *deploy = w->deploy;
    struct coffer_error err = {0};
    int rc = run_up(deploy, w->id, &err);
    int64_t now;

    if (rc != COFFER_OK && rc != COFFER_E_CANCELLED) {
        deploy_log(deploy, "database %.8s: %s", w->id, err.message);
        (void)!database_put_state(deploy, w->id, "failed", err.message, NULL);
    }
    (void)pthread_mutex_lock(&deploy->watch_lock);
    now = deploy->os->monotonic_ms(deploy->os);
    forget_fds(w);
    if (rc == COFFER_OK)
        take_fds(w);
    if (w->up) {
        w->up_ms = now;
    } else {
        unsigned shift = w->failures < 6 ? w->failures : 6;
        int64_t wait = BACK_OFF_MS << shift;

        w->failures++;
        w->next_ms = now + (wait < BACK_OFF_MAX_MS ? wait : BACK_OFF_MAX_MS);
    }
    w->held = false;
    deploy->at_work--;
    (void)pthread_cond_broadcast(&deploy->watch_changed);
    (void)pthread_mutex_unlock(&deploy->watch_lock);
    supervise_wake(deploy);
    return NULL;
}

static void
begin(struct deploy *deploy, struct watch *w)
{
    pthread_attr_t detached;
    pthread_t thread;

    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    w->held = true;
    deploy->at_work++;
    if (pthread_create(&thread, &detached, bring_up, w) != 0) {
        w->held = false;
        deploy->at_work--;
        w->next_ms = deploy->os->monotonic_ms(deploy->os) + BACK_OFF_MS;
    }
    (void)pthread_attr_destroy(&detached);
}

/* ---- sizes ---- */

uint64_t
folder_bytes(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    uint64_t bytes = 0;
    struct stat st;

    if (folder == NULL) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        bytes += (uint64_t)st.st_blocks * 512;
        if (S_ISDIR(st.st_mode))
            bytes += folder_bytes(dirfd(folder), entry->d_name);
    }
    closedir(folder);
    return bytes;
}

void
database_measure(struct deploy *deploy, const char *id)
{
    char lower[DEPLOY_PATH_MAX + 32], text[200] = "";
    struct database d;
    uint64_t size;

    if (database_get(deploy, id, &d, NULL) != COFFER_OK)
        return;
    (void)snprintf(lower, sizeof lower, "%s/%u/lower", d.folder, d.generation);
    size = folder_bytes(AT_FDCWD, lower);
    if (d.limit > 0 && size > d.limit)
        (void)snprintf(
            text, sizeof text,
            "it takes %llu bytes, more than its limit of %llu: give it more, or make room",
            (unsigned long long)size, (unsigned long long)d.limit);
    (void)!state_run(deploy, NULL, "UPDATE databases SET size = ?, size_at = ? WHERE id = ?", "iis",
                     (int64_t)size, deploy->os->now_us(deploy->os), id);
    if (strcmp(d.state, "running") == 0 &&
        (text[0] != '\0' || strncmp(d.error, "it takes ", 9) == 0))
        (void)!database_put_state(deploy, id, NULL, text, NULL);
}

/* ---- the thread ---- */

static int
take_wanted(void *arg, const struct database *d, struct coffer_error *err)
{
    struct deploy *deploy = arg;
    struct watch *w = find(deploy, d->id);

    (void)err;
    if (w != NULL) {
        w->seen = true;
        w->wanted = strcmp(d->wanted, "running") == 0 && strcmp(d->state, "creating") != 0 &&
                    strcmp(d->state, "destroying") != 0;
    }
    return COFFER_OK;
}

static void
drop_unseen(struct deploy *deploy)
{
    for (struct watch **at = &deploy->watches; *at != NULL;) {
        struct watch *w = *at;

        if (w->seen || w->held) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        forget_fds(w);
        mem_free(w);
    }
}

/* Rows are read before the lock is taken: who has the state's lock may be waiting for this one. */
struct names {
    struct database *list;
    size_t count;
};

static int
take_name(void *arg, const struct database *d, struct coffer_error *err)
{
    struct names *names = arg;
    struct database *list = realloc(names->list, (names->count + 1) * sizeof *list);

    if (list == NULL)
        return error_nomem(err);
    names->list = list;
    names->list[names->count++] = *d;
    return COFFER_OK;
}

/* Start what should run and does not; the time until something is due, -1: nothing is. */
static int64_t
look_after(struct deploy *deploy, char size_of[37])
{
    int64_t now = deploy->os->monotonic_ms(deploy->os), due = -1;

    for (struct watch *w = deploy->watches; w != NULL; w = w->next) {
        int64_t wait = -1;

        if (!w->wanted || w->held)
            continue;
        if (w->up) {
            if (w->failures > 0 && now - w->up_ms > STEADY_MS)
                w->failures = 0;
            wait = w->size_ms - now;
            if (wait <= 0) {
                (void)snprintf(size_of, 37, "%s", w->id);
                w->size_ms = now + SIZE_EVERY_MS;
                wait = 0;
            }
        } else if (deploy->at_work >= AT_WORK_MAX) {
            continue; /* whoever is ready wakes us */
        } else if (w->next_ms > now) {
            wait = w->next_ms - now;
        } else {
            begin(deploy, w);
        }
        if (wait >= 0 && (due < 0 || wait < due))
            due = wait;
    }
    return due;
}

static size_t
gather(struct deploy *deploy, struct pollfd **fds, size_t *size)
{
    size_t need = 1, n = 1;

    for (struct watch *w = deploy->watches; w != NULL; w = w->next)
        need += 2;
    if (need > *size) {
        struct pollfd *more = realloc(*fds, need * sizeof **fds);

        if (more == NULL)
            return 0;
        *fds = more;
        *size = need;
    }
    (*fds)[0] = (struct pollfd){deploy->wake_fd, POLLIN, 0};
    for (struct watch *w = deploy->watches; w != NULL; w = w->next) {
        if (w->held)
            continue;
        if (w->mount_fd >= 0)
            (*fds)[n++] = (struct pollfd){w->mount_fd, POLLIN, 0};
        if (w->server_fd >= 0)
            (*fds)[n++] = (struct pollfd){w->server_fd, POLLIN, 0};
    }
    return n;
}

static void
ended(struct deploy *deploy, int fd)
{
    for (struct watch *w = deploy->watches; w != NULL; w = w->next) {
        if (w->held || (w->mount_fd != fd && w->server_fd != fd))
            continue;
        if (w->wanted)
            deploy_log(deploy, "database %.8s: its %s has ended; it is started again", w->id,
                       w->mount_fd == fd ? "mount" : "server");
        /* What falls again soon waits longer each time. */
        if (deploy->os->monotonic_ms(deploy->os) - w->up_ms < STEADY_MS) {
            unsigned shift = w->failures < 6 ? w->failures : 6;
            int64_t wait = w->failures == 0 ? 0 : BACK_OFF_MS << (shift - 1);

            w->failures++;
            w->next_ms = deploy->os->monotonic_ms(deploy->os) +
                         (wait < BACK_OFF_MAX_MS ? wait : BACK_OFF_MAX_MS);
        }
        forget_fds(w);
        return;
    }
}

static void *
supervise(void *arg)
{
    struct deploy *deploy = arg;
    struct pollfd *fds = NULL;
    size_t size = 0;

    while (!atomic_load(&deploy->closing)) {
        struct names names = {0};
        char size_of[37] = "";
        uint64_t count;
        int64_t due;
        size_t n;
        int rc = database_each(deploy, NULL, -1, take_name, &names, NULL);

        (void)pthread_mutex_lock(&deploy->watch_lock);
        for (struct watch *w = deploy->watches; rc == COFFER_OK && w != NULL; w = w->next)
            w->seen = false;
        for (size_t i = 0; rc == COFFER_OK && i < names.count; i++)
            (void)!take_wanted(deploy, &names.list[i], NULL);
        if (rc == COFFER_OK)
            drop_unseen(deploy);
        due = look_after(deploy, size_of);
        n = gather(deploy, &fds, &size);
        (void)pthread_mutex_unlock(&deploy->watch_lock);
        free(names.list);
        if (size_of[0] != '\0') {
            database_measure(deploy, size_of);
            continue;
        }
        (void)poll(fds, n, due < 0 ? -1 : due > 3600000 ? 3600000 : (int)due);
        if (n > 0 && fds[0].revents != 0)
            (void)!read(deploy->wake_fd, &count, sizeof count);
        (void)pthread_mutex_lock(&deploy->watch_lock);
        for (size_t i = 1; i < n; i++)
            if (fds[i].revents != 0)
                ended(deploy, fds[i].fd);
        (void)pthread_mutex_unlock(&deploy->watch_lock);
    }
    free(fds);
    return NULL;
}

int
supervise_start(struct deploy *deploy, struct coffer_error *err)
{
    if (pthread_create(&deploy->supervisor, NULL, supervise, deploy) != 0)
        return error_set(err, COFFER_E_NOMEM, "cannot start a thread");
    deploy->supervising = true;
    return COFFER_OK;
}

void
supervise_stop(struct deploy *deploy)
{
    supervise_wake(deploy);
    if (deploy->supervising)
        (void)pthread_join(deploy->supervisor, NULL);
    deploy->supervising = false;
    (void)pthread_mutex_lock(&deploy->watch_lock);
    while (deploy->at_work > 0)
        (void)pthread_cond_wait(&deploy->watch_changed, &deploy->watch_lock);
    while (deploy->watches != NULL) {
        struct watch *w = deploy->watches;

        deploy->watches = w->next;
        forget_fds(w);
        mem_free(w);
    }
    (void)pthread_mutex_unlock(&deploy->watch_lock);
}
