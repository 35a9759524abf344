/* SPDX-License-Identifier: Apache-2.0 */
/* Files with several names: collected during the walk, moved when all names of one are known. */
#include "volume/rotate/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS (sizeof((struct links *)NULL)->buckets / sizeof(struct linked *))

static void
linked_free(struct linked *file)
{
    for (size_t i = 0; i < file->count; i++)
        mem_free(file->paths[i]);
    mem_free(file->paths);
    mem_free(file);
}

void
links_wipe(struct links *links)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (links->buckets[i] != NULL) {
            struct linked *file = links->buckets[i];

            links->buckets[i] = file->next;
            linked_free(file);
        }
    links->count = 0;
}

static struct linked *
find_or_make(struct links *links, const struct stat *st)
{
    struct linked **at = &links->buckets[(size_t)st->st_ino % BUCKETS];

    for (struct linked *file = *at; file != NULL; file = file->next)
        if (file->ino == st->st_ino && file->dev == st->st_dev)
            return file;
    {
        struct linked *file = mem_alloc(sizeof *file);

        if (file == NULL)
            return NULL;
        file->dev = st->st_dev;
        file->ino = st->st_ino;
        file->next = *at;
        *at = file;
        links->count++;
        return file;
    }
}

int
links_add(struct walk *walk, const struct tree_entry *entry)
{
    struct linked *file = find_or_make(&walk->links, entry->st);
    char **more;

    if (file == NULL)
        return error_nomem(walk->err);
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->paths[i], entry->path) == 0)
            return COFFER_OK;
    more = mem_grow(file->paths, (file->count + 1) * sizeof *more);
    if (more == NULL)
        return error_nomem(walk->err);
    file->paths = more;
    file->paths[file->count] = mem_strdup(entry->path);
    if (file->paths[file->count] == NULL)
        return error_nomem(walk->err);
    file->count++;
    return COFFER_OK;
}

/* Names that the file still has; the others are taken off the list. */
static int
names_check(struct walk *walk, struct linked *file, struct stat *st)
{
    size_t left = 0;

    memset(st, 0, sizeof *st);
    for (size_t i = 0; i < file->count; i++) {
        const char *name;
        struct stat now;
        int folder = path_folder(walk->root, file->paths[i], &name);
        bool same = folder >= 0 && fstatat(folder, name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
                    now.st_ino == file->ino && now.st_dev == file->dev;

        if (folder >= 0)
            close(folder);
        if (same) {
            *st = now;
            file->paths[left++] = file->paths[i];
        } else {
            mem_free(file->paths[i]);
        }
    }
    file->count = left;
    if (left == 0)
        return -ENOENT;
    return st->st_nlink == left ? 0 : -EAGAIN;
}

int
links_known(struct walk *walk, struct linked *file)
{
    struct stat st;

    return names_check(walk, file, &st);
}

char *
path_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? mem_strdup(name)
                         : mem_format("%.*s/%s", (int)(slash - path), path, name);
}

/* ---- moving, nobody using the file ---- */

static int
make_copy(struct walk *walk, const struct linked *file, char **copy_path, struct stat *made,
          struct coffer_error *why)
{
    const char *name;
    char copy[64];
    int folder = path_folder(walk->root, file->paths[0], &name), from, to, rc;

    if (folder < 0)
        return folder;
    *copy_path = NULL;
    from = open_quietly(folder, name);
    rc = from < 0 ? -errno : copy_make(walk, folder, copy, &to);
    if (rc != 0) {
        if (from >= 0)
            close(from);
        close(folder);
        return rc;
    }
    *copy_path = path_beside(file->paths[0], copy);
    rc = *copy_path == NULL ? -ENOMEM : 0;
    if (rc == 0) {
        rc = copy_file(walk, from, to, why);
        if (rc == 0 && fstatat(folder, copy, made, AT_SYMLINK_NOFOLLOW) != 0)
            rc = -errno;
    } else {
        close(from);
        close(to);
    }
    if (rc == 0 && syncfs(walk->root) != 0)
        rc = -errno;
    if (rc != 0)
        (void)unlinkat(folder, copy, 0);
    close(folder);
    return rc;
}

int
links_record(struct walk *walk, const struct linked *file, const char *copy_path,
             const struct stat *made, bool *begun, struct coffer_error *err)
{
    struct relink relink = {.old_dev = file->dev,
                            .old_ino = file->ino,
                            .new_dev = made->st_dev,
                            .new_ino = made->st_ino,
                            .copy = bytes_str(copy_path),
                            .count = file->count};
    int rc;

    relink.names = mem_array(file->count, sizeof *relink.names);
    if (relink.names == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < file->count; i++)
        relink.names[i] = bytes_str(file->paths[i]);
    rc = relink_write(walk->root, &relink, err);
    if (rc == COFFER_OK)
        rc = relink_apply(walk->root, &relink, walk, begun, err);
    mem_free(relink.names);
    return rc;
}

static int
move_offline(struct walk *walk, struct linked *file)
{
    struct volume_progress *progress = &walk->board->progress;
    struct coffer_error why = {0};
    struct stat st, made;
    char *copy_path = NULL;
    bool begun = false;
    int rc = COFFER_OK, failed = names_check(walk, file, &st);

    if (failed == -ENOENT)
        return COFFER_OK;
    if (failed == -EAGAIN) {
        (void)volume_fail(&why, -EAGAIN,
                          "the file has %lu names, and %zu of them are in this volume: remove the "
                          "others, or copy it by hand",
                          (unsigned long)st.st_nlink, file->count);
        walk_miss(walk, file->paths[0], &why, 0);
        return COFFER_OK;
    }
    rc = room_for(walk, file->paths[0], (uint64_t)st.st_size);
    if (rc != COFFER_OK)
        return rc;
    failed = make_copy(walk, file, &copy_path, &made, &why);
    if (failed == 0) {
        rc = links_record(walk, file, copy_path, &made, &begun, walk->err);
        if (rc == COFFER_OK) {
            pthread_mutex_lock(&walk->board->mutex);
            progress->files_done += file->count;
            pthread_mutex_unlock(&walk->board->mutex);
        }
    } else if (failed == -ECANCELED) {
        rc = COFFER_E_CANCELLED;
    } else if (failed == -ENOMEM) {
        rc = error_nomem(walk->err);
    } else {
        walk_miss(walk, file->paths[0], &why, failed);
    }
    mem_free(copy_path);
    return rc != COFFER_OK ? rc : walk_step(walk, 0);
}

int
links_move(struct walk *walk)
{
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < BUCKETS; i++)
        while (rc == COFFER_OK && walk->links.buckets[i] != NULL) {
            struct linked *file = walk->links.buckets[i];

            rc = walk->fs != NULL ? online_links(walk, file) : move_offline(walk, file);
            if (rc == COFFER_OK) {
                walk->links.buckets[i] = file->next;
                walk->links.count--;
                linked_free(file);
            }
        }
    return rc;
}
