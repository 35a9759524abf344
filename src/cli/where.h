/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_CLI_WHERE_H
#define COFFER_CLI_WHERE_H

#include <stdbool.h>

/* Whether a condition in SQL names `column`, other than in IS [NOT] NULL unless `nulls`.  Names in strings and comments do not count; names that are
 * no plain words (with spaces in them) are not found. */
bool where_names(const char *where, const char *column, bool nulls);

#endif
