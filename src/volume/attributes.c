/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/attributes.h"

#include "base/mem.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FLAGS_KEPT (FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL | FS_NODUMP_FL | FS_NOATIME_FL)

enum { VALUE_MAX = 65536 };

struct names {
    char *list;
    size_t size;
};

void
attributes_begin(int from, int to)
{
    unsigned flags = 0, now = 0;

    if (ioctl(from, FS_IOC_GETFLAGS, &flags) != 0 || (flags & FLAGS_KEPT) == 0 ||
        ioctl(to, FS_IOC_GETFLAGS, &now) != 0)
        return;
    now |= flags & FLAGS_KEPT;
    (void)ioctl(to, FS_IOC_SETFLAGS, &now);
}

static int
names_read(int fd, struct names *out)
{
    ssize_t size = flistxattr(fd, NULL, 0);

    *out = (struct names){0};
    if (size < 0)
        return errno == EOPNOTSUPP ? 0 : -errno;
    if (size == 0)
        return 0;
    out->list = mem_alloc((size_t)size);
    if (out->list == NULL)
        return -ENOMEM;
    size = flistxattr(fd, out->list, (size_t)size);
    if (size < 0)
        return -errno;
    out->size = (size_t)size;
    return 0;
}

static const char *
next_name(const struct names *names, const char *name)
{
    name = name == NULL ? names->list : name + strlen(name) + 1;
    return names->list != NULL && name < names->list + names->size ? name : NULL;
}

static bool
has(const struct names *names, const char *wanted)
{
    for (const char *name = NULL; (name = next_name(names, name)) != NULL;)
        if (strcmp(name, wanted) == 0)
            return true;
    return false;
}

static bool
is_hidden(const char *const *hidden, const char *name)
{
    for (; hidden != NULL && *hidden != NULL; hidden++)
        if (strcmp(*hidden, name) == 0)
            return true;
    return false;
}

/* The system labels a new file itself, and may let nobody do it: then it has what new files have there. */
static bool
is_label(const char *name)
{
    return strncmp(name, "security.", 9) == 0 && strcmp(name, "security.capability") != 0;
}

static int
copy_one(int from, int to, const char *name, char *value)
{
    ssize_t len = fgetxattr(from, name, value, VALUE_MAX);

    if (len < 0)
        return errno == ENODATA ? 0 : -errno;
    if (fsetxattr(to, name, value, (size_t)len, 0) == 0 || is_label(name))
        return 0;
    return -errno;
}

static int
copy_xattrs(int from, int to, const char *const *hidden)
{
    struct names have = {0}, there = {0};
    char *value = mem_alloc(VALUE_MAX);
    int rc = value == NULL ? -ENOMEM : names_read(from, &have);

    if (rc == 0)
        rc = names_read(to, &there);
    /* A default list of the folder gives new files what the old one may not have. */
    for (const char *name = NULL; rc == 0 && (name = next_name(&there, name)) != NULL;)
        if (!is_hidden(hidden, name) && !has(&have, name) && fremovexattr(to, name) != 0 &&
            errno != ENODATA && !is_label(name))
            rc = -errno;
    for (const char *name = NULL; rc == 0 && (name = next_name(&have, name)) != NULL;)
        if (!is_hidden(hidden, name))
            rc = copy_one(from, to, name, value);
    mem_free(have.list);
    mem_free(there.list);
    mem_free(value);
    return rc;
}

/* The owner first: it takes set-uid bits away, and capabilities.  The mode after the lists, which change it.  The times last. */
int
attributes_copy(int from, int to, const char *const *hidden)
{
    struct stat st, now;
    int rc;

    if (fstat(from, &st) != 0 || fstat(to, &now) != 0)
        return -errno;
    if ((st.st_uid != now.st_uid || st.st_gid != now.st_gid) &&
        fchown(to, st.st_uid, st.st_gid) != 0)
        return -errno;
    rc = copy_xattrs(from, to, hidden);
    if (rc != 0)
        return rc;
    if (fchmod(to, st.st_mode & 07777) != 0)
        return -errno;
    return futimens(to, (struct timespec[2]){st.st_atim, st.st_mtim}) != 0 ? -errno : 0;
}
