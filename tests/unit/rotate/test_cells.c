/* SPDX-License-Identifier: Apache-2.0 */
/* The truth table of cells_transform(): every goal, in every phase, for everything that a cell can
 * hold. */
#include "fixture.h"

#include "support/test.h"

#include <stdio.h>
#include <string.h>

enum holds { NOTHING, VALUE, OTHER_VALUE, EMPTY }; /* as plaintext */
enum seals {
    NO_ENVELOPE,
    OLD,
    NEW,
    OLD_OTHER,
    NEW_OTHER,
    BROKEN
}; /* as envelope, of VALUE or of OTHER_VALUE */
enum want_plain { KEEP_PLAIN, NULL_PLAIN, VALUE_PLAIN };
enum want_sealed {
    KEEP_SEALED,
    NULL_SEALED,
    FRESH /* of VALUE under the new key */,
    FRESH_OTHER,
    FRESH_EMPTY
};

#define OFF (1 << COFFER_OFF)
#define SHADOW (1 << COFFER_SHADOW)
#define DUAL (1 << COFFER_DUAL)
#define SEALED_PHASE (1 << COFFER_SEALED)
#define ANY (OFF | SHADOW | DUAL | SEALED_PHASE)
#define UNSEALED (OFF | SHADOW | DUAL)
#define SEALING (1 << DB_GOAL_SEAL_BESIDE | 1 << DB_GOAL_SEAL)
#define ALL_GOALS (SEALING | 1 << DB_GOAL_PLAIN_BESIDE | 1 << DB_GOAL_PLAIN)

struct row_of_table {
    int goals, phases;
    bool companion;
    enum holds plain;
    enum seals sealed;
    bool quarantined;
    enum want_plain want_plain;
    enum want_sealed want_sealed;
};

