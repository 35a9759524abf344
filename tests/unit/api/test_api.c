/* SPDX-License-Identifier: Apache-2.0 */
#include "support/keyring_sample.h"
#include "support/test.h"

#include "api/internal.h"
#include "coffer.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COLUMNS 4

struct fixture {
    struct keyring *keyring; /* a step ahead of `coffer` after next_epoch() */
    struct buf file;
    struct coffer *coffer;
};

static const struct coffer_value ROW[] = {{.type = COFFER_INT64, .i64 = 7}};

static void
add_column(struct keyring *kr, uint8_t id, const char *name, int binding, int phase, bool in_place,
           bool text_form)
{
    struct keyring_column column = {
        .table = "public.people",
        .type = COFFER_TEXT,
        .binding = binding,
        .suite = COFFER_SUITE_XAES,
        .phase = phase,
        .text_form = text_form,
        .line = "main",
        .sql_type = "text",
    };

    memset(column.id.b, id, sizeof column.id.b);
    memset(column.database.b, 0xd1, sizeof column.database.b);
    snprintf(column.name, sizeof column.name, "%s", name);
    if (!in_place)
        snprintf(column.companion, sizeof column.companion, "%s_sealed", name);
    if (binding == COFFER_BIND_ROW) {
        strcpy(column.parts[0].name, "id");
        column.parts[0].type = COFFER_INT64;
        column.part_count = 1;
    }
    assert_int_equal(keyring_column_put(kr, &column, NULL), COFFER_OK);
}

static void
next_epoch(struct fixture *f)
{
    buf_clear(&f->file);
    assert_int_equal(keyring_encode(f->keyring, &f->file, NULL), COFFER_OK);
}

static void
update(struct fixture *f)
{
    assert_int_equal(coffer_update(f->coffer, f->file.ptr, f->file.len, NULL), COFFER_OK);
}

static int
set_up(void **state)
{
    static struct fixture f;
    uint8_t key[32];

    f = (struct fixture){.keyring = keyring_sample(false)};
    buf_init(&f.file, KEYRING_FILE_MAX);
    add_column(f.keyring, 0xa1, "ssn", COFFER_BIND_ROW, COFFER_SEALED, false, false);
    add_column(f.keyring, 0xa2, "mail", COFFER_BIND_COLUMN, COFFER_DUAL, false, false);
    add_column(f.keyring, 0xa3, "note", COFFER_BIND_COLUMN, COFFER_SEALED, true, true);
    add_column(f.keyring, 0xa4, "city", COFFER_BIND_COLUMN, COFFER_SHADOW, false, false);
    next_epoch(&f);
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    assert_int_equal(
        coffer_new(f.file.ptr, f.file.len, COFFER_KEK_KEY, key, sizeof key, &f.coffer, NULL),
        COFFER_OK);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    coffer_free(f->coffer);
    keyring_free(f->keyring);
    buf_wipe(&f->file);
    assert_int_equal(secret_live_count(), 0);
    return 0;
}

static const struct coffer_column *
column(struct fixture *f, const char *name)
{
    const struct coffer_column *found = NULL;

    assert_int_equal(coffer_column_find(f->coffer, NULL, name, &found, NULL), COFFER_OK);
    return found;
}

static struct coffer_value
text(const char *s)
{
    return (struct coffer_value){.type = COFFER_TEXT, .data = (const uint8_t *)s, .len = strlen(s)};
}

static struct coffer_cell
cell_of(const struct coffer_column *col, const char *s, uint8_t *out, size_t max)
{
    return (struct coffer_cell){
        .column = col, .place = {ROW, 1}, .value = text(s), .out = out, .out_max = max};
}

/* Open what `cell` sealed, from its `sealed`, and compare. */
static void
assert_opens_as(struct coffer *coffer, const struct coffer_cell *sealed, const char *s)
{
    struct coffer_cell cell = *sealed;
    uint8_t out[512];

    cell.out = out;
    cell.out_max = sizeof out;
    assert_int_equal(coffer_open(coffer, &cell, 1, NULL), COFFER_OK);
    assert_int_equal(cell.value.len, strlen(s));
    assert_memory_equal(cell.value.data, s, strlen(s));
}

