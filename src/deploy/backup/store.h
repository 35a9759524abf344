/* SPDX-License-Identifier: Apache-2.0 */
/* Backups of a state folder: rows of state.db, and DIR/backups/ID/{stream,record.json}.
 *
 * A folder under its own name is complete: it is written as `.ID.new`, synced, and renamed.  The record is signed under the keyring's audit
 * key, so that backups are found and believed again when state.db is lost.  docs/FORMAT.md "Backup".
 */
#ifndef COFFER_DEPLOY_BACKUP_STORE_H
#define COFFER_DEPLOY_BACKUP_STORE_H

#include "deploy/generation.h"

struct backup {
    char id[37], database[37], name[64], engine[32], stack[64], kind[16], state[16];
    unsigned major;
    char known[37]; /* the id by which the keyring knows the database, for the destroy guard */
    int64_t started_us, ended_us, expired_us, verified_us;
    uint64_t bytes, plain;
    uint32_t key_id;
    char digest[65]; /* SHA-256 of the stream */
    json_t *needs, *census; /* owned */
};
void backup_wipe(struct backup *b);
/* The table, made at the first use; then the records that lie in the folder are taken into it. */
COFFER_MUST_CHECK int backup_table(struct deploy *deploy, struct coffer_error *err);
COFFER_MUST_CHECK int backup_get(struct deploy *deploy, const char *id, struct backup *out, struct coffer_error *err);
COFFER_MUST_CHECK int backup_put(struct deploy *deploy, const struct backup *b, struct coffer_error *err);
COFFER_MUST_CHECK int backup_list(struct deploy *deploy, const char *database_or_null, json_t **out, struct coffer_error *err);
json_t *backup_json(const struct deploy *deploy, const struct backup *b);
void backup_path(const struct deploy *deploy, const char *id, bool fresh, const char *file, char out[DEPLOY_PATH_MAX + 80]);
void backup_stream_name(const char *id, char out[64]);
COFFER_MUST_CHECK int backup_record_write(struct deploy *deploy, const struct backup *b, struct coffer_error *err);
/* Both folders of it, whatever is in them. */
COFFER_MUST_CHECK int backup_remove_files(struct deploy *deploy, const char *id, struct coffer_error *err);

extern const struct job_kind job_backup, job_restore, job_verify, job_expire;
extern const struct deploy_action backup_actions[];

#endif
