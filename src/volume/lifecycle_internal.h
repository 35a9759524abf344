/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the life cycle share: one command's view of the keyring, the record and the mount.
 *
 *   lifecycle_create.c   a new volume            lifecycle_site.c    opening, changes, the mount
 *   lifecycle.c          the steps of a change   lifecycle_keys.c    changes of the keyring and of the record
 *   lifecycle_drain.c    walks, here or there    lifecycle_prove.c   scan, certificate, escrow
 */
#ifndef COFFER_VOLUME_LIFECYCLE_INTERNAL_H
#define COFFER_VOLUME_LIFECYCLE_INTERNAL_H

#include "ledger/audit.h"
#include "volume/lifecycle.h"

struct retiring { /* a key that files may be under, and that is on its way out */
    uint32_t id;
    char name[VOLUME_KEY_NAME + 1]; /* as files bear it */
};

struct life {
    const struct volume_env *env;
    const struct volume_rotate_options *options;
    const char *path;          /* as given: the mount is asked by it */
    struct keyring *keyring;   /* the newest we know */
    struct volume_setup setup; /* of the record as it stands */
    struct volume *volume;     /* offline, while a walk or scan needs it */
    bool online;               /* somebody serves it: walks and scans are that one's work */
    int lock;                  /* offline: of the lower folder */
    struct retiring retiring[VOLUME_KEYS_MAX];
    size_t retiring_count;
    bool found; /* the last look for a certificate found units under its key */
};

/* ---- lifecycle_site.c ---- */

/* Find out who serves the volume, or take its lock; load keyring and record.  On failure nothing is held. */
COFFER_MUST_CHECK int life_open(struct life *life, const struct volume_env *env,
                                const struct volume_rotate_options *options, const char *path,
                                struct coffer_error *err);
void life_close(struct life *life);
bool life_stopped(const struct life *life);
void life_say(const struct life *life, const char *step, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Audited change of the keyring; the keys in `setup` follow.  `key_id` 0: the event names none. */
COFFER_MUST_CHECK int life_change(struct life *life, const char *event, uint32_t key_id,
                                  keyring_change change, void *arg, struct coffer_error *err);
/* Write the record as `setup` has it. */
COFFER_MUST_CHECK int life_save(struct life *life, struct coffer_error *err);
/* One request to the mount.  `request` is taken over; `reply` may be NULL. */
COFFER_MUST_CHECK int life_call(struct life *life, const char *command, json_t *request,
                                json_t **reply, struct coffer_error *err);
/* The mount reads keyring and record again; nothing offline.  CONFLICT if it then does not write and open as the keyring says. */
COFFER_MUST_CHECK int life_reload(struct life *life, struct coffer_error *err);
/* Offline: the volume with the present keys and forms. */
COFFER_MUST_CHECK int life_volume(struct life *life, struct volume **out, struct coffer_error *err);
void life_volume_close(struct life *life);

/* ---- lifecycle_keys.c ---- */

const struct keyring_key *life_key_in(const struct life *life,
                                      enum key_state state); /* the newest of the line, NULL */
/* Collect draining, fenced and proven keys of the line. */
COFFER_MUST_CHECK int life_retiring(struct life *life, struct coffer_error *err);
/* The name that files bear for a key, from its material or its escrow file. */
COFFER_MUST_CHECK int life_key_name(struct life *life, uint32_t id, char out[VOLUME_KEY_NAME + 1],
                                    struct coffer_error *err);
COFFER_MUST_CHECK int life_stage(struct life *life, struct coffer_error *err);
COFFER_MUST_CHECK int life_record_open(struct life *life, struct coffer_error *err);
COFFER_MUST_CHECK int life_record_close(struct life *life, struct coffer_error *err);
COFFER_MUST_CHECK int life_activate(struct life *life, struct coffer_error *err);
COFFER_MUST_CHECK int life_fence(struct life *life, struct coffer_error *err);
COFFER_MUST_CHECK int life_reopen(struct life *life, struct coffer_error *err);
COFFER_MUST_CHECK int life_reverse(struct life *life, struct coffer_error *err);

/* ---- lifecycle_drain.c ---- */

COFFER_MUST_CHECK int life_drain(struct life *life, struct coffer_error *err);

/* ---- lifecycle_prove.c ---- */

struct life_find {
    char path[400]; /* the first unit that hinders, "" if none */
    char what[160];
};
/* Look at everything; `key`: the name of one to find units of, NULL: damage. */
COFFER_MUST_CHECK int life_scan(struct life *life, const char *key, struct volume_count *count,
                                struct life_find *find, struct coffer_error *err);
/* Files of which nobody can say what they are under. */
uint64_t life_unreadable(const struct life *life, const struct volume_count *count);
/* Scan and sign for one key.  REFUSED while a unit is under it or damaged; *count is filled then, too. */
COFFER_MUST_CHECK int life_certificate(struct life *life, uint32_t key_id, const char *name,
                                       struct volume_count *count, struct buf *certificate,
                                       struct coffer_error *err);
/* All retiring keys that are fenced: certificates into the keyring.  REFUSED as above. */
COFFER_MUST_CHECK int life_prove(struct life *life, struct coffer_error *err);
COFFER_MUST_CHECK int life_escrow(struct life *life, struct coffer_error *err);

/* ---- lifecycle_json.c: between the two sides of the control channel ---- */

json_t *life_text_json(const char *bytes);
json_t *life_progress_json(const struct volume_progress *progress); /* NULL: out of memory */
void life_progress_read(const json_t *json, struct volume_progress *out);
json_t *life_pace_json(const struct volume_pace *pace);
void life_pace_read(const json_t *json, struct volume_pace *out);
json_t *life_count_json(const struct volume_count *count);
/* FORMAT if it does not say every key: what is left out would look proven gone. */
COFFER_MUST_CHECK int life_count_read(const json_t *json, struct volume_count *out,
                                      struct coffer_error *err);

#endif
