/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts: made from a sample, written and read as a record. */
#include "base/mem.h"
#include "field/field.h"
#include "search/bucket.h"

#include <stdlib.h>
#include <string.h>

#define RECORD_VERSION 1
#define RECORD_MAX (4u << 20)
#define SPLITS_MAX 65535
#define ROWS_A_BUCKET 200

void
bucket_layout_wipe(struct bucket_layout *layout)
{
    if (layout->bounds != NULL)
        wipe(layout->bounds, (size_t)(layout->buckets - 1) * layout->width);
    mem_free(layout->bounds);
    mem_free(layout->splits);
    *layout = (struct bucket_layout){0};
}

uint32_t
bucket_wanted(uint64_t rows, size_t sampled)
{
    uint64_t wanted = rows / ROWS_A_BUCKET;

    if (wanted > sampled / 10)
        wanted = sampled / 10;
    if (wanted > BUCKETS_MAX)
        wanted = BUCKETS_MAX;
    return wanted > 0 ? (uint32_t)wanted : 1;
}

static int
allocate(struct bucket_layout *layout, uint32_t buckets, struct coffer_error *err)
{
    layout->buckets = buckets;
    layout->bounds = mem_array(buckets, layout->width); /* one more than needed: never empty */
    layout->splits = mem_array(buckets, sizeof *layout->splits);
    if (layout->bounds != NULL && layout->splits != NULL)
        return COFFER_OK;
    bucket_layout_wipe(layout);
    return error_nomem(err);
}

static int
compare_values(const void *a, const void *b, void *width)
{
    return memcmp(a, b, *(const unsigned *)width);
}

/* The bounds: every n/k-th value of the sorted sample, each once, none the smallest. */
static uint32_t
choose_bounds(const uint8_t *sample, size_t n, uint32_t k, struct bucket_layout *layout)
{
    unsigned width = layout->width;
    uint32_t count = 0;

    for (uint32_t j = 1; j < k; j++) {
        const uint8_t *value = sample + (size_t)((unsigned __int128)j * n / k) * width;
        const uint8_t *before = count > 0 ? layout->bounds + (size_t)(count - 1) * width : sample;

        if (memcmp(value, before, width) != 0)
            memcpy(layout->bounds + (size_t)count++ * width, value, width);
    }
    return count;
}

/* Sub-buckets: a bucket's share of the sample in units of n/k, rounded half up, at least one. */
static void
choose_splits(const uint8_t *sample, size_t n, uint32_t k, struct bucket_layout *layout)
{
    size_t at = 0;

    for (uint32_t j = 0; j < layout->buckets; j++) {
        size_t c = 0;
        uint64_t s;

        while (at < n && bucket_of(layout, sample + at * layout->width) == j) {
            at++;
            c++;
        }
        s = (uint64_t)(((unsigned __int128)c * k * 2 + n) / ((unsigned __int128)n * 2));
        layout->splits[j] = (uint16_t)(s < 1 ? 1 : s > SPLITS_MAX ? SPLITS_MAX : s);
    }
}

int
bucket_layout_build(uint8_t *sample, size_t count, unsigned width, uint32_t wanted, uint32_t number,
                    struct bucket_layout *out, struct coffer_error *err)
{
    int rc;

    *out = (struct bucket_layout){.number = number, .width = width};
    if (width < 1 || width > ORDER_WIDTH_MAX || wanted < 1 || wanted > BUCKETS_MAX || count == 0)
        return error_set(err, COFFER_E_MISUSE,
                         "no layout of %u buckets from %zu values of %u bytes", wanted, count,
                         width);
    rc = allocate(out, wanted, err);
    if (rc != COFFER_OK)
        return rc;
    qsort_r(sample, count, width, compare_values, &width);
    out->buckets = choose_bounds(sample, count, wanted, out) + 1;
    choose_splits(sample, count, wanted, out);
    return COFFER_OK;
}