static const struct row_of_table TABLE[] = {
    /* NULL stays NULL, whatever is asked for. */
    {ALL_GOALS, ANY, true, NOTHING, NO_ENVELOPE, false, KEEP_PLAIN, KEEP_SEALED},
    {ALL_GOALS, ANY, false, NOTHING, NO_ENVELOPE, false, KEEP_PLAIN, KEEP_SEALED},

    /* ---- companion, sealing ---- */
    {1 << DB_GOAL_SEAL_BESIDE, UNSEALED, true, VALUE, NO_ENVELOPE, false, KEEP_PLAIN, FRESH},
    {1 << DB_GOAL_SEAL, UNSEALED, true, VALUE, NO_ENVELOPE, false, NULL_PLAIN, FRESH},
    {1 << DB_GOAL_SEAL, UNSEALED, true, EMPTY, NO_ENVELOPE, false, NULL_PLAIN, FRESH_EMPTY},
    {SEALING, ANY, true, NOTHING, OLD, false, KEEP_PLAIN, FRESH},
    {SEALING, ANY, true, NOTHING, NEW, false, KEEP_PLAIN, KEEP_SEALED},
    {SEALING, ANY, true, NOTHING, BROKEN, true, KEEP_PLAIN, KEEP_SEALED},
    {SEALING, ANY, true, VALUE, BROKEN, true, KEEP_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_SEAL_BESIDE, ANY, true, VALUE, OLD, false, KEEP_PLAIN, FRESH},
    {1 << DB_GOAL_SEAL_BESIDE, ANY, true, VALUE, NEW, false, KEEP_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_SEAL, ANY, true, VALUE, OLD, false, NULL_PLAIN, FRESH},
    /* The plaintext goes, so the envelope must be fresh: the shadow trigger. */
    {1 << DB_GOAL_SEAL, ANY, true, VALUE, NEW, false, NULL_PLAIN, FRESH},
    {1 << DB_GOAL_SEAL_BESIDE, OFF | SHADOW, true, VALUE, OLD_OTHER, false, KEEP_PLAIN, FRESH},
    {1 << DB_GOAL_SEAL_BESIDE, OFF | SHADOW, true, VALUE, NEW_OTHER, false, KEEP_PLAIN, FRESH},
    {1 << DB_GOAL_SEAL, OFF | SHADOW, true, VALUE, NEW_OTHER, false, NULL_PLAIN, FRESH},
    {SEALING, DUAL | SEALED_PHASE, true, VALUE, OLD_OTHER, true, KEEP_PLAIN, KEEP_SEALED},
    {SEALING, DUAL | SEALED_PHASE, true, VALUE, NEW_OTHER, true, KEEP_PLAIN, KEEP_SEALED},

    /* Plaintext alone in a sealed column was planted: it is never made to look like the application's. */
    {SEALING, SEALED_PHASE, true, VALUE, NO_ENVELOPE, true, KEEP_PLAIN, KEEP_SEALED},
    {SEALING, SEALED_PHASE, false, VALUE, NO_ENVELOPE, true, KEEP_PLAIN, KEEP_SEALED},
    {SEALING, SEALED_PHASE, false, EMPTY, NO_ENVELOPE, true, KEEP_PLAIN, KEEP_SEALED},

    /* ---- companion, back to plaintext ---- */
    {1 << DB_GOAL_PLAIN_BESIDE, ANY, true, NOTHING, OLD, false, VALUE_PLAIN, FRESH},
    {1 << DB_GOAL_PLAIN, ANY, true, NOTHING, OLD, false, VALUE_PLAIN, NULL_SEALED},
    {1 << DB_GOAL_PLAIN, ANY, true, NOTHING, NEW, false, VALUE_PLAIN, NULL_SEALED},
    {1 << DB_GOAL_PLAIN_BESIDE, ANY, true, VALUE, OLD, false, KEEP_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_PLAIN, ANY, true, VALUE, OLD, false, KEEP_PLAIN, NULL_SEALED},
    {1 << DB_GOAL_PLAIN, ANY, true, VALUE, NO_ENVELOPE, false, KEEP_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_PLAIN, OFF | SHADOW, true, VALUE, OLD_OTHER, false, KEEP_PLAIN, NULL_SEALED},
    {1 << DB_GOAL_PLAIN_BESIDE, OFF | SHADOW, true, VALUE, OLD_OTHER, false, KEEP_PLAIN, FRESH},
    {1 << DB_GOAL_PLAIN, DUAL | SEALED_PHASE, true, VALUE, OLD_OTHER, true, KEEP_PLAIN,
     KEEP_SEALED},
    {1 << DB_GOAL_PLAIN, ANY, true, NOTHING, BROKEN, true, KEEP_PLAIN, KEEP_SEALED},

    /* ---- in place; a plain beside an envelope means that the storage class cannot tell ---- */
    {SEALING, UNSEALED, false, VALUE, NO_ENVELOPE, false, KEEP_PLAIN, FRESH},
    {SEALING, UNSEALED, false, EMPTY, NO_ENVELOPE, false, KEEP_PLAIN, FRESH_EMPTY},
    {SEALING, ANY, false, NOTHING, OLD, false, KEEP_PLAIN, FRESH},
    {SEALING, ANY, false, NOTHING, NEW, false, KEEP_PLAIN, KEEP_SEALED},
    {SEALING, ANY, false, NOTHING, BROKEN, true, KEEP_PLAIN, KEEP_SEALED},
    {SEALING, ANY, false, OTHER_VALUE, OLD, false, KEEP_PLAIN, FRESH},
    {SEALING, ANY, false, OTHER_VALUE, NEW, false, KEEP_PLAIN, KEEP_SEALED},
    {SEALING, OFF | SHADOW | DUAL, false, OTHER_VALUE, BROKEN, false, KEEP_PLAIN, FRESH_OTHER},
    {SEALING, SEALED_PHASE, false, OTHER_VALUE, BROKEN, true, KEEP_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_PLAIN, ANY, false, NOTHING, OLD, false, VALUE_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_PLAIN, ANY, false, OTHER_VALUE, OLD, false, VALUE_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_PLAIN, ANY, false, VALUE, NO_ENVELOPE, false, KEEP_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_PLAIN, OFF | SHADOW | DUAL, false, VALUE, BROKEN, false, KEEP_PLAIN, KEEP_SEALED},
    {1 << DB_GOAL_PLAIN, SEALED_PHASE, false, VALUE, BROKEN, true, KEEP_PLAIN, KEEP_SEALED},
};

#define THE_VALUE "Zoë 123"
#define THE_OTHER "somebody else"

struct noted {
    unsigned count;
    char reason[300];
};

static int
note(void *arg, const struct walk_column *column, const struct db_row *row, size_t place_count,
     const char *reason, struct coffer_error *err)
{
    struct noted *noted = arg;

    noted->count++;
    snprintf(noted->reason, sizeof noted->reason, "%s", reason);
    return COFFER_OK;
}

static struct coffer_value
plain_of(enum holds holds)
{
    if (holds == NOTHING)
        return (struct coffer_value){0};
    return fixture_text(holds == VALUE ? THE_VALUE : holds == EMPTY ? "" : THE_OTHER);
}

static struct bytes
sealed_of(struct fixture *f, enum seals seals, uint8_t *out, size_t out_max)
{
    struct coffer_value value =
        fixture_text(seals == OLD_OTHER || seals == NEW_OTHER ? THE_OTHER : THE_VALUE);
    uint32_t key = seals == NEW || seals == NEW_OTHER ? f->new_key : f->old_key;
    size_t len;

    if (seals == NO_ENVELOPE)
        return (struct bytes){0};
    len = fixture_seal(f, key, NULL, &value, out, out_max);
    if (seals == BROKEN)
        out[len - 1] ^= 1;
    return bytes_of(out, len);
}

