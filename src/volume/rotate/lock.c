/* SPDX-License-Identifier: Apache-2.0 */
/* The lower folder's lock: flock(2) on the folder itself, as a mount holds it. */
#include "volume/rotate/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

int
volume_lower_lock(const char *lower, int *fd, struct coffer_error *err)
{
    int rc;

    *fd = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return error_set(err, errno == ENOENT ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", lower,
                         strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return COFFER_OK;
    rc = errno == EWOULDBLOCK
             ? error_set(err, COFFER_E_CONFLICT,
                         "%s is mounted, or another command works on it: unmount it first", lower)
             : error_set(err, COFFER_E_IO, "%s: cannot lock: %s", lower, strerror(errno));
    close(*fd);
    *fd = -1;
    return rc;
}