uint32_t
bucket_of(const struct bucket_layout *layout, const uint8_t *value)
{
    uint32_t low = 0, high = layout->buckets - 1; /* bounds below `low` are ≤ value */

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (memcmp(layout->bounds + (size_t)middle * layout->width, value, layout->width) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int
bucket_layout_write(const struct bucket_layout *layout, struct buf *out, struct coffer_error *err)
{
    buf_be16(out, RECORD_VERSION);
    buf_be32(out, layout->number);
    buf_u8(out, (uint8_t)layout->width);
    buf_be32(out, layout->buckets);
    buf_add(out, layout->bounds, (size_t)(layout->buckets - 1) * layout->width);
    for (uint32_t i = 0; i < layout->buckets; i++)
        buf_be16(out, layout->splits[i]);
    return buf_status(out, err);
}

static bool
ascending(const struct bucket_layout *layout)
{
    for (uint32_t i = 1; i + 1 < layout->buckets; i++) {
        const uint8_t *bound = layout->bounds + (size_t)i * layout->width;

        if (memcmp(bound - layout->width, bound, layout->width) >= 0)
            return false;
    }
    return true;
}

int
bucket_layout_parse(struct bytes record, struct bucket_layout *out, struct coffer_error *err)
{
    struct cursor c = cursor_of(record);
    unsigned version = cursor_be16(&c);
    uint32_t number = cursor_be32(&c), width = cursor_u8(&c), buckets = cursor_be32(&c);
    struct bytes bounds;
    bool ok = !c.bad && version == RECORD_VERSION && width >= 1 && width <= ORDER_WIDTH_MAX &&
              buckets >= 1 && buckets <= BUCKETS_MAX &&
              cursor_left(&c) == (size_t)(buckets - 1) * width + (size_t)buckets * 2;
    int rc;

    *out = (struct bucket_layout){.number = number, .width = width};
    if (ok) {
        rc = allocate(out, buckets, err);
        if (rc != COFFER_OK)
            return rc;
        bounds = cursor_take(&c, (size_t)(buckets - 1) * width);
        if (bounds.len > 0)
            memcpy(out->bounds, bounds.ptr, bounds.len);
        for (uint32_t i = 0; i < buckets; i++) {
            out->splits[i] = cursor_be16(&c);
            ok = ok && out->splits[i] > 0;
        }
        ok = ok && ascending(out);
    }
    if (ok)
        return COFFER_OK;
    bucket_layout_wipe(out);
    return error_set(err, COFFER_E_FORMAT, "the record of a bucket layout is malformed");
}

static struct field_def
cell_def(const uint8_t index_id[16])
{
    struct field_def def = {
        .type = COFFER_BYTES, .binding = COFFER_BIND_COLUMN, .suite = COFFER_SUITE_XAES};

    memcpy(def.column_id, index_id, 16);
    return def;
}

int
bucket_layout_seal(const struct bucket_layout *layout, const uint8_t index_id[16],
                   const struct column_key *key, struct buf *out, struct coffer_error *err)
{
    struct field_def def = cell_def(index_id);
    struct coffer_value value = {.type = COFFER_BYTES};
    struct buf record;
    uint8_t *sealed = NULL;
    size_t room, len = 0;
    int rc;

    buf_init(&record, RECORD_MAX);
    rc = bucket_layout_write(layout, &record, err);
    if (rc == COFFER_OK) {
        value.data = record.ptr;
        value.len = record.len;
        room = field_sealed_max(&def, record.len);
        sealed = mem_alloc(room);
        rc = sealed == NULL ? error_nomem(err)
                            : field_seal(&def, key, NULL, &value, NULL, sealed, room, &len, err);
    }
    if (rc == COFFER_OK) {
        buf_add(out, sealed, len);
        rc = buf_status(out, err);
    }
    mem_free(sealed);
    buf_wipe(&record);
    return rc;
}

int
bucket_layout_open(struct bytes cell, const uint8_t index_id[16], const struct column_key *key,
                   struct bucket_layout *out, struct coffer_error *err)
{
    struct field_def def = cell_def(index_id);
    struct coffer_value value;
    uint8_t *plain;
    int rc;

    *out = (struct bucket_layout){0};
    if (cell.len > RECORD_MAX)
        return error_set(err, COFFER_E_FORMAT, "the cell of a bucket layout is too long");
    plain = mem_alloc(cell.len);
    if (plain == NULL)
        return error_nomem(err);
    rc = field_open(&def, key, NULL, cell, plain, cell.len, &value, err);
    if (rc == COFFER_OK)
        rc = bucket_layout_parse(bytes_of(value.data, value.len), out, err);
    wipe(plain, cell.len);
    mem_free(plain);
    return rc;
}
