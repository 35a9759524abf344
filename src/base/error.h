/* SPDX-License-Identifier: Apache-2.0 */
/* Status and error, as every fallible function returns them.
 *
 * A function returns a status (COFFER_OK is 0) and takes `struct coffer_error *err` last, NULL allowed.
 * The message is set once, where the cause is known, as one line: what happened, where, what to do next.
 */
#ifndef COFFER_BASE_ERROR_H
#define COFFER_BASE_ERROR_H

#include "coffer.h"

/* Write status and message (printf style, cut at the size of the field, control characters replaced) and return `status`. */
int error_set(struct coffer_error *err, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Put words in front of the message that `err` holds ("table patients: …"); returns its status.  For adding the place. */
int error_prefix(struct coffer_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* error_set(err, COFFER_E_NOMEM, "out of memory"). */
int error_nomem(struct coffer_error *err);

#endif