static void
every_built_in_answer_holds(void **state)
{
    unsigned passed = 0, failed = 1;

    assert_int_equal(coffer_selftest(&passed, &failed, NULL), COFFER_OK);
    assert_int_equal(passed, 35 + 32);
    assert_int_equal(failed, 0);
    assert_int_equal(coffer_selftest(NULL, NULL, NULL), COFFER_OK);
}

static void
a_batch_seals_and_opens_and_one_bad_cell_stops_no_other(void **state)
{
    struct fixture *f = *state;
    uint8_t out[4][256], plain[256];
    struct coffer_cell cells[4] = {
        cell_of(column(f, "people.ssn"), "123-45-6789", out[0], sizeof out[0]),
        cell_of(column(f, "public.people.mail"), "a@b", out[1], 10),
        cell_of(column(f, "people.note"), "", out[2], sizeof out[2]),
        cell_of(column(f, "people.mail"), "", out[3], sizeof out[3]),
    };
    struct coffer_error err = {0};

    cells[3].value = (struct coffer_value){0};
    assert_int_equal(coffer_seal(f->coffer, cells, 4, &err), COFFER_E_LIMIT);
    assert_int_equal(err.status, COFFER_E_LIMIT);
    assert_int_equal(cells[0].status, COFFER_OK);
    assert_int_equal(cells[1].status, COFFER_E_LIMIT);
    assert_int_equal(cells[2].status, COFFER_OK);
    assert_int_equal(cells[3].status, COFFER_OK);
    assert_null(cells[3].sealed); /* NULL stays NULL, '' does not become it */
    assert_memory_equal(cells[2].sealed, "cfr1.11111111.", 14);
    assert_opens_as(f->coffer, &cells[0], "123-45-6789");
    assert_opens_as(f->coffer, &cells[2], "");
    cells[3].out = plain;
    assert_int_equal(coffer_open(f->coffer, &cells[3], 1, NULL), COFFER_OK);
    assert_int_equal(cells[3].value.type, COFFER_NULL);
}

static void
misuse_is_answered(void **state)
{
    struct fixture *f = *state;
    const struct coffer_column *ssn = column(f, "people.ssn"), *found = NULL;
    struct coffer_value wrong = text("7"), two[2] = {ROW[0], ROW[0]};
    uint8_t out[256];
    struct coffer_cell cell = cell_of(ssn, "x", out, sizeof out);
    struct coffer *none = (struct coffer *)1;
    struct coffer_error err = {0};

    cell.place = (struct coffer_place){&wrong, 1};
    assert_int_equal(coffer_seal(f->coffer, &cell, 1, &err), COFFER_E_MISUSE);
    assert_non_null(strstr(err.message, "id"));
    cell.place = (struct coffer_place){two, 2};
    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_E_MISUSE);
    cell.place = (struct coffer_place){0};
    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_E_MISUSE);
    cell = cell_of(ssn, "x", out, sizeof out);
    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_OK);
    cell.place = (struct coffer_place){0};
    assert_int_equal(coffer_open(f->coffer, &cell, 1, NULL), COFFER_E_MISUSE);
    cell = cell_of(NULL, "x", out, sizeof out);
    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_E_MISUSE);
    assert_int_equal(coffer_seal(NULL, &cell, 1, NULL), COFFER_E_MISUSE);
    assert_int_equal(coffer_open(f->coffer, NULL, 1, NULL), COFFER_E_MISUSE);
    assert_int_equal(coffer_new(NULL, 0, COFFER_KEK_KEY, out, 32, &none, NULL), COFFER_E_MISUSE);
    assert_null(none);
    assert_int_equal(coffer_column_find(f->coffer, NULL, "people.nothing", &found, &err),
                     COFFER_E_NOTFOUND);
    assert_non_null(strstr(err.message, "public.people.ssn"));
    assert_int_equal(coffer_take_use(f->coffer, NULL, 4), 0);
}

