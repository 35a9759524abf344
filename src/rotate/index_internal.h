/* SPDX-License-Identifier: Apache-2.0 */
/* What index.c and index_fill.c share. */
#ifndef COFFER_ROTATE_INDEX_INTERNAL_H
#define COFFER_ROTATE_INDEX_INTERNAL_H

#include "db/terms.h"
#include "index/index.h"
#include "rotate/index.h"
#include "rotate/machine.h"

/* One index under work: its definition as the keyring has it, its column, the database's side. */
struct index_work {
    struct session *s;
    struct keyring_index def;
    struct keyring_column *column; /* a copy */
    struct db_table *table;
    struct db_terms terms;
    struct index_range range;
    const char *place[KEYRING_PARTS_MAX];
};

/* What the database sees of the index, for rows of `version`.  UNSUPPORTED. */
COFFER_MUST_CHECK int index_work_terms(struct index_work *w, unsigned version, struct coffer_error *err);
/* Fill in, pass after pass, until one finds nothing that it can do.  REFUSED: some rows could not be opened, or their values take no
 * terms; all others are filled in.  CANCELLED. */
COFFER_MUST_CHECK int index_fill(struct index_work *w, const char *step, struct coffer_error *err);

#endif
