/* SPDX-License-Identifier: Apache-2.0 */
/* What the volume commands share: a lower folder opened by keyring or by passphrase, their options, names for people. */
#ifndef COFFER_CLI_VOLUME_H
#define COFFER_CLI_VOLUME_H

#include "cli/commands.h"
#include "volume/lifecycle.h"

struct cli_volume {
    struct keyring_store *store; /* NULL: by passphrase */
    struct keyring *keyring;
    struct volume_setup setup;
    struct volume *volume;
    int lock; /* -1: not held */
};

/* For folders of eCryptfs that no keyring knows.  --passphrase-file or --wrapped-passphrase says that it is one. */
extern const struct arg_option options_passphrase[];
bool volume_by_passphrase(const struct cli *cli);
/* A wrapping passphrase: the first line of --wrapping-file, else asked for with `question` (`confirm`: twice).  The caller frees it.
 * REFUSED where there is neither, FORMAT for an empty line. */
COFFER_MUST_CHECK int cli_wrapping(struct cli *cli, const char *question, bool confirm, struct secret **out,
                                   struct coffer_error *err);
/* The mount passphrase, from whichever of them; asks for a wrapping passphrase where no file has it. */
COFFER_MUST_CHECK int cli_passphrase(struct cli *cli, struct secret **out,
                                     struct coffer_error *err);

/* "aes-256"; NULL is 0. */
COFFER_MUST_CHECK int parse_cipher(const char *text, unsigned *bits, struct coffer_error *err);

/* The keyring's store by absolute paths: a process in the background works elsewhere. */
COFFER_MUST_CHECK int cli_store_absolute(struct cli *cli, struct keyring_store **store,
                                         struct coffer_error *err);

/* Keys and options of a lower folder, as the options say; `moved`: wherever the keyring knows it.  Nothing is held on failure. */
COFFER_MUST_CHECK int cli_volume_setup(struct cli *cli, const char *lower, bool moved,
                                       struct cli_volume *out, struct coffer_error *err);
/* The same, locked, put right after a crash (unless `look_only`) and open: CONFLICT while it is mounted. */
COFFER_MUST_CHECK int cli_volume_open(struct cli *cli, const char *lower, bool look_only,
                                      struct cli_volume *out, struct coffer_error *err);
void cli_volume_close(struct cli_volume *volume); /* accepts a closed one */

/* A JSON string of any bytes: what is not UTF-8 becomes '?'. */
json_t *out_path(const char *bytes);
/* For a terminal: control characters and what is not UTF-8 become '?'. */
void path_text(const char *bytes, char *out, size_t max);
void bytes_text(uint64_t n, char out[32]); /* "1.4 GB" */

#endif
