/* SPDX-License-Identifier: Apache-2.0 */
/* Indexes prepared: keys by version, and what is stored for a value. */
#include "index/internal.h"

#include "base/mem.h"
#include "sums/figures.h"

#include <stdio.h>
#include <string.h>

size_t
index_columns(const struct keyring_index *def, struct stored_column out[INDEX_COLUMNS_MAX])
{
    static const char *const sums[] = {"_hi", "_lo", "_c", "_ch", "_th", "_tl"};
    size_t count = 0;

    switch (def->kind) {
    case INDEX_EQUALITY:
        out[0].form = STORED_TERM;
        break;
    case INDEX_OPE:
        out[0].form = STORED_BYTES;
        break;
    case INDEX_TEXT:
        out[0].form = STORED_TOKENS;
        break;
    case INDEX_SUM:
        for (size_t i = 0; i < 6; i++) {
            if ((i == 3 && !def->wide) || (i >= 4 && !def->tags))
                continue;
            (void)snprintf(out[count].name, sizeof out[count].name, "%.*s%s", KEYRING_NAME_MAX - 8, def->store, sums[i]);
            out[count++].form = STORED_INT;
        }
        return count;
    default:
        return 0;
    }
    (void)snprintf(out[0].name, sizeof out[0].name, "%s", def->store);
    return 1;
}

int
index_version_range(const struct keyring_index *def, unsigned version, struct index_range *out)
{
    struct stored_column columns[INDEX_COLUMNS_MAX];

    memset(out, 0, sizeof *out);
    if (index_columns(def, columns) == 0)
        return COFFER_E_UNSUPPORTED;
    if (columns[0].form == STORED_TERM) {
        term16_range(version, out->room, out->room + 16);
        out->low = (struct coffer_value){.type = COFFER_BYTES, .data = out->room, .len = 16};
        out->high = (struct coffer_value){.type = COFFER_BYTES, .data = out->room + 16, .len = 16};
    } else if (columns[0].form == STORED_BYTES) {
        put_be16(out->room, (uint16_t)version);
        put_be16(out->room + 2, (uint16_t)(version + 1));
        out->low = (struct coffer_value){.type = COFFER_BYTES, .data = out->room, .len = 2};
        out->high = (struct coffer_value){.type = COFFER_BYTES, .data = out->room + 2, .len = 2};
    } else {
        term8_range(version, &out->low.i64, &out->high.i64);
        out->low.type = out->high.type = COFFER_INT64;
        out->open_end = version == INDEX_VERSION_MAX;
    }
    return COFFER_OK;
}

/* ---- definitions ---- */

static void
domain_of(const struct keyring_index *def, int type, struct order_domain *out)
{
    *out = (struct order_domain){.type = type, .width = def->width, .precision = def->precision, .scale = def->scale,
                                 .normaliser = (int)def->normaliser};
}

static int
check_order(struct keyring_index *def, const struct keyring_column *column, struct coffer_error *err)
{
    struct order_domain domain;
    int rc;

    if (def->width == 0 && (column->type == COFFER_INT64 || column->type == COFFER_TEXT || column->type == COFFER_BYTES))
        def->width = 8;
    domain_of(def, column->type, &domain);
    rc = order_domain_check(&domain, err);
    if (rc != COFFER_OK)
        return rc;
    def->width = domain.width;
    if (def->width > 14)
        return error_set(err, COFFER_E_REFUSED, "%s.%s: order terms for stock servers take values of at most 14 bytes, and these have %u", column->table,
                         column->name, def->width);
    return COFFER_OK;
}

static int
sum_def_of(const struct keyring_index *def, const struct keyring_column *column, struct sum_def *out, struct coffer_error *err)
{
    unsigned flags = (def->wide ? SUM_WIDE : 0u) | (def->tags ? SUM_TAGGED : 0u);
    int128 max = def->max_abs;

    if (max == 0)
        max = def->wide ? INT128_MAX >> 40 : (int128)1 << 43;
    return sum_def_init(out, def->group.b, column->type, max, def->scale, flags, err);
}

