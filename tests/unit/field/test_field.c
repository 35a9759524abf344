/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "field/field.h"

#include <string.h>

#define KEY_ID 0x0badcafeu
#define ROOM 8192

static const uint8_t COLUMN[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static uint64_t state_of_random = 88172645463325252u;

static uint64_t
next_random(uint64_t below)
{
    state_of_random ^= state_of_random << 13;
    state_of_random ^= state_of_random >> 7;
    state_of_random ^= state_of_random << 17;
    return state_of_random % below;
}

static struct column_key *
make_key(const uint8_t column_id[16], uint32_t id)
{
    static const uint8_t MATERIAL[32] = {42};
    struct secret *material = NULL;
    struct column_key *key = NULL;

    assert_int_equal(secret_copy(bytes_of(MATERIAL, 32), &material, NULL), COFFER_OK);
    assert_int_equal(column_key_new(material, id, column_id, &key, NULL), COFFER_OK);
    secret_free(material);
    return key;
}

static struct coffer_value
random_value(int type, uint8_t room[600])
{
    static const char *const NUMERICS[] = {"0",   "-0.00",    "1.50", "12345678901234567890.000001",
                                           "NaN", "-Infinity"};
    struct coffer_value v = {.type = type, .data = room};
    const char *text;
    uint64_t bits;

    switch (type) {
    case COFFER_BOOL:
        v.i64 = (int64_t)next_random(2);
        break;
    case COFFER_DATE:
        v.i64 = (int32_t)next_random(UINT32_MAX);
        break;
    case COFFER_INT64:
    case COFFER_TIMESTAMP:
        v.i64 = (int64_t)next_random(UINT64_MAX);
        break;
    case COFFER_FLOAT64:
        bits = next_random(UINT64_MAX);
        memcpy(&v.f64, &bits, sizeof bits);
        break;
    case COFFER_UUID:
    case COFFER_BYTES:
        v.len = type == COFFER_UUID ? 16 : next_random(600);
        for (size_t i = 0; i < v.len; i++)
            room[i] = (uint8_t)next_random(256);
        break;
    case COFFER_NUMERIC:
        text = NUMERICS[next_random(6)];
        v.len = strlen(text);
        memcpy(room, text, v.len);
        break;
    default:
        v.len = next_random(600);
        for (size_t i = 0; i < v.len; i++)
            room[i] = (uint8_t)next_random(128); /* 0 is a character too */
    }
    return v;
}

static const struct coffer_value ROW[] = {
    {.type = COFFER_INT64, .i64 = 7},
    {.type = COFFER_TEXT, .data = (const uint8_t *)"north", .len = 5},
};
static const struct coffer_place PLACE = {ROW, 2};

typedef void (*visit_fn)(const struct field_def *def, const struct column_key *key);

/* Each type with each suite, binding, padding and form. */
static void
every_definition(visit_fn visit)
{
    struct column_key *key = make_key(COLUMN, KEY_ID);
    static const uint32_t PADS[] = {0, 1, 32, 4096};

    for (int type = COFFER_BYTES; type <= COFFER_JSON; type++) {
        for (unsigned i = 0; i < 2 * 3 * 4 * 2; i++) {
            struct field_def def = {.type = type,
                                    .suite = 1 + (int)(i % 2),
                                    .binding = (int)(i / 2 % 3),
                                    .pad = PADS[i / 6 % 4],
                                    .text_form = i / 24 != 0};

            memcpy(def.column_id, COLUMN, 16);
            visit(&def, key);
        }
    }
    column_key_free(key);
    assert_int_equal(secret_live_count(), 0);
}

static size_t
seal(const struct field_def *def, const struct column_key *key, const struct coffer_value *value,
     uint8_t out[ROOM])
{
    size_t len = 0;

    assert_int_equal(field_seal(def, key, &PLACE, value, NULL, out, ROOM, &len, NULL), COFFER_OK);
    return len;
}

static void
round_trip(const struct field_def *def, const struct column_key *key)
{
    uint8_t room[600], sealed[ROOM], out[ROOM];
    struct coffer_envelope_info info;
    struct coffer_value value, back;
    struct buf encoded;
    uint32_t key_id;
    size_t len;

    for (int i = 0; i < 4; i++) {
        value = random_value(def->type, room);
        len = seal(def, key, &value, sealed);
        buf_init(&encoded, 4096);
        assert_int_equal(field_encode(def->type, &value, &encoded, NULL), COFFER_OK);
        assert_int_equal(len, field_sealed_max(def, encoded.len));
        buf_wipe(&encoded);
        assert_int_equal(envelope_parse(bytes_of(sealed, len), &info, NULL), COFFER_OK);
        assert_int_equal(info.suite, def->suite);
        assert_int_equal(info.binding, def->binding);
        assert_int_equal(info.type, def->type);
        assert_int_equal(info.padded, def->pad != 0);
        assert_int_equal(info.text_form, def->text_form);
        assert_int_equal(field_key_id(def, bytes_of(sealed, len), &key_id, NULL), COFFER_OK);
        assert_int_equal(key_id, KEY_ID);
        assert_int_equal(field_open(def, key, &PLACE, bytes_of(sealed, len), out, len, &back, NULL),
                         COFFER_OK);
        assert_true(value_equal(&value, &back));
    }
}

static void
every_value_comes_back_from_every_definition(void **state)
{
    every_definition(round_trip);
}

/* Not opened, no value, and nothing of it in the output. */
static void
assert_refused(const struct field_def *def, const struct column_key *key,
               const struct coffer_place *place, struct bytes cell, int status)
{
    struct coffer_value value = {.type = 99};
    uint8_t out[ROOM];
    size_t i;
    int rc;

    memset(out, 0, sizeof out);
    rc = field_open(def, key, place, cell, out, sizeof out, &value, NULL);
    if (status != 0)
        assert_int_equal(rc, status);
    else
        assert_true(rc == COFFER_E_AUTH || rc == COFFER_E_FORMAT);
    assert_int_equal(value.type, COFFER_NULL);
    assert_null(value.data);
    for (i = 0; i < cell.len; i++)
        assert_int_equal(out[i], 0);
}

static void
flip_each_bit(const struct field_def *def, const struct column_key *key)
{
    uint8_t room[600], sealed[ROOM];
    struct coffer_value value = random_value(def->type, room);
    size_t len, bit, step;

    if (value.len > 40)
        value.len = def->type == COFFER_UUID ? 16 : 40;
    len = seal(def, key, &value, sealed);
    step = def->pad == 4096 ? 97 : 1; /* thousands of bits that are all alike */
    for (bit = 0; bit < 8 * len; bit += step) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_refused(def, key, &PLACE, bytes_of(sealed, len), 0);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void
no_changed_bit_ever_opens(void **state)
{
    every_definition(flip_each_bit);
}

static void
move_it(const struct field_def *def, const struct column_key *key)
{
    static const uint8_t ELSEWHERE[16] = {9};
    struct column_key *other = make_key(ELSEWHERE, KEY_ID);
    struct coffer_value row[2] = {ROW[0], ROW[1]}, value;
    struct coffer_place place = {row, 2}, shorter = {row, 1};
    struct field_def there = *def;
    uint8_t room[600], sealed[ROOM];
    size_t len;

    value = random_value(def->type, room);
    len = seal(def, key, &value, sealed);
    memcpy(there.column_id, ELSEWHERE, 16);
    assert_refused(&there, other, &PLACE, bytes_of(sealed, len), COFFER_E_AUTH);
    if (def->binding == COFFER_BIND_ROW) {
        row[0].i64++;
        assert_refused(def, key, &place, bytes_of(sealed, len), COFFER_E_AUTH);
        row[0] = ROW[0];
        assert_refused(def, key, &shorter, bytes_of(sealed, len), COFFER_E_AUTH);
        row[0].type = COFFER_TIMESTAMP; /* the same eight bytes */
        assert_refused(def, key, &place, bytes_of(sealed, len), COFFER_E_AUTH);
        assert_refused(def, key, NULL, bytes_of(sealed, len), COFFER_E_MISUSE);
    }
    column_key_free(other);
}

static void
no_moved_cell_ever_opens(void **state)
{
    every_definition(move_it);
}

/* What was sealed under a weaker definition, or another, is no cell of this column. */
static void
weaken_it(const struct field_def *def, const struct column_key *key)
{
    struct coffer_value value;
    struct field_def other = *def;
    uint8_t room[600], sealed[ROOM];

    value = random_value(def->type, room);
    other.suite = def->suite == 1 ? 2 : 1;
    assert_refused(def, key, &PLACE, bytes_of(sealed, seal(&other, key, &value, sealed)),
                   COFFER_E_AUTH);
    other = *def;
    other.binding = (def->binding + 1) % 3;
    assert_refused(def, key, &PLACE, bytes_of(sealed, seal(&other, key, &value, sealed)),
                   COFFER_E_AUTH);
    other = *def;
    other.pad = def->pad == 0 ? 32 : 0;
    assert_refused(def, key, &PLACE, bytes_of(sealed, seal(&other, key, &value, sealed)),
                   COFFER_E_AUTH);
    other = *def;
    other.text_form = !def->text_form;
    assert_refused(def, key, &PLACE, bytes_of(sealed, seal(&other, key, &value, sealed)),
                   COFFER_E_FORMAT);
}

static void
lowered_suite_binding_or_padding_never_opens(void **state)
{
    every_definition(weaken_it);
}

static void
too_little_room_is_said_and_nothing_written_beyond_it(void **state)
{
    struct column_key *key = make_key(COLUMN, KEY_ID);
    struct field_def def = {.type = COFFER_TEXT, .suite = 1, .binding = 1, .pad = 32};
    struct coffer_value value = {.type = COFFER_TEXT, .data = (const uint8_t *)"abc", .len = 3},
                        back;
    uint8_t out[200], opened[200];
    size_t len = 9;

    memcpy(def.column_id, COLUMN, 16);
    for (int text = 0; text < 2; text++) {
        def.text_form = text != 0;
        memset(out, 0x77, sizeof out);
        assert_int_equal(field_seal(&def, key, NULL, &value, NULL, out,
                                    field_sealed_max(&def, 3) - 1, &len, NULL),
                         COFFER_E_LIMIT);
        assert_int_equal(len, 0);
        assert_int_equal(out[field_sealed_max(&def, 3) - 1], 0x77);
        assert_int_equal(
            field_seal(&def, key, NULL, &value, NULL, out, field_sealed_max(&def, 3), &len, NULL),
            COFFER_OK);
        assert_int_equal(
            field_open(&def, key, NULL, bytes_of(out, len), opened, len - 1, &back, NULL),
            COFFER_E_LIMIT);
    }
    column_key_free(key);
}

static void
malformed_values_are_refused_with_type(void **state)
{
    static const struct coffer_value BAD[] = {
        {.type = COFFER_BOOL, .i64 = 2},
        {.type = COFFER_DATE, .i64 = INT64_C(1) << 31},
        {.type = COFFER_TEXT, .data = (const uint8_t *)"\xff", .len = 1},
        {.type = COFFER_JSON, .data = (const uint8_t *)"\xed\xa0\x80", .len = 3},
        {.type = COFFER_TEXT, .data = NULL, .len = 1},
        {.type = COFFER_UUID, .data = (const uint8_t *)"short", .len = 5},
        {.type = COFFER_NUMERIC, .data = (const uint8_t *)"1e5", .len = 3},
        {.type = COFFER_NUMERIC, .data = (const uint8_t *)"", .len = 0},
    };
    struct column_key *key = make_key(COLUMN, KEY_ID);
    struct field_def def = {.suite = 1};
    uint8_t out[200];
    size_t len;

    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        def.type = BAD[i].type;
        assert_int_equal(field_seal(&def, key, NULL, &BAD[i], NULL, out, sizeof out, &len, NULL),
                         COFFER_E_TYPE);
    }
    def.type = COFFER_TEXT; /* a value of another type than the column's */
    assert_int_equal(field_seal(&def, key, NULL, &ROW[0], NULL, out, sizeof out, &len, NULL),
                     COFFER_E_TYPE);
    column_key_free(key);
}

/* ---- text ---- */

static void
check_text(int type, const char *text, const char *canonical)
{
    struct coffer_value value;
    struct buf storage, out;

    buf_init(&storage, 4096);
    buf_init(&out, 4096);
    if (canonical == NULL) {
        assert_int_equal(value_parse(type, bytes_str(text), &storage, &value, NULL), COFFER_E_TYPE);
    } else {
        if (value_parse(type, bytes_str(text), &storage, &value, NULL) != COFFER_OK)
            fail_msg("not read: %s", text);
        assert_int_equal(value_format(&value, &out, NULL), COFFER_OK);
        assert_string_equal(buf_cstr(&out), canonical);
    }
    buf_wipe(&storage);
    buf_wipe(&out);
}

/* The right-hand side is what PostgreSQL 15 prints, with DateStyle ISO and TimeZone UTC. */
static void
text_is_postgresqls(void **state)
{
    static const struct {
        int type;
        const char *text, *canonical;
    } CASES[] = {
        {COFFER_FLOAT64, "100", "100"},
        {COFFER_FLOAT64, "98.6", "98.6"},
        {COFFER_FLOAT64, "0.1", "0.1"},
        {COFFER_FLOAT64, "-0", "-0"},
        {COFFER_FLOAT64, "1e300", "1e+300"},
        {COFFER_FLOAT64, "123456789012345", "123456789012345"},
        {COFFER_FLOAT64, "1e15", "1e+15"},
        {COFFER_FLOAT64, "0.0001", "0.0001"},
        {COFFER_FLOAT64, "0.00001", "1e-05"},
        {COFFER_FLOAT64, "5e-324", "5e-324"},
        {COFFER_FLOAT64, "0.30000000000000004", "0.30000000000000004"},
        {COFFER_FLOAT64, "-Infinity", "-Infinity"},
        {COFFER_FLOAT64, "NaN", "NaN"},
        {COFFER_FLOAT64, "1e999", NULL},
        {COFFER_FLOAT64, "0x10", NULL},
        {COFFER_FLOAT64, " 1", NULL},
        {COFFER_FLOAT64, "1,5", NULL},
        {COFFER_DATE, "2000-01-01", "2000-01-01"},
        {COFFER_DATE, "0044-03-15 BC", "0044-03-15 BC"},
        {COFFER_DATE, "0001-02-29 BC", "0001-02-29 BC"},
        {COFFER_DATE, "12024-12-31", "12024-12-31"},
        {COFFER_DATE, "-infinity", "-infinity"},
        {COFFER_DATE, "2023-02-29", NULL},
        {COFFER_DATE, "1900-02-29", NULL},
        {COFFER_DATE, "0000-01-01", NULL},
        {COFFER_DATE, "2023-1-1", NULL},
        {COFFER_DATE, "2023-01-01 ", NULL},
        {COFFER_TIMESTAMP, "2026-10-01T12:34:56.123456Z", "2026-10-01 12:34:56.123456"},
        {COFFER_TIMESTAMP, "2026-10-01 00:30:00+02", "2026-09-30 22:30:00"},
        {COFFER_TIMESTAMP, "2026-10-01 00:00:00-05:30", "2026-10-01 05:30:00"},
        {COFFER_TIMESTAMP, "1999-12-31 23:59:59.5", "1999-12-31 23:59:59.5"},
        {COFFER_TIMESTAMP, "0044-03-15 12:00:00 BC", "0044-03-15 12:00:00 BC"},
        {COFFER_TIMESTAMP, "infinity", "infinity"},
        {COFFER_TIMESTAMP, "2026-10-01 24:00:00", NULL},
        {COFFER_TIMESTAMP, "2026-10-01 12:00:00+99:99", NULL},
        {COFFER_TIMESTAMP, "2026-10-01 12:00:00.1234567", NULL},
        {COFFER_TIMESTAMP, "300000-01-01 00:00:00", NULL},
        {COFFER_INT64, "-9223372036854775808", "-9223372036854775808"},
        {COFFER_INT64, "9223372036854775808", NULL},
        {COFFER_INT64, "", NULL},
        {COFFER_BOOL, "true", "t"},
        {COFFER_BOOL, "f", "f"},
        {COFFER_BOOL, "1", NULL},
        {COFFER_UUID, "E1D7D44C-1bc4-414f-8cfb-7e10693c9c90",
         "e1d7d44c-1bc4-414f-8cfb-7e10693c9c90"},
        {COFFER_UUID, "e1d7d44c1bc4414f8cfb7e10693c9c90", NULL},
        {COFFER_BYTES, "\\x00fF", "\\x00ff"},
        {COFFER_BYTES, "\\x", "\\x"},
        {COFFER_BYTES, "\\x0", NULL},
        {COFFER_BYTES, "00", NULL},
        {COFFER_NUMERIC, "1.50", "1.50"},
        {COFFER_NUMERIC, "1.", NULL},
        {COFFER_NUMERIC, "+1", NULL},
        {COFFER_TEXT, "", ""},
        {COFFER_TEXT, "\xc3\x28", NULL},
    };

    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        check_text(CASES[i].type, CASES[i].text, CASES[i].canonical);
}

static void
every_value_comes_back_from_its_text(void **state)
{
    for (int i = 0; i < 4000; i++) {
        int type = COFFER_BYTES + i % COFFER_JSON;
        struct coffer_value value, back;
        struct buf storage, out;
        uint8_t room[600];

        value = random_value(type, room);
        if (type == COFFER_TIMESTAMP)
            value.i64 /= 100; /* years that a parser takes */
        if (type == COFFER_FLOAT64 && value.f64 != value.f64)
            continue; /* of the many NaNs text keeps one */
        buf_init(&storage, 4096);
        buf_init(&out, 4096);
        assert_int_equal(value_format(&value, &out, NULL), COFFER_OK);
        if (value_parse(type, buf_view(&out), &storage, &back, NULL) != COFFER_OK ||
            !value_equal(&value, &back))
            fail_msg("%s does not come back: %s", coffer_type_name(type), buf_cstr(&out));
        buf_wipe(&storage);
        buf_wipe(&out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_comes_back_from_every_definition),
        cmocka_unit_test(no_changed_bit_ever_opens),
        cmocka_unit_test(no_moved_cell_ever_opens),
        cmocka_unit_test(lowered_suite_binding_or_padding_never_opens),
        cmocka_unit_test(too_little_room_is_said_and_nothing_written_beyond_it),
        cmocka_unit_test(malformed_values_are_refused_with_type),
        cmocka_unit_test(text_is_postgresqls),
        cmocka_unit_test(every_value_comes_back_from_its_text),
    };

    return cmocka_run_group_tests_name("field", tests, NULL, NULL);
}
