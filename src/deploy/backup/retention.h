/* SPDX-License-Identifier: Apache-2.0 */
/* How long the backups of a database are kept, and when they are made: the table `backup_policies`, docs/FORMAT.md "State of cofferd". */
#ifndef COFFER_DEPLOY_BACKUP_RETENTION_H
#define COFFER_DEPLOY_BACKUP_RETENTION_H

#include "deploy/internal.h"

/* Expire what is due, make what is due: jobs are begun, not waited for.  What cannot be done now is tried at a later look. */
void retention_look(struct deploy *deploy);
extern const struct deploy_action retention_actions[];

#endif