/* The lease is counted by the clock that goes on while a machine sleeps. */
static void
nothing_is_sealed_after_the_lease(void **state)
{
    struct fixture *f = *state;
    const struct coffer_column *mail = column(f, "people.mail");
    uint8_t out[256];
    struct coffer_cell cell = cell_of(mail, "x", out, sizeof out);
    struct coffer_value value = text("x");
    struct coffer_stored stored;

    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_OK);
    f->coffer->confirmed_ms -= COFFER_LEASE_MS + 1;
    assert_opens_as(f->coffer, &cell, "x"); /* reading goes on */
    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_E_STALE);
    assert_int_equal(coffer_cell_write(f->coffer, mail, (struct coffer_place){0}, &value, out,
                                       sizeof out, &stored, NULL),
                     COFFER_E_STALE);
    coffer_confirm(f->coffer);
    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_OK);
}

static void
an_older_or_foreign_keyring_is_refused_and_the_old_one_stays(void **state)
{
    struct fixture *f = *state;
    struct keyring *foreign = NULL;
    struct kek *kek = keyring_sample_kek(false);
    uint64_t epoch = coffer_epoch(f->coffer);
    struct buf old, other;

    buf_init(&old, KEYRING_FILE_MAX);
    buf_init(&other, KEYRING_FILE_MAX);
    buf_bytes(&old, buf_view(&f->file));
    next_epoch(f);
    update(f);
    assert_int_equal(coffer_epoch(f->coffer), epoch + 1);
    assert_int_equal(coffer_update(f->coffer, old.ptr, old.len, NULL), COFFER_E_ROLLBACK);
    assert_int_equal(keyring_new(kek, "ann", 1, &foreign, NULL), COFFER_OK);
    assert_int_equal(keyring_encode(foreign, &other, NULL), COFFER_OK);
    assert_int_equal(coffer_update(f->coffer, other.ptr, other.len, NULL), COFFER_E_ROLLBACK);
    assert_int_equal(coffer_update(f->coffer, "junk", 4, NULL), COFFER_E_FORMAT);
    assert_int_equal(coffer_epoch(f->coffer), epoch + 1);
    keyring_free(foreign);
    kek_close(kek);
    buf_wipe(&old);
    buf_wipe(&other);
}

/* A handle found before a rotation seals under the new key after it, and opens both. */
static void
a_column_handle_follows_a_rotation(void **state)
{
    struct fixture *f = *state;
    const struct coffer_column *mail = column(f, "people.mail");
    uint8_t out[2][256];
    struct coffer_cell before = cell_of(mail, "old", out[0], sizeof out[0]),
                       after = cell_of(mail, "new", out[1], sizeof out[1]);
    struct coffer_column_info info;
    struct coffer_envelope_info said;
    uint32_t id;

    assert_int_equal(coffer_seal(f->coffer, &before, 1, NULL), COFFER_OK);
    assert_int_equal(keyring_key_add(f->keyring, KEY_FIELD, "main", "ann", 1, &id, NULL),
                     COFFER_OK);
    assert_int_equal(keyring_key_move(f->keyring, id, KEY_ACTIVE, 2, NULL), COFFER_OK);
    next_epoch(f);
    update(f);
    coffer_column_info(mail, &info);
    assert_int_equal(info.active_key_id, id);
    assert_ptr_equal(column(f, "people.mail"), mail);
    assert_int_equal(coffer_seal(f->coffer, &after, 1, NULL), COFFER_OK);
    assert_int_equal(coffer_envelope_parse(after.sealed, after.sealed_len, &said), COFFER_OK);
    assert_int_equal(said.key_id, id);
    assert_opens_as(f->coffer, &before, "old");
    assert_opens_as(f->coffer, &after, "new");
}

/* Across a swap, and when the caller's array is too short. */
static void
no_use_is_lost(void **state)
{
    struct fixture *f = *state;
    const struct coffer_column *mail = column(f, "people.mail");
    struct coffer_use use[8];
    uint8_t out[256];
    struct coffer_cell cell = cell_of(mail, "x", out, sizeof out);
    struct snapshot *held;
    uint32_t id;

    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_OK);
    assert_int_equal(keyring_key_add(f->keyring, KEY_FIELD, "main", "ann", 1, &id, NULL),
                     COFFER_OK);
    assert_int_equal(keyring_key_move(f->keyring, id, KEY_ACTIVE, 2, NULL), COFFER_OK);
    next_epoch(f);
    held = snapshot_hold(f->coffer); /* a call under way during the swap */
    update(f);
    snapshot_release(held);
    assert_opens_as(f->coffer, &cell, "x");
    assert_int_equal(coffer_seal(f->coffer, &cell, 1, NULL), COFFER_OK);
    assert_int_equal(coffer_take_use(f->coffer, use, 1), 2);
    assert_int_equal(use[0].key_id, SAMPLE_ACTIVE_ID);
    assert_int_equal(use[0].seals, 1);
    assert_int_equal(use[0].opens, 1);
    assert_int_equal(coffer_take_use(f->coffer, use, 8), 1);
    assert_int_equal(use[0].key_id, id);
    assert_int_equal(use[0].seals, 1);
    assert_int_equal(coffer_take_use(f->coffer, use, 8), 0);
}

