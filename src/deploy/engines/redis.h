/* SPDX-License-Identifier: Apache-2.0 */
/* Redis, 7 and later.
 *
 * Two users, of which the server's configuration holds only hashes: the application's, who may all but administer, and `coffer_admin`, whose password lies
 * in root/conf/admin (0600) and goes to redis-cli by its standard input.  Data are a log of commands (appendonlydir) that begins with a snapshot.
 *
 * "Read only" takes the commands that write from the application's user; root/conf/read_only says so, that a restart keeps it.
 */
#ifndef COFFER_DEPLOY_ENGINES_REDIS_H
#define COFFER_DEPLOY_ENGINES_REDIS_H

#include "deploy/engines/engine.h"

#define REDIS_ADMIN "coffer_admin"
#define REDIS_RULES "~* &* -@all +@all -@admin"
#define REDIS_READ_ONLY "conf/read_only"
#define REDIS_PASSWORD "conf/admin"

COFFER_MUST_CHECK int redis_program(const struct engine_place *place, const char *program,
                                    char out[ENGINE_PATH_MAX], struct coffer_error *err);
COFFER_MUST_CHECK int redis_socket(const struct engine_place *place, char out[ENGINE_PATH_MAX],
                                   struct coffer_error *err);
/* root/conf: redis.conf, admin. */
COFFER_MUST_CHECK int redis_configure(const struct engine_place *place, struct coffer_error *err);
/* Run commands, one a line, as the administrator.  `out` has an answer a line, the first one that of AUTH.  NOTYET: it starts.  DB: it refused. */
COFFER_MUST_CHECK int redis_ask(const struct engine_place *place, const char *commands,
                                struct buf *out, struct coffer_error *err);

COFFER_MUST_CHECK int redis_dump(const struct engine_place *place, struct process_spec *out,
                                 struct coffer_error *err);
COFFER_MUST_CHECK int redis_load(const struct engine_place *place, struct process_spec *out,
                                 struct coffer_error *err);
COFFER_MUST_CHECK int redis_restore(const struct engine_place *place, struct process_spec *out,
                                    struct coffer_error *err);
COFFER_MUST_CHECK int redis_read_only(const struct engine_place *place, bool on,
                                      struct coffer_error *err);
COFFER_MUST_CHECK int redis_doctor(const struct engine_place *place, engine_check_fn fn, void *arg,
                                   struct coffer_error *err);
COFFER_MUST_CHECK int redis_census(const struct engine_place *place, json_t **out,
                                   struct coffer_error *err);

#endif
