/* SPDX-License-Identifier: Apache-2.0 */
/* MariaDB, 10.11 and later.
 *
 * Its administrator has the name of the account that the server runs as, no password, and comes through the Unix socket alone, where the server asks the
 * kernel who it is (unix_socket).  A file of statements that the server runs at each start makes it, so that a restored copy has it too.
 *
 * "Read only" is the server's read_only; root/conf/read_only says so, that a restart keeps it.
 */
#ifndef COFFER_DEPLOY_ENGINES_MARIADB_H
#define COFFER_DEPLOY_ENGINES_MARIADB_H

#include "deploy/engines/engine.h"

#define MARIADB_READ_ONLY "conf/read_only"

COFFER_MUST_CHECK int mariadb_program(const struct engine_place *place, const char *program,
                                      const char *package, char out[ENGINE_PATH_MAX],
                                      struct coffer_error *err);
/* PROGRAM --no-defaults, socket and administrator. */
COFFER_MUST_CHECK int mariadb_client(const struct engine_place *place, const char *program,
                                     const char *package, struct process_spec *out,
                                     struct coffer_error *err);
/* Run statements as the administrator; each row is a line of `out` (NULL: dropped), values parted by tabs. */
COFFER_MUST_CHECK int mariadb_sql(const struct engine_place *place, const char *database,
                                  const char *statements, struct buf *out,
                                  struct coffer_error *err);
/* root/conf: my.cnf, init.sql. */
COFFER_MUST_CHECK int mariadb_configure(const struct engine_place *place, struct coffer_error *err);
COFFER_MUST_CHECK int mariadb_socket(const struct engine_place *place, char out[ENGINE_PATH_MAX],
                                     struct coffer_error *err);

COFFER_MUST_CHECK int mariadb_prepare(const struct engine_place *place, struct coffer_error *err);
COFFER_MUST_CHECK int mariadb_dump(const struct engine_place *place, struct process_spec *out,
                                   struct coffer_error *err);
COFFER_MUST_CHECK int mariadb_load(const struct engine_place *place, struct process_spec *out,
                                   struct coffer_error *err);
COFFER_MUST_CHECK int mariadb_backup(const struct engine_place *place, struct process_spec *out,
                                     struct coffer_error *err);
COFFER_MUST_CHECK int mariadb_restore(const struct engine_place *place, struct process_spec *out,
                                      struct coffer_error *err);
COFFER_MUST_CHECK int mariadb_read_only(const struct engine_place *place, bool on,
                                        struct coffer_error *err);
COFFER_MUST_CHECK int mariadb_doctor(const struct engine_place *place, engine_check_fn fn,
                                     void *arg, struct coffer_error *err);
COFFER_MUST_CHECK int mariadb_census(const struct engine_place *place, json_t **out,
                                     struct coffer_error *err);

#endif