static void
a_stored_cell_is_read_as_its_phase_says(void **state)
{
    struct fixture *f = *state;
    const struct coffer_column *ssn = column(f, "people.ssn"), *mail = column(f, "people.mail"),
                               *city = column(f, "people.city");
    const struct coffer_place place = {ROW, 1};
    struct coffer_stored stored;
    struct coffer_value value = text("v"), got;
    uint8_t sealed[256], out[256];

    /* sealed: an envelope is written; plaintext is an error, never data */
    assert_int_equal(
        coffer_cell_write(f->coffer, ssn, place, &value, sealed, sizeof sealed, &stored, NULL),
        COFFER_OK);
    assert_int_equal(stored.plain.type, COFFER_NULL);
    assert_int_equal(coffer_cell_read(f->coffer, ssn, place, &stored, out, sizeof out, &got, NULL),
                     COFFER_OK);
    assert_memory_equal(got.data, "v", 1);
    stored.plain = text("typed in by hand");
    assert_int_equal(coffer_cell_read(f->coffer, ssn, place, &stored, out, sizeof out, &got, NULL),
                     COFFER_E_PLAINTEXT);
    assert_int_equal(got.type, COFFER_NULL);

    /* dual: the envelope if there is one, else the plaintext */
    assert_int_equal(
        coffer_cell_write(f->coffer, mail, place, &value, sealed, sizeof sealed, &stored, NULL),
        COFFER_OK);
    stored.plain = text("old");
    assert_int_equal(coffer_cell_read(f->coffer, mail, place, &stored, out, sizeof out, &got, NULL),
                     COFFER_OK);
    assert_memory_equal(got.data, "v", 1);
    stored.sealed = NULL;
    assert_int_equal(coffer_cell_read(f->coffer, mail, place, &stored, out, sizeof out, &got, NULL),
                     COFFER_OK);
    assert_memory_equal(got.data, "old", 3);

    /* shadow: plaintext is the truth */
    assert_int_equal(
        coffer_cell_write(f->coffer, city, place, &value, sealed, sizeof sealed, &stored, NULL),
        COFFER_OK);
    assert_null(stored.sealed);
    assert_memory_equal(stored.plain.data, "v", 1);
}

/* ---- threads ---- */

struct worker {
    pthread_t thread;
    struct coffer *coffer;
    const struct coffer_column *column;
    atomic_bool *stop;
    unsigned done, bad;
};

static void *
seal_and_open(void *arg)
{
    struct worker *w = arg;
    uint8_t sealed[256], out[256];

    while (!atomic_load(w->stop) || w->done < 50) {
        struct coffer_cell cell = cell_of(w->column, "through the swap", sealed, sizeof sealed);
        bool good = coffer_seal(w->coffer, &cell, 1, NULL) == COFFER_OK;

        cell.out = out;
        cell.out_max = sizeof out;
        good = good && coffer_open(w->coffer, &cell, 1, NULL) == COFFER_OK &&
               cell.value.len == 16 && memcmp(cell.value.data, "through the swap", 16) == 0;
        w->done++;
        w->bad += !good;
    }
    return NULL;
}

