/* SPDX-License-Identifier: Apache-2.0 */
/* After plaintext left the live cells: statistics, rewritten files, and a search of them.
 *
 *   level 1 ──db_clean()──▶ 2 ──scrub: files rewritten, searched, nothing found──▶ 3
 *
 * The search looks for values that the columns hold now, opened from a sample of cells: their plaintext stood in the files
 * before.  It also looks for envelopes under keys that are proven gone.  What it cannot see is said, never claimed.
 */
#include "rotate/protect.h"

#include "base/mem.h"
#include "rotate/sample.h"
#include "rotate/search.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PLACES 8
#define ROWS_EACH 25
#define VALUES_MAX 40
#define LENGTH_MAX 1000u /* PostgreSQL compresses long values: those would not be found */

struct one_column {
    struct uuid id;
    unsigned values; /* looked for */
    unsigned found;
};
struct scrub {
    struct session *s;
    struct search search;
    struct one_column *columns;
    size_t count;
    unsigned current; /* the column whose values are added */
    bool text_utf8;
};
/* Owner of a needle: a column's index, or this plus the index of a key. */
#define OWNER_KEY 0x10000u

static int
add_value(void *arg, const struct coffer_value *value, bool *more, struct coffer_error *err)
{
    struct scrub *scrub = arg;
    struct bytes text = bytes_of(value->data, value->len);
    size_t before = scrub->search.count;
    char hex[33], uuid[40];
    int rc = COFFER_OK;

    switch (value->type) {
    case COFFER_TEXT:
    case COFFER_JSON:
        if (scrub->text_utf8 && text.len <= LENGTH_MAX)
            rc = search_add(&scrub->search, text, scrub->current, err);
        break;
    case COFFER_BYTES:
        if (text.len <= LENGTH_MAX)
            rc = search_add(&scrub->search, text, scrub->current, err);
        break;
    case COFFER_UUID: /* as it may have been stored: its bytes or its text */
        hex_encode(text, hex);
        snprintf(uuid, sizeof uuid, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                 hex + 20);
        rc = search_add(&scrub->search, text, scrub->current, err);
        if (rc == COFFER_OK)
            rc = search_add(&scrub->search, bytes_str(uuid), scrub->current, err);
        break;
    default:
        break; /* numbers and dates are short and stand everywhere: finding one would say nothing */
    }
    if (scrub->search.count > before)
        *more = ++scrub->columns[scrub->current].values < VALUES_MAX;
    return rc;
}

/* The first eight bytes of an envelope under a key that is proven gone from this database. */
static int
add_keys(struct scrub *scrub, const struct keyring_column *column, struct coffer_error *err)
{
    struct session *s = scrub->s;
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < keyring_key_count(s->keyring); i++) {
        const struct keyring_key *key = keyring_key_at(s->keyring, i);
        uint8_t head[8] = {0xF9, (uint8_t)column->suite,
                           (uint8_t)(column->binding | (column->pad != 0 ? 4 : 0)),
                           (uint8_t)column->type};

        if (key->purpose != KEY_FIELD ||
            keyring_certificate(s->keyring, key->id, &s->database->id) == NULL)
            continue;
        put_be32(head + 4, key->id);
        rc = search_add(&scrub->search, bytes_of(head, sizeof head), OWNER_KEY + (unsigned)i, err);
    }
    return rc;
}

static int
text_is_utf8(struct session *s, bool *utf8, struct coffer_error *err)
{
    struct db_result *result = NULL;
    int rc = COFFER_OK;

    *utf8 = true;
    if (db_engine(s->database->db) != DB_SQLITE)
        return rc;
    rc = db_run(s->database->db, "PRAGMA encoding", NULL, 0, &result, err);
    *utf8 = rc == COFFER_OK && result->rows == 1 && result->cells[0].len == 5 &&
            memcmp(result->cells[0].data, "UTF-8", 5) == 0;
    db_result_free(result);
    return rc;
}

