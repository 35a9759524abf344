/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/name_forward.h"

#include "base/mem.h"
#include "volume/rotate/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

#define HIDDEN ".coffer"
#define COPY VOLUME_COPY "name"
#define XATTR_MAX 65536

struct entry {
    const struct volume_format *format;
    const struct volume *volume;
    int folder_fd;
    struct stat st, folder;
    char present[VOLUME_NAME_MAX + 1];
    bool name_current, target_current;
};

static bool
is_hidden(const char *lower)
{
    return strncmp(lower, HIDDEN, strlen(HIDDEN)) == 0;
}

/* ---- making a link anew ---- */

static int
copy_xattr(const char *from, const char *to, const char *name, char *value)
{
    char *other = value + XATTR_MAX;
    ssize_t len = lgetxattr(from, name, value, XATTR_MAX);

    if (len < 0)
        return -errno;
    if (lgetxattr(to, name, other, XATTR_MAX) == len && memcmp(value, other, (size_t)len) == 0)
        return 0; /* a label that every new file gets, and not everybody may set */
    return lsetxattr(to, name, value, (size_t)len, 0) != 0 ? -errno : 0;
}

static int
copy_xattrs(int folder_fd, const char *from_name, const char *to_name)
{
    char from[VOLUME_NAME_MAX + 40], to[VOLUME_NAME_MAX + 40], *names = NULL, *values = NULL;
    ssize_t size;
    int rc = 0;

    (void)snprintf(from, sizeof from, "/proc/self/fd/%d/%s", folder_fd, from_name);
    (void)snprintf(to, sizeof to, "/proc/self/fd/%d/%s", folder_fd, to_name);
    size = llistxattr(from, NULL, 0);
    if (size <= 0)
        return size == 0 || errno == EOPNOTSUPP ? 0 : -errno;
    names = mem_alloc((size_t)size);
    values = mem_alloc((size_t)2 * XATTR_MAX);
    if (names == NULL || values == NULL)
        rc = -ENOMEM;
    else if ((size = llistxattr(from, names, (size_t)size)) < 0)
        rc = -errno;
    for (const char *name = names; rc == 0 && name < names + size; name += strlen(name) + 1)
        rc = copy_xattr(from, to, name, values);
    mem_free(names);
    mem_free(values);
    return rc;
}

