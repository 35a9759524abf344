/* SPDX-License-Identifier: Apache-2.0 */
/* Every entry below a folder, through descriptors: no link is followed, and what is kept is one open folder a level. */
#include "volume/rotate/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PATH_ROOM = 1 << 20 };

struct state {
    const struct tree *tree;
    struct buf path;
    dev_t dev;
};

/* Pass over what is gone; say what cannot be read, and go on. */
static int
trouble(struct state *s, int error)
{
    if (error == -ENOENT || error == -ENOTDIR || error == -ELOOP)
        return 0;
    if (s->tree->trouble == NULL || error == -ENOMEM || error == -EMFILE || error == -ENFILE)
        return error;
    return s->tree->trouble(s->tree->arg, buf_cstr(&s->path), error);
}

static int visit_one(struct state *s, int folder, const char *name);

/* Takes `fd` over. */
static int
visit_below(struct state *s, int fd)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int rc = 0;

    if (dir == NULL) {
        rc = -errno;
        close(fd);
        return rc;
    }
    while (rc == 0 && (errno = 0, entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (s->tree->own || strncmp(name, OWN_PREFIX, strlen(OWN_PREFIX)) != 0)
            rc = visit_one(s, dirfd(dir), name);
    }
    if (rc == 0 && errno != 0)
        rc = trouble(s, -errno);
    closedir(dir);
    return rc;
}

static int
visit_folder(struct state *s, int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? trouble(s, -errno) : visit_below(s, fd);
}

static int
visit_one(struct state *s, int folder, const char *name)
{
    size_t len = s->path.len;
    struct tree_entry entry = {.folder = folder, .name = name};
    struct stat st;
    int rc = 0;

    if (len > 0)
        buf_u8(&s->path, '/');
    buf_str(&s->path, name);
    if (buf_status(&s->path, NULL) != COFFER_OK)
        return -ENOMEM;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        rc = trouble(s, -errno);
    } else if (st.st_dev == s->dev) { /* not what is mounted here */
        if (S_ISDIR(st.st_mode))
            rc = visit_folder(s, folder, name);
        entry.path = buf_cstr(&s->path);
        entry.st = &st;
        if (rc == 0)
            rc = s->tree->visit(s->tree->arg, &entry);
    }
    s->path.len = len;
    return rc;
}

int
tree_walk(const struct tree *tree, int folder, const char *name, const char *path)
{
    struct state s = {.tree = tree};
    struct stat st;
    int rc;

    if (fstat(tree->root, &st) != 0)
        return -errno;
    s.dev = st.st_dev;
    buf_init(&s.path, PATH_ROOM);
    buf_str(&s.path, path);
    rc = name[0] != 0 ? visit_one(&s, folder, name) : visit_folder(&s, folder, ".");
    buf_wipe(&s.path);
    return rc;
}

int
path_folder(int root, const char *path, const char **name)
{
    int at = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *slash;

    while (at >= 0 && (slash = strchr(path, '/')) != NULL) {
        char part[VOLUME_NAME_MAX + 1];
        size_t len = (size_t)(slash - path);
        int next = -1;

        if (len > 0 && len <= VOLUME_NAME_MAX) {
            memcpy(part, path, len);
            part[len] = 0;
            if (strcmp(part, "..") != 0)
                next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        } else {
            errno = ENOENT;
        }
        close(at);
        at = next;
        path = slash + 1;
    }
    *name = path;
    return at < 0 ? -errno : at;
}