static int
add_all(struct scrub *scrub, struct coffer_error *err)
{
    size_t i;
    int rc = text_is_utf8(scrub->s, &scrub->text_utf8, err);

    for (i = 0; rc == COFFER_OK && i < scrub->count; i++) {
        const struct keyring_column *column =
            keyring_column_by_id(scrub->s->keyring, &scrub->columns[i].id);

        scrub->current = (unsigned)i;
        rc = sample_column(scrub->s, column, PLACES, ROWS_EACH, add_value, scrub, err);
        if (rc == COFFER_OK)
            rc = add_keys(scrub, column, err);
    }
    return rc;
}

static int
on_piece(void *arg, const char *file, uint64_t offset, struct bytes piece, struct coffer_error *err)
{
    struct scrub *scrub = arg;

    search_feed(&scrub->search, file, offset, piece);
    return stopped(scrub->s->env)
               ? error_set(err, COFFER_E_CANCELLED, "stopped; run the same command again to go on")
               : COFFER_OK;
}

/* Is this the first of the columns in its table? */
static bool
first_of_table(struct scrub *scrub, size_t i)
{
    const struct keyring_column *column =
        keyring_column_by_id(scrub->s->keyring, &scrub->columns[i].id);
    size_t k;

    for (k = 0; k < i; k++) {
        if (strcmp(keyring_column_by_id(scrub->s->keyring, &scrub->columns[k].id)->table,
                   column->table) == 0)
            return false;
    }
    return true;
}

static int
read_files(struct scrub *scrub, bool *readable, struct coffer_error *err)
{
    struct db *db = scrub->s->database->db;
    size_t i;
    int rc = COFFER_OK;

    *readable = true;
    for (i = 0; rc == COFFER_OK && *readable && i < scrub->count; i++) {
        const struct keyring_column *column =
            keyring_column_by_id(scrub->s->keyring, &scrub->columns[i].id);
        struct db_table *table = NULL;

        if (!first_of_table(scrub, i) || (i > 0 && db_engine(db) == DB_SQLITE))
            continue;
        rc = db_table_open(db, column->table, &table, err);
        if (rc == COFFER_OK)
            rc = db_files(db, table, SEARCH_MAX - 1, on_piece, scrub, readable, err);
        db_table_free(table);
    }
    return rc;
}

/* ---- what was found ---- */

static void
say_finds(struct scrub *scrub)
{
    size_t i;

    for (i = 0; i < scrub->search.count; i++) {
        const struct needle *needle = &scrub->search.needles[i];

        if (needle->found == 0)
            continue;
        if (needle->owner >= OWNER_KEY) {
            say(scrub->s->env, ROTATE_WARN, "clean",
                "an envelope under key %08x, which is proven gone, is in %s at byte %" PRIu64,
                keyring_key_at(scrub->s->keyring, needle->owner - OWNER_KEY)->id, needle->file,
                needle->first);
        } else if (scrub->columns[needle->owner].found++ == 0) {
            const struct keyring_column *column =
                keyring_column_by_id(scrub->s->keyring, &scrub->columns[needle->owner].id);

            say(scrub->s->env, ROTATE_WARN, "clean", "a value of %s.%s is in %s at byte %" PRIu64,
                column->table, column->name, needle->file, needle->first);
        }
    }
}

static int
judge(struct scrub *scrub, struct coffer_error *err)
{
    const struct keyring_column *first = NULL;
    unsigned found = 0, values = 0, left = 0;
    size_t i;
    int rc = COFFER_OK;

    say_finds(scrub);
    for (i = 0; rc == COFFER_OK && i < scrub->count; i++) {
        const struct one_column *one = &scrub->columns[i];
        const struct keyring_column *column = keyring_column_by_id(scrub->s->keyring, &one->id);

        values += one->values;
        if (one->found > 0) {
            first = first == NULL ? column : first;
            found += one->found;
            left++;
            continue;
        }
        if (one->values == 0)
            say(scrub->s->env, ROTATE_NOTE, "clean",
                "%s.%s: none of its values is long and particular enough to be searched for; the "
                "files were rewritten",
                column->table, column->name);
        rc = plaintext_level_set(scrub->s, &one->id, 3, err);
    }
    if (rc != COFFER_OK)
        return rc;
    if (left > 0)
        return error_set(err, COFFER_E_REFUSED,
                         "the columns are sealed, but %u of %u values that were searched for are "
                         "still in the files, of %s.%s%s: in "
                         "another column, table or index? Their plaintext stays at \"%s\"; remove "
                         "it there, then run coffer "
                         "protect --scrub again",
                         found, values, first->table, first->name, left > 1 ? " and others" : "",
                         plaintext_level_name(2));
    say(scrub->s->env, ROTATE_DONE, "clean",
        "plaintext is %s: they were rewritten, and none of %u values from %zu column%s was found "
        "in them. Not covered: %s",
        plaintext_level_name(3), values, scrub->count, scrub->count == 1 ? "" : "s",
        db_engine(scrub->s->database->db) == DB_SQLITE
            ? "copies and backups, file-system snapshots, blocks that the disk set aside"
            : "WAL, archives, standbys, backups, server logs, file-system snapshots");
    return COFFER_OK;
}

