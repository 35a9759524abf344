/* SPDX-License-Identifier: Apache-2.0 */
#include "support/volume_forward.h"

#include "volume/fuse/names.h"
#include "volume/name_forward.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct walk {
    struct volume_fs *fs;
    const struct volume_format *format;
    struct volume *volume;
    json_t *failed;
    json_int_t moved, current;
};

static void
forward(struct walk *walk, int folder_fd, const char *name)
{
    char number[16];
    int rc = walk->fs != NULL ? names_bring_forward(walk->fs, folder_fd, name)
                              : name_bring_forward(walk->format, walk->volume, folder_fd, name);

    walk->moved += rc == 0;
    walk->current += rc == 1;
    if (rc >= 0)
        return;
    (void)snprintf(number, sizeof number, "%d", -rc);
    (void)json_object_set_new(
        walk->failed, number,
        json_integer(json_integer_value(json_object_get(walk->failed, number)) + 1));
}

/* All names are read before the first is moved. */
static void
walk_folder(struct walk *walk, int fd)
{
    DIR *dir = fdopendir(dup(fd));
    struct dirent *entry;
    char **names = NULL;
    size_t count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strncmp(entry->d_name, ".coffer", 7) == 0)
            continue;
        names = realloc(names, (count + 1) * sizeof *names);
        names[count++] = strdup(entry->d_name);
    }
    if (dir != NULL)
        closedir(dir);
    for (size_t i = 0; i < count; i++) {
        int below = openat(fd, names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (below >= 0) {
            walk_folder(walk, below);
            close(below);
        }
        forward(walk, fd, names[i]);
        free(names[i]);
    }
    free(names);
}

void
forward_all(struct volume_fs *fs, const struct volume_format *format, struct volume *volume,
            int lower_fd, json_t *reply)
{
    struct walk walk = {fs, format, volume, json_object(), 0, 0};
    int fd = openat(lower_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        walk_folder(&walk, fd);
        close(fd);
    }
    (void)json_object_set_new(reply, "moved", json_integer(walk.moved));
    (void)json_object_set_new(reply, "current", json_integer(walk.current));
    (void)json_object_set_new(reply, "failed", walk.failed);
}
