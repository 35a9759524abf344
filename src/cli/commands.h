/* SPDX-License-Identifier: Apache-2.0 */
/* The sub-commands, one file each, and the help made from them. */
#ifndef COFFER_CLI_COMMANDS_H
#define COFFER_CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct command command_keyring_init, command_keyring_show, command_keyring_rewrap, command_keyring_export,
    command_keyring_import;
extern const struct command command_key_list, command_key_add, command_key_compromised, command_key_why,
    command_key_destroy;
extern const struct command command_client_add, command_client_list, command_client_waive;
extern const struct command command_protect, command_unprotect, command_rotate, command_status, command_prove;
extern const struct command command_volume_rotate, command_volume_prove;
extern const struct command command_backup_register, command_backup_list, command_backup_expire,
    command_backup_policy;
extern const struct command command_volume_create, command_volume_mount, command_volume_unmount, command_volume_status,
    command_volume_check, command_volume_import, command_volume_export;
extern const struct command command_backup_create, command_backup_restore, command_backup_verify;
extern const struct command command_serve, command_stop, command_signin, command_stack_create, command_stack_list;
extern const struct command command_db_create, command_db_list, command_db_show, command_db_url, command_db_start, command_db_stop,
    command_db_resize, command_db_logs, command_db_doctor, command_db_rotate, command_db_move, command_db_destroy;
extern const struct command command_job_list, command_job_show, command_job_pause, command_job_resume, command_job_cancel;
extern const struct command command_query, command_report_leakage;
extern const struct command command_audit, command_cat, command_seal, command_open, command_selftest, command_help,
    command_completion;

void help_overview(FILE *to);
void help_command(const struct command *command, FILE *to);

#endif
