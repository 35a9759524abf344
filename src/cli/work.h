/* SPDX-License-Identifier: Apache-2.0 */
/* What protect, unprotect and rotate share. */
#ifndef COFFER_CLI_WORK_H
#define COFFER_CLI_WORK_H

#include "cli/events.h"

extern const struct arg_option options_work[];
COFFER_MUST_CHECK int work_options(const struct cli *cli, struct rotate_options *out, struct coffer_error *err);
/* Close and, with --json, print the result object; returns `rc`. */
int work_end(struct cli *cli, struct events *events, struct rotate_env *env, int rc, const char *what);

/* A long-running child that turns an old value into its plaintext, JSON lines (decoder.c).  `decoder_decode` is
 * rotate_options.decode with the decoder as its argument. */
struct decoder;
COFFER_MUST_CHECK int decoder_start(const char *command, struct decoder **out, struct coffer_error *err);
void decoder_stop(struct decoder *decoder);
int decoder_decode(void *arg, const struct keyring_column *column, const struct coffer_value *old, struct buf *storage,
                   struct coffer_value *out, struct coffer_error *err);

#endif