static void
assert_fresh(struct fixture *f, const struct db_cell *cell, const char *expected)
{
    struct coffer_place none = {0};
    struct coffer_value value;
    uint8_t out[256];
    uint32_t key = 0;

    assert_true(cell->set_sealed);
    assert_false(bytes_equal(cell->new_sealed, cell->sealed));
    assert_int_equal(codec_open(f->codec, &f->column, &none, cell->new_sealed, out, sizeof out,
                                &value, &key, NULL),
                     COFFER_OK);
    assert_int_equal(key, f->new_key);
    assert_true(bytes_equal(bytes_of(value.data, value.len), bytes_str(expected)));
}

static void
check_cell(struct fixture *f, const struct row_of_table *row, const struct db_cell *cell)
{
    switch (row->want_plain) {
    case KEEP_PLAIN:
        assert_false(cell->set_plain);
        break;
    case NULL_PLAIN:
        assert_true(cell->set_plain && cell->new_plain.type == COFFER_NULL);
        break;
    case VALUE_PLAIN:
        assert_true(cell->set_plain && cell->new_plain.type == COFFER_TEXT);
        assert_true(
            bytes_equal(bytes_of(cell->new_plain.data, cell->new_plain.len), bytes_str(THE_VALUE)));
        break;
    }
    switch (row->want_sealed) {
    case KEEP_SEALED:
        assert_false(cell->set_sealed);
        break;
    case NULL_SEALED:
        assert_true(cell->set_sealed && cell->new_sealed.ptr == NULL);
        break;
    case FRESH:
        assert_fresh(f, cell, THE_VALUE);
        break;
    case FRESH_OTHER:
        assert_fresh(f, cell, THE_OTHER);
        break;
    case FRESH_EMPTY:
        assert_fresh(f, cell, "");
        break;
    }
}

/* With all that a walk keeps from row to row. */
static int
transform(struct fixture *f, const struct walk_column *column, struct db_row *row,
          size_t place_count, struct buf *storage, struct noted *noted, struct coffer_error *err)
{
    struct cells *cells = NULL;
    int rc = cells_new(f->codec, column, 1, &f->options, &cells, err);

    if (rc == COFFER_OK)
        rc = cells_transform(cells, row, place_count, storage, note, noted, err);
    cells_free(cells);
    return rc;
}

