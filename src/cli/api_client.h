/* SPDX-License-Identifier: Apache-2.0 */
/* The command's side of cofferd's API: JSON over DIR/coffer.sock (docs/API.md). */
#ifndef COFFER_CLI_API_CLIENT_H
#define COFFER_CLI_API_CLIENT_H

#include "cli/cli.h"

extern const struct arg_option options_state_only[];

/* The state folder: --state, else `state` of coffer.toml, else COFFER_STATE; "" if nothing names one. */
COFFER_MUST_CHECK int cli_state_find(struct cli *cli, char dir[1024], struct coffer_error *err);
/* The same; MISUSE if nothing names one. */
COFFER_MUST_CHECK int cli_state(struct cli *cli, char dir[1024], struct coffer_error *err);

/* One request; `path` is a format, whose %s words are put in escaped (at most three; each text, none empty).  Takes `body`; NULL: none.
 * The status is that of cofferd's answer.  NOTFOUND where no cofferd serves the folder: says how to start it. */
COFFER_MUST_CHECK int api_call(struct cli *cli, const char *method, json_t *body, json_t **reply, struct coffer_error *err,
                               const char *path, const char *const *words);
/* Follow a job to its end, with a bar on a terminal.  `*result` is what it gives.  CANCELLED after Ctrl-C: the job goes on, and how
 * to follow or pause it was said. */
COFFER_MUST_CHECK int api_follow(struct cli *cli, json_int_t job, bool lines, json_t **result, struct coffer_error *err);
/* api_call(), and if that began a job, api_follow(). */
COFFER_MUST_CHECK int api_run(struct cli *cli, const char *method, json_t *body, json_t **reply, struct coffer_error *err,
                              const char *path, const char *const *words);

/* Members of an answer as text for tables: "-" for what is not there. */
const char *api_text(const json_t *object, const char *name);
void api_size(const json_t *object, const char *name, char out[32]); /* "1.2 GiB" */
void api_time(const json_t *object, const char *name, char out[32]); /* "2026-11-24 06:00" */

#endif
