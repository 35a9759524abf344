/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

const struct command *const commands[] = {
    &command_keyring_init, &command_keyring_show, &command_keyring_rewrap, &command_keyring_export,
    &command_keyring_import, &command_key_list, &command_key_add, &command_key_compromised, &command_key_why,
    &command_key_destroy, &command_client_add, &command_client_list, &command_client_waive, &command_protect,
    &command_unprotect, &command_rotate, &command_status, &command_prove, &command_backup_register,
    &command_backup_list, &command_backup_expire, &command_backup_policy, &command_backup_create, &command_backup_restore,
    &command_backup_verify, &command_serve, &command_stop, &command_signin, &command_stack_create, &command_stack_list,
    &command_db_create, &command_db_list, &command_db_show, &command_db_url, &command_db_start, &command_db_stop,
    &command_db_resize, &command_db_logs, &command_db_doctor, &command_db_rotate, &command_db_move, &command_db_destroy,
    &command_job_list, &command_job_show, &command_job_pause, &command_job_resume, &command_job_cancel, &command_volume_create,
    &command_volume_mount, &command_volume_unmount, &command_volume_status, &command_volume_check,
    &command_volume_rotate, &command_volume_prove, &command_volume_import, &command_volume_export, &command_audit, &command_cat, &command_query, &command_report_leakage,
    &command_seal, &command_open, &command_selftest, &command_completion, &command_help, NULL};

const struct arg_option options_common[] = {
    {"keyring", "FILE", "the keyring; else coffer.toml, then COFFER_KEYRING"},
    {"kek", "URI", "what unlocks it: file:PATH, passphrase: or passphrase:FILE; else coffer.toml, then COFFER_KEK"},
    {"state", "DIR", "cofferd's folder; else coffer.toml, then COFFER_STATE. Its keyring stands for --keyring and --kek"},
    {"json", NULL, "output as JSON lines"},
    {"yes", NULL, "answer questions with yes; never a safety rule"},
    {"no-wait", NULL, "do not wait at a closed gate: exit 4"},
    {"help", NULL, "this help"},
    {"version", NULL, "the version"},
    {NULL, NULL, NULL}};
const struct arg_option options_none[] = {{NULL, NULL, NULL}};
const struct arg_option options_url[] = {
    {"db-url", "URL", "the database, in place of the first word"},
    {"db-url-file", "FILE", "the database URL is the first line of FILE (may hold a password)"},
    {"db-url-env", "NAME", "the database URL is in the environment variable NAME (may hold a password)"},
    {NULL, NULL, NULL}};