static void
check_case(struct fixture *f, const struct row_of_table *row, int goal, int phase)
{
    uint8_t memory[512];
    struct db_cell cell = {.plain = plain_of(row->plain),
                           .sealed = sealed_of(f, row->sealed, memory, sizeof memory)};
    struct db_row db_row = {.cells = &cell};
    struct walk_column column = {.column = &f->column,
                                 .want = {.cell = {.plain = "ssn",
                                                   .sealed = row->companion ? "ssn_sealed" : NULL,
                                                   .type = COFFER_TEXT},
                                          .goal = goal,
                                          .target_key = f->new_key}};
    struct coffer_error err = {0};
    struct noted noted = {0};
    struct buf storage;

    f->column.phase = phase;
    buf_init(&storage, 1u << 20);
    if (transform(f, &column, &db_row, 0, &storage, &noted, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    assert_int_equal(noted.count, row->quarantined);
    check_cell(f, row, &cell);
    buf_wipe(&storage);
}

static void
every_goal_in_every_phase_for_everything_a_cell_can_hold(void **state)
{
    struct fixture f;
    unsigned cases = 0;

    fixture_new(&f);
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++)
        for (int goal = DB_GOAL_SEAL_BESIDE; goal <= DB_GOAL_PLAIN; goal++)
            for (int phase = COFFER_OFF; phase <= COFFER_SEALED; phase++) {
                if (!(TABLE[i].goals & 1 << goal) || !(TABLE[i].phases & 1 << phase))
                    continue;
                check_case(&f, &TABLE[i], goal, phase);
                cases++;
            }
    assert_true(cases > 150);
    fixture_free(&f);
}

static int
transform_one(struct fixture *f, struct db_row *row, size_t place_count, struct buf *storage,
              struct noted *noted)
{
    struct walk_column column = {.column = &f->column,
                                 .want = {.cell = {.plain = "ssn", .type = f->column.type},
                                          .goal = DB_GOAL_SEAL,
                                          .target_key = f->new_key}};

    buf_init(storage, 1u << 20);
    return transform(f, &column, row, place_count, storage, noted, NULL);
}

/* An envelope copied to another row does not open there, and is left alone. */
static void
a_row_bound_envelope_of_another_row_is_quarantined(void **state)
{
    struct coffer_value mine = {.type = COFFER_INT64, .i64 = 7};
    struct coffer_value other = {.type = COFFER_INT64, .i64 = 8};
    struct coffer_value value = fixture_text(THE_VALUE);
    struct coffer_place place = {.parts = &mine, .count = 1};
    uint8_t memory[256];
    struct coffer_value parts[2] = {{0}};
    struct db_cell cell = {0};
    struct db_row row = {.key = parts, .place = parts, .cells = &cell};
    struct noted noted = {0};
    struct buf storage;
    struct fixture f;

    fixture_new(&f);
    f.column.binding = COFFER_BIND_ROW;
    f.column.part_count = 1;
    strcpy(f.column.parts[0].name, "id");
    f.column.parts[0].type = COFFER_INT64;
    cell.sealed =
        bytes_of(memory, fixture_seal(&f, f.old_key, &place, &value, memory, sizeof memory));

    parts[0] = mine;
    assert_int_equal(transform_one(&f, &row, 1, &storage, &noted), COFFER_OK);
    assert_true(cell.set_sealed);
    buf_wipe(&storage);

    parts[0] = other;
    assert_int_equal(transform_one(&f, &row, 1, &storage, &noted), COFFER_OK);
    assert_false(cell.set_sealed);
    assert_int_equal(noted.count, 1);
    assert_non_null(strstr(noted.reason, "auth"));
    buf_wipe(&storage);

    /* A primary key of another shape stops the walk: nothing of this table can be opened. */
    assert_int_equal(transform_one(&f, &row, 2, &storage, &noted), COFFER_E_REFUSED);
    buf_wipe(&storage);
    fixture_free(&f);
}

static void
an_unsuitable_value_is_quarantined(void **state)
{
    struct db_cell cell = {.plain_unsuitable = true};
    struct db_row row = {.cells = &cell};
    struct noted noted = {0};
    struct buf storage;
    struct fixture f;

    fixture_new(&f);
    assert_int_equal(transform_one(&f, &row, 0, &storage, &noted), COFFER_OK);
    assert_false(cell.set_sealed || cell.set_plain);
    assert_int_equal(noted.count, 1);
    fixture_free(&f);
    buf_wipe(&storage);
}

static int
upper_only(void *arg, const struct keyring_column *column, const struct coffer_value *old,
           struct buf *storage, struct coffer_value *out, struct coffer_error *err)
{
    if (old->len < 4 || memcmp(old->data, "old:", 4) != 0)
        return error_set(err, COFFER_E_FORMAT, "no ciphertext of ours");
    buf_add(storage, old->data + 4, old->len - 4);
    *out = (struct coffer_value){.type = COFFER_TEXT, .data = storage->ptr, .len = storage->len};
    return COFFER_OK;
}

/* Protect can start from existing ciphertext: the decoder gives the plaintext, and what it refuses
 * stays. */
static void
the_decoder_gives_what_is_sealed(void **state)
{
    struct db_cell cell = {.plain = fixture_text("old:" THE_VALUE)};
    struct db_row row = {.cells = &cell};
    struct noted noted = {0};
    struct buf storage;
    struct fixture f;

    fixture_new(&f);
    f.options.decode = upper_only;
    assert_int_equal(transform_one(&f, &row, 0, &storage, &noted), COFFER_OK);
    assert_fresh(&f, &cell, THE_VALUE);
    buf_wipe(&storage);
    cell.plain = fixture_text("nonsense");
    assert_int_equal(transform_one(&f, &row, 0, &storage, &noted), COFFER_OK);
    assert_false(cell.set_sealed);
    assert_int_equal(noted.count, 1);
    buf_wipe(&storage);
    fixture_free(&f);
}

/* Bytes that are no UTF-8 cannot be text: left as they are. */
static void
a_value_that_cannot_be_encoded_is_quarantined(void **state)
{
    struct db_cell cell = {
        .plain = {.type = COFFER_TEXT, .data = (const uint8_t *)"\xff\xfe", .len = 2}};
    struct db_row row = {.cells = &cell};
    struct noted noted = {0};
    struct buf storage;
    struct fixture f;

    fixture_new(&f);
    assert_int_equal(transform_one(&f, &row, 0, &storage, &noted), COFFER_OK);
    assert_false(cell.set_sealed);
    assert_int_equal(noted.count, 1);
    buf_wipe(&storage);
    fixture_free(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_goal_in_every_phase_for_everything_a_cell_can_hold),
        cmocka_unit_test(a_row_bound_envelope_of_another_row_is_quarantined),
        cmocka_unit_test(an_unsuitable_value_is_quarantined),
        cmocka_unit_test(the_decoder_gives_what_is_sealed),
        cmocka_unit_test(a_value_that_cannot_be_encoded_is_quarantined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
