/* SPDX-License-Identifier: Apache-2.0 */
/* After a crash, before anything is served. */
#include "volume/rotate/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int
volume_recover(const char *lower, const struct volume_format *format, struct volume *volume,
               struct coffer_error *err)
{
    int root = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (root < 0)
        return error_set(err, errno == ENOENT ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", lower,
                         strerror(errno));
    rc = undo_recover(root, format, volume, err);
    if (rc == COFFER_OK)
        rc = relink_recover(root, err);
    if (rc != COFFER_OK)
        (void)error_prefix(err, "%s: ", lower);
    close(root);
    return rc;
}