int
index_def_check(struct keyring_index *def, const struct keyring_column *column, struct coffer_error *err)
{
    struct token_options tokens;
    struct sum_def sum;

    if (column->type == COFFER_BOOL || column->type == COFFER_JSON)
        return error_set(err, COFFER_E_REFUSED, "%s.%s: a column of type %s gets no index: it would tell everything", column->table, column->name,
                         coffer_type_name(column->type));
    switch (def->kind) {
    case INDEX_EQUALITY:
        if (column->type != COFFER_TEXT)
            def->normaliser = 0;
        if (def->unique && def->bits != 0 && def->bits < TERM16_BITS_MAX)
            return error_set(err, COFFER_E_MISUSE, "short terms merge values: they cannot be unique");
        return COFFER_OK;
    case INDEX_TEXT:
        if (column->type != COFFER_TEXT)
            return error_set(err, COFFER_E_TYPE, "%s.%s: only text is searched by its parts, and this is %s", column->table, column->name,
                             coffer_type_name(column->type));
        token_options_of(def, &tokens);
        return token_options_check(&tokens, err);
    case INDEX_OPE:
        return check_order(def, column, err);
    case INDEX_SUM:
        return sum_def_of(def, column, &sum, err);
    default:
        return error_set(err, COFFER_E_UNSUPPORTED, "an index of kind %s is not made by this release", index_kind_name(def->kind));
    }
}

void
token_options_of(const struct keyring_index *def, struct token_options *out)
{
    *out = (struct token_options){.normaliser = (int)def->normaliser, .words = def->words, .short_grams = def->short_grams,
                                  .edge = def->edge, .bits = def->bits != 0 ? def->bits : TERM8_BITS_MAX, .pad = def->padding};
}

/* ---- prepared ---- */

static int
key_prepare(struct index *index, const struct keyring *keyring, const struct keyring_key *key, struct index_version *out,
            struct coffer_error *err)
{
    const struct secret *material = keyring_material(keyring, key->id);
    const uint8_t *group = index->def.group.b;

    out->version = key->version;
    if (material == NULL)
        return error_set(err, COFFER_E_KEY, "the material of index key %08x is not in the keyring", key->id);
    switch (index->def.kind) {
    case INDEX_EQUALITY:
        return equality_key_new(material, group, key->version, &out->equality, err);
    case INDEX_TEXT:
        return text_key_new(material, group, key->version, &out->text, err);
    case INDEX_OPE:
        return ope_key_new(material, group, key->version, &out->ope, err);
    default:
        return sum_key_new(material, group, key->version, &out->sum, err);
    }
}

/* Rows may be under it, or come to be. */
static bool
in_use(const struct keyring_key *key, const struct keyring_index *def)
{
    enum key_purpose purpose = def->kind == INDEX_SUM ? KEY_SUM : KEY_INDEX;

    return key->purpose == purpose && strcmp(key->line, def->line) == 0 && key->state >= KEY_STAGED && key->state <= KEY_FENCED;
}

static int
keys_prepare(struct index *index, const struct keyring *keyring, struct coffer_error *err)
{
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < keyring_key_count(keyring); i++) {
        const struct keyring_key *key = keyring_key_at(keyring, i);
        struct index_version made = {0};

        if (!in_use(key, &index->def))
            continue;
        if (index->count == INDEX_VERSIONS_MAX)
            return error_set(err, COFFER_E_KEY, "rows may be under more than %d keys of line %s: finish its rotation first", INDEX_VERSIONS_MAX,
                             index->def.line);
        rc = key_prepare(index, keyring, key, &made, err);
        if (rc != COFFER_OK)
            break;
        index->versions[index->count++] = made;
        if (key->state == KEY_ACTIVE && index->count > 1) { /* the writing one first */
            index->versions[index->count - 1] = index->versions[0];
            index->versions[0] = made;
        }
        index->writes = index->writes || key->state == KEY_ACTIVE;
    }
    if (rc == COFFER_OK && !index->writes)
        return error_set(err, COFFER_E_KEY, "no key of line %s is active", index->def.line);
    return rc;
}

int
index_new(const struct keyring *keyring, const struct keyring_index *def, const struct keyring_column *column, struct index **out,
          struct coffer_error *err)
{
    struct index *index = mem_alloc(sizeof *index);
    int rc;

    *out = NULL;
    if (index == NULL)
        return error_nomem(err);
    index->def = *def;
    index->type = column->type;
    rc = index_def_check(&index->def, column, err);
    domain_of(&index->def, column->type, &index->domain);
    token_options_of(&index->def, &index->tokens);
    if (rc == COFFER_OK && def->kind == INDEX_SUM)
        rc = sum_def_of(def, column, &index->sum, err);
    if (rc == COFFER_OK)
        rc = keys_prepare(index, keyring, err);
    if (rc == COFFER_OK && def->kind == INDEX_SUM)
        rc = sum_issuer_new(index->versions[0].version, NULL, &index->issuer, err);
    if (rc != COFFER_OK) {
        index_free(index);
        return rc;
    }
    *out = index;
    return COFFER_OK;
}