static void
eight_threads_work_on_while_keyrings_are_swapped(void **state)
{
    static const char *const NAMES[] = {"people.ssn", "people.mail", "people.note", "people.city"};
    struct fixture *f = *state;
    struct worker workers[8] = {0};
    struct coffer_use use[USE_MAX];
    atomic_bool stop = false;
    uint64_t seals = 0, done = 0;
    size_t n;
    uint32_t id;

    for (size_t i = 0; i < 8; i++) {
        workers[i] = (struct worker){
            .coffer = f->coffer, .column = column(f, NAMES[i % COLUMNS]), .stop = &stop};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, seal_and_open, &workers[i]), 0);
    }
    for (int i = 0; i < 40; i++) {
        if (i % 4 == 0) {
            assert_int_equal(keyring_key_add(f->keyring, KEY_FIELD, "main", "ann", 1, &id, NULL),
                             COFFER_OK);
            assert_int_equal(keyring_key_move(f->keyring, id, KEY_ACTIVE, 2, NULL), COFFER_OK);
        }
        next_epoch(f);
        update(f);
        n = coffer_take_use(f->coffer, use, USE_MAX);
        while (n-- > 0)
            seals += use[n].seals;
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].bad, 0);
        done += workers[i].done;
    }
    n = coffer_take_use(f->coffer, use, USE_MAX);
    while (n-- > 0)
        seals += use[n].seals;
    assert_int_equal(seals, done); /* none lost, none counted twice */
}

/* ---- fork ---- */

#define NONCES 64

static void
seal_nonces(struct coffer *coffer, const struct coffer_column *col, uint8_t nonces[NONCES][24])
{
    uint8_t out[256];

    for (int i = 0; i < NONCES; i++) {
        struct coffer_cell cell = cell_of(col, "x", out, sizeof out);

        memset(nonces[i], 0, 24);
        if (coffer_seal(coffer, &cell, 1, NULL) == COFFER_OK)
            memcpy(nonces[i], cell.sealed + 8, 24);
    }
}

