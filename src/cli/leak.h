/* SPDX-License-Identifier: Apache-2.0 */
/* What terms would reveal of a column, by attacks on the owner's own values (search/leakage.h), at most LEAK_ROWS of them. */
#ifndef COFFER_CLI_LEAK_H
#define COFFER_CLI_LEAK_H

#include "cli/reader.h"

enum { LEAK_ROWS = 1000000 };

struct leak {
    int kind;          /* enum index_kind */
    size_t rows, distinct;
    double share;      /* recovered by the best of the attacks */
    double density;    /* of an order: distinct / domain */
    char grade;        /* A to F */
    const char *who;   /* against whom */
    const char *advice;
};
struct leak_sample; /* the opened values of one column */
/* `name`: "table.column".  NOTFOUND, AUTH (a cell that does not open), NOMEM. */
COFFER_MUST_CHECK int leak_sample_open(struct reader *reader, const char *name, struct leak_sample **out, struct coffer_error *err);
void leak_sample_free(struct leak_sample *sample); /* wipes; accepts NULL */
int leak_sample_type(const struct leak_sample *sample);
/* REFUSED, TYPE: such terms are not made of this column's type. */
COFFER_MUST_CHECK int leak_measure(const struct leak_sample *sample, const struct keyring_index *def, struct leak *out, struct coffer_error *err);

#endif
