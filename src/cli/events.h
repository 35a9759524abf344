/* SPDX-License-Identifier: Apache-2.0 */
/* What long work says, on a terminal (one bar, redrawn), in a log (a line every few seconds) or as JSON lines. */
#ifndef COFFER_CLI_EVENTS_H
#define COFFER_CLI_EVENTS_H

#include "base/number.h"
#include "cli/cli.h"
#include "rotate/rotate.h"

struct events {
    struct cli *cli;
    bool terminal; /* the bar can be redrawn */
    bool bar_shown;
    int64_t line_ms; /* when the last line of progress was written */
    char waiting[600];
    struct cli_url url;
};

/* Open the store and the environment of a rotate_… call; signals are caught from here.  `next`: see cli_url(); NULL: no database. */
COFFER_MUST_CHECK int events_env(struct cli *cli, struct events *events, size_t *next, struct rotate_env *env,
                                 struct coffer_error *err);
void events_end(struct events *events, struct rotate_env *env);
/* After CANCELLED: how to go on. */
void events_resume_hint(struct events *events, int status);

/* "[#####.....]  45%  12 300 rows/s  2m10s left"; for tests too. */
void progress_text(uint64_t done, uint64_t total, double rate, double left, size_t width, char *out, size_t out_max);
void time_left_text(double seconds, char *out, size_t max); /* "  2m10s left", "" if unknown */

#endif
