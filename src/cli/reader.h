/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring in use with one database, for cat, seal and open; and values out of what an engine or a person gave.
 *
 * The file is looked at again whenever reader_refresh() is called, so that a long stream never seals under a key that has
 * been replaced: it needs no heartbeat, since between two lines it holds no keyring at all that could be old.
 */
#ifndef COFFER_CLI_READER_H
#define COFFER_CLI_READER_H

#include "cli/cli.h"
#include "rotate/row_place.h"

struct reader {
    struct cli *cli;
    struct host_settings settings;
    struct keyring_store *store;
    struct keyring *keyring; /* as it was at the beginning; the database's record borrows it */
    struct host_database *database;
    struct coffer *coffer;
    uint64_t stamp;
};
COFFER_MUST_CHECK int reader_open(struct cli *cli, const struct cli_url *url, struct reader *out,
                                  struct coffer_error *err);
void reader_close(struct reader *reader);
/* The newest keyring is in use, confirmed, when this returns COFFER_OK.  ROLLBACK, IO, … */
COFFER_MUST_CHECK int reader_refresh(struct reader *reader, struct coffer_error *err);
/* The value of a protected column in a row that an engine gave: `own` from the column's own name, `beside` from its companion (NULL: in place).
 * `space` is the opened value's; `*stored` is how it lay there.  Errors as coffer_cell_read(). */
COFFER_MUST_CHECK int reader_cell(struct coffer *coffer, const struct coffer_column *column, const struct coffer_column_info *info,
                                  struct coffer_place place, const struct coffer_value *own, const struct coffer_value *beside,
                                  struct buf *space, struct coffer_stored *stored, struct coffer_value *value, struct coffer_error *err);

#endif
