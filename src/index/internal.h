/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_INDEX_INTERNAL_H
#define COFFER_INDEX_INTERNAL_H

#include "index/index.h"
#include "search/equality.h"
#include "search/ope.h"

struct index_version {
    unsigned version;
    struct equality_key *equality; /* the one of the index's kind */
    struct text_key *text;
    struct ope_key *ope;
    struct sum_key *sum;
};
struct index {
    struct keyring_index def;
    int type; /* of the column's values */
    struct order_domain domain;
    struct token_options tokens;
    struct sum_def sum;
    struct sum_issuer *issuer;
    struct index_version versions[INDEX_VERSIONS_MAX];
    size_t count;
    bool writes;
};

void token_options_of(const struct keyring_index *def, struct token_options *out);

#endif