static int
verify(struct scrub *scrub, struct coffer_error *err)
{
    bool readable = false;
    int rc;

    search_init(&scrub->search);
    rc = add_all(scrub, err);
    if (rc == COFFER_OK)
        rc = read_files(scrub, &readable, err);
    if (rc == COFFER_OK && readable)
        rc = judge(scrub, err);
    else if (rc == COFFER_OK)
        say(scrub->s->env, ROTATE_WARN, "clean",
            "the tables and their indexes were rewritten (VACUUM FULL), but this role cannot read "
            "the server's files to search "
            "them: plaintext stays at \"%s\". A role with pg_read_server_files and EXECUTE on "
            "pg_read_binary_file(text, bigint, bigint, boolean) can: run coffer "
            "protect --scrub again as such. WAL, "
            "archives, standbys, backups and server logs nobody can search from here",
            plaintext_level_name(2));
    search_wipe(&scrub->search);
    return rc;
}

/* ---- the steps ---- */

static int
clean_one(struct scrub *scrub, size_t i, bool rewrite, struct coffer_error *err)
{
    struct session *s = scrub->s;
    const struct keyring_column *column = keyring_column_by_id(s->keyring, &scrub->columns[i].id);
    struct db_table *table = NULL;
    int rc = COFFER_OK;

    if (first_of_table(scrub, i)) {
        rc = db_table_open(s->database->db, column->table, &table, err);
        if (rc == COFFER_OK) /* SQLite: one file holds all tables */
            rc = db_clean(s->database->db, table,
                          rewrite && (i == 0 || db_engine(s->database->db) != DB_SQLITE), err);
        db_table_free(table);
    }
    return rc;
}

int
clean_columns(struct session *s, const struct uuid *ids, size_t count, struct coffer_error *err)
{
    struct scrub scrub = {.s = s, .columns = mem_array(count + 1, sizeof *scrub.columns)};
    bool rewrite = s->options->scrub;
    size_t i;
    int rc = scrub.columns == NULL ? error_nomem(err) : COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < count; i++) {
        unsigned before = 0;

        rc = plaintext_level(s, &ids[i], &before, err);
        if (rc != COFFER_OK || before >= (rewrite ? 3u : 2u))
            continue;
        scrub.columns[scrub.count++].id = ids[i];
        if (before < 1)
            rc = plaintext_level_set(s, &ids[i], 1, err);
    }
    if (rc == COFFER_OK && rewrite && scrub.count > 0)
        say(s->env, ROTATE_STEP, "clean",
            "rewriting the files and searching them: applications wait meanwhile");
    for (i = 0; rc == COFFER_OK && i < scrub.count; i++)
        rc = clean_one(&scrub, i, rewrite, err);
    for (i = 0; rc == COFFER_OK && i < scrub.count; i++)
        rc = plaintext_level_set(s, &scrub.columns[i].id, 2, err);
    if (rc == COFFER_OK && rewrite && scrub.count > 0)
        rc = verify(&scrub, err);
    else if (rc == COFFER_OK)
        say(s->env, ROTATE_DONE, "clean", "plaintext is %s%s",
            plaintext_level_name(rewrite ? 3 : 2),
            rewrite ? ""
                    : "; its old pages stay in the files until they are reused (protect --scrub "
                      "rewrites and searches them)");
    mem_free(scrub.columns);
    return rc;
}
