/* SPDX-License-Identifier: Apache-2.0 */
/* A command line against tables: options anywhere, before or after the other words.
 *
 * `--name value`, `--name=value`, `--flag`, `--` ends the options.  An option bears the same kind in every
 * command, so that the command's own words are found wherever they stand.  Values are borrowed from argv.
 */
#ifndef COFFER_CLI_ARGS_H
#define COFFER_CLI_ARGS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define ARGS_MAX 128

struct arg_option {
    const char *name;  /* without the dashes; NULL ends a table */
    const char *value; /* what stands in the help for its value; NULL: a flag */
    const char *help;
};

struct args {
    const char *words[ARGS_MAX]; /* what is no option, without the command's own words */
    size_t word_count;
    struct {
        const struct arg_option *option;
        const char *value;
    } given[ARGS_MAX];
    size_t given_count;
};

/* The words of argv[1…] that are no option and no option's value, at most `max`: to find the command by.
 * `tables` are all option tables, NULL at the end. */
size_t args_words(int argc, const char *const *argv, const struct arg_option *const *tables, const char **words,
                  size_t max);
/* Parse argv[1…], leaving out the first `skip` words.  `tables` are those of this command.  MISUSE: an unknown option (with
 * the nearest), a missing value, a value for a flag, too many words. */
COFFER_MUST_CHECK int args_parse(int argc, const char *const *argv, size_t skip,
                                 const struct arg_option *const *tables, struct args *out,
                                 struct coffer_error *err);
bool args_flag(const struct args *args, const char *name);
const char *args_text(const struct args *args, const char *name); /* the last one given; NULL: not given */
size_t args_all(const struct args *args, const char *name, const char **values, size_t max);

/* "250ms" "30s" "5m" "1h" "2d", or a bare 0.  MISUSE names the option. */
COFFER_MUST_CHECK int parse_duration(const char *name, const char *text, int64_t *ms,
                                     struct coffer_error *err);
/* A decimal number within [min, max]. */
COFFER_MUST_CHECK int parse_number(const char *name, const char *text, double min, double max, double *out,
                                   struct coffer_error *err);
/* "22:00-06:00" in minutes of the day. */
COFFER_MUST_CHECK int parse_window(const char *text, int *from, int *to, struct coffer_error *err);
/* 8 hex digits, never zero. */
COFFER_MUST_CHECK int parse_key_id(const char *text, uint32_t *id, struct coffer_error *err);
/* "2026-11-24", "2026-11-24T06:00:00Z", "now": microseconds of Unix time, UTC. */
COFFER_MUST_CHECK int parse_time(const char *name, const char *text, int64_t now_us, int64_t *out,
                                 struct coffer_error *err);

/* How many letters must change to come from one word to the other; for "did you mean". */
size_t word_distance(const char *a, const char *b);

#endif
