/* SPDX-License-Identifier: Apache-2.0 */
/* The backup commands that a keyring alone has too, done by cofferd where there is a state folder. */
#ifndef COFFER_CLI_BACKUP_API_H
#define COFFER_CLI_BACKUP_API_H

#include "cli/cli.h"

bool backup_of_state(struct cli *cli); /* a state folder is named, and no keyring by an option */
COFFER_MUST_CHECK int backup_api_list(struct cli *cli, struct coffer_error *err);
COFFER_MUST_CHECK int backup_api_expire(struct cli *cli, struct coffer_error *err);
COFFER_MUST_CHECK int backup_api_policy(struct cli *cli, struct coffer_error *err);

#endif
