/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL, 15 and later.
 *
 * Its superuser `coffer_admin` has no password: it comes through the Unix socket alone, and the server asks the kernel that the process is
 * of the account that the server itself runs as (peer), which could read the files anyway.  Applications are `place->user`, owner of one database, by
 * password, and by TLS where they come over a network.
 *
 * "Read only" is CONNECTION LIMIT 0 of the database: kept in its catalogue, so that it outlives a restart; superusers pass.
 */
#ifndef COFFER_DEPLOY_ENGINES_POSTGRESQL_H
#define COFFER_DEPLOY_ENGINES_POSTGRESQL_H

#include "deploy/engines/engine.h"

#define POSTGRESQL_ADMIN "coffer_admin"

/* Run statements as the superuser in `database`; each result row is a line of `out` (NULL: dropped), values parted by '|'.  psql's own commands
 * (\gexec) work.  IO: what psql said. */
COFFER_MUST_CHECK int postgresql_sql(const struct engine_place *place, const char *database,
                                     const char *statements, struct buf *out,
                                     struct coffer_error *err);
/* What libpq is told to reach that database as the superuser, from a program of the same account: "host=… port=… user=… dbname=…". */
COFFER_MUST_CHECK int postgresql_conninfo(const struct engine_place *place, const char *database,
                                          struct buf *out, struct coffer_error *err);

/* root/conf: postgresql.conf, pg_hba.conf, pg_ident.conf. */
COFFER_MUST_CHECK int postgresql_configure(const struct engine_place *place,
                                           struct coffer_error *err);
/* PROGRAM -h -p -U of the superuser, without a question for a password. */
COFFER_MUST_CHECK int postgresql_client(const struct engine_place *place, const char *program,
                                        struct process_spec *out, struct coffer_error *err);

COFFER_MUST_CHECK int postgresql_dump(const struct engine_place *place, struct process_spec *out,
                                      struct coffer_error *err);
COFFER_MUST_CHECK int postgresql_load(const struct engine_place *place, struct process_spec *out,
                                      struct coffer_error *err);
COFFER_MUST_CHECK int postgresql_backup(const struct engine_place *place, struct process_spec *out,
                                        struct coffer_error *err);
COFFER_MUST_CHECK int postgresql_restore(const struct engine_place *place, struct process_spec *out,
                                         struct coffer_error *err);
COFFER_MUST_CHECK int postgresql_recover(const struct engine_place *place, int64_t until_us,
                                         struct coffer_error *err);
COFFER_MUST_CHECK int postgresql_read_only(const struct engine_place *place, bool on,
                                           struct coffer_error *err);
COFFER_MUST_CHECK int postgresql_doctor(const struct engine_place *place, engine_check_fn fn,
                                        void *arg, struct coffer_error *err);
COFFER_MUST_CHECK int postgresql_census(const struct engine_place *place, json_t **out,
                                        struct coffer_error *err);

#endif
