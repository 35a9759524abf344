/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite: no server, one file, root/data/NAME.db, with a write-ahead log unless the application chooses otherwise. */
#ifndef COFFER_DEPLOY_ENGINES_SQLITE_H
#define COFFER_DEPLOY_ENGINES_SQLITE_H

#include "deploy/engines/engine.h"

/* "Read only" is a byte of the file's head (the write version, at 18): every SQLite since 3.7 refuses to write a file whose write version
 * it does not know, and still reads it.  So it holds for each program that opens the file, for as long as the file is so.  The
 * log has to be taken in first, for which nobody else may have the file open in WAL mode: CONFLICT after 10 s.  What has it open when it is taken back has to open it
 * anew. */
COFFER_MUST_CHECK int sqlite_read_only(const struct engine_place *place, bool on,
                                       struct coffer_error *err);
COFFER_MUST_CHECK int sqlite_path(const struct engine_place *place, char out[ENGINE_PATH_MAX],
                                  struct coffer_error *err);

#endif
