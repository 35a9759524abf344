/* SPDX-License-Identifier: Apache-2.0 */
/* The host, and values between text, JSON and cells, for cat, seal and open. */
#ifndef COFFER_CLI_READER_H
#define COFFER_CLI_READER_H

#include "cli/cli.h"
#include "coffer_host.h"

/* Open the host by the common options, named "coffer-<command>" in heartbeats, and attach to the database. */
COFFER_MUST_CHECK int reader_open(struct cli *cli, const struct cli_url *url, struct coffer_host **host,
                                  uint8_t database[16], struct coffer_error *err);
/* A key part or value of type `type` out of what the engine gave or a person wrote.  `storage` keeps what it borrows. */
COFFER_MUST_CHECK int reader_value(int type, const struct coffer_value *raw, struct buf *storage,
                                   struct coffer_value *out, struct coffer_error *err);

#endif