static void
no_nonce_is_made_twice_across_a_fork(void **state)
{
    struct fixture *f = *state;
    const struct coffer_column *mail = column(f, "people.mail");
    uint8_t all[2][NONCES][24], (*flat)[24] = all[0];
    int pipe_ends[2], status;
    pid_t child;

    seal_nonces(f->coffer, mail, all[0]); /* the buffer is filled before the fork */
    assert_int_equal(pipe(pipe_ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        seal_nonces(f->coffer, mail, all[0]);
        _exit(write(pipe_ends[1], all[0], sizeof all[0]) == sizeof all[0] ? 0 : 1);
    }
    seal_nonces(f->coffer, mail, all[0]);
    assert_int_equal(read(pipe_ends[0], all[1], sizeof all[1]), sizeof all[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    for (int i = 0; i < 2 * NONCES; i++) {
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(flat[i], flat[j], 24);
    }
}

/* A host has unlocked the file before: libcoffer takes the root key, and runs no KDF again. */
static void
a_root_key_opens_a_keyring_of_any_kind_and_an_escrow_file_is_none(void **state)
{
    struct fixture *f = *state;
    const struct secret *root = keyring_root(f->keyring);
    struct coffer_error err = {0};
    struct keyring *escrow;
    struct coffer *coffer;
    uint8_t wrong[32] = {1};
    uint32_t id = keyring_active(f->keyring, KEY_FIELD, "main")->id;

    assert_int_equal(coffer_new(f->file.ptr, f->file.len, COFFER_KEK_ROOT, secret_expose(root).ptr,
                                secret_len(root), &coffer, NULL),
                     COFFER_OK);
    coffer_free(coffer);
    assert_int_equal(
        coffer_new(f->file.ptr, f->file.len, COFFER_KEK_ROOT, wrong, sizeof wrong, &coffer, NULL),
        COFFER_E_KEK);
    assert_int_equal(
        coffer_new(f->file.ptr, f->file.len, COFFER_KEK_ROOT, wrong, 31, &coffer, NULL),
        COFFER_E_MISUSE);

    assert_int_equal(keyring_extract(f->keyring, id, NULL, &escrow, NULL), COFFER_OK);
    buf_clear(&f->file);
    assert_int_equal(keyring_encode(escrow, &f->file, NULL), COFFER_OK);
    assert_int_equal(coffer_new(f->file.ptr, f->file.len, COFFER_KEK_ROOT, secret_expose(root).ptr,
                                secret_len(root), &coffer, &err),
                     COFFER_E_FORMAT);
    assert_null(coffer);
    assert_non_null(strstr(err.message, "escrow file"));
    assert_int_equal(coffer_update(f->coffer, f->file.ptr, f->file.len, &err), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "escrow file"));
    keyring_free(escrow);
}

static void
terms_of_a_value_stand_beside_its_envelope(void **state)
{
    struct fixture *f = *state;
    struct keyring_index index = {.kind = INDEX_EQUALITY, .state = INDEX_FILLING, .normaliser = 2, .store = "note_eq", .line = "index/1"};
    const struct coffer_value upper = text("ANNA"), lower = text("anna"), null = {.type = COFFER_NULL};
    struct coffer_terms *a, *b;
    uint32_t id;

    memset(index.id.b, 7, 16);
    memset(index.group.b, 7, 16);
    memset(index.column.b, 0xa3, 16);
    assert_int_equal(keyring_key_add(f->keyring, KEY_INDEX, "index/1", "test", 1, &id, NULL), COFFER_OK);
    assert_int_equal(keyring_key_move(f->keyring, id, KEY_ACTIVE, 2, NULL), COFFER_OK);
    assert_int_equal(keyring_index_put(f->keyring, &index, NULL), COFFER_OK);
    index.id.b[0] = 8;
    index.kind = INDEX_TEXT;
    strcpy(index.store, "note_tok");
    index.bits = 48;
    assert_int_equal(keyring_index_put(f->keyring, &index, NULL), COFFER_OK);
    next_epoch(f);
    update(f);

    assert_int_equal(coffer_terms(f->coffer, column(f, "people.note"), &upper, &a, NULL), COFFER_OK);
    assert_int_equal(coffer_terms(f->coffer, column(f, "people.note"), &lower, &b, NULL), COFFER_OK);
    assert_int_equal(coffer_terms_count(a), 2);
    assert_null(coffer_terms_at(a, 2));
    assert_string_equal(coffer_terms_at(a, 0)->column, "note_eq");
    assert_int_equal(coffer_terms_at(a, 0)->value.len, 16);
    assert_memory_equal(coffer_terms_at(a, 0)->value.data, coffer_terms_at(b, 0)->value.data, 16); /* caseless */
    assert_int_equal(coffer_terms_at(a, 0)->value.data[1], 1); /* the key's version leads */
    assert_string_equal(coffer_terms_at(a, 1)->column, "note_tok");
    assert_int_equal(coffer_terms_at(a, 1)->token_count, 4); /* ^an ann nna na$ */
    assert_memory_equal(coffer_terms_at(a, 1)->tokens, coffer_terms_at(b, 1)->tokens, 4 * sizeof(int64_t));
    coffer_terms_free(a);
    coffer_terms_free(b);
    assert_int_equal(coffer_terms(f->coffer, column(f, "people.note"), &null, &a, NULL), COFFER_OK);
    assert_int_equal(coffer_terms_at(a, 0)->value.type, COFFER_NULL);
    assert_null(coffer_terms_at(a, 1)->tokens);
    coffer_terms_free(a);
    assert_int_equal(coffer_terms(f->coffer, column(f, "people.ssn"), &upper, &a, NULL), COFFER_OK);
    assert_int_equal(coffer_terms_count(a), 0);
    coffer_terms_free(a);
    assert_int_equal(coffer_terms(f->coffer, column(f, "people.note"), &(struct coffer_value){.type = COFFER_INT64}, &a, NULL), COFFER_E_TYPE);
    assert_null(a);
}

#define EACH(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_built_in_answer_holds),
        EACH(a_batch_seals_and_opens_and_one_bad_cell_stops_no_other),
        EACH(misuse_is_answered),
        EACH(a_root_key_opens_a_keyring_of_any_kind_and_an_escrow_file_is_none),
        EACH(nothing_is_sealed_after_the_lease),
        EACH(an_older_or_foreign_keyring_is_refused_and_the_old_one_stays),
        EACH(a_column_handle_follows_a_rotation),
        EACH(no_use_is_lost),
        EACH(terms_of_a_value_stand_beside_its_envelope),
        EACH(a_stored_cell_is_read_as_its_phase_says),
        EACH(eight_threads_work_on_while_keyrings_are_swapped),
        EACH(no_nonce_is_made_twice_across_a_fork),
    };

    return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