void
index_free(struct index *index)
{
    if (index == NULL)
        return;
    for (size_t i = 0; i < index->count; i++) {
        equality_key_free(index->versions[i].equality);
        text_key_free(index->versions[i].text);
        ope_key_free(index->versions[i].ope);
        sum_key_free(index->versions[i].sum);
    }
    sum_issuer_free(index->issuer);
    mem_free(index);
}

const struct keyring_index *
index_def(const struct index *index)
{
    return &index->def;
}

unsigned
index_version(const struct index *index)
{
    return index->versions[0].version;
}

size_t
index_versions(const struct index *index, unsigned out[INDEX_VERSIONS_MAX])
{
    for (size_t i = 0; i < index->count; i++)
        out[i] = index->versions[i].version;
    return index->count;
}

/* ---- store ---- */

static unsigned
equality_bits(const struct index *index)
{
    return index->def.bits != 0 ? index->def.bits : TERM16_BITS_MAX;
}

static struct equality_part
equality_part_of(const struct index *index, const struct coffer_value *value)
{
    return (struct equality_part){.normaliser = value->type == COFFER_TEXT ? (int)index->def.normaliser : NORMALISE_EXACT, .value = *value};
}

static int
store_sum(struct index *index, const struct coffer_value *value, struct stored *out, struct coffer_error *err)
{
    struct sum_cell cell;
    struct sum_id id;
    int128 number = 0;
    int64_t numbers[INDEX_COLUMNS_MAX];
    size_t count = 0;
    int rc = index_sum_value(index, value, &number, err);

    if (rc == COFFER_OK)
        rc = sum_ids_draw(index->issuer, 1, &id, err);
    if (rc == COFFER_OK)
        rc = sum_encrypt(&index->sum, index->versions[0].sum, id, number, &cell, err);
    if (rc != COFFER_OK)
        return rc;
    numbers[count++] = id.hi;
    numbers[count++] = id.lo;
    numbers[count++] = cell.l;
    if (index->def.wide)
        numbers[count++] = cell.h;
    if (index->def.tags) {
        numbers[count++] = cell.tag_h;
        numbers[count++] = cell.tag_l;
    }
    for (size_t i = 0; i < count; i++)
        out->values[i] = (struct coffer_value){.type = COFFER_INT64, .i64 = numbers[i]};
    return COFFER_OK;
}

int
index_store(struct index *index, const struct coffer_value *value, struct stored *out, struct coffer_error *err)
{
    const struct index_version *writes = &index->versions[0];
    struct equality_part part;
    uint8_t encoded[ORDER_WIDTH_MAX];
    int rc;

    memset(out, 0, sizeof *out);
    if (value->type == COFFER_NULL)
        return COFFER_OK;
    if (value->type != index->type)
        return error_set(err, COFFER_E_TYPE, "a value of type %s for an index of %s", coffer_type_name(value->type), coffer_type_name(index->type));
    switch (index->def.kind) {
    case INDEX_EQUALITY:
        part = equality_part_of(index, value);
        rc = equality_term16(writes->equality, &part, 1, equality_bits(index), out->room, err);
        out->values[0] = (struct coffer_value){.type = COFFER_BYTES, .data = out->room, .len = 16};
        return rc;
    case INDEX_OPE:
        rc = order_encode(&index->domain, value, encoded, err);
        if (rc == COFFER_OK)
            rc = ope_encrypt(writes->ope, bytes_of(encoded, index->domain.width), out->room, err);
        out->values[0] = (struct coffer_value){.type = COFFER_BYTES, .data = out->room, .len = OPE_LEN(index->domain.width)};
        wipe(encoded, sizeof encoded);
        return rc;
    case INDEX_TEXT:
        return tokens_of_text(writes->text, &index->tokens, bytes_of(value->data, value->len), &out->tokens, err);
    default:
        return store_sum(index, value, out, err);
    }
}

void
stored_wipe(struct stored *stored)
{
    tokens_wipe(&stored->tokens);
    wipe(stored, sizeof *stored);
}

/* ---- questions ---- */

int
index_ask_equal(const struct index *index, const struct coffer_value *value, uint8_t out[INDEX_VERSIONS_MAX][16], struct coffer_error *err)
{
    struct equality_part part = equality_part_of(index, value);
    int rc = COFFER_OK;

    if (index->def.kind != INDEX_EQUALITY)
        return error_set(err, COFFER_E_MISUSE, "an index of kind %s is not asked for equality", index_kind_name(index->def.kind));
    for (size_t i = 0; rc == COFFER_OK && i < index->count; i++)
        rc = equality_term16(index->versions[i].equality, &part, 1, equality_bits(index), out[i], err);
    return rc;
}

