/* SPDX-License-Identifier: Apache-2.0 */
/* What engines share: paths and files of a place, programs run as its account, what has to be quoted.
 *
 * Beside what engine.h names, a place has root/conf: configuration that server() writes anew at each start, from the place alone.  So a restored
 * copy of root/data needs nothing else, and what the copy brings of its own (another port, another account) does not count.
 */
#ifndef COFFER_DEPLOY_ENGINES_INTERNAL_H
#define COFFER_DEPLOY_ENGINES_INTERNAL_H

#include "deploy/engines/engine.h"

#define OUTPUT_MAX (16u << 20) /* what process_run() takes */

extern const struct engine engine_postgresql, engine_mariadb, engine_redis, engine_sqlite;

/* ---- files of a place; each call as its account ---- */

/* root/name.  LIMIT. */
COFFER_MUST_CHECK int place_path(const struct engine_place *place, const char *name,
                                 char out[ENGINE_PATH_MAX], struct coffer_error *err);
/* The folders that every engine has: data, log, tmp, conf, 0700.  `archive` and `recover` where asked for. */
COFFER_MUST_CHECK int place_folders(const struct engine_place *place, struct coffer_error *err);
/* root/tls/server.pem and ca.crt. */
COFFER_MUST_CHECK int place_tls(const struct engine_place *place, bool *renewed,
                                struct coffer_error *err);
COFFER_MUST_CHECK int place_write(const struct engine_place *place, const char *name,
                                  struct bytes content, struct coffer_error *err); /* 0600 */
COFFER_MUST_CHECK int place_read(const struct engine_place *place, const char *name, size_t max,
                                 struct buf *out, struct coffer_error *err);
COFFER_MUST_CHECK int place_remove(const struct engine_place *place, const char *name,
                                   struct coffer_error *err);
bool place_has(const struct engine_place *place, const char *name);

/* init() leaves root/.init while it works: one that finds it begins anew, one that finds `complete` (a file that is there in any
 * data folder) and no .init has nothing to do. */
COFFER_MUST_CHECK int place_init_begin(const struct engine_place *place, const char *complete,
                                       bool *done, struct coffer_error *err);
COFFER_MUST_CHECK int place_init_end(const struct engine_place *place, struct coffer_error *err);

/* ---- programs ---- */

/* Begin a specification: account, HOME and TMPDIR in root/tmp, descriptors closed. */
COFFER_MUST_CHECK int spec_begin(const struct engine_place *place, struct process_spec *out,
                                 struct coffer_error *err);
/* Append several; NULL at the end. */
COFFER_MUST_CHECK int spec_args(struct process_spec *spec, struct coffer_error *err, ...)
    __attribute__((sentinel));
/* The first of `folders` (NULL at the end) that has the program; after them PATH.  NOTFOUND names the Debian package. */
COFFER_MUST_CHECK int program_find(const char *program, const char *const *folders,
                                   const char *package, char out[ENGINE_PATH_MAX],
                                   struct coffer_error *err);
/* What `path --version` says. */
COFFER_MUST_CHECK int program_version(const char *path, struct buf *out, struct coffer_error *err);
/* The first number with a point in `text`, as "15.20", and its major part. */
bool version_read(const char *text, char version[32], unsigned *major);

/* ---- text ---- */

bool loopback(const char *listen);
/* What a client on this machine connects to: listen, or 127.0.0.1 or ::1 where it is any address; IPv6 in brackets. */
void url_host(const char *listen, struct buf *out);
void url_escape(const char *text, struct buf *out);
/* What was written becomes `out`, if nothing failed so far; `text`, which bears a password, is wiped.  `out` has text->max + 1 bytes. */
COFFER_MUST_CHECK int url_end(int rc, struct buf *text, char *out, struct coffer_error *err);
/* Twice wherever `quote` is in `text`; no quotes around it. */
void quote_double(const char *text, char quote, struct buf *out);
/* {"tables": …} out of lines with a JSON array [name, rows] each. */
COFFER_MUST_CHECK int census_read(struct bytes lines, json_t **out, struct coffer_error *err);

/* ---- doctors ---- */

/* What stands behind `name` and `between` in its line; "" when there is none. */
void line_value(const char *lines, const char *name, char between, char *seen, size_t max);
/* One setting: ok when `seen` is `wanted`, otherwise `state` with `advice`. */
COFFER_MUST_CHECK int check_setting(const char *name, const char *seen, const char *wanted,
                                    const char *state, const char *advice, engine_check_fn fn,
                                    void *arg, struct coffer_error *err);

#endif
