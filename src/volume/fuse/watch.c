/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/fuse/watch.h"

#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <stdio.h>

enum { NOTED_MAX = 65536 };

void
watch_begin(struct volume_fs *fs, struct watch *watch)
{
    *watch = (struct watch){0};
    pthread_mutex_lock(&fs->table.mutex);
    watch->next = fs->watches;
    fs->watches = watch;
    pthread_mutex_unlock(&fs->table.mutex);
    atomic_fetch_add(&fs->watched, 1);
    watch_settle(fs);
}

void
watch_end(struct volume_fs *fs, struct watch *watch)
{
    struct watch **at = &fs->watches;
    bool missed;

    atomic_fetch_sub(&fs->watched, 1);
    pthread_mutex_lock(&fs->table.mutex);
    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    pthread_mutex_unlock(&fs->table.mutex);
    watch_free(fs, watch_take(fs, watch, &missed));
}

struct moved *
watch_take(struct volume_fs *fs, struct watch *watch, bool *missed)
{
    struct moved *first;

    pthread_mutex_lock(&fs->table.mutex);
    first = watch->first;
    *missed = watch->missed;
    watch->first = NULL;
    watch->count = 0;
    watch->missed = false;
    pthread_mutex_unlock(&fs->table.mutex);
    return first;
}

void
watch_free(struct volume_fs *fs, struct moved *moved)
{
    while (moved != NULL) {
        struct moved *next = moved->next;

        inode_release(fs, moved->folder, 1);
        mem_free(moved);
        moved = next;
    }
}

void
watch_settle(struct volume_fs *fs)
{
    pthread_rwlock_wrlock(&fs->names);
    pthread_rwlock_unlock(&fs->names);
}

void
watch_note(struct volume_fs *fs, struct inode *folder, const char *lower)
{
    if (atomic_load(&fs->watched) == 0)
        return;
    pthread_mutex_lock(&fs->table.mutex);
    for (struct watch *watch = fs->watches; watch != NULL; watch = watch->next) {
        struct moved *moved = watch->count < NOTED_MAX ? mem_alloc(sizeof *moved) : NULL;

        if (moved == NULL) {
            watch->missed = true;
            continue;
        }
        folder->refs++;
        moved->folder = folder;
        (void)snprintf(moved->lower, sizeof moved->lower, "%s", lower);
        moved->next = watch->first;
        watch->first = moved;
        watch->count++;
    }
    pthread_mutex_unlock(&fs->table.mutex);
}