/* One end of a range: an order term, or nothing if the value is outside the domain. */
static int
range_end(const struct index *index, const struct index_version *version, const struct coffer_value *value, uint8_t *out, size_t *len,
          struct coffer_error *err)
{
    uint8_t encoded[ORDER_WIDTH_MAX];
    int rc;

    *len = 0;
    if (value == NULL)
        return COFFER_OK;
    rc = order_encode(&index->domain, value, encoded, err);
    if (rc == COFFER_E_RANGE)
        return COFFER_OK;
    if (rc == COFFER_OK)
        rc = ope_encrypt(version->ope, bytes_of(encoded, index->domain.width), out, err);
    if (rc == COFFER_OK)
        *len = OPE_LEN(index->domain.width);
    wipe(encoded, sizeof encoded);
    return rc;
}

int
index_ask_range(const struct index *index, const struct coffer_value *low, const struct coffer_value *high,
                struct order_bounds out[INDEX_VERSIONS_MAX], struct coffer_error *err)
{
    int rc = COFFER_OK;

    if (index->def.kind != INDEX_OPE)
        return error_set(err, COFFER_E_MISUSE, "an index of kind %s is not asked for ranges", index_kind_name(index->def.kind));
    for (size_t i = 0; rc == COFFER_OK && i < index->count; i++) {
        struct order_bounds *bounds = &out[i];

        memset(bounds, 0, sizeof *bounds);
        rc = range_end(index, &index->versions[i], low, bounds->low, &bounds->low_len, err);
        if (rc == COFFER_OK)
            rc = range_end(index, &index->versions[i], high, bounds->high, &bounds->high_len, err);
        if (rc == COFFER_OK && bounds->low_len == 0) {
            put_be16(bounds->low, (uint16_t)index->versions[i].version);
            bounds->low_len = 2;
        }
        if (rc == COFFER_OK && bounds->high_len == 0) {
            put_be16(bounds->high, (uint16_t)(index->versions[i].version + 1));
            bounds->high_len = 2;
            bounds->high_open = true;
        }
    }
    return rc;
}

static int
ask_tokens(const struct index *index, const struct like *like, struct bytes query, struct tokens out[INDEX_VERSIONS_MAX],
           struct coffer_error *err)
{
    int rc = COFFER_OK;

    memset(out, 0, INDEX_VERSIONS_MAX * sizeof *out);
    if (index->def.kind != INDEX_TEXT)
        return error_set(err, COFFER_E_MISUSE, "an index of kind %s is not asked for parts of texts", index_kind_name(index->def.kind));
    for (size_t i = 0; rc == COFFER_OK && i < index->count; i++)
        rc = like != NULL ? tokens_of_like(index->versions[i].text, &index->tokens, like, &out[i], err)
                          : tokens_of_words(index->versions[i].text, &index->tokens, query, &out[i], err);
    for (size_t i = 0; rc != COFFER_OK && i < index->count; i++)
        tokens_wipe(&out[i]);
    return rc;
}

int
index_ask_like(const struct index *index, const struct like *like, struct tokens out[INDEX_VERSIONS_MAX], struct coffer_error *err)
{
    return ask_tokens(index, like, bytes_of(NULL, 0), out, err);
}

int
index_ask_words(const struct index *index, struct bytes query, struct tokens out[INDEX_VERSIONS_MAX], struct coffer_error *err)
{
    return ask_tokens(index, NULL, query, out, err);
}

/* ---- sums ---- */

const struct sum_def *
index_sum_def(const struct index *index)
{
    return &index->sum;
}

static const struct sum_key *
find_key(const void *ctx, unsigned version)
{
    const struct index *index = ctx;

    for (size_t i = 0; i < index->count; i++)
        if (index->versions[i].version == version)
            return index->versions[i].sum;
    return NULL;
}

int
index_sum_open(const struct index *index, struct sum_set *set, struct sum_total *out, struct coffer_error *err)
{
    struct sum_keys keys = {.find = find_key, .ctx = index};

    if (index->def.kind != INDEX_SUM)
        return error_set(err, COFFER_E_MISUSE, "not a sum column");
    return sum_open(&index->sum, &keys, set, out, err);
}

int
index_sum_value(const struct index *index, const struct coffer_value *value, int128 *out, struct coffer_error *err)
{
    if (value->type == COFFER_INT64) {
        *out = value->i64;
        return COFFER_OK;
    }
    if (value->type == COFFER_NUMERIC)
        return decimal_read(bytes_of(value->data, value->len), index->sum.scale, out, err);
    return error_set(err, COFFER_E_TYPE, "a %s cannot be added up", coffer_type_name(value->type));
}
