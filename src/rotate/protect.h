/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_ROTATE_PROTECT_H
#define COFFER_ROTATE_PROTECT_H

#include "rotate/machine.h"

/* Of a plan so far. */
struct plan_said {
    size_t refused;          /* what must be settled first */
    bool planner, unwatched; /* what holds for every column alike was said */
};
/* Is there such a column?  `*record` is the keyring's, NULL if it is not protected.  NOTFOUND names those that are near. */
COFFER_MUST_CHECK int plan_find(struct session *s, const struct rotate_column *asked,
                                const struct keyring_column **record, struct coffer_error *err);
/* What a column becomes: its record as it would be put into the keyring (or, `*known`, as it is).
 * Says the plan. */
COFFER_MUST_CHECK int plan_column(struct session *s, const struct rotate_column *asked,
                                  struct keyring_column *out, bool *known, struct plan_said *said,
                                  struct coffer_error *err);
/* Seal the first row of each table, store it, compare, roll back. */
COFFER_MUST_CHECK int plan_rehearse(struct session *s, const struct rotation *rotation,
                                    struct coffer_error *err);

/* Columns of the record that are in `phase`, into `ids` (room for all); returns how many. */
size_t columns_in_phase(struct session *s, const struct rotation *r, int phase, struct uuid *ids);
/* Take all columns of the record that are in phase `from` to phase `to`: DDL where there is a
 * companion, then the keyring; or the other way round going back.  Then wait until every client has
 * shown it. */
COFFER_MUST_CHECK int phase_step(struct session *s, struct rotation *r, int from, int to, bool gate,
                                 struct coffer_error *err);
/* The open record of this kind, or a new one over `ids`. */
COFFER_MUST_CHECK int open_record(struct session *s, enum rotation_kind kind,
                                  const struct uuid *ids, size_t count, struct rotation *r,
                                  struct coffer_error *err);
/* Statistics, and with options->scrub the files: as gone as asked for, recorded as the columns' plaintext level.
 * REFUSED: a search of the rewritten files found plaintext. */
COFFER_MUST_CHECK int clean_columns(struct session *s, const struct uuid *ids, size_t count, struct coffer_error *err);
/* The whole way of an open record, from the phases where its columns are; the incarnation is renewed at its end. */
COFFER_MUST_CHECK int protect_columns(struct session *s, struct rotation *r, struct coffer_error *err);
COFFER_MUST_CHECK int unprotect_columns(struct session *s, struct rotation *r, struct coffer_error *err);

#endif
