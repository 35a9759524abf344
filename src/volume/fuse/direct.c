/* SPDX-License-Identifier: Apache-2.0 */
/* Files that bypass the kernel's page cache: logs opened with O_DSYNC.
 *
 * A log write with O_DSYNC costs three requests through the cache (the data, the time, the sync), and one past it.  Without O_DSYNC the
 * cache is better: the sync begins early (early.c), and a load that fills the log faster than it syncs it pays a
 * request for a megabyte instead of one for each page.  Patterns that somebody gave are taken at their word.
 *
 * Which files are logs is a matter of their names, and a log that is renamed to be used again stays one: no lookup tells
 * us, so the rename does.  All opens of one file have to agree; so the way changes only when nobody has it open.
 */
#include "volume/fuse/internal.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>

#define HEX8 "[0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F]"

static const char *const wal_segments[] = {"pg_wal/" HEX8 HEX8 HEX8};

static size_t
patterns(const struct volume_mount_options *options, const char *const **out)
{
    *out = options->direct != NULL ? options->direct : wal_segments;
    return options->direct != NULL ? options->direct_count : 1;
}

int
direct_check(const struct volume_mount_options *options, struct coffer_error *err)
{
    const char *const *list;
    size_t count = patterns(options, &list);

    if (count > 31)
        return error_set(err, COFFER_E_LIMIT, "%zu patterns of direct files: at most 31", count);
    for (size_t i = 0; i < count; i++)
        if (strchr(list[i], '/') != strrchr(list[i], '/'))
            return error_set(
                err, COFFER_E_MISUSE,
                "pattern of direct files '%s': give NAME or FOLDER/NAME, one folder at most",
                list[i]);
    return COFFER_OK;
}

bool
direct_wanted(const struct volume_fs *fs, const struct inode *inode, int flags)
{
    return atomic_load(&inode->direct_name) &&
           (fs->options->direct != NULL || (flags & O_DSYNC) != 0);
}

uint32_t
direct_folders(const struct volume_fs *fs, const char *name)
{
    const char *const *list;
    size_t count = patterns(fs->options, &list);
    char folder[VOLUME_NAME_MAX + 1];
    uint32_t bits = 0;

    for (size_t i = 0; i < count; i++) {
        const char *slash = strchr(list[i], '/');

        if (slash == NULL || (size_t)(slash - list[i]) >= sizeof folder)
            continue;
        memcpy(folder, list[i], (size_t)(slash - list[i]));
        folder[slash - list[i]] = 0;
        if (fnmatch(folder, name, FNM_PERIOD) == 0)
            bits |= (uint32_t)1 << i;
    }
    return bits;
}

bool
direct_match(const struct volume_fs *fs, uint32_t folders, const char *name)
{
    const char *const *list;
    size_t count = patterns(fs->options, &list);

    for (size_t i = 0; i < count; i++) {
        const char *slash = strchr(list[i], '/');

        if (slash == NULL ? fnmatch(list[i], name, FNM_PERIOD) == 0
                          : (folders >> i & 1) != 0 && fnmatch(slash + 1, name, FNM_PERIOD) == 0)
            return true;
    }
    return false;
}

void
direct_named(struct volume_fs *fs, struct inode *folder, struct inode *inode, const char *name)
{
    if (S_ISDIR(inode->type))
        atomic_store(&inode->folders, direct_folders(fs, name));
    else if (S_ISREG(inode->type))
        atomic_store(&inode->direct_name, direct_match(fs, atomic_load(&folder->folders), name));
}
