/* SPDX-License-Identifier: Apache-2.0 */
/* coffer volume unmount */
#include "cli/volume.h"

#include "volume/fuse/mount.h"

static int
run_unmount(struct cli *cli, struct coffer_error *err)
{
    const char *mount_point = cli->args->words[0];
    int rc = volume_unmount(mount_point, err);

    if (rc == COFFER_OK && cli->json)
        out_json(json_pack("{s:o}", "unmounted", out_path(mount_point)));
    else if (rc == COFFER_OK)
        (void)printf("Unmounted %s: everything is on the disk below.\n", mount_point);
    return rc;
}

const struct command command_volume_unmount = {
    .name = "volume unmount",
    .synopsis = "MOUNTPOINT",
    .summary = "end a mount, once everything is on the disk",
    .details = "Refused while a file in it is open or a process works there: stop the database "
               "first.  umount(8) does the same.\n\n"
               "  coffer volume unmount /srv/pg\n",
    .options = options_none,
    .words_min = 1,
    .words_max = 1,
    .run = run_unmount,
};
