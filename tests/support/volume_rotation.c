/* SPDX-License-Identifier: Apache-2.0 */
#include "support/volume_rotation.h"

#include "volume/fuse/names.h"
#include "volume/rotate/walk.h"

#include <string.h>

static struct volume_walker *walker;

static int
key_of(const json_t *request, const char *name, struct volume_key *out, struct coffer_error *err)
{
    const char *text = json_string_value(json_object_get(request, name));

    return volume_ecryptfs.key_set(bytes_str(text), (struct bytes){0}, out, err);
}

int
rotation_begin(struct volume_fs *fs, const struct volume_options *options, const json_t *request,
               struct coffer_error *err)
{
    const char *work = json_string_value(json_object_get(request, "work"));
    struct volume_walk_options walk = {
        .work = work != NULL && strcmp(work, "rewrap") == 0 ? VOLUME_REWRAP : VOLUME_REENCRYPT,
        .pace = {.duty = 0.8}};
    struct volume_key keys[2] = {0};
    int rc;

    rotation_end();
    rc = key_of(request, "key", &keys[0], err);
    if (rc == 0)
        rc = key_of(request, "old", &keys[1], err);
    if (rc == 0)
        rc = names_change(fs, options, keys, 2, keys, 1, err);
    secret_free(keys[0].secret);
    secret_free(keys[1].secret);
    return rc != 0 ? COFFER_E_IO : volume_walker_start(fs, &walk, &walker, err);
}

void
rotation_status(json_t *reply)
{
    struct volume_progress progress;

    if (walker == NULL)
        return;
    volume_walker_progress(walker, &progress);
    (void)json_object_set_new(
        reply, "walk",
        json_pack("{s:I,s:I,s:I,s:s,s:b,s:i,s:s}", "files", (json_int_t)progress.files, "done",
                  (json_int_t)progress.files_done, "failed", (json_int_t)progress.failed, "failure",
                  progress.failure, "ended", progress.ended, "status", progress.status, "message",
                  progress.error.message));
}

void
rotation_end(void)
{
    volume_walker_stop(walker);
    walker = NULL;
}

int
rotation_recover(void *volume, const char *lower, struct coffer_error *err)
{
    return volume_recover(lower, &volume_ecryptfs, volume, err);
}
