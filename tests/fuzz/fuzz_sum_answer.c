/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the sum aggregate.  What the reader takes has one form: a builder that is given it
 * writes the same bytes again.  What it takes, a column with tags does not open: nothing was encrypted here. */
#include "sums/sum.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct sum_key *key;

static void
expect(bool true_always)
{
    if (!true_always)
        abort();
}

static const struct sum_key *
any_version(const void *ctx, unsigned version)
{
    (void)ctx;
    (void)version;
    return key;
}

static void
start(void)
{
    static const uint8_t INDEX_ID[16];
    struct secret *material = NULL;

    if (key != NULL)
        return;
    expect(secret_new(32, &material, NULL) == COFFER_OK);
    expect(sum_key_new(material, INDEX_ID, 1, &key, NULL) == COFFER_OK);
    secret_free(material);
}

struct counts {
    uint64_t rows, claimed;
};

static int
count_group(void *arg, const struct sum_group *group, struct coffer_error *err)
{
    struct counts *counts = arg;

    (void)err;
    counts->claimed += group->rows;
    return COFFER_OK;
}

static int
count_run(void *arg, uint32_t first, uint32_t last, struct coffer_error *err)
{
    struct counts *counts = arg;

    (void)err;
    expect(first >= 1 && first <= last);
    counts->rows += (uint64_t)last - first + 1;
    return COFFER_OK;
}

static void
check_same_again(struct bytes answer, unsigned flags)
{
    struct sum_builder *builder;
    struct buf again;

    buf_init(&again, 1u << 22);
    expect(sum_builder_new(flags, UINT64_MAX, &builder, NULL) == COFFER_OK);
    expect(sum_builder_combine(builder, answer, NULL) == COFFER_OK);
    expect(sum_builder_encode(builder, &again, NULL) == COFFER_OK);
    expect(bytes_equal(buf_view(&again), answer));
    sum_builder_free(builder);
    buf_wipe(&again);
}

static void
check_open(struct bytes answer, unsigned flags, uint64_t rows)
{
    struct sum_def def = {.max_abs = 1000, .flags = flags};
    struct sum_keys keys = {any_version, NULL};
    struct sum_total total;
    struct sum_set *set;
    int rc;

    expect(sum_set_new(flags, &set, NULL) == COFFER_OK);
    expect(sum_set_answer(set, answer, NULL) == COFFER_OK);
    if (rows < 100000) { /* one block of AES a row */
        rc = sum_open(&def, &keys, set, &total, NULL);
        expect(rows == 0 || rc != COFFER_OK || (flags & SUM_TAGGED) == 0);
        expect(rc == COFFER_OK || (total.value == 0 && total.rows == 0 && !total.verified));
    }
    sum_set_free(set);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes answer = bytes_of(data, len);
    struct counts counts = {0, 0};
    struct sum_visitor visitor = {count_group, count_run, &counts};
    struct coffer_error err = {0};
    unsigned flags;
    int rc;

    start();
    rc = sum_answer_flags(answer, &flags, NULL);
    if (rc == COFFER_OK)
        rc = sum_answer_read(answer, flags, &visitor, &err);
    expect(rc == COFFER_OK || rc == COFFER_E_FORMAT || rc == COFFER_E_AUTH);
    if (rc != COFFER_OK)
        return 0;
    expect(counts.rows == counts.claimed);
    check_same_again(answer, flags);
    check_open(answer, flags, counts.rows);
    return 0;
}
