/* SPDX-License-Identifier: Apache-2.0 */
/* The archive of a database's log: DIR/backups/DATABASE-ID.wal/SEGMENT, encrypted streams.
 *
 * The engine puts whole segments into root/archive on the volume.  A thread seals each, syncs it under its name and only then removes it
 * from the volume, so that one is always in one of the two places.  With the oldest physical backup they reach any moment after its end.
 */
#ifndef COFFER_DEPLOY_BACKUP_ARCHIVE_H
#define COFFER_DEPLOY_BACKUP_ARCHIVE_H

#include "deploy/backup/store.h"

COFFER_MUST_CHECK int archive_start(struct deploy *deploy, struct coffer_error *err);
void archive_stop(struct deploy *deploy);
/* Until when the archive reaches: when its newest segment was sealed; 0 without one. */
int64_t archive_until(const struct deploy *deploy, const char *database);
/* Every segment into root/recover of `place`, for its engine to recover from. */
COFFER_MUST_CHECK int archive_unseal(struct job *job, const char *database, const struct database_place *place, struct coffer_error *err);
/* After a backup has ended: without any physical one left the archive reaches nothing, and goes. */
COFFER_MUST_CHECK int archive_expire(struct deploy *deploy, const struct backup *b, const char *who, struct coffer_error *err);

#endif