/* The owner first, the times last, as everything else changes them. */
static int
copy_attributes(const struct entry *entry, const char *from, const char *to)
{
    const struct timespec times[2] = {entry->st.st_atim, entry->st.st_mtim};
    struct stat st;
    int rc;

    if (fstatat(entry->folder_fd, to, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    if ((st.st_uid != entry->st.st_uid || st.st_gid != entry->st.st_gid) &&
        fchownat(entry->folder_fd, to, entry->st.st_uid, entry->st.st_gid, AT_SYMLINK_NOFOLLOW) !=
            0)
        return -errno;
    rc = copy_xattrs(entry->folder_fd, from, to);
    if (rc != 0)
        return rc;
    return utimensat(entry->folder_fd, to, times, AT_SYMLINK_NOFOLLOW) != 0 ? -errno : 0;
}

/* The link `lower` again, under COPY and with the present form of its target. */
static int
make_link(const struct entry *entry, const char *lower, struct bytes target)
{
    struct buf upper, sealed;
    int rc;

    buf_init(&upper, VOLUME_TARGET_MAX);
    buf_init(&sealed, VOLUME_TARGET_MAX + 1);
    rc = entry->format->target_to_upper(entry->volume, target, &upper, NULL);
    if (rc == 0)
        rc = entry->format->target_to_lower(entry->volume, buf_view(&upper), &sealed, NULL);
    if (rc == 0) {
        (void)unlinkat(entry->folder_fd, COPY, 0); /* an orphan */
        rc = symlinkat(buf_cstr(&sealed), entry->folder_fd, COPY) != 0 ? -errno : 0;
    }
    if (rc == 0) {
        rc = copy_attributes(entry, lower, COPY);
        if (rc != 0)
            (void)unlinkat(entry->folder_fd, COPY, 0);
    }
    buf_wipe(&upper);
    buf_wipe(&sealed);
    return rc;
}

static int
prepare_link(struct entry *entry, const char *lower)
{
    char target[VOLUME_TARGET_MAX + 1];
    ssize_t len = readlinkat(entry->folder_fd, lower, target, sizeof target);

    if (len < 0)
        return -errno;
    if (len > VOLUME_TARGET_MAX)
        return -ENAMETOOLONG;
    entry->target_current =
        entry->format->target_is_current(entry->volume, bytes_of(target, (size_t)len));
    return entry->target_current ? 0 : make_link(entry, lower, bytes_of(target, (size_t)len));
}

/* ---- the name ---- */

/* Nobody above has changed the folder.  Only its owner may say so; that it cannot be said is no failure. */
static void
restore_times(const struct entry *entry)
{
    const struct timespec times[2] = {entry->folder.st_atim, entry->folder.st_mtim};

    (void)utimensat(entry->folder_fd, ".", times, 0);
}

/* What the entry is, and its present name. */
static int
examine(struct entry *entry, const char *lower)
{
    char upper[VOLUME_NAME_MAX + 1];
    int rc;

    if (is_hidden(lower) || strcmp(lower, ".") == 0 || strcmp(lower, "..") == 0)
        return -ENOENT;
    if (fstatat(entry->folder_fd, lower, &entry->st, AT_SYMLINK_NOFOLLOW) != 0 ||
        fstatat(entry->folder_fd, ".", &entry->folder, 0) != 0)
        return -errno;
    rc = entry->format->name_to_upper(entry->volume, bytes_str(lower), upper, NULL);
    if (rc == 0)
        rc = entry->format->name_to_lower(entry->volume, bytes_str(upper), entry->present, NULL);
    if (rc == 0 && is_hidden(entry->present))
        rc = -EPERM;
    entry->name_current = rc == 0 && strcmp(entry->present, lower) == 0;
    entry->target_current = true;
    return rc;
}

/* Not every lower filesystem knows RENAME_NOREPLACE; nobody else makes names meanwhile. */
static int
rename_free(int folder_fd, const char *from, const char *to)
{
    struct stat st;

    if (renameat2(folder_fd, from, folder_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (fstatat(folder_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return renameat(folder_fd, from, folder_fd, to) != 0 ? -errno : 0;
}

/* The name first, then the link over it: so there is never one under each. */
static int
move(const struct entry *entry, const char *lower, char now[VOLUME_NAME_MAX + 1])
{
    int rc = entry->name_current ? 0 : rename_free(entry->folder_fd, lower, entry->present);

    if (rc == 0)
        strcpy(now, entry->present);
    if (rc == 0 && !entry->target_current &&
        renameat(entry->folder_fd, COPY, entry->folder_fd, now) != 0)
        rc = -errno;
    if (rc != 0 && !entry->target_current)
        (void)unlinkat(entry->folder_fd, COPY, 0);
    return rc;
}

int
name_forward(const struct volume_format *format, const struct volume *volume, int folder_fd,
             const char *lower, char now[VOLUME_NAME_MAX + 1])
{
    struct entry entry = {.format = format, .volume = volume, .folder_fd = folder_fd};
    int rc;

    now[0] = '\0';
    if (strlen(lower) > VOLUME_NAME_MAX)
        return -ENOENT;
    strcpy(now, lower);
    rc = examine(&entry, lower);
    if (rc != 0)
        return rc;
    if (S_ISLNK(entry.st.st_mode))
        rc = prepare_link(&entry, lower);
    if (rc == 0 && entry.name_current && entry.target_current)
        return 1;
    if (rc == 0)
        rc = move(&entry, lower, now);
    restore_times(&entry);
    return rc;
}

int
name_bring_forward(const struct volume_format *format, const struct volume *volume, int folder_fd,
                   const char *lower)
{
    char now[VOLUME_NAME_MAX + 1];

    return name_forward(format, volume, folder_fd, lower, now);
}
