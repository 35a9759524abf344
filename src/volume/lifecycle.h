/* SPDX-License-Identifier: Apache-2.0 */
/* A volume's key from birth to escrow, over the keyring and the walk.
 *
 *   stage      a new key in the keyring; the mount, if there is one, reads it: whoever serves can open with it
 *   activate   it writes; the former one is draining, and the mount writes nothing under it any more
 *   drain      the walk (rotate/walk.h), in the mount's process or here; again until a walk finds nothing to move
 *   fence      the former key is fenced in the keyring; the mount has let go of it
 *   prove      every file, hidden file and name is looked at; certificate
 *   escrow     the material moves from the keyring to an escrow file
 *
 * As with columns each step looks at what is already so and may be repeated: a run that was killed is resumed by the same command.  Where
 * it stands is in the keyring (the states of the keys of the line); what kind of walk is wanted stands in the volume's record.
 */
#ifndef COFFER_VOLUME_LIFECYCLE_H
#define COFFER_VOLUME_LIFECYCLE_H

#include "base/os.h"
#include "keyring/store.h"
#include "volume/rotate/walk.h"
#include "volume/setup.h"

#include <jansson.h>

struct volume_env {
    struct keyring_store *store;
    const struct os *os;
    const char *who;
    bool (*stop)(void *arg);
    /* One line for each step ("stage", "new key 5447c6e0 is in the keyring"), and progress within "drain". */
    void (*say)(void *arg, const char *step, const char *text);
    void (*progress)(void *arg, const struct volume_progress *progress);
    void *arg;
};

/* Make a volume of an empty folder (REFUSED if it has entries; EXISTS if it is one): database record, key of the line, record, in that
 * order, audited as "volume.create".  `options`: key_bits 0 is 256. */
COFFER_MUST_CHECK int volume_create(const struct volume_env *env, const char *lower, const struct volume_options *options,
                                    struct coffer_error *err);

struct volume_rotate_options {
    enum volume_work work;
    unsigned key_bits;      /* 0: as it is.  Another one needs VOLUME_REENCRYPT */
    int encrypt_names;      /* -1: as it is; 0, 1 */
    struct volume_pace pace;
    bool no_wait;
    bool plan_only;         /* say what it would do and how many files and bytes */
    bool abort;             /* back to the former key, before the fence */
};
/* Change the key.  `path`: the lower folder or the mount point.
 * REFUSED  the certificate would state something untrue: failed or damaged files, with the first path
 * NOTYET   no_wait and another walk runs     CANCELLED   as asked     LIMIT  too little space */
COFFER_MUST_CHECK int volume_rotate(const struct volume_env *env, const char *path, const struct volume_rotate_options *options,
                                    struct coffer_error *err);
/* Scan, and sign the certificate for `key_id` again: appended to `certificate`, the caller's.  The keyring stays as it is.
 * REFUSED  units are under the key, cannot be read, or the key still writes     KEY  no key of this volume, or destroyed
 * CANCELLED  as asked */
COFFER_MUST_CHECK int volume_prove(const struct volume_env *env, const char *path, uint32_t key_id, struct volume_count *count,
                                   struct buf *certificate, struct coffer_error *err);

/* ---- the mount's side: the control channel (volume_mount_options.control, .started, .stopping), arg = struct volume_service ----
 *
 *   reload {}                           the newest keyring: keys and form; answers {"epoch", "writes": KEY NAME, "opens": [KEY NAME…]}
 *   walk {"work":"rewrap"|"reencrypt","names":BOOL,"pace":{…}}
 *   pause, resume, throttle {"pace":{…}}, stop-walk, scan {"key":KEY NAME|null}
 *   status                              adds volume id, format, cipher, keys by name and id, progress of the walk
 */
struct volume_service {
    struct keyring_store *store; /* NULL: opened with a passphrase; reload and walk are refused */
    struct volume_setup *setup;
    struct volume *volume;
    struct volume_walker *walker;
    struct volume_fs *fs;
    void *lock;
};
int volume_service_control(void *service, struct volume_fs *fs, const char *command, const json_t *request, json_t *reply,
                           struct coffer_error *err);
void volume_service_started(void *service, struct volume_fs *fs);
void volume_service_stopping(void *service, struct volume_fs *fs);

#endif
